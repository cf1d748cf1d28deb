//! Locks, of releases and of environments: print them, and choose packages anew.

use super::{Context, build, platform, python as interpreter, sources};
use crate::cli::Lock as Options;
use crate::environment::Environment;
use crate::error::Fault;
use crate::lock::{self, Asked, Chosen, Lock};
use crate::model::Platform;
use crate::python::PythonLock;
use crate::release::{Catalog, Release};
use crate::ui::Stage;
use anyhow::{Context as _, Result};
use std::path::Path;

pub async fn run(context: &Context, options: &Options) -> Result<()> {
    if let Some(day) = &options.as_of
        && time::Date::parse(day, time::macros::format_description!("[year]-[month]-[day]")).is_err()
    {
        return Err(Fault::usage(format!("`{day}` is not a day")).hint("write it as `2022-04-01`").into());
    }
    let other = options.platform.as_deref().map(Platform::parse).transpose()?.filter(|platform| *platform != Platform::LOCKED);
    if let Some(platform) = other {
        return platform::lock(context, options, platform).await;
    }
    if let Some(base) = &options.base {
        return super::base::run(context, options, base).await;
    }
    let Some(text) = &options.branch else {
        return of_environment(context, options, &context.environment(&options.one)?).await;
    };
    let branch = context.branch(text)?;
    match options.update.as_deref().unwrap_or_default() {
        [] if options.python => python(context, options, branch.as_str()).await,
        [] => debian(context, options, branch.as_str()).await,
        [all] if all == "python" => python(context, options, branch.as_str()).await,
        [all] if all == "debian" => debian(context, options, branch.as_str()).await,
        words => named(context, options, branch.as_str(), words).await,
    }
}

/// An environment's own lock; what is chosen anew is written to it.
async fn of_environment(context: &Context, options: &Options, environment: &Environment) -> Result<()> {
    let (release, before) = build::locked(environment)?;
    let Some(words) = &options.update else {
        return match options.python {
            true => context.print(&before.python, &toml::to_string_pretty(&before.python)?),
            false => context.print(&before, &before.text()?),
        };
    };
    let asked = Asked::parse(words, options.python, &release, &before)?;
    let after = updated(context, options, release, &before, &asked, Some(&environment.folder)).await?;
    let changes = lock::changes(&before, &after);
    if changes.is_empty() || options.dry_run {
        return context.print(&changes, &changes.join("\n"));
    }
    after.write(&environment.lock_file())?;
    context.ui.remark("lock", &format!("`baibox up --env {}` makes the images that this changes", environment.id));
    context.print(&changes, &changes.join("\n"))
}

/// A release's `debian.lock` or `python.lock` with these packages chosen anew.
async fn named(context: &Context, options: &Options, branch: &str, words: &[String]) -> Result<()> {
    let release = Catalog::release(branch)?;
    let before = Lock::of_release(&release)?;
    let asked = Asked::parse(words, options.python, &release, &before)?;
    if asked.cpython {
        return Err(Fault::usage(format!("the build of CPython of release {branch} is part of its data"))
            .hint("an environment's own moves: `baibox lock --env ID --update cpython`")
            .into());
    }
    if !asked.debian.is_none() && !asked.python.is_none() {
        return Err(Fault::usage("Debian and Python packages of a release are in two files")
            .hint("name those of one kind at a time")
            .into());
    }
    let after = updated(context, options, release, &before, &asked, None).await?;
    let changes = lock::changes(&before, &after);
    if options.dry_run {
        return context.print(&changes, &changes.join("\n"));
    }
    changes.iter().for_each(|line| context.ui.say(line));
    if asked.python.is_none() {
        context.print(&after.debian, &toml::to_string(&after.debian)?)
    } else {
        context.print(&after.python, &text(branch, &after.python)?)
    }
}

