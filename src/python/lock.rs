//! Exact Python files of a release, and which environment takes which.

use super::select::WheelName;
use super::{PythonError, normal_name};
use crate::model::Digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A wheel or source distribution, found again on any index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    pub name: String,
    pub version: String,
    pub file: String,
    pub sha256: Digest,
    /// In bytes.
    pub size: u64,
}

impl LockedFile {
    pub fn is_wheel(&self) -> bool {
        self.file.ends_with(".whl")
    }
    /// A wheel that runs on one platform only.
    pub fn is_bound(&self) -> bool {
        WheelName::parse(&self.file).is_some_and(|wheel| wheel.platform != "any")
    }
    /// How environments name it.
    pub fn pin(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    fn fault(&self) -> Option<String> {
        let wheel = WheelName::parse(&self.file);
        let sdist = self.file.strip_suffix(".tar.gz").or_else(|| self.file.strip_suffix(".zip"));
        let says_so = match (&wheel, sdist) {
            (Some(wheel), _) => normal_name(wheel.project) == normal_name(&self.name) && wheel.version == self.version,
            (None, Some(stem)) if !stem.contains('/') => {
                normal_name(stem) == normal_name(&format!("{}-{}", self.name, self.version))
            }
            _ => return Some(format!("`{}` is not the name of a wheel or source distribution", self.file)),
        };
        match () {
            () if !says_so => Some(format!("`{}` is not a file of `{}`", self.file, self.pin())),
            () if self.name != normal_name(&self.name) => {
                Some(format!("`{}` is not a normal name: write `{}`", self.name, normal_name(&self.name)))
            }
            () if self.size == 0 => Some(format!("`{}` cannot be empty", self.file)),
            () => None,
        }
    }
}

/// `python.lock` of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PythonLock {
    /// Minor version, such as `3.9`.
    pub python: String,
    /// The index is read as of this day.
    pub cutoff: String,
    /// Pins that build source distributions.
    pub builders: Vec<String>,
    /// Component → what it required when the pins were resolved.
    #[serde(default)]
    pub requirements: BTreeMap<String, Vec<String>>,
    /// Image → `name version` of each package in it.
    pub environments: BTreeMap<String, Vec<String>>,
    #[serde(rename = "file")]
    pub files: Vec<LockedFile>,
}

impl PythonLock {
    /// Reads and checks a lock; all faults come at once.
    pub fn parse(text: &str) -> Result<Self, PythonError> {
        let lock: Self = toml::from_str(text).map_err(|error| PythonError::Lock { faults: vec![error.to_string()] })?;
        lock.check()?;
        Ok(lock)
    }

    /// All faults of a lock that was read as part of another file.
    pub fn check(&self) -> Result<(), PythonError> {
        let faults = self.faults();
        if faults.is_empty() { Ok(()) } else { Err(PythonError::Lock { faults }) }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.python.strip_prefix("3.").is_none_or(|minor| minor.parse::<u32>().is_err()) {
            faults.push(format!("`{}` is not a minor version of Python 3", self.python));
        }
        if time::Date::parse(&self.cutoff, time::macros::format_description!("[year]-[month]-[day]")).is_err() {
            faults.push(format!("the cut-off `{}` is not a date such as `2022-04-01`", self.cutoff));
        }
        let mut known = BTreeMap::new();
        for file in &self.files {
            if known.insert(file.pin(), file).is_some() {
                faults.push(format!("`{}` is there twice", file.pin()));
            }
            faults.extend(file.fault());
        }
        let mut used = BTreeSet::new();
        let builders = "builders".to_owned();
        for (environment, pins) in self.environments.iter().chain([(&builders, &self.builders)]) {
            let mut names = BTreeSet::new();
            for pin in pins {
                used.insert(pin);
                match known.get(pin) {
                    None => faults.push(format!("`{environment}` asks for `{pin}`, which has no file")),
                    Some(file) if !names.insert(&file.name) => {
                        faults.push(format!("`{environment}` asks for `{}` more than once", file.name));
                    }
                    // A source distribution cannot build what builds it.
                    Some(file) if *environment == builders && !file.is_wheel() => {
                        faults.push(format!("`{pin}` builds others, so it must be a wheel"));
                    }
                    Some(_) => {}
                }
            }
        }
        faults.extend(known.keys().filter(|pin| !used.contains(*pin)).map(|pin| format!("no environment asks for `{pin}`")));
        faults
    }

    pub fn file(&self, pin: &str) -> Option<&LockedFile> {
        let (name, version) = pin.split_once(' ')?;
        self.files.iter().find(|file| file.name == name && file.version == version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &str = "python = '3.9'\ncutoff = '2022-04-01'\nbuilders = []\n";

    fn file(name: &str, version: &str, file: &str) -> String {
        format!(
            "[[file]]\nname = '{name}'\nversion = '{version}'\nfile = '{file}'\nsha256 = 'sha256:{}'\nsize = 1\n",
            "0".repeat(64)
        )
    }

    fn faults(text: &str) -> Vec<String> {
        match PythonLock::parse(text) {
            Ok(_) => Vec::new(),
            Err(PythonError::Lock { faults }) => faults,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_whole_lock_is_taken() {
        let files = file("a-b", "1.0", "a_b-1.0-py3-none-any.whl") + &file("c", "2", "C-2.tar.gz");
        assert_eq!(faults(&format!("{FRAME}[environments]\nx = ['a-b 1.0', 'c 2']\n{files}")), Vec::<String>::new());
    }

    #[test]
    fn all_faults_of_a_lock_are_told_at_once() {
        let text = format!(
            "python = '2.7'\ncutoff = 'today'\nbuilders = ['c 2', 'wheel 1']\n[environments]\nx = ['a 1', 'a 2', 'b 2']\n{}{}{}{}{}{}",
            file("a", "1", "../a-1.tar.gz"),
            file("a", "2", "b-2-py3-none-any.whl"),
            file("c", "2", "c-2.tar.gz"),
            file("D.e", "1", "D.e-1.tar.gz"),
            file("f", "1", "f-1.exe"),
            file("f", "1", "f-1.zip"),
        );
        let found = faults(&text);
        for expected in [
            "`2.7` is not a minor version of Python 3",
            "the cut-off `today` is not a date such as `2022-04-01`",
            "`../a-1.tar.gz` is not the name of a wheel or source distribution",
            "`b-2-py3-none-any.whl` is not a file of `a 2`",
            "`D.e` is not a normal name: write `d-e`",
            "`f-1.exe` is not the name of a wheel or source distribution",
            "`f 1` is there twice",
            "`x` asks for `a` more than once",
            "`x` asks for `b 2`, which has no file",
            "`c 2` builds others, so it must be a wheel",
            "`builders` asks for `wheel 1`, which has no file",
            "no environment asks for `D.e 1`",
            "no environment asks for `f 1`",
        ] {
            assert!(found.iter().any(|fault| fault == expected), "{expected} is not in {found:#?}");
        }
        assert_eq!(found.len(), 13, "{found:#?}");
    }

    #[test]
    fn an_unknown_key_or_a_bad_digest_is_a_fault() {
        assert_eq!(faults(&format!("{FRAME}url = 'x'\n[environments]\n")).len(), 1);
        let text = format!("{FRAME}[environments]\n{}", file("a", "1", "a-1.zip").replace("sha256:0", "md5:0"));
        assert_eq!(faults(&text).len(), 1);
    }
}
