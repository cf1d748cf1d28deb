//! What is known of the host and its engine, before anybody judges it.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The socket of an engine that nobody configured.
pub const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";

/// Everything that [`super::judge::judge`] goes by.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// `git --version`, without the name.
    pub git: Option<String>,
    /// Version of the `docker` command.
    pub client: Option<String>,
    /// The program `dockerd` is on this host.
    pub daemon_installed: bool,
    /// A process `dockerd` runs on this host.
    pub daemon_runs: bool,
    /// Where `docker`, and so Compose, finds the engine.
    pub endpoint: String,
    /// Where baibox itself finds it.
    pub own_endpoint: String,
    pub engine: Answer,
    /// `docker compose version --short`.
    pub compose: Option<String>,
    pub root: bool,
    /// systemd runs this host's services.
    pub systemd: bool,
    /// A program by which Podman reaps the processes of its containers.
    pub catatonit: bool,
    /// The program `podman` is on this host.
    pub podman_installed: bool,
    pub user: String,
    /// `/etc/group` has this user in group `docker`; a session begun earlier does not know yet.
    pub in_docker_group: bool,
    pub kernel: Option<String>,
    /// The kernel offers overlay file systems.
    pub overlay: Option<bool>,
    pub cgroups_mounted: bool,
    pub limits: Option<Limits>,
    pub spaces: Vec<Space>,
    pub taken: Vec<Taken>,
    /// Bytes of this host.
    pub memory: Option<u64>,
}

/// What the engine said when asked for its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Engine(Box<Engine>),
    /// In the words of the `docker` command.
    Refused(String),
}

impl Default for Answer {
    fn default() -> Self {
        Self::Refused(String::new())
    }
}

impl Facts {
    /// The engine's files, ports and processes are those of this host.
    pub fn local(&self) -> bool {
        self.endpoint.starts_with("unix://")
    }
    /// Nobody configured another engine than the one that `docker.io` installs.
    pub fn default_endpoint(&self) -> bool {
        same_endpoint(&self.endpoint, DEFAULT_SOCKET)
    }
}

/// `/run` is where `/var/run` leads.
pub fn same_endpoint(left: &str, right: &str) -> bool {
    let plain = |endpoint: &str| endpoint.replace("unix:///var/run/", "unix:///run/");
    plain(left) == plain(right)
}

/// The part of `docker info` that matters here, in its spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Engine {
    pub server_version: String,
    pub driver: String,
    pub driver_status: Option<Vec<Vec<String>>>,
    pub cgroup_version: String,
    pub kernel_version: String,
    pub operating_system: String,
    pub runtimes: Option<BTreeMap<String, serde_json::Value>>,
    pub security_options: Option<Vec<String>>,
    pub docker_root_dir: String,
    pub mem_total: u64,
    /// From `docker version`.
    #[serde(skip)]
    pub api: String,
    /// Podman answers behind Docker's interface.
    #[serde(skip)]
    pub podman: bool,
}

impl Engine {
    pub fn rootless(&self) -> bool {
        // Podman says it in a field that `docker info` leaves out: a user's storage tells.
        self.security_options.iter().flatten().any(|option| option.contains("name=rootless"))
            || (self.podman && self.docker_root_dir.contains("/.local/share/containers/"))
    }
    /// Layers lie in a containerd image store, not with a graph driver.
    pub fn containerd_store(&self) -> bool {
        self.driver_status.iter().flatten().flatten().any(|word| word.contains("io.containerd.snapshotter"))
    }
    /// Names of the runtimes that a person could choose between.
    pub fn runtimes(&self) -> Vec<&str> {
        // The shims' own names are other words for runc.
        self.runtimes.iter().flatten().map(|(name, _)| name.as_str()).filter(|name| !name.starts_with("io.containerd.")).collect()
    }
}

/// Hard limits of the engine's process; none is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub open_files: Option<u64>,
    /// In bytes.
    pub locked_memory: Option<u64>,
    /// The process may raise its limits (`CAP_SYS_RESOURCE`).
    pub may_raise: bool,
}

