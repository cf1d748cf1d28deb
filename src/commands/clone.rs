//! A copy of an environment: the same trees and the same state, with ports, network and secrets of its own.

use super::{Context, build, lifecycle, snapshot as state};
use crate::cli::Clone as Options;
use crate::environment::{self, Environment};
use crate::error::Fault;
use crate::model::EnvironmentId;
use crate::snapshot;
use crate::source;
use crate::store::write_atomically;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// Name of the snapshot that the state travels in.
const TRAVELLING: &str = "clone";

pub async fn run(context: &Context, options: &Options) -> Result<()> {
    let from = environment::find(&context.store, Some(&EnvironmentId::parse(&options.id)?), Path::new("/"))?;
    let id = EnvironmentId::parse(&options.new)?;
    let _alone = context.store.try_lock(&format!("clone-{id}"))?.ok_or_else(|| {
        Fault::usage(format!("another baibox is making the copy `{id}`")).hint("wait until it has ended, or choose another ID")
    })?;
    let mut into = begin(context, &from, id, options.path.as_deref()).await?;
    source::sweep(&into.folder).await?;
    snapshot::sweep(&into)?;
    let stage = context.ui.stage("source");
    let trees = source::trees(&from.folder)?;
    stage.length(trees.len() as u64);
    for tree in &trees {
        source::duplicate(tree, &into.folder).await?;
        stage.advance(1);
    }
    stage.done(&format!("{} trees copied", trees.len()));
    if !into.lock_file().exists() {
        let lock = std::fs::read(from.lock_file()).with_context(|| format!("`{}` was not built yet", from.id))?;
        write_atomically(&into.lock_file(), &lock)?;
    }
    let outcome = build::images(context, &mut into, false).await?;
    build::write(context, &into, &outcome).await?;
    let saved = match snapshot::find(&into, TRAVELLING) {
        Ok(saved) => saved,
        Err(_) => {
            let stage = context.ui.stage("snapshot");
            let saved = state::save(context, &from, &snapshot::folder(&into), TRAVELLING).await?;
            stage.done(&format!("of `{}`: {}", from.id, crate::ui::bytes(saved.size())));
            saved
        }
    };
    saved.check(&into)?;
    state::put_back(context, &into, &saved).await?;
    lifecycle::bring_up(context, &into).await?;
    snapshot::delete(&saved)?;
    std::fs::remove_file(mark(&into)).context("the copy is there, but its mark cannot be removed")?;
    let web = into.web_ui().map(|url| format!(", web UI {url}")).unwrap_or_default();
    context.ui.say(&format!("`{}` is a copy of `{}` in {}{web}", into.id, from.id, into.folder.display()));
    Ok(())
}

/// The record of the copy: a new one, or that of a clone which was cut off.
async fn begin(context: &Context, from: &Environment, id: EnvironmentId, path: Option<&Path>) -> Result<Environment> {
    context.at_home(from).await?;
    let engine = context.engine().await?;
    let choosing = context.store.lock("environments")?;
    let all = environment::list(&context.store)?;
    if let Some(known) = all.iter().find(|other| other.id == id) {
        if std::fs::read_to_string(mark(known)).is_ok_and(|source| source == from.id.as_str()) {
            context.ui.remark("clone", &format!("going on with `{id}`, which was cut off"));
            return Ok(known.clone());
        }
        return Err(Fault::usage(format!("there is an environment `{id}` already, in `{}`", known.folder.display()))
            .hint("choose another ID for the copy")
            .hint(format!("or delete that one: `baibox delete {id}`"))
            .into());
    }
    super::request::unknown_to_engine(&id, &engine.list().await?)?;
    let folder = match path {
        Some(path) => std::path::absolute(path).with_context(|| format!("`{}` is no folder", path.display()))?,
        None => from.folder.with_file_name(id.as_str()),
    };
    let release = from.release()?;
    let made = environment::create(id, from.branch.clone(), folder, &release.ports, &all, &engine.subnets().await?)?;
    let (images, ulimits, references) = (from.images.clone(), from.ulimits.clone(), from.references.clone());
    let (mix, standalone, cuda, home) = (from.mix.clone(), from.standalone.clone(), from.cuda, from.home.clone());
    let made = Environment { images, ulimits, references, mix, standalone, cuda, home, ..made };
    let mark = mark(&made);
    write_atomically(&mark, from.id.as_str().as_bytes()).with_context(|| format!("cannot write `{}`", mark.display()))?;
    made.save(&context.store)?;
    drop(choosing);
    Ok(made)
}

/// The file that is there while a clone is under way; it names what is copied.
fn mark(environment: &Environment) -> PathBuf {
    environment.state_folder().join("clone-under-way")
}
