//! Brings trees up to upstream's newest commits, where nothing of anybody stands in the way.

use super::{Context, build, sources};
use crate::cli::Sync;
use crate::environment::Environment;
use crate::error::Fault;
use crate::release::{Component, Release};
use crate::snapshot;
use crate::source::{self, topic};
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How a tree stands to its upstream.
#[derive(Clone, Debug, Serialize)]
struct Row {
    component: String,
    branch: String,
    commit: String,
    /// Commits that a fast-forward brings.
    new: usize,
    /// Why it stays where it is, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    stays: Option<String>,
    #[serde(skip)]
    tree: PathBuf,
    #[serde(skip)]
    target: String,
    /// Revisions of the database's schema that come along.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    schema: Vec<String>,
}

pub async fn run(context: &Context, options: &Sync) -> Result<()> {
    let environment = context.environment(&options.one)?;
    if context.offline {
        let fault = Fault::usage("`sync` asks the repositories that the trees came from");
        return Err(fault.hint("leave `--offline` away").into());
    }
    let (release, lock) = build::locked(&environment)?;
    let stage = context.ui.stage("sync");
    let trees = || release.components.iter().chain(&release.optional).map(|one| (one, environment.folder.join(&one.name)));
    let looks = trees().filter(|(_, tree)| tree.join(".git").exists()).map(|(one, tree)| look(&environment, &release, one, tree));
    let mut rows = futures_util::future::try_join_all(looks).await?;
    let schema: Vec<&String> = rows.iter().flat_map(|row| &row.schema).collect();
    if !schema.is_empty() {
        let list: Vec<&str> = schema.iter().map(|path| path.rsplit('/').next().unwrap_or(path)).collect();
        context.ui.remark("sync", &format!("the database's schema moves: {}", list.join(", ")));
    }
    if rows.iter().any(|row| row.new > 0 && row.stays.is_none() && !row.schema.is_empty()) {
        keep(context, &environment).await?;
    }
    let before = references(&environment, &release)?;
    for row in rows.iter_mut().filter(|row| row.new > 0 && row.stays.is_none()) {
        stage.note(&row.component);
        topic::fast_forward(&row.tree, &row.target).await?;
        row.commit = source::commit(&row.tree).await?;
        sources::told(context, &row.component, &row.tree, &source::complete(&row.tree, None).await?);
    }
    let moved = rows.iter().filter(|row| row.new > 0 && row.stays.is_none()).count();
    let kept = rows.iter().filter(|row| row.stays.is_some()).count();
    stage.done(&format!("{moved} of {} trees moved, {kept} stay as they are", rows.len()));
    let after = references(&environment, &release)?;
    let images: Vec<&String> =
        after.iter().filter(|(name, reference)| before.get(*name) != Some(reference)).map(|(name, _)| name).collect();
    let unmet = crate::lock::unmet(&release, &lock.python, &build::requirements(&environment.folder, &release)?)?;
    let value = serde_json::json!({ "trees": rows, "images": images, "unmet": unmet.iter().map(ToString::to_string).collect::<Vec<_>>() });
    context.print(&value, &table(&rows))?;
    let id = &environment.id;
    if !images.is_empty() || !unmet.is_empty() {
        unmet.iter().for_each(|line| context.ui.remark("lock", &format!("{line}: Python packages will be resolved again")));
        let names: Vec<&str> = images.iter().map(|name| name.as_str()).collect();
        let names = if names.is_empty() { "none by the trees alone".to_owned() } else { names.join(", ") };
        context.ui.say(&format!("images that change: {names}\nmake and start them: baibox up --env {id}"));
    } else if moved > 0 {
        context.ui.say(&format!("no image changes; let services see the new sources: baibox restart --env {id}"));
    }
    if rows.iter().any(|row| !row.schema.is_empty() && row.stays.is_none()) {
        context.ui.say(&format!("then move the schema: baibox exec --env {id} manager -- python -m alembic upgrade head"));
    }
    Ok(())
}

