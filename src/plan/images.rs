//! From a release and what its components say of themselves to the images that are wanted.

use super::{Input, Part, Plan, PlannedFile, Rank, Recipe, Wanted, changed};
use crate::debian::Options;
use crate::error::Fault;
use crate::model::Digest;
use crate::python::editable::Metadata;
use crate::python::{Interpreter, LockedFile, PythonLock};
use crate::release::{BaseLayer, COMPILER, Catalog, ImageData, Release};
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// The plan of all images of a release.
pub fn plan(release: &Release, metadata: &BTreeMap<String, Metadata>) -> Result<Plan> {
    let mut known = BTreeMap::new();
    for image in &release.images {
        // Packages are built and compiled on the first set alone, so that images share them.
        for end in 1..=image.packages.len() {
            let (below, set) = (&image.packages[..end - 1], &image.packages[end - 1]);
            if !known.contains_key(&image.packages[..end]) {
                let below = known.get(below).cloned().unwrap_or_default();
                known.insert(&image.packages[..end], add(release, below, set)?);
            }
        }
    }
    let compiler = compiler(release, &known)?;
    let record = record(release);
    let python = python_packages(release, &known, compiler.as_ref())?;
    let wanted = release.images.iter().map(|image| wanted(release, image, metadata, &known, &python));
    let mut plan = Plan::new(&format!("baibox.local/{}", release.branch), wanted.collect::<Result<Vec<_>>>()?);
    plan.recipes.extend(record.filter(|_| !plan.images.is_empty()));
    // What steps stand on and no image has, modules on these, source distributions on those.
    for recipe in known.values().filter_map(|packages| packages.unpacked.clone()) {
        let key = recipe.key();
        if plan.recipes.values().any(|other| matches!(other, Recipe::ByteCode { on, .. } if *on == key)) {
            plan.recipes.insert(key, recipe);
        }
    }
    if let Some(compiler) = compiler.filter(|compiler| {
        plan.recipes.values().any(|recipe| compiler.python().is_some_and(|key| recipe.depends_on().contains(key)))
    }) {
        plan.recipes.extend(compiler.parts.into_iter().chain(compiler.cpython).map(|part| (part.key, part.recipe)));
    }
    Ok(plan)
}

/// What source distributions are compiled on, where the lock has it.
fn compiler(release: &Release, known: &BTreeMap<&[String], Packages>) -> Result<Option<Packages>> {
    let below = release.debian.get(COMPILER).and_then(|set| set.on.as_ref());
    let Some(below) = below.filter(|_| release.debian_lock.contains_key(COMPILER)) else { return Ok(None) };
    let below = match known.get(std::slice::from_ref(below)) {
        Some(below) => below.clone(),
        None => add(release, Packages::default(), below)?,
    };
    add(release, below, COMPILER).map(Some)
}

/// The layers of the base that images stand on, where it is of a registry.
fn base_layers(release: &Release) -> Vec<Part> {
    let Some(base) = &release.base else { return Vec::new() };
    let part = |(place, layer): (usize, &BaseLayer)| {
        Part::new(Rank::Base(place), Recipe::BaseLayer { layer: layer.clone(), from: base.reference.clone() })
    };
    base.layers.iter().enumerate().map(part).collect()
}

/// What they left, which packages on top of them are merged with.
fn record(release: &Release) -> Option<(Digest, Recipe)> {
    let layers: Vec<Digest> = base_layers(release).into_iter().map(|part| part.key).collect();
    let recipe = Recipe::BaseRecord { layers };
    release.base.as_ref().map(|_| (recipe.key(), recipe))
}

/// The keys of a package set's layers, and the recipes behind them.
#[derive(Clone, Default)]
struct Packages {
    parts: Vec<Part>,
    layers: Vec<Vec<Digest>>,
    /// The first set before its configure step.
    unpacked: Option<Recipe>,
    /// Key of the topmost configure step.
    configured: Option<Digest>,
    /// Keys of all configure steps, the topmost first.
    steps: Vec<Digest>,
    /// The interpreter, where it is none of the packages.
    cpython: Option<Part>,
}

impl Packages {
    /// What Python runs on.
    fn python(&self) -> Option<&Digest> {
        self.cpython.as_ref().map(|part| &part.key).or(self.configured.as_ref())
    }

    /// What modules are compiled on: Debian's interpreter runs before it is configured, beside that step.
    fn compiler(&self) -> Option<Digest> {
        self.cpython.as_ref().map(|part| part.key.clone()).or_else(|| self.unpacked.as_ref().map(Recipe::key))
    }
}

