//! Compose file and configurations of an environment, as text from values.

mod devcontainer;
mod dialect;
mod layout;
mod template;

pub use devcontainer::{WORKSPACE, developed_in, editor_files, exported_files, is_developed_in, tested_by, tested_in};
pub use layout::{Exported, Layout};
pub use template::{FEATURE, template_files};

use crate::environment::{DEBUG_PORT, Environment};
use crate::model::Digest;
use crate::oci::Settings;
use crate::release::{Catalog, Era, Release, StandIn, TestEngine};
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
    /// Engine that tests find, in throw-away environments or where they have a service of their own.
    pub test_engine: Option<TestEngine>,
}

/// Folders of `images/` whose files are taken as they are.
const PLAIN: [&str; 2] = ["services", "compat"];

/// The file that Compose reads.
const GRAPH: &str = "compose.yaml";

/// Every file of the state folder, by its place in it.
pub fn render(environment: &Environment, inputs: &Inputs, layout: &Layout) -> Result<BTreeMap<String, String>> {
    let release = environment.release()?;
    let mut values = values(environment, &release, inputs, layout)?;
    let mut handlebars = Handlebars::new();
    handlebars.set_strict_mode(true);
    handlebars.register_helper("json", Box::new(as_json));
    let mut files = BTreeMap::new();
    for folder in PLAIN {
        for path in Catalog::files_below(folder)? {
            let text = Catalog::file(&path)?.to_owned();
            files.insert(path, text);
        }
    }
    // Folders of templates are laid out like the state folder. The graph comes last: it tells what else was written.
    let mut templates = Catalog::templates(&release)?;
    templates.retain(|place, _| !place.starts_with("storage-proxy/") || release.has_storage_proxy());
    let (graph, others): (Vec<_>, Vec<_>) = templates.into_iter().partition(|(place, _)| place == GRAPH);
    for (place, path) in others.into_iter().chain(graph) {
        if place == GRAPH {
            values["files"] = json!(written(&files));
        }
        handlebars.register_escape_fn(dialect::escape(&path));
        let text = handlebars
            .render_template(Catalog::file(&path)?, &values)
            .with_context(|| format!("cannot render `images/{path}`"))?;
        files.insert(place, text);
    }
    let url = format!("postgresql://postgres:{}@postgres:5432/backend\n", environment.secrets["database"]);
    files.insert("database.url".to_owned(), url);
    Ok(files)
}

/// The files of a made-up environment, to compare releases by.
pub fn example(release: &Release) -> Result<BTreeMap<String, String>> {
    let images: BTreeMap<&String, String> =
        release.images.iter().map(|image| (&image.name, format!("{REGISTRY}/{}:0", image.name))).collect();
    let environment: Environment = serde_json::from_value(json!({
        "id": "example", "branch": release.branch, "folder": "/example", "ports": release.ports, "blocks": release.blocks,
        "subnet": "10.213.0.0/24", "gateway": "10.213.0.1", "images": images,
        "secrets": {"database": "secret", "storage-manager": "secret", "storage-client": "secret",
            "app-proxy-api": "secret", "app-proxy-jwt": "secret", "app-proxy-permit": "secret"},
    }))?;
    let compute = release.images.iter().find(|image| image.name == "python").context("the release has no compute image")?;
    let inputs = Inputs {
        socket: "/var/run/docker.sock".into(),
        start_interval: true,
        compute_id: "sha256:0".into(),
        compute: compute.settings.clone(),
        test_engine: None,
    };
    let files = render(&environment, &inputs, &Layout::here(&environment)?)?;
    Ok(files.into_iter().filter(|(place, _)| PLAIN.iter().all(|folder| !place.starts_with(folder))).collect())
}

