//! Collects the facts. Looks only: nothing here changes the host.

use super::command::{Said, ask};
use super::facts::{self, Answer, DEFAULT_SOCKET, Facts, Limits, Space, parse_engine};
use super::ports;
use crate::host::which;
use crate::release::Catalog;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Everything that can be known about this host, for an environment in `folder`.
pub async fn look(folder: &Path) -> Facts {
    let (git, version, info, context, compose, list, user) = tokio::join!(
        ask("git", &["--version"]),
        ask("docker", &["version", "--format", "{{json .}}"]),
        ask("docker", &["info", "--format", "{{json .}}"]),
        ask("docker", &["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]),
        ask("docker", &["compose", "version", "--short"]),
        ask("docker", &["ps", "--format", "{{.Names}}\t{{.Ports}}"]),
        ask("id", &["-un"]),
    );
    let own_endpoint = crate::host::engine_address().unwrap_or_else(|| DEFAULT_SOCKET.into());
    let versions = versions(version);
    let user = user.and_then(Said::line).unwrap_or_default();
    let daemon = daemon();
    let mut facts = Facts {
        git: git.and_then(Said::line).map(|line| line.trim_start_matches("git version ").to_owned()),
        client: versions.client,
        daemon_installed: which("dockerd").is_some(),
        daemon_runs: daemon.is_some(),
        endpoint: context.and_then(Said::line).unwrap_or_else(|| own_endpoint.clone()),
        own_endpoint,
        engine: answer(info, versions.api, versions.podman),
        compose: compose.and_then(Said::line),
        root: rustix::process::geteuid().is_root(),
        systemd: systemd(),
        catatonit: which("catatonit").is_some() || CATATONIT.iter().any(|place| Path::new(place).is_file()),
        podman_installed: which("podman").is_some(),
        in_docker_group: facts::in_docker_group(&read("/etc/group"), &user),
        user,
        kernel: Some(read("/proc/sys/kernel/osrelease").trim().to_owned()).filter(|text| !text.is_empty()),
        overlay: overlay(),
        cgroups_mounted: fs::read_dir("/sys/fs/cgroup").is_ok_and(|mut entries| entries.next().is_some()),
        limits: daemon.and_then(limits),
        memory: facts::parse_memory(&read("/proc/meminfo")),
        ..Facts::default()
    };
    facts.spaces = spaces(&places(folder, &facts));
    if facts.local() {
        let published = list.filter(|said| said.well).map(|said| ports::published(&said.output)).unwrap_or_default();
        facts.taken = ports::taken(&default_ports(), &published);
    }
    facts
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Where Podman looks for it, see containers.conf(5).
const CATATONIT: [&str; 4] = [
    "/usr/libexec/podman/catatonit",
    "/usr/local/libexec/podman/catatonit",
    "/usr/lib/podman/catatonit",
    "/usr/local/lib/podman/catatonit",
];

/// What `docker version` tells of both sides.
#[derive(Debug, Default, PartialEq, Eq)]
struct Versions {
    client: Option<String>,
    /// Of the engine, if it answers.
    api: String,
    podman: bool,
}

fn versions(said: Option<Said>) -> Versions {
    let Some(said) = said else { return Versions::default() };
    let value: serde_json::Value = serde_json::from_str(&said.output).unwrap_or_default();
    let text = |path: &str| value.pointer(path).and_then(|text| text.as_str()).unwrap_or_default().to_owned();
    let parts = value.pointer("/Server/Components").and_then(|parts| parts.as_array());
    let podman = |part: &serde_json::Value| part["Name"].as_str().is_some_and(|name| name.starts_with("Podman"));
    Versions {
        client: Some(text("/Client/Version")),
        api: text("/Server/ApiVersion"),
        podman: parts.is_some_and(|parts| parts.iter().any(podman)),
    }
}

fn answer(said: Option<Said>, api: String, podman: bool) -> Answer {
    let Some(said) = said else { return Answer::default() };
    match parse_engine(&said.output) {
        Some(engine) => Answer::Engine(Box::new(facts::Engine { api, podman, ..engine })),
        None => Answer::Refused(said.errors),
    }
}

/// The process of the engine on this host.
pub fn daemon() -> Option<u32> {
    ports::processes().into_iter().find(|(_, name)| name == "dockerd").map(|(pid, _)| pid)
}

/// See sd_booted(3).
pub fn systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn limits(pid: u32) -> Option<Limits> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    Some(facts::parse_limits(&limits, &read(format!("/proc/{pid}/status"))))
}

/// Loaded, or there to be loaded.
fn overlay() -> Option<bool> {
    let known = fs::read_to_string("/proc/filesystems").ok()?;
    let release = read("/proc/sys/kernel/osrelease");
    let module = Path::new("/lib/modules").join(release.trim()).join("kernel/fs/overlayfs");
    Some(known.lines().any(|line| line.ends_with("\toverlay")) || module.is_dir())
}

/// What takes disk space, and where.
fn places(folder: &Path, facts: &Facts) -> Vec<(&'static str, PathBuf)> {
    let mut places = vec![("environment", folder.to_owned())];
    places.extend(crate::host::store_root().map(|root| ("store", root)));
    match &facts.engine {
        // An engine in a virtual machine names folders that are not of this host.
        Answer::Engine(engine) if facts.local() && facts.daemon_runs && !engine.docker_root_dir.is_empty() => {
            places.push(("engine", engine.docker_root_dir.clone().into()));
        }
        _ => {}
    }
    places
}

/// Free bytes of each place, those of one file system together.
fn spaces(places: &[(&'static str, PathBuf)]) -> Vec<Space> {
    let mut devices = Vec::new();
    let mut spaces: Vec<Space> = Vec::new();
    for (usage, path) in places {
        // What is not there yet is made where its nearest folder is.
        let Some((path, device)) = path.ancestors().find_map(|path| Some((path, fs::metadata(path).ok()?.dev()))) else {
            continue;
        };
        if let Some(known) = devices.iter().position(|other| *other == device) {
            spaces[known].uses.push(usage);
        } else if let Ok(space) = rustix::fs::statvfs(path) {
            devices.push(device);
            spaces.push(Space { uses: vec![usage], path: path.to_owned(), free: space.f_bavail * space.f_frsize });
        }
    }
    spaces
}

/// The ports that releases have before others must be chosen. Data that cannot be read
/// is told by the command that needs it.
fn default_ports() -> BTreeSet<u16> {
    let releases = Catalog::branches().into_iter().flatten().filter_map(|branch| Catalog::release(&branch).ok());
    releases.flat_map(|release| release.leases().map(|(_, port)| port).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_on_one_file_system_are_one_space() {
        let folder = tempfile::tempdir().unwrap();
        let places = [("environment", folder.path().to_owned()), ("store", folder.path().join("not/there/yet"))];
        let spaces = spaces(&places);
        assert_eq!(spaces.len(), 1);
        assert_eq!((spaces[0].uses.as_slice(), spaces[0].path.as_path()), (["environment", "store"].as_slice(), folder.path()));
    }

    #[test]
    fn the_ports_of_the_releases_are_known() {
        assert!([8101, 8111, 8121, 8091, 8090, 6021].iter().all(|port| default_ports().contains(port)));
    }

    #[test]
    fn a_client_without_a_server_has_a_version_and_no_api() {
        let said = |output: &str| Some(Said { well: false, output: output.into(), errors: String::new() });
        let client = r#"{"Client":{"Version":"28.2.2"},"Server":null}"#;
        assert_eq!(versions(said(client)), Versions { client: Some("28.2.2".into()), ..Versions::default() });
        assert_eq!(versions(None).client, None);
        assert_eq!(answer(None, String::new(), false), Answer::Refused(String::new()));
        let podman = r#"{"Client":{"Version":"1"},"Server":{"ApiVersion":"1.41","Components":[{"Name":"Podman Engine"}]}}"#;
        assert!(versions(said(podman)).podman);
    }
}
