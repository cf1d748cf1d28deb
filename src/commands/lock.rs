use super::Context;
use crate::cli::Lock;
use crate::debian::{self, LockedDeb, Mirror, Package, Request};
use crate::fetch::Fetcher;
use crate::model::Branch;
use crate::release::{Catalog, Release};
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;

/// Resolves the Debian packages of a release and prints them as its `debian.lock`.
pub async fn run(context: &Context, options: &Lock) -> Result<()> {
    let branch = Branch::parse(&options.branch, &Catalog::branches()?)?;
    let release = Catalog::release(branch.as_str())?;
    let sets = if options.update { resolve(context, &release).await? } else { release.debian_lock };
    let text = toml::to_string(&sets)?;
    context.print(&sets, &text)
}

async fn resolve(context: &Context, release: &Release) -> Result<BTreeMap<String, Vec<LockedDeb>>> {
    let stage = context.ui.stage("lock");
    let fetcher = Fetcher::new(&context.store)?;
    let mirror = Mirror::of_host();
    let mut indexes: BTreeMap<&str, Vec<Package>> = BTreeMap::new();
    let mut chosen: BTreeMap<String, Vec<Package>> = BTreeMap::new();
    // A set stands on at most one other, which then has no base of its own.
    let (first, second): (Vec<_>, Vec<_>) = release.debian.iter().partition(|(_, set)| set.on.is_none());
    for (name, set) in first.into_iter().chain(second) {
        let mut packages = Vec::new();
        for suite in &set.suites {
            if !indexes.contains_key(suite.as_str()) {
                stage.note(&format!("reading the index of {suite}"));
                let index = debian::index::fetch(&fetcher, &context.store, &mirror, suite, "amd64").await?;
                for note in &index.notes {
                    context.ui.warn(note);
                }
                indexes.insert(suite, index.packages);
            }
            packages.extend(indexes[suite.as_str()].iter().cloned());
        }
        let request = Request {
            essentials: set.essentials,
            packages: set.packages.clone(),
            exclude: set.exclude.clone(),
            on_top_of: set.on.as_ref().and_then(|on| chosen.get(on)).cloned().unwrap_or_default(),
        };
        let found = debian::resolve(&packages, &request).with_context(|| format!("cannot resolve the package set `{name}`"))?;
        chosen.insert(name.clone(), found);
    }
    let count: usize = chosen.values().map(Vec::len).sum();
    stage.done(&format!("{count} Debian packages"));
    chosen
        .into_iter()
        .map(|(name, packages)| Ok((name, packages.iter().map(LockedDeb::try_from).collect::<Result<Vec<_>, _>>()?)))
        .collect()
}
