//! Dev container Templates: a container with baibox, for a repository without more.
//! The format: <https://containers.dev/implementors/templates/>.

use super::devcontainer::attributes;
use super::{as_json, dialect};
use crate::release::Release;
use anyhow::{Context, Result};
use handlebars::Handlebars;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where the Feature is published, while nobody has said.
pub const FEATURE: &str = "registry.example/team/features/baibox:0";

/// Folder of the environment, below the workspace.
const FOLDER: &str = "backend.ai";

/// Files of a Template, and what they are made from.
const FILES: [(&str, &str); 3] = [
    ("devcontainer-template.json", include_str!("../../devcontainer/template/devcontainer-template.json")),
    (".devcontainer/devcontainer.json", include_str!("../../devcontainer/template/devcontainer.json")),
    ("NOTES.md", include_str!("../../devcontainer/template/NOTES.md")),
];

/// Every file of a release's Template, by its place below `src`.
pub fn template_files(release: &Release, feature: &str) -> Result<BTreeMap<String, String>> {
    let branch = &release.branch;
    let labels = [("manager", "manager API"), ("webserver", "web UI"), ("storage-proxy", "storage-proxy")];
    let ports: BTreeMap<u16, Value> =
        labels.iter().filter_map(|(service, label)| Some((*release.ports.get(*service)?, attributes(label)))).collect();
    let names: Vec<&str> = release.components.iter().map(|component| component.name.as_str()).collect();
    let values = json!({
        "branch": branch,
        "version": env!("CARGO_PKG_VERSION"),
        "python": release.python,
        "components": names.join(", "),
        "feature": feature,
        "folder": FOLDER,
        "up": ["baibox", "up", "--branch", branch, "--path", format!("${{localWorkspaceFolder}}/{FOLDER}")],
        "forward": ports.keys().collect::<Vec<_>>(),
        "ports": ports,
        "paths": names.iter().map(|name| format!("${{containerWorkspaceFolder}}/{FOLDER}/{name}/src")).collect::<Vec<_>>(),
    });
    let mut handlebars = Handlebars::new();
    handlebars.set_strict_mode(true);
    handlebars.register_helper("json", Box::new(as_json));
    let render = |(place, text): (&str, &str)| {
        handlebars.register_escape_fn(dialect::escape(place));
        let text = handlebars.render_template(text, &values).with_context(|| format!("cannot render `{place}`"))?;
        Ok((format!("backend.ai-{branch}/{place}"), text))
    };
    FILES.into_iter().map(render).collect()
}
