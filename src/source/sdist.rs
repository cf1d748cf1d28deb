//! A source distribution, or a wheel where that one lacks files, becomes a git working tree.

use super::git::{IMPORT_TAG, answer, git};
use super::settle;
use crate::model::SOURCE_DATE_EPOCH;
use crate::oci::{Node, Tree};
use crate::python::wheel;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The most that one source distribution may hold, unpacked.
const LIMIT: u64 = 1 << 30;
/// And how many entries: small ones fill a disk's tables before they fill the disk.
const ENTRIES: usize = 200_000;

/// git as on a host where nobody has configured anything: the same archive is the same commit everywhere.
async fn plain_git(tree: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = git(tree);
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    let date = format!("{SOURCE_DATE_EPOCH} +0000");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "baibox").env(format!("GIT_{who}_EMAIL"), "baibox@localhost");
        command.env(format!("GIT_{who}_DATE"), &date);
    }
    command.args(arguments);
    answer(command, tree, arguments).await
}

/// Unpacks a `.tar.gz` below one folder of its own into `into`, as one commit on `branch`. The
/// packages of wheels go below `src`, side by side.
///
/// Regular files, folders and links that stay inside are taken; the tree has its name when it is whole.
pub async fn unpack(files: &[(&str, &[u8])], branch: &str, into: &Path) -> Result<()> {
    let parent = into.parent().context("a source tree needs a folder around it")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create `{}`", parent.display()))?;
    let scratch = tempfile::Builder::new().prefix(".baibox-unpack-").tempdir_in(parent)?;
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree)?;
    for (file, bytes) in files {
        let written =
            if file.ends_with(".whl") { write_wheel(file, bytes, &tree) } else { write_files(file, bytes, &tree, LIMIT) };
        written.with_context(|| format!("cannot unpack `{file}`"))?;
    }
    let place = into.file_name().context("a source tree needs a name")?.to_string_lossy().into_owned();
    // An empty template: this host's would bring its own hooks.
    plain_git(&tree, &["init", "--quiet", "--template=", "--initial-branch", branch]).await?;
    fs::create_dir_all(tree.join(".git/info"))?;
    fs::write(tree.join(".git/info/exclude"), "__pycache__/\n*.py[co]\n.mypy_cache/\n.pytest_cache/\n.venv/\n")?;
    plain_git(&tree, &["add", "--all", "--force", "."]).await?;
    let names: Vec<&str> = files.iter().map(|(file, _)| *file).collect();
    let message = format!("{place}: as published in {}", names.join(", "));
    plain_git(&tree, &["commit", "--quiet", "--no-verify", "--no-gpg-sign", "--message", &message]).await?;
    plain_git(&tree, &["tag", IMPORT_TAG]).await?;
    settle(&tree, into)
}

fn write_wheel(file: &str, bytes: &[u8], into: &Path) -> Result<()> {
    for (path, node) in wheel::contents(file, bytes)?.iter() {
        let Node::File { mode, content, .. } = node else { continue };
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        if first.ends_with(".data") {
            bail!("`{path}` has no place in a source tree");
        }
        if is_of_git(path) {
            continue;
        }
        // What the wheel says of itself stays beside, where Python does not look for it; its record does not hold here.
        let place = match first.ends_with(".dist-info") {
            true if rest == "RECORD" => continue,
            true => into.join(path),
            false => into.join("src").join(path),
        };
        fs::create_dir_all(place.parent().context("a file needs a folder")?).with_context(|| format!("`{path}`"))?;
        let mut out = fs::File::options().write(true).create_new(true).open(&place).with_context(|| format!("`{path}`"))?;
        out.write_all(content)?;
        out.set_permissions(fs::Permissions::from_mode(*mode))?;
    }
    Ok(())
}

/// Published trees hold the record of a submodule now and then. It is left out, in any case and
/// at any depth: git would run in it, with the settings that it brings.
fn is_of_git(path: &str) -> bool {
    path.split('/').any(|part| part.eq_ignore_ascii_case(".git"))
}

