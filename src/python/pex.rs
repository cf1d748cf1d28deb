//! `python.lock` of the one repository as pex writes it: JSON below a head of `//` lines.
//! The format: `pex3 lock create --style universal` of <https://docs.pex-tool.org>.

use super::select::{self, Target};
use super::{PythonError, normal_name};
use crate::model::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What of the lock is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PexLock {
    /// `name version` → file → digest.
    pub pins: BTreeMap<String, BTreeMap<String, Digest>>,
}

#[derive(Deserialize)]
struct Whole {
    locked_resolves: Vec<Resolve>,
}

#[derive(Deserialize)]
struct Resolve {
    locked_requirements: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    project_name: String,
    version: String,
    artifacts: Vec<Artifact>,
}

#[derive(Deserialize)]
struct Artifact {
    algorithm: String,
    hash: String,
    url: String,
}

impl PexLock {
    /// Whether a `python.lock` is one of pex; newer releases have uv write it, as TOML.
    pub fn is_one(text: &str) -> bool {
        body(text).trim_start().starts_with('{')
    }

    pub fn parse(text: &str) -> Result<Self, PythonError> {
        let fault = |fault: String| PythonError::Lock { faults: vec![fault] };
        let whole: Whole = serde_json::from_str(&body(text)).map_err(|error| fault(format!("it is no lock of pex: {error}")))?;
        let [resolve] = whole.locked_resolves.as_slice() else {
            return Err(fault(format!(
                "it has {} resolves where one for all platforms is expected",
                whole.locked_resolves.len()
            )));
        };
        let mut pins = BTreeMap::new();
        let mut faults = Vec::new();
        for locked in &resolve.locked_requirements {
            let pin = format!("{} {}", normal_name(&locked.project_name), locked.version);
            let mut files = BTreeMap::new();
            for artifact in &locked.artifacts {
                let name = artifact.url.split(['#', '?']).next().and_then(|url| url.rsplit('/').next()).unwrap_or_default();
                // Some versions are escaped in addresses: `1.0+cpu`.
                let name = name.replace("%2B", "+");
                match (artifact.algorithm.as_str(), Digest::parse(&artifact.hash)) {
                    ("sha256", Ok(digest)) if !name.is_empty() => drop(files.insert(name, digest)),
                    _ => faults.push(format!("`{pin}` has a file without a name or a sha256")),
                }
            }
            if files.is_empty() {
                faults.push(format!("`{pin}` has no file"));
            }
            if pins.insert(pin.clone(), files).is_some() {
                faults.push(format!("`{pin}` is there twice"));
            }
        }
        if faults.is_empty() { Ok(Self { pins }) } else { Err(PythonError::Lock { faults }) }
    }

    /// What a tree with this lock requires: exactly its pins.
    pub fn requirements(&self) -> Vec<String> {
        self.pins.keys().map(|pin| pin.replacen(' ', "==", 1)).collect()
    }

    /// The file that images for `target` take of a pin, by the lock alone.
    pub fn file(&self, pin: &str, target: &Target) -> Option<(&str, &Digest)> {
        let files = self.pins.get(pin)?;
        let (name, version) = pin.split_once(' ')?;
        let best = select::best(files.keys().map(String::as_str), name, version, target)?;
        files.get_key_value(best).map(|(file, digest)| (file.as_str(), digest))
    }
}

/// The lock without its head.
fn body(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(requirements: &str) -> String {
        format!(
            "// --- BEGIN PANTS LOCKFILE METADATA: DO NOT EDIT OR REMOVE ---\n// {{\"version\": 3}}\n// --- END ---\n\
             {{\"style\": \"universal\", \"locked_resolves\": [{{\"platform_tag\": null, \"locked_requirements\": [{requirements}]}}]}}"
        )
    }

    fn artifact(file: &str) -> String {
        format!(r#"{{"algorithm": "sha256", "hash": "{}", "url": "https://files.example/ab/{file}"}}"#, "0".repeat(64))
    }

    fn locked(name: &str, version: &str, files: &[&str]) -> String {
        let files: Vec<String> = files.iter().map(|file| artifact(file)).collect();
        format!(
            r#"{{"project_name": "{name}", "version": "{version}", "requires_dists": [], "artifacts": [{}]}}"#,
            files.join(",")
        )
    }

    #[test]
    fn each_pin_gets_the_file_that_fits() {
        let files = [
            "Uv_Loop-1.0-cp311-cp311-macosx_10_9_x86_64.whl",
            "Uv_Loop-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "Uv_Loop-1.0-cp311-cp311-musllinux_1_1_x86_64.whl",
            "Uv_Loop-1.0.tar.gz",
        ];
        let text = lock(&[locked("Uv_Loop", "1.0", &files), locked("temporenc", "0.1.0", &["temporenc-0.1.0.tar.gz"])].join(","));
        assert!(PexLock::is_one(&text));
        let lock = PexLock::parse(&text).unwrap();
        assert_eq!(lock.requirements(), ["temporenc==0.1.0", "uv-loop==1.0"]);
        let target = Target::parse("3.11", 36, "linux/amd64").unwrap();
        for (pin, file) in [("uv-loop 1.0", Some(files[1])), ("temporenc 0.1.0", Some("temporenc-0.1.0.tar.gz")), ("x 1", None)] {
            assert_eq!(lock.file(pin, &target).map(|(file, _)| file), file, "{pin}");
        }
    }

    #[test]
    fn what_is_no_such_lock_is_told() {
        assert!(!PexLock::is_one("version = 1\nrevision = 3\n"));
        let twice = [locked("a", "1", &["a-1.tar.gz"]), locked("A", "1", &["a-1.tar.gz"])].join(",");
        let weak = locked("a", "1", &["a-1.tar.gz"]).replace("sha256", "md5");
        for (text, says) in [
            ("{}".to_owned(), "no lock of pex"),
            (r#"{"locked_resolves": []}"#.to_owned(), "0 resolves"),
            (lock(&twice), "`a 1` is there twice"),
            (lock(&weak), "without a name or a sha256"),
            (lock(&locked("a", "1", &[])), "`a 1` has no file"),
        ] {
            let error = format!("{:?}", PexLock::parse(&text).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
