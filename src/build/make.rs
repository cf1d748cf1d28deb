//! How each recipe becomes a fragment.

use super::Builder;
use super::tasks::{self, Task};
use crate::debian;
use crate::engine::{Output, STEP_IMAGES, Step};
use crate::model::{Digest, SOURCE_DATE_EPOCH};
use crate::oci::{Image, Node, Settings, Stacked, Tree};
use crate::plan::{Input, Plan, Recipe};
use crate::python;
use crate::store::Store;
use crate::ui::Stage;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

impl Builder {
    /// Makes what is missing, each part as soon as what it stands on is there.
    pub(super) async fn make(&self, plan: &Plan, missing: &BTreeSet<Digest>, stage: &Stage) -> Result<()> {
        // One copy for all tasks: it is large.
        let recipes = Arc::new(plan.recipes.clone());
        // What modules are compiled on is mostly there: the engine gets it while those are unpacked.
        let on = missing.iter().find_map(|key| match &plan.recipes[key] {
            Recipe::ByteCode { on, .. } if !missing.contains(on) => Some(on),
            _ => None,
        });
        let early = async {
            if let Some(on) = on {
                self.step_base(&recipes, on).await?;
            }
            Ok(())
        };
        let all = tasks::run(
            plan,
            missing,
            |task| {
                let builder = self.clone();
                let recipes = recipes.clone();
                let stage = stage.clone();
                async move {
                    let memory = builder.admit(&recipes, &task).await?;
                    tokio::spawn(async move {
                        let _memory = memory;
                        builder.run_task(&recipes, &task, &stage).await?;
                        Ok(task)
                    })
                    .await?
                }
            },
            |count| stage.advance(count as u64),
        );
        tokio::try_join!(early, all).map(drop)
    }

    /// Lets a task begin when what it is made of is here and fits in memory, each in its turn: what much waits for comes first.
    async fn admit(&self, recipes: &Arc<BTreeMap<Digest, Recipe>>, task: &Task) -> Result<Option<OwnedSemaphorePermit>> {
        let Task::Make(key) = task else { return Ok(None) };
        let recipe = &recipes[key];
        if recipe.inputs().is_empty() {
            return Ok(None);
        }
        if recipe.inputs().iter().any(|input| !self.store.has(&input.digest)) {
            let (builder, recipes, key) = (self.clone(), recipes.clone(), key.clone());
            let brought = tokio::spawn(async move { builder.bring(&recipes[&key]).await }).await?;
            brought.with_context(|| format!("cannot fetch `{}`", recipe.title()))?;
        }
        Ok(Some(self.memory.clone().acquire_many_owned(self.weight(recipe)).await?))
    }

    async fn run_task(&self, recipes: &BTreeMap<Digest, Recipe>, task: &Task, stage: &Stage) -> Result<()> {
        match task {
            Task::Make(key) => {
                let recipe = &recipes[key];
                if let Recipe::BaseLayer { layer, .. } = recipe {
                    return self.base_layer(key, layer).await;
                }
                let tree = self.tree(recipes, recipe).await.with_context(|| format!("cannot make `{}`", recipe.title()))?;
                self.keep(key, tree).await
            }
            Task::Configure(key) => {
                stage.note("configuring Debian packages");
                let Recipe::DebianConfigured { below, again } = &recipes[key] else { bail!("not a configure step") };
                let tree = self.configure(below, *again).await.context("cannot configure the Debian packages")?;
                self.keep(key, tree).await
            }
            Task::BuildWheels { on, recipes: keys } => {
                stage.note("building Python packages that have no wheel");
                self.build_wheels(recipes, on, keys).await.context("cannot build Python packages from source")
            }
            Task::Compile { on, recipes: keys } => {
                stage.note("compiling byte code");
                self.compile(recipes, on, keys).await.context("cannot compile byte code")
            }
        }
    }

    /// Writes the fragment and remembers that the recipe gave it.
    async fn keep(&self, key: &Digest, tree: Tree) -> Result<()> {
        let (store, key) = (self.store.clone(), key.clone());
        tokio::task::spawn_blocking(move || keep(&store, &key, tree)).await?
    }

