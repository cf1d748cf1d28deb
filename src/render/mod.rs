//! Compose file and configurations of an environment, as text from values.

use crate::environment::Environment;
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
    /// Image ID and settings of the compute image.
    pub compute_id: String,
    pub compute: Settings,
}

/// Template and the place of its text, below the environment's state folder.
const TEMPLATES: [(&str, &str); 8] = [
    ("compose.yaml", "compose.yaml"),
    ("manager.toml", "manager/manager.toml"),
    ("alembic.ini", "manager/alembic.ini"),
    ("agent.toml", "agent/agent.toml"),
    ("storage-proxy.toml", "storage-proxy/storage-proxy.toml"),
    ("webserver.conf", "webserver/webserver.conf"),
    ("etcd.json", "etcd.json"),
    ("fixtures.json", "fixtures.json"),
];

/// Files that are taken as they are.
const FILES: [(&str, &str); 5] = [
    ("services/bootstrap.py", "services/bootstrap.py"),
    ("services/krunner.py", "services/krunner.py"),
    ("services/postgres.sh", "services/postgres.sh"),
    ("compat/baibox_engine.py", "compat/baibox_engine.py"),
    ("compat/sitecustomize.py", "compat/sitecustomize.py"),
];

/// Every file of the state folder, by its place in it.
pub fn render(environment: &Environment, inputs: &Inputs) -> Result<BTreeMap<String, String>> {
    let values = values(environment, inputs)?;
    let mut handlebars = Handlebars::new();
    handlebars.set_strict_mode(true);
    handlebars.register_escape_fn(handlebars::no_escape);
    handlebars.register_helper("json", Box::new(as_json));
    let mut files = BTreeMap::new();
    for (template, place) in TEMPLATES {
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
    let compute = environment.images.get("python").context("the compute image was not built")?;
    let (name, tag) = compute.rsplit_once(':').context("an image reference has a tag")?;
    let name = name.strip_prefix(REGISTRY).unwrap_or(name).trim_start_matches('/');
    let labels: BTreeMap<&String, &String> =
        inputs.compute.labels.iter().filter(|(label, _)| label.starts_with("ai.backend.")).collect();
    Ok(json!({
        "id": environment.id,
        "branch": environment.branch,
        "folder": environment.folder,
        "state": environment.state_folder(),
        "ports": environment.ports,
        "subnet": environment.subnet,
        "gateway": environment.gateway,
        "secrets": environment.secrets,
        "ulimits": environment.ulimits,
        "images": environment.images,
        "socket": inputs.socket,
        "registry": REGISTRY,
        "python": { "name": name, "tag": tag, "id": inputs.compute_id, "labels": labels },
    }))
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
mod tests {
    use super::*;

    fn environment() -> Environment {
        let release = Catalog::release("21.03").unwrap();
        let text = json!({
            "id": "dev2103", "branch": "21.03", "folder": "/home/me/dev2103",
            "ports": release.ports, "subnet": "10.213.0.0/24", "gateway": "10.213.0.1",
            "secrets": {"database": "d", "storage-manager": "m", "storage-client": "c"},
            "ulimits": {"nofile": 20000},
            "images": release.images.iter().map(|image| (image.name.clone(), format!("baibox.local/21.03/{}:0", image.name)))
                .collect::<BTreeMap<_, _>>(),
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn every_template_renders_and_the_graph_has_all_services() {
        let inputs =
            Inputs { socket: "/var/run/docker.sock".into(), compute_id: "sha256:0".into(), compute: Settings::default() };
        let files = render(&environment(), &inputs).unwrap();
        let compose = &files["compose.yaml"];
        for service in services().keys() {
            assert!(compose.contains(&format!("\n  {service}:\n")), "{service}");
        }
        assert!(!compose.contains("0.0.0.0:8"), "ports are bound to 127.0.0.1");
        assert!(compose.contains("BAIBOX_ULIMITS: '{\"nofile\":20000}'"));
        for place in ["etcd.json", "fixtures.json"] {
            serde_json::from_str::<Value>(&files[place]).unwrap();
        }
        for place in ["manager/manager.toml", "agent/agent.toml", "storage-proxy/storage-proxy.toml"] {
            toml::from_str::<toml::Table>(&files[place]).unwrap();
        }
    }
}
