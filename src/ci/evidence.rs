//! What an environment looked like when something failed in it.

use crate::engine::{Container, Engine};
use crate::environment::Environment;
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;

/// Lines of each service's log that are kept.
const LINES: u32 = 20_000;

/// How long each of these may take: what hangs may be what went wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// Commands whose output is kept when something failed: file, service, command.
const DUMPS: [(&str, &str, &[&str]); 2] = [
    (
        // Those that tests made too.
        "database.sql",
        "postgres",
        &[
            "/usr/lib/postgresql/13/bin/pg_dumpall",
            "--no-role-passwords",
            "--username",
            "postgres",
            "--host",
            "127.0.0.1",
            "--no-password",
        ],
    ),
    ("etcd.txt", "etcd", &["/usr/bin/etcdctl", "get", "--prefix", ""]),
];

/// The log of every service, a file each.
pub async fn logs(engine: &dyn Engine, environment: &Environment, folder: &Path) -> Result<()> {
    for container in engine.containers(&environment.id).await? {
        let text = engine.last_log(&container.id, LINES).await.unwrap_or_else(|error| format!("(no log: {error:#})\n"));
        keep(&folder.join("logs").join(format!("{}.log", name(&container))), &text)?;
    }
    Ok(())
}

/// States of the containers, the database and etcd's keys; what cannot be had is said in its file.
pub async fn gather(engine: &dyn Engine, environment: &Environment, folder: &Path) -> Result<()> {
    let containers = engine.containers(&environment.id).await?;
    keep(&folder.join("containers.json"), &serde_json::to_string_pretty(&containers)?)?;
    for (file, service, command) in DUMPS {
        let running = containers.iter().find(|container| container.service == service && container.state == "running");
        let text = match running {
            None => format!("({service} does not run)\n"),
            Some(container) => {
                let mut command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
                if service == "postgres" {
                    // The server knows no client without its password, except by variable.
                    let password = environment.secrets.get("database").cloned().unwrap_or_default();
                    command.splice(0..0, ["env".to_owned(), format!("PGPASSWORD={password}")]);
                }
                match tokio::time::timeout(PATIENCE, engine.exec(&container.id, &command)).await {
                    Ok(Ok(said)) => said.all(),
                    Ok(Err(error)) => format!("({error:#})\n"),
                    Err(_) => format!("({service} gave no answer in {} s)\n", PATIENCE.as_secs()),
                }
            }
        };
        keep(&folder.join(file), &text)?;
    }
    Ok(())
}

fn name(container: &Container) -> &str {
    if container.service.is_empty() { &container.name } else { &container.service }
}

fn keep(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a file is in a folder")?;
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, text))
        .with_context(|| format!("cannot write `{}`", path.display()))
}
