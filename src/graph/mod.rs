//! The compose graph as a picture: services with their health, ports and volumes, and who waits for whom.

mod svg;

use crate::engine::Container;
use crate::release::Mix;
use crate::stack::{Verdict, judge};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

pub use svg::svg;

/// One service of the graph.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Service {
    pub name: String,
    /// Where it is not the stack's, but of another release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    pub state: &'static str,
    /// Ports of this host.
    pub ports: Vec<u16>,
    /// Named volumes.
    pub volumes: Vec<String>,
    /// Services that must be healthy or have ended well before it starts.
    pub after: Vec<String>,
    /// Length of the longest way to it.
    pub level: usize,
}

impl Service {
    /// Its name, and its release where that is not the stack's.
    fn called(&self) -> String {
        match &self.release {
            Some(release) => format!("{} ({release})", self.name),
            None => self.name.clone(),
        }
    }
}

/// Reads what `docker compose config --format json` says; in the order of their levels.
/// Components of `mix` are of other releases.
pub fn read(config: &str, services: &BTreeMap<String, bool>, containers: &[Container], mix: &Mix) -> Result<Vec<Service>> {
    // Warnings may follow the answer.
    let answer = serde_json::Deserializer::from_str(config).into_iter::<Value>().next();
    let config = answer.and_then(Result::ok).context("`docker compose config` did not answer with JSON")?;
    let health = judge(services, containers);
    let list = config["services"].as_object().context("the compose file has no services")?;
    let after = |name: &str| -> Vec<String> {
        list.get(name).and_then(|one| one["depends_on"].as_object()).into_iter().flat_map(|all| all.keys().cloned()).collect()
    };
    let items = |one: &Value, field: &str| one[field].as_array().cloned().unwrap_or_default();
    let mut found: Vec<Service> = list
        .iter()
        .map(|(name, one)| Service {
            name: name.clone(),
            // The client is where one works.
            release: mix.get(if name == "workspace" { "client" } else { name }).map(ToString::to_string),
            state: state(services, &health, containers, name),
            ports: items(one, "ports").iter().filter_map(|port| port["published"].as_str()?.parse().ok()).collect(),
            volumes: items(one, "volumes")
                .iter()
                .filter(|volume| volume["type"] == "volume")
                .filter_map(|volume| Some(volume["source"].as_str()?.to_owned()))
                .collect(),
            after: after(name),
            level: level(name, &after, list.len()),
        })
        .collect();
    found.sort_by(|one, two| (one.level, &one.name).cmp(&(two.level, &two.name)));
    Ok(found)
}

fn level(name: &str, after: &impl Fn(&str) -> Vec<String>, limit: usize) -> usize {
    // Compose refuses cycles; the limit is for a file that it has not seen.
    if limit == 0 { 0 } else { after(name).iter().map(|before| 1 + level(before, after, limit - 1)).max().unwrap_or(0) }
}

fn state(
    services: &BTreeMap<String, bool>,
    health: &BTreeMap<String, Verdict>,
    containers: &[Container],
    name: &str,
) -> &'static str {
    let container = containers.iter().find(|one| one.service == name);
    let stopped = container.is_none_or(|one| one.state == "exited" && !services.get(name).copied().unwrap_or(false));
    match health.get(name) {
        _ if stopped => "stopped",
        Some(Verdict::Good) if services.get(name) == Some(&true) => "done",
        Some(Verdict::Good) => "healthy",
        Some(Verdict::Starting) => "starting",
        Some(Verdict::Ill) => "ill",
        None => "running",
    }
}

/// A line for each service, in an order in which they can start.
pub fn text(services: &[Service]) -> String {
    let mut rows = vec![["SERVICE", "STATE", "PORT", "VOLUME", "AFTER"].map(String::from).to_vec()];
    rows.extend(services.iter().map(|one| {
        let ports: Vec<String> = one.ports.iter().map(u16::to_string).collect();
        vec![one.called(), one.state.to_owned(), ports.join(", "), one.volumes.join(", "), one.after.join(", ")]
    }));
    crate::ui::table(&rows)
}

/// What is shown below the name.
fn details(one: &Service) -> Vec<String> {
    let ports = one.ports.iter().map(|port| format!("127.0.0.1:{port}"));
    let volumes = one.volumes.iter().map(|volume| format!("volume {volume}"));
    std::iter::once(one.state.to_owned()).chain(ports).chain(volumes).collect()
}

