//! Named states of an environment: its databases, etcd's keys and the virtual folders.

mod state;

pub use state::{State, forget_cut_off, was_cut_off};

use crate::environment::Environment;
use crate::error::Fault;
use crate::model::{Branch, Digest};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Raised when the files of a snapshot mean something else than before.
const VERSION: u32 = 1;

/// `snapshot.json`, written last: a folder without it is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    #[serde(skip)]
    pub name: String,
    #[serde(skip)]
    pub folder: PathBuf,
    pub branch: Branch,
    /// Revision of the database's schema, as alembic names it.
    pub revision: String,
    /// When it was taken, by RFC 3339.
    pub taken: String,
    /// Component → commit of its tree at that time.
    pub commits: BTreeMap<String, String>,
    /// File → its size and digest.
    files: BTreeMap<String, (u64, Digest)>,
}

/// What every snapshot is made of; databases besides the manager's are dumped to files of their names.
const FILES: [&str; 3] = ["database.dump", "etcd.snapshot", "vfolder.tar"];

/// The dump of a database, as `images/state/state.sh` calls it.
fn dump(database: &str) -> String {
    if database == "backend" { FILES[0].to_owned() } else { format!("{database}.dump") }
}

impl Snapshot {
    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        self.files.values().map(|(size, _)| size).sum()
    }

    /// Whether it has that database: those that were taken by an earlier baibox have the manager's alone.
    pub fn has(&self, database: &str) -> bool {
        self.files.contains_key(&dump(database))
    }

    /// It is whole and fits the environment, or a fault says what is wrong.
    pub fn check(&self, environment: &Environment) -> Result<()> {
        let name = &self.name;
        if self.branch != environment.branch {
            let message = format!(
                "the snapshot `{name}` is of release {}, the environment `{}` of {}",
                self.branch, environment.id, environment.branch
            );
            return Err(Fault::usage(message)
                .hint(format!("make an environment of that release: `baibox up --branch {}`", self.branch))
                .into());
        }
        if let Some(file) = FILES.into_iter().find(|file| !self.files.contains_key(*file)) {
            anyhow::bail!("the snapshot `{name}` has no `{file}`");
        }
        for (file, known) in &self.files {
            let path = self.folder.join(file);
            if measure(&path)? != *known {
                return Err(Fault::new(format!(
                    "the snapshot `{name}` is damaged: `{}` is not what was written",
                    path.display()
                ))
                .hint(format!("delete it: `baibox snapshots --delete {name}`"))
                .into());
            }
        }
        Ok(())
    }
}

fn measure(path: &Path) -> Result<(u64, Digest)> {
    let hashed = || -> std::io::Result<(u64, Digest)> {
        let mut hasher = Sha256::new();
        let size = std::io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
        Ok((size, Digest::from_hasher(hasher)))
    };
    hashed().with_context(|| format!("cannot read `{}`", path.display()))
}

/// Where the snapshots of an environment are.
pub fn folder(environment: &Environment) -> PathBuf {
    environment.state_folder().join("snapshots")
}

/// All that are whole, oldest first.
pub fn list(environment: &Environment) -> Result<Vec<Snapshot>> {
    let folder = folder(environment);
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot list `{}`", folder.display()))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if is_name(&name) && folder.join(&name).join("snapshot.json").is_file() {
            found.push(read(&folder, &name)?);
        }
    }
    found.sort_by(|one, two| (&one.taken, &one.name).cmp(&(&two.taken, &two.name)));
    Ok(found)
}

/// The one of that name.
pub fn find(environment: &Environment, name: &str) -> Result<Snapshot> {
    let all = list(environment)?;
    let names: Vec<String> = all.iter().map(|snapshot| format!("`{}`", snapshot.name)).collect();
    all.into_iter().find(|snapshot| snapshot.name == name).ok_or_else(|| {
        let fault = Fault::usage(format!("the environment `{}` has no snapshot `{name}`", environment.id));
        let fault = if names.is_empty() {
            fault.hint(format!("it has none yet: `baibox snapshot {name} --env {}` takes one", environment.id))
        } else {
            fault.hint(format!("it has {}", names.join(", ")))
        };
        fault.into()
    })
}

