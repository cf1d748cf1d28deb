//! CPython builds that stand by themselves: which file it is, and where it comes from.
//!
//! Those of <https://github.com/astral-sh/python-build-standalone>, in the form `install_only`.

use super::PythonError;
use crate::error::Fault;
use crate::fetch::{Fetcher, OFFLINE_HINT};
use crate::host;
use crate::model::{Digest, Platform};
use crate::store::Store;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One exact archive, as locks name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedBuild {
    /// Whole version, such as `3.12.8`.
    pub version: String,
    pub file: String,
    pub sha256: Digest,
}

impl LockedBuild {
    /// What is wrong with it, if something is: locks are files that people edit.
    pub fn check(&self) -> Result<(), PythonError> {
        match BuildName::parse(&self.file) {
            Some(name) if name.version == self.version => Ok(()),
            _ => Err(PythonError::BuildName { file: self.file.clone(), version: self.version.clone() }),
        }
    }
    /// Minor version, such as `3.12`.
    pub fn python(&self) -> &str {
        minor(&self.version)
    }
}

/// `3.12` of `3.12.8`.
pub fn minor(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

/// `cpython-3.12.8+20250115-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz`.
#[derive(Debug, PartialEq, Eq)]
pub struct BuildName<'a> {
    pub version: &'a str,
    /// Day of the build, which is the name of its release.
    pub day: &'a str,
    pub platform: Platform,
}

impl<'a> BuildName<'a> {
    pub fn parse(file: &'a str) -> Option<Self> {
        let rest = file.strip_prefix("cpython-")?.strip_suffix(".tar.gz")?;
        let rest = rest.strip_suffix("-install_only").or_else(|| rest.strip_suffix("-install_only_stripped"))?;
        let (machine, rest) = (rest.strip_suffix("-unknown-linux-gnu")?.rsplit_once('-')?.1, rest);
        let platform = match machine {
            "x86_64" => Platform::Amd64,
            "aarch64" => Platform::Arm64,
            _ => return None,
        };
        let (version, rest) = rest.split_once('+')?;
        let day = rest.split_once('-')?.0;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let parts: Vec<&str> = version.split('.').collect();
        (parts.len() == 3 && parts.iter().all(|part| digits(part)) && digits(day)).then_some(Self { version, day, platform })
    }
}

/// Where archives are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Archives lie in it, or in folders named by the day of their build.
    Folder(PathBuf),
    /// `BASE/DAY/FILE`, as the project's own releases have them.
    Base(String),
}

const VARIABLE: &str = "BAIBOX_CPYTHON";
/// What uv's users have set already.
const OF_UV: &str = "UV_PYTHON_INSTALL_MIRROR";
const PUBLIC: &str = "https://github.com/astral-sh/python-build-standalone/releases/download";

impl Source {
    /// `BAIBOX_CPYTHON`, else uv's mirror, else the project's releases.
    pub fn of_host() -> Self {
        Self::named(&host::variable(VARIABLE).or_else(|| host::variable(OF_UV)).unwrap_or_else(|| PUBLIC.into()))
    }

    fn named(text: &str) -> Self {
        match text.strip_prefix("file://") {
            Some(path) => Self::Folder(path.into()),
            None if text.contains("://") => Self::Base(text.trim_end_matches('/').to_owned()),
            None => Self::Folder(text.into()),
        }
    }

    /// Brings the archive into the store. What lies in a folder is not fetched, so it comes offline too.
    pub async fn bring(&self, fetcher: &Fetcher, store: &Store, file: &str, digest: &Digest) -> Result<()> {
        if store.has(digest) {
            return Ok(());
        }
        let name = BuildName::parse(file).ok_or_else(|| PythonError::BuildName { file: file.to_owned(), version: "?".into() })?;
        let came = match self {
            Self::Folder(folder) => take(folder, &name, file, store, digest),
            Self::Base(base) => fetcher.file(&[format!("{base}/{}/{}", name.day, file.replace('+', "%2B"))], digest).await,
        };
        came.with_context(|| {
            let fault = Fault::new(format!("the CPython build `{file}` cannot be had"));
            // Hints of the cause give way to these.
            let fault = if fetcher.is_offline() { fault.hint(OFFLINE_HINT) } else { fault };
            fault
                .hint(format!("lay the file into a folder, and name that: `{VARIABLE}=FOLDER`"))
                .hint(format!("or name a mirror of the releases of python-build-standalone: `{VARIABLE}=https://…`"))
        })
    }

    /// Whether it is a folder that has the file.
    pub fn has(&self, file: &str) -> bool {
        match (self, BuildName::parse(file)) {
            (Self::Folder(folder), Some(name)) => place(folder, &name, file).is_some(),
            _ => false,
        }
    }

    /// Archives of a version that a folder has for a platform, the newest build first. Addresses list nothing.
    pub fn builds(&self, python: &str, platform: Platform) -> Result<Vec<LockedBuild>> {
        let Self::Folder(folder) = self else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for path in listed(folder)? {
            let Some(file) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let Some(name) = BuildName::parse(file) else { continue };
            if name.platform == platform && minor(name.version) == python {
                let bytes = std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
                let build = LockedBuild { version: name.version.into(), file: file.into(), sha256: Digest::of(&bytes) };
                found.push((number(name.version), name.day.to_owned(), build));
            }
        }
        found.sort_by(|left, right| right.cmp(left));
        Ok(found.into_iter().map(|(_, _, build)| build).collect())
    }
}

