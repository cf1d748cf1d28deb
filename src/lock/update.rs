//! What a person asks to have chosen again.

use super::Lock;
use crate::error::Fault;
use crate::model::nearest;
use crate::python::{normal_name, requirement};
use crate::release::Release;
use std::collections::BTreeSet;

/// Packages of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    All,
    /// Debian's by their names, Python's as requirements.
    Named(BTreeSet<String>),
}

impl Chosen {
    fn none() -> Self {
        Self::Named(BTreeSet::new())
    }
    pub fn is_none(&self) -> bool {
        *self == Self::none()
    }
    fn add(&mut self, word: &str) {
        if let Self::Named(names) = self {
            names.insert(word.to_owned());
        }
    }
}

/// What is to be chosen again of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub debian: Chosen,
    pub python: Chosen,
    /// The build of CPython.
    pub cpython: bool,
    /// The base, and with it what lies on it.
    pub base: bool,
}

impl Asked {
    /// `words` are `base`, `debian`, `python`, `cpython`, and names of packages that the lock has; those of Python
    /// may have bounds, as in `aiohttp<3.8`. Without a word it is all of one kind.
    pub fn parse(words: &[String], python: bool, release: &Release, lock: &Lock) -> Result<Self, Fault> {
        let mut asked = Self { debian: Chosen::none(), python: Chosen::none(), cpython: false, base: false };
        if words.is_empty() {
            *(if python { &mut asked.python } else { &mut asked.debian }) = Chosen::All;
        }
        let debs: BTreeSet<&str> = lock.debian.values().flatten().map(|deb| deb.name.as_str()).collect();
        let projects: BTreeSet<&str> = lock.python.files.iter().map(|file| file.name.as_str()).collect();
        for word in words {
            match word.as_str() {
                "debian" => asked.debian = Chosen::All,
                "python" => asked.python = Chosen::All,
                "cpython" => asked.cpython = true,
                "base" if lock.base.is_some() => asked.base = true,
                "base" => {
                    return Err(Fault::usage("the lock has no base of a registry")
                        .hint("choose one: `baibox lock --base python:3.9-slim-bullseye`"));
                }
                _ => {
                    let read = requirement::parse(word, &lock.python.python);
                    let project = read.as_ref().map_or_else(|_| normal_name(word), |read| read.project.clone());
                    match (debs.contains(word.as_str()) && !python, read.is_ok() && projects.contains(project.as_str())) {
                        (true, true) => {
                            return Err(Fault::usage(format!("`{word}` is a Debian package and a Python package of the lock"))
                                .hint(format!("the Python package: `--python --update {word}`"))
                                .hint("the Debian package goes with all of them: `--update debian`"));
                        }
                        (true, false) => asked.debian.add(word),
                        (false, true) => asked.python.add(word),
                        (false, false) => return Err(unknown(word, &project, release, &debs, &projects, python)),
                    }
                }
            }
        }
        Ok(asked)
    }

    /// What is asked for by name, each with where it comes from.
    pub fn names(&self) -> Vec<(String, &'static str)> {
        let each = |chosen: &Chosen| match chosen {
            Chosen::All => BTreeSet::new(),
            Chosen::Named(names) => names.clone(),
        };
        let project = |text: &str| {
            let end = text.find(|letter: char| !(letter.is_ascii_alphanumeric() || "._-".contains(letter)));
            normal_name(&text[..end.unwrap_or(text.len())])
        };
        let debian = each(&self.debian).into_iter().map(|name| (name, "on the mirror"));
        let python = each(&self.python).into_iter().map(|text| (project(&text), "that goes with the others up to that day"));
        debian.chain(python).collect()
    }
}

fn unknown(
    word: &str,
    project: &str,
    release: &Release,
    debs: &BTreeSet<&str>,
    projects: &BTreeSet<&str>,
    python: bool,
) -> Fault {
    let fault = Fault::usage(format!("the lock has no package `{word}`"));
    if let Some(component) = release.components.iter().find(|component| normal_name(&component.project) == project) {
        return fault.hint(format!("it is the source tree `{}`: `baibox sync` moves it on", component.name));
    }
    let debs = debs.iter().filter(|_| !python);
    fault.hint(format!("its nearest names: {}", nearest(project, debs.chain(projects).copied())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Catalog;

    #[test]
    fn words_are_names_of_either_kind_and_others_are_refused_with_what_is_near() {
        let release = Catalog::release("21.03").unwrap();
        let mut lock = Lock::of_release(&release).unwrap();
        let mut both = lock.debian["base"][0].clone();
        both.name = "attrs".into();
        lock.debian.get_mut("base").unwrap().push(both);
        let check = |line: &str, expected: &str| {
            let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let python = words.first().is_some_and(|word| word == "--python");
            words.drain(..usize::from(python));
            let told = |chosen: &Chosen| match chosen {
                Chosen::All => "all".to_owned(),
                Chosen::Named(names) => names.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
            };
            let found = match Asked::parse(&words, python, &release, &lock) {
                Ok(asked) => format!("{}/{}", told(&asked.debian), told(&asked.python)),
                Err(fault) => format!("{fault}; {}", fault.hints.join("; ")),
            };
            // Of near names only the nearest is looked at.
            assert!(found == expected || (expected.ends_with('`') && found.starts_with(expected)), "{line}: {found}");
        };
        check("", "all/");
        check("--python", "/all");
        check("debian python", "all/all");
        check("curl aiohttp", "curl/aiohttp");
        check("aiohttp<3.8 PyYAML", "/PyYAML aiohttp<3.8");
        check("debian curl", "all/");
        check("base", "the lock has no base of a registry; choose one: `baibox lock --base python:3.9-slim-bullseye`");
        check("--python attrs", "/attrs");
        check(
            "attrs",
            "`attrs` is a Debian package and a Python package of the lock; the Python package: `--python --update attrs`; \
             the Debian package goes with all of them: `--update debian`",
        );
        check("aiohtp", "the lock has no package `aiohtp`; its nearest names: `aiohttp`");
        check("--python yarll", "the lock has no package `yarll`; its nearest names: `yarl`");
        check("--python curl", "the lock has no package `curl`; its nearest names: `");
        check(
            "backend.ai-common",
            "the lock has no package `backend.ai-common`; it is the source tree `common`: `baibox sync` moves it on",
        );
        check("curl<2", "the lock has no package `curl<2`; its nearest names: `");
    }
}
