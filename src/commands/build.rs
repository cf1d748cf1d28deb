use super::Context;
use crate::build::{Builder, Outcome};
use crate::cli::One;
use crate::debian::Mirror;
use crate::environment::Environment;
use crate::fetch::Fetcher;
use crate::plan::{self, Plan};
use crate::python::{Index, PythonError, index};
use crate::release::{Catalog, Release};
use crate::source;
use anyhow::Result;
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
    let release = Catalog::release(environment.branch.as_str())?;
    let plan = plan(environment, &release)?;
    let builder = builder(context).await?;
    let outcome = builder.build(&plan).await?;
    let references: BTreeMap<String, String> =
        outcome.images.iter().map(|(name, image)| (name.clone(), image.reference.clone())).collect();
    if environment.images != references {
        environment.images = references;
        environment.save(&context.store)?;
    }
    Ok(outcome)
}

/// What building needs, from this host's configuration.
pub async fn builder(context: &Context) -> Result<Builder> {
    let engine = context.engine().await?;
    Ok(Builder {
        store: context.store.clone(),
        fetcher: Fetcher::new(&context.store)?,
        mirror: Arc::new(Mirror::of_host()),
        index: Arc::new(python_index(context).await?),
        architecture: engine.facts().await?.architecture,
        engine,
        ui: context.ui.clone(),
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
