//! An environment: its folder, what was chosen for it, and how it is found again.

mod create;
mod lease;

pub use create::{complete, create};
pub use lease::{free_port, free_subnet, listens_nowhere};

use crate::error::Fault;
use crate::model::{Branch, EnvironmentId};
pub use crate::release::DEBUG_PORT;
use crate::release::{Catalog, Cuda, Mix, Release, leases, mix_name};
use crate::store::{Store, write_atomically};
use anyhow::{Context, Result};
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What was chosen when the environment was made, and stays: `environment.json` in its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    pub id: EnvironmentId,
    pub branch: Branch,
    /// Absolute; the same path inside the containers.
    pub folder: PathBuf,
    /// Host port of each published service, bound to 127.0.0.1.
    pub ports: BTreeMap<String, u16>,
    /// How many ports those of them are that are the first of several.
    #[serde(default)]
    pub blocks: BTreeMap<String, u16>,
    /// Network of the environment, as `10.x.y.0/24`.
    pub subnet: String,
    pub gateway: String,
    /// Generated per environment; never shown.
    pub secrets: BTreeMap<String, String>,
    /// Resource limits of compute containers that must be lowered to what the engine
    /// grants, by name; absent until it was asked.
    #[serde(default)]
    pub ulimits: Option<BTreeMap<String, i64>>,
    /// Services that run under the debugger; `true` if they wait for it to attach.
    #[serde(default)]
    pub debug: BTreeMap<String, bool>,
    /// Branches, tags and commits that were asked for, by component.
    #[serde(default)]
    pub references: BTreeMap<String, String>,
    /// Components that are of other releases.
    #[serde(default)]
    pub mix: Mix,
    /// Version of CPython in the place of Debian's, as it was asked for; the lock says what it is now.
    #[serde(default)]
    pub standalone: Option<String>,
    /// Devices of the agent's CUDA plug-in, if it has one.
    #[serde(default)]
    pub cuda: Option<Cuda>,
    /// Trees that were there before the environment, and stay when it goes.
    #[serde(default)]
    pub adopted: BTreeSet<String>,
    /// Process that the environment goes with, if it is a throw-away one: see [`crate::host::process`].
    #[serde(default)]
    pub owner: Option<String>,
    /// Engine that it was made on; absent until it was asked.
    #[serde(default)]
    pub home: Option<Home>,
    /// Image references by image name, as last built.
    pub images: BTreeMap<String, String>,
    /// References of earlier builds and of what builds' steps run on, which go with the environment too.
    #[serde(default)]
    pub superseded: BTreeSet<String>,
}

/// An engine, and how to come to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// See [`crate::engine::Facts::id`].
    pub engine: String,
    /// None for the default socket.
    pub address: Option<String>,
    /// See [`crate::engine::Facts::architecture`].
    #[serde(default)]
    pub architecture: Option<String>,
}

/// The graph of services; the host's GPU, if it has one; services under the debugger.
pub const COMPOSE_FILES: [&str; 3] = ["compose.yaml", "compose.gpu.yaml", "compose.debug.yaml"];

