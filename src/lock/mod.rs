//! What an environment is made of, exactly: `lock.toml` in its folder.
//!
//! File names, versions and digests, and the commits of the trees; no addresses,
//! since where a file comes from is the host's business. The release's shipped lock
//! is copied when the environment is made, and from then on the environment's own
//! is right: a newer baibox does not change what an environment stands on.

mod change;
mod debian;
mod update;

pub use change::{Requirements, Unmet, unmet};
pub use debian::{Chooser, Sets, changes as debian_changes};
pub use update::{Asked, Chosen};

use crate::debian::LockedDeb;
use crate::model::{Digest, Platform};
use crate::python::{LockedBuild, LockedFile, PythonLock};
use crate::release::{Base, PlatformLock, Release};
use crate::store::write_atomically;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// `lock.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    pub branch: String,
    /// Component → commit that its tree was at when it was last built.
    pub sources: BTreeMap<String, String>,
    /// The interpreter, where it is none of Debian's packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpython: Option<LockedBuild>,
    pub python: PythonLock,
    /// What lies below some of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<Below>,
    /// An image of a registry that images stand on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// Package set → its packages.
    pub debian: BTreeMap<String, Vec<LockedDeb>>,
    /// Architecture → what it has in the place of that, where images were made for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub platform: BTreeMap<String, PlatformLock>,
}

/// One of so many pins may differ; where it is more, layers are cut anew.
const FEW: usize = 4;

fn lies_below(before: &PythonLock, after: &PythonLock) -> bool {
    let pins = |lock: &PythonLock| -> BTreeSet<String> { lock.environments.values().flatten().cloned().collect() };
    let (old, new) = (pins(before), pins(after));
    let differ = new.difference(&old).count().max(old.difference(&new).count());
    before.environments != after.environments && before.python == after.python && differ * FEW <= old.len()
}

/// Python packages as they were before some changed. Their layers stay, and what differs lies on them, so images depend
/// on them too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Below {
    pub builders: Vec<String>,
    pub environments: BTreeMap<String, Vec<String>>,
    /// Those of its files that are no others' now.
    #[serde(rename = "file", default)]
    pub files: Vec<LockedFile>,
}

impl Below {
    /// What of `before` is not in `after`.
    fn of(before: PythonLock, after: &PythonLock) -> Self {
        let files = before.files.into_iter().filter(|file| !after.files.contains(file)).collect();
        Self { builders: before.builders, environments: before.environments, files }
    }
    /// The whole lock that it was.
    fn whole(&self, now: &PythonLock) -> PythonLock {
        let used: BTreeSet<&String> = self.environments.values().flatten().chain(&self.builders).collect();
        let kept = now.files.iter().filter(|file| !self.files.iter().any(|other| other.pin() == file.pin()));
        let mut files: Vec<LockedFile> =
            self.files.iter().chain(kept).filter(|file| used.contains(&file.pin())).cloned().collect();
        files.sort_by_key(LockedFile::pin);
        PythonLock { builders: self.builders.clone(), environments: self.environments.clone(), files, ..now.clone() }
    }
}

const HEADER: &str =
    "# Exact inputs of this environment, written by baibox. Addresses are not in it: any mirror serves them.\n\n";

impl Lock {
    /// The lock that ships with a release.
    pub fn of_release(release: &Release) -> Result<Self> {
        Ok(Self {
            branch: release.branch.clone(),
            sources: BTreeMap::new(),
            cpython: release.cpython.clone(),
            python: release.python_lock.clone().context("the release has no Python lock")?,
            below: None,
            base: None,
            debian: release.debian_lock.clone(),
            platform: BTreeMap::new(),
        })
    }