/// The lock with what is asked chosen anew; `folder` has the trees, where there are some.
async fn updated(
    context: &Context,
    options: &Options,
    mut release: Release,
    before: &Lock,
    asked: &Asked,
    folder: Option<&Path>,
) -> Result<Lock> {
    let stage = context.ui.stage("lock");
    let mut after = before.clone();
    let fetcher = context.fetcher()?;
    if asked.base {
        let reference = before.base.as_ref().map(|base| base.reference.clone()).context("the lock has a base")?;
        super::base::choose_anew(context, &mut release, &mut after, &reference).await?;
    } else if !asked.debian.is_none() {
        super::base::at_hand(context, &release).await?;
    }
    let chooser = context.chooser(&fetcher, &stage);
    match &asked.debian {
        Chosen::All => after.debian = chooser.resolve(&release, Platform::LOCKED).await?,
        Chosen::Named(names) if !names.is_empty() => {
            after.debian = chooser.update(&release, names).await?;
        }
        Chosen::Named(_) => {}
    }
    if asked.cpython {
        after.cpython = Some(interpreter::newest(&release)?);
    }
    if let Some(day) = &options.as_of {
        after.python.cutoff.clone_from(day);
    }
    after.apply(&mut release);
    let python = match &asked.python {
        Chosen::All => {
            let folder = folder.context("a release has no trees of its own")?;
            Some(anew(context, release, folder, options, &stage).await?)
        }
        Chosen::Named(names) if !names.is_empty() => {
            may_ask(context)?;
            Some(build::builder(context).await?.update_python(&release, names, &stage).await?)
        }
        Chosen::Named(_) => None,
    };
    // A later day alone is no change of what is in the images.
    after.python.clone_from(&before.python);
    if let Some(python) = python.filter(|python| python.environments != before.python.environments) {
        after.set_python(python);
    }
    let changes = lock::changes(before, &after);
    for (word, source) in asked.names() {
        if !changes.iter().any(|line| line.split(' ').next() == Some(&word)) {
            context.ui.remark("lock", &format!("{word} stays: there is nothing newer {source}"));
        }
    }
    stage.done(&format!("{} changes", changes.len()));
    Ok(after)
}

/// All Python packages for the trees in a folder.
async fn anew(context: &Context, mut release: Release, folder: &Path, options: &Options, stage: &Stage) -> Result<PythonLock> {
    may_ask(context)?;
    let mut empty = Catalog::draft(&release.branch)?.python_lock.context("a draft has an empty lock")?;
    if let Some(day) = &options.as_of {
        empty.cutoff.clone_from(day);
    }
    release.python_lock = Some(empty);
    let builder = build::builder(context).await?;
    let now = build::requirements(folder, &release)?;
    build::take_tree_locks(&builder, folder, &mut release).await?;
    builder.resolve_python_anew(&release, &build::plan(folder, &release)?, &now, stage).await
}

/// uv asks the package index by itself.
fn may_ask(context: &Context) -> Result<(), Fault> {
    if context.offline {
        return Err(Fault::usage("Python packages cannot be chosen without the package index").hint("leave `--offline` away"));
    }
    Ok(())
}

/// Prints the Debian packages of a release as its `debian.lock`; with `--update` chosen anew.
async fn debian(context: &Context, options: &Options, branch: &str) -> Result<()> {
    let release = Catalog::draft(branch)?;
    if options.update.is_none() {
        return context.print(&release.debian_lock, &toml::to_string(&release.debian_lock)?);
    }
    let stage = context.ui.stage("lock");
    let fetcher = context.fetcher()?;
    let sets = context.chooser(&fetcher, &stage).resolve(&release, Platform::LOCKED).await?;
    let changes = lock::debian_changes(&release.debian_lock, &sets);
    stage.done(&format!("{} Debian packages, {} changed", sets.values().map(Vec::len).sum::<usize>(), changes.len()));
    if options.dry_run {
        return context.print(&changes, &changes.join("\n"));
    }
    changes.iter().for_each(|line| context.ui.say(line));
    context.print(&sets, &toml::to_string(&sets)?)
}

/// The same of its Python packages and `python.lock`.
async fn python(context: &Context, options: &Options, branch: &str) -> Result<()> {
    if options.update.is_none() {
        let lock = Catalog::release(branch)?.python_lock.context("the release has no Python lock")?;
        return context.print(&lock, &text(branch, &lock)?);
    }
    let release = Catalog::draft(branch)?;
    // What was pinned before is only told, so a release may be without.
    let before = Catalog::release(branch).ok().and_then(|release| release.python_lock);
    let scratch = tempfile::tempdir_in(context.store.temporary())?;
    let references = sources::references(&options.sources, &release)?;
    sources::bring(context, &options.sources, scratch.path(), &release, &references).await?;
    let stage = context.ui.stage("lock");
    let lock = anew(context, release, scratch.path(), options, &stage).await?;
    let changes = before.map(|before| lock::python_changes(&before, &lock)).unwrap_or_default();
    stage.done(&format!("{} Python packages as of {}, {} changed", lock.files.len(), lock.cutoff, changes.len()));
    if options.dry_run {
        return context.print(&changes, &changes.join("\n"));
    }
    changes.iter().for_each(|line| context.ui.say(line));
    context.print(&lock, &text(branch, &lock)?)
}

fn text(branch: &str, lock: &PythonLock) -> Result<String> {
    let head = format!(
        "# Exact Python packages of release {branch}, without addresses: any index serves them. Backend.AI's\n\
         # own packages are not here, their sources are mounted. Written by `baibox lock --branch {branch} --python --update`.\n\n"
    );
    Ok(head + &toml::to_string_pretty(lock)?)
}