impl Environment {
    /// `.baibox/<id>`: the folder's name is the compose project's.
    pub fn state_folder(&self) -> PathBuf {
        state_folder(&self.folder, &self.id)
    }
    /// The graph, then what is laid over it.
    pub fn compose_files(&self) -> [PathBuf; 3] {
        COMPOSE_FILES.map(|name| self.state_folder().join(name))
    }
    /// Ports that something listens at while the environment runs, by service.
    pub fn ports_in_use(&self) -> impl Iterator<Item = (&str, u16)> {
        let used = |service: &str| service.strip_prefix(DEBUG_PORT).is_none_or(|service| self.debug.contains_key(service));
        self.leases().filter(move |(service, _)| used(service))
    }
    /// Every port that it holds, also of services that do not run.
    pub fn leases(&self) -> impl Iterator<Item = (&str, u16)> {
        leases(&self.ports, &self.blocks)
    }
    /// Where browsers find the web UI. They share cookies between all ports of a name, so that to log in here would log
    /// out there: each environment has a name, of those below `localhost`, which browsers take for this host.
    pub fn web_ui(&self) -> Option<String> {
        Some(format!("http://{}.localhost:{}", self.id, self.ports.get("webserver")?))
    }
    /// Its release, and what is of others: `21.03+agent=20.09`.
    pub fn release_name(&self) -> String {
        mix_name(self.branch.as_str(), &self.mix)
    }
    /// What it is made of.
    pub fn release(&self) -> Result<Release> {
        let mut release = Catalog::release(self.branch.as_str())?.mixed(&self.mix)?;
        if let Some(version) = &self.standalone {
            release = release.with_standalone(version);
        }
        match self.cuda {
            Some(cuda) => Ok(release.with_cuda(cuda)?),
            None => Ok(release),
        }
    }
    pub fn lock_file(&self) -> PathBuf {
        self.state_folder().join("lock.toml")
    }
    pub fn save(&self, store: &Store) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        let path = self.state_folder().join("environment.json");
        write_atomically(&path, &text).with_context(|| format!("cannot write `{}`", path.display()))?;
        let pointer = store.root().join("environments").join(self.id.as_str());
        write_atomically(&pointer, self.folder.as_os_str().as_encoded_bytes())
            .with_context(|| format!("cannot write `{}`", pointer.display()))?;
        Ok(())
    }
    pub fn load(folder: &Path, id: &EnvironmentId) -> Result<Self> {
        let path = state_folder(folder, id).join("environment.json");
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("`{}` is not an environment's record", path.display()))
    }
    /// Takes the environment out of the list of this user's environments.
    pub fn forget(&self, store: &Store) -> Result<()> {
        let pointer = store.root().join("environments").join(self.id.as_str());
        match std::fs::remove_file(&pointer) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove `{}`", pointer.display()))
            }
            _ => Ok(()),
        }
    }
}

fn state_folder(folder: &Path, id: &EnvironmentId) -> PathBuf {
    folder.join(".baibox").join(id.as_str())
}

/// All environments of this user whose folders are still there, by ID.
pub fn list(store: &Store) -> Result<Vec<Environment>> {
    let folder = store.root().join("environments");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| EnvironmentId::parse(name).ok()) else { continue };
        let path = entry.path();
        let place = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let place = PathBuf::from(place);
        if state_folder(&place, &id).join("environment.json").is_file() {
            found.push(Environment::load(&place, &id)?);
        }
    }
    found.sort_by(|left, right| left.id.cmp(&right.id));
    Ok(found)
}

/// Whether a path leads into a folder, also by other names of it: where baibox itself runs in a
/// container, the folder has the name by which the engine's host knows it, a link.
pub fn is_within(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder) || folder.canonicalize().is_ok_and(|folder| path.starts_with(folder))
}

/// The one that is named, or else the one of the folder `here` or of a folder above it.
pub fn find(store: &Store, named: Option<&EnvironmentId>, here: &Path) -> Result<Environment> {
    let all = list(store)?;
    let known = || {
        let names: Vec<String> = all.iter().map(|environment| format!("`{}`", environment.id)).collect();
        if names.is_empty() {
            "there is none yet: type `baibox up --branch 21.03`".to_owned()
        } else {
            format!("environments: {}", names.join(", "))
        }
    };
    match named {
        Some(id) => all
            .iter()
            .find(|environment| environment.id == *id)
            .cloned()
            .ok_or_else(|| Fault::usage(format!("there is no environment `{id}`")).hint(known()).into()),
        None => all
            .iter()
            .filter(|environment| is_within(here, &environment.folder))
            .max_by_key(|environment| environment.folder.as_os_str().len())
            .cloned()
            .ok_or_else(|| {
                Fault::usage(format!("`{}` is not in the folder of an environment", here.display()))
                    .hint("name one with `--env ID`")
                    .hint(known())
                    .into()
            }),
    }
}

/// Letters and digits from the operating system's randomness.
pub fn random_word(length: usize) -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    (0..length).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}
