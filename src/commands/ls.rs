use super::Context;
use crate::engine::{Container, Listed};
use crate::environment::{self, DEBUG_PORT, Environment};
use crate::model::Branch;
use crate::stack;
use anyhow::Result;
use serde_json::json;
use std::collections::BTreeMap;

/// Columns for ports, and the services whose they are.
const PORTS: [(&str, &str); 6] = [
    ("WEB", "webserver"),
    ("API", "manager"),
    ("STORAGE", "storage-proxy"),
    ("PG", "postgres"),
    ("REDIS", "redis"),
    ("ETCD", "etcd"),
];

pub async fn run(context: &Context) -> Result<()> {
    let environments = environment::list(&context.store)?;
    // The list is worth having without an engine; states are then unknown.
    let listed = match context.engine().await {
        Ok(engine) => Some(engine.list().await?),
        Err(_) => None,
    };
    let heads = ["ENVIRONMENT", "BRANCH", "STATE"].into_iter().chain(PORTS.map(|(head, _)| head)).chain(["PATH"]);
    let mut rows = vec![heads.map(String::from).collect()];
    let mut values = Vec::new();
    let mut releases = Services::default();
    for environment in &environments {
        let state = listed.as_ref().map_or("unknown", |listed| state(environment, listed, &mut releases));
        rows.push(row(environment, state));
        let ports = environment.ports.iter().filter(|(service, _)| !service.starts_with(DEBUG_PORT));
        values.push(json!({
            "id": environment.id, "branch": environment.branch, "mix": environment.mix, "state": state, "folder": environment.folder,
            "ports": ports.collect::<BTreeMap<_, _>>(),
        }));
    }
    if environments.is_empty() {
        context.ui.say("there is no environment yet: type `baibox up --branch 21.03`");
        rows.clear();
    }
    context.print(&values, &crate::ui::table(&rows))
}

fn row(environment: &Environment, state: &str) -> Vec<String> {
    let ports = PORTS.map(|(_, service)| environment.ports.get(service).map(u16::to_string).unwrap_or_default());
    let path = environment.folder.display().to_string();
    [environment.id.to_string(), environment.release_name(), state.to_owned()].into_iter().chain(ports).chain([path]).collect()
}

/// Services of each branch, read once.
type Services = BTreeMap<Branch, Option<BTreeMap<String, bool>>>;

/// `running` if all is well, else what keeps it from being so.
fn state(environment: &Environment, listed: &[Listed], releases: &mut Services) -> &'static str {
    let own: Vec<Container> = listed
        .iter()
        .filter(|one| one.environment.as_deref() == Some(environment.id.as_str()) && !one.container.service.is_empty())
        .map(|one| one.container.clone())
        .collect();
    let services = releases.entry(environment.branch.clone()).or_insert_with(|| Some(environment.release().ok()?.services()));
    // A release of a folder that is not laid over the catalog now.
    let Some(services) = services else { return "unknown" };
    let health = stack::judge(services, &own);
    let any = |verdict| health.values().any(|own| *own == verdict);
    match () {
        () if own.is_empty() => "absent",
        () if !own.iter().any(|container| container.state == "running") => "stopped",
        () if any(stack::Verdict::Ill) => "ill",
        () if any(stack::Verdict::Starting) => "starting",
        () => "running",
    }
}
