//! A `.deb` becomes a tree: in memory, over a merged `/usr`, with dpkg's records.

use super::{DebianError, ar, database, stanza};
use crate::oci::{Node, Tree, TreeError};
use bytes::Bytes;
use pgp::crypto::hash::HashAlgorithm;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// How packages are recorded in the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Database {
    /// To be configured: `info/*` here, the `status` file by [`database::status`].
    #[default]
    Unpacked,
    /// Never configured: one `status.d/<name>` a package, as scanners know it from images without dpkg.
    Static,
}

/// What changes between the package and the image; part of the fragment's key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    pub database: Database,
    /// Paths such as `usr/share/man` that are left out with all below them.
    /// Copyright files stay, as licenses ask.
    pub exclude: Vec<String>,
    pub blank: Option<Blank>,
    /// `/bin` and the like are no links in the image.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub split_usr: bool,
}

/// A suffix of a program's version string that is made empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blank {
    /// The one package that this is about.
    pub package: String,
    /// Such as `usr/lib/postgresql/13/bin/postgres`.
    pub path: String,
    /// How the suffix begins, such as ` (Debian`.
    pub suffix: String,
}

impl Options {
    /// What of the options of a set is about one of its packages: no other's change is part of its key.
    pub fn of_package(&self, package: &str) -> Self {
        Self { blank: self.blank.clone().filter(|blank| blank.package == package), ..self.clone() }
    }
}

/// What dpkg knows of a package besides its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub multi_arch_same: bool,
    /// The stanza as the package has it, without empty lines.
    pub text: String,
    /// Absolute path and MD5 of each configuration file.
    pub conffiles: Vec<(String, String)>,
    /// The text of `triggers`.
    pub triggers: String,
}

impl Control {
    /// The name in file names below `info/`.
    pub fn info_name(&self) -> String {
        if self.multi_arch_same { format!("{}:{}", self.name, self.architecture) } else { self.name.clone() }
    }
}

#[derive(Clone, Debug)]
pub struct Unpacked {
    pub tree: Tree,
    pub control: Control,
}

/// Folders of the root that are links into `usr/` in every image.
pub const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// What dpkg keeps of the control member.
const INFO: [&str; 10] =
    ["md5sums", "conffiles", "preinst", "postinst", "prerm", "postrm", "triggers", "shlibs", "symbols", "templates"];
const LARGEST_COUNT: usize = 500_000;

/// Unpacks a package; `file` is its name in errors.
pub fn unpack(file: &str, deb: &[u8], options: &Options) -> Result<Unpacked, DebianError> {
    let members = ar::members(file, deb)?;
    let scripts = control_files(file, members.control)?;
    let text = scripts.get("control").map(|(_, content)| String::from_utf8_lossy(content).into_owned()).unwrap_or_default();
    let mut control = read_control(file, &text)?;
    control.triggers =
        scripts.get("triggers").map(|(_, content)| String::from_utf8_lossy(content).into_owned()).unwrap_or_default();
    let (mut nodes, list) = read_data(file, Bytes::from(members.data), options.split_usr)?;
    for line in scripts.get("conffiles").map(|(_, content)| String::from_utf8_lossy(content)).unwrap_or_default().lines() {
        // `remove-on-upgrade /path` names what is not in the package.
        let Some(path) = line.trim().strip_prefix('/') else { continue };
        if let Some(Node::File { content, .. }) = nodes.get(&merged(path, options.split_usr)) {
            let digest = HashAlgorithm::Md5.digest(content).expect("MD5 takes all");
            control.conffiles.push((format!("/{path}"), digest.iter().map(|byte| format!("{byte:02x}")).collect()));
        }
    }
    leave_out(&mut nodes, &options.exclude);
    links_to_files(&mut nodes);
    if let Some(Blank { path, suffix, .. }) = &options.blank {
        let missing = || DebianError::NoSuffix { file: file.to_owned(), entry: path.clone(), suffix: suffix.clone() };
        let Some(Node::File { content, .. }) = nodes.get_mut(path) else { return Err(missing()) };
        *content = blanked(content, suffix).ok_or_else(missing)?.into();
    }
    match options.database {
        Database::Static => {
            nodes.insert(database::static_path(&control.name), Node::file(0o644, database::static_entry(&control)));
        }
        Database::Unpacked => {
            let info = |kind: &str| format!("var/lib/dpkg/info/{}.{kind}", control.info_name());
            for (name, (mode, content)) in &scripts {
                if INFO.contains(&name.as_str()) || name == "config" {
                    nodes.insert(info(name), Node::file(mode & 0o755 | 0o644, content.clone()));
                }
            }
            nodes.insert(info("list"), Node::file(0o644, list));
        }
    }
    let mut tree = Tree::default();
    for (path, node) in nodes {
        tree.insert(&path, node).map_err(|source| entry_error(file, &path, source))?;
    }
    tree.check().map_err(|source| entry_error(file, "", source))?;
    Ok(Unpacked { tree, control })
}

