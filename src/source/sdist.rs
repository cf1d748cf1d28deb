//! A source distribution becomes a git working tree.

use super::{IMPORT_TAG, run_git};
use crate::oci::Tree;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The most that one source distribution may hold, unpacked.
const LIMIT: u64 = 1 << 30;

/// Unpacks a `.tar.gz` below one folder of its own into `into`, as one commit on `branch`.
///
/// Only regular files and folders are taken; the tree has its name when it is whole.
pub async fn unpack(file: &str, bytes: &[u8], branch: &str, into: &Path) -> Result<()> {
    let parent = into.parent().context("a source tree needs a folder around it")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create `{}`", parent.display()))?;
    let scratch = tempfile::Builder::new().prefix(".baibox-unpack-").tempdir_in(parent)?;
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree)?;
    write_files(file, bytes, &tree).with_context(|| format!("cannot unpack `{file}`"))?;
    let place = into.file_name().context("a source tree needs a name")?.to_string_lossy().into_owned();
    run_git(&tree, &["init", "--quiet", "--initial-branch", branch]).await?;
    fs::create_dir_all(tree.join(".git/info"))?;
    fs::write(tree.join(".git/info/exclude"), "__pycache__/\n*.py[co]\n.mypy_cache/\n.pytest_cache/\n.venv/\n")?;
    run_git(&tree, &["add", "--all", "--force", "."]).await?;
    let message = format!("{place}: as published in {file}");
    let identity = ["-c", "user.name=baibox", "-c", "user.email=baibox@localhost", "-c", "commit.gpgsign=false"];
    let commit = ["commit", "--quiet", "--no-verify", "--date", "2021-03-01T00:00:00Z", "--message", &message];
    run_git(&tree, &[&identity[..], &commit[..]].concat()).await?;
    run_git(&tree, &["tag", IMPORT_TAG]).await?;
    fs::rename(&tree, into).with_context(|| format!("cannot name the tree `{}`", into.display()))
}

fn write_files(file: &str, bytes: &[u8], into: &Path) -> Result<()> {
    if !file.ends_with(".tar.gz") {
        bail!("it is not a `.tar.gz`");
    }
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(bytes).take(LIMIT));
    let mut top: Option<String> = None;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8(entry.path_bytes().into_owned()).context("a path is not UTF-8")?;
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        let path = Tree::normal_path(&name)?;
        let (first, rest) = path.split_once('/').unwrap_or((&path, ""));
        if *top.get_or_insert_with(|| first.to_owned()) != first {
            bail!("`{name}` is outside of its first folder");
        }
        if rest.split('/').next() == Some(".git") {
            bail!("`{name}` would be git's own record");
        }
        let place = into.join(rest);
        match kind {
            tar::EntryType::Directory => fs::create_dir_all(&place)?,
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                fs::create_dir_all(place.parent().context("a file needs a folder")?)?;
                // Nothing but this loop writes here, and it makes no links to write through.
                let mut out =
                    fs::File::options().write(true).create_new(true).open(&place).with_context(|| format!("`{name}`"))?;
                std::io::copy(&mut entry, &mut out)?;
                out.flush()?;
                let mode = if entry.header().mode()? & 0o111 == 0 { 0o644 } else { 0o755 };
                out.set_permissions(fs::Permissions::from_mode(mode))?;
            }
            _ => bail!("`{name}` is neither a file nor a folder"),
        }
    }
    if top.is_none() {
        bail!("it is empty");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdist(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[tokio::test]
    async fn a_tree_is_clean_and_knows_work_that_is_only_here() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("common");
        unpack("x-1.tar.gz", &sdist(&[("x-1/setup.cfg", "[metadata]\n"), ("x-1/src/a.py", "")]), "21.03", &tree).await.unwrap();
        let state = super::super::state(&tree).await.unwrap();
        assert_eq!((state.branch.as_str(), state.dirty, state.unpushed), ("21.03", false, false));
        fs::write(tree.join("new.py"), "").unwrap();
        assert!(super::super::state(&tree).await.unwrap().dirty);
        run_git(&tree, &["add", "--all"]).await.unwrap();
        run_git(&tree, &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "work"]).await.unwrap();
        let state = super::super::state(&tree).await.unwrap();
        assert!(!state.dirty && state.unpushed);
    }

    #[tokio::test]
    async fn hostile_source_distributions_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for bad in ["../evil", "/evil", "x-1/../../evil", "x-1/.git/hooks/post-checkout", "y/other"] {
            let bytes = sdist(&[("x-1/setup.cfg", ""), (bad, "x")]);
            assert!(unpack("x-1.tar.gz", &bytes, "21.03", &folder.path().join("tree")).await.is_err(), "{bad}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
