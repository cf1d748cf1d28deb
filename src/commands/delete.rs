use super::Context;
use crate::cli::Delete;
use crate::environment::{self, Environment};
use crate::error::Fault;
use crate::model::EnvironmentId;
use crate::source;
use crate::stack;
use anyhow::{Context as _, Result};

pub async fn run(context: &Context, options: &Delete) -> Result<()> {
    let id = EnvironmentId::parse(&options.id)?;
    let all = environment::list(&context.store)?;
    let environment = environment::find(&context.store, Some(&id), std::path::Path::new("/"))?;
    let engine = context.engine().await?;
    let leftovers = stack::leftovers(&*engine, &environment, &all).await?;
    let trees = source::trees(&environment.folder)?;
    let mut unsaved = Vec::new();
    for tree in &trees {
        let state = source::state(tree).await?;
        if state.dirty || state.unpushed {
            unsaved.push(format!("`{}`", tree.display()));
        }
    }
    let lines = [
        leftovers.containers.iter().map(|(_, name)| format!("container {name}")).collect::<Vec<_>>(),
        leftovers.networks.iter().map(|name| format!("network   {name}")).collect(),
        leftovers.volumes.iter().map(|name| format!("volume    {name}")).collect(),
        leftovers.images.iter().map(|name| format!("image     {name}")).collect(),
        vec![format!("folder    {}", environment.folder.display())],
    ]
    .concat()
    .join("\n");
    if options.dry_run {
        return context.print(&(&leftovers, &environment.folder, &unsaved), &lines);
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
    Ok(())
}

/// Removes an environment without a question: what is in it was made to be thrown away.
pub async fn now(context: &Context, environment: &Environment) -> Result<()> {
    let engine = context.engine().await?;
    let leftovers = stack::leftovers(&*engine, environment, &environment::list(&context.store)?).await?;
    erase(context, environment, &leftovers).await
}

async fn erase(context: &Context, environment: &Environment, leftovers: &stack::Leftovers) -> Result<()> {
    stack::remove(&*context.engine().await?, environment, leftovers).await?;
    // Services run as root: what they wrote in the folder may need root to remove.
    std::fs::remove_dir_all(&environment.folder)
        .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .with_context(|| {
            Fault::new(format!("cannot remove the folder `{}`", environment.folder.display()))
                .hint(format!("type `sudo rm -r {}` and the same command again", environment.folder.display()))
        })?;
    environment.forget(&context.store)
}
