use super::lifecycle::HEALTH_LIMIT;
use super::{Context, build};
use crate::cli::Debug;
use crate::environment::{DEBUG_PORT, Environment};
use crate::error::Fault;
use crate::stack;
use crate::ui::Stage;
use anyhow::Result;

pub async fn run(context: &Context, options: &Debug) -> Result<()> {
    let mut environment = context.environment_at_home(&options.one).await?;
    let named = options.service.as_deref().map(|service| lease(&environment, service).map(|port| (service, port))).transpose()?;
    let changed: Vec<String> = match named {
        Some((service, _)) => vec![service.to_owned()],
        None => environment.debug.keys().cloned().collect(),
    };
    match (named, options.off) {
        (Some((service, _)), false) => drop(environment.debug.insert(service.to_owned(), options.wait)),
        _ => environment.debug.retain(|service, _| !changed.contains(service)),
    }
    let outcome = build::images(context, &mut environment, false).await?;
    build::write(context, &environment, &outcome).await?;
    environment.save(&context.store)?;
    let stage = context.ui.stage("restart");
    if !changed.is_empty() {
        // What the service stands on runs already; Compose would run its one-shots again.
        let arguments: Vec<&str> =
            ["up", "--detach", "--no-deps"].into_iter().chain(changed.iter().map(String::as_str)).collect();
        stack::start(&*context.engine().await?, &environment, &arguments).await?;
    }
    let Some((service, port)) = named.filter(|_| !options.off) else {
        healthy(context, &environment, &stage).await?;
        stage.done(if changed.is_empty() { "nothing ran under the debugger" } else { "without the debugger" });
        return Ok(());
    };
    // What waits for its debugger is not healthy before.
    if !options.wait {
        healthy(context, &environment, &stage).await?;
    }
    stage.done(service);
    let doing = if options.wait { "waits for" } else { "runs under" };
    let (folder, id) = (environment.folder.display(), &environment.id);
    context.ui.say(&format!(
        "{service} {doing} the debugger: attach to 127.0.0.1:{port}\n  \
         VS Code   open {folder}, Run and Debug, “{service}: attach”\n  \
         end       baibox debug --env {id} --off {service}"
    ));
    Ok(())
}

async fn healthy(context: &Context, environment: &Environment, stage: &Stage) -> Result<()> {
    let engine = context.engine().await?;
    let services = environment.release()?.services();
    stack::wait_healthy(&*engine, environment, &services, HEALTH_LIMIT, |text| stage.note(text)).await?;
    Ok(())
}

/// The port that is kept for a service's debugger.
fn lease(environment: &Environment, service: &str) -> Result<u16, Fault> {
    environment.ports.get(&format!("{DEBUG_PORT}{service}")).copied().ok_or_else(|| {
        let known: Vec<&str> = environment.ports.keys().filter_map(|lease| lease.strip_prefix(DEBUG_PORT)).collect();
        Fault::usage(format!("`{service}` cannot be run under the debugger")).hint(format!("choose one of {}", known.join(", ")))
    })
}
