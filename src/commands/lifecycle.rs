use super::{Context, leases};
use crate::cli::{One, Services};
use crate::engine::Container;
use crate::environment::Environment;
use crate::stack;
use anyhow::Result;
use std::time::Duration;

/// How long services may take to become healthy; a slow machine takes a tenth of it.
pub const HEALTH_LIMIT: Duration = Duration::from_secs(180);

pub async fn stop(context: &Context, one: &One) -> Result<()> {
    let environment = context.environment_at_home(one).await?;
    let stage = context.ui.stage("stop");
    halt(context, &environment).await?;
    stage.done("the data stays; `baibox start` goes on");
    Ok(())
}

pub async fn halt(context: &Context, environment: &Environment) -> Result<()> {
    // Dev containers of components are in a profile, and stop too.
    stack::run_compose(environment, &["--profile", "*", "stop"]).await?;
    // The agent makes its helpers again; sessions are left to go on or to be ended by their owner.
    let engine = context.engine().await?;
    let left: Vec<Container> =
        engine.containers(&environment.id).await?.into_iter().filter(|one| one.service.is_empty()).collect();
    let (helpers, sessions): (Vec<_>, Vec<_>) = left.iter().partition(|one| stack::HELPERS.contains(&one.image.as_str()));
    for helper in helpers {
        engine.remove_container(&helper.id).await?;
    }
    let running = sessions.iter().filter(|one| one.state == "running").count();
    if running > 0 {
        context.ui.warn(&format!(
            "{running} containers of compute sessions still run: they go with `baibox delete`, or when their sessions end"
        ));
    }
    Ok(())
}

pub async fn start(context: &Context, one: &One) -> Result<()> {
    let mut environment = context.environment_at_home(one).await?;
    images(context, &mut environment).await?;
    bring_up(context, &environment).await
}

/// Images that somebody removed from the engine are given to it again.
pub async fn images(context: &Context, environment: &mut Environment) -> Result<()> {
    let engine = context.engine().await?;
    let asked = environment.images.values().map(|reference| engine.image(reference));
    if futures_util::future::try_join_all(asked).await?.iter().any(Option::is_none) {
        super::build::images(context, environment, false).await?;
    }
    Ok(())
}

/// Compose starts what is not running; then everything must become healthy.
pub async fn bring_up(context: &Context, environment: &Environment) -> Result<()> {
    super::snapshot::recover(context, environment).await?;
    let engine = context.engine().await?;
    leases::are_free(&*engine, environment).await?;
    let stage = context.ui.stage("up");
    stage.note("docker compose up");
    let started = stack::start(&*engine, environment, &["up", "--detach", "--remove-orphans"]).await;
    let services = environment.release()?.services();
    // Compose names a service that failed, the engine knows what it said.
    if let Err(error) = started {
        return Err(match stack::wait_healthy(&*engine, environment, &services, Duration::ZERO, |_| {}).await {
            Err(ill) => stack::because(ill, error),
            Ok(_) => error,
        });
    }
    let health = stack::wait_healthy(&*engine, environment, &services, HEALTH_LIMIT, |text| stage.note(text)).await?;
    stage.done(&format!("{} services healthy", health.len()));
    Ok(())
}

pub async fn restart(context: &Context, options: &Services) -> Result<()> {
    let environment = context.environment_at_home(&options.one).await?;
    let release = environment.release()?;
    let wanted: Vec<&str> = if options.services.is_empty() {
        release.programs().collect()
    } else {
        options.services.iter().map(String::as_str).collect()
    };
    restart_services(context, &environment, &wanted).await
}

/// Restarts services and waits until all are healthy again.
pub async fn restart_services(context: &Context, environment: &Environment, wanted: &[&str]) -> Result<()> {
    let engine = context.engine().await?;
    let stage = context.ui.stage("restart");
    let arguments: Vec<&str> = ["restart"].into_iter().chain(wanted.iter().copied()).collect();
    stack::start(&*engine, environment, &arguments).await?;
    let services = environment.release()?.services();
    stack::wait_healthy(&*engine, environment, &services, HEALTH_LIMIT, |text| stage.note(text)).await?;
    stage.done(&wanted.join(", "));
    Ok(())
}
