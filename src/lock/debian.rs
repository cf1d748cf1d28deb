//! Debian packages of a release, resolved against the mirror's signed index.

use crate::debian::{self, DebianError, LockedDeb, Mirror, Package, Request};
use crate::error::Fault;
use crate::fetch::Fetcher;
use crate::model::Platform;
use crate::release::{Release, is_debians_python};
use crate::store::Store;
use crate::ui::{Stage, Ui};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Package set → its packages.
pub type Sets = BTreeMap<String, Vec<LockedDeb>>;

/// Package set → its packages, with what they say of each other.
type Packages = BTreeMap<String, Vec<Package>>;

/// What Debian packages are chosen by, and whom that is told.
pub struct Chooser<'a> {
    pub fetcher: &'a Fetcher,
    pub store: &'a Store,
    pub ui: &'a Ui,
    pub stage: &'a Stage,
}

impl Chooser<'_> {
    /// Chooses every package set of the release again, from what the mirror has today.
    pub async fn resolve(&self, release: &Release, platform: Platform) -> Result<Sets> {
        let release = &release.to_lock(platform);
        let (indexes, base) = (self.indexes(release, platform).await?, self.installed(release)?);
        let choice = Choice { release, indexes: &indexes, kept: &Packages::new(), base: &base };
        locked(&choice.made(&BTreeSet::new())?)
    }

    /// Chooses `names` again in the release's lock, and what does not go together with their new
    /// versions; all else stays as it is.
    pub async fn update(&self, release: &Release, names: &BTreeSet<String>) -> Result<Sets> {
        let release = &release.to_lock(Platform::LOCKED);
        let indexes = self.indexes(release, Platform::LOCKED).await?;
        let by_digest: BTreeMap<&str, &Package> =
            indexes.values().flatten().map(|package| (package.sha256.as_str(), package)).collect();
        let mut kept = Packages::new();
        let mut moving = names.clone();
        for (set, debs) in &release.debian_lock {
            for deb in debs {
                let package = match by_digest.get(deb.sha256.hex()) {
                    Some(package) => Some((*package).clone()),
                    None => self.dropped(deb).await?,
                };
                match package {
                    Some(package) => kept.entry(set.clone()).or_default().push(package),
                    None if moving.insert(deb.name.clone()) => {
                        self.ui.remark("lock", &format!("`{}` cannot be had any more: another one is chosen", deb.file));
                    }
                    None => {}
                }
            }
        }
        let base = self.installed(release)?;
        locked(&Choice { release, indexes: &indexes, kept: &kept, base: &base }.made_with(moving)?)
    }

    /// The release's locked packages without some that are not asked for any more, and without what only these need.
    /// All others stay as they are: what packages need is read from themselves.
    pub async fn prune(&self, release: &Release, not_asked: fn(&str) -> bool) -> Result<Sets> {
        // Sets that stand by themselves hold what their one program needs.
        let together = |set: &String| release.debian.get(set).is_some_and(|set| set.essentials || set.on.is_some());
        let debs = release.debian_lock.iter().filter(|(set, _)| together(set)).flat_map(|(_, debs)| debs);
        let packages = debs.map(|deb| async move {
            let package = self.dropped(deb).await?;
            package.with_context(|| Fault::new(format!("`{}` cannot be had any more", deb.file)).hint(SNAPSHOT_HINT))
        });
        let gone = unneeded(&futures_util::future::try_join_all(packages).await?, not_asked);
        let mut sets = release.debian_lock.clone();
        for (_, debs) in sets.iter_mut().filter(|(set, _)| together(set)) {
            debs.retain(|deb| !gone.contains(&deb.name));
        }
        Ok(sets)
    }

    /// What the base of a registry has, whose layers were brought before; nothing where there is no such base.
    fn installed(&self, release: &Release) -> Result<Vec<Package>> {
        let Some(base) = &release.base else { return Ok(Vec::new()) };
        let found = debian::base::look(self.store, base.layers.iter().map(|layer| &layer.diff_id))?;
        let found = found.with_context(|| format!("the layers of `{}` are not in the store", base.reference))?;
        Ok(debian::base::packages(&found))
    }

    /// A locked package that the mirror dropped, by what it says itself; `None` if it is nowhere.
    async fn dropped(&self, deb: &LockedDeb) -> Result<Option<Package>> {
        match debian::download(self.fetcher, &Mirror::of_host(), deb).await {
            Err(error) if debian::is_gone(&error) => return Ok(None),
            done => done?,
        }
        let package = debian::index::of_deb(deb, &debian::control_text(&deb.file, &self.store.read(&deb.sha256)?)?);
        Ok(Some(package.with_context(|| format!("`{}` does not say what it is", deb.file))?))
    }

    /// The packages of every suite that the release takes from.
    async fn indexes(&self, release: &Release, platform: Platform) -> Result<Packages> {
        let mirror = Mirror::of_host();
        let mut indexes = Packages::new();
        let suites: BTreeSet<&String> = release.debian.values().flat_map(|set| &set.suites).collect();
        for suite in suites {
            self.stage.note(&format!("reading the index of {suite}"));
            let index = debian::index::fetch(self.fetcher, self.store, &mirror, suite, platform.architecture()).await?;
            for note in &index.notes {
                self.ui.warn(note);
            }
            indexes.insert(suite.clone(), index.packages);
        }
        Ok(indexes)
    }
}

