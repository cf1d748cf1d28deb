//! What a release branch is made of, as data under `images/releases/<branch>/`.

use crate::debian::{LockedDeb, Options};
use crate::error::Fault;
use crate::model::Digest;
use crate::oci::Settings;
use crate::python::PythonLock;
use anyhow::{Context, Result};
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

static IMAGES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/images");

/// `release.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub branch: String,
    /// Minor version of CPython in the images.
    pub python: String,
    /// Sets of Debian packages, by name.
    pub debian: BTreeMap<String, PackageSet>,
    #[serde(rename = "component")]
    pub components: Vec<Component>,
    #[serde(rename = "image")]
    pub images: Vec<ImageData>,
    /// Default host ports, as upstream's installer chooses them.
    pub ports: BTreeMap<String, u16>,
    #[serde(rename = "cure", default)]
    pub cures: Vec<Cure>,
    #[serde(skip)]
    pub debian_lock: BTreeMap<String, Vec<LockedDeb>>,
    #[serde(skip)]
    pub python_lock: Option<PythonLock>,
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
    /// What is left out of, and changed in, the packages.
    #[serde(default)]
    pub options: Options,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Name of the folder in the environment.
    pub name: String,
    /// Name of the git repository below the base URL.
    pub repository: String,
    /// Project on the Python package index, and in the component's own metadata.
    pub project: String,
    /// The pinned source distribution.
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

/// A cure for a fault of upstream: why it is there, and when it may go.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cure {
    pub name: String,
    pub scope: String,
    pub reason: String,
    pub until: String,
}

/// All releases that travel in the binary.
pub struct Catalog;

impl Catalog {
    /// Branches, oldest first.
    pub fn branches() -> Vec<String> {
        let folders = IMAGES.get_dir("releases").into_iter().flat_map(Dir::dirs);
        let mut names: Vec<String> = folders.filter_map(|folder| Some(folder.path().file_name()?.to_str()?.to_owned())).collect();
        names.sort_by_key(|name| name.split('.').map(|part| part.parse::<u32>().unwrap_or(u32::MAX)).collect::<Vec<_>>());
        names
    }

    /// A file under `images/`.
    pub fn file(path: &str) -> Result<&'static str> {
        IMAGES.get_file(path).and_then(|file| file.contents_utf8()).with_context(|| format!("there is no `images/{path}`"))
    }

    /// The Debian package whose pip knows the package index's own address.
    pub fn pip() -> Result<LockedDeb> {
        toml::from_str(Self::file("python/pip.toml")?).context("`images/python/pip.toml` does not name a package")
    }

    pub fn release(branch: &str) -> Result<Release> {
        let folder = format!("releases/{branch}");
        let mut release: Release = toml::from_str(Self::file(&format!("{folder}/release.toml"))?)
            .with_context(|| format!("`images/{folder}/release.toml` is not release data"))?;
        release.python_lock = Some(PythonLock::parse(Self::file(&format!("{folder}/python.lock"))?)?);
        if let Ok(text) = Self::file(&format!("{folder}/debian.lock")) {
            release.debian_lock = toml::from_str(text).with_context(|| format!("`images/{folder}/debian.lock` is not a lock"))?;
        }
        release.check()?;
        Ok(release)
    }
}

impl Release {
    pub fn component(&self, name: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.name == name)
    }

    /// Every name that is used is defined; all faults at once.
    fn check(&self) -> Result<(), Fault> {
        let mut faults = Vec::new();
        let environments = self.python_lock.as_ref().map(|lock| &lock.environments);
        for (name, set) in &self.debian {
            if let Some(on) = set.on.as_ref().filter(|on| !self.debian.contains_key(*on)) {
                faults.push(format!("the package set `{name}` stands on `{on}`, which is not there"));
            }
        }
        for image in &self.images {
            for set in image.packages.iter().filter(|set| !self.debian.contains_key(*set)) {
                faults.push(format!("the image `{}` asks for the package set `{set}`, which is not there", image.name));
            }
            for link in image.links.iter().filter(|link| self.component(link).is_none()) {
                faults.push(format!("the image `{}` links the component `{link}`, which is not there", image.name));
            }
            if let Some(environment) =
                image.environment.as_ref().filter(|name| !environments.is_some_and(|known| known.contains_key(*name)))
            {
                faults.push(format!(
                    "the image `{}` asks for the Python environment `{environment}`, which is not locked",
                    image.name
                ));
            }
            for file in image.files.values().filter(|file| Catalog::file(&file.from).is_err()) {
                faults.push(format!("the image `{}` takes `images/{}`, which is not there", image.name, file.from));
            }
        }
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
        let branches = Catalog::branches();
        assert!(branches.contains(&"21.03".to_owned()));
        for branch in branches {
            let release = Catalog::release(&branch).unwrap();
            assert_eq!(release.branch, branch);
            for set in release.debian.keys() {
                assert!(release.debian_lock.get(set).is_some_and(|debs| !debs.is_empty()), "{branch}: `{set}` is not locked");
            }
        }
    }
}