    async fn tree(&self, recipes: &BTreeMap<Digest, Recipe>, recipe: &Recipe) -> Result<Tree> {
        match recipe {
            Recipe::DebianSkeleton => Ok(debian::database::skeleton()),
            Recipe::DebianBase => Ok(debian::database::base()),
            Recipe::Unpacked { .. } => Ok(Tree::default()),
            Recipe::BaseRecord { layers } => self.base_record(recipes, layers).await,
            Recipe::Deb { deb, options } => {
                let bytes = self.deb(deb).await?;
                let (file, options) = (deb.file.clone(), options.clone());
                let unpacked = tokio::task::spawn_blocking(move || debian::unpack(&file, &bytes, &options)).await??;
                self.store.record_action(&control_key(recipe), &unpacked.control)?;
                Ok(unpacked.tree)
            }
            Recipe::DebianDatabase { packages, below } => {
                let mut controls = Vec::new();
                for key in packages {
                    let recipe = &recipes[key];
                    let control: Option<debian::Control> = self.store.action(&control_key(recipe));
                    controls.push(control.with_context(|| format!("what `{}` says of itself is missing", recipe.title()))?);
                }
                let before = match below {
                    Some(key) => self.status_of(key)?,
                    None => String::new(),
                };
                // On top of a configured base its trigger files stay as they are.
                let mut tree = if below.is_none() { debian::database::triggers(&controls) } else { Tree::default() };
                tree.insert("var/lib/dpkg/status", Node::file(0o644, debian::database::merge(&before, &controls)))?;
                Ok(tree)
            }
            Recipe::Wheel { name, input, python, .. } => {
                let bytes = self.python_file(name, input).await?;
                let (file, layout) = (input.file.clone(), python::Layout::new(python));
                Ok(tokio::task::spawn_blocking(move || python::wheel::install(&file, &bytes, &layout)).await??)
            }
            Recipe::VirtualEnvironment { python, interpreter } => {
                Ok(python::venv::tree(&python::Layout::new(python), interpreter)?)
            }
            Recipe::Cpython { version, input, .. } => {
                let (bytes, file, version) = (self.store.read(&input.digest)?, input.file.clone(), version.clone());
                Ok(tokio::task::spawn_blocking(move || python::build::tree(&file, &bytes, &version)).await??)
            }
            Recipe::Without { package, stay, python } => self.without(package, stay, python).await,
            Recipe::Link { component, metadata, python } => {
                Ok(python::editable::tree(component, metadata, &python::Layout::new(python))?)
            }
            Recipe::Files { files, .. } => {
                let mut tree = Tree::default();
                for (path, file) in files {
                    tree.insert(path, Node::file(file.mode, file.content.clone()))?;
                }
                Ok(tree)
            }
            Recipe::Account { name, id, below } => {
                let mut files = BTreeMap::new();
                for path in debian::account::FILES {
                    let found = below.iter().map(|key| self.left_file(key, path)).find_map(Result::transpose);
                    files.insert(path, found.transpose()?.with_context(|| format!("no configured package left `{path}`"))?);
                }
                Ok(debian::account::tree(name, *id, &files)?)
            }
            Recipe::BaseLayer { .. } | Recipe::DebianConfigured { .. } | Recipe::Sdist { .. } | Recipe::ByteCode { .. } => {
                bail!("`{}` is not made of files", recipe.title())
            }
        }
    }

    /// Fetches what a recipe is made of; that needs no memory worth counting.
    async fn bring(&self, recipe: &Recipe) -> Result<()> {
        match recipe {
            Recipe::Deb { deb, .. } => debian::download(&self.fetcher, &self.mirror, deb).await,
            Recipe::BaseLayer { layer, from } => crate::registry::base::fetch_layer(&self.store, from, layer).await,
            Recipe::Wheel { name, input, .. } => self.python_input(name, input).await,
            Recipe::Cpython { input, .. } => self.cpython.bring(&self.fetcher, &self.store, &input.file, &input.digest).await,
            _ => Ok(()),
        }
    }

    /// Debian packages that making the plan takes, and that are neither here nor to be had, by file name.
    pub async fn gone(&self, plan: &Plan) -> Result<Vec<String>> {
        let missing = self.missing(plan);
        let debs = missing.iter().filter_map(|key| match &plan.recipes[key] {
            Recipe::Deb { deb, .. } => Some(deb),
            _ => None,
        });
        let asked = debs.map(|deb| async move {
            match debian::download(&self.fetcher, &self.mirror, deb).await {
                Ok(()) => Ok(None),
                Err(error) if debian::is_gone(&error) => Ok(Some(format!("`{}`", deb.file))),
                Err(error) => Err(error),
            }
        });
        Ok(futures_util::future::try_join_all(asked).await?.into_iter().flatten().collect())
    }

    /// MiB of memory that making it takes, about: the packed file and what is in it.
    fn weight(&self, recipe: &Recipe) -> u32 {
        let packed = match recipe {
            Recipe::Deb { deb, .. } => self.store.size(&deb.sha256).map(|size| size * 6),
            Recipe::Wheel { input, .. } => self.store.size(&input.digest).map(|size| size * 3),
            Recipe::Cpython { input, .. } => self.store.size(&input.digest).map(|size| size * 5),
            _ => None,
        };
        u32::try_from(packed.unwrap_or(0) >> 20).unwrap_or(u32::MAX).clamp(16, super::MEMORY)
    }

