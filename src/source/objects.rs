//! One object store for each repository, from which every environment's trees are cloned.
//!
//! A tree gets the objects as hard links (copies, on another file system) and its own
//! references: it is a repository of its own, inside containers too, and neither another
//! environment's end nor that of the store takes anything from it.

use super::copy::{HALF_MADE, end};
use super::git::{answer, git, remember_tags, run_git};
use super::{free, settle};
use crate::error::Fault;
use crate::model::Digest;
use crate::store::Store;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// What a name is in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    Branch(String),
    Tag(String),
    /// All forty digits.
    Commit(String),
}

impl Reference {
    fn name(&self) -> &str {
        let (Self::Branch(name) | Self::Tag(name) | Self::Commit(name)) = self;
        name
    }
}

/// Where a tree comes from, known to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub url: String,
    pub reference: Reference,
}

/// Asks a repository for a branch, a tag or a commit.
pub async fn find(url: &str, name: &str) -> Result<Found> {
    let found = |reference| Ok(Found { url: url.to_owned(), reference });
    let (head, tag) = (format!("refs/heads/{name}"), format!("refs/tags/{name}"));
    let listed = run_git(Path::new("/"), &["ls-remote", "--", url, &head, &tag]).await.with_context(|| {
        Fault::new(format!("cannot ask `{url}` for `{name}`"))
            .hint("name another place with `--git-base URL` or `--url COMPONENT=URL`, or take PyPI's source distributions with `--source pypi`")
    })?;
    let has = |wanted: &str| listed.lines().any(|line| line.split_once('\t').is_some_and(|(_, name)| name == wanted));
    if has(&head) {
        return found(Reference::Branch(name.to_owned()));
    }
    if has(&tag) {
        return found(Reference::Tag(name.to_owned()));
    }
    let digits = name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits && name.len() == 40 {
        return found(Reference::Commit(name.to_owned()));
    }
    let fault = Fault::usage(format!("`{url}` has no branch and no tag `{name}`"));
    Err(if digits && name.len() >= 7 { fault.hint("a commit is named by all of its 40 digits") } else { fault }.into())
}

/// Clones what was found; the tree has its name only when it is whole.
///
/// With `shallow` the newest commit alone comes, and nothing is shared.
pub async fn clone(store: &Store, found: &Found, shallow: bool, into: &Path) -> Result<()> {
    free(into)?;
    let parent = into.parent().context("a source tree needs a folder around it")?;
    std::fs::create_dir_all(parent).with_context(|| format!("cannot create `{}`", parent.display()))?;
    let scratch = scratch(parent).await?;
    let tree = scratch.path().join("tree");
    let place = tree.to_string_lossy().into_owned();
    if shallow {
        run_git(parent, &["init", "--quiet", &place]).await?;
        run_git(&tree, &["remote", "add", "origin", &found.url]).await?;
        fetch(&tree, "origin", &found.reference, "refs/remotes/origin", &["--depth", "1"]).await?;
    } else {
        let objects = bring(store, found).await?;
        let from = objects.to_string_lossy().into_owned();
        run_git(parent, &["clone", "--quiet", "--local", "--no-checkout", "--", &from, &place]).await?;
        run_git(&tree, &["remote", "set-url", "origin", &found.url]).await?;
    }
    match &found.reference {
        Reference::Branch(name) => {
            let start = format!("origin/{name}");
            check_out(&tree, &["-B", name, "--track", &start]).await?;
        }
        Reference::Tag(name) => check_out(&tree, &["--detach", &format!("refs/tags/{name}")]).await?,
        Reference::Commit(name) => {
            check_out(&tree, &["--detach", name]).await?;
            // It is on no remote's branch, and yet published.
            run_git(&tree, &["update-ref", &format!("refs/baibox/published/{name}"), name]).await?;
        }
    }
    remember_tags(&tree).await?;
    settle(&tree, into)
}

/// Large files stay pointers for now: what brings them asks the real repository.
async fn check_out(tree: &Path, arguments: &[&str]) -> Result<()> {
    let arguments = [&["checkout", "--quiet"], arguments].concat();
    let mut command = git(tree);
    command.args(&arguments).env("GIT_LFS_SKIP_SMUDGE", "1");
    answer(command, tree, &arguments).await.map(drop)
}

/// Brings what was found into the repository's object store. A fetch that was cut off
/// leaves references as they were, and the next one goes on.
async fn bring(store: &Store, found: &Found) -> Result<PathBuf> {
    let name = found.url.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
    let digest = Digest::of(found.url.as_bytes());
    let name = format!("{}-{}", name.trim_end_matches(".git"), &digest.hex()[..12]);
    let lock = {
        let (store, name) = (store.clone(), format!("git-{name}"));
        tokio::task::spawn_blocking(move || store.lock(&name))
    };
    let _held = lock.await.context("waiting for the object store ended")??;
    let folder = store.root().join("git").join(&name);
    if !folder.join("HEAD").is_file() {
        let place = folder.to_string_lossy().into_owned();
        run_git(store.root(), &["init", "--quiet", "--bare", &place]).await?;
        // Clones hold hard links: repacking would only cut them.
        run_git(&folder, &["config", "gc.auto", "0"]).await?;
    }
    fetch(&folder, &found.url, &found.reference, "refs/heads", &[]).await?;
    Ok(folder)
}

/// Fetches a reference; branches are kept below `heads`.
async fn fetch(repository: &Path, from: &str, reference: &Reference, heads: &str, options: &[&str]) -> Result<()> {
    let name = reference.name();
    let what = match reference {
        Reference::Branch(_) => format!("+refs/heads/{name}:{heads}/{name}"),
        Reference::Tag(_) => format!("+refs/tags/{name}:refs/tags/{name}"),
        Reference::Commit(_) => format!("{name}:refs/baibox/commits/{name}"),
    };
    let arguments = [&["fetch", "--quiet"], options, &["--", from, &what]].concat();
    run_git(repository, &arguments).await.map(drop).with_context(|| {
        Fault::new(format!("cannot fetch `{name}` of `{from}`"))
            .hint("when the network is there again, type the same command: it goes on from here")
    })
}

/// A folder beside the trees that knows whose it is; those of processes that were killed go.
async fn scratch(parent: &Path) -> Result<tempfile::TempDir> {
    for entry in std::fs::read_dir(parent).with_context(|| format!("cannot list `{}`", parent.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((process, _)) = name.strip_prefix(HALF_MADE).and_then(|rest| rest.rsplit_once('-')) else { continue };
        if crate::host::has_ended(&process.replace('_', " ")) {
            end(&entry.path().join("tree")).await?;
            std::fs::remove_dir_all(entry.path()).with_context(|| format!("cannot remove `{}`", entry.path().display()))?;
        }
    }
    let prefix = format!("{HALF_MADE}{}-", crate::host::process().replace(' ', "_"));
    tempfile::Builder::new().prefix(&prefix).tempdir_in(parent).with_context(|| format!("cannot write in `{}`", parent.display()))
}
