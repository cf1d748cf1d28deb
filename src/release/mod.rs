//! What a release branch is made of, as data under `images/releases/<branch>/`, laid over
//! that of its era under `images/eras/<era>/`.

mod base;
mod build;
mod catalog;
mod check;
mod cuda;
mod merge;
mod mix;
mod named;
mod platform;
mod row;

pub use base::{Base, BaseLayer};
pub use build::is_debians_python;
pub use catalog::Catalog;
pub use cuda::{Cuda, CudaData, Plugin};
pub use mix::{Mix, mix_name};
pub use named::Named;
pub use platform::{COMPILER, PlatformLock};
pub use row::{Level, Row, VERIFIED, Verified};

use crate::debian::{LockedDeb, Options};
use crate::error::Fault;
use crate::model::Digest;
use crate::oci::Settings;
use crate::python::select::WheelName;
use crate::python::{LockedBuild, LockedFile, PythonLock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the lease of a debugger's port is called, before the service's name.
pub const DEBUG_PORT: &str = "debug-";

/// `release.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub branch: String,
    /// How the sources of this release are laid out.
    pub era: Era,
    /// The release that this one's data and templates are laid over, as that one's are over the era's.
    #[serde(default)]
    pub like: Option<String>,
    /// Minor version of CPython in the images.
    pub python: String,
    /// Version of the build of CPython that images have, such as `3.12.8`; without it, Python is Debian's.
    #[serde(default)]
    pub standalone: Option<String>,
    /// Day, `YYYY-MM-DD`, after which nothing published counts when Python pins are resolved.
    pub cutoff: String,
    /// Sets of Debian packages, by name.
    pub debian: BTreeMap<String, PackageSet>,
    #[serde(rename = "component")]
    pub components: Vec<Component>,
    /// Trees that come only when they are asked for, such as plug-ins.
    #[serde(rename = "optional-component", default)]
    pub optional: Vec<Component>,
    /// How CUDA comes into the agent, where the release has a plug-in.
    #[serde(default)]
    pub cuda: Option<CudaData>,
    #[serde(rename = "image")]
    pub images: Vec<ImageData>,
    /// How Python packages are chosen.
    #[serde(default)]
    pub resolve: Resolve,
    /// Words by which the client of this release lists agents.
    pub list_agents: Vec<String>,
    /// Services of the graph.
    pub services: BTreeMap<String, Runs>,
    /// Databases of its services, which are its state; `backend` is the manager's.
    pub databases: Vec<String>,
    /// What templates ask of this release.
    #[serde(default)]
    pub values: toml::Table,
    /// Default host ports, as upstream's installer chooses them.
    pub ports: BTreeMap<String, u16>,
    /// How many ports those leases have that have several, one after the other.
    #[serde(default)]
    pub blocks: BTreeMap<String, u16>,
    /// What suites that start containers of their own find in a throw-away environment.
    #[serde(rename = "test-engine", default)]
    pub test_engine: TestEngine,
    /// Tests of upstream that fail whatever baibox does.
    #[serde(rename = "known-failure", default)]
    pub known_failures: Vec<KnownFailure>,
    #[serde(rename = "cure", default)]
    pub cures: Vec<Cure>,
    #[serde(skip)]
    pub debian_lock: BTreeMap<String, Vec<LockedDeb>>,
    /// That build, as it is locked.
    #[serde(skip)]
    pub cpython: Option<LockedBuild>,
    #[serde(skip)]
    pub python_lock: Option<PythonLock>,
    /// The one whose layers lie below where that one differs, if it does in an environment.
    #[serde(skip)]
    pub python_below: Option<PythonLock>,
    /// An image of a registry below, where an environment has one.
    #[serde(skip)]
    pub base: Option<Base>,
    /// Components that are of other releases.
    #[serde(skip)]
    pub mix: Mix,
}

/// How the sources of a release are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Era {
    /// One repository for each component.
    Components,
    /// One repository for all.
    Monorepo,
}

impl Era {
    /// Eras whose templates count, each before those that stand before it.
    fn templates(self) -> &'static [&'static str] {
        match self {
            Self::Components => &["components"],
            Self::Monorepo => &["components", "monorepo"],
        }
    }

    /// Where its data is below `images/`.
    fn folder(self) -> String {
        match self {
            Self::Components => "eras/components".into(),
            Self::Monorepo => "eras/monorepo".into(),
        }
    }
}

