//! What a container changed: its exported file system beside the fragments it stood on.

use super::Builder;
use crate::model::Digest;
use crate::oci::{Node, Tree, whiteout};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::Read;

/// The largest file that a step may leave.
const LARGEST_FILE: u64 = 512 << 20;

/// One object without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Directory(u32, u64, u64),
    File(u32, u64, u64, Digest),
    Symlink(String),
}

/// Paths and what they are, of fragments in order: later ones cover earlier ones.
#[derive(Default)]
pub struct Below(BTreeMap<String, Seen>);

/// Places that the engine fills in by itself; they belong to no image.
const OF_THE_ENGINE: [&str; 4] = ["dev", "proc", "sys", ".dockerenv"];

fn of_the_engine(path: &str) -> bool {
    OF_THE_ENGINE.iter().any(|place| path == *place || path.strip_prefix(place).is_some_and(|rest| rest.starts_with('/')))
}

struct Entry {
    path: String,
    kind: tar::EntryType,
    mode: u32,
    uid: u64,
    gid: u64,
    link: String,
    content: Vec<u8>,
    /// The path is that of a [`whiteout`].
    removes: bool,
}

/// Calls `each` for every entry of a tar stream, with bounded content.
fn entries(stream: impl Read, mut each: impl FnMut(Entry) -> Result<()>) -> Result<()> {
    let mut archive = tar::Archive::new(stream);
    archive.set_ignore_zeros(true);
    for entry in archive.entries()? {
        let mut entry = entry.context("the tar stream is broken")?;
        let name = String::from_utf8(entry.path_bytes().into_owned()).context("a path is not UTF-8")?;
        let name = name.trim_start_matches("./").trim_end_matches('/').to_owned();
        if name.is_empty() || name == "." {
            continue;
        }
        let (path, removes) = match whiteout(&name)? {
            Some(path) => (path, true),
            None => (Tree::normal_path(&name)?, false),
        };
        let link = entry.link_name_bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        if entry.size() > LARGEST_FILE {
            bail!("`{path}` is larger than {LARGEST_FILE} bytes");
        }
        let header = entry.header();
        let (mode, uid, gid) = (header.mode()? & 0o7777, header.uid()?, header.gid()?);
        let kind = header.entry_type();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        each(Entry { path, kind, mode, uid, gid, link, content, removes })?;
    }
    Ok(())
}

fn content_of(node: &Node) -> Option<Bytes> {
    match node {
        Node::File { content, .. } => Some(content.clone()),
        _ => None,
    }
}

impl Builder {
    /// What a step's layers hold.
    pub(super) async fn below(&self, layers: &[Vec<Digest>]) -> Result<Below> {
        let mut fragments = Vec::new();
        for keys in layers {
            fragments.extend(self.layer("step", keys).await?.fragments);
        }
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            let mut known = Below::default();
            for fragment in fragments {
                known.add(std::io::BufReader::with_capacity(1 << 18, store.reader(&fragment)?))?;
            }
            Ok(known)
        })
        .await?
    }
}

impl Below {
    /// Adds a fragment on top.
    pub fn add(&mut self, fragment: impl Read) -> Result<()> {
        let seen = &mut self.0;
        let (mut above, mut removed) = (BTreeMap::new(), Vec::new());
        entries(fragment, |entry| {
            let Entry { path, mode, uid, gid, .. } = entry;
            if entry.removes {
                removed.push(path);
                return Ok(());
            }
            let what = match entry.kind {
                tar::EntryType::Directory => Seen::Directory(mode, uid, gid),
                tar::EntryType::Symlink => Seen::Symlink(entry.link),
                tar::EntryType::Link => {
                    let target = Tree::normal_path(&entry.link)?;
                    match above.get(&target).or_else(|| seen.get(&target)) {
                        Some(target) => Seen::clone(target),
                        None => bail!("the hard link `{path}` names nothing"),
                    }
                }
                _ => Seen::File(mode, uid, gid, Digest::of(&entry.content)),
            };
            above.insert(path, what);
            Ok(())
        })?;
        for path in removed {
            let below = if path.is_empty() || path.ends_with('/') { path.clone() } else { format!("{path}/") };
            seen.retain(|other, _| *other != path && !other.starts_with(&below));
        }
        seen.append(&mut above);
        Ok(())
    }

