//! A wheel becomes a tree, as the installer of the binary distribution format would lay it out.

use super::{Layout, PythonError, entry_script};
use crate::oci::{Node, Tree};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};

/// The most that one wheel may hold, unpacked.
const LIMIT: u64 = 1 << 30;

/// The files of a wheel, checked against its RECORD, in their own places.
pub fn contents(file: &str, wheel: &[u8]) -> Result<Tree, PythonError> {
    bounded(file, wheel, LIMIT)
}

fn bounded(file: &str, wheel: &[u8], limit: u64) -> Result<Tree, PythonError> {
    let zip = |source| PythonError::Zip { file: file.to_owned(), source };
    let fault = |entry: &str, what| PythonError::Entry { file: file.to_owned(), entry: entry.to_owned(), what };
    let tree_fault = |source| PythonError::Tree { file: file.to_owned(), source };
    let mut archive = zip::ZipArchive::new(Cursor::new(wheel)).map_err(zip)?;
    // Readers disagree which of two entries of one name counts, so none may.
    let entries = entries_told(wheel);
    if entries.is_some_and(|entries| entries != archive.len() as u64) {
        return Err(PythonError::Entries { file: file.to_owned(), entries: entries.unwrap_or(0), found: archive.len() as u64 });
    }
    let mut tree = Tree::default();
    let mut total = 0;
    for number in 0..archive.len() {
        let mut entry = archive.by_index(number).map_err(zip)?;
        let name = std::str::from_utf8(entry.name_raw()).map_err(|_| fault("?", "not named in UTF-8"))?.to_owned();
        if name.contains('\\') || name.contains('\n') {
            return Err(fault(&name, "named with a backslash or a line break"));
        }
        if entry.is_dir() {
            Tree::normal_path(&name).map_err(tree_fault)?;
            continue;
        }
        let mode = entry.unix_mode().unwrap_or(0o644);
        if entry.is_symlink() || !matches!(mode & 0o170_000, 0 | 0o100_000) {
            return Err(fault(&name, "not a regular file"));
        }
        // A size that lies costs a reservation, not the memory behind it.
        let mut content = Vec::with_capacity(usize::try_from(entry.size().min(limit - total)).unwrap_or(0));
        let read = |source| PythonError::Read { file: file.to_owned(), entry: name.clone(), source };
        (&mut entry).take(limit - total + 1).read_to_end(&mut content).map_err(read)?;
        total += content.len() as u64;
        if total > limit {
            return Err(PythonError::TooLarge { file: file.to_owned(), limit });
        }
        let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        tree.insert(&name, Node::file(mode, content)).map_err(tree_fault)?;
    }
    tree.check().map_err(tree_fault)?;
    let folders = tree.iter().filter_map(|(path, _)| path.split_once('/').map(|(folder, _)| folder));
    let infos: BTreeSet<&str> = folders.filter(|folder| folder.ends_with(".dist-info")).collect();
    if infos.len() > 1 {
        return Err(fault(infos.last().unwrap_or(&"?"), "a second `*.dist-info` folder"));
    }
    check_record(file, &tree)?;
    Ok(tree)
}

/// The number of entries that the end of the archive tells, where it fits into that field.
fn entries_told(wheel: &[u8]) -> Option<u64> {
    let place = wheel.windows(4).rposition(|four| four == b"PK\x05\x06")?;
    let field = wheel.get(place + 10..place + 12)?;
    Some(u64::from(u16::from_le_bytes([field[0], field[1]]))).filter(|entries| *entries != 0xffff)
}

/// Every file stands in RECORD with its digest; RECORD names no file that is missing.
fn check_record(file: &str, tree: &Tree) -> Result<(), PythonError> {
    let (place, record) =
        member(tree, "RECORD").ok_or_else(|| PythonError::Member { file: file.to_owned(), member: "RECORD" })?;
    let wrong = |entry: &str| PythonError::Record { file: file.to_owned(), entry: entry.to_owned() };
    let mut recorded = BTreeMap::new();
    for line in String::from_utf8_lossy(&record).lines().filter(|line| !line.trim().is_empty()) {
        // The last two commas end the path; a path with a comma or quote is quoted.
        let mut fields = line.rsplitn(3, ',');
        let (size, digest, path) =
            (fields.next().unwrap_or_default(), fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let path = path
            .strip_prefix('"')
            .and_then(|path| path.strip_suffix('"'))
            .map_or(path.to_owned(), |path| path.replace("\"\"", "\""));
        if recorded.insert(path.clone(), (digest.to_owned(), size.trim().to_owned())).is_some() {
            return Err(wrong(&path));
        }
    }
    for (path, node) in tree.iter() {
        let Node::File { content, .. } = node else { continue };
        let signature = path == place || path.ends_with(".dist-info/RECORD.jws") || path.ends_with(".dist-info/RECORD.p7s");
        if signature {
            continue;
        }
        let (digest, size) = recorded.get(path).ok_or_else(|| wrong(path))?;
        let (algorithm, wanted) = digest.split_once('=').ok_or_else(|| wrong(path))?;
        let found = match algorithm {
            "sha256" => digest_of(content),
            "sha384" => URL_SAFE_NO_PAD.encode(Sha384::digest(content)),
            "sha512" => URL_SAFE_NO_PAD.encode(Sha512::digest(content)),
            // The format forbids weaker ones.
            _ => return Err(wrong(path)),
        };
        if wanted.trim_end_matches('=') != found || (!size.is_empty() && *size != content.len().to_string()) {
            return Err(wrong(path));
        }
    }
    match recorded.keys().find(|path| !path.is_empty() && tree.get(path).is_none()) {
        Some(missing) => Err(wrong(missing)),
        None => Ok(()),
    }
}

fn digest_of(content: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(content))
}

