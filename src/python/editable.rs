//! A link to a mounted source tree, found like a real editable installation.

use super::wheel::seal_record;
use super::{Layout, entry_script, normal_name};
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
    let mut tree = Tree::default();
    let name = normal_name(&metadata.name).replace('-', "_");
    let site = layout.site_packages();
    let info = format!("{name}-{}.dist-info", metadata.version);
    let line = format!(
        "import os, sys; sys.path.append(os.path.join(os.environ.get('BAIBOX_WORKSPACE', '/workspace'), '{folder}', 'src'))\n"
    );
    tree.insert(&format!("{site}/__editable__.{name}.pth"), Node::file(0o644, line))?;
    let text = format!("Metadata-Version: 2.1\nName: {}\nVersion: {}\n", metadata.name, metadata.version);
    tree.insert(&format!("{site}/{info}/METADATA"), Node::file(0o644, text))?;
    let url = format!("{{\"dir_info\":{{\"editable\":true}},\"url\":\"file:///workspace/{folder}\"}}");
    tree.insert(&format!("{site}/{info}/direct_url.json"), Node::file(0o644, url))?;
    if !metadata.entry_points.is_empty() {
        let mut points = String::new();
        for (group, names) in &metadata.entry_points {
            writeln!(points, "[{group}]").expect("strings take all");
            for (name, target) in names {
                writeln!(points, "{name} = {target}").expect("strings take all");
                if group == "console_scripts"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plug_ins_are_found_and_the_path_comes_from_the_environment() {
        let points = BTreeMap::from([("backendai_scheduler_v10".into(), [("fifo".to_owned(), "a.b:C".to_owned())].into())]);
        let metadata = Metadata { name: "backend.ai-manager".into(), version: "21.3.32".into(), entry_points: points };
        let tree = tree("manager", &metadata, &Layout::new("3.9")).unwrap();
        let site = "opt/venv/lib/python3.9/site-packages";
        let Some(Node::File { content, .. }) = tree.get(&format!("{site}/backend_ai_manager-21.3.32.dist-info/entry_points.txt"))
        else {
            panic!("no entry points");
        };
        assert_eq!(&content[..], b"[backendai_scheduler_v10]\nfifo = a.b:C\n\n");
        assert!(tree.get(&format!("{site}/__editable__.backend_ai_manager.pth")).is_some());
    }
}