    async fn deb(&self, deb: &debian::LockedDeb) -> Result<Vec<u8>> {
        debian::download(&self.fetcher, &self.mirror, deb).await?;
        Ok(self.store.read(&deb.sha256)?)
    }

    async fn python_input(&self, project: &str, input: &Input) -> Result<()> {
        if !self.store.has(&input.digest) {
            let urls = self.index.urls(&self.fetcher, project, &input.file).await?;
            self.fetcher.file(&urls, &input.digest).await?;
        }
        Ok(())
    }

    pub(super) async fn python_file(&self, project: &str, input: &Input) -> Result<Vec<u8>> {
        self.python_input(project, input).await?;
        Ok(self.store.read(&input.digest)?)
    }

    /// Gives the engine an image of these fragments, to run a step on.
    pub(super) async fn step_image(&self, layers: &[Vec<Digest>]) -> Result<String> {
        let mut assembled = Vec::new();
        for keys in layers {
            assembled.push(self.layer("step", keys).await?);
        }
        // Builds of one store take turns; those of others must not take this one's image away.
        let store = self.store.root().to_string_lossy();
        let tag = Digest::of_value(&(store, assembled.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>()));
        let reference = format!("{STEP_IMAGES}{}", tag.short());
        // Called the engine's own, so that any engine runs it: what is in it tells the kernel to emulate.
        let architecture = self.engine.architecture().await?;
        let image = Image::new(reference.clone(), &architecture, &Settings::default(), assembled);
        let mut steps = self.steps.lock().await;
        if !steps.contains_key(&reference) {
            self.load(&[image], false).await?;
            steps.insert(reference.clone(), false);
        }
        drop(steps);
        Ok(reference)
    }

    /// The image of a base, to run Python on, and its interpreter.
    pub(super) async fn step_base(
        &self,
        recipes: &BTreeMap<Digest, Recipe>,
        on: &Digest,
    ) -> Result<(String, python::Interpreter)> {
        let base = Plan::base(recipes, on).zip(Plan::interpreter(recipes, on));
        let (base, interpreter) = base.context("the step stands on nothing that was configured")?;
        Ok((self.step_image(&base).await?, interpreter))
    }

    pub(super) async fn run_step(&self, mut step: Step) -> Result<tempfile::NamedTempFile> {
        // What runs here has this process's cores anyway.
        if self.one_core && self.engine.keeps_images() {
            // Of util-linux, which every Debian has.
            step.command.splice(0..0, ["taskset", "--cpu-list", "0"].map(String::from));
        }
        let output = tempfile::NamedTempFile::new_in(self.store.temporary())?;
        self.engine.run_step(&step, output.path()).await?;
        Ok(output)
    }

    async fn configure(&self, below: &[Vec<Digest>], again: bool) -> Result<Tree> {
        let image = self.step_image(below).await?;
        let step = Step {
            name: "configure".into(),
            image,
            command: ["/bin/sh", "-c", &if again { debian::configure::script_on_top() } else { debian::configure::script() }]
                .map(String::from)
                .to_vec(),
            environment: vec![format!("SOURCE_DATE_EPOCH={SOURCE_DATE_EPOCH}"), "PATH=/usr/sbin:/usr/bin:/sbin:/bin".into()],
            output: Output::Everything,
            ..Step::default()
        };
        // What was there is read while the step runs.
        let (export, known) = tokio::try_join!(self.run_step(step), self.below(below))?;
        tokio::task::spawn_blocking(move || {
            let mut changes = known.changes(std::io::BufReader::new(export.reopen()?))?;
            debian::configure::seal(&mut changes);
            super::byte_code::settle(&mut changes)?;
            Ok(changes)
        })
        .await?
    }

