use super::output::{self, Output};
use super::{Context, platform, python, request};
use crate::build::{AnotherArchitecture, Builder, MEMORY, Outcome};
use crate::cli::{Build, One, Request};
use crate::debian::{self, DebianError, Mirror};
use crate::environment::Environment;
use crate::error::Fault;
use crate::lock::{self, Lock, Requirements};
use crate::model::{Digest, Platform};
use crate::plan::{self, Plan};
use crate::python::TreeLock;
use crate::python::{Index, PythonError, index};
use crate::release::{Catalog, Component, Cuda, Era, Release};
use crate::render::{Inputs, Layout};
use crate::source;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

pub async fn run(context: &Context, options: &Build) -> Result<()> {
    let outputs = options.output.iter().map(|text| Output::parse(text)).collect::<Result<Vec<_>, _>>()?;
    context.ask_early();
    let mut environment = environment(context, &options.request).await?;
    super::base::meant(context, &environment, options.request.base.as_deref(), options.locked).await?;
    let mut how = How {
        locked: options.locked,
        store_only: !outputs.is_empty(),
        verbose: options.verbose,
        only: options.image.clone(),
        ..How::default()
    };
    let outcome = if how.store_only {
        let platforms = platform::asked(context, &options.platform).await?;
        output::may(&outputs, &platforms)?;
        let mut made = Vec::new();
        for platform in platforms {
            how.platform = Some(platform);
            made.push((platform, images_as(context, &mut environment, &how).await?));
        }
        output::write(context, &environment, &made, &outputs).await?;
        if made.len() > 1 {
            let ids: BTreeMap<String, BTreeMap<String, Digest>> =
                made.iter().map(|(platform, outcome)| (platform.to_string(), outcome.ids())).collect();
            let row = |platform: &String, (name, id): (&String, &Digest)| vec![platform.clone(), name.clone(), id.to_string()];
            let rows = ids.iter().flat_map(|(platform, ids)| ids.iter().map(move |one| row(platform, one)));
            return context.print(&ids, &crate::ui::table(&rows.collect::<Vec<_>>()));
        }
        made.remove(0).1
    } else {
        images_as(context, &mut environment, &how).await?
    };
    if options.check {
        return super::check::run(context, &environment, &outcome).await;
    }
    let ids = outcome.ids();
    let text: Vec<Vec<String>> = ids.iter().map(|(name, id)| vec![name.clone(), id.to_string()]).collect();
    context.print(&ids, &crate::ui::table(&text))
}

/// One that is there, or a new one with its trees; nothing of it is started.
async fn environment(context: &Context, request: &Request) -> Result<Environment> {
    super::base::without_another_python(request)?;
    let one = One { env: request.one.env.clone() };
    if *request == (Request { one, base: request.base.clone(), ..Request::default() }) {
        return context.environment(&request.one);
    }
    let engine = if Context::has_engine() { Some(context.engine().await?) } else { None };
    let opened = request::open(context, request, engine.as_deref()).await?;
    Ok(opened.bring(context, request).await?.0)
}

/// The plan of an environment, from its release and the trees in its folder.
pub fn plan(folder: &Path, release: &Release) -> Result<Plan> {
    let mut metadata = BTreeMap::new();
    for component in release.linked() {
        let tree = folder.join(&component.name);
        metadata.insert(component.name.clone(), source::metadata(&tree, &component.project)?);
    }
    plan::plan(release, &metadata)
}

/// The same, of some images.
pub fn plan_of(folder: &Path, release: &Release, only: &[String]) -> Result<Plan> {
    let mut plan = plan(folder, release)?;
    if let Some(name) = only.iter().find(|name| plan.image(name).is_none()) {
        let known: Vec<&str> = plan.images.iter().map(|image| image.name.as_str()).collect();
        return Err(Fault::usage(format!("release {} has no image `{name}`", release.branch))
            .hint(format!("it has {}", known.join(", ")))
            .into());
    }
    plan.images.retain(|image| only.is_empty() || only.contains(&image.name));
    Ok(plan)
}