fn write_files(file: &str, bytes: &[u8], into: &Path, limit: u64) -> Result<()> {
    if !file.ends_with(".tar.gz") {
        bail!("it is not a `.tar.gz`");
    }
    let mut archive = tar::Archive::new(Bounded { inner: flate2::read::MultiGzDecoder::new(bytes), left: limit, limit });
    let mut top: Option<String> = None;
    let mut links: BTreeMap<String, String> = BTreeMap::new();
    for (number, entry) in archive.entries()?.enumerate() {
        if number == ENTRIES {
            bail!("it has more than {ENTRIES} entries");
        }
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
        if is_of_git(rest) {
            continue;
        }
        let place = into.join(rest);
        match kind {
            tar::EntryType::Directory => fs::create_dir_all(&place).with_context(|| format!("`{name}`"))?,
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let folder = place.parent().context("a file needs a folder")?;
                fs::create_dir_all(folder).with_context(|| format!("`{name}`"))?;
                // Nothing but this loop writes here, and links come after it.
                let mut out =
                    fs::File::options().write(true).create_new(true).open(&place).with_context(|| format!("`{name}`"))?;
                std::io::copy(&mut entry, &mut out).with_context(|| format!("`{name}`"))?;
                out.flush()?;
                let mode = if entry.header().mode()? & 0o111 == 0 { 0o644 } else { 0o755 };
                out.set_permissions(fs::Permissions::from_mode(mode))?;
            }
            tar::EntryType::Symlink => {
                let target = entry.link_name_bytes().with_context(|| format!("the link `{name}` leads nowhere"))?;
                let target = String::from_utf8(target.into_owned()).context("a link is not UTF-8")?;
                if !stays_inside(rest, &target) {
                    bail!("the link `{name}` leads to `{target}`, out of the tree");
                }
                if links.insert(rest.to_owned(), target).is_some() {
                    bail!("`{name}` is there twice");
                }
            }
            _ => bail!("`{name}` is neither a file, nor a folder, nor a symbolic link"),
        }
    }
    if top.is_none() {
        bail!("it is empty");
    }
    // Below folders that are real: no link's place leads through another.
    for place in links.keys() {
        let mut above = Path::new(place).ancestors().skip(1);
        if above.any(|folder| links.contains_key(&*folder.to_string_lossy())) {
            bail!("`{place}` lies below a link");
        }
    }
    for (place, target) in links {
        let place = into.join(place);
        fs::create_dir_all(place.parent().context("a link needs a folder")?)?;
        std::os::unix::fs::symlink(&target, &place).with_context(|| format!("`{}`", place.display()))?;
    }
    Ok(())
}

/// A relative target that goes up no further than the tree's top, and only at its
/// beginning: `..` after the name of another link would go up from where that leads.
fn stays_inside(place: &str, target: &str) -> bool {
    let parts: Vec<&str> = target.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let up = parts.iter().take_while(|part| **part == "..").count();
    let depth = place.split('/').count() - 1;
    let gits = parts.iter().any(|part| part.eq_ignore_ascii_case(".git"));
    !place.is_empty() && !target.is_empty() && !target.starts_with('/') && !gits && up <= depth && !parts[up..].contains(&"..")
}