/// What a package says of itself; the rest of it is not looked at.
pub fn control_text(file: &str, deb: &[u8]) -> Result<String, DebianError> {
    let members = control_files(file, ar::control(file, deb)?)?;
    Ok(members.get("control").map(|(_, content)| String::from_utf8_lossy(content).into_owned()).unwrap_or_default())
}

fn entry_error(file: &str, entry: &str, source: TreeError) -> DebianError {
    DebianError::Entry { file: file.to_owned(), entry: entry.to_owned(), source }
}

type Scripts = BTreeMap<String, (u32, Bytes)>;

fn control_files(file: &str, tar: Vec<u8>) -> Result<Scripts, DebianError> {
    let broken = |source| DebianError::Member { file: file.to_owned(), member: "control.tar".to_owned(), source };
    let mut found = Scripts::new();
    for entry in tar::Archive::new(&tar[..]).entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = Tree::normal_path(&path).map_err(|source| entry_error(file, &path, source))?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(broken)?;
        found.insert(path, (entry.header().mode().map_err(broken)?, content.into()));
    }
    Ok(found)
}

fn read_control(file: &str, text: &str) -> Result<Control, DebianError> {
    let stanza = stanza::stanzas(text).next().unwrap_or_default();
    let field = |field: &'static str| {
        let value = stanza.get(field).ok_or(DebianError::MissingField { name: file.to_owned(), field })?;
        // These become parts of file names and of dpkg's own files.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'~' | b':' | b'_');
        if value.is_empty() || value.starts_with('.') || !value.bytes().all(plain) {
            return Err(DebianError::BadField { name: file.to_owned(), field, value: value.to_owned() });
        }
        Ok(value.to_owned())
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("Status:"));
    Ok(Control {
        name: field("Package")?,
        version: field("Version")?,
        architecture: field("Architecture")?,
        multi_arch_same: stanza.get("Multi-Arch") == Some("same"),
        text: lines.map(|line| format!("{line}\n")).collect(),
        conffiles: Vec::new(),
        triggers: String::new(),
    })
}

/// `bin/x` is `usr/bin/x` where `/bin` is a link.
fn merged(path: &str, split: bool) -> String {
    let first = path.split('/').next().unwrap_or_default();
    if !split && MERGED.contains(&first) { format!("usr/{path}") } else { path.to_owned() }
}

/// The nodes at their merged paths, and dpkg's list of the original ones.
fn read_data(file: &str, data: Bytes, split: bool) -> Result<(BTreeMap<String, Node>, String), DebianError> {
    let broken = |source| DebianError::Member { file: file.to_owned(), member: "data.tar".to_owned(), source };
    let utf8 = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec())
            .map_err(|_| entry_error(file, &String::from_utf8_lossy(bytes), TreeError::Path("not UTF-8".to_owned())))
    };
    let mut tree = Tree::default();
    let mut list = String::from("/.\n");
    let mut count = 0;
    for entry in tar::Archive::new(&data[..]).entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let original = utf8(&entry.path_bytes())?;
        if matches!(original.as_str(), "." | "./" | "/") {
            continue;
        }
        let refuse = |source| entry_error(file, &original, source);
        let path = Tree::normal_path(&original).map_err(refuse)?;
        count += 1;
        if count > LARGEST_COUNT || path.len() > 4096 || path.contains('\n') {
            return Err(refuse(TreeError::Path(path)));
        }
        list.push('/');
        list.push_str(&path);
        list.push('\n');
        let header = entry.header();
        let mode = header.mode().map_err(broken)? & 0o7777;
        // Debian's static accounts have the same numbers everywhere.
        let number = |value: std::io::Result<u64>| value.and_then(|value| u32::try_from(value).map_err(std::io::Error::other));
        let (uid, gid) = (number(header.uid()).map_err(broken)?, number(header.gid()).map_err(broken)?);
        let link = || entry.link_name_bytes().map_or(Ok(String::new()), |bytes| utf8(&bytes));
        let kind = header.entry_type();
        let node = match kind {
            tar::EntryType::Directory => Node::Directory { mode, uid, gid },
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let start = entry.raw_file_position() as usize;
                let end = start.checked_add(entry.size() as usize).filter(|end| *end <= data.len());
                let end = end.ok_or_else(|| broken(std::io::Error::other("an entry is cut off")))?;
                Node::File { mode, uid, gid, content: data.slice(start..end) }
            }
            tar::EntryType::Symlink => Node::Symlink { target: link()? },
            tar::EntryType::Link => Node::Hardlink { target: merged(&Tree::normal_path(&link()?).map_err(refuse)?, split) },
            tar::EntryType::Block | tar::EntryType::Char => return Err(kind_error(file, &original, "device node")),
            tar::EntryType::Fifo => return Err(kind_error(file, &original, "named pipe")),
            _ => return Err(kind_error(file, &original, "kind of entry unknown to dpkg")),
        };
        // The links themselves stand in the skeleton.
        if !split && MERGED.contains(&path.as_str()) {
            continue;
        }
        tree.insert(&merged(&path, split), node).map_err(refuse)?;
    }
    tree.check().map_err(|source| entry_error(file, "", source))?;
    Ok((tree.iter().map(|(path, node)| (path.to_owned(), node.clone())).collect(), list))
}

