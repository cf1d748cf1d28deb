//! Which Python an environment's images have: Debian's, or a build of CPython that stands by itself.

use super::Context;
use crate::environment::Environment;
use crate::error::Fault;
use crate::lock::{self, Lock};
use crate::model::Platform;
use crate::python::LockedBuild;
use crate::python::standalone::Source;
use crate::release::{Catalog, Release, is_debians_python};
use anyhow::{Context as _, Result};

const DEBIAN: &str = "debian";
const STANDALONE: &str = "standalone";

/// Builds of the release's minor version that baibox or this host's folder of them knows, the newest first;
/// what the folder has goes before what is known by name.
fn known(python: &str, platform: Platform) -> Result<Vec<LockedBuild>> {
    let mut builds = Source::of_host().builds(python, platform)?;
    let there: Vec<String> = builds.iter().map(|build| build.version.clone()).collect();
    builds.extend(Catalog::builds(python, platform)?.into_iter().filter(|build| !there.contains(&build.version)));
    Ok(builds)
}

/// Remembers what is asked for in an environment that was not made yet.
pub fn choose(environment: &mut Environment, asked: Option<&str>) -> Result<()> {
    let Some(asked) = asked else { return Ok(()) };
    let release = Catalog::release(environment.branch.as_str())?.mixed(&environment.mix)?;
    let known = known(&release.python, Platform::LOCKED)?;
    let wanted = match asked {
        DEBIAN if release.standalone.is_none() => None,
        STANDALONE => match (&environment.standalone, &release.standalone, known.first()) {
            // Asked for again, it is the one that is there.
            (Some(version), _, _) | (None, Some(version), _) => Some(version.clone()),
            (None, None, Some(newest)) => Some(newest.version.clone()),
            (None, None, None) => return Err(release.no_such_python(asked, &known).into()),
        },
        version if known.iter().any(|build| build.version == version) => Some(version.to_owned()),
        _ => return Err(release.no_such_python(asked, &known).into()),
    };
    // What the release has by itself is not an environment's own choice.
    let wanted = wanted.filter(|version| release.standalone.as_ref() != Some(version));
    if wanted != environment.standalone && environment.lock_file().exists() {
        let has = super::build::locked(environment)?.0.python_name();
        return Err(Fault::usage(format!("the environment `{}` has Python {has} already", environment.id))
            .hint("its Debian packages were chosen for that: name another environment with `--env ID`")
            .hint(format!("another build of that minor version: `baibox lock --env {} --update cpython`", environment.id))
            .into());
    }
    environment.standalone = wanted;
    Ok(())
}

/// Chooses the build that the environment is to have, and drops Debian's Python, where the lock has that still.
/// True if that changed the lock.
pub async fn complete(context: &Context, release: &mut Release, lock: &mut Lock, locked: bool) -> Result<bool> {
    let Some(version) = release.standalone.clone().filter(|_| lock.cpython.is_none()) else { return Ok(false) };
    if locked {
        return Err(Fault::new(format!("the lock does not have CPython {version}, which the environment is to have"))
            .hint("leave `--locked` away: then it is chosen")
            .into());
    }
    let found = known(&release.python, Platform::LOCKED)?.into_iter().find(|build| build.version == version);
    lock.cpython = Some(found.with_context(|| gone(&version))?);
    if release.has_debians_python() {
        let stage = context.ui.stage("lock");
        stage.note("reading what Debian packages need");
        let fetcher = context.fetcher()?;
        let pruned = context.chooser(&fetcher, &stage).prune(release, is_debians_python).await?;
        let dropped = lock::debian_changes(&lock.debian, &pruned).len();
        lock.debian = pruned;
        stage.done(&format!("CPython {version} in the place of {dropped} Debian packages"));
    }
    lock.apply(release);
    Ok(true)
}

/// Takes what lies in this host's folder into the store, which is no fetching.
pub async fn at_hand(context: &Context, release: &Release) -> Result<()> {
    let source = Source::of_host();
    // Where it is not there, the build says so, if it needs it.
    if let Some(build) = release.cpython.as_ref().filter(|build| source.has(&build.file)) {
        source.bring(&context.fetcher()?, &context.store, &build.file, &build.sha256).await?;
    }
    Ok(())
}

fn gone(version: &str) -> Fault {
    Fault::new(format!("no build of CPython {version} is known any more"))
        .hint("name the folder that has it: `BAIBOX_CPYTHON=FOLDER`")
}

/// The build of the same version for another platform.
pub fn for_platform(release: &Release, platform: Platform) -> Result<Option<LockedBuild>> {
    let Some(version) = &release.standalone else { return Ok(None) };
    let found = known(&release.python, platform)?.into_iter().find(|build| build.version == *version);
    Ok(Some(found.with_context(|| {
        Fault::new(format!("no build of CPython {version} for {platform} is known"))
            .hint("lay it into a folder, and name that: `BAIBOX_CPYTHON=FOLDER`")
    })?))
}

/// The newest build of the minor version, for `lock --update cpython`.
pub fn newest(release: &Release) -> Result<LockedBuild> {
    if let Some(base) = &release.base {
        return Err(Fault::usage(format!("Python is that of the base `{}` here", base.reference))
            .hint("take that as it is now: `--update base`")
            .into());
    }
    if release.standalone.is_none() {
        return Err(Fault::usage("Python is one of Debian's packages here")
            .hint("choose it anew: `--update python3`")
            .hint("a standalone build is for a new environment: `baibox up --python standalone`")
            .into());
    }
    known(&release.python, Platform::LOCKED)?.into_iter().next().with_context(|| gone(&release.python))
}
