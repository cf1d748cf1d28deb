//! Images of a registry that a release's images stand on: chosen, pinned, and asked again only when that is said.

use super::{Context, build};
use crate::cli::{Lock as Options, Request};
use crate::debian;
use crate::environment::Environment;
use crate::error::Fault;
use crate::lock::{self, Lock};
use crate::model::Platform;
use crate::oci::Stacked;
use crate::python::normal_name;
use crate::registry;
use crate::release::{Base, BaseLayer, Catalog, Release};
use crate::ui::Stage;
use anyhow::{Context as _, Result};

/// The word for no base of a registry.
const NONE: &str = "none";

/// `baibox lock --base`: a release's lock on that base, printed whole, or an environment's, written.
pub async fn run(context: &Context, options: &Options, reference: &str) -> Result<()> {
    let Some(text) = &options.branch else {
        let environment = context.environment(&options.one)?;
        has_no_build_of_its_own(&environment, reference)?;
        let (mut release, before) = build::locked(&environment)?;
        let mut after = before.clone();
        choose(context, &mut release, &mut after, reference, false).await?;
        let changes = lock::changes(&before, &after);
        after.write(&environment.lock_file())?;
        if !changes.is_empty() {
            context.ui.remark("lock", &format!("`baibox up --env {}` makes the images that this changes", environment.id));
        }
        return context.print(&changes, &changes.join("\n"));
    };
    let mut release = Catalog::release(context.branch(text)?.as_str())?;
    let mut lock = Lock::of_release(&release)?;
    choose(context, &mut release, &mut lock, reference, false).await?;
    context.print(&lock, &lock.text()?)
}

/// A base brings its own Python: another one beside it is refused before anything is made.
pub fn without_another_python(request: &Request) -> Result<(), Fault> {
    match (&request.base, &request.python) {
        (Some(base), Some(python)) if base != NONE => {
            Err(Fault::usage(format!("the base `{base}` has its own Python, so `--python {python}` cannot be had with it"))
                .hint("leave `--python` away: the base must have the release's minor version, as `baibox releases BRANCH` tells")
                .hint("or leave `--base` away: then the images stand on Debian's packages alone"))
        }
        _ => Ok(()),
    }
}

/// The same of what an environment was made with.
pub fn has_no_build_of_its_own(environment: &Environment, reference: &str) -> Result<(), Fault> {
    match &environment.standalone {
        Some(version) if reference != NONE => {
            let id = &environment.id;
            Err(Fault::usage(format!("`{id}` was made with CPython {version}, and the base `{reference}` has its own Python"))
                .hint(format!("make another environment on that base: `baibox up --env ID --base {reference}`")))
        }
        _ => Ok(()),
    }
}

/// Sees that an environment's lock has the base that was asked for, if one was. What is pinned stays, wherever its tag went.
pub async fn meant(context: &Context, environment: &Environment, reference: Option<&str>, locked: bool) -> Result<()> {
    let Some(reference) = reference else { return Ok(()) };
    has_no_build_of_its_own(environment, reference)?;
    let (mut release, before) = build::locked(environment)?;
    let mut after = before.clone();
    choose(context, &mut release, &mut after, reference, locked).await?;
    if before != after {
        after.write(&environment.lock_file())?;
    }
    Ok(())
}

/// Puts a base in a lock that has another one, or none.
pub async fn choose(context: &Context, release: &mut Release, lock: &mut Lock, reference: &str, locked: bool) -> Result<()> {
    if lock.base.as_ref().map_or(NONE, |base| base.reference.as_str()) == reference {
        return Ok(());
    }
    if locked {
        let fault = Fault::new(format!("the lock does not have the base `{reference}`"));
        return Err(fault.hint("leave `--locked` away: then it is pinned").into());
    }
    if reference == NONE {
        let shipped = Catalog::release(&release.branch)?.mixed(&release.mix)?;
        (lock.base, lock.debian, lock.cpython) = (None, shipped.debian_lock, shipped.cpython);
        lock.apply(release);
        return Ok(());
    }
    choose_anew(context, release, lock, reference).await
}

/// Pins what a reference names now, and chooses the Debian packages on it.
pub async fn choose_anew(context: &Context, release: &mut Release, lock: &mut Lock, reference: &str) -> Result<()> {
    if context.offline {
        let fault = Fault::usage(format!("the base `{reference}` cannot be pinned without its registry"));
        return Err(fault.hint("leave `--offline` away once; what is pinned then stays").into());
    }
    let stage = context.ui.stage("lock");
    stage.note(&format!("asking for {reference}"));
    let pinned = registry::base::pin(reference, Platform::LOCKED).await?;
    let files = files(context, reference, &pinned.layers, &stage).await?;
    let (packages, python) = judged(reference, release, &files)?;
    let count = packages.len();
    release.base = Some(Base {
        reference: reference.to_owned(),
        digest: pinned.digest.clone(),
        manifest: pinned.manifest,
        split_usr: debian::base::is_split(&files),
        packages,
        python,
        env: pinned.env,
        layers: pinned.layers,
    });
    let fetcher = context.fetcher()?;
    lock.debian = context.chooser(&fetcher, &stage).resolve(release, Platform::LOCKED).await?;
    lock.base.clone_from(&release.base);
    // It has its own.
    lock.cpython = None;
    // Other platforms' packages were for another base.
    lock.platform.clear();
    lock.apply(release);
    stage.done(&format!("{reference} is pinned as {}, with {count} Debian packages", pinned.digest));
    Ok(())
}

/// Brings the layers of a release's base, where they are not in the store.
pub async fn at_hand(context: &Context, release: &Release) -> Result<()> {
    let Some(base) = &release.base else { return Ok(()) };
    let stage = context.ui.stage("base");
    files(context, &base.reference, &base.layers, &stage).await.map(drop)
}

