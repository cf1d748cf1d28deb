use super::Context;
use crate::environment;
use anyhow::Result;
use serde_json::json;

pub async fn run(context: &Context) -> Result<()> {
    let environments = environment::list(&context.store)?;
    // The list is worth having without an engine; states are then unknown.
    let engine = context.engine().await.ok();
    let mut rows = vec![["ENVIRONMENT", "BRANCH", "STATE", "WEB", "FOLDER"].map(String::from).to_vec()];
    let mut values = Vec::new();
    for environment in &environments {
        let state = match &engine {
            None => "unknown",
            Some(engine) => {
                let containers = engine.containers(&environment.id).await?;
                if containers.iter().any(|container| container.service == "manager" && container.state == "running") {
                    "running"
                } else if containers.is_empty() {
                    "absent"
                } else {
                    "stopped"
                }
            }
        };
        let web = environment.ports.get("webserver").map(|port| format!("http://127.0.0.1:{port}")).unwrap_or_default();
        rows.push(vec![
            environment.id.to_string(),
            environment.branch.to_string(),
            state.to_owned(),
            web,
            environment.folder.display().to_string(),
        ]);
        values.push(json!({
            "id": environment.id, "branch": environment.branch, "state": state,
            "folder": environment.folder, "ports": environment.ports,
        }));
    }
    context.print(&values, &crate::ui::table(&rows))
}
