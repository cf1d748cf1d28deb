//! Where release data is: in the binary, and in a folder that may be laid over it.

use super::{Era, Release, merge};
use crate::debian::LockedDeb;
use crate::error::Fault;
use crate::host;
use crate::model::Platform;
use crate::python::PythonLock;
use anyhow::{Context, Result};
use include_dir::{Dir, include_dir};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;
use toml::Table;

static IMAGES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/images");

/// Names the folder whose files stand before those of the binary; laid out like `images/`.
const VARIABLE: &str = "BAIBOX_IMAGES";

/// Read once and whole, so that no later stage touches files.
static OVERLAY: LazyLock<Result<Overlay, String>> = LazyLock::new(|| match host::variable(VARIABLE) {
    Some(folder) => Overlay::read(Path::new(&folder)),
    None => Ok(Overlay::default()),
});

/// Text files by their path below the folder.
#[derive(Debug, Default)]
struct Overlay(BTreeMap<String, String>);

impl Overlay {
    fn read(folder: &Path) -> Result<Self, String> {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            let failed = |error: std::io::Error| format!("cannot read `{}`: {error}", next.display());
            for entry in std::fs::read_dir(&next).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
                let text =
                    std::fs::read_to_string(&path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
                files.insert(name, text);
            }
        }
        Ok(Self(files))
    }
}

fn overlay() -> Result<&'static Overlay> {
    OVERLAY.as_ref().map_err(|error| {
        let hint = format!("`{VARIABLE}` must name a folder laid out like `images/` of baibox's sources, or be unset");
        Fault::usage(error.clone()).hint(hint).into()
    })
}

/// All releases that baibox knows.
pub struct Catalog;

impl Catalog {
    /// Branches that environments can be made of, oldest first.
    pub fn branches() -> Result<Vec<String>> {
        Self::with("release.toml")
    }

    /// Branches that are known, oldest first.
    pub fn known() -> Result<Vec<String>> {
        let mut all = Self::with("row.toml")?;
        all.extend(Self::branches()?);
        Ok(in_order(all))
    }

    /// Branches whose folders have a file.
    fn with(file: &str) -> Result<Vec<String>> {
        let ending = format!("/{file}");
        let files = Self::files_below("releases")?;
        let found = files.iter().filter_map(|path| path.strip_prefix("releases/")?.strip_suffix(&ending).map(str::to_owned));
        Ok(in_order(found.collect()))
    }

