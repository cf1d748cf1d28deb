use super::Context;
use crate::cli::Lock;
use crate::fetch::Fetcher;
use crate::lock;
use crate::model::Branch;
use crate::release::Catalog;
use anyhow::Result;

/// Prints the Debian packages of a release as its `debian.lock`; with `--update` chosen anew.
pub async fn run(context: &Context, options: &Lock) -> Result<()> {
    let branch = Branch::parse(&options.branch, &Catalog::branches()?)?;
    let release = Catalog::release(branch.as_str())?;
    let sets = if options.update {
        let stage = context.ui.stage("lock");
        let fetcher = Fetcher::new(&context.store)?;
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
