//! The host's git: clones, and what of a tree is only here.

use crate::error::Fault;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Marks the commit that a source distribution became, so that later work is told from it.
pub(super) const IMPORT_TAG: &str = "baibox/import";
/// Tags that came with a clone: what they name is published, on whatever branch it was.
const PUBLISHED: &str = "refs/baibox/published";
/// How long a git host may take to answer before another origin is taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Variables by which a git that called baibox, from a hook say, would point ours at its own repository.
const INHERITED: [&str; 13] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CEILING_DIRECTORIES",
    "GIT_SHALLOW_FILE",
    "GIT_TEMPLATE_DIR",
    "GIT_AUTHOR_DATE",
    "GIT_COMMITTER_DATE",
];

/// git in a folder: without questions to a person, hooks and helpers that a tree could bring.
pub(super) fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    for name in INHERITED {
        command.env_remove(name);
    }
    command.arg("-C").arg(folder).stdin(Stdio::null()).kill_on_drop(true);
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0").env("SSH_ASKPASS_REQUIRE", "never");
    // The trees may belong to another user than the one that asks.
    command.args(["-c", "safe.directory=*", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]);
    command
}

pub(super) async fn run_git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = git(folder);
    command.args(arguments);
    answer(command, folder, arguments).await
}

/// Runs a prepared git; `arguments` name it in errors.
pub(super) async fn answer(mut command: Command, folder: &Path, arguments: &[&str]) -> Result<String> {
    let output =
        command.output().await.with_context(|| Fault::engine("`git` cannot be started").hint("type `baibox doctor --fix`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("`git {}` failed in `{}`: {}", arguments.join(" "), folder.display(), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// How a working tree is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeState {
    /// `HEAD` where none is checked out.
    pub branch: String,
    /// Empty before the first commit.
    pub commit: String,
    /// Files differ from the commit, or are new.
    pub dirty: bool,
    /// Commits, of any branch, tag or stash, that no remote has.
    pub unpushed: bool,
}

pub async fn state(tree: &Path) -> Result<TreeState> {
    let branch = match run_git(tree, &["symbolic-ref", "--short", "--quiet", "HEAD"]).await {
        Ok(branch) => branch,
        Err(_) => "HEAD".to_owned(),
    };
    let commit = commit(tree).await?;
    // Said in full: a person's configuration may hide new files.
    let changes = run_git(tree, &["status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none"]).await?;
    let marks = run_git(tree, &["for-each-ref", "--format=%(refname)", &format!("refs/tags/{IMPORT_TAG}")]).await?;
    let published = format!("--glob={PUBLISHED}");
    let mut arguments = vec!["rev-list", "--max-count=1", "--all"];
    if !commit.is_empty() {
        arguments.push("HEAD");
    }
    arguments.extend(["--not", "--remotes", &published]);
    arguments.extend(marks.lines());
    let unpushed = !run_git(tree, &arguments).await?.is_empty();
    Ok(TreeState { branch, commit, dirty: !changes.is_empty(), unpushed })
}

/// The commit that a tree is at; empty before the first one.
pub async fn commit(tree: &Path) -> Result<String> {
    if let Some(commit) = written_commit(&tree.join(".git")) {
        return Ok(commit);
    }
    Ok(run_git(tree, &["rev-parse", "--verify", "--quiet", "HEAD"]).await.unwrap_or_default())
}

/// The same where git has it in plain files, as it mostly does: a process for each tree is felt when nothing changed.
fn written_commit(folder: &Path) -> Option<String> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let head = read("HEAD")?;
    let text = match head.strip_prefix("ref: ") {
        Some(branch) if branch.starts_with("refs/heads/") => read(branch.trim_end())?,
        Some(_) => return None,
        None => head,
    };
    let commit = text.trim_end();
    (commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| commit.to_owned())
}

/// The git working trees directly in an environment's folder.
pub fn trees(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot list `{}`", folder.display()))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.join(".git").exists() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Tags may name commits on no branch; without this a fresh clone would look like unpushed work.
pub(super) async fn remember_tags(tree: &Path) -> Result<()> {
    let format = format!("create {PUBLISHED}/%(refname:lstrip=2) %(objectname)");
    let refs = run_git(tree, &["for-each-ref", "--format", &format, "refs/tags"]).await?;
    if refs.is_empty() {
        return Ok(());
    }
    let mut command = git(tree);
    command.args(["update-ref", "--stdin"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().context("`git` cannot be started")?;
    let mut input = child.stdin.take().context("git has no standard input")?;
    input.write_all(format!("{refs}\n").as_bytes()).await.context("cannot tell git the tags")?;
    drop(input);
    let status = child.wait().await.context("git did not end")?;
    anyhow::ensure!(status.success(), "`git update-ref` failed in `{}`", tree.display());
    Ok(())
}

/// Whether a repository answers in a short time.
pub async fn reachable(url: &str) -> bool {
    let mut command = git(Path::new("/"));
    command.args(["ls-remote", "--heads", "--", url]).stdout(Stdio::null()).stderr(Stdio::null());
    matches!(tokio::time::timeout(PATIENCE, command.status()).await, Ok(Ok(status)) if status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::objects::{self, find};
    use crate::source::topic;
    use crate::store::Store;
    use std::fs;

    const WHO: [&str; 4] = ["-c", "user.name=a", "-c", "user.email=a@b"];

    async fn commit(tree: &Path, file: &str) {
        fs::write(tree.join(file), file).unwrap();
        run_git(tree, &["add", "--all"]).await.unwrap();
        run_git(tree, &[&WHO[..], &["commit", "--quiet", "--message", file]].concat()).await.unwrap();
    }

    #[tokio::test]
    async fn a_tag_is_no_branch() {
        let (_folder, tree) = cloned().await;
        assert!(!topic::has_tag(&tree, "21.03").await);
        run_git(&tree, &["tag", "21.03.9"]).await.unwrap();
        assert!(topic::has_tag(&tree, "21.03.9").await && !topic::has_branch(&tree, "21.03.9").await);
    }

    #[tokio::test]
    async fn the_commit_is_the_one_that_git_tells_however_it_is_kept() {
        let (folder, tree) = cloned().await;
        let other = folder.path().join("other");
        let place = other.display().to_string();
        let steps: [&[&str]; 7] = [
            &["status"],
            &["pack-refs", "--all"],
            &["checkout", "--quiet", "-b", "deep/branch"],
            &["checkout", "--quiet", "--detach"],
            &["worktree", "add", "--quiet", "-b", "beside", &place],
            &["symbolic-ref", "refs/heads/alias", "refs/heads/21.03"],
            &["symbolic-ref", "HEAD", "refs/heads/alias"],
        ];
        for step in steps {
            run_git(&tree, step).await.unwrap();
            for tree in [&tree, &other].into_iter().filter(|tree| tree.exists()) {
                let told = run_git(tree, &["rev-parse", "HEAD"]).await.unwrap();
                assert_eq!(super::commit(tree).await.unwrap(), told, "{step:?}");
            }
        }
        run_git(&tree, &["checkout", "--quiet", "--orphan", "empty"]).await.unwrap();
        assert_eq!(super::commit(&tree).await.unwrap(), "");
    }

    async fn clone(folder: &tempfile::TempDir, repository: &str, reference: &str, into: &Path) -> Result<()> {
        let store = Store::open(&folder.path().join("store")).unwrap();
        let found = find(&format!("file://{}/{repository}", folder.path().display()), reference).await?;
        objects::clone(&store, &found, false, into).await
    }

    /// A published repository `x` with a branch and a tag on no branch, and a clone of it.
    async fn cloned() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let origin = folder.path().join("x");
        fs::create_dir(&origin).unwrap();
        run_git(&origin, &["init", "--quiet", "--initial-branch", "21.03"]).await.unwrap();
        commit(&origin, "one").await;
        run_git(&origin, &["checkout", "--quiet", "-b", "gone"]).await.unwrap();
        commit(&origin, "released").await;
        run_git(&origin, &["tag", "v1"]).await.unwrap();
        run_git(&origin, &["checkout", "--quiet", "21.03"]).await.unwrap();
        run_git(&origin, &["branch", "-D", "gone"]).await.unwrap();
        let tree = folder.path().join("env/x");
        clone(&folder, "x", "21.03", &tree).await.unwrap();
        (folder, tree)
    }

    #[tokio::test]
    async fn a_fresh_clone_holds_no_work() {
        let (_folder, tree) = cloned().await;
        let state = state(&tree).await.unwrap();
        assert_eq!((state.branch.as_str(), state.dirty, state.unpushed), ("21.03", false, false));
        assert_eq!(state.commit.len(), 40);
        let beside: Vec<_> = fs::read_dir(tree.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(beside, ["x"]);
    }

    #[tokio::test]
    async fn work_of_every_kind_is_seen() {
        let (_folder, tree) = cloned().await;
        // Whatever a person has configured, new files are work.
        run_git(&tree, &["config", "status.showUntrackedFiles", "no"]).await.unwrap();
        fs::write(tree.join("new"), "").unwrap();
        assert!(state(&tree).await.unwrap().dirty);
        run_git(&tree, &[&WHO[..], &["stash", "--include-untracked", "--quiet"]].concat()).await.unwrap();
        let stashed = state(&tree).await.unwrap();
        assert!(!stashed.dirty && stashed.unpushed);
        run_git(&tree, &["stash", "drop", "--quiet"]).await.unwrap();
        assert!(!state(&tree).await.unwrap().unpushed);
        run_git(&tree, &["checkout", "--quiet", "--detach"]).await.unwrap();
        commit(&tree, "detached").await;
        let detached = state(&tree).await.unwrap();
        assert_eq!((detached.branch.as_str(), detached.unpushed), ("HEAD", true));
        run_git(&tree, &["tag", "mine"]).await.unwrap();
        run_git(&tree, &["checkout", "--quiet", "21.03"]).await.unwrap();
        assert!(state(&tree).await.unwrap().unpushed, "only a tag names it");
    }

    #[tokio::test]
    async fn a_repository_without_commits_is_told_too() {
        let folder = tempfile::tempdir().unwrap();
        run_git(folder.path(), &["init", "--quiet", "--initial-branch", "main"]).await.unwrap();
        fs::write(folder.path().join("new"), "").unwrap();
        let state = state(folder.path()).await.unwrap();
        assert_eq!((state.branch.as_str(), state.commit.as_str(), state.dirty, state.unpushed), ("main", "", true, false));
    }

    #[tokio::test]
    async fn a_clone_never_takes_the_place_of_what_is_there() {
        let (folder, tree) = cloned().await;
        fs::write(tree.join("work"), "mine").unwrap();
        assert!(clone(&folder, "x", "21.03", &tree).await.is_err());
        assert_eq!(fs::read_to_string(tree.join("work")).unwrap(), "mine");
        let unknown = clone(&folder, "y", "21.03", &folder.path().join("env/y")).await.unwrap_err();
        assert!(unknown.downcast_ref::<Fault>().unwrap().hints[0].contains("`--source pypi`"), "{unknown:?}");
        assert_eq!(trees(&folder.path().join("env")).unwrap(), [tree]);
    }

    #[tokio::test]
    async fn only_repositories_that_answer_are_reachable() {
        let (folder, _) = cloned().await;
        let base = format!("file://{}", folder.path().display());
        assert!(reachable(&format!("{base}/x")).await);
        assert!(!reachable(&format!("{base}/y")).await);
        assert!(!reachable("http://127.0.0.1:9/x").await);
    }
}