/// What Debian's Python is made of: a base of a registry has its own.
const PYTHON: [&str; 6] = ["libpython3-stdlib", "python3", "python3-dev", "python3-distutils", "python3-minimal", "python3-venv"];

/// Packages that are not asked for, and those that nothing but they need.
fn unneeded(packages: &[Package], not_asked: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let served_by = |package: &Package| -> Vec<&Package> {
        let relations = debian::relation::clauses(&package.depends).into_iter().flatten();
        relations.flat_map(|relation| packages.iter().filter(move |other| other.serves(&relation))).collect()
    };
    let reached = |from: Vec<&Package>, may: &dyn Fn(&Package) -> bool| -> BTreeSet<String> {
        let mut names: BTreeSet<String> = from.iter().map(|package| package.name.clone()).collect();
        let mut waiting = from;
        while let Some(package) = waiting.pop() {
            waiting.extend(served_by(package).into_iter().filter(|other| may(other) && names.insert(other.name.clone())));
        }
        names
    };
    let of_system = |package: &Package| package.essential || package.priority == "required";
    let below = reached(packages.iter().filter(|package| not_asked(&package.name)).collect(), &|other| !of_system(other));
    // What all others stand on is needed all the same.
    let others = packages.iter().filter(|package| !below.contains(&package.name)).collect();
    let needed = reached(others, &|_| true);
    below.into_iter().filter(|name| not_asked(name) || !needed.contains(name)).collect()
}

const SNAPSHOT_HINT: &str = "name a snapshot archive that has it: `BAIBOX_DEBIAN_SNAPSHOT=ADDRESS`";

/// What is chosen from, and what is there already.
struct Choice<'a> {
    release: &'a Release,
    indexes: &'a Packages,
    kept: &'a Packages,
    /// Of a base of a registry.
    base: &'a [Package],
}