/// Ends with an error, not with an early end, where an archive unpacks to too much.
struct Bounded<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| std::io::Error::other(format!("it is larger than {} bytes when unpacked", self.limit)))?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::git::run_git;
    use super::*;
    use crate::error::Fault;

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
        unpack(&[("x-1.tar.gz", &sdist(&[("x-1/setup.cfg", "[metadata]\n"), ("x-1/src/a.py", "")]))], "21.03", &tree)
            .await
            .unwrap();
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
        for bad in ["../evil", "/evil", "x-1/../../evil", "x-1/setup.cfg", "x-1/setup.cfg/x", "y/other"] {
            let bytes = sdist(&[("x-1/setup.cfg", ""), (bad, "x")]);
            assert!(unpack(&[("x-1.tar.gz", &bytes)], "21.03", &folder.path().join("tree")).await.is_err(), "{bad}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// A wheel with a RECORD of its own that tells the digest of each file.
    fn wheel(files: &[(&str, &str)]) -> Vec<u8> {
        use base64::Engine as _;
        use sha2::Digest as _;
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let mut record = String::from("x-1.dist-info/RECORD,,\n");
        for (path, content) in files {
            let digest = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(content));
            record += &format!("{path},sha256={digest},{}\n", content.len());
            writer.start_file(*path, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(content.as_bytes()).unwrap();
        }
        writer.start_file("x-1.dist-info/RECORD", zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(record.as_bytes()).unwrap();
        writer.finish().unwrap().into_inner()
    }

    #[tokio::test]
    async fn a_wheel_becomes_a_tree_that_tells_of_itself() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("agent");
        let metadata =
            "Metadata-Version: 2.1\nName: x\nRequires-Dist: a (>=1)\nRequires-Dist: b ; extra == 'test'\n\nRequires-Dist: c";
        let bytes = wheel(&[
            ("ai/backend/agent/__init__.py", "__version__ = '21.09.8'\n"),
            ("x-1.dist-info/METADATA", metadata),
            ("x-1.dist-info/entry_points.txt", "[g]\na = m:f\n"),
            ("ai/backend/static/.git", "gitdir: ../../.git/modules/static"),
            ("ai/.GIT/config", "[core]\n\tfsmonitor = touch owned\n"),
        ]);
        unpack(&[("x-1-py3-none-any.whl", &bytes)], "21.09", &tree).await.unwrap();
        let told = super::super::metadata(&tree, "x").unwrap();
        assert_eq!((told.version.as_str(), told.entry_points["g"]["a"].as_str()), ("21.09.8", "m:f"));
        assert_eq!(super::super::requirements(&tree, "3.9").unwrap().unwrap(), ["a (>=1)"]);
        assert!(!tree.join("x-1.dist-info/RECORD").exists() && !super::super::state(&tree).await.unwrap().dirty);
        assert!(!tree.join("src/ai/backend/static").exists() && !tree.join("src/ai/.GIT").exists());
        let bytes = wheel(&[("x-1.data/scripts/x", "x")]);
        assert!(unpack(&[("x-1-py3-none-any.whl", &bytes)], "21.09", &folder.path().join("bad")).await.is_err());
    }

    #[tokio::test]
    async fn records_of_git_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        let bytes = sdist(&[
            ("x-1/.git/hooks/post-checkout", "x"),
            ("x-1/static/.git", "gitdir: ../../.git/modules/static"),
            ("x-1/a/.GIT/config", "[core]\n\tfsmonitor = touch owned\n"),
            ("x-1/static/index.html", ""),
            ("x-1/.gitignore", ""),
        ]);
        unpack(&[("x-1.tar.gz", &bytes)], "21.03", &tree).await.unwrap();
        assert_eq!(run_git(&tree, &["ls-files"]).await.unwrap(), ".gitignore\nstatic/index.html");
        assert!(!super::super::state(&tree).await.unwrap().dirty);
    }

    fn with_link(place: &str, target: &str) -> Vec<u8> {
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        builder.append_data(&mut header.clone(), "x-1/a/b/file", std::io::empty()).unwrap();
        header.set_entry_type(tar::EntryType::Symlink);
        builder.append_link(&mut header.clone(), "x-1/up", "a/b").unwrap();
        header.set_path(place).unwrap();
        header.set_link_name_literal(target).unwrap();
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[tokio::test]
    async fn links_stay_inside_or_are_refused() {
        for (place, target, taken) in [
            ("x-1/l", "a/b/file", true),
            ("x-1/a/l", "../up/file", true),
            ("x-1/a/b/l", "../..", true),
            ("x-1/l", "missing", true),
            ("x-1/l", "/etc/passwd", false),
            ("x-1/l", "../x", false),
            ("x-1/a/l", "../../x", false),
            ("x-1/l", "up/../../x", false),
            ("x-1/l", "a/../..", false),
            ("x-1/l", ".git/config", false),
            ("x-1/up/l", "file", false),
            ("x-1/up", "a", false),
            ("x-1/a/b/file", "x", false),
            ("x-1", "x", false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let tree = folder.path().join("tree");
            let found = unpack(&[("x-1.tar.gz", &with_link(place, target))], "21.03", &tree).await;
            assert_eq!(found.is_ok(), taken, "{place} -> {target}: {found:?}");
            assert_eq!(tree.exists(), taken);
        }
    }

    #[test]
    fn an_archive_that_unpacks_to_too_much_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let zeros = "\0".repeat(1 << 20);
        let bytes = sdist(&[("x-1/zeros", &zeros)]);
        assert!(bytes.len() < 1 << 14);
        let fault = write_files("x-1.tar.gz", &bytes, folder.path(), 1 << 16).unwrap_err();
        assert!(format!("{fault:#}").contains("larger than 65536 bytes"), "{fault:#}");
    }

    #[tokio::test]
    async fn one_archive_is_one_commit_everywhere() {
        let bytes = sdist(&[("x-1/setup.cfg", "[metadata]\r\n"), ("x-1/.gitignore", "*.egg-info\n"), ("x-1/x.egg-info/a", "")]);
        let mut commits = std::collections::BTreeSet::new();
        for _ in 0..2 {
            let folder = tempfile::tempdir().unwrap();
            let tree = folder.path().join("common");
            unpack(&[("x-1.tar.gz", &bytes)], "21.03", &tree).await.unwrap();
            let state = super::super::state(&tree).await.unwrap();
            assert!(!state.dirty && !state.unpushed);
            assert_eq!(run_git(&tree, &["ls-files"]).await.unwrap().lines().count(), 3);
            assert_eq!(fs::read(tree.join("setup.cfg")).unwrap(), b"[metadata]\r\n");
            commits.insert(state.commit);
            // Times of commits have whole seconds: the second one is made in another.
            tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        }
        assert_eq!(commits.len(), 1);
    }

    #[tokio::test]
    async fn what_is_there_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("common");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("work"), "mine").unwrap();
        let fault = unpack(&[("x-1.tar.gz", &sdist(&[("x-1/a", "")]))], "21.03", &tree).await.unwrap_err();
        assert!(!fault.downcast_ref::<Fault>().unwrap().hints.is_empty(), "{fault:?}");
        assert_eq!(fs::read_to_string(tree.join("work")).unwrap(), "mine");
    }
}
