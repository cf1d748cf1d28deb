//! Files for editors: dev containers of the whole workspace and of each component, and
//! how debuggers attach. The format: <https://containers.dev/implementors/json_reference/>.

use super::{Inputs, Layout, as_json, dialect, render};
use crate::environment::{DEBUG_PORT, Environment};
use crate::plan::DEVELOPER;
use crate::release::{Component, Cuda, Era, ImageData, Release, STORAGE_PROXY};
use anyhow::{Context, Result};
use handlebars::Handlebars;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const TEMPLATE: &str = include_str!("../../devcontainer/devcontainer.json");

pub const WORKSPACE: &str = "workspace";

/// What brings browsers to programs in sessions, in releases that have it.
const APP_PROXIES: [&str; 2] = ["app-proxy-worker", "wsproxy"];

/// Where debuggers listen inside of containers.
const DEBUGGER: u16 = 5678;

/// Every file by its place in the environment's folder.
pub fn editor_files(environment: &Environment, release: &Release) -> Result<BTreeMap<String, String>> {
    let layout = Layout::here(environment)?;
    let mut files = BTreeMap::new();
    for component in std::iter::once(None).chain(developed(release).map(Some)) {
        // A name of its own is looked for one level deep, the default at the top.
        let place = match component {
            None => ".devcontainer/devcontainer.json".to_owned(),
            Some(component) => format!(".devcontainer/{}/devcontainer.json", component.name),
        };
        let text = file(environment, release, component, &layout, &"../".repeat(place.matches('/').count()));
        let text = text.with_context(|| format!("cannot render `{place}`"))?;
        files.insert(place, text);
    }
    let attach =
        environment.ports.iter().filter_map(|(lease, port)| Some(attach(lease.strip_prefix(DEBUG_PORT)?, "127.0.0.1", *port)));
    let launch = json!({ "version": "0.2.0", "configurations": attach.collect::<Vec<_>>() });
    files.insert(".vscode/launch.json".into(), format!("{launch:#}\n"));
    Ok(files)
}

/// Components that a dev container is of; a library of another release is seen in that of its program.
fn developed(release: &Release) -> impl Iterator<Item = &Component> {
    release.components.iter().filter(|component| component.library_of.is_none())
}

/// What scripts make in each clone is not committed; all else is, whatever the repository
/// ignores: upstream's ignore configurations by name.
const IGNORED: &str = "!*\n/compose.gpu.yaml\n/compose.name.yaml\n";

/// Every file of a `.devcontainer` that is committed, for the component whose repository it
/// is in, if it is one's. `trees` says where clones get the other components from.
pub fn exported_files(
    environment: &Environment,
    release: &Release,
    component: Option<&Component>,
    inputs: &Inputs,
    layout: &Layout,
    trees: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, String>> {
    let mut files = render(environment, inputs, layout)?;
    // Nothing there lays debuggers over the graph.
    files.remove("compose.debug.yaml");
    files.retain(|place, _| !place.starts_with("app-proxy-") && !place.starts_with("wsproxy/"));
    files.insert("trees.json".into(), format!("{:#}\n", json!(trees)));
    files.insert(".gitignore".into(), IGNORED.into());
    let mut files: BTreeMap<_, _> = files.into_iter().map(|(place, text)| (format!("baibox/{place}"), text)).collect();
    let text = file(environment, release, component, layout, "").context("cannot render `devcontainer.json`")?;
    files.insert("devcontainer.json".into(), text);
    Ok(files)
}

/// One configuration; `up` leads from its folder to the one that compose files are named from.
fn file(
    environment: &Environment,
    release: &Release,
    component: Option<&Component>,
    layout: &Layout,
    up: &str,
) -> Result<String> {
    let mut handlebars = Handlebars::new();
    handlebars.set_strict_mode(true);
    handlebars.register_helper("json", Box::new(as_json));
    handlebars.register_escape_fn(dialect::escape("devcontainer.json"));
    let Layout { folder, state, exported, .. } = layout;
    let title = component.map_or(WORKSPACE, |component| component.name.as_str());
    let title = format!("Backend.AI {} · {title}", environment.branch);
    let service = component.map_or(WORKSPACE.to_owned(), |component| developed_in(&component.name));
    let mut run = vec!["agent"];
    run.extend(release.has_storage_proxy().then_some(STORAGE_PROXY));
    run.extend(["webserver", WORKSPACE]);
    // The name of an app's host is lost where tools forward its port alone: clones have no app proxy.
    if layout.exported.is_none() {
        run.extend(APP_PROXIES.into_iter().filter(|name| release.services.contains_key(*name)));
    }
    run.extend(component.map(|_| service.as_str()));
    let modules: Vec<&str> = match component {
        Some(component) => vec![&component.module],
        None => linked(release, WORKSPACE).map(|component| component.module.as_str()).collect(),
    };
    let script = format!("{state}/services/setup.py");
    let setup: Vec<&str> = ["python3", &script].into_iter().chain(modules).collect();
    let agent = environment.images.get("agent").context("the agent's image was not built")?;
    // The host runs these: in a clone from its top, wherever that is.
    let initialize = match exported {
        None => json!(["/bin/sh", format!("{state}/services/gpu.sh"), agent]),
        Some(_) => json!({
            "name": ["/bin/sh", ".devcontainer/baibox/services/name.sh"],
            "gpu": ["/bin/sh", ".devcontainer/baibox/services/gpu.sh", agent],
        }),
    };
    let values = json!({
        "branch": environment.branch,
        "id": environment.id,
        "title": if exported.is_some() { title } else { format!("{title} ({})", environment.id) },
        "compose": layout.compose.iter().map(|name| format!("{up}{name}")).collect::<Vec<_>>(),
        "service": service,
        "run": run,
        "folder": component.map_or(folder.clone(), |component| format!("{folder}/{}", component.name)),
        "user": DEVELOPER,
        // What must be there is said before the graph is started.
        "gpu": if environment.cuda == Some(Cuda::Gpu) { json!(true) } else { json!("optional") },
        "forward": forwarded(environment, exported.is_some()).keys().map(|port| number_or_text(port)).collect::<Vec<_>>(),
        "ports": forwarded(environment, exported.is_some()),
        "initialize": initialize,
        "setup": setup,
        "paths": release.components.iter().map(|component| format!("{folder}/{}/src", component.name)).collect::<Vec<_>>(),
        "tests": component.map_or_else(
            || linked(release, WORKSPACE).map(|component| format!("{}/tests", component.name)).collect(),
            |_| vec!["tests".to_owned()],
        ),
        "launch": launch(environment, release, component, layout),
    });
    Ok(handlebars.render_template(TEMPLATE, &values)?)
}

/// Ports alone are numbers in the format, and `host:port` is text.
fn number_or_text(port: &str) -> Value {
    port.parse::<u16>().map_or_else(|_| port.into(), Value::from)
}

/// The service in which a component is developed: those of the stack run its program, and
/// see the trees read-only.
pub fn developed_in(component: &str) -> String {
    format!("{component}{DEVELOPED}")
}

/// The service in which a component's tests run.
pub fn tested_in(era: Era, component: &str) -> String {
    match era {
        Era::Components => developed_in(component),
        Era::Monorepo => format!("{component}-tests"),
    }
}

/// The service that its tests find in the place of an engine: see `images/services/engine.py`.
pub fn tested_by(component: &str) -> String {
    format!("{component}-engine")
}

/// Whether the account of the folder's owner is there: see `images/services/develop.sh`.
pub fn is_developed_in(service: &str) -> bool {
    service == WORKSPACE || service.ends_with(DEVELOPED)
}

/// How a service where a component is developed is called, after the component's name.
const DEVELOPED: &str = "-dev";

/// Components whose sources an image links.
fn linked<'a>(release: &'a Release, image: &str) -> impl Iterator<Item = &'a Component> {
    let links = release.images.iter().find(|found| found.name == image).map(|image| image.links.as_slice());
    links.unwrap_or_default().iter().filter_map(|name| release.component(name))
}