impl Choice<'_> {
    /// The sets with `moving` chosen anew; what stands in the way of that is let go too.
    fn made_with(&self, mut moving: BTreeSet<String>) -> Result<Packages> {
        let locked: BTreeSet<&String> = self.kept.values().flatten().map(|package| &package.name).collect();
        loop {
            let error = match self.made(&moving) {
                Ok(chosen) => return Ok(chosen),
                Err(error) => error,
            };
            let Some(DebianError::Unresolvable(faults)) = error.downcast_ref() else { return Err(error) };
            let before = moving.len();
            moving.extend(faults.iter().flat_map(debian::Unsatisfied::names).filter(|name| locked.contains(name)));
            if moving.len() == before {
                return Err(error);
            }
        }
    }

    /// Every set of the release; of what is `kept` there is one version, unless it is `moving`.
    fn made(&self, moving: &BTreeSet<String>) -> Result<Packages> {
        let mut chosen = Packages::new();
        // A set stands on at most one other, which then has no base of its own.
        let (first, second): (Vec<_>, Vec<_>) = self.release.debian.iter().partition(|(_, set)| set.on.is_none());
        for (name, set) in first.into_iter().chain(second) {
            let kept = self.kept.get(name).map(Vec::as_slice).unwrap_or_default();
            let fixed: BTreeSet<&str> =
                kept.iter().map(|package| package.name.as_str()).filter(|name| !moving.contains(*name)).collect();
            let new =
                set.suites.iter().flat_map(|suite| &self.indexes[suite]).filter(|package| {
                    !fixed.contains(package.name.as_str()) && !kept.iter().any(|old| old.sha256 == package.sha256)
                });
            let packages: Vec<Package> = kept.iter().chain(new).cloned().collect();
            let asked: BTreeSet<&String> = set.packages.iter().chain(kept.iter().map(|package| &package.name)).collect();
            let mut request = Request {
                essentials: set.essentials,
                packages: asked.into_iter().cloned().collect(),
                exclude: set.exclude.clone(),
                on_top_of: set.on.as_ref().and_then(|on| chosen.get(on)).cloned().unwrap_or_default(),
            };
            let below = self.release.base_of(name);
            if below.is_some() {
                request.essentials = false;
                request.packages.retain(|name| !is_debians_python(name));
                request.exclude.extend(PYTHON.map(String::from));
                request.on_top_of.extend(self.base.iter().cloned());
            }
            let found = debian::resolve(&packages, &request).with_context(|| format!("cannot resolve the package set `{name}`"));
            let found = found.map_err(|error| match below {
                None => error,
                Some(base) => {
                    let fault = Fault::new(format!("Debian's packages of today do not go on the base `{}`", base.reference));
                    error.context(fault.hint("take it as it is now, if it was made anew: `baibox lock --update base`"))
                }
            })?;
            chosen.insert(name.clone(), found);
        }
        Ok(chosen)
    }
}

fn locked(chosen: &Packages) -> Result<Sets> {
    let debs = |packages: &Vec<Package>| packages.iter().map(LockedDeb::try_from).collect::<Result<Vec<_>, _>>();
    chosen.iter().map(|(name, packages)| Ok((name.clone(), debs(packages)?))).collect()
}

