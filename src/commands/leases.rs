//! Ports are leases: kept while an environment is stopped, when another program may take one.

use crate::doctor;
use crate::engine::{Engine, Listed};
use crate::environment::{DEBUG_PORT, Environment};
use crate::error::Fault;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// How the lease of a service's second port is called, after the service's name.
const APPS: &str = "-apps";

/// What the environment's services will listen at is free, or a fault names who holds it.
pub async fn are_free(engine: &dyn Engine, environment: &Environment) -> Result<()> {
    let listed = engine.list().await?;
    let taken = doctor::taken_ports(&needed(environment, &listed), &published(environment, &listed));
    if taken.is_empty() {
        return Ok(());
    }
    Err(conflict(environment, &taken, &listed).into())
}

/// Ports of services that do not run yet.
fn needed(environment: &Environment, listed: &[Listed]) -> BTreeSet<u16> {
    let own = |one: &&Listed| one.environment.as_deref() == Some(environment.id.as_str());
    let running: BTreeSet<&str> = listed
        .iter()
        .filter(own)
        .filter(|one| one.container.state == "running")
        .map(|one| one.container.service.as_str())
        .collect();
    // What the debugger of a running service listens at is seen by Compose alone.
    let idle = |lease: &str| {
        let service = lease.strip_prefix(DEBUG_PORT).unwrap_or(lease);
        !running.contains(service.strip_suffix(APPS).unwrap_or(service))
    };
    environment.ports_in_use().filter(|(service, _)| idle(service)).map(|(_, port)| port).collect()
}

/// Ports of other containers, with what to call these.
fn published(environment: &Environment, listed: &[Listed]) -> BTreeMap<u16, String> {
    let holder = |one: &Listed| match &one.environment {
        Some(id) => format!("the environment `{id}` (container {})", one.container.name),
        None => format!("the container {}", one.container.name),
    };
    let foreign = listed.iter().filter(|one| one.environment.as_deref() != Some(environment.id.as_str()));
    foreign.flat_map(|one| one.ports.iter().map(|port| (*port, holder(one)))).collect()
}

fn conflict(environment: &Environment, taken: &[(u16, Option<String>)], listed: &[Listed]) -> Fault {
    let services = |port: u16| {
        let names = environment.leases().filter(|(_, own)| *own == port).map(|(service, _)| service);
        names.collect::<Vec<_>>().join(", ")
    };
    let line = |(port, holder): &(u16, Option<String>)| {
        format!("{port} of {} is held by {}", services(*port), holder.as_deref().unwrap_or("another program"))
    };
    let list: Vec<String> = taken.iter().map(line).collect();
    let holds = |one: &&Listed| one.ports.iter().any(|port| taken.iter().any(|(own, _)| own == port));
    let neighbours: BTreeSet<&String> = listed.iter().filter(holds).filter_map(|one| one.environment.as_ref()).collect();
    let fault = Fault::new(format!("ports of `{}` are taken: {}", environment.id, list.join("; ")));
    let fault = neighbours.into_iter().fold(fault, |fault, id| fault.hint(format!("type `baibox stop --env {id}`")));
    fault.hint("end what holds them, then type the same command again: it goes on from here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Container;
    use serde_json::json;

    fn listed(environment: Option<&str>, name: &str, state: &str, port: u16) -> Listed {
        let text = String::from;
        let container = Container {
            id: text(name),
            name: text(name),
            service: text(name),
            state: text(state),
            health: text(""),
            exit_code: None,
            image: text(""),
            config_hash: text(""),
        };
        Listed { environment: environment.map(text), container, ports: vec![port] }
    }

    #[test]
    fn a_conflict_names_who_holds_the_port() {
        let value = json!({
            "id": "one", "branch": "21.03", "folder": "/nowhere", "subnet": "", "gateway": "", "secrets": {}, "images": {},
            "ports": {"manager": 8091, "webserver": 8090, "redis": 8111, "etcd": 8121, "debug-manager": 5681,
                "app-proxy-worker": 10201, "app-proxy-worker-apps": 10205},
        });
        let one: Environment = serde_json::from_value(value).unwrap();
        let listed = [
            listed(Some("one"), "redis", "running", 8111),
            listed(Some("two"), "two-manager-1", "running", 8091),
            listed(None, "web", "running", 8090),
            listed(Some("one"), "app-proxy-worker", "running", 10201),
        ];
        assert_eq!(needed(&one, &listed), BTreeSet::from([8090, 8091, 8121]));
        let published = published(&one, &listed);
        assert_eq!(published.keys().copied().collect::<Vec<_>>(), [8090, 8091]);
        let mut taken: Vec<_> = published.into_iter().map(|(port, holder)| (port, Some(holder))).collect();
        taken.push((8121, None));
        insta::assert_snapshot!(crate::error::render(&conflict(&one, &taken, &listed).into()), @r"
        error: ports of `one` are taken: 8090 of webserver is held by the container web; 8091 of manager is held by the environment `two` (container two-manager-1); 8121 of etcd is held by another program

        hint: type `baibox stop --env two`
        hint: end what holds them, then type the same command again: it goes on from here
        ");
    }
}