/// Before its schema moves, the database is kept, if there is one.
async fn keep(context: &Context, environment: &Environment) -> Result<()> {
    let Ok(engine) = context.engine().await else {
        // The schema moves when somebody migrates it, which needs the engine too.
        let id = &environment.id;
        context
            .ui
            .warn(&format!("no engine answers, so the database is not kept now: `baibox snapshot NAME --env {id}` keeps it"));
        return Ok(());
    };
    context.at_home(environment).await?;
    let volumes = engine.volumes(&environment.id).await?;
    if !volumes.contains(&format!("{}_postgres", environment.id)) {
        return Ok(());
    }
    let name = snapshot::free_name(environment, "before-sync")?;
    super::snapshot::take(context, environment, &name).await?;
    context.ui.remark(
        "sync",
        &format!("to go back: check out the commits before, then `baibox restore {name} --env {}`", environment.id),
    );
    Ok(())
}

/// Fetches, and tells what a fast-forward would do or what forbids it.
async fn look(environment: &Environment, release: &Release, component: &Component, tree: PathBuf) -> Result<Row> {
    let state = source::state(&tree).await?;
    let mut row = Row {
        component: component.name.clone(),
        branch: state.branch.clone(),
        commit: state.commit,
        new: 0,
        stays: None,
        target: String::new(),
        schema: Vec::new(),
        tree,
    };
    let shown = row.tree.display();
    let Some(remote) = topic::remote(&row.tree).await? else {
        row.stays = Some("it came from a source distribution".into());
        return Ok(row);
    };
    let branch = sources::branch(&environment.references, component, release, &row.tree).await?;
    if topic::has_tag(&row.tree, &branch).await {
        row.stays = Some(format!("the release's branch is gone, and `{branch}` is its last tag"));
        return Ok(row);
    }
    topic::fetch(&row.tree, remote, &branch).await.with_context(|| {
        Fault::new(format!("cannot fetch the branch `{branch}` of {}", component.name))
            .hint(format!("see where it is: git -C {shown} remote -v"))
            .hint("when it can be reached again, type the same command: nothing was changed")
    })?;
    row.target = format!("{remote}/{branch}");
    row.new = topic::ahead(&row.tree, &row.target, "HEAD").await?;
    let own = topic::ahead(&row.tree, "HEAD", &row.target).await?;
    let target = &row.target;
    row.stays = if row.branch == "HEAD" {
        Some(format!("no branch is checked out: git -C {shown} switch {branch}"))
    } else if row.branch != branch {
        Some(format!("a topic branch, {own} commits above {target} and {} behind: git -C {shown} rebase {target}", row.new))
    } else if row.new > 0 && own > 0 {
        Some(format!("diverged, {own} commits here and {} in {target}: git -C {shown} rebase {target}", row.new))
    } else if row.new > 0 && state.dirty {
        Some(format!("uncommitted changes: commit or stash them, then: git -C {shown} merge --ff-only {target}"))
    } else {
        None
    };
    if row.new > 0 && row.stays.is_none() {
        row.schema = topic::changed(&row.tree, target).await?;
        row.schema.retain(|path| path.contains("/alembic/versions/") && path.ends_with(".py"));
    }
    Ok(row)
}

/// References of the images that the trees ask for.
fn references(environment: &Environment, release: &Release) -> Result<BTreeMap<String, String>> {
    Ok(build::plan(&environment.folder, release)?.images.into_iter().map(|image| (image.name, image.reference)).collect())
}

fn table(rows: &[Row]) -> String {
    let head = ["COMPONENT", "BRANCH", "COMMIT", "WHAT"].map(String::from).to_vec();
    let line = |row: &Row| {
        let what = match (&row.stays, row.new) {
            (Some(why), _) => format!("stays: {why}"),
            (None, 0) => "nothing new".to_owned(),
            (None, 1) => "1 new commit".to_owned(),
            (None, new) => format!("{new} new commits"),
        };
        vec![row.component.clone(), row.branch.clone(), row.commit.get(..12).unwrap_or(&row.commit).to_owned(), what]
    };
    crate::ui::table(&std::iter::once(head).chain(rows.iter().map(line)).collect::<Vec<_>>())
}