/// Free bytes of one file system, and what of baibox's lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    pub uses: Vec<&'static str>,
    pub path: PathBuf,
    pub free: u64,
}

/// A default port that somebody listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub port: u16,
    /// A container or a process.
    pub holder: Option<String>,
}

/// `docker info --format '{{json .}}'`; without a server its figures are empty.
pub fn parse_engine(json: &str) -> Option<Engine> {
    serde_json::from_str::<Engine>(json).ok().filter(|engine| !engine.server_version.is_empty())
}

/// `/proc/<pid>/limits` and `/proc/<pid>/status`, see proc_pid_limits(5) and capabilities(7).
pub fn parse_limits(limits: &str, status: &str) -> Limits {
    let hard = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    const CAP_SYS_RESOURCE: u32 = 24;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    Limits {
        open_files: hard("Max open files"),
        locked_memory: hard("Max locked memory"),
        may_raise: effective >> CAP_SYS_RESOURCE & 1 == 1,
    }
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
pub fn parse_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Whether `/etc/group` has the user in group `docker`.
pub fn in_docker_group(groups: &str, user: &str) -> bool {
    groups.lines().any(|line| {
        line.starts_with("docker:") && line.rsplit(':').next().is_some_and(|members| members.split(',').any(|name| name == user))
    })
}

/// The first Compose that knows all that rendered files say: `start_interval` came with it.
pub const COMPOSE: [u64; 2] = [2, 21];

/// Whether rendered files can be started with this Compose; what has no number is its makers' own.
pub fn compose_serves(version: &str) -> bool {
    let numbers = numbers(version);
    numbers.is_empty() || numbers[..] >= COMPOSE[..]
}

/// `2`, `26`, `1` and `4` of `v2.26.1-4`, without an epoch.
pub fn numbers(version: &str) -> Vec<u64> {
    let version = version.trim().trim_start_matches('v');
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let parts = version.split(|letter: char| !letter.is_ascii_digit());
    parts.map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
        Max processes             96365                96365                processes \n\
        Max open files            1024                 20000                files     \n\
        Max locked memory         8388608              unlimited            bytes     \n";

    #[test]
    fn limits_are_the_hard_ones_of_the_process() {
        let expected = Limits { open_files: Some(20000), locked_memory: None, may_raise: false };
        assert_eq!(parse_limits(LIMITS, "Name:\tdockerd\nCapEff:\t00000000a80425fb\n"), expected);
        assert!(parse_limits(LIMITS, "CapEff:\t000001ffffffffff\n").may_raise);
        assert!(!parse_limits(LIMITS, "").may_raise);
    }

    #[test]
    fn an_answer_without_a_server_is_no_engine() {
        assert_eq!(parse_engine(r#"{"ServerVersion":"","Runtimes":null}"#), None);
        assert_eq!(parse_engine("Cannot connect"), None);
        let engine = parse_engine(
            r#"{"ServerVersion":"28.1","Driver":"overlayfs","DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]],
                "Runtimes":{"runc":{},"io.containerd.runc.v2":{},"nvidia":{}},"SecurityOptions":["name=rootless"],"MemTotal":5}"#,
        )
        .unwrap();
        assert!(engine.containerd_store() && engine.rootless());
        assert_eq!((engine.runtimes(), engine.mem_total), (vec!["nvidia", "runc"], 5));
    }

    #[test]
    fn small_files_of_the_system_are_read() {
        assert_eq!(parse_memory("MemTotal:       24684092 kB\nMemFree: 1 kB\n"), Some(24_684_092 * 1024));
        assert_eq!(parse_memory(""), None);
        let groups = "adm:x:4:kim\ndocker:x:999:lee,kim\n";
        assert!(in_docker_group(groups, "kim") && !in_docker_group(groups, "ki") && !in_docker_group(groups, ""));
        let read = ["2.26.1-4", "v2.0", "1:1.29.2-3", "", "dev"].map(numbers);
        assert_eq!(read, [vec![2, 26, 1, 4], vec![2, 0], vec![1, 29, 2, 3], vec![], vec![]]);
        assert!(same_endpoint("unix:///run/docker.sock", DEFAULT_SOCKET));
    }
}
