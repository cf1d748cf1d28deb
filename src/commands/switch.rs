use super::{Context, lifecycle};
use crate::cli::Switch;
use crate::engine::Listed;
use crate::environment::{self, Environment};
use crate::model::EnvironmentId;
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// Stops the environments that run, and starts the one that is meant.
pub async fn run(context: &Context, options: &Switch) -> Result<()> {
    let begin = Instant::now();
    let id = EnvironmentId::parse(&options.id)?;
    let mut environment = environment::find(&context.store, Some(&id), Path::new("/"))?;
    context.at_home(&environment).await?;
    let all = environment::list(&context.store)?;
    let others = running(&all, &id, &context.engine().await?.list().await?);
    if !others.is_empty() {
        let stage = context.ui.stage("stop");
        futures_util::future::try_join_all(others.iter().map(|other| lifecycle::halt(context, other))).await?;
        let names: Vec<String> = others.iter().map(|other| format!("`{}`", other.id)).collect();
        stage.done(&names.join(", "));
    }
    lifecycle::images(context, &mut environment).await?;
    lifecycle::bring_up(context, &environment).await?;
    context.ui.say(&format!("`{id}` is healthy after {}", crate::ui::duration(begin.elapsed())));
    Ok(())
}

/// Environments other than `id` that have a running service; those of CI runs are left alone.
fn running<'a>(all: &'a [Environment], id: &EnvironmentId, listed: &[Listed]) -> Vec<&'a Environment> {
    let up: BTreeSet<&str> = listed
        .iter()
        .filter(|one| one.container.state == "running" && !one.container.service.is_empty())
        .filter_map(|one| one.environment.as_deref())
        .collect();
    all.iter().filter(|other| other.id != *id && other.owner.is_none() && up.contains(other.id.as_str())).collect()
}