/// Brings them as their registry has them, which is how they leave this machine.
pub async fn as_they_came(context: &Context, release: &Release) -> Result<()> {
    let Some(base) = &release.base else { return Ok(()) };
    for layer in base.layers.iter().filter(|layer| !context.store.has(&layer.digest)) {
        if context.offline {
            let fault = Fault::new(format!("the layer `{}` of the base `{}` is not in the store", layer.digest, base.reference));
            return Err(fault.hint("leave `--offline` away, or take it from where images on it are: `baibox pull`").into());
        }
        registry::base::fetch_layer(&context.store, &base.reference, layer).await?;
    }
    Ok(())
}

/// The files of a base, whose layers are brought.
async fn files(context: &Context, reference: &str, layers: &[BaseLayer], stage: &Stage) -> Result<Stacked> {
    let store = &context.store;
    for (number, layer) in layers.iter().enumerate() {
        stage.note(&format!("layer {} of {} of {reference}", number + 1, layers.len()));
        if !context.offline {
            registry::base::fetch_layer(store, reference, layer).await?;
        }
        registry::base::layer_content(store, layer).await?;
    }
    let (store, diff_ids) = (store.clone(), layers.iter().map(|layer| layer.diff_id.clone()).collect::<Vec<_>>());
    let found = tokio::task::spawn_blocking(move || debian::base::look(&store, &diff_ids)).await?;
    found.with_context(|| format!("the base `{reference}` is refused"))?.context("a layer of the base is missing")
}

/// The Debian and Python packages of a base, if images of the release can stand on it.
fn judged(reference: &str, release: &Release, files: &Stacked) -> Result<(Vec<String>, Vec<String>), Fault> {
    let set = release.lowest_set().and_then(|set| release.debian.get(set));
    let suite = set.and_then(|set| set.suites.first()).map(String::as_str).unwrap_or_default();
    let wanted = &release.python;
    let refused = |why: String| {
        Fault::usage(format!("images of release {} cannot stand on `{reference}`: {why}", release.branch))
            .hint(format!("take an image of Python {wanted} on Debian's {suite}, such as `python:{wanted}-slim-{suite}`"))
    };
    let (id, codename, name) = debian::base::distribution(files);
    if id != "debian" {
        let name = if name.is_empty() { "a distribution that does not say its name".to_owned() } else { name };
        return Err(refused(format!("it is {name}, and the release's packages are Debian's")));
    }
    if codename != suite {
        return Err(refused(format!("it is Debian's {codename}, and the release's packages are those of {suite}")));
    }
    let debs = debian::base::packages(files);
    if debs.is_empty() {
        return Err(refused("it has no record of its packages, `/var/lib/dpkg/status`".into()));
    }
    let pythons = debian::base::pythons(files);
    if !pythons.contains(&wanted.as_str()) {
        let has = if pythons.is_empty() { "no Python".to_owned() } else { format!("Python {}", pythons.join(", ")) };
        return Err(refused(format!("it has {has} in `/usr/local/bin`")));
    }
    let debs = debs.iter().map(|deb| format!("{} {} {}", deb.name, deb.version, deb.architecture)).collect();
    let wheels = debian::base::python_packages(files, wanted);
    Ok((debs, wheels.iter().map(|(name, version)| format!("{} {version}", normal_name(name))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Node, Tree};

    /// What is said of a base of these files.
    fn check(files: &[(&str, &str)], expected: &str) {
        let mut tree = Tree::default();
        files.iter().for_each(|(path, content)| tree.insert(path, Node::file(0o755, (*content).to_owned())).unwrap());
        let mut layer = Vec::new();
        tree.write_fragment(&mut layer).unwrap();
        layer.extend(crate::oci::END_MARKER);
        let mut stacked = Stacked::default();
        stacked.add(&layer[..], |_| true).unwrap();
        let found = match judged("x:1", &Catalog::release("21.03").unwrap(), &stacked) {
            Ok((debs, wheels)) => format!("{}; {}", debs.join(", "), wheels.join(", ")),
            Err(fault) => {
                assert!(fault.hints[0].contains("`python:3.9-slim-bullseye`"), "{:?}", fault.hints);
                fault.to_string().replace("images of release 21.03 cannot stand on `x:1`: ", "")
            }
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_base_is_taken_if_it_has_the_distribution_the_packages_and_the_python() {
        let os = ("usr/lib/os-release", "ID=debian\nVERSION_CODENAME=bullseye\n");
        let status = "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\nPackage: b\nStatus: deinstall ok config-files\nVersion: 1\n";
        let dpkg = ("var/lib/dpkg/status", status);
        let python = ("usr/local/bin/python3.9", "");
        let pip = ("usr/local/lib/python3.9/site-packages/Pip-20.3.dist-info", "");
        check(&[os, dpkg, python, pip], "a 1 all; pip 20.3");
        check(&[dpkg, python], "it is a distribution that does not say its name, and the release's packages are Debian's");
        let alpine = ("etc/os-release", "ID=alpine\nPRETTY_NAME=\"Alpine Linux v3.19\"\n");
        check(&[alpine, python], "it is Alpine Linux v3.19, and the release's packages are Debian's");
        let newer = ("etc/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n");
        check(&[newer, dpkg, python], "it is Debian's bookworm, and the release's packages are those of bullseye");
        check(&[os, python], "it has no record of its packages, `/var/lib/dpkg/status`");
        check(&[os, dpkg], "it has no Python in `/usr/local/bin`");
        check(&[os, dpkg, ("usr/local/bin/python3.11", "")], "it has Python 3.11 in `/usr/local/bin`");
    }
}
