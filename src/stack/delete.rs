//! Takes away exactly what belongs to an environment.

use crate::engine::Engine;
use crate::environment::Environment;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeSet;

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
}

/// Lists it; images that one of `others` uses as well are not in it.
pub async fn leftovers(engine: &dyn Engine, environment: &Environment, others: &[Environment]) -> Result<Leftovers> {
    let shared: BTreeSet<&String> = others
        .iter()
        .filter(|other| other.id != environment.id)
        .flat_map(|other| other.images.values().chain(&other.superseded))
        .collect();
    // What its tests built stands on what follows.
    let mut images = engine.images_of(&environment.id).await?;
    let helpers: Vec<String> =
        if others.iter().all(|other| other.id == environment.id) { HELPERS.map(String::from).to_vec() } else { Vec::new() };
    let own = environment.images.values().chain(&environment.superseded).chain(&helpers);
    for reference in own.filter(|reference| !shared.contains(reference)) {
        if engine.image(reference).await?.is_some() {
            images.push(reference.clone());
        }
    }
    let containers = engine.containers(&environment.id).await?;
    Ok(Leftovers {
        containers: containers.into_iter().map(|container| (container.id, container.name)).collect(),
        networks: engine.networks(&environment.id).await?,
        volumes: engine.volumes(&environment.id).await?,
        images,
    })
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
async fn remove_image(engine: &dyn Engine, image: &str) -> Result<()> {
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
