//! What the engine grants to sessions, where that is less than the agent asks.

use crate::engine::{Engine, Output, Step};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// What the agent asks for each session; engines without that right refuse it.
const WANTED_LIMITS: [(&str, i64); 2] = [("nofile", 1_048_576), ("memlock", -1)];

/// Limits that must be lowered, found by asking the engine for a container with them.
///
/// `image` is any that has a shell; `temporary` a folder for the answers.
pub async fn granted_limits(engine: &dyn Engine, image: &str, temporary: &Path) -> Result<BTreeMap<String, i64>> {
    let output = tempfile::NamedTempFile::new_in(temporary)?;
    let mut granted = BTreeMap::new();
    for (name, wanted) in WANTED_LIMITS {
        let step = Step {
            name: format!("limit {name}"),
            image: image.to_owned(),
            command: vec!["/bin/true".into()],
            ulimits: [(name.to_owned(), wanted)].into(),
            ..Step::default()
        };
        if engine.run_step(&step, output.path()).await.is_ok() {
            continue;
        }
        let letter = if name == "nofile" { 'n' } else { 'l' };
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
        // bash counts locked memory in KiB.
        granted.insert(name.to_owned(), if letter == 'l' { value * 1024 } else { value });
    }
    Ok(granted)
}
