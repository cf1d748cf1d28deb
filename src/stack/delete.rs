//! Takes away exactly what belongs to an environment.

use crate::engine::{Engine, STEP_IMAGES};
use crate::environment::Environment;
use crate::model::EnvironmentId;
use crate::render::REGISTRY;
use anyhow::Result;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Images that agents bring for all environments of an engine.
pub const HELPERS: [&str; 2] = ["backendai-socket-relay:latest", "backendai-krunner-extractor:latest"];

/// What the engine holds for an environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leftovers {
    /// ID and name.
    pub containers: Vec<(String, String)>,
    pub networks: Vec<String>,
    pub volumes: Vec<String>,
    /// IDs of those that its tests built, and references that no other environment uses.
    pub images: Vec<String>,
    /// References that stay, since environments of other stores use them or may.
    pub stay: Vec<String>,
}

/// Lists it; images that one of `others`, which are this store's, uses as well are not in it.
pub async fn leftovers(engine: &dyn Engine, environment: &Environment, others: &[Environment]) -> Result<Leftovers> {
    let others: Vec<&Environment> = others.iter().filter(|other| other.id != environment.id).collect();
    let shared: BTreeSet<&String> = others.iter().flat_map(|other| other.images.values().chain(&other.superseded)).collect();
    let known = others.iter().map(|other| &other.id).chain([&environment.id]).map(EnvironmentId::as_str).collect();
    let strangers = Strangers::on(engine, &known).await?;
    // What its tests built stands on what follows.
    let mut images = engine.images_of(&environment.id).await?;
    let mut stay = Vec::new();
    let helpers = HELPERS.map(String::from);
    let helpers = helpers.iter().filter(|_| others.is_empty());
    for reference in environment.images.values().chain(&environment.superseded).chain(helpers) {
        if shared.contains(reference) || engine.image(reference).await?.is_none() {
            continue;
        }
        let list = if strangers.may_use(reference) { &mut stay } else { &mut images };
        list.push(reference.clone());
    }
    let containers = engine.containers(&environment.id).await?;
    Ok(Leftovers {
        containers: containers.into_iter().map(|container| (container.id, container.name)).collect(),
        networks: engine.networks(&environment.id).await?,
        volumes: engine.volumes(&environment.id).await?,
        images,
        stay,
    })
}

/// References of baibox's images that nobody needs: no container has them, none of `all` environments, which are this
/// store's, and no environment of another store as far as the engine tells of it.
pub async fn unused_images(engine: &dyn Engine, all: &[Environment]) -> Result<Vec<String>> {
    let known = all.iter().map(|environment| environment.id.as_str()).collect();
    let strangers = Strangers::on(engine, &known).await?;
    let of_containers = engine.list().await?.into_iter().map(|listed| listed.container.image);
    let of_environments = all.iter().flat_map(|environment| environment.images.values().chain(&environment.superseded));
    let used: BTreeSet<String> = of_containers.chain(of_environments.cloned()).collect();
    let ours = |reference: &String| release_of(reference).is_some() || all.is_empty() && HELPERS.contains(&reference.as_str());
    let held = engine.images().await?.into_iter().flat_map(|image| image.references);
    let mut unused: Vec<String> =
        held.filter(|reference| ours(reference) && !used.contains(reference) && !strangers.may_use(reference)).collect();
    unused.sort();
    Ok(unused)
}

/// Environments on the engine that this store does not know: another user's, or another store's.
/// Of them only labels and containers tell.
struct Strangers {
    /// References of the images of each one's containers.
    images: BTreeMap<String, BTreeSet<String>>,
}

impl Strangers {
    async fn on(engine: &dyn Engine, known: &BTreeSet<&str>) -> Result<Self> {
        let mut images: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for owner in engine.owners().await? {
            images.entry(owner).or_default();
        }
        for listed in engine.list().await? {
            let Some(owner) = listed.environment else { continue };
            images.entry(owner).or_default().insert(listed.container.image);
        }
        images.retain(|owner, _| !known.contains(owner.as_str()));
        Ok(Self { images })
    }

    /// Some images have no container until a session begins, and those of a new build until it is
    /// started. So a release that a stranger runs is not touched; where one has no container that
    /// would tell its release, and for the agents' helpers, any may be. What steps run on is of one store.
    fn may_use(&self, reference: &str) -> bool {
        if reference.starts_with(STEP_IMAGES) {
            return false;
        }
        let release = release_of(reference);
        self.images.values().any(|images| {
            let mut releases = images.iter().filter_map(|image| release_of(image)).peekable();
            release.is_none() || releases.peek().is_none() || releases.any(|other| Some(other) == release)
        })
    }
}

/// `baibox.local/21.03` of `baibox.local/21.03/manager:abc`.
fn release_of(reference: &str) -> Option<&str> {
    let (release, _) = reference.rsplit_once('/')?;
    release.strip_prefix(REGISTRY)?.starts_with('/').then_some(release)
}

/// How often the containers are asked for again; agents end theirs within a moment.
const ROUNDS: u32 = 50;

/// Removes it: containers first, since they hold the rest. The agent's own may come
/// and go meanwhile, so they are asked for until none is left.
pub async fn remove(engine: &dyn Engine, environment: &Environment, leftovers: &Leftovers) -> Result<()> {
    let mut round = 0;
    loop {
        let mut containers = engine.containers(&environment.id).await?;
        if containers.is_empty() {
            break;
        }
        // The agent makes containers: it goes first.
        containers.sort_by_key(|container| container.service != "agent");
        let mut last = Ok(());
        for container in &containers {
            if let Err(error) = engine.remove_container(&container.id).await {
                last = Err(error);
            }
        }
        round += 1;
        if round == ROUNDS {
            last?;
            anyhow::bail!("containers of `{}` come again and again", environment.id);
        }
        // The pace of asking; the condition is that none is left.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    for network in &leftovers.networks {
        engine.remove_network(network).await?;
    }
    for volume in &leftovers.volumes {
        engine.remove_volume(volume).await?;
    }
    for image in &leftovers.images {
        remove_image(engine, image).await?;
    }
    Ok(())
}

/// A container that the engine is just removing is in no list, but holds its image for a moment.
pub async fn remove_image(engine: &dyn Engine, image: &str) -> Result<()> {
    for _ in 1..ROUNDS {
        if engine.remove_image(image).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    match engine.remove_image(image).await {
        // Another user's environment, of another store, stands on it: it goes with that.
        Err(error) if format!("{error:#}").contains("is using its referenced image") => Ok(()),
        removed => removed,
    }
}
