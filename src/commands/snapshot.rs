//! Named states of an environment: taken, listed, gone back to.

use super::{Context, lifecycle};
use crate::cli::{Reset, Restore, Snapshot as Options, Snapshots};
use crate::engine::Engine;
use crate::environment::Environment;
use crate::error::Fault;
use crate::snapshot::{self, Snapshot, State};
use crate::source;
use crate::stack;
use crate::ui::bytes;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub async fn run(context: &Context, options: &Options) -> Result<()> {
    let environment = context.environment_at_home(&options.one).await?;
    let taken = take(context, &environment, &options.name).await?;
    context.print(&value(&taken), "")
}

/// Takes a snapshot of an environment, which may run or be stopped, and stays so.
pub async fn take(context: &Context, environment: &Environment, name: &str) -> Result<Snapshot> {
    snapshot::is_free(environment, name)?;
    let stage = context.ui.stage("snapshot");
    let taken = save(context, environment, &snapshot::folder(environment), name).await?;
    stage.done(&format!("`{name}`: schema {}, {}", taken.revision, bytes(taken.size())));
    Ok(taken)
}

/// Saves the state in `folder`/`name`, complete or not at all.
pub async fn save(context: &Context, environment: &Environment, folder: &Path, name: &str) -> Result<Snapshot> {
    recover(context, environment).await?;
    let mut commits = BTreeMap::new();
    for tree in source::trees(&environment.folder)? {
        let component = tree.file_name().unwrap_or_default().to_string_lossy().into_owned();
        commits.insert(component, source::commit(&tree).await?);
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let made = tempfile::Builder::new().prefix(".").tempdir_in(folder)?;
    let started = start(context, environment, &["postgres", "etcd"]).await?;
    let databases = environment.release()?.databases;
    let saved = state(context, environment, &context.engine().await?, &databases).save(made.path(), name).await;
    stop(environment, &started).await?;
    saved.with_context(|| format!("the state of `{}` cannot be saved", environment.id))?;
    snapshot::settle(environment, &databases, &made.path().join(name), folder, name, commits)
}

pub fn list(context: &Context, options: &Snapshots) -> Result<()> {
    let environment = context.environment(&options.one)?;
    if let Some(name) = &options.delete {
        snapshot::delete(&snapshot::find(&environment, name)?)?;
        context.ui.remark("snapshots", &format!("`{name}` is gone"));
        return Ok(());
    }
    let all = snapshot::list(&environment)?;
    let mut rows = vec![["SNAPSHOT", "TAKEN", "SCHEMA", "SIZE"].map(String::from).to_vec()];
    rows.extend(all.iter().map(|one| vec![one.name.clone(), one.taken.clone(), one.revision.clone(), bytes(one.size())]));
    if all.is_empty() {
        context.ui.say(&format!("there is none yet: `baibox snapshot NAME --env {}` takes one", environment.id));
        rows.clear();
    }
    context.print(&all.iter().map(value).collect::<Vec<_>>(), &crate::ui::table(&rows))
}

fn value(one: &Snapshot) -> serde_json::Value {
    serde_json::json!({
        "name": one.name, "branch": one.branch, "revision": one.revision, "taken": one.taken,
        "commits": one.commits, "size": one.size(), "folder": one.folder,
    })
}

pub async fn restore(context: &Context, options: &Restore) -> Result<()> {
    let environment = context.environment_at_home(&options.one).await?;
    let wanted = snapshot::find(&environment, &options.name)?;
    wanted.check(&environment)?;
    let question = format!(
        "databases, etcd and virtual folders of `{}` become what they were at {}; what they are now is lost. Go on?",
        environment.id, wanted.taken
    );
    agreed(context, options.yes, &question)?;
    let runs = put_back(context, &environment, &wanted).await?;
    if runs {
        lifecycle::bring_up(context, &environment).await?;
    }
    Ok(())
}

/// Replaces the state of an environment by that of a snapshot, or leaves it as it was.
///
/// Says whether the environment ran; what ran is stopped, if all went well.
pub async fn put_back(context: &Context, environment: &Environment, wanted: &Snapshot) -> Result<bool> {
    recover(context, environment).await?;
    let engine = context.engine().await?;
    let stage = context.ui.stage("restore");
    let running = running(&*engine, environment).await?;
    let runs = !running.is_empty();
    stop(environment, &running.iter().filter(|service| *service != "postgres").cloned().collect::<Vec<_>>()).await?;
    end_sessions(&*engine, environment).await?;
    let mut started = start(context, environment, &["postgres"]).await?;
    if !engine.volumes(&environment.id).await?.contains(&format!("{}_etcd", environment.id)) {
        // Compose makes the volume, of which nothing is there yet.
        let etcd = start(context, environment, &["etcd"]).await?;
        stop(environment, &etcd).await?;
        started.extend(etcd);
    }
    let databases = environment.release()?.databases;
    let state = state(context, environment, &engine, &databases);
    stage.note(&wanted.name);
    let outcome = match state.prepare(wanted).await {
        Ok(()) => state.swap(wanted).await,
        Err(error) => state.clean().await.and(Err(error)),
    };
    stop(environment, &started).await?;
    if let Err(error) = outcome {
        drop(stage);
        if runs {
            lifecycle::bring_up(context, environment).await?;
        }
        return Err(error.context(format!("`{}` was not restored; all is as it was before", wanted.name)));
    }
    stage.done(&format!("`{}`: schema {}", wanted.name, wanted.revision));
    for database in databases.iter().filter(|name| !wanted.has(name)) {
        context.ui.warn(&format!("`{}` has no database `{database}`: that one stays as it was", wanted.name));
    }
    Ok(runs)
}

/// A fresh database, fresh keys and no virtual folders; what was built and written stays.
pub async fn reset(context: &Context, options: &Reset) -> Result<()> {
    let environment = context.environment_at_home(&options.one).await?;
    let question = format!(
        "databases, etcd and virtual folders of `{}` are lost; sources, images and snapshots stay. Go on?",
        environment.id
    );
    agreed(context, options.yes, &question)?;
    let engine = context.engine().await?;
    let stage = context.ui.stage("reset");
    stack::run_compose(&environment, &["--profile", "*", "down"]).await?;
    end_sessions(&*engine, &environment).await?;
    for volume in ["postgres", "redis", "etcd"] {
        engine.remove_volume(&format!("{}_{volume}", environment.id)).await?;
    }
    state(context, &environment, &engine, &[]).empty().await?;
    super::build::folders(&environment)?;
    snapshot::forget_cut_off(&environment)?;
    stage.done("the data is gone");
    lifecycle::bring_up(context, &environment).await
}

fn agreed(context: &Context, yes: bool, question: &str) -> Result<(), Fault> {
    if yes || context.ui.confirm(question) {
        return Ok(());
    }
    Err(Fault::usage("nothing was changed").hint("say `--yes` to go on without being asked"))
}

/// Where a restore was cut off by a crash, the old state is put back first.
pub async fn recover(context: &Context, environment: &Environment) -> Result<()> {
    let engine = context.engine().await?;
    // What a killed one had begun would go on writing.
    engine.sweep_steps(false).await?;
    if !snapshot::was_cut_off(environment) {
        return Ok(());
    }
    context.ui.remark("restore", "an earlier one was cut off: the state before it is put back");
    stop(environment, &running(&*engine, environment).await?).await?;
    let started = start(context, environment, &["postgres"]).await?;
    state(context, environment, &engine, &environment.release()?.databases).undo().await?;
    stop(environment, &started).await
}

fn state<'a>(context: &Context, environment: &'a Environment, engine: &'a Arc<dyn Engine>, databases: &'a [String]) -> State<'a> {
    State { engine: &**engine, environment, databases, temporary: context.store.temporary() }
}

