//! A topic branch of a tree: where it starts, and what it brings.

use super::git::{IMPORT_TAG, answer, git, run_git};
use crate::error::Fault;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The remote with the project's own repository, where `origin` is a fork.
pub const UPSTREAM: &str = "upstream";
pub const ORIGIN: &str = "origin";

/// A commit, in its author's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Shortened.
    pub id: String,
    pub title: String,
    /// Without trailers such as `Co-authored-by`, where people's names stand.
    pub body: String,
}

/// `upstream`, else `origin`; `None` for a tree that came from elsewhere than git.
pub async fn remote(tree: &Path) -> Result<Option<&'static str>> {
    let remotes = run_git(tree, &["remote"]).await?;
    Ok([UPSTREAM, ORIGIN].into_iter().find(|name| remotes.lines().any(|line| line == *name)))
}

/// The commit of `<remote>/<branch>` as it was last fetched.
pub async fn tracked(tree: &Path, remote: &str, branch: &str) -> Option<String> {
    let name = format!("refs/remotes/{remote}/{branch}");
    run_git(tree, &["rev-parse", "--verify", "--quiet", &name]).await.ok()
}

/// Whether a tree is on a branch of that name, or at the commit that the name means there.
pub async fn is_at(tree: &Path, reference: &str) -> Result<bool> {
    if run_git(tree, &["symbolic-ref", "--short", "--quiet", "HEAD"]).await.is_ok_and(|branch| branch == reference) {
        return Ok(true);
    }
    let meant = run_git(tree, &["rev-parse", "--verify", "--quiet", &format!("{reference}^{{commit}}")]).await;
    let head = run_git(tree, &["rev-parse", "--verify", "--quiet", "HEAD"]).await;
    Ok(matches!((meant, head), (Ok(meant), Ok(head)) if meant == head))
}

/// Brings what the remote has on a branch.
pub async fn fetch(tree: &Path, remote: &str, branch: &str) -> Result<()> {
    let what = format!("+refs/heads/{branch}:refs/remotes/{remote}/{branch}");
    run_git(tree, &["fetch", "--quiet", "--no-tags", remote, &what]).await.map(drop)
}

/// Whether the tree has a branch of that name.
pub async fn has_branch(tree: &Path, name: &str) -> bool {
    run_git(tree, &["show-ref", "--verify", "--quiet", &format!("refs/heads/{name}")]).await.is_ok()
}

/// Whether the tree has a tag of that name: releases whose branch is gone are at their last one.
pub async fn has_tag(tree: &Path, name: &str) -> bool {
    run_git(tree, &["show-ref", "--verify", "--quiet", &format!("refs/tags/{name}")]).await.is_ok()
}

/// Goes to a branch, which begins at `start` if it is new. Uncommitted changes come
/// along, or git refuses and nothing is lost.
pub async fn switch(tree: &Path, name: &str, start: Option<&str>) -> Result<()> {
    let arguments = match start {
        Some(start) => vec!["switch", "--quiet", "--no-track", "--create", name, start],
        None => vec!["switch", "--quiet", name],
    };
    run_git(tree, &arguments).await.map(drop).with_context(|| {
        Fault::new(format!("`{}` does not go to the branch `{name}`", tree.display()))
            .hint("commit or stash what is changed there, then type the same command again")
    })
}

/// How many commits of `of` are not in `than`.
pub async fn ahead(tree: &Path, of: &str, than: &str) -> Result<usize> {
    let count = run_git(tree, &["rev-list", "--count", of, &format!("^{than}")]).await?;
    count.parse().with_context(|| format!("git counts `{count}` commits"))
}

/// Moves a clean tree's branch on to a commit that follows it.
pub async fn fast_forward(tree: &Path, to: &str) -> Result<()> {
    run_git(tree, &["merge", "--quiet", "--ff-only", to]).await.map(drop)
}

/// Paths that differ between the checked-out commit and another.
pub async fn changed(tree: &Path, other: &str) -> Result<Vec<String>> {
    let paths = run_git(tree, &["diff", "--name-only", "--no-renames", "-z", "HEAD", other]).await?;
    Ok(paths.split('\0').filter(|path| !path.is_empty()).map(String::from).collect())
}