    /// The lock in `path`, if there is one.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read `{}`", path.display()))?,
        };
        let lock: Self = toml::from_str(&text).with_context(|| format!("`{}` is not a lock", path.display()))?;
        for python in [Some(&lock.python), lock.python_below().as_ref()].into_iter().flatten() {
            python.check().with_context(|| format!("`{}` is not a lock", path.display()))?;
        }
        if let Some(build) = &lock.cpython {
            build.check().with_context(|| format!("`{}` is not a lock", path.display()))?;
        }
        Ok(Some(lock))
    }

    /// Takes other Python packages: on the layers of those that are there, as long as few differ.
    pub fn set_python(&mut self, python: PythonLock) {
        let before = self.python_below().unwrap_or_else(|| self.python.clone());
        self.below = lies_below(&before, &python).then(|| Below::of(before, &python));
        self.python = python;
    }

    fn python_below(&self) -> Option<PythonLock> {
        self.below.as_ref().map(|below| below.whole(&self.python))
    }

    pub fn text(&self) -> Result<String> {
        Ok(format!("{HEADER}{}", toml::to_string(self)?))
    }
    /// The lock as it is for a platform: that one's files in their places.
    pub fn on(&self, platform: Platform) -> Self {
        let mut lock = Self { platform: BTreeMap::new(), ..self.clone() };
        if let Some(other) = self.platform.get(platform.architecture()) {
            // That is of the lock's own platform.
            lock.below = None;
            lock.debian.clone_from(&other.debian);
            lock.cpython.clone_from(&other.cpython);
            lock.python.files.iter_mut().for_each(|file| other.replace(file));
        }
        lock
    }

    /// Names everything that was downloaded for its own platform, whatever the trees are.
    pub fn digest(&self) -> Result<Digest> {
        let all = (&self.branch, &self.python, &self.debian);
        let lock = self.below.as_ref().map_or_else(|| Digest::of_value(&all), |below| Digest::of_value(&(all, below)));
        let lock = self.cpython.as_ref().map_or_else(|| lock.clone(), |build| Digest::of_value(&(&lock, build)));
        Ok(self.base.as_ref().map_or_else(|| lock.clone(), |base| Digest::of_value(&(&lock, base))))
    }

    /// Writes it if that changes the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = self.text()?;
        if std::fs::read_to_string(path).is_ok_and(|before| before == text) {
            return Ok(());
        }
        write_atomically(path, text.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// Puts the locked files in the place of the release's.
    pub fn apply(&self, release: &mut Release) {
        release.python_lock = Some(self.python.clone());
        release.python_below = self.python_below();
        release.debian_lock = self.debian.clone();
        // One that is not chosen yet stays asked for.
        release.cpython.clone_from(&self.cpython);
        if let Some(build) = &self.cpython {
            release.standalone = Some(build.version.clone());
        }
        release.base = self.base.clone();
        // That has its own Python.
        if self.base.is_some() {
            release.standalone = None;
        }
    }

    /// The same for a platform.
    pub fn apply_on(&self, release: &mut Release, platform: Platform) {
        self.on(platform).apply(release);
        if let Some(other) = self.platform.get(platform.architecture()) {
            release.images.iter_mut().flat_map(|image| &mut image.wheels).for_each(|file| other.replace(file));
        }
    }
}

/// All that differs between two locks but the trees' commits, one line each.
pub fn changes(before: &Lock, after: &Lock) -> Vec<String> {
    let mut lines = base_changes(before.base.as_ref(), after.base.as_ref());
    lines.extend(debian_changes(&before.debian, &after.debian));
    let version = |lock: &Lock| match (&lock.cpython, &lock.base) {
        (Some(build), _) => build.version.clone(),
        (None, Some(_)) => "of the base".to_owned(),
        (None, None) => "of Debian".to_owned(),
    };
    if before.cpython != after.cpython {
        lines.push(format!("CPython {} → {}", version(before), version(after)));
    }
    lines.extend(python_changes(&before.python, &after.python));
    lines
}

fn base_changes(before: Option<&Base>, after: Option<&Base>) -> Vec<String> {
    let told = |base: Option<&Base>| base.map_or("Debian's own".to_owned(), |base| format!("{}@{}", base.reference, base.digest));
    let (before, after) = (told(before), told(after));
    if before == after { Vec::new() } else { vec![format!("base {before} → {after}")] }
}

