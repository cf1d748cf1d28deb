//! From facts to findings: pure, so that every host can be tried in a table.

use super::facts::{Answer, COMPOSE, Engine, Facts, compose_serves, same_endpoint};
use super::{Finding, Fix, State};
use crate::ui::bytes;

/// An environment with its images and data takes about this much.
const DISK: u64 = 6 << 30;
/// All services and one session; a host sold with 4 GiB shows a little less.
const MEMORY: u64 = 4 << 30;
const MEMORY_SHOWN: u64 = MEMORY / 10 * 9;
/// What the agent of Backend.AI asks for each session.
const OPEN_FILES: u64 = 1_048_576;
/// The first API with what baibox uses; Docker 20.10.
const API: (u64, u64) = (1, 41);

/// One finding per thing that baibox needs, in the order in which they are mended.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![git(facts)];
    findings.extend(engine(facts));
    findings.push(compose(facts));
    findings.extend(kernel(facts));
    findings.extend(limits(facts));
    findings.extend(memory(facts));
    findings.extend(disk(facts));
    findings.extend(ports(facts));
    findings
}

/// What to type, with `sudo` for those who need it.
fn as_root(facts: &Facts, command: &str) -> String {
    if facts.root { command.to_owned() } else { format!("sudo {command}") }
}

fn git(facts: &Facts) -> Finding {
    match &facts.git {
        Some(version) => Finding::fine("git", format!("git {version}")),
        None => Finding::fault("git", "git is not installed").remedy(as_root(facts, "apt-get install git")).fix(Fix::InstallGit),
    }
}

fn engine(facts: &Facts) -> Vec<Finding> {
    if facts.client.is_none() {
        let missing = if facts.daemon_installed {
            "the Docker daemon is installed, but its command `docker` is not"
        } else {
            "no container engine is installed"
        };
        return vec![
            Finding::fault("engine", missing).remedy(as_root(facts, "apt-get install docker.io")).fix(Fix::InstallEngine),
        ];
    }
    match &facts.engine {
        Answer::Refused(said) => vec![silent(facts, said)],
        Answer::Engine(engine) => answering(facts, engine),
    }
}

/// Why an engine that has a client does not answer.
fn silent(facts: &Facts, said: &str) -> Finding {
    let said = said.trim();
    if said.to_ascii_lowercase().contains("permission denied") {
        let detail = format!("this user may not talk to the engine at `{}`", facts.endpoint);
        return Finding::fault("engine", detail).remedy(if facts.in_docker_group {
            "newgrp docker (or log in again: this session began before the user was in group `docker`)".to_owned()
        } else {
            format!("sudo usermod -aG docker {}, then log in again", facts.user)
        });
    }
    if !facts.default_endpoint() {
        let detail = format!("the engine at `{}` does not answer: {said}", facts.endpoint);
        return Finding::fault("engine", detail)
            .remedy("start that engine, or choose another with `docker context use` or `DOCKER_HOST`");
    }
    if facts.daemon_runs {
        let detail = format!("the Docker daemon runs, but does not answer at `{}`: {said}", facts.endpoint);
        return Finding::fault("engine", detail).remedy("wait until it has started, or read its log").fix(Fix::StartEngine);
    }
    if facts.daemon_installed {
        return Finding::fault("engine", "the Docker daemon does not run")
            .remedy(if facts.systemd { as_root(facts, "systemctl start docker") } else { "baibox doctor --fix".to_owned() })
            .fix(Fix::StartEngine);
    }
    if facts.podman_installed {
        let socket = if facts.root { "unix:///run/podman/podman.sock" } else { "unix://$XDG_RUNTIME_DIR/podman/podman.sock" };
        let user = if facts.root { "" } else { " --user" };
        return Finding::fault("engine", "Podman is installed, but `docker` is not told where it listens")
            .remedy(format!("systemctl{user} start podman.socket && export DOCKER_HOST={socket}"));
    }
    Finding::fault("engine", "`docker` is installed, but no engine that it could talk to")
        .remedy(as_root(facts, "apt-get install docker.io"))
        .fix(Fix::InstallEngine)
}

