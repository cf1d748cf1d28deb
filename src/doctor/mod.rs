//! Whether this host can do what baibox needs, and what to do where it cannot.

use crate::debian::{self, LockedDeb, Mirror, Options};
use crate::error::Fault;
use crate::fetch::Fetcher;
use crate::oci::Node;
use crate::store::Store;
use crate::ui::Ui;
use anyhow::{Context, Result};
use serde::Serialize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Fine,
    Warning,
    Fault,
}

/// What can be mended here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fix {
    InstallGit,
    InstallEngine,
    StartEngine,
    InstallCompose,
}

#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub name: &'static str,
    pub state: State,
    pub detail: String,
    /// Something to type.
    pub remedy: Option<String>,
    pub fix: Option<Fix>,
}

impl Finding {
    fn fine(name: &'static str, detail: String) -> Self {
        Self { name, state: State::Fine, detail, remedy: None, fix: None }
    }
    fn fault(name: &'static str, detail: &str, remedy: &str, fix: Fix) -> Self {
        Self { name, state: State::Fault, detail: detail.into(), remedy: Some(remedy.into()), fix: Some(fix) }
    }
}

/// The first line that a command says, if it ends well.
async fn says(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().await.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// Looks, and changes nothing.
pub async fn examine(folder: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(match says("git", &["--version"]).await {
        Some(version) => Finding::fine("git", version),
        None => Finding::fault("git", "git is not installed", "apt-get install git", Fix::InstallGit),
    });
    let engine =
        says("docker", &["info", "--format", "{{.ServerVersion}}, {{.Driver}}"]).await.filter(|text| !text.starts_with(','));
    findings.push(match engine {
        Some(version) => Finding::fine("engine", format!("Docker {version}")),
        None if says("dockerd", &["--version"]).await.is_some() => {
            Finding::fault("engine", "the Docker daemon does not run", "systemctl start docker", Fix::StartEngine)
        }
        None => Finding::fault("engine", "no container engine is installed", "apt-get install docker.io", Fix::InstallEngine),
    });
    findings.push(match says("docker", &["compose", "version", "--short"]).await {
        Some(version) => Finding::fine("compose", format!("Compose {version}")),
        None => {
            Finding::fault("compose", "Compose v2 is not installed", "install the `docker compose` plug-in", Fix::InstallCompose)
        }
    });
    findings.push(disk(folder));
    findings
}

/// An environment with its images and data takes about this much.
const NEEDED: u64 = 6 << 30;

fn disk(folder: &Path) -> Finding {
    let existing = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(existing) {
        Ok(space) => {
            let free = space.f_bavail * space.f_frsize;
            let detail = format!("{} free at `{}`", crate::ui::bytes(free), existing.display());
            if free < NEEDED {
                let remedy = format!("free at least {} there", crate::ui::bytes(NEEDED));
                Finding { name: "disk", state: State::Warning, detail, remedy: Some(remedy), fix: None }
            } else {
                Finding::fine("disk", detail)
            }
        }
        Err(error) => Finding {
            name: "disk",
            state: State::Warning,
            detail: format!("the free space at `{}` is not known: {error}", existing.display()),
            remedy: None,
            fix: None,
        },
    }
}

/// Mends what the findings say can be mended, saying each thing before it is done.
pub async fn fix(findings: &[Finding], store: &Store, ui: &Ui) -> Result<()> {
    for fix in findings.iter().filter_map(|finding| finding.fix) {
        match fix {
            Fix::InstallGit => install("git", ui).await?,
            Fix::InstallEngine => {
                install("docker.io", ui).await?;
                start(ui).await?;
            }
            Fix::StartEngine => start(ui).await?,
            Fix::InstallCompose => compose(store, ui).await?,
        }
    }
    Ok(())
}

async fn as_root(words: &[&str]) -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    let words: Vec<&str> = if root { words.to_vec() } else { ["sudo"].iter().chain(words).copied().collect() };
    let output = Command::new(words[0])
        .args(&words[1..])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("cannot run `{}`", words.join(" ")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("`{}` failed: {}", words.join(" "), said.trim());
    }
    Ok(())
}

async fn install(package: &str, ui: &Ui) -> Result<()> {
    ui.say(&format!("doctor     apt-get install {package}"));
    as_root(&["apt-get", "update", "-qq"]).await?;
    as_root(&["apt-get", "install", "--yes", "--no-install-recommends", package]).await
}

async fn start(ui: &Ui) -> Result<()> {
    // Installing the package may have started it.
    if says("docker", &["info"]).await.is_some() {
        return Ok(());
    }
    if Path::new("/run/systemd/system").is_dir() {
        ui.say("doctor     systemctl start docker");
        as_root(&["systemctl", "start", "docker"]).await?;
    } else {
        ui.say("doctor     starting dockerd; its log is /var/log/dockerd.log");
        as_root(&["sh", "-c", "setsid dockerd > /var/log/dockerd.log 2>&1 < /dev/null &"]).await?;
    }
    let begin = Instant::now();
    while says("docker", &["info", "--format", "{{.ServerVersion}}"]).await.is_none_or(|text| text.is_empty()) {
        if begin.elapsed() > Duration::from_secs(60) {
            let log = std::fs::read_to_string("/var/log/dockerd.log").unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect();
            return Err(Fault::engine(format!("the Docker daemon did not answer in 60 s; it said last:\n{}", tail.join("\n")))
                .hint("read `/var/log/dockerd.log`")
                .into());
        }
        // The pace of asking; the condition is the answer.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Release of Debian whose Compose v2 runs on older ones too, and its package.
const COMPOSE: (&str, &str, &str) = ("trixie", "docker-compose", "usr/libexec/docker/cli-plugins/docker-compose");

async fn compose(store: &Store, ui: &Ui) -> Result<()> {
    let folder = if rustix::process::geteuid().is_root() {
        PathBuf::from("/usr/local/lib/docker/cli-plugins")
    } else {
        crate::host::home().context("`HOME` is not set")?.join(".docker/cli-plugins")
    };
    let (suite, name, member) = COMPOSE;
    ui.say(&format!("doctor     installing {name} of Debian {suite} as a plug-in in {}", folder.display()));
    let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    let (fetcher, mirror) = (Fetcher::new(store)?, Mirror::of_host());
    let index = debian::index::fetch(&fetcher, store, &mirror, suite, architecture).await?;
    let package = index
        .packages
        .iter()
        .find(|package| package.name == name)
        .with_context(|| format!("Debian {suite} has no package `{name}`"))?;
    let deb = LockedDeb::try_from(package)?;
    debian::download(&fetcher, &mirror, &deb).await?;
    let unpacked = debian::unpack(&deb.file, &store.read(&deb.sha256)?, &Options::default())?;
    let Some(Node::File { content, .. }) = unpacked.tree.get(member) else {
        anyhow::bail!("`{}` has no `{member}`", deb.file);
    };
    let place = folder.join("docker-compose");
    crate::store::write_atomically(&place, content).with_context(|| format!("cannot write `{}`", place.display()))?;
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}
