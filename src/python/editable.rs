//! A link to a mounted source tree, found like a real editable installation.

use super::wheel::seal_record;
use super::{Layout, entry_script};
use crate::oci::{Node, Tree, TreeError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a component says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Project name, such as `backend.ai-manager`.
    pub name: String,
    pub version: String,
    /// Group → name → target.
    pub entry_points: BTreeMap<String, BTreeMap<String, String>>,
}

/// The link of the component in the folder `folder` of the environment.
///
/// The environment's path is not in it: the `.pth` line reads it from
/// `BAIBOX_WORKSPACE`, so that the same image serves every environment.
/// Requirements are left out, since upstream's pins contradict each other.
pub fn tree(folder: &str, metadata: &Metadata, layout: &Layout) -> Result<Tree, TreeError> {
    // The folder stands inside a Python string, name and version in lines of their own;
    // they come from trees that anyone may have written.
    let plain =
        |text: &str| !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-+!".contains(letter));
    for text in [folder, &metadata.name, &metadata.version] {
        if !plain(text) {
            return Err(TreeError::Path(text.to_owned()));
        }
    }
    let mut tree = Tree::default();
    // Dots stay, as in wheels of those years: Python 3.9 looks for `backend.ai-agent` by that name alone.
    let name = metadata.name.to_lowercase().replace('-', "_");
    let site = layout.site_packages();
    let version = normal_version(&metadata.version);
    let info = format!("{name}-{version}.dist-info");
    let line = format!(
        "import os, sys; sys.path.append(os.path.join(os.environ.get('BAIBOX_WORKSPACE', '/workspace'), '{folder}', 'src'))\n"
    );
    tree.insert(&format!("{site}/__editable__.{name}.pth"), Node::file(0o644, line))?;
    let text = format!("Metadata-Version: 2.1\nName: {}\nVersion: {version}\n", metadata.name);
    tree.insert(&format!("{site}/{info}/METADATA"), Node::file(0o644, text))?;
    let url = format!("{{\"dir_info\":{{\"editable\":true}},\"url\":\"file:///workspace/{folder}\"}}");
    tree.insert(&format!("{site}/{info}/direct_url.json"), Node::file(0o644, url))?;
    if !metadata.entry_points.is_empty() {
        let mut points = String::new();
        for (group, names) in &metadata.entry_points {
            writeln!(points, "[{group}]").expect("strings take all");
            for (name, target) in names {
                writeln!(points, "{name} = {target}").expect("strings take all");
                if matches!(group.as_str(), "console_scripts" | "gui_scripts")
                    && let Some(script) = entry_script(layout, target)
                {
                    tree.insert(&format!("{}/{name}", layout.scripts()), Node::file(0o755, script))?;
                }
            }
            points.push('\n');
        }
        tree.insert(&format!("{site}/{info}/entry_points.txt"), Node::file(0o644, points))?;
    }
    seal_record(&mut tree, layout, &info)?;
    Ok(tree)
}

/// Leading zeros of the numbers are no part of a version: `21.03.32` is published as `21.3.32`.
fn normal_version(version: &str) -> String {
    let number = |part: &str| match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0".to_owned(),
        rest if rest.starts_with(|letter: char| letter.is_ascii_digit()) => rest.to_owned(),
        _ => part.to_owned(),
    };
    let (public, local) = version.split_once('+').map_or((version, None), |(public, local)| (public, Some(local)));
    let public = public.split('.').map(number).collect::<Vec<_>>().join(".");
    local.map_or(public.clone(), |local| format!("{public}+{local}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plug_ins_are_found_and_the_path_comes_from_the_environment() {
        let points = BTreeMap::from([("backendai_scheduler_v10".into(), [("fifo".to_owned(), "a.b:C".to_owned())].into())]);
        let metadata = Metadata { name: "backend.ai-manager".into(), version: "21.03.32".into(), entry_points: points };
        let tree = tree("manager", &metadata, &Layout::new("3.9")).unwrap();
        let site = "opt/venv/lib/python3.9/site-packages";
        let Some(Node::File { content, .. }) = tree.get(&format!("{site}/backend.ai_manager-21.3.32.dist-info/entry_points.txt"))
        else {
            panic!("no entry points");
        };
        assert_eq!(&content[..], b"[backendai_scheduler_v10]\nfifo = a.b:C\n\n");
        assert!(tree.get(&format!("{site}/__editable__.backend.ai_manager.pth")).is_some());
    }

    #[test]
    fn versions_are_written_as_they_are_published() {
        for (stated, published) in [
            ("21.03.32", "21.3.32"),
            ("20.09.0a1.dev0", "20.9.0a1.dev0"),
            ("0.0", "0.0"),
            ("1.00+g0a", "1.0+g0a"),
            ("1.0rc1", "1.0rc1"),
        ] {
            assert_eq!(normal_version(stated), published);
        }
    }

    #[test]
    fn scripts_stand_in_the_path_and_the_record_tells_all_files() {
        let points = BTreeMap::from([("console_scripts".to_owned(), BTreeMap::from([("x".to_owned(), "a.b:main".to_owned())]))]);
        let metadata = Metadata { name: "x".into(), version: "1".into(), entry_points: points };
        let tree = tree("x", &metadata, &Layout::new("3.9")).unwrap();
        assert!(matches!(tree.get("opt/venv/bin/x"), Some(Node::File { mode: 0o755, .. })));
        let Some(Node::File { content, .. }) = tree.get("opt/venv/lib/python3.9/site-packages/x-1.dist-info/RECORD") else {
            panic!("no RECORD");
        };
        let files = tree.iter().filter(|(_, node)| matches!(node, Node::File { .. })).count();
        assert_eq!(String::from_utf8_lossy(content).lines().count(), files);
    }

    #[test]
    fn a_tree_cannot_write_python_or_metadata_of_its_own() {
        let metadata = |name: &str, version: &str| Metadata { name: name.into(), version: version.into(), ..Metadata::default() };
        for (folder, name, version) in [
            ("x'); import os", "x", "1"),
            ("../x", "x", "1"),
            ("x", "x\nRequires-Dist: y", "1"),
            ("x", "x", "1\nRequires-Dist: y"),
            ("x", "x", "../1"),
            ("x", "", "1"),
        ] {
            assert!(tree(folder, &metadata(name, version), &Layout::new("3.9")).is_err(), "{folder:?} {name:?} {version:?}");
        }
    }
}
