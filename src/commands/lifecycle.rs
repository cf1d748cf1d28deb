use super::Context;
use crate::cli::{One, Services};
use crate::environment::Environment;
use crate::stack;
use anyhow::Result;
use std::time::Duration;

/// How long services may take to become healthy; a slow machine takes a tenth of it.
pub const HEALTH_LIMIT: Duration = Duration::from_secs(180);

pub async fn stop(context: &Context, one: &One) -> Result<()> {
    let environment = context.environment(one)?;
    let stage = context.ui.stage("stop");
    stack::run_compose(&environment, &["stop"]).await?;
    stage.done("the data stays; `baibox start` goes on");
    Ok(())
}

pub async fn start(context: &Context, one: &One) -> Result<()> {
    let environment = context.environment(one)?;
    bring_up(context, &environment).await
}

/// Compose starts what is not running; then everything must become healthy.
pub async fn bring_up(context: &Context, environment: &Environment) -> Result<()> {
    let engine = context.engine().await?;
    let stage = context.ui.stage("up");
    stage.note("docker compose up");
    let started = stack::run_compose(environment, &["up", "--detach", "--remove-orphans"]).await;
    let services = crate::render::services();
    // Compose names a service that failed, the engine knows what it said.
    if let Err(error) = started {
        stack::wait_healthy(&*engine, environment, &services, Duration::ZERO, |_| {}).await?;
        return Err(error);
    }
    let health = stack::wait_healthy(&*engine, environment, &services, HEALTH_LIMIT, |text| stage.note(text)).await?;
    stage.done(&format!("{} services healthy", health.len()));
    Ok(())
}

pub async fn restart(context: &Context, options: &Services) -> Result<()> {
    let environment = context.environment(&options.one)?;
    let engine = context.engine().await?;
    let stage = context.ui.stage("restart");
    let components = ["manager", "agent", "storage-proxy", "webserver"];
    let wanted: Vec<&str> =
        if options.services.is_empty() { components.to_vec() } else { options.services.iter().map(String::as_str).collect() };
    let arguments: Vec<&str> = ["restart"].into_iter().chain(wanted.iter().copied()).collect();
    stack::run_compose(&environment, &arguments).await?;
    let services = crate::render::services();
    stack::wait_healthy(&*engine, &environment, &services, HEALTH_LIMIT, |text| stage.note(text)).await?;
    stage.done(&wanted.join(", "));
    Ok(())
}