async fn running(engine: &dyn Engine, environment: &Environment) -> Result<Vec<String>> {
    let containers = engine.containers(&environment.id).await?;
    let services = containers.into_iter().filter(|one| one.state == "running" && !one.service.is_empty());
    Ok(services.map(|one| one.service).collect())
}

/// Starts those of the services that do not run, waits for their health and gives them back.
async fn start(context: &Context, environment: &Environment, services: &[&str]) -> Result<Vec<String>> {
    let engine = context.engine().await?;
    let running = running(&*engine, environment).await?;
    let idle: Vec<String> =
        services.iter().filter(|service| !running.iter().any(|one| one == *service)).map(|name| (*name).to_owned()).collect();
    if idle.is_empty() {
        return Ok(idle);
    }
    let arguments: Vec<&str> = ["up", "--detach", "--no-deps"].into_iter().chain(idle.iter().map(String::as_str)).collect();
    stack::run_compose(environment, &arguments).await?;
    let wanted = idle.iter().map(|service| (service.clone(), false)).collect();
    stack::wait_healthy(&*engine, environment, &wanted, lifecycle::HEALTH_LIMIT, |_| {}).await?;
    Ok(idle)
}

async fn stop(environment: &Environment, services: &[String]) -> Result<()> {
    if services.is_empty() {
        return Ok(());
    }
    let arguments: Vec<&str> = ["--profile", "*", "stop"].into_iter().chain(services.iter().map(String::as_str)).collect();
    stack::run_compose(environment, &arguments).await?;
    Ok(())
}

/// Removes compute containers: the state that comes does not know them.
async fn end_sessions(engine: &dyn Engine, environment: &Environment) -> Result<()> {
    for container in engine.containers(&environment.id).await? {
        if container.service.is_empty() && container.name.starts_with("kernel.") {
            engine.remove_container(&container.id).await?;
        }
    }
    Ok(())
}