/// The last part of a version as a number, by which those of one minor version are in order.
pub fn number(version: &str) -> u32 {
    version.rsplit('.').next().and_then(|patch| patch.parse().ok()).unwrap_or(0)
}

/// Files of a folder, and of folders in it that are named by a day.
fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder).with_context(|| {
            Fault::usage(format!("cannot list the folder of CPython builds `{}`", folder.display()))
                .hint(format!("`{VARIABLE}` names a folder that is there, or an address"))
        })?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    let mut files = Vec::new();
    for path in list(folder)? {
        let is_day = path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
        if path.is_dir() && is_day {
            files.extend(list(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// Where a folder has a file.
fn place(folder: &Path, name: &BuildName<'_>, file: &str) -> Option<PathBuf> {
    [folder.join(file), folder.join(name.day).join(file)].into_iter().find(|path| path.is_file())
}

fn take(folder: &Path, name: &BuildName<'_>, file: &str, store: &Store, digest: &Digest) -> Result<()> {
    let Some(path) = place(folder, name, file) else {
        anyhow::bail!("`{}` has no such file", folder.display());
    };
    let mut writer = store.writer()?;
    let mut from = std::fs::File::open(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    std::io::copy(&mut from, &mut writer).with_context(|| format!("cannot copy `{}` into the store", path.display()))?;
    writer.commit_as(digest).with_context(|| format!("`{}` is not the file that is locked", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "cpython-3.12.8+20250115-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz";

    #[test]
    fn names_tell_version_day_and_platform() {
        let name = BuildName { version: "3.12.8", day: "20250115", platform: Platform::Amd64 };
        assert_eq!(BuildName::parse(FILE), Some(name));
        let other = "cpython-3.10.9+20230116-aarch64-unknown-linux-gnu-install_only.tar.gz";
        assert_eq!(BuildName::parse(other).map(|name| name.platform), Some(Platform::Arm64));
        for bad in [
            "cpython-3.12.8+20250115-x86_64-unknown-linux-musl-install_only.tar.gz",
            "cpython-3.12.8+20250115-x86_64-unknown-linux-gnu-pgo+lto-full.tar.zst",
            "cpython-3.12.8+20250115-x86_64_v3-unknown-linux-gnu-install_only.tar.gz",
            "cpython-3.12+20250115-x86_64-unknown-linux-gnu-install_only.tar.gz",
            "cpython-3.12.8+../x-x86_64-unknown-linux-gnu-install_only.tar.gz",
            "cpython-3.12.8-x86_64-unknown-linux-gnu-install_only.tar.gz",
            "x",
        ] {
            assert_eq!(BuildName::parse(bad), None, "{bad}");
        }
        let build = |version: &str| LockedBuild { version: version.into(), file: FILE.into(), sha256: Digest::of(b"x") };
        assert_eq!((build("3.12.8").check().is_ok(), build("3.12.9").check().is_ok()), (true, false));
        assert_eq!(build("3.12.8").python(), "3.12");
    }

    #[test]
    fn a_folder_is_named_as_a_path_or_an_address() {
        assert_eq!(Source::named("/a/b"), Source::Folder("/a/b".into()));
        assert_eq!(Source::named("file:///a/b"), Source::Folder("/a/b".into()));
        assert_eq!(Source::named("https://host.invalid/x/"), Source::Base("https://host.invalid/x".into()));
    }

    #[tokio::test]
    async fn what_lies_in_a_folder_comes_offline_and_only_if_it_is_what_is_locked() {
        let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::open(scratch.path()).unwrap();
        let fetcher = Fetcher::offline(&store);
        let source = Source::Folder(folder.path().to_owned());
        let digest = Digest::of(b"archive");
        let missing = source.bring(&fetcher, &store, FILE, &digest).await.unwrap_err();
        let text = crate::error::render(&missing);
        assert!(
            text.contains("cannot be had") && text.contains("has no such file") && text.contains("BAIBOX_CPYTHON=FOLDER"),
            "{text}"
        );

        std::fs::create_dir(folder.path().join("20250115")).unwrap();
        std::fs::write(folder.path().join("20250115").join(FILE), "archive").unwrap();
        let older = FILE.replace("3.12.8", "3.12.7");
        std::fs::write(folder.path().join(&older), "older").unwrap();
        let versions = |python: &str, platform| -> Vec<String> {
            source.builds(python, platform).unwrap().into_iter().map(|build| build.version).collect()
        };
        assert_eq!(versions("3.12", Platform::Amd64), ["3.12.8", "3.12.7"]);
        assert!(versions("3.11", Platform::Amd64).is_empty() && versions("3.12", Platform::Arm64).is_empty());
        source.bring(&fetcher, &store, FILE, &digest).await.unwrap();
        assert!(store.has(&digest) && source.has(FILE) && !source.has("x"));
        let other = source.bring(&fetcher, &store, &older, &Digest::of(b"other")).await.unwrap_err();
        assert!(format!("{other:#}").contains("is not the file that is locked"), "{other:#}");
        assert!(!store.has(&Digest::of(b"older")), "nothing wrong is kept");

        // An address is not asked.
        let base = Source::named("https://host.invalid/x");
        let text = crate::error::render(&base.bring(&fetcher, &store, FILE, &Digest::of(b"far")).await.unwrap_err());
        assert!(text.contains("/20250115/cpython-3.12.8%2B20250115-x86_64") && text.contains("--offline"), "{text}");
        assert!(!base.has(FILE) && base.builds("3.12", Platform::Amd64).unwrap().is_empty());
    }
}
