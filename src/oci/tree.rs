use crate::model::SOURCE_DATE_EPOCH;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// One file system object of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Directory {
        mode: u32,
        uid: u32,
        gid: u32,
    },
    File {
        mode: u32,
        uid: u32,
        gid: u32,
        content: Bytes,
    },
    Symlink {
        target: String,
    },
    /// Another path of the same tree.
    Hardlink {
        target: String,
    },
    /// The path is removed from the layers below.
    Removed,
}

impl Node {
    pub fn file(mode: u32, content: impl Into<Bytes>) -> Self {
        Self::File { mode, uid: 0, gid: 0, content: content.into() }
    }
    pub fn directory(mode: u32) -> Self {
        Self::Directory { mode, uid: 0, gid: 0 }
    }
}

/// Why an entry of an archive cannot go into an image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TreeError {
    #[error("the path `{0}` is absolute, leaves the root, or is empty")]
    Path(String),
    #[error("the path `{0}` is there twice")]
    Duplicate(String),
    #[error("the name of `{0}` is reserved for whiteouts")]
    Whiteout(String),
    #[error("the hard link `{path}` names `{target}`, which is not a file of this archive")]
    Hardlink { path: String, target: String },
    #[error("`{path}` lies below `{parent}`, which is not a directory")]
    Parent { path: String, parent: String },
}

/// A fragment while it is made: paths in order, each checked when it is put in.
///
/// Paths are relative, without `.`; nothing is ever extracted to the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// `./usr//bin/` becomes `usr/bin`; `..`, absolute and empty paths are refused.
    pub fn normal_path(path: &str) -> Result<String, TreeError> {
        let fault = || TreeError::Path(path.to_owned());
        if path.starts_with('/') || path.contains('\0') {
            return Err(fault());
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.is_empty() || parts.contains(&"..") {
            return Err(fault());
        }
        if parts.iter().any(|part| part.starts_with(".wh.")) {
            return Err(TreeError::Whiteout(path.to_owned()));
        }
        Ok(parts.join("/"))
    }

    /// Puts a node in; a directory may come twice, anything else may not.
    pub fn insert(&mut self, path: &str, node: Node) -> Result<(), TreeError> {
        let path = Self::normal_path(path)?;
        match self.nodes.get(&path) {
            Some(Node::Directory { .. }) if matches!(node, Node::Directory { .. }) => {}
            Some(_) => return Err(TreeError::Duplicate(path)),
            None => {}
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }
    pub fn remove(&mut self, path: &str) -> Option<Node> {
        self.nodes.remove(path)
    }
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Folders apart from the rest: engines refuse a layer that names a folder twice,
    /// so a layer has all its folders once, before everything else.
    pub fn split_folders(self) -> (Self, Self) {
        let (folders, rest) = self.nodes.into_iter().partition(|(_, node)| matches!(node, Node::Directory { .. }));
        (Self { nodes: folders }, Self { nodes: rest })
    }

    /// No node lies below a file or link, and hard links name files of this tree.
    pub fn check(&self) -> Result<(), TreeError> {
        for (path, node) in &self.nodes {
            let mut end = path.len();
            while let Some(slash) = path[..end].rfind('/') {
                end = slash;
                match self.nodes.get(&path[..end]) {
                    None | Some(Node::Directory { .. }) => {}
                    Some(_) => return Err(TreeError::Parent { path: path.clone(), parent: path[..end].to_owned() }),
                }
            }
            if let Node::Hardlink { target } = node
                && !matches!(self.nodes.get(target), Some(Node::File { .. }))
            {
                return Err(TreeError::Hardlink { path: path.clone(), target: target.clone() });
            }
        }
        Ok(())
    }

    /// Writes the fragment: an uncompressed tar stream without its end marker.
    ///
    /// Entries are sorted, hard links after everything they could name; times are
    /// [`SOURCE_DATE_EPOCH`], owners numeric, headers GNU.
    pub fn write_fragment(&self, out: &mut impl Write) -> io::Result<()> {
        self.check().map_err(io::Error::other)?;
        let (links, others): (Vec<_>, Vec<_>) = self.nodes.iter().partition(|(_, node)| matches!(node, Node::Hardlink { .. }));
        let mut builder = tar::Builder::new(out);
        for (path, node) in others.into_iter().chain(links) {
            append(&mut builder, path, node)?;
        }
        // Dropped, it would write the end marker; it owns nothing but a reference.
        std::mem::forget(builder);
        Ok(())
    }
}

/// Two empty blocks close a tar stream; a layer is its fragments and then this.
pub const END_MARKER: [u8; 1024] = [0; 1024];

fn append<W: Write>(builder: &mut tar::Builder<W>, path: &str, node: &Node) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(SOURCE_DATE_EPOCH);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    match node {
        Node::Directory { mode, uid, gid } => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(*mode);
            header.set_uid(u64::from(*uid));
            header.set_gid(u64::from(*gid));
            builder.append_data(&mut header, format!("{path}/"), io::empty())
        }
        Node::File { mode, uid, gid, content } => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(*mode);
            header.set_uid(u64::from(*uid));
            header.set_gid(u64::from(*gid));
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, &content[..])
        }
        Node::Symlink { target } => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            builder.append_link(&mut header, path, target)
        }
        Node::Hardlink { target } => {
            header.set_entry_type(tar::EntryType::Link);
            header.set_mode(0o644);
            builder.append_link(&mut header, path, target)
        }
        Node::Removed => {
            let (parent, name) = path.rsplit_once('/').map_or(("", path), |(parent, name)| (parent, name));
            let whiteout = if parent.is_empty() { format!(".wh.{name}") } else { format!("{parent}/.wh.{name}") };
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(0o644);
            builder.append_data(&mut header, whiteout, io::empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_paths_are_refused() {
        for bad in ["/etc/passwd", "../x", "a/../../b", "", ".", "a/.wh.b", "a\0b"] {
            assert!(Tree::default().insert(bad, Node::file(0o644, "x")).is_err(), "{bad:?}");
        }
        assert_eq!(Tree::normal_path("./usr//bin/").unwrap(), "usr/bin");
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let mut tree = Tree::default();
        tree.insert("a", Node::Symlink { target: "/etc".into() }).unwrap();
        tree.insert("a/b", Node::file(0o644, "x")).unwrap();
        assert!(matches!(tree.check(), Err(TreeError::Parent { .. })));
    }

    #[test]
    fn a_fragment_does_not_depend_on_the_order_of_insertion() {
        let fragment = |order: &[&str]| {
            let mut tree = Tree::default();
            for path in order {
                tree.insert(path, Node::file(0o644, format!("content of {path}"))).unwrap();
            }
            let mut bytes = Vec::new();
            tree.write_fragment(&mut bytes).unwrap();
            bytes
        };
        let long = "d/".repeat(90) + "name";
        assert_eq!(fragment(&["b", "a", &long]), fragment(&[&long, "a", "b"]));
        assert_eq!(fragment(&["a"]).len(), 1024);
    }
}