    async fn build_wheels(&self, recipes: &BTreeMap<Digest, Recipe>, on: &Digest, keys: &[Digest]) -> Result<()> {
        let (image, interpreter) = self.step_base(recipes, on).await?;
        let mut input = Tree::default();
        input.insert("build/build_wheels.py", Node::file(0o644, python::BUILD_WHEELS))?;
        let mut names = BTreeMap::new();
        for (number, key) in keys.iter().enumerate() {
            let Recipe::Sdist { name, input: sdist, builders, python, .. } = &recipes[key] else {
                bail!("not a source distribution")
            };
            input.insert(
                &format!("build/sdists/{number}/{}", sdist.file),
                Node::file(0o644, self.python_file(name, sdist).await?),
            )?;
            names.insert(number.to_string(), (key, sdist.file.clone(), python.clone()));
            for builder in builders {
                let project = builder.file.split('-').next().unwrap_or_default().to_owned();
                let bytes = self.python_file(&project, builder).await?;
                for (path, node) in python::wheel::contents(&builder.file, &bytes)?.iter() {
                    if input.get(&format!("build/builders/{path}")).is_none() {
                        input.insert(&format!("build/builders/{path}"), node.clone())?;
                    }
                }
            }
        }
        let input = tar_of(&self.store, &input)?;
        let step = Step {
            name: "build wheels".into(),
            image,
            command: [&interpreter.program(), "/build/build_wheels.py", "/build/sdists", "/build/wheels"]
                .map(String::from)
                .to_vec(),
            environment: step_environment(&["PYTHONPATH=/build/builders"]),
            input: Some(input.path().to_owned()),
            output: Output::Folder("/build/wheels".into()),
            ..Step::default()
        };
        let wheels = self.run_step(step).await?;
        for (path, content) in files_of(wheels.reopen()?)? {
            // wheels/<number>/<file>
            let parts: Vec<&str> = path.split('/').collect();
            let ["wheels", number, file] = parts.as_slice() else { continue };
            let Some((key, _, python)) = names.remove(*number) else {
                bail!("two wheels came from one source distribution: `{file}`")
            };
            let tree = python::wheel::install(file, &content, &python::Layout::new(&python))?;
            self.keep(key, tree).await?;
        }
        match names.values().next() {
            None => Ok(()),
            Some((_, file, _)) => bail!("no wheel came from `{file}`"),
        }
    }

    /// dpkg's status file as a configure step left it.
    fn status_of(&self, key: &Digest) -> Result<String> {
        self.left_file(key, "var/lib/dpkg/status")?.context("no dpkg status was left")
    }

    /// A text file as a configure step left it, if it changed that.
    fn left_file(&self, key: &Digest, wanted: &str) -> Result<Option<String>> {
        let fragment = self.fragment(key).context("the configured packages are missing")?;
        let mut stacked = Stacked::default();
        stacked.add(std::io::BufReader::with_capacity(1 << 18, self.store.reader(&fragment.content)?), |path| path == wanted)?;
        Ok(stacked.text(wanted))
    }
}

/// Writes the fragment and remembers that the recipe gave it.
pub(super) fn keep(store: &Store, key: &Digest, tree: Tree) -> Result<()> {
    tree.check()?;
    let (folders, content) = tree.split_folders();
    let mut bytes = Vec::new();
    folders.write_fragment(&mut bytes)?;
    let folders = store.put(&bytes)?;
    let mut writer = store.writer()?;
    content.write_fragment(&mut writer)?;
    let (content, _) = writer.commit()?;
    store.record_action(key, &super::Fragment { folders, content })?;
    Ok(())
}

/// Where the record of a package is kept that its unpacking read.
fn control_key(recipe: &Recipe) -> Digest {
    Digest::of_value(&("control", recipe.key()))
}

pub(super) fn step_environment(more: &[&str]) -> Vec<String> {
    let epoch = format!("SOURCE_DATE_EPOCH={SOURCE_DATE_EPOCH}");
    // Where a configure step left the interpreter's own: a third of a process's start.
    let cache = format!("PYTHONPYCACHEPREFIX=/{}", python::BYTE_CODE);
    let own =
        [&epoch, &cache, "PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1", "LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
    own.iter().chain(more).map(|text| (*text).to_owned()).collect()
}

pub(super) fn tar_of(store: &Store, tree: &Tree) -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new_in(store.temporary())?;
    tree.write_fragment(&mut file)?;
    file.write_all(&crate::oci::END_MARKER)?;
    Ok(file)
}

/// The largest file that a step may leave.
const LARGEST_FILE: u64 = 512 << 20;

/// Calls `each` for the regular files of a tar stream whose normal path is wanted.
pub(super) fn each_file(
    stream: impl Read,
    wanted: impl Fn(&str) -> bool,
    mut each: impl FnMut(&str, Vec<u8>) -> Result<()>,
) -> Result<()> {
    let mut archive = tar::Archive::new(std::io::BufReader::with_capacity(1 << 18, stream));
    archive.set_ignore_zeros(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let path = Tree::normal_path(std::str::from_utf8(&entry.path_bytes())?)?;
            if wanted(&path) {
                anyhow::ensure!(entry.size() <= LARGEST_FILE, "`{path}` is larger than {LARGEST_FILE} bytes");
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                each(&path, content)?;
            }
        }
    }
    Ok(())
}

/// All of them.
pub(super) fn files_of(stream: impl Read) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    each_file(
        stream,
        |_| true,
        |path, content| {
            files.push((path.to_owned(), content));
            Ok(())
        },
    )?;
    Ok(files)
}
