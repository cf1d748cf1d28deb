//! One more account in the files that configured packages left.

use crate::model::SOURCE_DATE_EPOCH;
use crate::oci::{Node, Tree, TreeError};
use std::collections::BTreeMap;

/// Where accounts are, and their shape: passwd(5), group(5), shadow(5), gshadow(5).
pub const FILES: [&str; 4] = ["etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"];

/// The files with a line for the account each, and its home folder.
pub fn tree(name: &str, id: u32, files: &BTreeMap<&str, String>) -> Result<Tree, TreeError> {
    let days = SOURCE_DATE_EPOCH / (24 * 60 * 60);
    let mut tree = Tree::default();
    for (path, before) in files {
        let (line, mode, group) = match *path {
            "etc/passwd" => (format!("{name}:x:{id}:{id}::/home/{name}:/bin/bash"), 0o644, 0),
            "etc/group" => (format!("{name}:x:{id}:"), 0o644, 0),
            // No password: one gets there through the engine alone.
            "etc/shadow" => (format!("{name}:!:{days}:0:99999:7:::"), 0o640, SHADOW),
            _ => (format!("{name}:!::"), 0o640, SHADOW),
        };
        let text = format!("{}\n{line}\n", before.trim_end());
        tree.insert(path, Node::File { mode, uid: 0, gid: group, content: text.into() })?;
    }
    tree.insert(&format!("home/{name}"), Node::Directory { mode: 0o755, uid: id, gid: id })?;
    Ok(tree)
}

/// The group that may read passwords, by Debian's base-passwd.
const SHADOW: u32 = 42;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_added_to_those_that_are_there() {
        let files = FILES.map(|path| (path, "root:x:0\n".to_owned())).into();
        let tree = tree("dev", 1000, &files).unwrap();
        let text = |path: &str| match tree.get(path) {
            Some(Node::File { content, .. }) => String::from_utf8_lossy(content).into_owned(),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(text("etc/passwd"), "root:x:0\ndev:x:1000:1000::/home/dev:/bin/bash\n");
        assert!(text("etc/shadow").ends_with("\ndev:!:18687:0:99999:7:::\n"), "{}", text("etc/shadow"));
        assert_eq!(tree.get("home/dev"), Some(&Node::Directory { mode: 0o755, uid: 1000, gid: 1000 }));
    }
}
