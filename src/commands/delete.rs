use super::Context;
use crate::cli::Delete;
use crate::engine::Engine;
use crate::environment::{self, Environment};
use crate::error::Fault;
use crate::model::EnvironmentId;
use crate::snapshot;
use crate::source;
use crate::stack;
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::sync::Arc;

pub async fn run(context: &Context, options: &Delete) -> Result<()> {
    let id = EnvironmentId::parse(&options.id)?;
    let all = environment::list(&context.store)?;
    let environment = environment::find(&context.store, Some(&id), std::path::Path::new("/"))?;
    context.at_home(&environment).await?;
    let leftovers = match engine(context, &environment).await? {
        Some(engine) => stack::leftovers(&*engine, &environment, &all).await?,
        None => stack::Leftovers::default(),
    };
    let stays = |tree: &PathBuf| tree.file_name().is_some_and(|name| environment.adopted.contains(&*name.to_string_lossy()));
    let trees: Vec<PathBuf> = source::trees(&environment.folder)?.into_iter().filter(|tree| !stays(tree)).collect();
    let mut unsaved = Vec::new();
    for tree in &trees {
        let state = source::state(tree).await?;
        if state.dirty || state.unpushed {
            unsaved.push(format!("`{}`", tree.display()));
        }
    }
    let snapshots = snapshot::list(&environment)?;
    let lines = [
        leftovers.containers.iter().map(|(_, name)| format!("container {name}")).collect::<Vec<_>>(),
        leftovers.networks.iter().map(|name| format!("network   {name}")).collect(),
        leftovers.volumes.iter().map(|name| format!("volume    {name}")).collect(),
        leftovers.images.iter().map(|name| format!("image     {name}")).collect(),
        leftovers.stay.iter().map(|name| format!("stays     {name}: an environment of another store may use it")).collect(),
        snapshots.iter().map(|one| format!("snapshot  {} of {}", one.name, one.taken)).collect(),
        ours(&environment)?.iter().map(|path| format!("folder    {}", path.display())).collect(),
    ]
    .concat()
    .join("\n");
    if options.dry_run {
        let snapshots: Vec<&str> = snapshots.iter().map(|one| one.name.as_str()).collect();
        return context.print(&(&leftovers, &environment.folder, &unsaved, &snapshots), &lines);
    }
    if !unsaved.is_empty() && !options.force {
        return Err(Fault::new(format!("these source trees have work that is nowhere else: {}", unsaved.join(", ")))
            .hint("commit and push it, or delete it too with `--force`")
            .into());
    }
    if !options.yes && !context.ui.confirm(&format!("{lines}\nRemove all of this?")) {
        return Err(Fault::usage("nothing was removed").hint("say `--yes` to remove it without being asked").into());
    }
    let stage = context.ui.stage("delete");
    erase(context, &environment, &leftovers).await?;
    stage.done(&format!("{id} is gone"));
    if !leftovers.stay.is_empty() {
        let list = leftovers.stay.join(", ");
        let text = format!("these images stay, since an environment of another store may use them: {list}");
        context.ui.remark("delete", &text);
        context.ui.remark("delete", "when none does any more, `baibox prune --images` removes them");
    }
    Ok(())
}

/// Removes an environment without a question: what is in it was made to be thrown away.
pub async fn now(context: &Context, environment: &Environment) -> Result<()> {
    let engine = context.engine().await?;
    let leftovers = stack::leftovers(&*engine, environment, &environment::list(&context.store)?).await?;
    erase(context, environment, &leftovers).await
}

/// None where there is to be none, and the environment was on none so far.
async fn engine(context: &Context, environment: &Environment) -> Result<Option<Arc<dyn Engine>>> {
    if environment.home.is_none() && !Context::has_engine() {
        return Ok(None);
    }
    Ok(Some(context.engine().await?))
}

async fn erase(context: &Context, environment: &Environment, leftovers: &stack::Leftovers) -> Result<()> {
    if let Some(engine) = engine(context, environment).await? {
        // Containers of steps whose baibox was killed hold volumes.
        engine.sweep_steps(false).await?;
        stack::remove(&*engine, environment, leftovers).await?;
    }
    for path in ours(environment)? {
        // Services run as root: what they wrote in the folder may need root to remove.
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }).with_context(
            || {
                Fault::new(format!("cannot remove the folder `{}`", path.display()))
                    .hint(format!("type `sudo rm -r {}` and the same command again", path.display()))
            },
        )?;
    }
    environment.forget(&context.store)
}

/// What of the folder belongs to the environment: all of it, or what was brought beside trees that were there.
fn ours(environment: &Environment) -> Result<Vec<PathBuf>> {
    let folder = &environment.folder;
    if environment.adopted.is_empty() {
        return Ok(vec![folder.clone()]);
    }
    let release = environment.release()?;
    let trees = release.components.iter().chain(&release.optional).map(|component| component.name.as_str());
    let brought = trees.filter(|name| !environment.adopted.contains(*name));
    let files = [".devcontainer", ".vscode/launch.json", ".baibox"];
    let mut ours: Vec<PathBuf> = brought.chain(files).map(|name| folder.join(name)).filter(|path| path.exists()).collect();
    // A folder that holds nothing of anybody else goes whole.
    let editors = folder.join(".vscode");
    if std::fs::read_dir(&editors).is_ok_and(|entries| entries.count() == 1) && ours.contains(&editors.join("launch.json")) {
        ours.push(editors);
    }
    Ok(ours)
}
