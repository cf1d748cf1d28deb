use super::Context;
use crate::cli::One;
use anyhow::Result;
use serde_json::json;

pub async fn run(context: &Context, one: &One) -> Result<()> {
    let environment = context.environment(one)?;
    let engine = context.engine().await?;
    let containers = engine.containers(&environment.id).await?;
    let mut rows = vec![["SERVICE", "STATE", "HEALTH", "PORT", "IMAGE"].map(String::from).to_vec()];
    for container in &containers {
        let service = if container.service.is_empty() { &container.name } else { &container.service };
        let state = match container.exit_code {
            Some(code) => format!("{} ({code})", container.state),
            None => container.state.clone(),
        };
        let port = environment.ports.get(service).map(|port| format!("127.0.0.1:{port}")).unwrap_or_default();
        rows.push(vec![service.clone(), state, container.health.clone(), port, container.image.clone()]);
    }
    let value = json!({
        "id": environment.id, "branch": environment.branch, "folder": environment.folder,
        "ports": environment.ports, "containers": containers,
    });
    let text = format!(
        "{} (release {}) in {}\n\n{}",
        environment.id,
        environment.branch,
        environment.folder.display(),
        crate::ui::table(&rows)
    );
    context.print(&value, &text)
}