fn kind_error(file: &str, entry: &str, kind: &'static str) -> DebianError {
    DebianError::Kind { file: file.to_owned(), entry: entry.to_owned(), kind }
}

fn leave_out(nodes: &mut BTreeMap<String, Node>, exclude: &[String]) {
    const DOCUMENTS: &str = "usr/share/doc/";
    if exclude.is_empty() {
        return;
    }
    let below = |path: &str, prefix: &String| {
        path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let out = |path: &str, node: &Node| {
        // A package may share another's folder of documents by a link.
        let license = path
            .strip_prefix(DOCUMENTS)
            .is_some_and(|rest| rest.ends_with("/copyright") || (matches!(node, Node::Symlink { .. }) && !rest.contains('/')));
        !license && exclude.iter().any(|prefix| below(path, prefix))
    };
    let mut kept: BTreeSet<String> = BTreeSet::new();
    for path in nodes.iter().filter(|(path, node)| !out(path, node)).map(|(path, _)| path) {
        kept.extend(path.match_indices('/').map(|(end, _)| path[..end].to_owned()));
        kept.insert(path.clone());
    }
    // A kept hard link to a file that goes takes the content over; further links follow it.
    let mut moved: BTreeMap<String, String> = BTreeMap::new();
    for path in nodes.keys().cloned().collect::<Vec<_>>() {
        let Some(Node::Hardlink { target }) = nodes.get(&path).filter(|_| kept.contains(&path)) else { continue };
        if kept.contains(target) {
            continue;
        }
        let target = target.clone();
        let node = match moved.get(&target) {
            Some(first) => Node::Hardlink { target: first.clone() },
            None => nodes[&target].clone(),
        };
        moved.entry(target).or_insert_with(|| path.clone());
        nodes.insert(path, node);
    }
    nodes.retain(|path, _| kept.contains(path));
}

/// Hard links become files of their own that share the content in memory.
///
/// A fragment writes hard links with the mode 0644, and engines set the mode of
/// a link's header on the file that it names: `perl`, linked to `perl5.32.1`,
/// would no longer be executable. May go when fragments repeat the target's
/// mode and owner in the header of a link.
fn links_to_files(nodes: &mut BTreeMap<String, Node>) {
    let copies: Vec<_> = nodes
        .iter()
        .filter_map(|(path, node)| match node {
            Node::Hardlink { target } => Some((path.clone(), nodes.get(target)?.clone())),
            _ => None,
        })
        .collect();
    nodes.extend(copies);
}

/// NULs instead of `suffix…)` in each C string `<digits.digits><suffix>…)`; `None` if there is none.
fn blanked(content: &[u8], suffix: &str) -> Option<Vec<u8>> {
    let mut out = None;
    let mut from = 0;
    while let Some(found) = content[from..].windows(suffix.len()).position(|window| window == suffix.as_bytes()) {
        let start = from + found;
        from = start + suffix.len();
        let digits = content[..start].iter().rev().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
        let version = &content[start - digits..start];
        let dots = version.iter().filter(|byte| **byte == b'.').count();
        let shaped = dots == 1 && version.first() != Some(&b'.') && version.last() != Some(&b'.');
        let after_nul = start > digits && content[start - digits - 1] == 0;
        let length = content[start..].iter().take(256).position(|byte| *byte == 0);
        if let Some(length) = length.filter(|length| shaped && after_nul && content[start + length - 1] == b')') {
            out.get_or_insert_with(|| content.to_vec())[start..start + length].fill(0);
        }
    }
    out
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
