//! What an environment's lock says of a platform that is not the lock's own.

use super::{Context, build, python};
use crate::cli::Lock as Options;
use crate::environment::Environment;
use crate::error::Fault;
use crate::lock::{self, Lock};
use crate::model::Platform;
use crate::python::LockedFile;
use crate::python::select::Target;
use crate::release::{PlatformLock, Release};
use anyhow::{Context as _, Result};
use futures_util::{StreamExt, TryStreamExt, stream};

/// Pages of the package index that are asked for at once.
const SLOTS: usize = 8;

/// The platforms that are asked for, each once; without any, the engine's own.
pub async fn asked(context: &Context, words: &[String]) -> Result<Vec<Platform>> {
    let mut asked = words.iter().map(|word| Platform::parse(word)).collect::<Result<Vec<_>, _>>()?;
    if asked.is_empty() {
        asked.push(Platform::parse(&context.executor().await?.architecture().await?)?);
    }
    asked.sort();
    asked.dedup();
    Ok(asked)
}

/// Completes the lock's table of a platform for a release that the lock is applied to. What is in the
/// table stays, what is missing is chosen and said. True if that changed it.
pub async fn complete(context: &Context, release: &Release, lock: &mut Lock, platform: Platform, locked: bool) -> Result<bool> {
    if let Some(base) = release.base.as_ref().filter(|_| platform != Platform::LOCKED) {
        let fault =
            Fault::usage(format!("the base `{}` is locked for {} alone, not for {platform}", base.reference, Platform::LOCKED));
        return Err(fault.hint("go back to Debian's own base, which is made for both: `baibox lock --base none`").into());
    }
    let architecture = platform.architecture();
    let mut table = match lock.platform.get(architecture) {
        _ if platform == Platform::LOCKED => return Ok(false),
        table => table.cloned().unwrap_or_default(),
    };
    if table.lacks_debian(release) || !table.lacks_python(release).is_empty() || table.lacks_cpython(release) {
        let fault = || Fault::new(format!("the lock does not have all packages for {platform}"));
        if locked {
            return Err(fault().hint("leave `--locked` away: then they are chosen").into());
        }
        if context.offline {
            return Err(fault().hint("leave `--offline` away: they must be chosen").into());
        }
        choose(context, release, &mut table, platform).await?;
    }
    table.tidy(release);
    let before = lock.platform.insert(architecture.to_owned(), table);
    Ok(before.as_ref() != lock.platform.get(architecture))
}

/// Chooses what a table lacks: Debian's packages from the mirror as it is today, files of the pins from the package index.
pub async fn choose(context: &Context, release: &Release, table: &mut PlatformLock, platform: Platform) -> Result<()> {
    // First, since it asks nobody: a build that is not known is told at once.
    if table.lacks_cpython(release) {
        table.cpython = python::for_platform(release, platform)?;
    }
    let stage = context.ui.stage("lock");
    let fetcher = context.fetcher()?;
    if table.lacks_debian(release) {
        table.debian = context.chooser(&fetcher, &stage).resolve(release, platform).await?;
    }
    let mut on = release.clone();
    on.debian_lock.clone_from(&table.debian);
    let target = Target::parse(&release.python, crate::build::glibc(&on)?, &platform.to_string())?;
    let index = build::python_index(context).await?;
    let lacking = table.lacks_python(release);
    stage.note("asking for Python packages");
    // The same versions, whenever their files were uploaded: no cut-off keeps what is pinned from it.
    let ask = |file: &LockedFile| {
        let (index, fetcher, target, release, file) = (&index, &fetcher, &target, release, file.clone());
        async move {
            let found = match release.resolve.from_source.contains(&file.name) {
                true => index.sdist(fetcher, &file.name, &file.version, target).await,
                false => index.choose(fetcher, &file.name, &file.version, target, None).await,
            };
            found.with_context(|| format!("no package for {platform} stands in for `{}`", file.file))
        }
    };
    let asked: Vec<_> = lacking.into_iter().map(ask).collect();
    let chosen: Vec<LockedFile> = stream::iter(asked).buffer_unordered(SLOTS).try_collect().await?;
    let debs: usize = table.debian.values().map(Vec::len).sum();
    stage.done(&format!("{debs} Debian packages and {} Python packages for {platform}", chosen.len()));
    for file in chosen.iter().filter(|file| !file.is_wheel()) {
        context.ui.remark("lock", &format!("{} has no wheel for {platform} that is taken: it is built from source", file.pin()));
    }
    table.python.extend(chosen);
    Ok(())
}

/// The release and the lock of an environment, as they are for a platform.
pub fn locked(environment: &Environment, platform: Platform) -> Result<(Release, Lock)> {
    let (mut release, lock) = build::locked(environment)?;
    lock.apply_on(&mut release, platform);
    Ok((release, lock.on(platform)))
}

/// The same for the platform that images are made for unless told otherwise; what the lock lacks of it is chosen.
pub async fn here(context: &Context, environment: &Environment) -> Result<(Release, Lock)> {
    let platform = Platform::parse(&context.executor().await?.architecture().await?)?;
    let (mut release, mut lock) = build::locked(environment)?;
    let chosen = python::complete(context, &mut release, &mut lock, false).await?;
    if complete(context, &release, &mut lock, platform, false).await? || chosen {
        lock.write(&environment.lock_file())?;
    }
    locked(environment, platform)
}

/// A release that no environment has yet, as it is there.
pub async fn of_release(context: &Context, release: &mut Release) -> Result<()> {
    let platform = Platform::parse(&context.executor().await?.architecture().await?)?;
    let mut lock = Lock::of_release(release)?;
    complete(context, release, &mut lock, platform, false).await?;
    lock.apply_on(release, platform);
    Ok(())
}

/// `baibox lock --platform`: prints the lock as it is for a platform, and what of it is asked for is chosen anew.
pub async fn lock(context: &Context, options: &Options, platform: Platform) -> Result<()> {
    let anew = match options.update.as_deref() {
        None => None,
        Some([]) if options.python => Some("python"),
        Some([]) => Some("debian"),
        Some([word]) if word == "python" || word == "debian" => Some(word.as_str()),
        Some(words) => {
            return Err(Fault::usage(format!("`{}` cannot be chosen for {platform} alone", words.join(" ")))
                .hint("all of Debian's packages can: `--update debian`")
                .hint("versions of Python packages are those of the whole lock: leave `--platform` away")
                .into());
        }
    };
    let environment = context.environment(&options.one)?;
    let (release, mut lock) = build::locked(&environment)?;
    let architecture = platform.architecture();
    if anew.is_none() || !lock.platform.contains_key(architecture) {
        complete(context, &release, &mut lock, platform, false).await?;
    }
    let before = lock.on(platform);
    if let (Some(kind), Some(table)) = (anew, lock.platform.get_mut(architecture)) {
        match kind {
            "python" => table.python.clear(),
            _ => table.debian.clear(),
        }
        choose(context, &release, table, platform).await?;
        table.tidy(&release);
    }
    let changes = lock::changes(&before, &lock.on(platform));
    if !options.dry_run {
        lock.write(&environment.lock_file())?;
    }
    match anew {
        Some(_) => context.print(&changes, &changes.join("\n")),
        None => context.print(&lock.on(platform), &lock.on(platform).text()?),
    }
}
