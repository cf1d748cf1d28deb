//! Exact Python files of a release, and which environment takes which.

use super::PythonError;
use crate::model::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A wheel or source distribution, found again on any index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    pub name: String,
    pub version: String,
    pub file: String,
    pub sha256: Digest,
}

impl LockedFile {
    pub fn is_wheel(&self) -> bool {
        self.file.ends_with(".whl")
    }
    /// How environments name it.
    pub fn pin(&self) -> String {
        format!("{} {}", self.name, self.version)
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
    /// Image → `name version` of each package in it.
    pub environments: BTreeMap<String, Vec<String>>,
    #[serde(rename = "file")]
    pub files: Vec<LockedFile>,
}

impl PythonLock {
    /// Reads and checks a lock; all faults come at once.
    pub fn parse(text: &str) -> Result<Self, PythonError> {
        let lock: Self = toml::from_str(text).map_err(|error| PythonError::Lock { faults: vec![error.to_string()] })?;
        let mut faults = Vec::new();
        let mut seen = BTreeMap::new();
        for file in &lock.files {
            if seen.insert(file.pin(), file).is_some() {
                faults.push(format!("`{}` is there twice", file.pin()));
            }
            if file.file.contains('/') || !(file.is_wheel() || file.file.ends_with(".tar.gz") || file.file.ends_with(".zip")) {
                faults.push(format!("`{}` is not the name of a wheel or source distribution", file.file));
            }
        }
        for (environment, pins) in lock.environments.iter().chain([(&"builders".to_owned(), &lock.builders)]) {
            for pin in pins.iter().filter(|pin| !seen.contains_key(*pin)) {
                faults.push(format!("`{environment}` asks for `{pin}`, which has no file"));
            }
        }
        if faults.is_empty() { Ok(lock) } else { Err(PythonError::Lock { faults }) }
    }

    pub fn file(&self, pin: &str) -> Option<&LockedFile> {
        self.files.iter().find(|file| file.pin() == pin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_of_a_lock_are_told_at_once() {
        let text = r#"
            python = "3.9"
            cutoff = "2022-04-01"
            builders = ["wheel 1"]
            [environments]
            manager = ["a 1", "b 2"]
            [[file]]
            name = "a"
            version = "1"
            file = "../a.whl"
            sha256 = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
        "#;
        let Err(PythonError::Lock { faults }) = PythonLock::parse(text) else { panic!("accepted") };
        assert_eq!(faults.len(), 3, "{faults:?}");
    }
}