/// Ports of services by the address that tools forward, and what they are. Codespaces
/// forward those of the container that one develops in alone, by number.
fn forwarded(environment: &Environment, exported: bool) -> BTreeMap<String, Value> {
    let port = |service: &str, port: u16| if exported { port.to_string() } else { format!("{service}:{port}") };
    let programs = [(port("manager", 8081), attributes("manager API")), (port("webserver", 8080), attributes("web UI"))];
    let storage = environment.ports.get(STORAGE_PROXY).map(|own| (port(STORAGE_PROXY, *own), attributes(STORAGE_PROXY)));
    programs.into_iter().chain(storage).collect()
}

/// How a forwarded port is shown.
pub(super) fn attributes(label: &str) -> Value {
    json!({ "label": label, "onAutoForward": "silent", "protocol": "http" })
}

fn attach(service: &str, host: &str, port: u16) -> Value {
    // Paths are the same inside and outside, so there is nothing to map.
    json!({
        "name": format!("{service}: attach (baibox debug {service})"), "type": "debugpy", "request": "attach",
        "connect": { "host": host, "port": port }, "justMyCode": false, "subProcess": true,
    })
}

/// Whether the program of an image can be started where a component is developed: there is the configuration
/// of the component of its name, or, in the tree of all, of those that look for it where they are started.
fn runs_in(image: &ImageData, component: &Component) -> bool {
    let looks_around = image.settings.cmd.len() == 3 && image.name != "agent";
    image.name == component.name || (image.links == [component.name.as_str()] && looks_around)
}

/// What the debugger offers in a dev container: tests, the component's own program, running services.
fn launch(environment: &Environment, release: &Release, component: Option<&Component>, layout: &Layout) -> Vec<Value> {
    let mut all = vec![json!({
        "name": "tests: current file", "type": "debugpy", "request": "launch", "module": "pytest",
        "args": ["${file}"], "justMyCode": false, "console": "integratedTerminal",
    })];
    // In a clone nothing stops or debugs the services that run beside.
    if layout.exported.is_some() {
        return all;
    }
    let own = |image: &&ImageData| component.is_some_and(|component| runs_in(image, component));
    for image in release.images.iter().filter(own) {
        let [_, flag, module, arguments @ ..] = image.settings.cmd.as_slice() else { continue };
        if flag == "-m" {
            all.push(json!({
                "name": format!("{}: launch (after `docker stop {}-{}-1`)", image.name, environment.id, image.name),
                "type": "debugpy", "request": "launch", "module": module, "args": arguments,
                "cwd": format!("{}/{}", layout.state, image.name), "justMyCode": false, "subProcess": true,
                "console": "integratedTerminal",
            }));
        }
    }
    let services = environment.ports.keys().filter_map(|lease| lease.strip_prefix(DEBUG_PORT));
    all.extend(services.map(|service| attach(service, service, DEBUGGER)));
    all
}
