//! The frame of a virtual environment around an interpreter.

use super::{Interpreter, Layout};
use crate::oci::{Node, Tree, TreeError};

pub fn tree(layout: &Layout, interpreter: &Interpreter) -> Result<Tree, TreeError> {
    let Layout { prefix, python } = layout;
    let mut tree = Tree::default();
    let config = format!("home = {}\ninclude-system-site-packages = false\nversion = {python}\n", interpreter.home());
    tree.insert(&format!("{prefix}/pyvenv.cfg"), Node::file(0o644, config))?;
    tree.insert(&format!("{prefix}/bin/python{python}"), Node::Symlink { target: interpreter.program_of(python) })?;
    for name in ["python", "python3"] {
        tree.insert(&format!("{prefix}/bin/{name}"), Node::Symlink { target: format!("python{python}") })?;
    }
    // Where the interpreter looks for extension modules on 64-bit machines.
    tree.insert(&format!("{prefix}/lib64"), Node::Symlink { target: "lib".into() })?;
    tree.insert(&layout.site_packages(), Node::directory(0o755))?;
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_interpreter_leads_to_the_one_that_is_there() {
        let tree = tree(&Layout::new("3.9"), &Interpreter::debian()).unwrap();
        tree.check().unwrap();
        let link = |path: &str| match tree.get(path) {
            Some(Node::Symlink { target }) => target.clone(),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(link("opt/venv/bin/python3.9"), "/usr/bin/python3.9");
        assert_eq!((link("opt/venv/bin/python"), link("opt/venv/bin/python3")), ("python3.9".into(), "python3.9".into()));
        assert_eq!(link("opt/venv/lib64"), "lib");
        assert!(tree.get("opt/venv/pyvenv.cfg").is_some());

        let tree = super::tree(&Layout::new("3.9"), &Interpreter::standalone()).unwrap();
        let Some(Node::File { content, .. }) = tree.get("opt/venv/pyvenv.cfg") else { panic!("no configuration") };
        assert!(content.starts_with(b"home = /usr/local/bin\n"));
        let program = Node::Symlink { target: "/usr/local/bin/python3.9".into() };
        assert_eq!(tree.get("opt/venv/bin/python3.9"), Some(&program));
    }
}
