//! Two layers, entry by entry: where they first differ, and in what.

use crate::model::Digest;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};

/// The largest content of which the place of a difference is looked for.
const LARGEST: u64 = 512 << 20;

/// One entry of a layer, with the digest of its content in the place of the content.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    fields: [(&'static str, String); 8],
    position: usize,
}

/// What is not the same in two layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub path: String,
    /// Such as `mode`, `content` or `order`.
    pub field: &'static str,
    pub left: String,
    pub right: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, field, left, right } = self;
        write!(out, "`{path}`, {field}: {left} and {right}")
    }
}

fn entries(stream: impl Read) -> io::Result<BTreeMap<String, Entry>> {
    let mut found = BTreeMap::new();
    let mut archive = tar::Archive::new(stream);
    archive.set_ignore_zeros(true);
    for (position, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let link = entry.link_name_bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let header = entry.header();
        let owner = |id: io::Result<u64>| id.map(|id| id.to_string());
        let (mode, uid, gid) = (format!("{:04o}", header.mode()?), owner(header.uid())?, owner(header.gid())?);
        let (kind, time) = (format!("{:?}", header.entry_type()).to_lowercase(), header.mtime()?.to_string());
        let size = entry.size().to_string();
        let mut content = sha2::Sha256::default();
        io::copy(&mut entry, &mut Hashing(&mut content))?;
        let content = Digest::from_hasher(content).to_string();
        let fields = [
            ("kind", kind),
            ("mode", mode),
            ("user", uid),
            ("group", gid),
            ("time", time),
            ("link", link),
            ("size", size),
            ("content", content),
        ];
        found.insert(path, Entry { fields, position });
    }
    Ok(found)
}

struct Hashing<'a>(&'a mut sha2::Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        sha2::Digest::update(self.0, bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first difference by path, of layers that `left` and `right` open.
pub fn first_difference<L: Read, R: Read>(
    left: impl Fn() -> io::Result<L>,
    right: impl Fn() -> io::Result<R>,
) -> io::Result<Option<Difference>> {
    let (ours, theirs) = (entries(left()?)?, entries(right()?)?);
    let difference = |path: &str, field, left: &str, right: &str| Difference {
        path: path.into(),
        field,
        left: left.into(),
        right: right.into(),
    };
    let paths: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for path in paths {
        let (one, other) = match (ours.get(path), theirs.get(path)) {
            (Some(one), Some(other)) => (one, other),
            (Some(_), None) => return Ok(Some(difference(path, "presence", "there", "absent"))),
            _ => return Ok(Some(difference(path, "presence", "absent", "there"))),
        };
        // A size that differs makes the content differ; the content says more.
        let mut differing = one.fields.iter().zip(&other.fields).filter(|(one, other)| one != other);
        match differing.next() {
            None => {}
            Some(((field, _), _)) if matches!(*field, "size" | "content") => {
                let (before, after) = around(&content(left()?, path)?, &content(right()?, path)?);
                return Ok(Some(difference(path, "content", &before, &after)));
            }
            Some(((field, before), (_, after))) => return Ok(Some(difference(path, field, before, after))),
        }
    }
    let moved = ours.iter().find(|(path, entry)| theirs[*path].position != entry.position);
    Ok(moved.map(|(path, entry)| {
        difference(path, "order", &format!("entry {}", entry.position), &format!("entry {}", theirs[path].position))
    }))
}

fn content(stream: impl Read, path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut archive = tar::Archive::new(stream);
    archive.set_ignore_zeros(true);
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.path_bytes() == path.as_bytes() {
            // As where layers are listed, the last of a name counts.
            bytes.clear();
            entry.take(LARGEST).read_to_end(&mut bytes)?;
        }
    }
    Ok(bytes)
}

/// A few bytes of both from where they part.
fn around(left: &[u8], right: &[u8]) -> (String, String) {
    const SHOWN: usize = 24;
    let place = left.iter().zip(right).take_while(|(one, other)| one == other).count();
    let show = |bytes: &[u8]| {
        let rest = &bytes[place.min(bytes.len())..];
        let text = rest[..rest.len().min(SHOWN)].escape_ascii();
        format!("`{text}` at byte {place} of {}", bytes.len())
    };
    (show(left), show(right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Node, Tree};

    fn layer(nodes: &[(&str, Node)]) -> Vec<u8> {
        let mut tree = Tree::default();
        for (path, node) in nodes {
            tree.insert(path, node.clone()).unwrap();
        }
        let mut bytes = Vec::new();
        tree.write_fragment(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_first_difference_is_told_by_path_and_field() {
        let base = [("a", Node::file(0o644, "one")), ("b", Node::Symlink { target: "a".into() })];
        let check = |other: &[(&str, Node)], expected: Option<&str>| {
            let (left, right) = (layer(&base), layer(other));
            let found = first_difference(|| Ok(&left[..]), || Ok(&right[..])).unwrap();
            assert_eq!(found.map(|found| found.to_string()).as_deref(), expected);
        };
        check(&base, None);
        check(&base[..1], Some("`b`, presence: there and absent"));
        check(&[("a", Node::file(0o600, "one")), base[1].clone()], Some("`a`, mode: 0644 and 0600"));
        check(
            &[("a", Node::file(0o644, "onx!")), base[1].clone()],
            Some("`a`, content: `e` at byte 2 of 3 and `x!` at byte 2 of 4"),
        );
        check(&[base[0].clone(), ("b", Node::Symlink { target: "c".into() })], Some("`b`, link: a and c"));
        let (left, right) = (layer(&base), [layer(&base[1..]), layer(&base[..1])].concat());
        let found = first_difference(|| Ok(&left[..]), || Ok(&right[..])).unwrap().unwrap();
        assert_eq!(found.to_string(), "`a`, order: entry 0 and entry 1");
    }
}