/// How Python packages are chosen, besides by what the components require.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Resolve {
    /// What builds source distributions.
    pub builders: Vec<String>,
    /// What must hold of any package that is chosen.
    pub constraints: Vec<String>,
    /// What stands in the place of components' contradicting requirements.
    pub overrides: Vec<String>,
    /// What other platforms build from source, though there is a wheel.
    pub from_source: Vec<String>,
    /// Packages that components require and that are not needed here.
    pub without: Vec<String>,
    /// What each environment with linked components gets besides.
    pub tools: Vec<String>,
    /// Environment → what it gets besides.
    pub more: BTreeMap<String, Vec<String>>,
}

/// How long a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runs {
    Always,
    /// Until its work is done.
    Once,
}

/// Each port of each lease, of which some have a block.
pub fn leases<'a>(ports: &'a BTreeMap<String, u16>, blocks: &'a BTreeMap<String, u16>) -> impl Iterator<Item = (&'a str, u16)> {
    let all = |(lease, first): (&'a String, &'a u16)| {
        let count = blocks.get(lease).copied().unwrap_or(1);
        (0..count).map(move |number| (lease.as_str(), first.saturating_add(number)))
    };
    ports.iter().flat_map(all)
}

/// Packages that are resolved together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSet {
    pub suites: Vec<String>,
    /// Take what Debian calls essential and required.
    #[serde(default)]
    pub essentials: bool,
    pub packages: Vec<String>,
    /// Packages that are not pulled in, though others ask for them.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// The set below this one.
    #[serde(default)]
    pub on: Option<String>,
    /// Of compilers: locked for the lock's own platform too, since some package with C code has no wheel there either.
    #[serde(default)]
    pub everywhere: bool,
    /// What is left out of, and changed in, the packages.
    #[serde(default)]
    pub options: Options,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Name of the folder in the environment.
    pub name: String,
    /// Python package that it is.
    pub module: String,
    /// Arguments of pytest where the stack does not run.
    #[serde(default)]
    pub tests: Vec<String>,
    /// Name of the git repository below the base URL.
    pub repository: String,
    /// Project on the Python package index, and in the component's own metadata.
    pub project: String,
    /// Branch of the repository, where it is not named like the release.
    #[serde(default)]
    pub git_branch: Option<String>,
    /// The pinned source distribution, or wheel; without it, git alone has the tree.
    #[serde(default)]
    pub file: Option<String>,
    #[serde(default)]
    pub sha256: Option<Digest>,
    /// What else the tree is published as.
    #[serde(default)]
    pub parts: Vec<PublishedPart>,
    /// The other release whose program alone imports it, in a mix.
    #[serde(skip)]
    pub library_of: Option<String>,
}

/// One of the wheels that a repository is published as.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedPart {
    pub project: String,
    pub file: String,
    pub sha256: Digest,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageData {
    pub name: String,
    /// Sets of Debian packages, lowest first.
    pub packages: Vec<String>,
    /// Environment of the Python lock, if the image has one.
    #[serde(default)]
    pub environment: Option<String>,
    /// Components whose sources are linked.
    #[serde(default)]
    pub links: Vec<String>,
    /// Wheels besides those of the environment, which nothing that is resolved depends on.
    #[serde(default)]
    pub wheels: Vec<LockedFile>,
    /// Path in the image → file under `images/`, and its mode.
    #[serde(default)]
    pub files: BTreeMap<String, FileData>,
    #[serde(default)]
    pub settings: Settings,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileData {
    pub from: String,
    #[serde(default = "plain")]
    pub mode: u32,
}

fn plain() -> u32 {
    0o644
}

/// An engine for tests: who gets it, and what it has in the place of images of a registry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestEngine {
    pub components: Vec<String>,
    /// Repository that tests name → what stands in for it.
    pub images: BTreeMap<String, StandIn>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StandIn {
    /// Image of this release.
    pub image: String,
    /// Where it listens, as `6379/tcp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Its program, in the place of a command's first word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// What it runs where no command is asked for: a file in `images/services`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Where its programs are, besides the usual folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What tells whether it is well, where tests ask for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<String>,
}

/// A cure for a fault of upstream: why it is there, and when it may go.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cure {
    pub name: String,
    pub scope: String,
    pub reason: String,
    pub until: String,
}

