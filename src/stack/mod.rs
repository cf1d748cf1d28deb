//! The running stack: Compose starts and stops it, the engine tells how it is.

mod delete;
mod health;
mod limits;
#[cfg(test)]
mod tests;
mod verify;

pub use delete::{HELPERS, Leftovers, leftovers, remove, remove_image, unused_images};
pub use health::{Health, Verdict, judge, wait_healthy};
pub use limits::granted_limits;
pub use verify::{Proof, verify};

use crate::engine::Engine;
use crate::environment::Environment;
use crate::error::Fault;
use crate::model::EnvironmentId;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::Instant;

/// `docker compose` on the environment's files and project, before its verb.
pub fn compose(environment: &Environment) -> Command {
    let mut command = Command::new("docker");
    command.args(["compose", "--progress", "plain", "--project-name", environment.id.as_str()]).stdin(Stdio::null());
    for file in environment.compose_files() {
        command.arg("--file").arg(file);
    }
    command
}

/// For so long nothing new may come of what an ended Compose had asked the engine for. Making a container took half a
/// second on a machine with two busy cores.
const SETTLED: Duration = Duration::from_secs(3);

/// Ends Compose processes of an environment that a baibox cut off left behind. The engine carries out what they had asked
/// for all the same, and nobody can ask it whether something is under way: once nothing new comes, everything is listed.
pub async fn end_compose(engine: &dyn Engine, id: &EnvironmentId) -> Result<()> {
    for process in crate::host::processes_with(&["--project-name", id.as_str()])? {
        // It may have ended by itself meanwhile.
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
    }
    settled(engine, id, SETTLED).await
}

async fn settled(engine: &dyn Engine, id: &EnvironmentId, quiet: Duration) -> Result<()> {
    let (mut before, mut since) = (held(engine, id).await?, Instant::now());
    while since.elapsed() < quiet {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = held(engine, id).await?;
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// What Compose makes, by its names: engines list them in any order.
async fn held(engine: &dyn Engine, id: &EnvironmentId) -> Result<[BTreeSet<String>; 3]> {
    let containers = engine.containers(id).await?.into_iter().map(|container| container.id).collect();
    let (networks, volumes) = (engine.networks(id).await?, engine.volumes(id).await?);
    Ok([containers, networks.into_iter().collect(), volumes.into_iter().collect()])
}

/// Services that are ill, and why Compose could not start them.
pub fn because(ill: anyhow::Error, cause: anyhow::Error) -> anyhow::Error {
    match ill.downcast::<Fault>() {
        Ok(ill) => cause.context(ill),
        Err(other) => other,
    }
}

/// How long Compose may take to start services in their order, one-shots included.
const START_LIMIT: Duration = Duration::from_secs(600);

/// Runs a verb of Compose that starts services and may wait for their health, to its end.
pub async fn start(engine: &dyn Engine, environment: &Environment, arguments: &[&str]) -> Result<()> {
    let started = health::asking(engine, environment, run_compose(environment, arguments));
    // On its end Compose ends too; what it started stays, and tells why it took so long.
    tokio::time::timeout(START_LIMIT, started)
        .await
        .with_context(|| {
            Fault::unhealthy(format!("`docker compose {}` was given up after {} s", arguments.join(" "), START_LIMIT.as_secs()))
                .hint(format!(
                    "see what the services wait for: `baibox status --env {0}`, `baibox logs --env {0}`",
                    environment.id
                ))
        })?
        .map(drop)
}

/// How a command of Compose ended, and all that it said; it ends with whoever waits for it.
pub async fn ended(command: &mut Command) -> Result<(ExitStatus, String)> {
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| Fault::engine("`docker compose` cannot be started").hint("type `baibox doctor --fix`"))?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok((output.status, said))
}

/// Runs a verb of Compose to its end; what it said is in the error if it fails.
pub async fn run_compose(environment: &Environment, arguments: &[&str]) -> Result<String> {
    let (status, said) = ended(compose(environment).args(arguments)).await?;
    if status.success() {
        return Ok(said);
    }
    let tail: Vec<&str> = said.lines().rev().take(15).collect::<Vec<_>>().into_iter().rev().collect();
    let fault = Fault::new(format!("`docker compose {}` failed: {}", arguments.join(" "), tail.join("\n         ")));
    Err(if is_missing(&said) {
        fault.hint("Compose v2 is missing or too old: type `baibox doctor --fix`")
    } else {
        fault.hint(format!("see what the services say: `baibox logs --env {}`", environment.id))
    }
    .into())
}

/// In the words of the command `docker` without Compose, and of a Compose that does not know what is asked.
fn is_missing(said: &str) -> bool {
    ["unknown flag", "unknown shorthand flag", "is not a docker command", "unknown command", "Additional property"]
        .iter()
        .any(|words| said.contains(words))
}