/// Pin by pin what differs: `name old → new`, one line each.
pub fn python_changes(before: &PythonLock, after: &PythonLock) -> Vec<String> {
    let builders = "builders".to_owned();
    let versions = |lock: &PythonLock| -> BTreeMap<(String, String), String> {
        let all = lock.environments.iter().flat_map(|(environment, pins)| pins.iter().map(move |pin| (environment, pin)));
        let builders = lock.builders.iter().map(|pin| (&builders, pin));
        all.chain(builders)
            .filter_map(|(environment, pin)| {
                let (name, version) = pin.split_once(' ')?;
                Some(((environment.clone(), name.to_owned()), version.to_owned()))
            })
            .collect()
    };
    let mut lines = differences(&versions(before), &versions(after));
    if before.cutoff != after.cutoff {
        lines.push(format!("cut-off {} → {}", before.cutoff, after.cutoff));
    }
    lines
}

/// `place` and name → version, before and after; what is the same in several places is told once.
pub fn differences(before: &BTreeMap<(String, String), String>, after: &BTreeMap<(String, String), String>) -> Vec<String> {
    let keys: BTreeSet<&(String, String)> = before.keys().chain(after.keys()).collect();
    let mut lines: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for key in keys {
        let line = match (before.get(key), after.get(key)) {
            (Some(old), Some(new)) if old == new => continue,
            (Some(old), Some(new)) => format!("{} {old} → {new}", key.1),
            (Some(old), None) => format!("{} {old} → gone", key.1),
            (None, Some(new)) => format!("{} {new} is new", key.1),
            (None, None) => continue,
        };
        lines.entry(line).or_default().push(&key.0);
    }
    lines.into_iter().map(|(line, places)| format!("{line} ({})", places.join(", "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Catalog;

    #[test]
    fn a_lock_is_read_as_it_was_written_and_names_no_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock.toml");
        assert_eq!(Lock::read(&path).unwrap(), None);
        let lock = Lock::of_release(&Catalog::release("21.03").unwrap()).unwrap();
        lock.write(&path).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), Some(lock));
        assert!(!std::fs::read_to_string(&path).unwrap().contains("://"));
    }

    #[test]
    fn a_build_of_cpython_is_in_the_lock_by_name_and_digest_where_there_is_one() {
        let shipped = Lock::of_release(&Catalog::release("23.03").unwrap()).unwrap();
        assert!(!shipped.text().unwrap().contains("cpython]"), "a lock without one is as it always was");
        let mut lock = shipped.clone();
        lock.cpython = Some(Catalog::build("3.11.6", Platform::Amd64).unwrap());
        assert_eq!(changes(&shipped, &lock), ["CPython of Debian → 3.11.6"]);
        assert_ne!(lock.digest().unwrap(), shipped.digest().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock.toml");
        lock.write(&path).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), Some(lock.clone()));
        let mut release = Catalog::release("23.03").unwrap().with_standalone("3.11.6");
        lock.apply(&mut release);
        assert_eq!((release.cpython, release.standalone.as_deref()), (lock.cpython.clone(), Some("3.11.6")));
        lock.cpython.as_mut().unwrap().version = "3.11.7".into();
        lock.write(&path).unwrap();
        let fault = format!("{:#}", Lock::read(&path).unwrap_err());
        assert!(fault.contains("is not a lock") && fault.contains("not the name of a build of CPython 3.11.7"), "{fault}");
    }

    #[test]
    fn a_base_takes_the_place_of_a_build_that_the_release_has_by_itself() {
        let release = Catalog::release("24.03").unwrap();
        let shipped = Lock::of_release(&release).unwrap();
        let base = toml::from_str(&format!(
            "reference = 'r'\ndigest = '{0}'\nmanifest = '{0}'\nsplit_usr = false\npackages = []\npython = []\nenv = {{}}\nlayer = []",
            Digest::of(b"base")
        ));
        let lock = Lock { cpython: None, base: Some(base.unwrap()), ..shipped.clone() };
        let mut on = release.clone();
        lock.apply(&mut on);
        assert_eq!((&on.cpython, &on.standalone, on.base.is_some()), (&None, &None, true));
        let version = release.standalone.as_deref().unwrap();
        assert!(changes(&shipped, &lock).contains(&format!("CPython {version} → of the base")), "{:?}", changes(&shipped, &lock));
        shipped.apply(&mut on);
        assert_eq!((on.standalone, on.base), (release.standalone, None));
    }

    #[test]
    fn what_images_stand_on_is_in_the_lock_when_pins_change() {
        let release = Catalog::release("21.03").unwrap();
        let shipped = Lock::of_release(&release).unwrap();
        let changed = |lock: &Lock, version: &str| {
            let mut python = lock.python.clone();
            let is_it = |file: &&mut LockedFile| file.name == "attrs";
            let file = python.files.iter_mut().find(is_it).unwrap();
            let old = file.pin();
            file.file = file.file.replace(&file.version, version);
            file.version = version.to_owned();
            let new = file.pin();
            python.environments.values_mut().flatten().filter(|pin| **pin == old).for_each(|pin| pin.clone_from(&new));
            python
        };
        let mut lock = shipped.clone();
        for version in ["98.1.0", "99.1.0"] {
            lock.set_python(changed(&lock, version));
            // It is whole in itself, and the first layers stay, however often pins change.
            let read: Lock = toml::from_str(&lock.text().unwrap()).unwrap();
            assert_eq!((&read, read.below.as_ref().unwrap().files.len()), (&lock, 1));
            assert_ne!(lock.digest().unwrap(), shipped.digest().unwrap());
            let mut applied = release.clone();
            read.apply(&mut applied);
            let below = applied.python_below.unwrap();
            assert_eq!(below.environments, shipped.python.environments);
            below.check().unwrap();
        }
        lock.set_python(shipped.python.clone());
        assert_eq!(lock, shipped);

        // Where much differs, what comes is the ground of what follows.
        let mut other = shipped.python.clone();
        let kept = |pin: &String| pin.starts_with('a');
        other.environments.values_mut().for_each(|pins| pins.retain(kept));
        lock.set_python(other.clone());
        assert!(lock.below.is_none());
        lock.set_python(changed(&lock, "98.1.0"));
        assert_eq!(lock.below.unwrap().environments, other.environments);
    }

    #[test]
    fn a_platform_has_its_own_files_in_the_places_of_those_that_are_bound() {
        let mut release = Catalog::release("21.03").unwrap();
        let mut lock = Lock::of_release(&release).unwrap();
        let (text, digest) = (lock.text().unwrap(), lock.digest().unwrap());
        assert!(!text.contains("[platform"), "a lock without a table is as it always was");
        let bound = lock.python.files.iter().find(|file| file.name == "aiohttp").unwrap().clone();
        let other = bound.file.replace("x86_64", "aarch64");
        let mut table = PlatformLock::default();
        assert!(table.lacks_debian(&release) && table.lacks_python(&release).contains(&&bound));
        table.python = vec![crate::python::LockedFile { file: other.clone(), ..bound.clone() }];
        table.debian = lock.debian.clone();
        table.debian.values_mut().flatten().for_each(|deb| deb.architecture = "arm64".into());
        assert!(!table.lacks_python(&release).contains(&&bound));
        lock.platform.insert("arm64".into(), table);
        assert_eq!(toml::from_str::<Lock>(&lock.text().unwrap()).unwrap(), lock);

        // What it is for its own platform does not change, down to the digest.
        assert_eq!((lock.on(Platform::Amd64).text().unwrap(), lock.digest().unwrap()), (text, digest.clone()));
        let there = lock.on(Platform::Arm64);
        assert_eq!(there.python.file(&bound.pin()).unwrap().file, other);
        assert_eq!(there.python.environments, lock.python.environments);
        assert_ne!(there.digest().unwrap(), digest);
        lock.apply_on(&mut release, Platform::Arm64);
        assert!(release.debian_lock.values().flatten().all(|deb| deb.architecture == "arm64"));
        // What is not asked for any more goes.
        let mut table = lock.platform.remove("arm64").unwrap();
        release.python_lock.as_mut().unwrap().files.retain(|file| file.name != "aiohttp");
        release.debian.remove("tools");
        table.tidy(&release);
        assert!(table.python.is_empty() && !table.debian.contains_key("tools"));
    }
}
