//! Files for editors: dev containers of the whole workspace and of each component, and
//! how debuggers attach. The format: <https://containers.dev/implementors/json_reference/>.

use super::{as_json, dialect, mountable};
use crate::environment::{COMPOSE_FILES, DEBUG_PORT, Environment};
use crate::plan::DEVELOPER;
use crate::release::{Component, Release};
use anyhow::{Context, Result};
use handlebars::Handlebars;
use include_dir::{Dir, include_dir};
use serde_json::{Value, json};
use std::collections::BTreeMap;

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/devcontainer");

pub const WORKSPACE: &str = "workspace";

/// Where debuggers listen inside of containers.
const DEBUGGER: u16 = 5678;

/// Every file by its place in the environment's folder.
pub fn editor_files(environment: &Environment, release: &Release) -> Result<BTreeMap<String, String>> {
    let template = TEMPLATES
        .get_file("devcontainer.json")
        .and_then(|file| file.contents_utf8())
        .context("there is no `devcontainer/devcontainer.json`")?;
    let mut handlebars = Handlebars::new();
    handlebars.set_strict_mode(true);
    handlebars.register_helper("json", Box::new(as_json));
    handlebars.register_escape_fn(dialect::escape("devcontainer.json"));
    let folder = mountable(environment)?;
    let state = format!("{folder}/.baibox/{}", environment.id);
    let mut files = BTreeMap::new();
    for component in std::iter::once(None).chain(release.components.iter().map(Some)) {
        // A name of its own is looked for one level deep, the default at the top.
        let (place, title) = match component {
            None => (".devcontainer/devcontainer.json".to_owned(), WORKSPACE),
            Some(component) => (format!(".devcontainer/{}/devcontainer.json", component.name), component.name.as_str()),
        };
        let service = component.map_or(WORKSPACE.to_owned(), |component| developed_in(&component.name));
        let here = component.map_or(folder.to_owned(), |component| format!("{folder}/{}", component.name));
        // The base name of the compose files' folder is the project, so no two environments become one.
        let up = "../".repeat(place.matches('/').count());
        let mut run = vec!["agent", "storage-proxy", "webserver", WORKSPACE];
        run.extend(component.map(|_| service.as_str()));
        let modules: Vec<&str> = match component {
            Some(component) => vec![&component.module],
            None => linked(release, WORKSPACE).map(|component| component.module.as_str()).collect(),
        };
        let script = format!("{state}/services/setup.py");
        let setup: Vec<&str> = ["python3", &script].into_iter().chain(modules).collect();
        let ports = forwarded(environment)?;
        let agent = environment.images.get("agent").context("the agent's image was not built")?;
        let values = json!({
            "branch": environment.branch,
            "id": environment.id,
            "title": title,
            "compose": COMPOSE_FILES.map(|name| format!("{up}.baibox/{}/{name}", environment.id)),
            "service": service,
            "run": run,
            "folder": here,
            "user": DEVELOPER,
            "forward": ports.keys().collect::<Vec<_>>(),
            "ports": ports,
            "initialize": ["/bin/sh", format!("{state}/services/gpu.sh"), agent],
            "setup": setup,
            "paths": release.components.iter().map(|component| format!("{folder}/{}/src", component.name)).collect::<Vec<_>>(),
            "tests": component.map_or_else(
                || linked(release, WORKSPACE).map(|component| format!("{}/tests", component.name)).collect(),
                |_| vec!["tests".to_owned()],
            ),
            "launch": launch(environment, release, component, &state),
        });
        let text = handlebars.render_template(template, &values).with_context(|| format!("cannot render `{place}`"))?;
        files.insert(place, text);
    }
    let attach =
        environment.ports.iter().filter_map(|(lease, port)| Some(attach(lease.strip_prefix(DEBUG_PORT)?, "127.0.0.1", *port)));
    let launch = json!({ "version": "0.2.0", "configurations": attach.collect::<Vec<_>>() });
    files.insert(".vscode/launch.json".into(), format!("{launch:#}\n"));
    Ok(files)
}

/// The service in which a component is developed: those of the stack run its program, and
/// see the trees read-only.
pub fn developed_in(component: &str) -> String {
    format!("{component}-dev")
}

/// Components whose sources an image links.
fn linked<'a>(release: &'a Release, image: &str) -> impl Iterator<Item = &'a Component> {
    let links = release.images.iter().find(|found| found.name == image).map(|image| image.links.as_slice());
    links.unwrap_or_default().iter().filter_map(|name| release.component(name))
}

/// Ports of services by the address that tools forward, and what they are.
fn forwarded(environment: &Environment) -> Result<BTreeMap<String, Value>> {
    let storage = environment.ports.get("storage-proxy").context("`storage-proxy` has no port")?;
    let attributes = |label: &str, protocol: &str| json!({ "label": label, "onAutoForward": "silent", "protocol": protocol });
    Ok([
        ("manager:8081".to_owned(), attributes("manager API", "http")),
        ("webserver:8080".to_owned(), attributes("web UI", "http")),
        (format!("storage-proxy:{storage}"), attributes("storage-proxy", "http")),
    ]
    .into())
}

fn attach(service: &str, host: &str, port: u16) -> Value {
    // Paths are the same inside and outside, so there is nothing to map.
    json!({
        "name": format!("{service}: attach (baibox debug {service})"), "type": "debugpy", "request": "attach",
        "connect": { "host": host, "port": port }, "justMyCode": false, "subProcess": true,
    })
}

/// What the debugger offers in a dev container: tests, the component's own program, running services.
fn launch(environment: &Environment, release: &Release, component: Option<&Component>, state: &str) -> Vec<Value> {
    let mut all = vec![json!({
        "name": "tests: current file", "type": "debugpy", "request": "launch", "module": "pytest",
        "args": ["${file}"], "justMyCode": false, "console": "integratedTerminal",
    })];
    let program = component.and_then(|component| release.images.iter().find(|image| image.name == component.name));
    if let Some([_, flag, module, arguments @ ..]) = program.map(|image| image.settings.cmd.as_slice())
        && flag == "-m"
        && let Some(component) = component
    {
        all.push(json!({
            "name": format!("{}: launch (after `docker stop {}-{}-1`)", component.name, environment.id, component.name),
            "type": "debugpy", "request": "launch", "module": module, "args": arguments,
            "cwd": format!("{state}/{}", component.name), "justMyCode": false, "subProcess": true,
            "console": "integratedTerminal",
        }));
    }
    let services = environment.ports.keys().filter_map(|lease| lease.strip_prefix(DEBUG_PORT));
    all.extend(services.map(|service| attach(service, service, DEBUGGER)));
    all
}
