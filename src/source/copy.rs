//! A tree made again elsewhere: its commit, and what was changed since.

use super::git::{IMPORT_TAG, answer, git, run_git};
use super::settle;
use crate::error::Fault;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How folders begin in which a tree is made before it gets its place.
pub(super) const HALF_MADE: &str = ".baibox-clone-";
/// For so long a process that was killed may be about to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes the half-made trees in a folder that nobody makes any more. What a killed baibox had begun there goes on by
/// itself, and would go on writing: it is ended first.
pub async fn sweep(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
        let path = entry?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(HALF_MADE)) {
            continue;
        }
        let failed = || format!("cannot remove `{}`", path.display());
        end(&path.join("tree")).await.with_context(failed)?;
        std::fs::remove_dir_all(&path).with_context(failed)?;
    }
    Ok(())
}

/// Ends the processes that were told to make the tree, and waits until they are gone.
pub(super) async fn end(tree: &Path) -> Result<()> {
    let begin = tokio::time::Instant::now();
    loop {
        let left = crate::host::processes_with(&[&tree.to_string_lossy()])?;
        if left.is_empty() {
            return Ok(());
        }
        anyhow::ensure!(begin.elapsed() < PATIENCE, "a process that writes in `{}` does not end", tree.display());
        for process in left {
            // It may have ended by itself meanwhile.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Where a tree came from, exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    pub commit: String,
    /// Address that it was cloned from; absent for source distributions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its commit is an imported source distribution.
    #[serde(default)]
    pub imported: bool,
    /// What differs from the commit, as `git diff --binary` says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub patch: String,
}

impl Provenance {
    /// Without the name and password that an address may hold: the record is for others too.
    pub fn without_secrets(mut self) -> Self {
        let web = self.url.as_deref().and_then(|url| url.split_once("://")).filter(|(scheme, _)| scheme.starts_with("http"));
        if let Some((scheme, rest)) = web {
            let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = place.rsplit_once('@').map_or(place, |(_, host)| host);
            self.url = Some(format!("{scheme}://{host}/{path}"));
        }
        self
    }
}

pub async fn provenance(tree: &Path) -> Result<Provenance> {
    let commit = run_git(tree, &["rev-parse", "--verify", "HEAD"]).await?;
    let url = run_git(tree, &["remote", "get-url", "origin"]).await.ok();
    let mark = format!("refs/tags/{IMPORT_TAG}^{{commit}}");
    let imported = run_git(tree, &["rev-parse", "--verify", "--quiet", &mark]).await.is_ok_and(|mark| mark == commit);
    Ok(Provenance { commit, url, imported, patch: patch(tree).await? })
}

/// Everything that differs from the commit, new files too, without touching the tree's own index.
async fn patch(tree: &Path) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let with_index = |arguments: &[&str]| {
        let mut command = git(tree);
        command.args(arguments).env("GIT_INDEX_FILE", folder.path().join("index"));
        command
    };
    for arguments in [&["read-tree", "HEAD"][..], &["add", "--all"]] {
        answer(with_index(arguments), tree, arguments).await?;
    }
    let arguments = ["diff", "--cached", "--binary", "--no-color", "--no-ext-diff", "--no-renames", "HEAD"];
    let output = with_index(&arguments).output().await.context("`git` cannot be started")?;
    anyhow::ensure!(output.status.success(), "`git diff` failed in `{}`", tree.display());
    String::from_utf8(output.stdout).with_context(|| format!("the changes in `{}` are not UTF-8", tree.display()))
}

/// A tree like `from` at `into`, with the same remote and the same uncommitted changes.
pub async fn copy(from: &Path, into: &Path) -> Result<()> {
    if run_git(from, &["rev-parse", "--verify", "--quiet", "HEAD"]).await.is_err() {
        return Err(Fault::usage(format!("`{}` is no git working tree with a commit", from.display()))
            .hint("name the folder of a clone")
            .into());
    }
    let known = provenance(from).await?;
    make(&from.to_string_lossy(), &known, into).await
}

/// The same tree once more in `folder`, with its branches, stashes and ignored files; one that is there is left alone.
pub async fn duplicate(tree: &Path, folder: &Path) -> Result<()> {
    let into = folder.join(tree.file_name().context("a source tree has a name")?);
    if into.exists() {
        return Ok(());
    }
    // A work tree of another repository: the copy gets a repository of its own.
    if tree.join(".git").is_file() {
        return copy(tree, &into).await;
    }
    let scratch = tempfile::Builder::new().prefix(HALF_MADE).tempdir_in(folder)?;
    let half = scratch.path().join("tree");
    let output = tokio::process::Command::new("cp").arg("-a").arg("--").arg(tree).arg(&half).output().await;
    let output = output.context("`cp` cannot be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "`{}` cannot be copied: {}", tree.display(), said.trim());
    settle(&half, &into)
}

/// The tree that is described, cloned from its address or from `url`.
pub async fn restore(known: &Provenance, url: Option<&str>, into: &Path) -> Result<()> {
    let url = url.or(known.url.as_deref()).with_context(|| {
        Fault::new(format!("it is not known where `{}` was cloned from", into.display()))
            .hint("name a place with `--git-base URL`")
    })?;
    make(url, known, into).await
}

async fn make(from: &str, known: &Provenance, into: &Path) -> Result<()> {
    let parent = into.parent().context("a source tree needs a folder around it")?;
    std::fs::create_dir_all(parent).with_context(|| format!("cannot create `{}`", parent.display()))?;
    let scratch = tempfile::Builder::new().prefix(HALF_MADE).tempdir_in(parent)?;
    let tree = scratch.path().join("tree");
    let place = tree.to_string_lossy().into_owned();
    run_git(parent, &["clone", "--quiet", "--no-checkout", "--", from, &place]).await?;
    if run_git(&tree, &["cat-file", "-e", &known.commit]).await.is_err() {
        // Commits of pull requests are on no branch, and servers give them by name.
        run_git(&tree, &["fetch", "--quiet", "origin", &known.commit]).await.with_context(|| {
            Fault::new(format!("`{from}` has no commit {}", known.commit))
                .hint("push it there, or name another place with `--git-base URL`")
        })?;
    }
    run_git(&tree, &["checkout", "--quiet", "--detach", &known.commit]).await?;
    if let Some(url) = &known.url {
        run_git(&tree, &["remote", "set-url", "origin", url]).await?;
    }
    apply(&tree, &known.patch).await?;
    settle(&tree, into)
}

/// Applies a patch of [`Provenance`] to a clean tree.
pub async fn apply(tree: &Path, patch: &str) -> Result<()> {
    if patch.is_empty() {
        return Ok(());
    }
    let mut command = git(tree);
    command.args(["apply", "--binary", "--whitespace=nowarn", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("`git` cannot be started")?;
    let mut input = child.stdin.take().context("git has no standard input")?;
    input.write_all(patch.as_bytes()).await.context("cannot hand git the changes")?;
    drop(input);
    let output = child.wait_with_output().await.context("git did not end")?;
    anyhow::ensure!(
        output.status.success(),
        "the changes do not apply to `{}`: {}",
        tree.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const WHO: [&str; 4] = ["-c", "user.name=a", "-c", "user.email=a@b"];

    #[test]
    fn a_record_tells_no_password() {
        let check = |url: &str, expected: &str| {
            let known = Provenance { url: Some(url.into()), ..Provenance::default() };
            assert_eq!(known.without_secrets().url.as_deref(), Some(expected), "{url}");
        };
        check("https://me:secret@git.example/a/b.git", "https://git.example/a/b.git");
        check("http://token@git.example:8080/a@b", "http://git.example:8080/a@b");
        check("https://git.example/a", "https://git.example/a");
        check("ssh://git@git.example/a", "ssh://git@git.example/a");
        check("git@git.example:a", "git@git.example:a");
        check("file:///a@b/c", "file:///a@b/c");
    }

    #[tokio::test]
    async fn what_a_killed_process_had_begun_ends_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join(format!("{HALF_MADE}x/tree"));
        fs::create_dir_all(&tree).unwrap();
        let script = "number=0; while :; do number=$((number + 1)); : > \"$0/$number\"; done";
        let mut writer = std::process::Command::new("sh").args(["-c", script]).arg(&tree).spawn().unwrap();
        while fs::read_dir(&tree).unwrap().count() < 10 {
            tokio::task::yield_now().await;
        }
        fs::create_dir(folder.path().join("mine")).unwrap();
        sweep(folder.path()).await.unwrap();
        assert!(!writer.wait().unwrap().success());
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["mine"]);
    }

    #[tokio::test]
    async fn a_tree_with_changes_of_every_kind_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        fs::create_dir(&from).unwrap();
        run_git(&from, &["init", "--quiet"]).await.unwrap();
        for (name, text) in [("kept", "1"), ("changed", "1"), ("gone", "1")] {
            fs::write(from.join(name), text).unwrap();
        }
        run_git(&from, &["add", "--all"]).await.unwrap();
        run_git(&from, &[&WHO[..], &["commit", "--quiet", "--message", "x"]].concat()).await.unwrap();
        fs::write(from.join("changed"), "2\n").unwrap();
        fs::write(from.join("new"), [0, 255, 1]).unwrap();
        fs::remove_file(from.join("gone")).unwrap();
        let into = folder.path().join("into");
        copy(&from, &into).await.unwrap();
        assert_eq!(fs::read(into.join("new")).unwrap(), [0, 255, 1]);
        assert_eq!(fs::read_to_string(into.join("changed")).unwrap(), "2\n");
        assert!(into.join("kept").exists() && !into.join("gone").exists());
        let (one, two) = (provenance(&from).await.unwrap(), provenance(&into).await.unwrap());
        assert_eq!((one.commit, one.patch), (two.commit, two.patch));
        // The tree that was copied has its own index as before.
        assert!(run_git(&from, &["diff", "--cached", "--name-only"]).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_duplicate_has_all_that_is_in_the_folder_and_is_made_once() {
        let scratch = tempfile::tempdir().unwrap();
        let (from, folder) = (scratch.path().join("from/tree"), scratch.path().join("into"));
        for folder in [&from.join(".git"), &folder] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(from.join(".git/config"), "1").unwrap();
        std::os::unix::fs::symlink("nowhere", from.join("link")).unwrap();
        duplicate(&from, &folder).await.unwrap();
        assert_eq!(fs::read_link(folder.join("tree/link")).unwrap(), Path::new("nowhere"));
        fs::write(folder.join("tree/.git/config"), "2").unwrap();
        duplicate(&from, &folder).await.unwrap();
        assert_eq!(fs::read_to_string(folder.join("tree/.git/config")).unwrap(), "2");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_folder_without_commits_is_no_tree() {
        let folder = tempfile::tempdir().unwrap();
        let refused = copy(folder.path(), &folder.path().join("x")).await.unwrap_err();
        assert!(refused.to_string().contains("is no git working tree"), "{refused}");
    }
}
