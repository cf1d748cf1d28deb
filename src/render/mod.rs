//! Compose file and configurations of an environment, as text from values.

mod dialect;

use crate::environment::Environment;
use crate::error::Fault;
use crate::oci::Settings;
use crate::release::Catalog;
use anyhow::{Context, Result};
use handlebars::{Handlebars, handlebars_helper};
use serde_json::{Value, json};
use std::collections::BTreeMap;

handlebars_helper!(as_json: |value: Json| value.to_string());

/// Registry that compute images of an environment seem to come from.
pub const REGISTRY: &str = "baibox.local";

/// What rendering needs besides the environment's record.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Path of the engine's socket on its host.
    pub socket: String,
    /// The engine can ask services for their health more often while they start.
    pub start_interval: bool,
    /// Image ID and settings of the compute image.
    pub compute_id: String,
    pub compute: Settings,
}

/// Template and the place of its text, below the environment's state folder.
const TEMPLATES: [(&str, &str); 10] = [
    ("compose.yaml", "compose.yaml"),
    ("manager.toml", "manager/manager.toml"),
    ("alembic.ini", "manager/alembic.ini"),
    ("agent.toml", "agent/agent.toml"),
    ("storage-proxy.toml", "storage-proxy/storage-proxy.toml"),
    ("webserver.conf", "webserver/webserver.conf"),
    ("etcd.json", "etcd.json"),
    ("fixtures.json", "fixtures.json"),
    ("client-admin.sh", "client/admin.sh"),
    ("client-user.sh", "client/user.sh"),
];

/// Files that are taken as they are.
const FILES: [(&str, &str); 7] = [
    ("services/bootstrap.py", "services/bootstrap.py"),
    ("services/krunner.py", "services/krunner.py"),
    ("services/postgres.sh", "services/postgres.sh"),
    ("compat/baibox_engine.py", "compat/baibox_engine.py"),
    ("compat/baibox_docker.py", "compat/baibox_docker.py"),
    ("compat/baibox_manager.py", "compat/baibox_manager.py"),
    ("compat/sitecustomize.py", "compat/sitecustomize.py"),
];

/// Every file of the state folder, by its place in it.
pub fn render(environment: &Environment, inputs: &Inputs) -> Result<BTreeMap<String, String>> {
    let values = values(environment, inputs)?;
    let mut handlebars = Handlebars::new();
    handlebars.set_strict_mode(true);
    handlebars.register_helper("json", Box::new(as_json));
    let mut files = BTreeMap::new();
    for (template, place) in TEMPLATES {
        handlebars.register_escape_fn(dialect::escape(template));
        let path = format!("templates/{}/{template}", environment.branch);
        let text = handlebars
            .render_template(Catalog::file(&path)?, &values)
            .with_context(|| format!("cannot render `images/{path}`"))?;
        files.insert(place.to_owned(), text);
    }
    for (file, place) in FILES {
        files.insert(place.to_owned(), Catalog::file(file)?.to_owned());
    }
    let url = format!("postgresql://postgres:{}@postgres:5432/backend\n", environment.secrets["database"]);
    files.insert("database.url".to_owned(), url);
    Ok(files)
}

fn values(environment: &Environment, inputs: &Inputs) -> Result<Value> {
    let folder = mountable(environment)?;
    let state = format!("{folder}/.baibox/{}", environment.id);
    let compute = environment.images.get("python").context("the compute image was not built")?;
    let (name, tag) = compute.rsplit_once(':').context("an image reference has a tag")?;
    let name = name.strip_prefix(REGISTRY).unwrap_or(name).trim_start_matches('/');
    let labels: BTreeMap<&String, &String> =
        inputs.compute.labels.iter().filter(|(label, _)| label.starts_with("ai.backend.")).collect();
    Ok(json!({
        "id": environment.id,
        "branch": environment.branch,
        "folder": folder,
        // What the agent calls by a fixed name, and what it is here.
        "renamed": json!({
            "/tmp/backend.ai/ipc/container": format!("{state}/ipc/container"),
            "backendai-krunner.v7.static-gnu": format!("{}_krunner", environment.id),
        }).to_string(),
        "state": state,
        "ports": environment.ports,
        "subnet": environment.subnet,
        "gateway": environment.gateway,
        "secrets": environment.secrets,
        "ulimits": environment.ulimits.clone().unwrap_or_default(),
        "images": environment.images,
        "socket": inputs.socket,
        "start_interval": inputs.start_interval,
        "registry": REGISTRY,
        "python": { "name": name, "tag": tag, "id": inputs.compute_id, "labels": labels },
    }))
}

/// The folder, which containers see at the same path: one that a mount can name.
fn mountable(environment: &Environment) -> Result<&str, Fault> {
    let refused = |why: &str| {
        Fault::usage(format!("the folder `{}` cannot be mounted: {why}", environment.folder.display()))
            .hint("name another one with `--path FOLDER`")
    };
    let folder = environment.folder.to_str().ok_or_else(|| refused("its path is not UTF-8"))?;
    // A colon ends the path in every engine's notation of a mount.
    if folder.contains(':') {
        return Err(refused("its path holds a `:`"));
    }
    if folder.chars().any(char::is_control) {
        return Err(refused("its path holds a control character"));
    }
    Ok(folder.trim_end_matches('/'))
}

/// Services of the graph; `true` marks those that run once.
pub fn services() -> BTreeMap<String, bool> {
    [
        ("postgres", false),
        ("redis", false),
        ("etcd", false),
        ("etcd-keys", true),
        ("schema", true),
        ("fixtures", true),
        ("krunner", true),
        ("manager", false),
        ("storage-proxy", false),
        ("agent", false),
        ("webserver", false),
        ("workspace", false),
    ]
    .into_iter()
    .map(|(name, once)| (name.to_owned(), once))
    .collect()
}

#[cfg(test)]
mod tests;
