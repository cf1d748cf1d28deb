//! Podman as a second engine: a service with storage, networks and settings of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Podman {
    scratch: PathBuf,
    child: Child,
}

/// What a machine without systemd can do, and limits that a root without `CAP_SYS_RESOURCE` may set.
const SETTINGS: &str = r#"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
[network]
network_backend = "netavark"
"#;

impl Podman {
    pub fn start(scratch: &Path) -> Self {
        let scratch = scratch.join("podman");
        std::fs::create_dir(&scratch).unwrap();
        std::fs::write(scratch.join("containers.conf"), SETTINGS).unwrap();
        let socket = scratch.join("socket");
        let child = podman(&scratch)
            .args(["system", "service", "--time", "0"])
            .arg(format!("unix://{}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(scratch.join("log")).unwrap())
            .spawn()
            .expect("`podman` is there: run tests/all");
        let service = Self { scratch, child };
        let begin = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(20), "{}", service.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        service
    }

    pub fn address(&self) -> String {
        format!("unix://{}", self.scratch.join("socket").display())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
    }
}

fn podman(scratch: &Path) -> Command {
    let mut command = Command::new("podman");
    for (option, folder) in [("--root", "root"), ("--runroot", "run"), ("--network-config-dir", "networks")] {
        command.arg(option).arg(scratch.join(folder));
    }
    command.env("CONTAINERS_CONF", scratch.join("containers.conf"));
    command
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Containers, networks, mounts and files of this storage, and of no other.
        let done = podman(&self.scratch).args(["system", "reset", "--force"]).output();
        // What watched over commands would stay for five minutes, and then make folders again.
        for process in watchers(&self.scratch) {
            let _ = Command::new("kill").args(["-KILL", &process]).status();
        }
        if std::thread::panicking() {
            eprintln!("{}\n{done:?}", self.log());
        }
    }
}

/// Numbers of the processes that were started for this storage.
fn watchers(scratch: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.parse::<u32>().is_ok());
    let here = scratch.to_string_lossy().into_owned();
    let line = |number: &String| std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
    numbers.filter(|number| String::from_utf8_lossy(&line(number)).contains(&here)).collect()
}
