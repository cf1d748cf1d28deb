use super::{Context, compare};
use crate::cli::Diff;
use crate::lock;
use crate::plan::{self, Plan};
use crate::python::editable::Metadata;
use crate::release::{Catalog, Component, Release};
use crate::render;
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How two releases differ.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Difference {
    /// `python 3.9 → 3.11`, one line each; also what was published of each component.
    components: Vec<String>,
    python: Vec<String>,
    debian: Vec<String>,
    services: Vec<String>,
    ports: Vec<String>,
    /// Place of a rendered file → how its lines differ.
    configs: BTreeMap<String, String>,
    /// Image → how many of its layers both have.
    layers: Vec<String>,
}

pub async fn run(context: &Context, options: &Diff) -> Result<()> {
    if compare::is_meant(context, &options.from)? {
        return compare::run(context, options).await;
    }
    let [from, to] = [&options.from, &options.to].map(|text| context.branch(text));
    let (from, to) = (Catalog::release(from?.as_str())?, Catalog::release(to?.as_str())?);
    let difference = compare(&from, &to)?;
    context.print(&difference, &text(&difference, &from, &to))
}

fn compare(from: &Release, to: &Release) -> Result<Difference> {
    let pins = |release: &Release| {
        let mut lock = release.python_lock.clone().context("the release has no Python lock")?;
        let used: BTreeSet<&String> = release.images.iter().filter_map(|image| image.environment.as_ref()).collect();
        lock.environments.retain(|name, _| used.contains(name));
        anyhow::Ok(lock)
    };
    let ports = |release: &Release| release.ports.iter().map(|(name, port)| (name.clone(), port.to_string())).collect();
    let services = |release: &Release| {
        release.services().into_iter().map(|(name, once)| (name, if once { "once" } else { "always" }.to_owned())).collect()
    };
    Ok(Difference {
        components: lines(&components(from), &components(to)),
        python: lock::python_changes(&pins(from)?, &pins(to)?),
        debian: lock::debian_changes(&from.debian_lock, &to.debian_lock),
        services: lines(&services(from), &services(to)),
        ports: lines(&ports(from), &ports(to)),
        configs: configs(from, to)?,
        layers: layers(&plan_of(from)?, &plan_of(to)?),
    })
}

/// Name → value, before and after.
fn lines(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let line = |name: &String| match (before.get(name), after.get(name)) {
        (Some(old), Some(new)) if old == new => None,
        (Some(old), Some(new)) => Some(format!("{name} {old} → {new}")),
        (Some(old), None) => Some(format!("{name} {old} → gone")),
        (None, Some(new)) => Some(format!("{name} {new} is new")),
        (None, None) => None,
    };
    names.into_iter().filter_map(line).collect()
}

fn components(release: &Release) -> BTreeMap<String, String> {
    let of = |component: &Component| (component.name.clone(), component.version().to_owned());
    let python = ("python".to_owned(), release.python_name());
    release.components.iter().chain(&release.optional).map(of).chain([python]).collect()
}

fn configs(from: &Release, to: &Release) -> Result<BTreeMap<String, String>> {
    let (before, after) = (render::example(from)?, render::example(to)?);
    let places: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let text = |files: &BTreeMap<String, String>, place: &String| files.get(place).cloned().unwrap_or_default();
    let differ = places.into_iter().filter_map(|place| {
        let (old, new) = (text(&before, place), text(&after, place));
        let names = (format!("{}/{place}", from.branch), format!("{}/{place}", to.branch));
        let diff =
            similar::TextDiff::from_lines(&old, &new).unified_diff().context_radius(1).header(&names.0, &names.1).to_string();
        (old != new).then(|| (place.clone(), diff))
    });
    Ok(differ.collect())
}

/// The plan with trees as they were published; their entry points are not known here.
fn plan_of(release: &Release) -> Result<Plan> {
    let told = |component: &Component| {
        let metadata =
            Metadata { name: component.project.clone(), version: component.version().to_owned(), ..Metadata::default() };
        (component.name.clone(), metadata)
    };
    plan::plan(release, &release.components.iter().map(told).collect())
}

fn layers(from: &Plan, to: &Plan) -> Vec<String> {
    let known: BTreeSet<_> = from.images.iter().flat_map(|image| &image.layers).map(|layer| layer.key()).collect();
    let line = |image: &plan::ImagePlan| {
        let shared = image.layers.iter().filter(|layer| known.contains(&layer.key())).count();
        format!("{}: {shared} of {} layers are the same", image.name, image.layers.len())
    };
    to.images.iter().map(line).collect()
}

fn text(difference: &Difference, from: &Release, to: &Release) -> String {
    let mut parts = vec![format!("{} → {}", from.branch, to.branch)];
    let mut part = |title: &str, lines: &[String]| {
        let lines: Vec<String> = lines.iter().map(|line| format!("  {line}")).collect();
        let lines = if lines.is_empty() { "  the same".to_owned() } else { lines.join("\n") };
        parts.push(format!("{title}\n{lines}"));
    };
    part("components", &difference.components);
    part("Python packages", &difference.python);
    part("Debian packages", &difference.debian);
    part("services", &difference.services);
    part("ports", &difference.ports);
    part("layers", &difference.layers);
    part("configs", &difference.configs.keys().cloned().collect::<Vec<_>>());
    parts.extend(difference.configs.values().map(|diff| diff.trim_end().to_owned()));
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_differ_in_what_their_data_says() {
        let [old, new] = ["21.03", "21.09"].map(|branch| Catalog::release(branch).unwrap());
        let difference = compare(&old, &new).unwrap();
        assert!(difference.components.contains(&"common 21.3.14 → 21.9.8".to_owned()), "{:?}", difference.components);
        assert!(difference.python.iter().any(|line| line.starts_with("etcd3") || line.contains(" → ")));
        assert!(difference.ports.is_empty() && difference.services.is_empty() && difference.debian.is_empty());
        assert!(difference.configs["agent/agent.toml"].contains("-kernel-host"));
        assert!(difference.configs["agent/agent.toml"].contains("+bind-host"));
        assert!(difference.layers.contains(&"etcd: 2 of 2 layers are the same".to_owned()), "{:?}", difference.layers);
        assert_eq!(compare(&old, &old).unwrap().configs.len(), 0);
        assert!(text(&difference, &old, &new).contains("ports\n  the same"));
    }
}