/// What the checked-out branch brings above `base`, oldest first, without merges.
pub async fn commits(tree: &Path, base: &str) -> Result<Vec<Commit>> {
    let range = format!("{base}..HEAD");
    let format = "--format=%h%x1f%s%x1f%b%x1f%(trailers)%x1e";
    let text = run_git(tree, &["log", "--reverse", "--no-merges", format, &range]).await?;
    let one = |entry: &str| {
        let mut parts = entry.trim_start_matches('\n').split('\x1f').map(str::trim);
        let (id, title, body, trailers) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let body = body.strip_suffix(trailers).unwrap_or(body).trim_end();
        Some(Commit { id: id.to_owned(), title: title.to_owned(), body: body.to_owned() })
    };
    Ok(text.split('\x1e').filter_map(one).collect())
}

/// Files below a folder that are new since `base`, committed or not, by their path in it.
pub async fn brought(tree: &Path, base: &str, folder: &str) -> Result<BTreeMap<String, String>> {
    let place = format!("{folder}/");
    let since = run_git(tree, &["merge-base", base, "HEAD"]).await?;
    let new = run_git(tree, &["diff", "--name-only", "--diff-filter=AR", "-z", &since, "--", &place]).await?;
    let untracked = run_git(tree, &["ls-files", "--others", "--exclude-standard", "-z", "--", &place]).await?;
    let mut files = BTreeMap::new();
    for path in new.split('\0').chain(untracked.split('\0')).filter(|path| !path.is_empty()) {
        let bytes = std::fs::read(tree.join(path)).with_context(|| format!("cannot read `{path}`"))?;
        files.insert(path.strip_prefix(&place).unwrap_or(path).to_owned(), String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(files)
}

/// Files that differ from `base` and are there, committed or not.
pub async fn touched(tree: &Path, base: &str) -> Result<Vec<String>> {
    let since = run_git(tree, &["merge-base", base, "HEAD"]).await?;
    let differ = run_git(tree, &["diff", "--name-only", "--no-renames", "--diff-filter=d", "-z", &since]).await?;
    let untracked = run_git(tree, &["ls-files", "--others", "--exclude-standard", "-z"]).await?;
    let paths = differ.split('\0').chain(untracked.split('\0')).filter(|path| !path.is_empty());
    Ok(paths.map(String::from).collect())
}

/// Those of the paths that no pattern, as in `.gitignore`, names; the tree's own count too.
pub async fn without(tree: &Path, paths: Vec<String>, patterns: &[String]) -> Result<Vec<String>> {
    if paths.is_empty() {
        return Ok(paths);
    }
    let scratch = tempfile::tempdir()?;
    let (excludes, asked) = (scratch.path().join("patterns"), scratch.path().join("paths"));
    std::fs::write(&excludes, patterns.join("\n"))?;
    std::fs::write(&asked, paths.join("\0"))?;
    let mut command = git(tree);
    let excludes = format!("core.excludesFile={}", excludes.display());
    command.args(["-c", &excludes, "check-ignore", "--no-index", "-z", "--stdin"]).stdin(std::fs::File::open(&asked)?);
    let output = command.output().await.context("`git` cannot be started")?;
    // 1 says that none of them is.
    if !matches!(output.status.code(), Some(0 | 1)) {
        anyhow::bail!("`git check-ignore` failed in `{}`: {}", tree.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let ignored: Vec<&str> = text.split('\0').collect();
    Ok(paths.into_iter().filter(|path| !ignored.contains(&path.as_str())).collect())
}

/// Lines that are new since `base`, committed or not, by the file that they are in.
pub async fn added(tree: &Path, base: &str) -> Result<BTreeMap<String, String>> {
    let since = run_git(tree, &["merge-base", base, "HEAD"]).await?;
    let diff = ["-c", "core.quotePath=false", "diff", "--unified=0", "--no-color", "--no-ext-diff", "--no-prefix", &since];
    let text = run_git(tree, &diff).await?;
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let (mut file, mut inside) = (String::new(), false);
    for line in text.lines() {
        if line.starts_with("diff --git ") {
            inside = false;
        } else if line.starts_with("@@ ") {
            inside = true;
        } else if let Some(name) = line.strip_prefix("+++ ").filter(|_| !inside) {
            file = name.to_owned();
        } else if let Some(added) = line.strip_prefix('+').filter(|_| inside) {
            let lines = files.entry(file.clone()).or_default();
            lines.push_str(added);
            lines.push('\n');
        }
    }
    Ok(files)
}

/// Writes the files of the commit that the branch left `base` at into a folder, without touching the tree.
pub async fn export(tree: &Path, base: &str, into: &Path) -> Result<()> {
    let since = run_git(tree, &["merge-base", base, "HEAD"]).await?;
    let folder = tempfile::tempdir()?;
    let prefix = format!("--prefix={}/", into.display());
    for arguments in [&["read-tree", &since][..], &["checkout-index", "--all", "--quiet", &prefix]] {
        let mut command = git(tree);
        command.args(arguments).env("GIT_INDEX_FILE", folder.path().join("index"));
        answer(command, tree, arguments).await?;
    }
    Ok(())
}

/// The commit that a source distribution became.
pub async fn imported(tree: &Path) -> Result<String> {
    run_git(tree, &["rev-parse", "--verify", "--quiet", &format!("refs/tags/{IMPORT_TAG}^{{commit}}")]).await
}

/// Address of the project's own repository; `None` for a tree that came from elsewhere than git.
pub async fn upstream(tree: &Path) -> Result<Option<String>> {
    match remote(tree).await? {
        Some(name) => run_git(tree, &["remote", "get-url", name]).await.map(Some),
        None => Ok(None),
    }
}

/// The address of a fork: the same repository of another account, or below another base URL.
pub fn fork_url(upstream: &str, account: &str) -> Result<String, Fault> {
    let upstream = upstream.trim_end_matches('/');
    let (rest, repository) = upstream.rsplit_once('/').unwrap_or(("", upstream));
    if account.contains(['/', ':']) {
        return Ok(format!("{}/{repository}", account.trim_end_matches('/')));
    }
    if account.is_empty() || !account.chars().all(|sign| sign.is_ascii_alphanumeric() || "-_.".contains(sign)) {
        return Err(
            Fault::usage(format!("`{account}` is not the name of an account")).hint("name it as it stands in the fork's address")
        );
    }
    // `https://host/account` and `git@host:account`.
    let end = rest.rfind(['/', ':']).ok_or_else(|| {
        Fault::new(format!("`{upstream}` does not say whose repository it is"))
            .hint("name the base URL of the forks in place of the account")
    })?;
    Ok(format!("{}{account}/{repository}", &rest[..=end]))
}

/// Makes `origin` the fork at `url`, and `upstream` the project's own repository: what
/// `origin` was, or `project` where it was that fork already. Says whether something changed.
pub async fn fork(tree: &Path, url: &str, project: &str) -> Result<bool> {
    let remotes = run_git(tree, &["remote"]).await?;
    let has = |name: &str| remotes.lines().any(|line| line == name);
    let origin = if has(ORIGIN) { Some(run_git(tree, &["remote", "get-url", ORIGIN]).await?) } else { None };
    let is_fork = origin.as_deref() == Some(url);
    match origin {
        Some(_) if is_fork && has(UPSTREAM) => return Ok(false),
        Some(origin) if has(UPSTREAM) => {
            return Err(Fault::new(format!("`origin` of `{}` is `{origin}` already", tree.display()))
                .hint(format!("change it: git -C {} remote set-url origin {url}", tree.display()))
                .into());
        }
        Some(_) if is_fork => drop(run_git(tree, &["remote", "add", UPSTREAM, project]).await?),
        Some(_) => {
            // Tracked branches and the configuration of local ones move too.
            run_git(tree, &["remote", "rename", ORIGIN, UPSTREAM]).await?;
            run_git(tree, &["remote", "add", ORIGIN, url]).await?;
        }
        None => drop(run_git(tree, &["remote", "add", ORIGIN, url]).await?),
    }
    // What is worked on is pushed to the fork, whatever it is compared with.
    run_git(tree, &["config", "remote.pushDefault", ORIGIN]).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_is_where_the_account_is() {
        for (upstream, account, expected) in [
            ("https://git.example/lablup/backend.ai-manager", "me", "https://git.example/me/backend.ai-manager"),
            ("git@git.example:lablup/backend.ai-manager.git", "me-2", "git@git.example:me-2/backend.ai-manager.git"),
            ("file:///a/lablup/x/", "me", "file:///a/me/x"),
            ("https://git.example/lablup/x", "git@git.example:me", "git@git.example:me/x"),
            ("https://git.example/lablup/x", "file:///forks/", "file:///forks/x"),
        ] {
            assert_eq!(fork_url(upstream, account).unwrap(), expected);
        }
        assert!(fork_url("https://git.example/lablup/x", "a b").is_err());
        assert!(fork_url("x", "me").is_err());
    }
}