fn values(environment: &Environment, release: &Release, inputs: &Inputs, layout: &Layout) -> Result<Value> {
    let image = environment.images.get("python").context("the compute image was not built")?;
    let tags = layout.exported.as_ref().map(|exported| &exported.tags);
    let compute = tags.and_then(|tags| tags.get(image)).unwrap_or(image);
    let (name, tag) = compute.rsplit_once(':').context("an image reference has a tag")?;
    let name = name.strip_prefix(REGISTRY).unwrap_or(name).trim_start_matches('/');
    let labels: BTreeMap<&String, &String> =
        inputs.compute.labels.iter().filter(|(label, _)| label.starts_with("ai.backend.")).collect();
    Ok(json!({
        "id": environment.id,
        "branch": environment.branch,
        "release": release.values,
        "project": layout.project,
        "folder": layout.folder,
        "state": layout.state,
        "data": layout.data,
        "owned": layout.owned,
        "mounts": layout.mounts,
        "exported": layout.exported.is_some(),
        "commands": layout.exported.as_ref().map(|exported| &exported.commands),
        "tags": json!(tags).to_string(),
        "forward": layout.exported.as_ref().map(|exported| exported.forward.clone()).unwrap_or_default(),
        "ports": environment.ports,
        // Where a lease has several, the last of them.
        "last": environment.leases().collect::<BTreeMap<_, _>>(),
        "subnet": environment.subnet,
        "gateway": environment.gateway,
        "secrets": environment.secrets,
        "ulimits": environment.ulimits.clone().unwrap_or_default(),
        "images": environment.images,
        "socket": inputs.socket,
        "test_engine": test_engine(environment, release.era, inputs, &layout.state),
        "has_storage_proxy": release.has_storage_proxy(),
        "debug": debug(environment, release),
        "start_interval": inputs.start_interval,
        "registry": REGISTRY,
        "python": { "name": name, "tag": tag, "reference": compute, "id": inputs.compute_id, "labels": labels },
    }))
}

/// Folder of a service → digest of what its container reads: that folder, and what all services run.
fn written(files: &BTreeMap<String, String>) -> BTreeMap<&str, String> {
    let mut folders: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for (place, text) in files {
        if let Some((folder, _)) = place.split_once('/') {
            folders.entry(folder).or_default().insert(place, text);
        }
    }
    let shared: Vec<_> = PLAIN.iter().filter_map(|folder| folders.get(folder).cloned()).collect();
    let digest = |own| Digest::of_value(&(&shared, own)).short().to_owned();
    folders.iter().map(|(folder, own)| (*folder, digest(own))).collect()
}

/// Components whose tests get an engine, and the images that stand in for those of a registry, as JSON.
fn test_engine(environment: &Environment, era: Era, inputs: &Inputs, state: &str) -> Option<Value> {
    let engine = inputs.test_engine.as_ref()?;
    let stand_in = |(asked, own): (&String, &StandIn)| {
        let mut own = own.clone();
        own.image = environment.images.get(&own.image).cloned().unwrap_or_default();
        own.script = own.script.map(|script| format!("{state}/services/{script}"));
        (asked.clone(), json!(own))
    };
    let images: serde_json::Map<String, Value> = engine.images.iter().map(stand_in).collect();
    let component = |name: &String| json!({ "name": name, "service": tested_in(era, name) });
    let components: Vec<Value> = engine.components.iter().map(component).collect();
    Some(json!({ "components": components, "images": Value::from(images).to_string() }))
}

/// For each service that can run under the debugger, whether and where it does, and the program that it runs.
fn debug(environment: &Environment, release: &Release) -> Value {
    let one = |(lease, port): (&String, &u16)| {
        let service = lease.strip_prefix(DEBUG_PORT)?;
        let wait = environment.debug.get(service);
        let program = release.image(service).and_then(|image| image.settings.cmd.get(1..)).unwrap_or_default();
        let value = json!({ "on": wait.is_some(), "wait": wait == Some(&true), "port": port, "program": program });
        Some((service.to_owned(), value))
    };
    environment.ports.iter().filter_map(one).collect::<serde_json::Map<_, _>>().into()
}

#[cfg(test)]
mod judged;
#[cfg(test)]
mod tests;
