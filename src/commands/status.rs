use super::Context;
use crate::cli::Status;
use crate::engine::Container;
use crate::environment::Environment;
use crate::ui::Live;
use anyhow::{Context as _, Result};
use serde_json::json;
use std::time::Duration;

/// How often a watched state is looked at.
pub const PACE: Duration = Duration::from_secs(1);

pub async fn run(context: &Context, options: &Status) -> Result<()> {
    let environment = context.environment_at_home(&options.one).await?;
    let engine = context.engine().await?;
    if !options.watch {
        let containers = engine.containers(&environment.id).await?;
        return context.print(&value(&environment, &containers), &text(&environment, &containers));
    }
    let mut live = Live::default();
    loop {
        let containers = engine.containers(&environment.id).await?;
        let shown = if context.json { value(&environment, &containers).to_string() } else { text(&environment, &containers) };
        live.show(&shown).context("standard output cannot be written")?;
        tokio::time::sleep(PACE).await;
    }
}

fn value(environment: &Environment, containers: &[Container]) -> serde_json::Value {
    json!({
        "id": environment.id, "branch": environment.branch, "mix": environment.mix, "folder": environment.folder,
        "ports": environment.ports, "containers": containers,
    })
}

fn text(environment: &Environment, containers: &[Container]) -> String {
    let mut rows = vec![["SERVICE", "STATE", "HEALTH", "PORT", "IMAGE"].map(String::from).to_vec()];
    for container in containers {
        let state = match container.exit_code {
            Some(code) => format!("{} ({code})", container.state),
            None => container.state.clone(),
        };
        let port = environment.ports.get(container.called()).map(|port| format!("127.0.0.1:{port}")).unwrap_or_default();
        rows.push(vec![container.called().to_owned(), state, container.health.clone(), port, container.image.clone()]);
    }
    format!(
        "{} (release {}) in {}\n\n{}",
        environment.id,
        environment.release_name(),
        environment.folder.display(),
        crate::ui::table(&rows)
    )
}
