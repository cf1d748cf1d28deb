//! `python.lock` of the one repository as pex writes it: JSON below a head of `//` lines.
//! The format: `pex3 lock create --style universal` of <https://docs.pex-tool.org>.

use super::tree_lock::{TreeLock, file_name};
use super::{PythonError, normal_name};
use crate::model::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;

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

/// Whether a `python.lock` is one of pex.
pub fn is_one(text: &str) -> bool {
    body(text).trim_start().starts_with('{')
}

pub fn parse(text: &str) -> Result<TreeLock, PythonError> {
    let fault = |fault: String| PythonError::Lock { faults: vec![fault] };
    let whole: Whole = serde_json::from_str(&body(text)).map_err(|error| fault(format!("it is no lock of pex: {error}")))?;
    let [resolve] = whole.locked_resolves.as_slice() else {
        return Err(fault(format!("it has {} resolves where one for all platforms is expected", whole.locked_resolves.len())));
    };
    let mut lock = TreeLock::default();
    let mut faults = Vec::new();
    for locked in &resolve.locked_requirements {
        let pin = format!("{} {}", normal_name(&locked.project_name), locked.version);
        let mut files = BTreeMap::new();
        for artifact in &locked.artifacts {
            match (artifact.algorithm.as_str(), Digest::parse(&artifact.hash), file_name(&artifact.url)) {
                ("sha256", Ok(digest), Some(name)) => drop(files.insert(name, digest)),
                _ => faults.push(format!("`{pin}` has a file without a name or a sha256")),
            }
        }
        faults.extend(lock.add(pin, files));
    }
    if faults.is_empty() { Ok(lock) } else { Err(PythonError::Lock { faults }) }
}

/// The lock without its head.
fn body(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::select::Target;

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
        assert!(is_one(&text));
        let lock = parse(&text).unwrap();
        assert_eq!(lock.requirements(), ["temporenc==0.1.0", "uv-loop==1.0"]);
        let target = Target::parse("3.11", 36, "linux/amd64").unwrap();
        for (pin, file) in [("uv-loop 1.0", Some(files[1])), ("temporenc 0.1.0", Some("temporenc-0.1.0.tar.gz")), ("x 1", None)] {
            assert_eq!(lock.file(pin, &target).map(|(file, _)| file), file, "{pin}");
        }
    }

    #[test]
    fn what_is_no_such_lock_is_told() {
        assert!(!is_one("version = 1\nrevision = 3\n"));
        let twice = [locked("a", "1", &["a-1.tar.gz"]), locked("A", "1", &["a-1.tar.gz"])].join(",");
        let weak = locked("a", "1", &["a-1.tar.gz"]).replace("sha256", "md5");
        for (text, says) in [
            ("{}".to_owned(), "no lock of pex"),
            (r#"{"locked_resolves": []}"#.to_owned(), "0 resolves"),
            (lock(&twice), "`a 1` is there twice"),
            (lock(&weak), "without a name or a sha256"),
            (lock(&locked("a", "1", &[])), "`a 1` has no file"),
        ] {
            let error = format!("{:?}", parse(&text).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
