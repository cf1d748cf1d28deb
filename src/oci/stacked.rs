//! The files of layers that lie on each other, as an engine shows them.
//!
//! Whiteouts: <https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts>.

use super::{Tree, TreeError};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{self, Read};

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Folder,
    /// With its content, where that was asked for.
    File(Option<Bytes>),
    Link(String),
}

/// Why a layer is not taken.
#[derive(Debug, thiserror::Error)]
pub enum StackedError {
    #[error("the archive is broken")]
    Broken(#[from] io::Error),
    #[error("the entry `{0}` is refused")]
    Path(String, #[source] TreeError),
    #[error("the entry `{0}` is a device or a pipe")]
    Kind(String),
    #[error("the hard link `{0}` names `{1}`, which is not there")]
    Hardlink(String, String),
    #[error("the entry `{0}` is larger than {LARGEST} bytes")]
    Large(String),
    #[error("it has more than {MOST} entries")]
    Many,
}

/// The largest file whose content is read.
const LARGEST: u64 = 64 << 20;
const MOST: usize = 500_000;

/// What an entry of this name removes of the layers below: a path and all below it, or all in a folder that stays,
/// which then ends with `/` or is the root's empty path.
pub fn whiteout(name: &str) -> Result<Option<String>, TreeError> {
    let (folder, last) = name.trim_end_matches('/').rsplit_once('/').unwrap_or(("", name));
    let Some(gone) = last.strip_prefix(".wh.") else { return Ok(None) };
    let folder = match folder {
        "" | "." => String::new(),
        _ => format!("{}/", Tree::normal_path(folder)?),
    };
    match gone {
        "" | "." => Err(TreeError::Whiteout(name.to_owned())),
        ".wh..opq" => Ok(Some(folder)),
        _ => Tree::normal_path(&format!("{folder}{gone}")).map(Some),
    }
}

#[derive(Clone, Debug, Default)]
pub struct Stacked(BTreeMap<String, Seen>);

impl Stacked {
    /// Lays a layer on top, and reads the content of files that are `read`.
    pub fn add(&mut self, layer: impl Read, read: impl Fn(&str) -> bool) -> Result<(), StackedError> {
        let mut above: BTreeMap<String, Seen> = BTreeMap::new();
        // What a layer removes is below it, wherever it says so.
        let mut removed = Vec::new();
        for (number, entry) in tar::Archive::new(layer).entries()?.enumerate() {
            let mut entry = entry?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if number >= MOST {
                return Err(StackedError::Many);
            }
            if matches!(name.as_str(), "." | "./" | "/") {
                continue;
            }
            let normal = |path: &str| Tree::normal_path(path).map_err(|source| StackedError::Path(name.clone(), source));
            if let Some(path) = whiteout(&name).map_err(|source| StackedError::Path(name.clone(), source))? {
                removed.push(path);
                continue;
            }
            let path = normal(&name)?;
            let seen = match entry.header().entry_type() {
                tar::EntryType::Directory => Seen::Folder,
                tar::EntryType::Symlink => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    Seen::Link(String::from_utf8_lossy(&target).into_owned())
                }
                tar::EntryType::Link => {
                    let target = String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned();
                    let target = normal(target.trim_start_matches('/'))?;
                    let found = above.get(&target).or_else(|| self.0.get(&target));
                    found.cloned().ok_or_else(|| StackedError::Hardlink(path.clone(), target))?
                }
                tar::EntryType::Regular | tar::EntryType::Continuous if read(&path) => {
                    if entry.size() > LARGEST {
                        return Err(StackedError::Large(path));
                    }
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content)?;
                    Seen::File(Some(content.into()))
                }
                tar::EntryType::Regular | tar::EntryType::Continuous => Seen::File(None),
                _ => return Err(StackedError::Kind(path)),
            };
            above.insert(path, seen);
        }
        for path in removed {
            self.0.remove(&path);
            self.empty(path.trim_end_matches('/'));
        }
        for (path, seen) in above {
            if seen != Seen::Folder && self.0.get(&path) == Some(&Seen::Folder) {
                self.empty(&path);
            }
            self.0.insert(path, seen);
        }
        Ok(())
    }