/// The name is one, and is free.
pub fn is_free(environment: &Environment, name: &str) -> Result<()> {
    if !is_name(name) {
        return Err(Fault::usage(format!("`{name}` cannot be the name of a snapshot"))
            .hint("use up to 60 letters, digits, `-`, `_` and `.`, beginning with a letter or a digit")
            .into());
    }
    if list(environment)?.iter().any(|snapshot| snapshot.name == name) {
        return Err(Fault::usage(format!("the environment `{}` has a snapshot `{name}` already", environment.id))
            .hint("choose another name")
            .hint(format!("or delete that one: `baibox snapshots --env {} --delete {name}`", environment.id))
            .into());
    }
    Ok(())
}

/// `wanted`, or the first of `wanted-2`, `wanted-3`, … that is free.
pub fn free_name(environment: &Environment, wanted: &str) -> Result<String> {
    let taken: Vec<String> = list(environment)?.into_iter().map(|snapshot| snapshot.name).collect();
    let names = std::iter::once(wanted.to_owned()).chain((2..).map(|number| format!("{wanted}-{number}")));
    names.into_iter().find(|name| !taken.contains(name)).context("numbers do not end")
}

/// Removes what a killed baibox left half made, where nobody takes a snapshot now.
pub fn sweep(environment: &Environment) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder(environment)) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
        }
    }
    Ok(())
}

/// What is half made begins with a dot, which names do not.
fn is_name(text: &str) -> bool {
    (1..=60).contains(&text.len())
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn read(folder: &Path, name: &str) -> Result<Snapshot> {
    let path = folder.join(name).join("snapshot.json");
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let snapshot: Snapshot =
        serde_json::from_slice(&bytes).with_context(|| format!("`{}` is not a snapshot's record", path.display()))?;
    if snapshot.version != VERSION {
        return Err(Fault::usage(format!("the snapshot `{name}` was taken by another version of baibox"))
            .hint("use that version")
            .into());
    }
    Ok(Snapshot { name: name.to_owned(), folder: folder.join(name), ..snapshot })
}

/// Gives what was saved in `made` its record and its name. Of `databases`, those count that were there to be saved.
pub fn settle(
    environment: &Environment,
    databases: &[String],
    made: &Path,
    folder: &Path,
    name: &str,
    commits: BTreeMap<String, String>,
) -> Result<Snapshot> {
    let path = made.join("revision");
    let revision = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    std::fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
    let dumps = databases.iter().map(|name| dump(name)).filter(|file| made.join(file).exists());
    let files: BTreeSet<String> = FILES.map(str::to_owned).into_iter().chain(dumps).collect();
    let files = files.into_iter().map(|file| Ok((file.clone(), measure(&made.join(&file))?))).collect::<Result<_>>()?;
    let now = time::OffsetDateTime::now_utc().replace_nanosecond(0)?;
    let snapshot = Snapshot {
        version: VERSION,
        name: name.to_owned(),
        folder: folder.join(name),
        branch: environment.branch.clone(),
        revision: revision.trim().to_owned(),
        taken: now.format(&time::format_description::well_known::Rfc3339)?,
        commits,
        files,
    };
    crate::store::write_atomically(&made.join("snapshot.json"), &serde_json::to_vec_pretty(&snapshot)?)
        .with_context(|| format!("cannot write in `{}`", made.display()))?;
    std::fs::rename(made, &snapshot.folder).with_context(|| format!("cannot name the snapshot `{name}`"))?;
    Ok(snapshot)
}

pub fn delete(snapshot: &Snapshot) -> Result<()> {
    // Without its record it is no snapshot any more, should the rest not go.
    let record = snapshot.folder.join("snapshot.json");
    std::fs::remove_file(&record)
        .and_then(|()| std::fs::remove_dir_all(&snapshot.folder))
        .with_context(|| format!("cannot remove `{}`", snapshot.folder.display()))
}

#[cfg(test)]
mod tests;
