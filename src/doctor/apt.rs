//! Packages of Debian and Ubuntu: which ones to install is decided here, apt installs them.

use super::Fix;
use super::command::{ask, run};
use super::facts::compose_serves;
use crate::error::Fault;
use crate::host::which;
use crate::ui::Ui;
use anyhow::Result;
use std::collections::BTreeMap;

/// Versions that apt would install, by package.
pub type Candidates = BTreeMap<String, String>;

/// Packages that any fix may ask for.
const ASKED: [&str; 8] = [
    "git",
    "ca-certificates",
    "docker.io",
    "docker-cli",
    "apparmor",
    "docker-compose-v2",
    "docker-compose-plugin",
    "docker-compose",
];

/// The packages of a fix here; none where the host's distribution has none that would do.
pub fn packages(fix: Fix, candidates: &Candidates, apparmor: bool) -> Vec<&'static str> {
    let there = |name: &&'static str| candidates.contains_key(*name);
    match fix {
        Fix::InstallGit => vec!["git", "ca-certificates"],
        Fix::InstallEngine => {
            let mut packages = vec!["docker.io", "ca-certificates"];
            // Newer Debian ships the command `docker` apart, and only recommends it.
            packages.extend(["docker-cli"].iter().filter(|name| there(name)));
            // A kernel with AppArmor makes the engine load a profile with this package's parser.
            packages.extend(["apparmor"].iter().filter(|name| apparmor && there(name)));
            packages
        }
        Fix::StartEngine => Vec::new(),
        // Debian's `docker-compose` was the old Python program before version 2.
        Fix::InstallCompose => ["docker-compose-v2", "docker-compose-plugin", "docker-compose"]
            .into_iter()
            .find(|name| candidates.get(*name).is_some_and(|version| compose_serves(version)))
            .into_iter()
            .collect(),
    }
}

/// Reads `apt-cache policy`.
fn parse_policy(text: &str) -> Candidates {
    let mut candidates = Candidates::new();
    let mut package = "";
    for line in text.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            package = name;
        } else if let Some(version) = line.trim().strip_prefix("Candidate:") {
            let version = version.trim();
            if version != "(none)" {
                candidates.insert(package.to_owned(), version.to_owned());
            }
        }
    }
    candidates
}

async fn candidates() -> Candidates {
    // apt translates its words for people.
    let words: Vec<&str> = ["LC_ALL=C", "apt-cache", "policy"].into_iter().chain(ASKED).collect();
    ask("env", &words).await.map(|said| parse_policy(&said.output)).unwrap_or_default()
}

/// The kernel enforces AppArmor, and its parser is missing.
fn apparmor_missing() -> bool {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    enabled.trim() == "Y" && which("apparmor_parser").is_none()
}

/// Installs what a fix needs; false where apt or the distribution has nothing for it.
pub async fn install(fix: Fix, ui: &Ui) -> Result<bool> {
    if which("apt-get").is_none() {
        return Ok(false);
    }
    ui.say("doctor: apt-get update");
    if let Err(error) = as_root(&["apt-get", "update", "-qq"]).await {
        // What apt knew before may do; if not, installing fails with its own words.
        ui.warn(&format!("{error:#}"));
    }
    let packages = packages(fix, &candidates().await, apparmor_missing());
    if packages.is_empty() {
        return Ok(false);
    }
    ui.say(&format!("doctor: apt-get install {}", packages.join(" ")));
    let quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=a"];
    // Another apt at work is waited for.
    let install = ["apt-get", "install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"];
    let words: Vec<&str> = quiet.into_iter().chain(install).chain(packages).collect();
    as_root(&words).await?;
    Ok(true)
}

/// Runs a command as root, with `sudo` where that is needed.
pub async fn as_root(words: &[&str]) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return run(words).await;
    }
    if which("sudo").is_none() {
        return Err(Fault::new(format!("`{}` needs root, and there is no `sudo`", words.join(" ")))
            .hint("type `baibox doctor --fix` as root")
            .into());
    }
    run(&["sudo"].iter().chain(words).copied().collect::<Vec<_>>()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(rows: &[(&str, &str)]) -> Candidates {
        rows.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
    }

    #[test]
    fn apt_is_asked_for_what_it_would_install() {
        let text = "docker-compose:\n  Installed: (none)\n  Candidate: 1.29.2-3\n  Version table:\n     1.29.2-3 500\n        \
            500 mirror://x bookworm/main amd64 Packages\ndocker-ce:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(parse_policy(text), candidates(&[("docker-compose", "1.29.2-3")]));
        assert_eq!(parse_policy(""), Candidates::new());
    }

    #[test]
    fn compose_comes_from_the_distribution_only_as_version_2() {
        let check = |rows: &[(&str, &str)], expected: &[&str]| {
            assert_eq!(packages(Fix::InstallCompose, &candidates(rows), false), expected, "{rows:?}");
        };
        check(&[("docker-compose", "1.29.2-3")], &[]);
        check(&[("docker-compose", "2.26.1-4")], &["docker-compose"]);
        check(&[("docker-compose", "1.29.2-6"), ("docker-compose-v2", "2.24.6+ds1-0ubuntu1")], &["docker-compose-v2"]);
        check(&[("docker-compose", "2.26.1-4"), ("docker-compose-plugin", "2.35.1-1")], &["docker-compose-plugin"]);
        check(&[], &[]);
    }

    #[test]
    fn the_engine_comes_with_its_command_and_what_the_kernel_makes_it_need() {
        let check = |rows: &[(&str, &str)], apparmor, expected: &[&str]| {
            assert_eq!(packages(Fix::InstallEngine, &candidates(rows), apparmor), expected, "{rows:?}");
        };
        check(&[("docker.io", "20.10"), ("apparmor", "3")], false, &["docker.io", "ca-certificates"]);
        check(&[("docker.io", "20.10"), ("apparmor", "3")], true, &["docker.io", "ca-certificates", "apparmor"]);
        check(&[("docker.io", "26.1"), ("docker-cli", "26.1")], true, &["docker.io", "ca-certificates", "docker-cli"]);
    }
}
