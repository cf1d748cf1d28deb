//! CPython builds that stand by themselves, in the place of Debian's Python.

use super::{Catalog, Release};
use crate::error::Fault;
use crate::model::{Digest, Platform};
use crate::python::LockedBuild;
use crate::python::standalone::{minor, number};
use anyhow::{Context, Result};
use serde::Deserialize;

/// Where the builds are that baibox knows, below `images/`.
const FILE: &str = "python/standalone.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    #[serde(rename = "build")]
    builds: Vec<Build>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    version: String,
    amd64: Archive,
    arm64: Archive,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Archive {
    file: String,
    sha256: Digest,
}

impl Catalog {
    /// Builds of a minor version for a platform, the newest first.
    pub fn builds(python: &str, platform: Platform) -> Result<Vec<LockedBuild>> {
        let faulty = || format!("`images/{FILE}` does not name builds of CPython");
        let known: Known = toml::from_str(Self::file(FILE)?).with_context(faulty)?;
        let of = |build: Build| {
            let archive = if platform == Platform::Arm64 { build.arm64 } else { build.amd64 };
            LockedBuild { version: build.version, file: archive.file, sha256: archive.sha256 }
        };
        let mut builds: Vec<LockedBuild> = known.builds.into_iter().map(of).collect();
        builds.iter().try_for_each(LockedBuild::check).with_context(faulty)?;
        builds.retain(|build| build.python() == python);
        builds.sort_by_key(|build| std::cmp::Reverse(number(&build.version)));
        Ok(builds)
    }

    /// The build of one version.
    pub fn build(version: &str, platform: Platform) -> Result<LockedBuild> {
        let known = Self::builds(minor(version), platform)?;
        let found = known.iter().find(|build| build.version == version).cloned();
        found.with_context(|| format!("`images/{FILE}` has no build of CPython {version}"))
    }
}

impl Release {
    /// The release with a build of CPython in the place of Debian's Python, which its packages must then be
    /// chosen without.
    #[must_use]
    pub fn with_standalone(mut self, version: &str) -> Self {
        if self.cpython.as_ref().is_none_or(|build| build.version != version) {
            self.cpython = None;
        }
        self.standalone = Some(version.to_owned());
        self.debian.values_mut().for_each(|set| set.packages.retain(|name| !is_debians_python(name)));
        self
    }

    /// Packages of the lock that are Debian's Python, where that is not wanted: it was chosen with it.
    pub fn has_debians_python(&self) -> bool {
        self.debian_lock.values().flatten().any(|deb| deb.name == "python3")
    }

    /// Says what `--python` may be, where it is something else.
    pub fn no_such_python(&self, asked: &str, known: &[LockedBuild]) -> Fault {
        let fault = Fault::usage(format!("release {} has no Python `{asked}`", self.branch));
        let versions: Vec<&str> = known.iter().map(|build| build.version.as_str()).collect();
        let fault = if self.cpython.is_none() { fault.hint("Debian's is `--python debian`") } else { fault };
        match versions.is_empty() {
            true => fault.hint(format!("no build of CPython {} is known", self.python)),
            false => {
                fault.hint(format!("builds of CPython {}: `--python standalone` or one of {}", self.python, versions.join(", ")))
            }
        }
    }
}

/// Debian's Python and what is for it alone.
pub fn is_debians_python(package: &str) -> bool {
    package == "python3" || package.starts_with("python3-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_are_known_by_version_and_platform_the_newest_first() {
        for python in ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"] {
            for (platform, machine) in [(Platform::Amd64, "-x86_64-"), (Platform::Arm64, "-aarch64-")] {
                let builds = Catalog::builds(python, platform).unwrap();
                assert!(!builds.is_empty() && builds.iter().all(|build| build.file.contains(machine)), "{python} {platform}");
                assert!(builds.windows(2).all(|two| number(&two[0].version) > number(&two[1].version)), "{python}");
            }
        }
        assert_eq!(Catalog::build("3.12.8", Platform::Amd64).unwrap().python(), "3.12");
        assert!(Catalog::build("3.12.99", Platform::Amd64).is_err());
    }

    #[test]
    fn debians_python_is_not_asked_for_beside_a_build() {
        let release = Catalog::release("23.03").unwrap();
        assert_eq!(release.python_name(), "3.11");
        let release = release.with_standalone("3.11.6");
        assert_eq!(release.python_name(), "3.11 (standalone 3.11.6)");
        let asked: Vec<&String> = release.debian.values().flat_map(|set| &set.packages).collect();
        assert!(asked.iter().all(|name| !name.starts_with("python3")) && asked.iter().any(|name| *name == "curl"), "{asked:?}");
        assert!(release.has_debians_python(), "its lock has it still");
    }
}