    /// The tree that, laid on top of these fragments, gives the exported file system.
    pub fn changes(mut self, export: impl Read) -> Result<Tree> {
        let mut tree = Tree::default();
        // Files that later names may be hard links to; the content of changed ones is in the tree.
        let mut files: BTreeMap<String, Seen> = BTreeMap::new();
        let before = std::mem::take(&mut self.0);
        let mut present = std::collections::BTreeSet::new();
        entries(export, |entry| {
            let Entry { path, mode, uid, gid, link, content, kind, removes } = entry;
            anyhow::ensure!(!removes, "a step left `{path}` as removed");
            if of_the_engine(&path) {
                return Ok(());
            }
            present.insert(path.clone());
            let known = before.get(&path);
            let (what, bytes) = match kind {
                tar::EntryType::Directory => (Seen::Directory(mode, uid, gid), None),
                tar::EntryType::Symlink => (Seen::Symlink(link), None),
                tar::EntryType::Link => {
                    let target = Tree::normal_path(link.trim_start_matches('/'))?;
                    match files.get(&target) {
                        Some(seen) => (seen.clone(), tree.get(&target).and_then(content_of)),
                        None => bail!("the hard link `{path}` names `{target}`, which did not come before it"),
                    }
                }
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    (Seen::File(mode, uid, gid, Digest::of(&content)), Some(Bytes::from(content)))
                }
                // Sockets, pipes and devices that a script left are not part of an image.
                _ => return Ok(()),
            };
            let changed = known != Some(&what);
            if changed {
                let (uid, gid) = (u32::try_from(uid)?, u32::try_from(gid)?);
                let node = match (&what, &bytes) {
                    (Seen::Directory(..), _) => Node::Directory { mode, uid, gid },
                    (Seen::Symlink(target), _) => Node::Symlink { target: target.clone() },
                    (Seen::File(mode, uid, gid, _), Some(content)) => {
                        Node::File { mode: *mode, uid: u32::try_from(*uid)?, gid: u32::try_from(*gid)?, content: content.clone() }
                    }
                    (Seen::File(..), None) => bail!("`{path}` became a hard link to a file that did not change"),
                };
                tree.insert(&path, node)?;
            }
            if matches!(what, Seen::File(..)) {
                files.insert(path, what);
            }
            Ok(())
        })?;
        // A folder's removal covers what was in it.
        let mut last_gone: Option<String> = None;
        for path in before.keys() {
            if present.contains(path) || of_the_engine(path) {
                continue;
            }
            if last_gone.as_ref().is_some_and(|gone| path.starts_with(&format!("{gone}/"))) {
                continue;
            }
            tree.insert(path, Node::Removed)?;
            last_gone = Some(path.clone());
        }
        Ok(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tree = Tree::default();
        for (path, content) in files {
            tree.insert(path, Node::file(0o644, (*content).to_owned())).unwrap();
        }
        let mut bytes = Vec::new();
        tree.write_fragment(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn only_what_a_step_changed_is_kept() {
        let mut below = Below::default();
        below.add(&fragment(&[("same", "1"), ("changed", "1"), ("gone", "1"), ("dev/null", "")])[..]).unwrap();
        let changes = below.changes(&fragment(&[("same", "1"), ("changed", "2"), ("new", "3"), (".dockerenv", "")])[..]).unwrap();
        let paths: Vec<_> = changes.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["changed", "gone", "new"]);
        assert_eq!(changes.get("gone"), Some(&Node::Removed));
    }
}
