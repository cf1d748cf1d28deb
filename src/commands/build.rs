use super::Context;
use crate::build::{Builder, MEMORY, Outcome};
use crate::cli::One;
use crate::debian::Mirror;
use crate::environment::Environment;
use crate::fetch::Fetcher;
use crate::lock::Lock;
use crate::plan::{self, Plan};
use crate::python::{Index, PythonError, index};
use crate::release::{Catalog, Release};
use crate::render::Inputs;
use crate::source;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

pub async fn run(context: &Context, one: &One) -> Result<()> {
    let mut environment = context.environment(one)?;
    let outcome = images(context, &mut environment).await?;
    let ids: BTreeMap<&str, String> =
        outcome.images.iter().map(|(name, image)| (name.as_str(), image.id().to_string())).collect();
    let text: Vec<Vec<String>> = ids.iter().map(|(name, id)| vec![(*name).to_owned(), id.clone()]).collect();
    context.print(&ids, &crate::ui::table(&text))
}

/// The plan of an environment, from its release and its trees.
pub fn plan(environment: &Environment, release: &Release) -> Result<Plan> {
    let mut metadata = BTreeMap::new();
    for component in &release.components {
        let tree = environment.folder.join(&component.name);
        metadata.insert(component.name.clone(), source::metadata(&tree, &component.project)?);
    }
    plan::plan(release, &metadata)
}

/// Makes the images of an environment and remembers their references.
pub async fn images(context: &Context, environment: &mut Environment) -> Result<Outcome> {
    let (release, mut lock) = locked(environment)?;
    let plan = plan(environment, &release)?;
    let builder = builder(context).await?;
    let outcome = builder.build(&plan).await?;
    let references: BTreeMap<String, String> =
        outcome.images.iter().map(|(name, image)| (name.clone(), image.reference.clone())).collect();
    let commits = release.components.iter().map(|component| async {
        let tree = environment.folder.join(&component.name);
        anyhow::Ok((component.name.clone(), source::commit(&tree).await?))
    });
    lock.sources = futures_util::future::try_join_all(commits).await?.into_iter().collect();
    lock.write(&environment.lock_file())?;
    if environment.images != references {
        let earlier = std::mem::replace(&mut environment.images, references);
        environment.superseded.extend(earlier.into_values());
        let current: Vec<String> = environment.images.values().cloned().collect();
        environment.superseded.retain(|reference| !current.contains(reference));
        environment.save(&context.store)?;
    }
    Ok(outcome)
}

/// The release as the environment's own lock pins it.
pub fn locked(environment: &Environment) -> Result<(Release, Lock)> {
    let mut release = Catalog::release(environment.branch.as_str())?;
    let lock = match Lock::read(&environment.lock_file())? {
        Some(lock) => lock,
        None => Lock::of_release(&release)?,
    };
    lock.apply(&mut release);
    Ok((release, lock))
}

/// What building needs, from this host's configuration.
pub async fn builder(context: &Context) -> Result<Builder> {
    let engine = context.engine().await?;
    Ok(Builder {
        store: context.store.clone(),
        fetcher: Fetcher::new(&context.store)?,
        mirror: Arc::new(Mirror::of_host()),
        index: Arc::new(python_index(context).await?),
        architecture: engine.architecture().await?,
        engine,
        ui: context.ui.clone(),
        steps: Arc::default(),
        memory: Arc::new(tokio::sync::Semaphore::new(MEMORY as usize)),
    })
}

/// The index that pip on this host would use.
async fn python_index(context: &Context) -> Result<Index> {
    if let Some(base) = index::configured().or_else(index::default_of_host_pip) {
        return Ok(Index::new(&base));
    }
    // No pip here: its own default is read from the pip that Debian packages.
    let fetcher = Fetcher::new(&context.store)?;
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
    let outcome = images(context, &mut environment).await?;
    let changed = write(context, &environment, &outcome).await?;
    context.print(&changed, &format!("{changed} files written in {}", environment.state_folder().display()))
}

/// Writes what differs of the rendered files; says how many did.
pub async fn write(context: &Context, environment: &Environment, outcome: &Outcome) -> Result<usize> {
    let (_, image) = outcome.images.iter().find(|(name, _)| name == "python").context("the compute image was not built")?;
    let release = Catalog::release(environment.branch.as_str())?;
    let compute = release.images.iter().find(|image| image.name == "python").context("the release has no compute image")?;
    let inputs = Inputs {
        socket: crate::host::engine_socket(),
        start_interval: context.engine().await?.facts().await?.has_start_interval(),
        compute_id: image.id().to_string(),
        compute: compute.settings.clone(),
    };
    let state = environment.state_folder();
    let mut changed = 0;
    for (place, text) in crate::render::render(environment, &inputs)? {
        let path = state.join(&place);
        if std::fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
            crate::store::write_atomically(&path, text.as_bytes())
                .with_context(|| format!("cannot write `{}`", path.display()))?;
            changed += 1;
        }
    }
    for folder in ["ipc/container", "scratches", "vfolder/volume1"] {
        let path = state.join(folder);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
    }
    Ok(changed)
}
