//! The proof that an environment works: the manager knows its agent, and hello world ran.

use crate::engine::{Engine, Said};
use crate::environment::Environment;
use crate::error::Fault;
use anyhow::{Context, Result};
use serde::Serialize;

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// What the manager says of its agents.
    pub agents: String,
    /// The line that the compute session printed.
    pub hello: String,
    pub seconds: f64,
}

/// How long the first heartbeat of an agent may take.
const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(30);

/// Seconds that one command of the client may take; a slow machine takes a tenth of it.
const LIMIT: u32 = 300;
/// What timeout(1) ends with when it had to end its command.
const GIVEN_UP: i64 = 124;

const HELLO: &str = "Hello World!";

/// Asks the manager for its agents and runs hello world through the real client.
pub async fn verify(engine: &dyn Engine, environment: &Environment) -> Result<Proof> {
    let begin = std::time::Instant::now();
    let containers = engine.containers(&environment.id).await?;
    let workspace = containers
        .iter()
        .find(|container| container.service == "workspace" && container.state == "running")
        .with_context(|| {
            Fault::unhealthy(format!("the workspace of `{}` is not running", environment.id))
                .hint(format!("type `baibox start --env {}`", environment.id))
        })?;
    let release = environment.release()?;
    let words: Vec<&str> = release.list_agents.iter().map(String::as_str).collect();
    let mut agents = client(engine, &workspace.id, environment, &words).await?;
    // An agent that has just started is known by its first heartbeat.
    while !agents.output.contains("ALIVE") && begin.elapsed() < HEARTBEAT {
        agents = client(engine, &workspace.id, environment, &words).await?;
    }
    if !agents.output.contains("ALIVE") {
        return Err(Fault::unhealthy(format!("the manager knows no agent that is alive:\n{}", agents.output.trim_end()))
            .hint(format!("see what it says: `baibox logs --env {} agent`", environment.id))
            .into());
    }
    let code = format!("print('{HELLO}')");
    // With CUDA, the session also gets a device.
    let device: &[&str] = if environment.cuda.is_some() { &["--resources", "cuda.device=1"] } else { &[] };
    let words = [&["run", "--rm"], device, &["-c", &code, "python"]].concat();
    let run = client(engine, &workspace.id, environment, &words).await?;
    // The client echoes what it does; the session's own line stands alone.
    let Some(hello) = run.output.lines().map(str::trim).find(|line| *line == HELLO) else {
        return Err(Fault::unhealthy(format!("hello world did not say so:\n{}{}", run.output, run.errors.trim_end()))
            .hint(format!("see what the agent says: `baibox logs --env {} agent manager`", environment.id))
            .into());
    };
    Ok(Proof { agents: agents.output.trim().to_owned(), hello: hello.to_owned(), seconds: begin.elapsed().as_secs_f64() })
}

async fn client(engine: &dyn Engine, workspace: &str, environment: &Environment, words: &[&str]) -> Result<Said> {
    let limit = LIMIT.to_string();
    let command: Vec<String> =
        ["timeout", limit.as_str(), "backend.ai"].iter().chain(words).map(|word| (*word).to_owned()).collect();
    let said = engine.exec(workspace, &command).await?;
    let how = match said.code {
        0 => return Ok(said),
        GIVEN_UP => format!("did not end within {LIMIT} s; it said last"),
        code => format!("ended with {code}"),
    };
    Err(Fault::unhealthy(format!("`backend.ai {}` {how}:\n{}", words.join(" "), said.all().trim_end()))
        .hint(format!("see what the services say: `baibox logs --env {}`", environment.id))
        .into())
}
