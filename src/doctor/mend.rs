//! Mends what the findings say can be mended: each thing is said before it is done,
//! and done again it changes nothing.

use super::command::{Said, ask};
use super::facts::compose_serves;
use super::{Finding, Fix, apt, start};
use crate::debian::{self, LockedDeb, Mirror, Options};
use crate::error::Fault;
use crate::fetch::Fetcher;
use crate::oci::{Node, Tree};
use crate::store::Store;
use crate::ui::Ui;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The release of Debian whose Compose v2 runs on older ones too, its package and the plug-in in it.
const COMPOSE: (&str, &str, &str) = ("trixie", "docker-compose", "usr/libexec/docker/cli-plugins/docker-compose");

/// Mends with packages of the host's distribution and, for Compose, of Debian.
pub async fn fix(findings: &[Finding], store: &Store, ui: &Ui) -> Result<()> {
    fix_with(findings, async |suite: &str, package: &str| deb_tree(store, suite, package).await, ui).await
}

/// Installs what is missing, and leaves what runs as it is.
pub async fn install(findings: &[Finding], store: &Store, ui: &Ui) -> Result<()> {
    let steps = steps(findings).into_iter().filter(|fix| *fix != Fix::StartEngine).collect();
    take(steps, async |suite: &str, package: &str| deb_tree(store, suite, package).await, ui).await
}

/// The same with another way to a package's files: `fetch_package(suite, package)`.
pub async fn fix_with(findings: &[Finding], fetch_package: impl AsyncFn(&str, &str) -> Result<Tree>, ui: &Ui) -> Result<()> {
    take(steps(findings), fetch_package, ui).await
}

async fn take(steps: BTreeSet<Fix>, fetch_package: impl AsyncFn(&str, &str) -> Result<Tree>, ui: &Ui) -> Result<()> {
    for fix in steps {
        match fix {
            Fix::InstallGit => packages(fix, "git", ui).await?,
            Fix::InstallEngine => packages(fix, "Docker", ui).await?,
            Fix::StartEngine => start::start(ui).await?,
            Fix::InstallCompose => compose(&fetch_package, ui).await?,
        }
    }
    Ok(())
}

/// What is to be done, each once and in order; an engine that was installed is also started.
fn steps(findings: &[Finding]) -> BTreeSet<Fix> {
    let mut steps: BTreeSet<Fix> = findings.iter().filter_map(|finding| finding.fix).collect();
    if steps.contains(&Fix::InstallEngine) {
        steps.insert(Fix::StartEngine);
    }
    steps
}

async fn packages(fix: Fix, what: &str, ui: &Ui) -> Result<()> {
    if apt::install(fix, ui).await? {
        return Ok(());
    }
    Err(Fault::new(format!("{what} cannot be installed here: this is neither Debian nor Ubuntu"))
        .hint(format!("install {what} as this system does, then type `baibox doctor`"))
        .into())
}

async fn compose(fetch_package: &impl AsyncFn(&str, &str) -> Result<Tree>, ui: &Ui) -> Result<()> {
    // It may have come with the engine.
    if compose_version().await.is_ok() {
        return Ok(());
    }
    if apt::install(Fix::InstallCompose, ui).await? && compose_version().await.is_ok() {
        return Ok(());
    }
    let (suite, package, member) = COMPOSE;
    let folder = plugin_folder()?;
    ui.say(&format!("doctor: installing {package} of Debian {suite} as plug-in in {}", folder.display()));
    let tree = fetch_package(suite, package).await.with_context(|| format!("`{package}` of Debian {suite} cannot be had"))?;
    let place = place_plugin(&tree, member, &folder)?;
    compose_version().await.map_err(|said| {
        anyhow::anyhow!("`{}` is installed, but `docker compose version` fails:\n{}", place.display(), said.trim())
    })
}

/// Well for a version that serves, else what was said.
async fn compose_version() -> Result<(), String> {
    let Some(said) = ask("docker", &["compose", "version", "--short"]).await else {
        return Err("there is no command `docker`".into());
    };
    let errors = said.errors.clone();
    match Said::line(said) {
        Some(version) if compose_serves(&version) => Ok(()),
        Some(version) => Err(format!("it is version {version}")),
        None => Err(errors),
    }
}

