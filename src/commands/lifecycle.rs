use super::Context;
use crate::cli::{One, Services};
use crate::doctor;
use crate::engine::Container;
use crate::environment::{DEBUG_PORT, Environment};
use crate::error::Fault;
use crate::stack;
use anyhow::Result;
use std::time::Duration;

/// How long services may take to become healthy; a slow machine takes a tenth of it.
pub const HEALTH_LIMIT: Duration = Duration::from_secs(180);

pub async fn stop(context: &Context, one: &One) -> Result<()> {
    let environment = context.environment(one)?;
    let stage = context.ui.stage("stop");
    // Dev containers of components are in a profile, and stop too.
    stack::run_compose(&environment, &["--profile", "*", "stop"]).await?;
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
    leases_are_free(environment, &engine.containers(&environment.id).await?)?;
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

/// Ports are kept while an environment is stopped; another program may have taken one.
fn leases_are_free(environment: &Environment, containers: &[Container]) -> Result<()> {
    let running = |service: &str| containers.iter().any(|one| one.service == service && one.state == "running");
    // What the debugger of a running service listens at is seen by Compose alone.
    let free = |service: &str| !running(service.strip_prefix(DEBUG_PORT).unwrap_or(service));
    let needed = environment.ports_in_use().iter().filter(|(service, _)| free(service)).map(|(_, port)| *port).collect();
    let taken = doctor::taken_ports(&needed);
    if taken.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = taken
        .iter()
        .map(|(port, holder)| {
            let services = environment.ports.iter().filter(|(_, own)| *own == port).map(|(service, _)| service.as_str());
            let holder = holder.as_deref().unwrap_or("another program");
            format!("{port} of {} is held by {holder}", services.collect::<Vec<_>>().join(", "))
        })
        .collect();
    Err(Fault::new(format!("ports of `{}` are taken: {}", environment.id, list.join("; ")))
        .hint("end what holds them, then type the same command again: it goes on from here")
        .into())
}

pub async fn restart(context: &Context, options: &Services) -> Result<()> {
    let environment = context.environment(&options.one)?;
    let components = ["manager", "agent", "storage-proxy", "webserver"];
    let wanted: Vec<&str> =
        if options.services.is_empty() { components.to_vec() } else { options.services.iter().map(String::as_str).collect() };
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
