//! Debian packages of a release, resolved against the mirror's signed index.

use crate::debian::{self, LockedDeb, Mirror, Package, Request};
use crate::fetch::Fetcher;
use crate::release::Release;
use crate::store::Store;
use crate::ui::{Stage, Ui};
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Package set → its packages.
pub type Sets = BTreeMap<String, Vec<LockedDeb>>;

/// Chooses every package set of the release again, from what the mirror has today.
pub async fn resolve(release: &Release, fetcher: &Fetcher, store: &Store, ui: &Ui, stage: &Stage) -> Result<Sets> {
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
                let index = debian::index::fetch(fetcher, store, &mirror, suite, "amd64").await?;
                for note in &index.notes {
                    ui.warn(note);
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
    chosen
        .into_iter()
        .map(|(name, packages)| Ok((name, packages.iter().map(LockedDeb::try_from).collect::<Result<Vec<_>, _>>()?)))
        .collect()
}

/// What differs between two choices: `name old → new`, one line each.
pub fn changes(before: &Sets, after: &Sets) -> Vec<String> {
    let versions = |sets: &Sets| -> BTreeMap<(String, String), String> {
        let all = sets.iter().flat_map(|(set, debs)| debs.iter().map(move |deb| (set, deb)));
        all.map(|(set, deb)| ((set.clone(), deb.name.clone()), deb.version.clone())).collect()
    };
    super::differences(&versions(before), &versions(after))
}