fn fill(state: &str) -> &'static str {
    match state {
        "healthy" | "running" => "#d8f0dc",
        "done" => "#e6eaf0",
        "starting" => "#fdf0c8",
        "ill" => "#f8d0d0",
        _ => "#f4f4f4",
    }
}

/// For Markdown documents that show diagrams.
pub fn mermaid(services: &[Service]) -> String {
    let mut out = String::from("flowchart LR\n");
    for one in services {
        let label = std::iter::once(one.called()).chain(details(one)).collect::<Vec<_>>().join("<br/>");
        writeln!(out, "    {}[\"{label}\"]", one.name).expect("strings take all");
        writeln!(out, "    style {} fill:{},stroke:#666,color:#222", one.name, fill(one.state)).expect("strings take all");
    }
    edges(services).for_each(|(from, to)| writeln!(out, "    {from} --> {to}").expect("strings take all"));
    out
}

/// For Graphviz.
pub fn dot(services: &[Service]) -> String {
    let mut out = String::from(
        "digraph stack {\n    rankdir=LR;\n    node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\"];\n",
    );
    for one in services {
        let label = std::iter::once(one.called()).chain(details(one)).collect::<Vec<_>>().join("\\n");
        writeln!(out, "    \"{}\" [label=\"{label}\", fillcolor=\"{}\"];", one.name, fill(one.state)).expect("strings take all");
    }
    edges(services).for_each(|(from, to)| writeln!(out, "    \"{from}\" -> \"{to}\";").expect("strings take all"));
    out + "}\n"
}

fn edges(services: &[Service]) -> impl Iterator<Item = (&str, &str)> {
    services.iter().flat_map(|one| one.after.iter().map(|before| (before.as_str(), one.name.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Branch;

    fn graph() -> Vec<Service> {
        let config = r#"{"services": {
            "manager": {"depends_on": {"etcd": {"condition": "service_healthy"}, "schema": {}}, "ports": [{"published": "8091"}],
                "volumes": [{"type": "bind", "source": "/x"}]},
            "schema": {"depends_on": {"etcd": {}}},
            "etcd": {"volumes": [{"type": "volume", "source": "etcd"}]}
        }}"#;
        let services = [("manager", false), ("schema", true), ("etcd", false)].map(|(name, once)| (name.to_owned(), once)).into();
        let mix = [("manager".to_owned(), Branch::parse("20.09", &["20.09".to_owned()]).unwrap())].into();
        let container = |service: &str, state: &str, exit_code| Container {
            id: service.into(),
            name: service.into(),
            service: service.into(),
            state: state.into(),
            health: String::new(),
            exit_code,
            image: String::new(),
            config_hash: String::new(),
        };
        read(config, &services, &[container("etcd", "running", None), container("schema", "exited", Some(0))], &mix).unwrap()
    }

    #[test]
    fn services_stand_in_the_order_in_which_they_can_start() {
        insta::assert_snapshot!(text(&graph()), @r"
        SERVICE          STATE    PORT  VOLUME  AFTER
        etcd             healthy        etcd
        schema           done                   etcd
        manager (20.09)  stopped  8091          etcd, schema
        ");
    }

    #[test]
    fn the_same_graph_is_told_in_every_notation() {
        let graph = graph();
        let (mermaid, dot, svg) = (mermaid(&graph), dot(&graph), svg(&graph));
        assert!(mermaid.starts_with("flowchart LR\n    etcd[\"etcd<br/>healthy<br/>volume etcd\"]"), "{mermaid}");
        assert!(mermaid.contains("    schema --> manager\n") && mermaid.matches("-->").count() == 3, "{mermaid}");
        assert!(dot.contains("\"etcd\" -> \"manager\";") && dot.contains("manager (20.09)\\nstopped\\n127.0.0.1:8091"), "{dot}");
        assert_eq!((svg.matches("<rect").count(), svg.matches("<path class").count()), (3, 3), "{svg}");
        let mut reader = quick_xml::Reader::from_str(&svg);
        while reader.read_event().unwrap() != quick_xml::events::Event::Eof {}
    }
}
