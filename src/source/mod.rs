//! Working trees of the components: from git, or from source distributions.

mod copy;
mod git;
mod metadata;
mod objects;
mod parts;
mod requirements;
#[cfg(test)]
mod real;
mod sdist;
pub mod topic;

pub use copy::{Provenance, apply, copy, duplicate, provenance, restore, sweep};
pub use git::{TreeState, commit, reachable, state, trees};
pub use metadata::read as metadata;
pub use objects::{Found, Reference, clone, find};
pub use parts::{Lacking, complete, pointers};
pub use requirements::read as requirements;
pub use sdist::unpack;

use crate::error::Fault;
use crate::fetch::Fetcher;
use crate::model::Digest;
use crate::python::Index;
use crate::store::Store;
use anyhow::{Context, Result};
use std::path::Path;

/// One component's tree, as a release names it.
#[derive(Clone, Debug)]
pub struct Component<'a> {
    /// Project on the package index.
    pub project: &'a str,
    /// Source distribution, by file name and digest.
    pub file: &'a str,
    pub sha256: &'a Digest,
    /// Project, file and digest of what else the tree is published as.
    pub parts: Vec<(&'a str, &'a str, &'a Digest)>,
}

/// Brings a component's source distribution to `into`. A git tree that is there is adopted
/// as it is; anything else that is there is refused, since it is somebody's work.
///
/// Several may run at once, one per folder. Says whether there was none before.
pub async fn publish(
    component: &Component<'_>,
    branch: &str,
    into: &Path,
    fetcher: &Fetcher,
    store: &Store,
    index: &Index,
) -> Result<bool> {
    if into.join(".git").exists() {
        return Ok(false);
    }
    free(into)?;
    let first = [(component.project, component.file, component.sha256)];
    let mut files = Vec::new();
    for (project, file, sha256) in first.into_iter().chain(component.parts.iter().copied()) {
        if !store.has(sha256) {
            let urls = index.urls(fetcher, project, file).await?;
            fetcher.file(&urls, sha256).await?;
        }
        files.push((file, store.read(sha256)?));
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(file, bytes)| (*file, bytes.as_ref())).collect();
    unpack(&files, branch, into).await?;
    Ok(true)
}

/// Nothing stands where a tree shall be; an empty folder is nothing.
fn free(into: &Path) -> Result<()> {
    let taken = match std::fs::symlink_metadata(into) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Ok(found) if found.is_dir() => {
            std::fs::read_dir(into).with_context(|| format!("cannot list `{}`", into.display()))?.next().is_some()
        }
        _ => true,
    };
    if taken {
        return Err(Fault::new(format!("`{}` is there, but it is not a git working tree", into.display()))
            .hint(format!(
                "move `{}` away, or make it a repository with `git init`, then type the same command again",
                into.display()
            ))
            .into());
    }
    Ok(())
}

/// Gives a whole tree its name, never one that is taken.
fn settle(tree: &Path, into: &Path) -> Result<()> {
    free(into)?;
    // Another process may be faster: renaming over a folder that is not empty fails.
    std::fs::rename(tree, into).with_context(|| format!("cannot name the tree `{}`", into.display()))
}
