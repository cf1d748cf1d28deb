//! Pins that changed, in a small layer on top.
//!
//! Where one layer changes, engines unpack all above it again. So as long as the lock names what lies
//! below (see `crate::lock`), those layers stay, and what differs lies on them.

use super::images::python_package;
use super::{Part, Rank, Recipe};
use crate::model::Digest;
use crate::python::PythonLock;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};

/// An image that has Python packages.
pub(super) struct Asked<'a> {
    pub image: &'a str,
    pub environment: &'a str,
    /// Key of what their modules are compiled on.
    pub on: Digest,
    /// Key of the configured packages that source distributions are built on.
    pub built_on: Digest,
}

/// Image → its packages with their byte code, by a lock and by the one that lies below.
pub(super) fn packages<'a>(
    lock: &PythonLock,
    below: Option<&PythonLock>,
    asked: &[Asked<'a>],
) -> Result<BTreeMap<&'a str, Vec<Part>>> {
    let (mut now, mut before) = (Packages::new(lock), below.map(Packages::new));
    let mut lay = |asked| -> Result<Laid> {
        let wanted = now.of(asked)?;
        // An environment that is new lies on nothing.
        Ok(match before.as_mut().filter(|before| before.lock.environments.contains_key(asked.environment)) {
            None => Laid { below: wanted, ..Laid::default() },
            Some(before) => Laid::new(before.of(asked)?, wanted),
        })
    };
    let laid = asked.iter().map(&mut lay).collect::<Result<Vec<_>>>()?;
    let mut codes: BTreeMap<(&Digest, &Digest), Part> = BTreeMap::new();
    let mut all = BTreeMap::new();
    for (asked, laid) in asked.iter().zip(&laid) {
        let mut parts = Vec::new();
        for package in laid.below.iter().chain(&laid.above) {
            let recipe = || Recipe::ByteCode { of: package.key.clone(), on: asked.on.clone() };
            let code = codes.entry((&package.key, &asked.on)).or_insert_with(|| Part::new(package.rank, recipe()));
            parts.extend([package.clone(), Part { rank: package.rank, ..code.clone() }]);
        }
        for replaced in &laid.replaced {
            // What comes for it has most of its files, and is asked first.
            let others = laid.stays.iter().filter(|key| Some(*key) != replaced.new.as_ref());
            let stay = replaced.new.iter().chain(others).cloned().collect();
            let recipe = Recipe::Without { package: replaced.old.clone(), stay, python: lock.python.clone() };
            parts.push(Part::new(Rank::Changed, recipe));
        }
        all.insert(asked.image, parts);
    }
    Ok(all)
}

/// Bytes of a file from which its package is a layer of its own: a few of an image's hundred and more.
const LARGE: u64 = 4_000_000;

/// The packages of a lock. Images share most, and computing their keys is what planning takes: each is made once.
struct Packages<'a> {
    lock: &'a PythonLock,
    /// By pin, and by what source distributions are built on.
    made: BTreeMap<(&'a str, &'a Digest), Part>,
}

impl<'a> Packages<'a> {
    fn new(lock: &'a PythonLock) -> Self {
        Self { lock, made: BTreeMap::new() }
    }

    fn of(&mut self, asked: &'a Asked) -> Result<Vec<Part>> {
        let pins = self.lock.environments.get(asked.environment);
        let pins =
            pins.with_context(|| format!("the lock has no environment `{}` for the image `{}`", asked.environment, asked.image))?;
        let part = |pin: &'a String| {
            let make = || {
                let large = self.lock.file(pin).is_some_and(|file| file.size >= LARGE);
                let rank = if large { Rank::LargeWheels } else { Rank::Wheels };
                Part::new(rank, python_package(self.lock, pin, &asked.built_on))
            };
            self.made.entry((pin, &asked.built_on)).or_insert_with(make).clone()
        };
        Ok(pins.iter().map(part).collect())
    }
}

/// A package of the layers below that is not wanted, and what comes for it.
struct Replaced {
    old: Digest,
    new: Option<Digest>,
}

/// The packages of one image.
#[derive(Default)]
struct Laid {
    below: Vec<Part>,
    above: Vec<Part>,
    replaced: Vec<Replaced>,
    /// All packages that are in the image after all.
    stays: BTreeSet<Digest>,
}