/// How images are built.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// What is locked is taken, or it is an error.
    pub locked: bool,
    /// The engine gets none of the images.
    pub store_only: bool,
    /// Each layer is told of.
    pub verbose: bool,
    /// What the images are for; the engine's own where nothing is said.
    pub platform: Option<Platform>,
    /// Names of the images that are made; all where there are none.
    pub only: Vec<String>,
}

pub async fn images(context: &Context, environment: &mut Environment, locked: bool) -> Result<Outcome> {
    images_as(context, environment, &How { locked, ..How::default() }).await
}

/// Makes the images of an environment and remembers their references.
///
/// What the lock says is what is built. Where it cannot be, since a tree requires other
/// Python packages or the mirror dropped a file, the lock is changed and that is said;
/// with `locked` it is an error.
pub async fn images_as(context: &Context, environment: &mut Environment, how: &How) -> Result<Outcome> {
    let How { locked, store_only, verbose, .. } = *how;
    let (mut release, mut lock) = self::locked(environment)?;
    let assumed = context.architecture_of(environment).filter(|_| how.platform.is_none());
    let builder = Builder { keep_steps: !store_only, ..builder_on(context, assumed).await? };
    if !store_only && builder.engine.keeps_images() {
        context.at_home(environment).await?;
    }
    if python::complete(context, &mut release, &mut lock, locked).await? {
        lock.write(&environment.lock_file())?;
    }
    meet_requirements(context, environment, &builder.on(Platform::LOCKED), &mut release, &mut lock, locked).await?;
    let assumed = builder.assumed;
    let platform = how.platform.map_or_else(|| Platform::parse(&builder.architecture), Ok)?;
    if platform::complete(context, &release, &mut lock, platform, locked).await? {
        lock.write(&environment.lock_file())?;
    }
    lock.apply_on(&mut release, platform);
    python::at_hand(context, &release).await?;
    let builder = Builder { assumed, ..builder.on(platform) };
    let plan = |folder: &Path, release: &Release| plan_of(folder, release, &how.only);
    let planned = plan(&environment.folder, &release)?;
    let report = if verbose { builder.report(&planned) } else { Vec::new() };
    let made = builder.build(&planned, store_only).await;
    let outcome = match made {
        Err(error) if error.is::<AnotherArchitecture>() => {
            if let Some(home) = &mut environment.home {
                home.architecture = Some(builder.engine.architecture().await?);
            }
            return Box::pin(images_as(context, environment, how)).await;
        }
        Err(error) if debian::is_gone(&error) && !locked => {
            replace_gone(context, &builder, &mut release, &mut lock, platform, &error).await?;
            lock.write(&environment.lock_file())?;
            builder.build(&plan(&environment.folder, &release)?, store_only).await?
        }
        Err(error) if debian::is_gone(&error) => {
            let mut gone = builder.gone(&planned).await?;
            gone.truncate(20);
            let text = format!("what is locked cannot be had any more: {}", gone.join(", "));
            return Err(error.context(
                Fault::new(text)
                    .hint("name a snapshot archive that has it: `BAIBOX_DEBIAN_SNAPSHOT=ADDRESS`")
                    .hint("or leave `--locked` away: then newer versions are chosen, and said"),
            ));
        }
        made => made?,
    };
    if verbose {
        context.ui.say(&super::explain::layers(&report));
    }
    let references: BTreeMap<String, String> =
        outcome.images.iter().map(|(name, image)| (name.clone(), image.reference.clone())).collect();
    let commits = release.linked().map(|component| async {
        let tree = environment.folder.join(&component.name);
        anyhow::Ok((component.name.clone(), source::commit(&tree).await?))
    });
    lock.sources = futures_util::future::try_join_all(commits).await?.into_iter().collect();
    lock.write(&environment.lock_file())?;
    if !store_only && (environment.images != references || !environment.superseded.is_superset(&outcome.steps)) {
        let earlier = std::mem::replace(&mut environment.images, references);
        environment.superseded.extend(earlier.into_values().chain(outcome.steps.iter().cloned()));
        let current: Vec<String> = environment.images.values().cloned().collect();
        environment.superseded.retain(|reference| !current.contains(reference));
        environment.save(&context.store)?;
    }
    Ok(outcome)
}

