//! What a component says of itself, read from its tree without running it.

use crate::python::editable::Metadata;
use crate::python::wheel::entry_points;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Name, version and entry points of the component in `tree`.
///
/// Entry points come from `setup.cfg`, else from the literal in `setup.py`,
/// else from the `*.egg-info` that a source distribution carries.
pub fn read(tree: &Path, project: &str) -> Result<Metadata> {
    let text = |name: &str| fs::read_to_string(tree.join(name)).unwrap_or_default();
    let version = version(tree).with_context(|| format!("no `__version__` was found below `{}`", tree.join("src").display()))?;
    let (config, setup) = (text("setup.cfg"), text("setup.py"));
    let mut points = of_setup_cfg(&config);
    if points.is_empty() {
        points = of_setup_py(&setup);
    }
    if points.is_empty() {
        points = of_egg_info(tree);
    }
    Ok(Metadata { name: project.to_owned(), version, entry_points: points })
}

/// `__version__` of the package below `src/ai/backend`.
fn version(tree: &Path) -> Option<String> {
    let mut folders: Vec<_> =
        fs::read_dir(tree.join("src/ai/backend")).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    folders.iter().find_map(|folder| {
        // A file of its own in some components, which `__init__.py` reads.
        let own = fs::read_to_string(folder.join("VERSION")).ok().map(|text| text.trim().to_owned());
        let init = fs::read_to_string(folder.join("__init__.py")).ok();
        let stated = init.and_then(|text| {
            let value = text.lines().find_map(|line| line.strip_prefix("__version__")?.trim_start().strip_prefix('='))?.trim();
            let inner = value.strip_prefix(['\'', '"'])?.strip_suffix(['\'', '"'])?;
            Some(inner.to_owned())
        });
        stated.or(own)
    })
}

type Points = BTreeMap<String, BTreeMap<String, String>>;

fn collect(found: Vec<(String, String, String)>) -> Points {
    let mut points = Points::new();
    for (group, name, target) in found {
        points.entry(group).or_default().insert(name, target);
    }
    points
}

/// `[options.entry_points]`: a group to a key, its points on indented lines.
fn of_setup_cfg(text: &str) -> Points {
    let mut inside = false;
    let mut group = String::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let content = line.trim();
        if content.starts_with('[') {
            inside = content == "[options.entry_points]";
        } else if !inside || content.is_empty() || content.starts_with(['#', ';']) {
        } else if !line.starts_with([' ', '\t']) {
            group = content.split('=').next().unwrap_or_default().trim().to_owned();
        } else if let Some((name, target)) = content.split_once('=') {
            found.push((group.clone(), name.trim().to_owned(), target.trim().to_owned()));
        }
    }
    collect(found)
}

/// The dictionary literal after `entry_points=`: groups are keys, points the strings of their lists.
fn of_setup_py(text: &str) -> Points {
    let mut found = Vec::new();
    let body =
        text.split_once("entry_points").and_then(|(_, rest)| rest.split_once('{')).and_then(|(_, rest)| rest.split_once('}'));
    let Some((body, _)) = body else { return Points::new() };
    let mut group = String::new();
    // Strings stand at odd places between quotes; one before a colon is a group.
    for part in body.lines().flat_map(|line| line.split(',')) {
        let part = part.split('#').next().unwrap_or_default().trim();
        let pieces = part.split(['\'', '"']).skip(1).step_by(2);
        for piece in pieces {
            match piece.split_once('=') {
                Some((name, target)) => found.push((group.clone(), name.trim().to_owned(), target.trim().to_owned())),
                None => piece.clone_into(&mut group),
            }
        }
    }
    collect(found)
}

fn of_egg_info(tree: &Path) -> Points {
    let Ok(entries) = fs::read_dir(tree.join("src")) else { return Points::new() };
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path().join("entry_points.txt"))).collect();
    files.sort();
    files
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .map(|text| collect(entry_points(&text)))
        .next()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_points_are_read_from_both_forms() {
        let config = "[options]\nzip_safe = false\n[options.entry_points]\nbackendai_cli_v10 =\n    mgr = a.b:main\n    etcd = a.c:cli\n[flake8]\nx =\n    y = z\n";
        let points = of_setup_cfg(config);
        assert_eq!(points.len(), 1);
        assert_eq!(points["backendai_cli_v10"]["etcd"], "a.c:cli");
        let setup = "setup(\n    entry_points={\n        'backendai_cli_v10': [\n            '_ = ai.backend.client.cli:main',\n        ]\n    },\n)";
        assert_eq!(of_setup_py(setup)["backendai_cli_v10"]["_"], "ai.backend.client.cli:main");
        assert!(of_setup_py("setup(name='x')").is_empty());
    }
}
