//! From a release and what its components say of themselves to the images that are wanted.

use super::{Input, Part, Plan, PlannedFile, Rank, Recipe, Wanted, changed};
use crate::error::Fault;
use crate::model::Digest;
use crate::python::editable::Metadata;
use crate::python::{Interpreter, LockedFile, PythonLock};
use crate::release::{COMPILER, Catalog, ImageData, Release};
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// The plan of all images of a release.
pub fn plan(release: &Release, metadata: &BTreeMap<String, Metadata>) -> Result<Plan> {
    let mut known = BTreeMap::new();
    for image in &release.images {
        // Packages are built and compiled on the first set alone, so that images share them.
        for sets in [&image.packages[..], &image.packages[..1]] {
            if !known.contains_key(sets) {
                known.insert(sets, packages(release, sets)?);
            }
        }
    }
    let compiler = compiler(release)?;
    let python = python_packages(release, &known, compiler.as_ref())?;
    let wanted = release.images.iter().map(|image| wanted(release, image, metadata, &known, &python));
    let mut plan = Plan::new(&format!("baibox.local/{}", release.branch), wanted.collect::<Result<Vec<_>>>()?);
    // What is compiled stands on these, and no image has them.
    if let Some(compiler) = compiler.filter(|compiler| {
        plan.recipes.values().any(|recipe| compiler.configured.iter().any(|key| recipe.depends_on().contains(key)))
    }) {
        plan.recipes.extend(compiler.parts.into_iter().map(|part| (part.key, part.recipe)));
    }
    Ok(plan)
}

/// What source distributions are compiled on, where the lock has it.
fn compiler(release: &Release) -> Result<Option<Packages>> {
    let below = release.debian.get(COMPILER).and_then(|set| set.on.clone());
    match below.filter(|_| release.debian_lock.contains_key(COMPILER)) {
        Some(below) => packages(release, &[below, COMPILER.to_owned()]).map(Some),
        None => Ok(None),
    }
}

/// The keys of a package set's layers, and the recipes behind them.
struct Packages {
    parts: Vec<Part>,
    layers: Vec<Vec<Digest>>,
    /// Key of the topmost configure step.
    configured: Option<Digest>,
    /// Keys of all configure steps, the topmost first.
    steps: Vec<Digest>,
}

/// The sets lie on each other: each that is configured adds a layer of packages and one of their configuration.
fn packages(release: &Release, sets: &[String]) -> Result<Packages> {
    let mut all = Packages { parts: Vec::new(), layers: Vec::new(), configured: None, steps: Vec::new() };
    for (position, name) in sets.iter().enumerate() {
        let set = &release.debian[name];
        let debs = release.debian_lock.get(name).with_context(|| {
            Fault::new(format!("the package set `{name}` of release {} is not locked", release.branch))
                .hint(format!("type `baibox lock --branch {} --update`", release.branch))
        })?;
        let never = set.options.database == crate::debian::unpack::Database::Static;
        let (rank, next) =
            if position == 0 { (Rank::Packages, Rank::Configured) } else { (Rank::MorePackages, Rank::MoreConfigured) };
        let mut parts = Vec::new();
        if position == 0 {
            parts.push(Part::new(rank, if never { Recipe::DebianBase } else { Recipe::DebianSkeleton }));
        }
        for deb in debs {
            parts.push(Part::new(rank, Recipe::Deb { deb: deb.clone(), options: set.options.of_package(&deb.name) }));
        }
        if !never {
            let debs = parts.iter().filter(|part| matches!(part.recipe, Recipe::Deb { .. }));
            let packages = debs.map(|part| part.key.clone()).collect();
            parts.push(Part::new(rank, Recipe::DebianDatabase { packages, below: all.configured.clone() }));
        }
        all.layers.push(parts.iter().map(|part| part.key.clone()).collect());
        all.parts.extend(parts);
        if !never {
            let part = Part::new(next, Recipe::DebianConfigured { below: all.layers.clone(), again: position > 0 });
            all.configured = Some(part.key.clone());
            all.steps.insert(0, part.key.clone());
            all.layers.push(vec![part.key.clone()]);
            all.parts.push(part);
        }
    }
    Ok(all)
}

fn input(file: &LockedFile) -> Input {
    Input { file: file.file.clone(), digest: file.sha256.clone() }
}