/// What the trees require; a tree that states nothing that can be read is left out.
pub fn requirements(folder: &Path, release: &Release) -> Result<Requirements> {
    let mut all = Requirements::new();
    for component in release.linked() {
        let read = source::requirements(&folder.join(&component.name), &release.python);
        if let Some(required) = read.with_context(|| own_lock(component))? {
            all.insert(component.name.clone(), required);
        }
    }
    Ok(all)
}

fn own_lock(component: &Component) -> String {
    format!("`{}/python.lock` cannot be used", component.name)
}

/// Resolves Python packages again when the trees require what the pins do not meet.
async fn meet_requirements(
    context: &Context,
    environment: &Environment,
    builder: &Builder,
    release: &mut Release,
    lock: &mut Lock,
    locked: bool,
) -> Result<()> {
    let now = requirements(&environment.folder, release)?;
    let unmet = lock::unmet(release, &lock.python, &now)?;
    if unmet.is_empty() {
        lock.python.requirements = now;
        return Ok(());
    }
    let list: Vec<String> = unmet.iter().map(ToString::to_string).collect();
    let fault = || Fault::new(format!("the lock does not meet what the source trees require: {}", list.join("; ")));
    if context.offline {
        return Err(fault().hint("leave `--offline` away: Python packages must be resolved again").into());
    }
    if locked {
        let fault = fault();
        return Err(fault.hint("leave `--locked` away: then Python packages are resolved again").into());
    }
    let stage = context.ui.stage("lock");
    list.iter().for_each(|line| context.ui.remark("lock", line));
    let mut draft = Catalog::draft(&release.branch)?;
    draft.debian_lock.clone_from(&release.debian_lock);
    (draft.standalone, draft.cpython) = (release.standalone.clone(), release.cpython.clone());
    draft.base.clone_from(&release.base);
    let python = if take_tree_locks(builder, &environment.folder, &mut draft).await? {
        builder.resolve_python_anew(&draft, &plan(&environment.folder, &draft)?, &now, &stage).await?
    } else {
        builder.resolve_python(release, &plan(&environment.folder, release)?, &now, &unmet, &stage).await?
    };
    let changes = lock::python_changes(&lock.python, &python);
    changes.iter().for_each(|line| context.ui.remark("lock", line));
    lock.set_python(python);
    lock.apply(release);
    lock.write(&environment.lock_file())?;
    stage.done(&format!("Python packages resolved as of {}, {} changed", lock.python.cutoff, changes.len()));
    Ok(())
}

/// Where a tree has a lock of its own, its files and digests are what is taken, natively.
pub async fn take_tree_locks(builder: &Builder, folder: &Path, draft: &mut Release) -> Result<bool> {
    let mut found = false;
    for component in draft.components.clone() {
        let text = std::fs::read_to_string(folder.join(&component.name).join("python.lock")).unwrap_or_default();
        if let Some(lock) = TreeLock::read(&text, &draft.python).with_context(|| own_lock(&component))? {
            let files = builder.locked_by(&lock, draft).await?;
            draft.python_lock.as_mut().context("the release has no Python lock")?.files.extend(files);
            found = true;
        }
    }
    Ok(found)
}