/// Where the command `docker` looks for plug-ins, for everybody or for this user.
fn plugin_folder() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok("/usr/local/lib/docker/cli-plugins".into());
    }
    let own = crate::host::variable("DOCKER_CONFIG").map(PathBuf::from);
    let own = own.or_else(|| crate::host::home().map(|home| home.join(".docker"))).context("`HOME` is not set")?;
    Ok(own.join("cli-plugins"))
}

/// Takes one program out of a package and puts it in place, whole or not at all.
fn place_plugin(tree: &Tree, member: &str, folder: &Path) -> Result<PathBuf> {
    let content = match tree.get(member) {
        Some(Node::File { content, .. }) => content,
        Some(_) => anyhow::bail!("`{member}` of the package is not a file"),
        None => anyhow::bail!("the package has no `{member}`"),
    };
    let place = folder.join(Path::new(member).file_name().context("a file has a name")?);
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        // Before it has its name: nobody finds a plug-in that cannot be run.
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o755))?;
        file.as_file().sync_data()?;
        file.persist(&place).map_err(|error| error.error)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write `{}`", place.display()))?;
    Ok(place)
}

/// The files of a package of a Debian release, from the host's mirror, signatures and digests verified.
pub async fn deb_tree(store: &Store, suite: &str, package: &str) -> Result<Tree> {
    let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    let (fetcher, mirror) = (Fetcher::new(store)?, Mirror::of_host());
    let index = debian::index::fetch(&fetcher, store, &mirror, suite, architecture).await?;
    let found = index
        .packages
        .iter()
        .find(|found| found.name == package)
        .with_context(|| format!("Debian {suite} has no package `{package}`"))?;
    let deb = LockedDeb::try_from(found)?;
    debian::download(&fetcher, &mirror, &deb).await?;
    Ok(debian::unpack(&deb.file, &store.read(&deb.sha256)?, &Options::default())?.tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn finding(fix: Option<Fix>) -> Finding {
        Finding { name: "x", state: State::Fault, detail: String::new(), remedy: None, fix }
    }

    #[test]
    fn an_engine_is_installed_then_started_and_compose_comes_last() {
        let findings = [Fix::InstallCompose, Fix::InstallEngine, Fix::InstallGit].map(|fix| finding(Some(fix)));
        let expected = [Fix::InstallGit, Fix::InstallEngine, Fix::StartEngine, Fix::InstallCompose];
        assert_eq!(steps(&findings).into_iter().collect::<Vec<_>>(), expected);
        assert!(steps(&[finding(None)]).is_empty());
    }

    #[test]
    fn a_plug_in_is_put_in_place_as_a_program_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let plugins = folder.path().join("cli-plugins");
        let mut tree = Tree::default();
        tree.insert(COMPOSE.2, Node::file(0o644, "program")).unwrap();
        for _ in 0..2 {
            let place = place_plugin(&tree, COMPOSE.2, &plugins).unwrap();
            assert_eq!(place, plugins.join("docker-compose"));
            assert_eq!(std::fs::read(&place).unwrap(), b"program");
            assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o755);
        }
        assert_eq!(std::fs::read_dir(&plugins).unwrap().count(), 1);
    }

    #[test]
    fn a_package_without_the_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        let missing = place_plugin(&tree, COMPOSE.2, folder.path()).unwrap_err().to_string();
        assert!(missing.contains("has no `usr/libexec"), "{missing}");
        tree.insert(COMPOSE.2, Node::Symlink { target: "/bin/sh".into() }).unwrap();
        let link = place_plugin(&tree, COMPOSE.2, folder.path()).unwrap_err().to_string();
        assert!(link.contains("is not a file"), "{link}");
    }

    /// The real package from the host's mirror.
    #[tokio::test]
    #[ignore = "needs a Debian mirror"]
    async fn the_plug_in_of_debian_is_a_program_that_says_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let tree = deb_tree(&store, COMPOSE.0, COMPOSE.1).await.unwrap();
        let place = place_plugin(&tree, COMPOSE.2, folder.path()).unwrap();
        let said = ask(place.to_str().unwrap(), &["docker-cli-plugin-metadata"]).await.unwrap();
        assert!(said.well && said.output.contains("\"Version\""), "{said:?}");
    }
}