/// A member of the one `*.dist-info` folder.
fn member(tree: &Tree, name: &str) -> Option<(String, Bytes)> {
    tree.iter().find_map(|(path, node)| match (path.split_once('/'), node) {
        (Some((folder, rest)), Node::File { content, .. }) if folder.ends_with(".dist-info") && rest == name => {
            Some((path.to_owned(), content.clone()))
        }
        _ => None,
    })
}

/// Lays a wheel out in the virtual environment; RECORD says what is there.
pub fn install(file: &str, wheel: &[u8], layout: &Layout) -> Result<Tree, PythonError> {
    let source = contents(file, wheel)?;
    let (record, _) = member(&source, "RECORD").ok_or_else(|| PythonError::Member { file: file.to_owned(), member: "RECORD" })?;
    let info = record.split('/').next().unwrap_or_default().to_owned();
    let data_folder = format!("{}.data/", info.trim_end_matches(".dist-info"));
    let tree_fault = |source| PythonError::Tree { file: file.to_owned(), source };
    let mut tree = Tree::default();
    let site = layout.site_packages();
    for (path, node) in source.iter() {
        let Node::File { mode, content, .. } = node else { continue };
        if path == record || path == format!("{info}/INSTALLER") {
            continue;
        }
        let data = path.strip_prefix(&data_folder).and_then(|rest| rest.split_once('/'));
        let (place, mode, content) = match data {
            Some(("scripts", rest)) => (format!("{}/{rest}", layout.scripts()), 0o755, script(content, layout)),
            Some(("purelib" | "platlib", rest)) => (format!("{site}/{rest}"), *mode, content.clone()),
            Some(("headers", rest)) => (format!("{}/include/{rest}", layout.prefix), *mode, content.clone()),
            Some(("data", rest)) => (format!("{}/{rest}", layout.prefix), *mode, content.clone()),
            Some(_) => {
                return Err(PythonError::Entry {
                    file: file.to_owned(),
                    entry: path.to_owned(),
                    what: "of an unknown kind of data",
                });
            }
            None => (format!("{site}/{path}"), *mode, content.clone()),
        };
        tree.insert(&place, Node::file(mode, content)).map_err(tree_fault)?;
    }
    if let Some((_, points)) = member(&source, "entry_points.txt") {
        for (group, name, target) in entry_points(&String::from_utf8_lossy(&points)) {
            if matches!(group.as_str(), "console_scripts" | "gui_scripts") {
                let wrong = || PythonError::EntryPoint { file: file.to_owned(), name: name.clone(), target: target.clone() };
                let text = entry_script(layout, &target).filter(|_| !name.contains('/')).ok_or_else(wrong)?;
                tree.insert(&format!("{}/{name}", layout.scripts()), Node::file(0o755, text)).map_err(tree_fault)?;
            }
        }
    }
    seal_record(&mut tree, layout, &info).map_err(tree_fault)?;
    // What lay well in the wheel may not where it goes.
    tree.check().map_err(tree_fault)?;
    Ok(tree)
}

/// Adds INSTALLER and a RECORD of everything in the tree.
pub(super) fn seal_record(tree: &mut Tree, layout: &Layout, info: &str) -> Result<(), crate::oci::TreeError> {
    let site = layout.site_packages();
    tree.insert(&format!("{site}/{info}/INSTALLER"), Node::file(0o644, "baibox\n"))?;
    let up = "../".repeat(site.split('/').count() - layout.prefix.split('/').count());
    let mut text = String::new();
    for (path, node) in tree.iter() {
        let Node::File { content, .. } = node else { continue };
        let relative = match path.strip_prefix(&format!("{site}/")) {
            Some(inside) => inside.to_owned(),
            None => format!("{up}{}", path.strip_prefix(&format!("{}/", layout.prefix)).unwrap_or(path)),
        };
        let quoted = if relative.contains([',', '"']) { format!("\"{}\"", relative.replace('"', "\"\"")) } else { relative };
        text.push_str(&format!("{quoted},sha256={},{}\n", digest_of(content), content.len()));
    }
    text.push_str(&format!("{info}/RECORD,,\n"));
    tree.insert(&format!("{site}/{info}/RECORD"), Node::file(0o644, text))
}

/// `#!python` stands for the interpreter that the script is installed for.
fn script(content: &Bytes, layout: &Layout) -> Bytes {
    match content.strip_prefix(b"#!python".as_slice()) {
        Some(rest) => {
            let rest = rest.strip_prefix(b"w".as_slice()).unwrap_or(rest);
            [b"#!", layout.interpreter().as_bytes(), rest].concat().into()
        }
        None => content.clone(),
    }
}

/// Group, name and target of each line of an `entry_points.txt`.
pub fn entry_points(text: &str) -> Vec<(String, String, String)> {
    let mut group = String::new();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.trim().clone_into(&mut group);
        } else if let Some((name, target)) = line.split_once('=') {
            found.push((group.clone(), name.trim().to_owned(), target.trim().to_owned()));
        }
    }
    found
}

#[cfg(test)]
#[path = "wheel_tests.rs"]
mod tests;
