//! The frame of a virtual environment around the distribution's interpreter.

use super::Layout;
use crate::oci::{Node, Tree, TreeError};

pub fn tree(layout: &Layout) -> Result<Tree, TreeError> {
    let Layout { prefix, python } = layout;
    let mut tree = Tree::default();
    let config = format!("home = /usr/bin\ninclude-system-site-packages = false\nversion = {python}\n");
    tree.insert(&format!("{prefix}/pyvenv.cfg"), Node::file(0o644, config))?;
    let interpreter = format!("/usr/bin/python{python}");
    tree.insert(&format!("{prefix}/bin/python{python}"), Node::Symlink { target: interpreter })?;
    for name in ["python", "python3"] {
        tree.insert(&format!("{prefix}/bin/{name}"), Node::Symlink { target: format!("python{python}") })?;
    }
    tree.insert(&layout.site_packages(), Node::directory(0o755))?;
    Ok(tree)
}