impl Laid {
    fn new(below: Vec<Part>, wanted: Vec<Part>) -> Self {
        let stays: BTreeSet<Digest> = wanted.iter().map(|part| part.key.clone()).collect();
        let there: BTreeSet<&Digest> = below.iter().map(|part| &part.key).collect();
        let above: Vec<Part> = wanted
            .into_iter()
            .filter(|part| !there.contains(&part.key))
            .map(|part| Part { rank: Rank::Changed, ..part })
            .collect();
        let gone = below.iter().filter(|part| !stays.contains(&part.key));
        let replaced = gone
            .map(|part| {
                let new = above.iter().find(|other| other.recipe.package() == part.recipe.package());
                Replaced { old: part.key.clone(), new: new.map(|new| new.key.clone()) }
            })
            .collect();
        Self { below, above, replaced, stays }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::LockedFile;

    fn lock(pins: &[(&str, &str)]) -> PythonLock {
        let files = pins.iter().map(|(name, version)| LockedFile {
            name: (*name).into(),
            version: (*version).into(),
            file: format!("{name}-{version}-py3-none-any.whl"),
            sha256: Digest::of(format!("{name} {version}").as_bytes()),
            size: 1,
        });
        PythonLock {
            python: "3.9".into(),
            cutoff: "2022-04-01".into(),
            builders: Vec::new(),
            requirements: BTreeMap::new(),
            environments: [("x".to_owned(), pins.iter().map(|(name, version)| format!("{name} {version}")).collect())].into(),
            files: files.collect(),
        }
    }

    /// What lies below and on top, byte code left out.
    fn check(earlier: &[(&str, &str)], pins: &[(&str, &str)], below: &[&str], above: &[&str]) {
        let asked = Asked { image: "x", environment: "x", on: Digest::of(b"base"), built_on: Digest::of(b"base") };
        let earlier = lock(earlier);
        let parts = packages(&lock(pins), Some(&earlier), &[asked]).unwrap().remove("x").unwrap();
        let known: BTreeMap<Digest, String> = parts.iter().map(|part| (part.key.clone(), part.recipe.title())).collect();
        let titles = |rank: Rank| -> Vec<String> {
            let of = parts.iter().filter(|part| part.rank == rank && !matches!(part.recipe, Recipe::ByteCode { .. }));
            of.map(|part| match &part.recipe {
                Recipe::Without { package, .. } => format!("not {}", known[package]),
                recipe => recipe.title(),
            })
            .collect()
        };
        assert_eq!(
            (titles(Rank::Wheels), titles(Rank::Changed)),
            (below.iter().map(|text| (*text).to_owned()).collect(), above.iter().map(|text| (*text).to_owned()).collect())
        );
    }

    const EARLIER: [(&str, &str); 4] = [("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];

    #[test]
    fn a_pin_that_differs_lies_on_the_layers_that_are_there() {
        let below = ["a 1", "b 1", "c 1", "d 1"];
        check(&EARLIER, &EARLIER, &below, &[]);
        check(&EARLIER, &[("a", "1"), ("b", "2"), ("c", "1"), ("d", "1")], &below, &["b 2", "not b 1"]);
        check(&EARLIER, &[("a", "1"), ("c", "1"), ("d", "1")], &below, &["not b 1"]);
        check(&EARLIER, &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1")], &below, &["e 1"]);
    }

    #[test]
    fn what_an_image_does_not_have_is_nothing_to_it() {
        let environment = |lock: &mut PythonLock, pins: &[&str]| {
            lock.environments.insert("y".to_owned(), pins.iter().map(|pin| (*pin).to_owned()).collect());
        };
        let mut earlier = lock(&[("a", "1"), ("b", "1")]);
        environment(&mut earlier, &["a 1"]);
        let keys = |b: &str| -> Vec<BTreeSet<Digest>> {
            let mut now = lock(&[("a", "2"), ("b", b)]);
            environment(&mut now, &["a 2"]);
            let asked = ["x", "y"].map(|name| Asked {
                image: name,
                environment: name,
                on: Digest::of(b"base"),
                built_on: Digest::of(b"base"),
            });
            let all = packages(&now, Some(&earlier), &asked).unwrap();
            all.values().map(|parts| parts.iter().map(|part| part.key.clone()).collect()).collect()
        };
        let (before, after) = (keys("2"), keys("3"));
        assert!(before[0] != after[0] && before[1] == after[1]);
    }

    #[test]
    fn layers_are_those_of_the_lock_where_nothing_lies_below_and_an_image_has_its_environment() {
        let asked = |environment| Asked { image: "x", environment, on: Digest::of(b"base"), built_on: Digest::of(b"base") };
        let parts = packages(&lock(&EARLIER), None, &[asked("x")]).unwrap().remove("x").unwrap();
        assert!(parts.len() == 2 * EARLIER.len() && parts.iter().all(|part| part.rank == Rank::Wheels));
        let error = packages(&lock(&EARLIER), None, &[asked("y")]).unwrap_err().to_string();
        assert!(error.contains("no environment `y` for the image `x`"), "{error}");
    }
}