async fn replace_gone(
    context: &Context,
    builder: &Builder,
    release: &mut Release,
    lock: &mut Lock,
    platform: Platform,
    error: &anyhow::Error,
) -> Result<()> {
    let stage = context.ui.stage("lock");
    if let Some(gone) = error.downcast_ref::<DebianError>() {
        context.ui.remark("lock", &format!("{gone}: Debian packages are resolved again"));
    }
    super::base::at_hand(context, release).await?;
    let sets = context.chooser(&builder.fetcher, &stage).resolve(release, platform).await?;
    let before = lock.platform.get_mut(platform.architecture()).map_or(&mut lock.debian, |other| &mut other.debian);
    let changes = lock::debian_changes(before, &sets);
    changes.iter().for_each(|line| context.ui.remark("lock", line));
    *before = sets;
    lock.apply_on(release, platform);
    stage.done(&format!("Debian packages as the mirror has them today, {} changed", changes.len()));
    Ok(())
}

/// The release as the environment's own lock pins it.
pub fn locked(environment: &Environment) -> Result<(Release, Lock)> {
    let mut release = environment.release()?;
    let lock = match Lock::read(&environment.lock_file())? {
        Some(lock) => lock,
        None => Lock::of_release(&release)?,
    };
    lock.apply(&mut release);
    Ok((release, lock))
}

/// What building needs, from this host's configuration.
pub async fn builder(context: &Context) -> Result<Builder> {
    builder_on(context, None).await
}

/// The same; with an architecture that the engine need not be asked for first.
async fn builder_on(context: &Context, assumed: Option<String>) -> Result<Builder> {
    let lease = context.store.lease()?;
    Ok(Builder { lease: Some(Arc::new(lease)), ..leaseless(context, assumed).await? })
}

/// For who holds the store in another way.
pub async fn builder_without_lease(context: &Context) -> Result<Builder> {
    leaseless(context, None).await
}

async fn leaseless(context: &Context, assumed: Option<String>) -> Result<Builder> {
    let engine = context.executor().await?;
    Ok(Builder {
        assumed: assumed.is_some(),
        architecture: match assumed {
            Some(architecture) => architecture,
            None => engine.architecture().await?,
        },
        store: context.store.clone(),
        fetcher: context.fetcher()?,
        mirror: Arc::new(Mirror::of_host()),
        index: Arc::new(python_index(context).await?),
        cpython: Arc::new(crate::python::standalone::Source::of_host()),
        engine,
        ui: context.ui.clone(),
        steps: Arc::default(),
        keep_steps: false,
        memory: Arc::new(tokio::sync::Semaphore::new(MEMORY as usize)),
        one_core: false,
        lease: None,
    })
}

/// The index that pip on this host would use.
pub async fn python_index(context: &Context) -> Result<Index> {
    if context.offline {
        return Ok(Index::new("offline:"));
    }
    if let Some(base) = index::configured().or_else(index::default_of_host_pip) {
        return Ok(Index::new(&base));
    }
    // No pip here: its own default is read from the pip that Debian packages.
    let fetcher = context.fetcher()?;
    let deb = Catalog::pip()?;
    crate::debian::download(&fetcher, &Mirror::of_host(), &deb).await?;
    let bytes = context.store.read(&deb.sha256)?;
    let unpacked = crate::debian::unpack(&deb.file, &bytes, &crate::debian::Options::default())?;
    let base = match unpacked.tree.get("usr/lib/python3/dist-packages/pip/_internal/models/index.py") {
        Some(crate::oci::Node::File { content, .. }) => index::default_of_pip(&String::from_utf8_lossy(content)),
        _ => None,
    };
    Ok(Index::new(&base.ok_or(PythonError::NoIndex)?))
}

pub async fn render(context: &Context, one: &One) -> Result<()> {
    let mut environment = context.environment(one)?;
    let outcome = images(context, &mut environment, false).await?;
    let changed = write(context, &environment, &outcome).await?;
    context.print(&changed, &format!("{changed} files written in {}", environment.state_folder().display()))
}