    /// Removes all below a folder; the root is the empty path.
    fn empty(&mut self, folder: &str) {
        if folder.is_empty() {
            return self.0.clear();
        }
        // `0` comes after `/`.
        let below: Vec<String> = self.0.range(format!("{folder}/")..format!("{folder}0")).map(|(path, _)| path.clone()).collect();
        below.iter().for_each(|path| drop(self.0.remove(path)));
    }

    pub fn get(&self, path: &str) -> Option<&Seen> {
        self.0.get(path)
    }

    /// The content of a file that was read, as text.
    pub fn text(&self, path: &str) -> Option<String> {
        match self.0.get(path) {
            Some(Seen::File(Some(content))) => Some(String::from_utf8_lossy(content).into_owned()),
            _ => None,
        }
    }

    /// Names right in a folder.
    pub fn names(&self, folder: &str) -> Vec<&str> {
        let below = self.0.range(format!("{folder}/")..format!("{folder}0"));
        below.map(|(path, _)| &path[folder.len() + 1..]).filter(|name| !name.contains('/')).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layer of `path` folders with `/` at their end, `path=content` files, `path>target` links, `path!` devices.
    fn layer(entries: &[&str]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for entry in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            let (kind, path, content, link) = match entry.split_once(['=', '>', '!']) {
                Some((path, content)) if entry[path.len()..].starts_with('=') => (tar::EntryType::Regular, path, content, ""),
                Some((path, link)) if entry[path.len()..].starts_with('>') => (tar::EntryType::Symlink, path, "", link),
                Some((path, _)) => (tar::EntryType::Char, path, "", ""),
                None => (tar::EntryType::Directory, *entry, "", ""),
            };
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            // Set as it is: the checks are ours.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            if !link.is_empty() {
                header.set_link_name(link).unwrap();
            }
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn check(layers: &[&[&str]], expected: &[&str]) {
        let mut stacked = Stacked::default();
        for entries in layers {
            stacked.add(&layer(entries)[..], |_| true).unwrap();
        }
        let found: Vec<String> = stacked
            .0
            .iter()
            .map(|(path, seen)| match seen {
                Seen::Folder => format!("{path}/"),
                Seen::File(content) => format!("{path}={}", String::from_utf8_lossy(content.as_ref().unwrap())),
                Seen::Link(target) => format!("{path}>{target}"),
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_a_layer_removes_or_covers_is_not_seen() {
        check(&[&["./a/", "a/b=1", "c=2"], &["a/b=3"]], &["a/", "a/b=3", "c=2"]);
        check(&[&["a/", "a/b=1", "a/c=1"], &["a/.wh.b="]], &["a/", "a/c=1"]);
        check(&[&["a/", "a/b/", "a/b/c=1", "a0=1"], &[".wh.a="]], &["a0=1"]);
        check(&[&["a/", "a/b=1"], &["a/c=2", "a/.wh..wh..opq="]], &["a/", "a/c=2"]);
        check(&[&["a/", "a/b=1"], &["./.wh..wh..opq=", "c=2"]], &["c=2"]);
        check(&[&["a/", "a/b=1"], &["a>c"]], &["a>c"]);
    }

    #[test]
    fn what_does_not_belong_in_a_layer_is_named() {
        let refused = |entries: &[&str]| Stacked::default().add(&layer(entries)[..], |_| true).unwrap_err().to_string();
        assert_eq!(refused(&["../x=1"]), "the entry `../x` is refused");
        assert_eq!(refused(&["/etc/x=1"]), "the entry `/etc/x` is refused");
        assert_eq!(refused(&["a/.wh..=1"]), "the entry `a/.wh..` is refused");
        assert_eq!(refused(&["dev/sda!"]), "the entry `dev/sda` is a device or a pipe");
    }
}
