//! An environment of a test, on a real engine, that goes with it.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub struct World {
    pub folder: PathBuf,
    pub id: String,
}

impl World {
    pub fn new(scratch: &Path, name: &str) -> Self {
        Self { folder: scratch.join(name), id: format!("baibox-{name}-{}", std::process::id()) }
    }
    pub fn baibox(&self, arguments: &[&str]) -> Output {
        let output = Command::new(env!("CARGO_BIN_EXE_baibox")).args(arguments).output().unwrap();
        eprintln!("baibox {}\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        output
    }
    pub fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.baibox(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "baibox {}: {text}", arguments.join(" "));
        text
    }
    pub fn inside(&self, service: &str, command: &[&str]) -> String {
        self.succeeds(&[&["exec", "--env", &self.id, service, "--"], command].concat())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // After a failed assertion too, nothing of the test stays on the engine.
        if self.folder.exists() {
            self.baibox(&["delete", &self.id, "--yes", "--force"]);
        }
    }
}

pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// IDs of containers by service.
pub fn containers(id: &str) -> std::collections::BTreeMap<String, String> {
    let format = "{{.Label \"com.docker.compose.service\"}} {{.ID}}";
    let text = docker(&["ps", "--filter", &format!("label=ai.baibox.environment={id}"), "--format", format]);
    text.lines().filter_map(|line| line.split_once(' ')).map(|(name, id)| (name.to_owned(), id.to_owned())).collect()
}
