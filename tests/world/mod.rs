//! An environment of a test, on a real engine, that goes with it.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

pub struct World {
    pub folder: PathBuf,
    pub id: String,
    /// Parent of the store, where it is not the usual one.
    pub cache: Option<PathBuf>,
    /// Variables that baibox is given.
    pub variables: Vec<(String, String)>,
}

impl World {
    pub fn new(scratch: &Path, name: &str) -> Self {
        Self {
            folder: scratch.join(name),
            id: format!("baibox-{name}-{}", std::process::id()),
            cache: None,
            variables: Vec::new(),
        }
    }
    /// The same, with a variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }
    /// One that knows only the environments of this test; what was built before is there all the same.
    pub fn apart(scratch: &Path, name: &str) -> Self {
        let usual = baibox::host::store_root().unwrap();
        let cache = scratch.join("cache");
        std::fs::create_dir_all(cache.join("baibox/environments")).unwrap();
        for folder in ["blobs", "actions", "temporary", "locks"] {
            let shared = usual.join(folder);
            std::fs::create_dir_all(&shared).unwrap();
            let link = cache.join("baibox").join(folder);
            if !link.exists() {
                std::os::unix::fs::symlink(shared, link).unwrap();
            }
        }
        let mut world = Self::new(scratch, name);
        world.cache = Some(cache);
        world
    }
    pub fn baibox(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baibox"));
        if let Some(cache) = &self.cache {
            command.env("XDG_CACHE_HOME", cache);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let output = command.args(arguments).output().unwrap();
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

pub fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(begin.elapsed() < Duration::from_secs(120), "waited 120 s until {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Debian's `docker-registry` on a port of its own.
pub struct Registry {
    child: std::process::Child,
    pub port: u16,
}

impl Registry {
    pub fn start(scratch: &Path) -> Self {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let file = scratch.join("registry.yml");
        let root = scratch.join("registry");
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: \"{}\"}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
            root.display()
        );
        std::fs::write(&file, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stderr(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the registry listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
