//! Working trees of the components: from git, or from source distributions.

mod metadata;
mod sdist;

pub use metadata::read as metadata;
pub use sdist::unpack;

use crate::error::Fault;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// Marks the commit that a source distribution became, so that later work is told from it.
const IMPORT_TAG: &str = "baibox/import";

/// git in a folder, without the questions that it would ask a person.
fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null()).kill_on_drop(true);
    // The trees may belong to another user than the one that asks.
    command.args(["-c", "safe.directory=*"]);
    command
}

async fn run_git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = git(folder)
        .args(arguments)
        .output()
        .await
        .with_context(|| Fault::engine("`git` cannot be started").hint("type `baibox doctor --fix`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("`git {}` failed in `{}`: {}", arguments.join(" "), folder.display(), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// How a working tree is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeState {
    pub branch: String,
    pub commit: String,
    /// Files differ from the commit, or are new.
    pub dirty: bool,
    /// Commits, of any branch or stash, that no remote has.
    pub unpushed: bool,
}

pub async fn state(tree: &Path) -> Result<TreeState> {
    let commit = run_git(tree, &["rev-parse", "HEAD"]).await?;
    let branch = run_git(tree, &["rev-parse", "--abbrev-ref", "HEAD"]).await?;
    let dirty = !run_git(tree, &["status", "--porcelain"]).await?.is_empty();
    let imported = run_git(tree, &["tag", "--list", IMPORT_TAG]).await?;
    let mut arguments = vec!["rev-list", "--max-count=1", "--all", "HEAD", "--not", "--remotes"];
    if !imported.is_empty() {
        arguments.push(IMPORT_TAG);
    }
    let unpushed = !run_git(tree, &arguments).await?.is_empty();
    Ok(TreeState { branch, commit, dirty, unpushed })
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

/// Clones a branch; the tree has its name only when it is whole.
pub async fn clone(base: &str, repository: &str, branch: &str, into: &Path) -> Result<()> {
    let url = format!("{}/{repository}", base.trim_end_matches('/'));
    let parent = into.parent().context("a source tree needs a folder around it")?;
    std::fs::create_dir_all(parent).with_context(|| format!("cannot create `{}`", parent.display()))?;
    let scratch = tempfile::Builder::new().prefix(".baibox-clone-").tempdir_in(parent)?;
    let tree = scratch.path().join("tree");
    let place = tree.to_string_lossy().into_owned();
    run_git(parent, &["clone", "--quiet", "--branch", branch, &url, &place]).await.with_context(|| {
        Fault::new(format!("cannot clone the branch `{branch}` of `{url}`"))
            .hint("name another place with `--git-base URL`, or take PyPI's source distributions with `--source pypi`")
    })?;
    std::fs::rename(&tree, into).with_context(|| format!("cannot name the tree `{}`", into.display()))
}

/// Whether a repository answers in a short time.
pub async fn reachable(base: &str, repository: &str) -> bool {
    let url = format!("{}/{repository}", base.trim_end_matches('/'));
    let asked = git(Path::new("/")).args(["ls-remote", "--heads", &url]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    matches!(tokio::time::timeout(std::time::Duration::from_secs(10), asked).await, Ok(Ok(status)) if status.success())
}