/// The sets lie on each other: each that is configured adds a layer of packages and one of their configuration.
fn add(release: &Release, below: Packages, name: &str) -> Result<Packages> {
    let mut all = below;
    let first = all.parts.is_empty();
    let base = release.base_of(name);
    if first && base.is_some() {
        all.parts = base_layers(release);
        all.layers = all.parts.iter().map(|part| vec![part.key.clone()]).collect();
        all.steps.extend(record(release).map(|(key, _)| key));
    }
    let set = &release.debian[name];
    let debs = release.debian_lock.get(name).with_context(|| {
        Fault::new(format!("the package set `{name}` of release {} is not locked", release.branch))
            .hint(format!("type `baibox lock --branch {} --update`", release.branch))
    })?;
    let never = set.options.database == crate::debian::unpack::Database::Static;
    let (rank, next) = if first { (Rank::Packages, Rank::Configured) } else { (Rank::MorePackages, Rank::MoreConfigured) };
    let mut parts = Vec::new();
    if first && base.is_none() {
        parts.push(Part::new(rank, if never { Recipe::DebianBase } else { Recipe::DebianSkeleton }));
    }
    for deb in debs {
        let options = set.options.of_package(&deb.name);
        let options = Options { split_usr: base.is_some_and(|base| base.split_usr), ..options };
        parts.push(Part::new(rank, Recipe::Deb { deb: deb.clone(), options }));
    }
    if !never {
        let debs = parts.iter().filter(|part| matches!(part.recipe, Recipe::Deb { .. }));
        let packages = debs.map(|part| part.key.clone()).collect();
        parts.push(Part::new(rank, Recipe::DebianDatabase { packages, below: all.steps.first().cloned() }));
    }
    all.layers.push(parts.iter().map(|part| part.key.clone()).collect());
    all.parts.extend(parts);
    if !never {
        if first {
            all.unpacked = Some(Recipe::Unpacked { layers: all.layers.clone() });
        }
        let part = Part::new(next, Recipe::DebianConfigured { below: all.layers.clone(), again: !first || base.is_some() });
        all.configured = Some(part.key.clone());
        all.steps.insert(0, part.key.clone());
        all.layers.push(vec![part.key.clone()]);
        all.parts.push(part);
    }
    all.cpython = release.cpython.as_ref().zip(all.configured.clone()).map(|(build, on)| {
        let input = Input { file: build.file.clone(), digest: build.sha256.clone() };
        Part::new(Rank::Interpreter, Recipe::Cpython { version: build.version.clone(), input, on })
    });
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
        let base = &known[&image.packages[..1]];
        let (on, built_on) = base.compiler().zip(compiler.unwrap_or(base).python().cloned()).with_context(|| {
            Fault::new(format!("the image `{}` has Python packages, but its first package set is not configured", image.name))
        })?;
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
        let base = &known[&image.packages[..1]];
        if let Some(cpython) = &base.cpython {
            let code = Recipe::ByteCode { of: cpython.key.clone(), on: cpython.key.clone() };
            parts.extend([cpython.clone(), Part::new(Rank::Wheels, code)]);
        }
        let interpreter = match (&base.cpython, &release.base) {
            (Some(_), _) => Interpreter::standalone(),
            (None, Some(_)) => Interpreter::of_image(),
            (None, None) => Interpreter::debian(),
        };
        let frame = Recipe::VirtualEnvironment { python: lock.python.clone(), interpreter };
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
    // What the base says of itself holds where nothing else is said.
    for (name, value) in image.packages.first().and_then(|set| release.base_of(set)).iter().flat_map(|base| &base.env) {
        settings.env.entry(name.clone()).or_insert_with(|| value.clone());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::{Base, Component};

    fn told(release: &Release) -> BTreeMap<String, Metadata> {
        let of =
            |component: &Component| (component.name.clone(), Metadata { name: component.project.clone(), ..Metadata::default() });
        release.components.iter().map(of).collect()
    }

    #[test]
    fn a_build_of_cpython_lies_on_the_base_of_images_with_python_and_runs_their_steps() {
        let debians = Catalog::release("23.03").unwrap();
        let mut release = debians.clone().with_standalone("3.11.6");
        release.cpython = Some(Catalog::build("3.11.6", crate::model::Platform::Amd64).unwrap());
        let plan = plan(&release, &told(&release)).unwrap();
        let cpythons: Vec<&Digest> =
            plan.recipes.iter().filter(|(_, recipe)| matches!(recipe, Recipe::Cpython { .. })).map(|(key, _)| key).collect();
        let [cpython] = cpythons[..] else { panic!("one build, on one base: {cpythons:?}") };
        let base = Plan::base(&plan.recipes, cpython).unwrap();
        assert_eq!((base.len(), base.last().unwrap()), (3, &vec![cpython.clone()]));
        for (image, data) in plan.images.iter().zip(&release.images) {
            let has_it = image.layers.iter().position(|layer| layer.fragments == [cpython.clone()]);
            assert_eq!(has_it, data.environment.is_some().then_some(2), "{}", image.name);
        }
        for recipe in plan.recipes.values() {
            match recipe {
                Recipe::ByteCode { on, .. } | Recipe::Sdist { on, .. } => assert_eq!(on, cpython),
                Recipe::VirtualEnvironment { interpreter, .. } => assert_eq!(*interpreter, Interpreter::standalone()),
                _ => {}
            }
        }
        assert!(plan.recipes.values().any(|recipe| matches!(recipe, Recipe::ByteCode { of, .. } if of == cpython)));

        let plan = super::plan(&debians, &told(&debians)).unwrap();
        assert!(!plan.recipes.values().any(|recipe| matches!(recipe, Recipe::Cpython { .. })));
        let frame = Recipe::VirtualEnvironment { python: "3.11".into(), interpreter: Interpreter::debian() };
        assert!(plan.recipes.contains_key(&frame.key()));
        assert_eq!(serde_json::to_value(&frame).unwrap(), serde_json::json!({ "make": "virtual-environment", "python": "3.11" }));
    }

    #[test]
    fn a_base_of_a_registry_lies_below_all_images_of_its_set_and_gives_their_python() {
        let mut release = Catalog::release("21.03").unwrap();
        let layer = |text: &str| BaseLayer {
            digest: Digest::of(text.as_bytes()),
            size: 1,
            diff_id: Digest::of(format!("content of {text}").as_bytes()),
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
        };
        release.base = Some(Base {
            reference: "x/python:3.9".into(),
            digest: Digest::of(b"index"),
            manifest: Digest::of(b"manifest"),
            split_usr: true,
            packages: vec!["libc6 2.31-1 amd64".into()],
            python: Vec::new(),
            env: [("PATH", "/nowhere"), ("PYTHON_VERSION", "3.9.2")].map(|(name, value)| (name.into(), value.into())).into(),
            layers: vec![layer("one"), layer("two")],
        });
        let metadata = told(&release);
        let on_base = plan(&release, &metadata).unwrap();
        let blobs = |plan: &Plan, image: &str| -> Vec<BaseLayer> {
            plan.image(image).unwrap().layers.iter().filter_map(|layer| layer.blob.clone()).collect()
        };
        let manager = on_base.image("manager").unwrap();
        for (place, name) in ["one", "two"].into_iter().enumerate() {
            assert_eq!(manager.layers[place].blob, Some(layer(name)));
        }
        assert_eq!((blobs(&on_base, "postgres").len(), blobs(&on_base, "redis").len()), (2, 0));
        let of_manager = |wanted: &dyn Fn(&Recipe) -> bool| {
            let keys = manager.layers.iter().flat_map(|layer| &layer.fragments);
            keys.map(|key| &on_base.recipes[key]).filter(|recipe| wanted(recipe)).count()
        };
        assert_eq!(of_manager(&|recipe| matches!(recipe, Recipe::DebianSkeleton | Recipe::BaseRecord { .. })), 0);
        assert_eq!(of_manager(&|recipe| matches!(recipe, Recipe::Deb { options, .. } if !options.split_usr)), 0);
        let (key, _) = record(&release).unwrap();
        let merged = |recipe: &Recipe| matches!(recipe, Recipe::DebianDatabase { below: Some(below), .. } if *below == key);
        assert!(on_base.recipes.contains_key(&key) && of_manager(&merged) == 1);
        let first = on_base.recipes.keys().find(|key| Plan::is_first(&on_base.recipes, key)).unwrap();
        assert_eq!(Plan::interpreter(&on_base.recipes, first), Some(Interpreter::of_image()));
        assert_eq!(
            (manager.settings.env["PYTHON_VERSION"].as_str(), manager.settings.env["PATH"].get(..9)),
            ("3.9.2", Some("/opt/venv"))
        );

        // By what it is, not by the place that it comes from.
        let mut elsewhere = release.clone();
        elsewhere.base.as_mut().unwrap().reference = "y/mirror/python:3.9".into();
        let references = |plan: &Plan| plan.images.iter().map(|image| image.reference.clone()).collect::<Vec<_>>();
        assert_eq!(references(&plan(&elsewhere, &metadata).unwrap()), references(&on_base));
    }
}