/// What rendering needs to know of the images, for any engine.
pub fn inputs(release: &Release, outcome: &Outcome) -> Result<Inputs> {
    let (_, image) = outcome.images.iter().find(|(name, _)| name == "python").context("the compute image was not built")?;
    let compute = release.images.iter().find(|image| image.name == "python").context("the release has no compute image")?;
    Ok(Inputs {
        socket: "/var/run/docker.sock".into(),
        start_interval: false,
        compute_id: image.id().to_string(),
        compute: compute.settings.clone(),
        test_engine: None,
    })
}

/// Writes what differs of the rendered files; says how many did.
pub async fn write(context: &Context, environment: &Environment, outcome: &Outcome) -> Result<usize> {
    let release = environment.release()?;
    let mut inputs = inputs(&release, outcome)?;
    inputs.socket = crate::host::engine_socket();
    // Whoever has the engine owns the host: not what one develops in gets it, but what is thrown away after the tests.
    let has_engine = environment.owner.is_some() || release.era == Era::Monorepo;
    inputs.test_engine = has_engine.then(|| release.test_engine.clone());
    inputs.start_interval = context.engine().await?.facts().await?.has_start_interval();
    let state = environment.state_folder();
    let mut changed = 0;
    for (place, text) in crate::render::render(environment, &inputs, &Layout::here(environment)?)? {
        changed += usize::from(write_changed(&state.join(&place), &text)?);
    }
    for (place, text) in crate::render::editor_files(environment, &release)? {
        changed += usize::from(write_changed(&environment.folder.join(&place), &text)?);
    }
    if environment.cuda == Some(Cuda::Mock) {
        changed += usize::from(mock_devices(&release.cuda_plugin(Cuda::Mock)?.0.devices, &state)?);
    }
    changed += usize::from(choose_gpu(context, environment).await?);
    folders(environment)?;
    Ok(changed)
}

/// What services and sessions write in.
pub fn folders(environment: &Environment) -> Result<()> {
    for folder in ["ipc/container", "scratches", "vfolder/volume1"] {
        let path = environment.state_folder().join(folder);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
    }
    Ok(())
}

/// The mock plug-in's devices are written once, and a person's from then on.
fn mock_devices(name: &str, state: &Path) -> Result<bool> {
    let path = state.join("agent").join(name);
    if path.exists() {
        return Ok(false);
    }
    write_changed(&path, Catalog::file(&format!("cuda/{name}"))?)
}

/// Lets the script choose that dev container tools run too; says why a GPU is not used.
async fn choose_gpu(context: &Context, environment: &Environment) -> Result<bool> {
    let chosen = || std::fs::read(environment.state_folder().join("compose.gpu.yaml")).ok();
    let before = chosen();
    let script = environment.state_folder().join("services/gpu.sh");
    let image = environment.images.get("agent").context("the agent's image was not built")?;
    let output = tokio::process::Command::new("/bin/sh").arg(&script).arg(image).stdin(Stdio::null()).output().await;
    let output = output.with_context(|| format!("cannot run `{}`", script.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "`{}` failed: {}", script.display(), said.trim());
    let off = std::fs::read(environment.state_folder().join("gpu/off.yaml")).ok();
    if environment.cuda == Some(Cuda::Gpu) && chosen() == off {
        return Err(Fault::engine(format!("the agent gets no GPU: {}", said.trim()))
            .hint("see what is missing: `baibox doctor --cuda`")
            .hint(format!("without a GPU: `baibox up --env {} --cuda mock`", environment.id))
            .into());
    }
    if !said.trim().is_empty() {
        context.ui.warn(said.trim());
    }
    Ok(chosen() != before)
}

/// Says whether the file was written; one that has this text already is left alone.
pub fn write_changed(path: &Path, text: &str) -> Result<bool> {
    if std::fs::read_to_string(path).ok().as_deref() == Some(text) {
        return Ok(false);
    }
    crate::store::write_atomically(path, text.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(true)
}
