//! What a lock says of a platform that is not its own: files. Versions of Python packages are one for all.

use super::Release;
use crate::debian::LockedDeb;
use crate::model::Platform;
use crate::python::{LockedBuild, LockedFile};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The table `[platform.arm64]` of a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlatformLock {
    /// Package set → its packages.
    pub debian: BTreeMap<String, Vec<LockedDeb>>,
    /// Files of pins whose locked wheel is bound to the lock's own platform.
    pub python: Vec<LockedFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpython: Option<LockedBuild>,
}

impl PlatformLock {
    /// Sets of the release that it has no packages of.
    pub fn lacks_debian(&self, release: &Release) -> bool {
        release.debian.keys().any(|set| !self.debian.contains_key(set))
    }

    /// Locked files that are bound to the lock's platform, and have no counterpart here.
    pub fn lacks_python<'a>(&self, release: &'a Release) -> Vec<&'a LockedFile> {
        let known = |file: &&LockedFile| !self.python.iter().any(|other| other.pin() == file.pin());
        bound(release).into_iter().filter(known).collect()
    }

    /// Its build of CPython is not that of the lock's own platform.
    pub fn lacks_cpython(&self, release: &Release) -> bool {
        let version = |build: &Option<LockedBuild>| build.as_ref().map(|build| build.version.clone());
        version(&release.cpython) != version(&self.cpython)
    }

    /// Drops what the release's lock does not ask for any more.
    pub fn tidy(&mut self, release: &Release) {
        let bound: Vec<String> = bound(release).into_iter().map(LockedFile::pin).collect();
        self.debian.retain(|set, _| release.debian.contains_key(set));
        self.python.retain(|file| bound.contains(&file.pin()));
        self.python.sort_by_key(LockedFile::pin);
    }

    /// The file in the place of this one.
    pub fn replace(&self, file: &mut LockedFile) {
        if let Some(other) = self.python.iter().find(|other| other.pin() == file.pin()) {
            file.clone_from(other);
        }
    }
}

/// The package set that source distributions are compiled with. It is in no image, and in a lock of the own
/// platform only where the set says so: elsewhere every package that has C code has a wheel.
pub const COMPILER: &str = "compiler";

impl Release {
    /// The release with the package sets that are locked for a platform.
    pub fn to_lock(&self, platform: Platform) -> Self {
        let mut release = self.clone();
        release.debian.retain(|name, set| platform != Platform::LOCKED || name != COMPILER || set.everywhere);
        release
    }
}

/// Files of the release's lock and images that other platforms have others of.
fn bound(release: &Release) -> Vec<&LockedFile> {
    let locked = release.python_lock.iter().flat_map(|lock| &lock.files);
    let wheels = release.images.iter().flat_map(|image| &image.wheels);
    let mut bound: Vec<&LockedFile> = locked.chain(wheels).filter(|file| file.is_bound()).collect();
    bound.sort_by_key(|file| file.pin());
    bound.dedup_by_key(|file| file.pin());
    bound
}