    /// A file under `images/`.
    pub fn file(path: &str) -> Result<&'static str> {
        if let Some(text) = overlay()?.0.get(path) {
            return Ok(text);
        }
        IMAGES.get_file(path).and_then(|file| file.contents_utf8()).with_context(|| format!("there is no `images/{path}`"))
    }

    /// The paths of all files below a folder of `images/`, and of the overlay's.
    pub fn files_below(folder: &str) -> Result<BTreeSet<String>> {
        let mut files = BTreeSet::new();
        let mut folders: Vec<_> = IMAGES.get_dir(folder).into_iter().collect();
        while let Some(next) = folders.pop() {
            folders.extend(next.dirs());
            files.extend(next.files().map(|file| file.path().to_string_lossy().into_owned()));
        }
        let prefix = format!("{folder}/");
        files.extend(overlay()?.0.keys().filter(|path| path.starts_with(&prefix)).cloned());
        Ok(files)
    }

    /// The Debian package whose pip knows the package index's own address.
    pub fn pip() -> Result<LockedDeb> {
        toml::from_str(Self::file("python/pip.toml")?).context("`images/python/pip.toml` does not name a package")
    }

    pub fn release(branch: &str) -> Result<Release> {
        let mut release = Self::data(branch)?;
        release.python_lock = Some(PythonLock::parse(Self::file(&format!("releases/{branch}/python.lock"))?)?);
        release.check()?;
        Ok(release)
    }

    /// A release whose Python packages were not chosen yet: every environment is empty.
    pub fn draft(branch: &str) -> Result<Release> {
        let mut release = Self::data(branch)?;
        let environments = release.images.iter().filter_map(|image| image.environment.clone());
        release.python_lock = Some(PythonLock {
            python: release.python.clone(),
            cutoff: release.cutoff.clone(),
            builders: Vec::new(),
            requirements: BTreeMap::new(),
            environments: environments.map(|name| (name, Vec::new())).collect(),
            files: Vec::new(),
        });
        release.check()?;
        Ok(release)
    }

    /// A release's own data over that of its era and of the releases that it is like, and its Debian packages.
    fn data(branch: &str) -> Result<Release> {
        let faulty = || format!("`images/releases/{branch}/release.toml` is not release data");
        let own = Self::line(branch)?;
        let era = own.last().and_then(|(_, own)| own.get("era")).cloned().context("it names no `era`").with_context(faulty)?;
        let era = Era::deserialize(era).with_context(faulty)?;
        let mut merged = Self::table(&era.folder())?;
        let mut folders = vec![era.folder()];
        for (folder, own) in own {
            merged = merge::over(merged, own);
            folders.push(folder);
        }
        let mut release = Release::deserialize(merged).with_context(faulty)?;
        for folder in folders {
            if let Ok(text) = Self::file(&format!("{folder}/debian.lock")) {
                let lock: BTreeMap<String, Vec<LockedDeb>> =
                    toml::from_str(text).with_context(|| format!("`images/{folder}/debian.lock` is not a lock"))?;
                release.debian_lock.extend(lock);
            }
        }
        release.debian_lock.retain(|set, _| release.debian.contains_key(set));
        if let Some(version) = &release.standalone {
            release.cpython = Some(Self::build(version, Platform::LOCKED)?);
        }
        Ok(release)
    }

    /// Folder and data of a release, after those of the release that it is `like`, and so on.
    fn line(branch: &str) -> Result<Vec<(String, Table)>> {
        let mut line = Vec::new();
        let mut next = Some(branch.to_owned());
        while let Some(branch) = next {
            let folder = format!("releases/{branch}");
            if line.iter().any(|(known, _)| *known == folder) {
                return Err(Fault::new(format!("release {branch} is `like` itself")).into());
            }
            if Self::file(&format!("{folder}/release.toml")).is_err() && Self::known()?.contains(&branch) {
                return Err(Self::refused(&branch)?.into());
            }
            let own = Self::table(&folder)?;
            next = own.get("like").and_then(|like| like.as_str()).map(str::to_owned);
            line.push((folder, own));
        }
        line.reverse();
        Ok(line)
    }

    fn table(folder: &str) -> Result<Table> {
        let path = format!("{folder}/release.toml");
        toml::from_str(Self::file(&path)?).with_context(|| format!("`images/{path}` is not release data"))
    }

    /// Templates of a release by the place that they are rendered to: its own stand before those of what it is like, and its era's.
    pub fn templates(release: &Release) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        let eras = release.era.templates().iter().map(|era| format!("eras/{era}"));
        let own = Self::line(&release.branch)?.into_iter().map(|(folder, _)| folder);
        for folder in eras.chain(own) {
            let folder = format!("{folder}/templates");
            for path in Self::files_below(&folder)? {
                found.insert(path[folder.len() + 1..].to_owned(), path);
            }
        }
        for (component, branch) in &release.mix {
            let own = |place: &String| place.split('/').next() == Some(component);
            found.retain(|place, _| !own(place));
            found.extend(Self::templates(&Self::release(branch.as_str())?)?.into_iter().filter(|(place, _)| own(place)));
        }
        Ok(found)
    }
}

/// By year and count; names that are no numbers come last.
fn in_order(mut branches: Vec<String>) -> Vec<String> {
    branches.sort_by_key(|name| name.split('.').map(|part| part.parse::<u32>().unwrap_or(u32::MAX)).collect::<Vec<_>>());
    branches.dedup();
    branches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_adds_releases_and_what_is_not_text_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let release = folder.path().join("releases/99.09");
        std::fs::create_dir_all(&release).unwrap();
        std::fs::write(release.join("release.toml"), "x").unwrap();
        let overlay = Overlay::read(folder.path()).unwrap();
        assert_eq!(overlay.0["releases/99.09/release.toml"], "x");
        std::fs::write(release.join("picture"), [0xff]).unwrap();
        assert!(Overlay::read(folder.path()).unwrap_err().contains("picture"));
        assert!(Overlay::read(&folder.path().join("absent")).unwrap_err().contains("absent"));
    }

    #[test]
    fn a_release_that_is_like_another_differs_in_what_it_says_itself() {
        let (older, newer) = (Catalog::release("25.15").unwrap(), Catalog::release("26.4").unwrap());
        assert_eq!(newer.like.as_deref(), Some("25.15"));
        assert_eq!(newer.values["agent"], older.values["agent"]);
        assert_ne!(newer.values["fixtures"], older.values["fixtures"]);
        assert!(newer.debian_lock == older.debian_lock);
        assert_ne!(newer.components[0].file, older.components[0].file);
        // Of it nothing is published, unlike of what it is like.
        assert!(!Catalog::release("main").unwrap().has_published());
        let (older, newer) = (
            Catalog::templates(&Catalog::release("25.15").unwrap()).unwrap(),
            Catalog::templates(&Catalog::release("26.4").unwrap()).unwrap(),
        );
        for (place, of) in [("agent/agent.toml", "25.15"), ("fixtures.json", "26.4")] {
            assert_eq!(newer[place], format!("releases/{of}/templates/{place}"));
        }
        assert_eq!(older.keys().collect::<Vec<_>>(), newer.keys().collect::<Vec<_>>());
    }
}