/// Image → its Python packages with their byte code.
fn python_packages<'a>(
    release: &'a Release,
    known: &BTreeMap<&[String], Packages>,
    compiler: Option<&Packages>,
) -> Result<BTreeMap<&'a str, Vec<Part>>> {
    let mut asked = Vec::new();
    for image in &release.images {
        let Some(environment) = &image.environment else { continue };
        let on = known[&image.packages[..1]].configured.clone().with_context(|| {
            Fault::new(format!("the image `{}` has Python packages, but its first package set is not configured", image.name))
        })?;
        let built_on = compiler.and_then(|compiler| compiler.configured.as_ref()).unwrap_or(&on).clone();
        asked.push(changed::Asked { image: &image.name, environment, on, built_on });
    }
    let lock = release.python_lock.as_ref().context("the release has no Python lock")?;
    changed::packages(lock, release.python_below.as_ref(), &asked)
}

pub(super) fn python_package(lock: &PythonLock, pin: &str, on: &Digest) -> Recipe {
    let file = lock.file(pin).expect("a lock is checked when it is read");
    let (name, version, python) = (file.name.clone(), file.version.clone(), lock.python.clone());
    if file.is_wheel() {
        Recipe::Wheel { name, version, input: input(file), python }
    } else {
        let builders =
            lock.builders.iter().map(|pin| input(lock.file(pin).expect("a lock is checked when it is read"))).collect();
        Recipe::Sdist { name, version, input: input(file), python, builders, on: on.clone() }
    }
}

/// The one that images with Python packages run.
fn interpreter(_release: &Release) -> Interpreter {
    Interpreter::debian()
}

fn wanted(
    release: &Release,
    image: &ImageData,
    metadata: &BTreeMap<String, Metadata>,
    known: &BTreeMap<&[String], Packages>,
    python: &BTreeMap<&str, Vec<Part>>,
) -> Result<Wanted> {
    let mut parts = known[&image.packages[..]].parts.clone();
    let mut settings = image.settings.clone();
    if image.environment.is_some() {
        let lock = release.python_lock.as_ref().context("the release has no Python lock")?;
        let frame = Recipe::VirtualEnvironment { python: lock.python.clone(), interpreter: interpreter(release) };
        parts.push(Part::new(Rank::Wheels, frame));
        parts.extend(python[image.name.as_str()].iter().cloned());
        for file in &image.wheels {
            let (name, version, python) = (file.name.clone(), file.version.clone(), lock.python.clone());
            parts.push(Part::new(Rank::Wheels, Recipe::Wheel { name, version, input: input(file), python }));
        }
        for name in &image.links {
            let metadata = metadata.get(name).with_context(|| format!("the source tree of `{name}` was not read"))?;
            let link = Recipe::Link { component: name.clone(), metadata: metadata.clone(), python: lock.python.clone() };
            parts.push(Part::new(Rank::Links, link));
        }
        for (name, value) in [
            ("PATH", "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("PYTHONPYCACHEPREFIX", "/var/cache/pycache"),
            ("PYTHONUNBUFFERED", "1"),
            ("LANG", "C.UTF-8"),
        ] {
            settings.env.entry(name.into()).or_insert_with(|| value.into());
        }
    }
    if !image.files.is_empty() {
        let mut files = BTreeMap::new();
        for (path, file) in &image.files {
            files.insert(path.clone(), PlannedFile { mode: file.mode, content: Catalog::file(&file.from)?.to_owned() });
        }
        parts.push(Part::new(Rank::Files, Recipe::Files { title: format!("files of {}", image.name), files }));
    }
    settings.labels.insert("ai.baibox.release".into(), release.branch.clone());
    settings.labels.insert("ai.baibox.image".into(), image.name.clone());
    // Where sources are linked one develops, as a user whose files belong to the host's user.
    if !image.links.is_empty() {
        let below = known[&image.packages[..]].steps.clone();
        parts.push(Part::new(Rank::Files, Recipe::Account { name: DEVELOPER.into(), id: DEVELOPER_ID, below }));
        settings.labels.insert("devcontainer.metadata".into(), devcontainer_metadata());
    }
    Ok(Wanted { name: image.name.clone(), parts, settings })
}

/// The account in images that one develops in; tools give it the host user's number.
pub const DEVELOPER: &str = "dev";
pub const DEVELOPER_ID: u32 = 1000;

/// What dev container tools take from the image alone. Hooks stay in the file: tools
/// collect them from both, so they would run twice.
fn devcontainer_metadata() -> String {
    let metadata = serde_json::json!([{
        "remoteUser": DEVELOPER,
        "customizations": { "vscode": {
            "extensions": ["ms-python.python", "ms-python.debugpy"],
            "settings": { "python.defaultInterpreterPath": "/opt/venv/bin/python" },
        } },
    }]);
    String::from_utf8_lossy(&crate::model::canonical_json(&metadata)).into_owned()
}