fn answering(facts: &Facts, engine: &Engine) -> Vec<Finding> {
    let store = if engine.containerd_store() { "containerd store" } else { "graph driver" };
    let name = if engine.podman { "Podman" } else { "Docker" };
    let mut detail = format!(
        "{name} {}, API {}, {} ({store}), cgroup {}, runtimes {}",
        engine.server_version,
        engine.api,
        engine.driver,
        engine.cgroup_version,
        engine.runtimes().join(" ")
    );
    if engine.rootless() {
        detail += ", rootless";
    }
    let mut findings = vec![match api(&engine.api) {
        Some(version) if version >= API => Finding::fine("engine", detail),
        _ => Finding::fault("engine", format!("{detail}: baibox needs API {}.{}", API.0, API.1)).remedy(if engine.podman {
            "install Podman 4 or newer"
        } else {
            "install Docker 20.10 or newer"
        }),
    }];
    findings.extend(podman(facts, engine));
    if !same_endpoint(&facts.endpoint, &facts.own_endpoint) {
        // Compose would start the stack on one engine, its images would be on another.
        let detail = format!("the Docker context leads to `{}`, but `DOCKER_HOST` is not set to it", facts.endpoint);
        findings.push(Finding::fault("context", detail).remedy(format!("export DOCKER_HOST={}", facts.endpoint)));
    }
    if engine.driver == "vfs" {
        let detail = "the storage driver `vfs` copies every layer: slow, and several times the disk space";
        let remedy = if engine.podman {
            "set `driver` to `overlay` in /etc/containers/storage.conf, then `podman system reset`"
        } else {
            "set `storage-driver` to `overlay2` in /etc/docker/daemon.json"
        };
        findings.push(Finding::warning("storage", detail).remedy(remedy));
    }
    findings
}

/// What Podman needs of its host besides itself.
fn podman(facts: &Facts, engine: &Engine) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !engine.podman || !facts.local() {
        return findings;
    }
    if !facts.catatonit {
        let detail = "Podman has no `catatonit`, by which it starts services that reap their processes";
        findings.push(Finding::fault("init", detail).remedy(as_root(facts, "apt-get install catatonit")));
    }
    if !facts.systemd {
        let detail = "Podman leaves healthchecks to systemd, which does not run here: baibox asks while it waits, \
                      and nobody later; `docker compose up` by hand waits for ever";
        findings.push(Finding::warning("health", detail));
    }
    if engine.rootless() {
        let detail = "rootless Podman cannot give compute sessions their ports: services run, sessions do not start";
        let remedy = "take a rootful socket for sessions, or `baibox up --no-verify` to work without them";
        findings.push(Finding::warning("sessions", detail).remedy(remedy));
    }
    findings
}

