//! What the engine grants to sessions, where that is less than the agent asks.

use crate::engine::{Engine, Output, Step};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;

type Limits = BTreeMap<String, i64>;

/// What the agent asks for each session; engines without that right refuse it.
const WANTED_LIMITS: [(&str, i64); 2] = [("nofile", 1_048_576), ("memlock", -1)];

/// A limit that Podman raises of itself for a container that asks for others.
const UNASKED: &str = "nproc";

/// Limits that must be lowered, found by asking the engine for a container with them.
///
/// `image` is any that has a shell; `temporary` a folder for the answers.
pub async fn granted_limits(engine: &dyn Engine, image: &str, temporary: &Path) -> Result<Limits> {
    let mut granted = Limits::new();
    for (name, wanted) in WANTED_LIMITS {
        if grants(engine, image, temporary, [(name.to_owned(), wanted)].into()).await.is_err() {
            granted.insert(name.to_owned(), limit(engine, image, temporary, name).await?);
        }
    }
    if !granted.is_empty() && grants(engine, image, temporary, granted.clone()).await.is_err() {
        granted.insert(UNASKED.to_owned(), limit(engine, image, temporary, UNASKED).await?);
        grants(engine, image, temporary, granted.clone()).await.context("the engine refuses the limits that it has itself")?;
    }
    Ok(granted)
}

/// Whether the engine starts a container with these limits.
async fn grants(engine: &dyn Engine, image: &str, temporary: &Path, ulimits: Limits) -> Result<()> {
    let output = tempfile::NamedTempFile::new_in(temporary)?;
    let names: Vec<&str> = ulimits.keys().map(String::as_str).collect();
    let step = Step {
        name: format!("limit {}", names.join(" ")),
        image: image.to_owned(),
        command: vec!["/bin/true".into()],
        ulimits,
        ..Step::default()
    };
    engine.run_step(&step, output.path()).await
}

/// The hard limit of a container that asks for nothing.
async fn limit(engine: &dyn Engine, image: &str, temporary: &Path, name: &str) -> Result<i64> {
    let output = tempfile::NamedTempFile::new_in(temporary)?;
    let (letter, unit) = match name {
        "nofile" => ('n', 1),
        // bash counts locked memory in KiB.
        "memlock" => ('l', 1024),
        _ => ('u', 1),
    };
    let script = format!("mkdir /limit && ulimit -H -{letter} > /limit/value");
    let step = Step {
        name: format!("limit {name}"),
        image: image.to_owned(),
        command: ["/bin/bash", "-c", &script].map(String::from).to_vec(),
        output: Output::Folder("/limit/value".into()),
        ..Step::default()
    };
    engine.run_step(&step, output.path()).await?;
    let mut archive = tar::Archive::new(output.reopen()?);
    let mut text = String::new();
    if let Some(entry) = archive.entries()?.next() {
        std::io::Read::read_to_string(&mut entry?, &mut text)?;
    }
    let value: i64 = text.trim().parse().with_context(|| format!("the engine's limit `{name}` is `{}`", text.trim()))?;
    Ok(value * unit)
}