/// What differs between two choices: `name old → new`, one line each.
pub fn changes(before: &Sets, after: &Sets) -> Vec<String> {
    let versions = |sets: &Sets| -> BTreeMap<(String, String), String> {
        let all = sets.iter().flat_map(|(set, debs)| debs.iter().map(move |deb| (set, deb)));
        all.map(|(set, deb)| ((set.clone(), deb.name.clone()), deb.version.clone())).collect()
    };
    super::differences(&versions(before), &versions(after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;
    use crate::release::Catalog;

    /// `name version; D: …; C: …`, a package a line.
    fn packages(text: &str) -> Vec<Package> {
        let package = |line: &str| {
            let mut parts = line.split(';').map(str::trim);
            let head = parts.next().unwrap();
            let (name, version) = head.split_once(' ').unwrap();
            let sha256 = Digest::of(head.as_bytes()).hex().to_owned();
            let mut package = Package { name: name.into(), version: version.into(), sha256, ..Package::default() };
            for part in parts {
                match part.split_once(": ").unwrap() {
                    ("D", text) => package.depends = text.into(),
                    (_, text) => package.conflicts = text.into(),
                }
            }
            package
        };
        text.split('\n').map(str::trim).filter(|line| !line.is_empty()).map(package).collect()
    }

    /// What becomes of a locked base and a set on top of it when these names are chosen anew.
    fn check(base: &str, top: &str, mirror: &str, names: &[&str], expected: &[&str]) {
        let mut release = Catalog::release("21.03").unwrap();
        release.debian.retain(|name, _| ["base", "tools"].contains(&name.as_str()));
        for (set, text) in [("base", base), ("tools", top)] {
            let set = release.debian.get_mut(set).unwrap();
            (set.essentials, set.suites, set.exclude) = (false, vec!["suite".into()], Vec::new());
            // The first of a set is what was asked for.
            set.packages = packages(text).into_iter().take(1).map(|package| package.name).collect();
        }
        let indexes = Packages::from([("suite".into(), packages(mirror))]);
        let kept = Packages::from([("base".into(), packages(base)), ("tools".into(), packages(top))]);
        let moving = names.iter().map(|name| (*name).to_owned()).collect();
        let before = locked(&kept).unwrap();
        let choice = Choice { release: &release, indexes: &indexes, kept: &kept, base: &[] };
        let found = match choice.made_with(moving) {
            Ok(after) => changes(&before, &locked(&after).unwrap()),
            Err(error) => vec![format!("{error:#}")],
        };
        assert_eq!(found, expected, "{base} / {top} / {mirror} / {names:?}");
    }

    #[test]
    fn only_what_is_named_and_what_that_forces_changes() {
        let newer = "a 2; D: b\nb 2\nc 2\nd 2; D: e\ne 1";
        check("a 1; D: b\nb 1", "c 1", newer, &["a"], &["a 1 → 2 (base)"]);
        check("a 1; D: b\nb 1", "c 1", newer, &["b", "c"], &["b 1 → 2 (base)", "c 1 → 2 (tools)"]);
        check("a 2\nb 2", "c 2", newer, &["a"], &[]);
        // What is new is brought, and what needs the old one follows, in both directions.
        check("a 1", "d 1", newer, &["d"], &["d 1 → 2 (tools)", "e 1 is new (tools)"]);
        let pair = "a 2; D: b (= 2)\nb 2; D: a (= 2)\nc 2";
        let both = ["a 1 → 2 (base)", "b 1 → 2 (base)"];
        check("a 1; D: b (= 1)\nb 1; D: a (= 1)", "c 1", pair, &["a"], &both);
        check("a 1; D: b (= 1)\nb 1; D: a (= 1)", "c 1", pair, &["b"], &both);
        // Across sets too.
        let across = "a 2\nc 2; D: a (>= 2)";
        check("a 1", "c 1; D: a (>= 1)", across, &["c"], &["a 1 → 2 (base)", "c 1 → 2 (tools)"]);
        check("a 1", "c 1; D: a (<< 2)", across, &["a"], &["a 1 → 2 (base)", "c 1 → 2 (tools)"]);
        check("a 1\nb 1", "c 1", "a 2; C: b (<< 2)\nb 2", &["a"], &both);
    }

    #[test]
    fn what_nothing_else_needs_goes_with_what_is_not_asked_for() {
        let lock = "python3 1; D: python3-minimal, media\npython3-minimal 1; D: lib, c\nlib 1; D: c, cycle\ncycle 1; D: lib\n\
                    media 1\nc 1\ngit 1; D: c, perl | media-any\nperl 1\nother 1";
        let gone = |asked: &str| -> Vec<String> {
            let packages = packages(lock);
            unneeded(&packages, |name| name.starts_with(asked)).into_iter().collect()
        };
        assert_eq!(gone("python3"), ["cycle", "lib", "media", "python3", "python3-minimal"]);
        assert_eq!(gone("git"), ["git", "perl"]);
        assert!(gone("nothing").is_empty());
    }

    #[test]
    fn a_mirror_behind_the_lock_takes_nothing_back_and_what_cannot_be_met_is_said() {
        check("a 2", "c 2", "a 1\nc 1", &["a", "c"], &[]);
        let expected = "cannot resolve the package set `base`: `b (>= 2)`, asked for by `a 2`, cannot be met: there is `b 1`";
        check("a 1; D: b\nb 1", "c 1", "a 2; D: b (>= 2)\nb 1\nc 1", &["a"], &[expected]);
    }
}
