//! What of a tree is elsewhere: submodules, and large files that Git LFS keeps.

use super::git::{git, run_git};
use anyhow::{Context, Result};
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

/// What could not be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacking {
    /// Path and git's reason.
    pub submodules: Vec<(String, String)>,
    /// Files that hold a pointer in the place of their content.
    pub pointers: Vec<String>,
    /// Why Git LFS, which is there, left them.
    pub refused: Option<String>,
}

/// A pointer file begins so: <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Brings submodules and large files of a tree. `instead` is a base URL, and the one
/// that addresses below it are asked at.
pub async fn complete(tree: &Path, instead: Option<(&str, &str)>) -> Result<Lacking> {
    let mut lacking = Lacking::default();
    for path in submodules(tree).await? {
        // Not every server gives a commit without its history.
        let mut failed = None;
        for options in [&["--depth", "1"][..], &[]] {
            let mut command = git(tree);
            if let Some((base, other)) = instead {
                let ends = [other, base].map(|url| url.trim_end_matches('/'));
                command.args(["-c", &format!("url.{}/.insteadOf={}/", ends[0], ends[1])]);
                if other.starts_with("file://") {
                    command.args(["-c", "protocol.file.allow=always"]);
                }
            }
            command.args(["submodule", "--quiet", "update", "--init", "--recursive"]).args(options).args(["--", &path]);
            let output = command.output().await.context("`git` cannot be started")?;
            let said = String::from_utf8_lossy(&output.stderr);
            failed = (!output.status.success()).then(|| said.trim().lines().next().unwrap_or("git says nothing").to_owned());
            if failed.is_none() {
                break;
            }
        }
        if let Some(said) = failed {
            lacking.submodules.push((path, said));
        }
    }
    lacking.pointers = pointers(tree).await?;
    if !lacking.pointers.is_empty() && has_lfs(tree).await {
        lacking.refused = pull(tree).await.err().map(|error| format!("{error:#}"));
        lacking.pointers = pointers(tree).await?;
    }
    Ok(lacking)
}

async fn submodules(tree: &Path) -> Result<Vec<String>> {
    if !tree.join(".gitmodules").is_file() {
        return Ok(Vec::new());
    }
    // A list, since to ask for paths of a file that has none is an error.
    let listed = run_git(tree, &["config", "--file", ".gitmodules", "--list"]).await?;
    let path = |line: &str| {
        let (key, path) = line.split_once('=')?;
        (key.starts_with("submodule.") && key.ends_with(".path")).then(|| path.to_owned())
    };
    Ok(listed.lines().filter_map(path).collect())
}

/// Brings large files. Without its filter in git's configuration Git LFS would fetch them and
/// leave the pointers, and git would call the files changed.
async fn pull(tree: &Path) -> Result<()> {
    if run_git(tree, &["config", "--get", "filter.lfs.process"]).await.is_err() {
        run_git(tree, &["lfs", "install", "--local", "--skip-repo"]).await?;
    }
    run_git(tree, &["lfs", "pull"]).await.map(drop)
}

async fn has_lfs(tree: &Path) -> bool {
    let mut command = git(tree);
    command.args(["lfs", "version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

/// Files that Git LFS keeps and that are not there.
pub async fn pointers(tree: &Path) -> Result<Vec<String>> {
    let kept = run_git(tree, &["ls-files", "-z", "--", ":(attr:filter=lfs)"]).await?;
    let is_pointer = |path: &&str| {
        let mut head = [0; POINTER.len()];
        std::fs::File::open(tree.join(path)).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == *POINTER
    };
    Ok(kept.split('\0').filter(|path| !path.is_empty()).filter(is_pointer).map(String::from).collect())
}