fn api(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn compose(facts: &Facts) -> Finding {
    match &facts.compose {
        Some(version) if compose_serves(version) => Finding::fine("compose", format!("Compose {version}")),
        Some(version) => {
            Finding::fault("compose", format!("Compose {version} is too old: baibox needs {}.{}", COMPOSE[0], COMPOSE[1]))
                .remedy("baibox doctor --fix")
                .fix(Fix::InstallCompose)
        }
        None => Finding::fault("compose", "Compose v2 is not installed").remedy("baibox doctor --fix").fix(Fix::InstallCompose),
    }
}

fn kernel(facts: &Facts) -> Option<Finding> {
    let engine = match &facts.engine {
        Answer::Engine(engine) => Some(engine),
        Answer::Refused(_) => None,
    };
    let version = engine.map(|engine| engine.kernel_version.clone()).or_else(|| facts.kernel.clone())?;
    // An engine that answers has its cgroups and its storage; before that, look for oneself.
    if engine.is_none() && facts.local() && !facts.cgroups_mounted {
        return Some(
            Finding::fault("kernel", format!("Linux {version}, but no control groups are mounted at `/sys/fs/cgroup`"))
                .remedy(as_root(facts, "sh -c 'apt-get install cgroupfs-mount && cgroupfs-mount'")),
        );
    }
    if engine.is_none() && facts.local() && facts.overlay == Some(false) {
        return Some(
            Finding::warning("kernel", format!("Linux {version} without overlay file systems: the engine will be slow"))
                .remedy(as_root(facts, "modprobe overlay")),
        );
    }
    Some(Finding::fine("kernel", format!("Linux {version}")))
}

fn limits(facts: &Facts) -> Option<Finding> {
    // The process that was found is that of the usual engine, not of one that somebody chose.
    let limits = facts.limits.filter(|_| facts.default_endpoint())?;
    let mut low = Vec::new();
    if let Some(files) = limits.open_files.filter(|files| *files < OPEN_FILES) {
        low.push(format!("{files} open files (sessions ask {OPEN_FILES})"));
    }
    if let Some(memory) = limits.locked_memory {
        low.push(format!("{} of locked memory (sessions ask all)", bytes(memory)));
    }
    if low.is_empty() || limits.may_raise {
        return Some(Finding::fine("limits", "sessions get the resource limits that they ask for".into()));
    }
    Some(Finding::warning("limits", format!("the engine grants at most {}: baibox clamps what sessions ask", low.join(", "))))
}

fn memory(facts: &Facts) -> Option<Finding> {
    let total = match &facts.engine {
        Answer::Engine(engine) if engine.mem_total > 0 => engine.mem_total,
        // That of this host says nothing about an engine elsewhere.
        _ if facts.local() => facts.memory?,
        _ => return None,
    };
    let detail = format!("{} of memory", bytes(total));
    Some(if total >= MEMORY_SHOWN {
        Finding::fine("memory", detail)
    } else {
        Finding::warning("memory", format!("{detail}, a stack with one session takes about {}", bytes(MEMORY)))
            .remedy("give the engine's machine more memory, or run one environment at a time")
    })
}

fn disk(facts: &Facts) -> Vec<Finding> {
    let judge = |space: &super::facts::Space| {
        let place = format!("`{}` ({})", space.path.display(), space.uses.join(", "));
        if space.free >= DISK {
            return Finding::fine("disk", format!("{} free at {place}", bytes(space.free)));
        }
        let detail = format!("{} free at {place}, an environment takes about {}", bytes(space.free), bytes(DISK));
        let remedy = if space.uses.contains(&"engine") { "docker system prune" } else { "choose another place, or free space" };
        Finding::fault("disk", detail).remedy(format!("{remedy}: {} are missing", bytes(DISK - space.free)))
    };
    facts.spaces.iter().map(judge).collect()
}

fn ports(facts: &Facts) -> Option<Finding> {
    if !facts.local() {
        return None;
    }
    if facts.taken.is_empty() {
        return Some(Finding::fine("ports", "the default ports are free on 127.0.0.1".into()));
    }
    let words: Vec<String> = facts
        .taken
        .iter()
        .map(|taken| match &taken.holder {
            Some(holder) => format!("{} by {holder}", taken.port),
            None => taken.port.to_string(),
        })
        .collect();
    let detail = format!("default ports are taken: {}; a new environment gets others", words.join(", "));
    Some(Finding::warning("ports", detail))
}

impl Finding {
    pub(super) fn fine(name: &'static str, detail: String) -> Self {
        Self { name, state: State::Fine, detail, remedy: None, fix: None }
    }
    pub(super) fn warning(name: &'static str, detail: impl Into<String>) -> Self {
        Self { state: State::Warning, ..Self::fine(name, detail.into()) }
    }
    pub(super) fn fault(name: &'static str, detail: impl Into<String>) -> Self {
        Self { state: State::Fault, ..Self::fine(name, detail.into()) }
    }
    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
    fn fix(self, fix: Fix) -> Self {
        Self { fix: Some(fix), ..self }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
