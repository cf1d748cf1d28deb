//! The archive of a CPython build becomes a tree: in memory, below the interpreter's prefix.

use super::{Interpreter, PythonError, standalone};
use crate::oci::{Node, Tree, TreeError, may_unpack_to};
use bytes::Bytes;
use std::io::Read;

/// The most that an archive may hold, unpacked.
const LIMIT: u64 = 1 << 30;
/// The most entries.
const ENTRIES: usize = 100_000;
/// Where builds think that they are installed.
const BUILT_AT: &str = "/install";

/// What is below `python/` in the archive, below the interpreter's prefix.
///
/// Folders come with their files, so that those that are there keep their modes. Byte code is left out:
/// images have theirs elsewhere.
pub fn tree(file: &str, archive: &[u8], version: &str) -> Result<Tree, PythonError> {
    let prefix = Interpreter::standalone().prefix;
    let broken = |source| PythonError::Archive { file: file.to_owned(), source };
    let limit = LIMIT.min(may_unpack_to(archive.len() as u64));
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(archive).take(limit + 1).read_to_end(&mut tar).map_err(broken)?;
    if tar.len() as u64 > limit {
        return Err(PythonError::TooLarge { file: file.to_owned(), limit });
    }
    let data = Bytes::from(tar);
    let mut found = Tree::default();
    for (count, entry) in tar::Archive::new(&data[..]).entries().map_err(broken)?.enumerate() {
        let entry = entry.map_err(broken)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let fault = |what| PythonError::Entry { file: file.to_owned(), entry: name.clone(), what };
        let refused = |source| PythonError::TreeEntry { file: file.to_owned(), entry: name.clone(), source };
        if count >= ENTRIES {
            return Err(fault("one of too many"));
        }
        if std::str::from_utf8(&entry.path_bytes()).is_err() {
            return Err(fault("not named in UTF-8"));
        }
        let path = Tree::normal_path(&name).map_err(refused)?;
        if path != "python" && !path.starts_with("python/") {
            return Err(fault("outside of the folder `python`"));
        }
        if path.len() > 4096 || path.contains(['\n', '\\']) {
            return Err(fault("named too long, or with a line break or a backslash"));
        }
        let link = || entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned()).unwrap_or_default();
        let node = match entry.header().entry_type() {
            tar::EntryType::Directory => Node::directory(0o755),
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let start = usize::try_from(entry.raw_file_position()).unwrap_or(usize::MAX);
                let end = usize::try_from(entry.size()).ok().and_then(|size| start.checked_add(size));
                let end = end.filter(|end| *end <= data.len()).ok_or_else(|| fault("cut off"))?;
                // Neither set-user-ID nor anybody's own: what it is for, or nothing.
                let mode = if entry.header().mode().map_err(broken)? & 0o111 == 0 { 0o644 } else { 0o755 };
                Node::file(mode, data.slice(start..end))
            }
            tar::EntryType::Symlink => {
                let target = link();
                if !stays_inside(&path, &target) {
                    return Err(fault("a link out of the folder `python`"));
                }
                Node::Symlink { target }
            }
            tar::EntryType::Link => Node::Hardlink { target: Tree::normal_path(&link()).map_err(refused)? },
            _ => return Err(fault("neither a file, a folder nor a link")),
        };
        found.insert(&path, node).map_err(refused)?;
    }
    found.check().map_err(|source| PythonError::TreeEntry { file: file.to_owned(), entry: "python".into(), source })?;
    let python = standalone::minor(version);
    for place in [format!("bin/python{python}"), format!("lib/python{python}/os.py")] {
        if !matches!(found.get(&format!("python/{place}")), Some(Node::File { .. })) {
            return Err(PythonError::NoBuild { file: file.to_owned(), place, version: version.to_owned() });
        }
    }
    placed(&found, &prefix).map_err(|source| PythonError::Tree { file: file.to_owned(), source })
}

/// Whether a link at a path leads to somewhere below the same first folder.
fn stays_inside(path: &str, target: &str) -> bool {
    let mut depth = path.split('/').count() - 1;
    !target.is_empty()
        && !target.starts_with('/')
        && !target.contains('\0')
        && target.split('/').filter(|part| !part.is_empty() && *part != ".").all(|part| {
            depth = if part == ".." { depth.saturating_sub(1) } else { depth + 1 };
            depth > 0
        })
}

fn placed(found: &Tree, prefix: &str) -> Result<Tree, TreeError> {
    let mut tree = Tree::default();
    for (path, node) in found.iter() {
        let Some(path) = path.strip_prefix("python/") else { continue };
        if path.split('/').any(|part| part == "__pycache__") {
            continue;
        }
        let node = match node {
            Node::Directory { .. } => continue,
            // Files of their own: engines set the mode of a hard link's header on the file that it names.
            Node::Hardlink { target } => found.get(target).cloned().unwrap_or_else(|| node.clone()),
            other => other.clone(),
        };
        tree.insert(&format!("{prefix}/{path}"), settled(path, node, prefix))?;
    }
    Ok(tree)
}

/// Files that tell where and by what CPython was built tell where it is, and Debian's compilers.
fn settled(path: &str, node: Node, prefix: &str) -> Node {
    let Node::File { mode, content, .. } = &node else { return node };
    let name = path.rsplit('/').next().unwrap_or(path);
    let builds = name.starts_with("_sysconfigdata_") || (path.contains("/config-") && name == "Makefile");
    let tells = builds || name.ends_with(".pc") || (path.starts_with("bin/") && content.starts_with(b"#!"));
    match std::str::from_utf8(content) {
        Ok(text) if tells => {
            let text = moved(text, &format!("/{prefix}"));
            Node::file(*mode, if builds { with_usual_compilers(&text) } else { text })
        }
        _ => node,
    }
}

/// The text with [`BUILT_AT`] as a whole path, or the beginning of one, replaced.
fn moved(text: &str, to: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = rest.find(BUILT_AT) {
        let (before, after) = (&rest[..found], &rest[found + BUILT_AT.len()..]);
        out.push_str(before);
        // `-I/install/include` and `'/install'` are meant, `/tools/install` and `/installed` are not.
        let begins = !before.ends_with(|last: char| last.is_ascii_alphanumeric() || matches!(last, '_' | '.' | '-' | '/'))
            || before.ends_with("-I")
            || before.ends_with("-L");
        let ends = !after.starts_with(|next: char| next.is_ascii_alphanumeric() || matches!(next, '_' | '-'));
        out.push_str(if begins && ends { to } else { BUILT_AT });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Programs of the toolchain that built it become those of the same use that every Debian has.
fn with_usual_compilers(text: &str) -> String {
    const USUAL: [(&str, &str); 4] = [("clang++", "c++"), ("clang", "cc"), ("llvm-ar", "ar"), ("llvm-ranlib", "ranlib")];
    let quoted = |letter: char| letter.is_whitespace() || matches!(letter, '\'' | '"' | '=' | ',');
    let word = |word: &str| {
        let name = word.rsplit('/').next().unwrap_or(word);
        USUAL.iter().find(|(known, _)| *known == name).map_or_else(|| word.to_owned(), |(_, usual)| (*usual).to_owned())
    };
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(quoted) {
        let end = piece.trim_end_matches(quoted).len();
        out.push_str(&word(&piece[..end]));
        out.push_str(&piece[end..]);
    }
    out
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
