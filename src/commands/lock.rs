use super::{Context, build, sources};
use crate::cli::Lock;
use crate::lock;
use crate::python::PythonLock;
use crate::release::Catalog;
use anyhow::{Context as _, Result};

pub async fn run(context: &Context, options: &Lock) -> Result<()> {
    let branch = context.branch(&options.branch)?;
    if options.python { python(context, options, branch.as_str()).await } else { debian(context, options, branch.as_str()).await }
}

/// Prints the Debian packages of a release as its `debian.lock`; with `--update` chosen anew.
async fn debian(context: &Context, options: &Lock, branch: &str) -> Result<()> {
    let release = Catalog::draft(branch)?;
    let sets = if options.update {
        let stage = context.ui.stage("lock");
        let fetcher = context.fetcher()?;
        let sets = lock::resolve_debian(&release, &fetcher, &context.store, &context.ui, &stage).await?;
        let changes = lock::debian_changes(&release.debian_lock, &sets);
        changes.iter().for_each(|line| context.ui.say(line));
        stage.done(&format!("{} Debian packages, {} changed", sets.values().map(Vec::len).sum::<usize>(), changes.len()));
        sets
    } else {
        release.debian_lock
    };
    let text = toml::to_string(&sets)?;
    context.print(&sets, &text)
}

/// The same of its Python packages and `python.lock`.
async fn python(context: &Context, options: &Lock, branch: &str) -> Result<()> {
    if !options.update {
        let lock = Catalog::release(branch)?.python_lock.context("the release has no Python lock")?;
        return context.print(&lock, &text(branch, &lock)?);
    }
    let mut release = Catalog::draft(branch)?;
    // What was pinned before is only told, so a release may be without.
    let before = Catalog::release(branch).ok().and_then(|release| release.python_lock);
    let scratch = tempfile::tempdir_in(context.store.temporary())?;
    let references = sources::references(&options.sources, &release)?;
    sources::bring(context, &options.sources, scratch.path(), &release, &references).await?;
    let stage = context.ui.stage("lock");
    let builder = build::builder(context).await?;
    let now = build::requirements(scratch.path(), &release);
    build::take_pex(&builder, scratch.path(), &mut release).await?;
    let lock = builder.resolve_python_anew(&release, &build::plan(scratch.path(), &release)?, &now, &stage).await?;
    let changes = before.map(|before| lock::python_changes(&before, &lock)).unwrap_or_default();
    changes.iter().for_each(|line| context.ui.say(line));
    stage.done(&format!("{} Python packages as of {}, {} changed", lock.files.len(), lock.cutoff, changes.len()));
    context.print(&lock, &text(branch, &lock)?)
}

fn text(branch: &str, lock: &PythonLock) -> Result<String> {
    let head = format!(
        "# Exact Python packages of release {branch}, without addresses: any index serves them. Backend.AI's\n\
         # own packages are not here, their sources are mounted. Written by `baibox lock --branch {branch} --python --update`.\n\n"
    );
    Ok(head + &toml::to_string_pretty(lock)?)
}