/// Tests that fail for a reason outside of the environment.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFailure {
    pub component: String,
    /// `module::test` as JUnit names them, or the beginning of several.
    pub test: String,
    pub reason: String,
}

impl Cure {
    /// Whether it is of an image, service or component: its scope has that word.
    pub fn concerns(&self, name: &str) -> bool {
        self.scope.split([',', ' ']).any(|word| word == name)
    }
}

/// The service of virtual folders, since 20.09.
pub const STORAGE_PROXY: &str = "storage-proxy";

impl Component {
    /// Its published version, as the file's name tells it; empty where git alone has the tree.
    pub fn version(&self) -> &str {
        let Some(file) = &self.file else { return "" };
        if let Some(wheel) = WheelName::parse(file) {
            return wheel.version;
        }
        let rest = file.strip_prefix(&self.project).unwrap_or(file);
        rest.trim_start_matches('-').trim_end_matches(".tar.gz")
    }
}

impl Release {
    /// Default host ports by lease, all of those that have several.
    pub fn leases(&self) -> impl Iterator<Item = (&str, u16)> {
        leases(&self.ports, &self.blocks)
    }

    /// Its components can be had from the package index.
    pub fn has_published(&self) -> bool {
        self.components.iter().all(|component| component.file.is_some())
    }

    /// The Python of its images in words: `3.9`, or `3.12 (standalone 3.12.8)`.
    pub fn python_name(&self) -> String {
        let of = |version: &String| format!("{} (standalone {version})", self.python);
        self.standalone.as_ref().map_or_else(|| self.python.clone(), of)
    }

    pub fn component(&self, name: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.name == name)
    }

    /// Services that run a component's program: those that a debugger has a port for.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        self.ports.keys().filter_map(|lease| lease.strip_prefix(DEBUG_PORT))
    }

    pub fn image(&self, name: &str) -> Option<&ImageData> {
        self.images.iter().find(|image| image.name == name)
    }

    /// Whether virtual folders have a service of their own, or are the manager's.
    pub fn has_storage_proxy(&self) -> bool {
        self.services.contains_key(STORAGE_PROXY)
    }

    /// Services of the graph; `true` marks those that run once.
    pub fn services(&self) -> BTreeMap<String, bool> {
        self.services.iter().map(|(name, runs)| (name.clone(), *runs == Runs::Once)).collect()
    }

    /// Every name that is used is defined; all faults at once.
    fn check(&self) -> Result<(), Fault> {
        let faults = check::faults(self);
        if faults.is_empty() {
            return Ok(());
        }
        Err(Fault::new(format!("the data of release {} is not consistent: {}", self.branch, faults.join("; "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_in_the_binary_is_consistent() {
        let branches = Catalog::branches().unwrap();
        assert!(branches.contains(&"21.03".to_owned()));
        for branch in branches {
            let release = Catalog::release(&branch).unwrap();
            assert_eq!(release.branch, branch);
            for set in release.to_lock(crate::model::Platform::LOCKED).debian.keys() {
                assert!(release.debian_lock.get(set).is_some_and(|debs| !debs.is_empty()), "{branch}: `{set}` is not locked");
            }
        }
    }

    #[test]
    fn a_release_with_faults_names_all_of_them() {
        let mut release = Catalog::release("21.03").unwrap();
        release.cutoff = "soon".into();
        release.debian.get_mut("base").unwrap().on = Some("tools".into());
        release.components[0].file = Some("other-1.0.tar.gz".into());
        release.components[1].name = "common".into();
        release.ports.insert("redis".into(), release.ports["etcd"]);
        release.images[0].links.push("nothing".into());
        let text = release.check().unwrap_err().to_string();
        for part in [
            "`soon` is not a day",
            "the package set `base` stands on itself",
            "`other-1.0.tar.gz` is not a source distribution of `backend.ai-manager`",
            "two components are called `common`",
            "`etcd` and `redis` want the same port 8121",
            "the image `manager` links the component `nothing`",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
