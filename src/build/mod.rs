//! Turns a plan into fragments, layers and images: the store keeps what was made,
//! an executor runs the few steps that must run.

mod base;
mod byte_code;
mod check;
mod difference;
mod emulation;
mod load;
mod make;
mod report;
mod resolve;
mod tasks;
mod without;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

pub use check::first_difference;
pub use report::{LayerReport, Made};
pub use resolve::glibc;

use crate::debian::Mirror;
use crate::engine::Executor;
use crate::error::Fault;
use crate::fetch::{Fetcher, OFFLINE_HINT};
use crate::model::{Digest, Platform};
use crate::oci::{Image, Layer, Node, Tree};
use crate::plan::{ImagePlan, LayerPlan, Plan};
use crate::store::{Store, StoreLock, was_corrupt};
use crate::ui::Ui;
use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// MiB that unpacked archives may take together.
pub const MEMORY: u32 = 96;

/// What building needs of the world.
#[derive(Clone)]
pub struct Builder {
    pub store: Store,
    pub fetcher: Fetcher,
    pub mirror: Arc<Mirror>,
    pub index: Arc<crate::python::Index>,
    pub cpython: Arc<crate::python::standalone::Source>,
    pub engine: Arc<dyn Executor>,
    pub architecture: String,
    /// The architecture is what the engine said at another time; it is asked before anything is made.
    pub assumed: bool,
    pub ui: Ui,
    /// References of images that only steps run on, each loaded once, and whether the next build's steps would, too.
    /// They go when the build ends.
    pub steps: Arc<tokio::sync::Mutex<BTreeMap<String, bool>>>,
    /// Those that the next build's steps would run on stay: sending one takes longer than many a step.
    pub keep_steps: bool,
    /// Permits of one MiB each, so that archives unpacked at once fit in [`MEMORY`].
    pub memory: Arc<tokio::sync::Semaphore>,
    /// Steps run on one core, so that a difference would be seen.
    pub one_core: bool,
    /// Nothing that is built or read is pruned while a builder is there.
    pub lease: Option<Arc<StoreLock>>,
}

/// The engine has not the architecture that was assumed.
#[derive(Debug, thiserror::Error)]
#[error("the engine has another architecture than it had")]
pub struct AnotherArchitecture;

/// What a recipe gave: its folders, and everything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment {
    pub folders: Digest,
    pub content: Digest,
}

/// What a build did.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub images: Vec<(String, Image)>,
    pub fragments_made: usize,
    pub images_loaded: usize,
    pub bytes_sent: u64,
    /// References of images that steps ran on, where those stay.
    pub steps: BTreeSet<String>,
}

impl Outcome {
    /// The images' names and IDs.
    pub fn ids(&self) -> BTreeMap<String, Digest> {
        self.images.iter().map(|(name, image)| (name.clone(), image.id())).collect()
    }
}

impl Builder {
    /// The same, for images of another platform: the engine runs their steps by emulation.
    pub fn on(&self, platform: Platform) -> Self {
        Self { architecture: platform.architecture().to_owned(), assumed: false, ..self.clone() }
    }

    /// The fragment of a recipe, if it was made before and is still there.
    pub fn fragment(&self, key: &Digest) -> Option<Fragment> {
        self.store
            .action::<Fragment>(key)
            .filter(|fragment| self.store.has(&fragment.folders) && self.store.has(&fragment.content))
    }

    /// Makes everything of the plan that is missing; unless it is for the store only, the
    /// engine gets what it lacks.
    pub async fn build(&self, plan: &Plan, store_only: bool) -> Result<Outcome> {
        let outcome = match self.build_once(plan, store_only).await {
            // It is gone now, so it is made or fetched again.
            Err(error) if was_corrupt(&error) => {
                self.ui.warn("a file in the store was damaged and is made again");
                self.build_once(plan, store_only).await
            }
            outcome => outcome,
        };
        // Not before the images are loaded: they stand on the layers that steps ran on.
        let kept = self.remove_step_images(outcome.is_ok()).await;
        let outcome = outcome.map_err(|error| emulation::explained(error, plan, &self.architecture))?;
        Ok(Outcome { steps: kept?, ..outcome })
    }

    async fn build_once(&self, plan: &Plan, store_only: bool) -> Result<Outcome> {
        if store_only {
            let ((), outcome) = tokio::try_join!(self.ask_architecture(), self.make_images(plan))?;
            self.mark_used(plan)?;
            return Ok(outcome);
        }
        // References carry the digest of all that is in an image.
        let references: Vec<&str> = plan.images.iter().map(|image| image.reference.as_str()).collect();
        let whole = Digest::of_value(&("images", &self.architecture, references));
        if let Some(images) = self.store.action::<Vec<(String, Image)>>(&whole)
            && self.all_kept(&images).await?
        {
            // Once a day: a mark a build would be felt.
            if self.store.is_older(&whole, DAY) {
                self.mark_used(plan)?;
                self.store.record_action(&whole, &images)?;
            }
            return Ok(Outcome { images, ..Outcome::default() });
        }
        let ((), mut outcome) = tokio::try_join!(self.ask_architecture(), self.make_images(plan))?;
        let (builder, owned) = (self.clone(), plan.clone());
        let marking = tokio::task::spawn_blocking(move || builder.mark_used(&owned));
        if self.engine.keeps_images() {
            let images: Vec<Image> = outcome.images.iter().map(|(_, image)| image.clone()).collect();
            (outcome.images_loaded, outcome.bytes_sent) = self.load(&images, true).await?;
        }
        marking.await??;
        self.store.record_action(&whole, &outcome.images)?;
        Ok(outcome)
    }

    async fn ask_architecture(&self) -> Result<()> {
        if self.assumed && self.engine.architecture().await? != self.architecture {
            return Err(AnotherArchitecture.into());
        }
        Ok(())
    }

    /// `prune --older-than` counts from here.
    fn mark_used(&self, plan: &Plan) -> Result<()> {
        Ok(self.store.mark_used(&self.reached(plan), SystemTime::now())?)
    }

    async fn make_images(&self, plan: &Plan) -> Result<Outcome> {
        let mut missing = self.missing(plan);
        let _turn = if missing.is_empty() { None } else { Some(self.turn().await?) };
        if _turn.is_some() {
            // What another process made in the meantime is there.
            missing = self.missing(plan);
        }
        self.can_be_had(plan, &missing)?;
        let mut outcome = Outcome { fragments_made: missing.len(), ..Outcome::default() };
        if !missing.is_empty() {
            self.store.sweep()?;
            let stage = self.ui.stage("build");
            stage.length(missing.len() as u64);
            tokio::try_join!(self.engine.sweep_steps(false), self.make(plan, &missing, &stage))?;
            stage.done(&format!("{} of {} fragments made", missing.len(), plan.recipes.len()));
        }
        outcome.images = self.assemble(plan).await?;
        Ok(outcome)
    }

    /// Where nothing may be fetched, all files that are missing are named at once.
    fn can_be_had(&self, plan: &Plan, missing: &BTreeSet<Digest>) -> Result<()> {
        if !self.fetcher.is_offline() {
            return Ok(());
        }
        let inputs = missing.iter().flat_map(|key| plan.recipes[key].inputs());
        let absent: BTreeSet<String> =
            inputs.filter(|input| !self.store.has(&input.digest)).map(|input| format!("`{}`", input.file)).collect();
        if absent.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = absent.iter().cloned().collect();
        let fault = Fault::new(format!("{} files are not in the store: {}", absent.len(), list.join(", ")));
        Err(fault.hint(OFFLINE_HINT).into())
    }

    /// Two builds of the same thing do it once: one of them makes, the other waits and finds.
    async fn turn(&self) -> Result<StoreLock> {
        if let Some(turn) = self.store.try_lock("build")? {
            return Ok(turn);
        }
        self.ui.remark("build", "waiting for another baibox that builds; what it makes is used");
        let store = self.store.clone();
        Ok(tokio::task::spawn_blocking(move || store.lock("build")).await??)
    }

    /// Images that steps ran on go when nothing follows; gives those that stay.
    async fn remove_step_images(&self, may_stay: bool) -> Result<BTreeSet<String>> {
        let steps = std::mem::take(&mut *self.steps.lock().await);
        let may_stay = may_stay && self.keep_steps && self.engine.keeps_images();
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = steps.into_iter().partition(|(_, next)| *next && may_stay);
        for reference in gone.keys() {
            self.engine.remove_image(reference).await?;
        }
        Ok(kept.into_keys().collect())
    }

    /// Recipes that must be made: those of layers that are not there, and what they stand on.
    fn missing(&self, plan: &Plan) -> BTreeSet<Digest> {
        let layers = plan.images.iter().flat_map(|image| &image.layers).filter(|layer| self.planned(layer).is_none());
        let mut wanted: Vec<Digest> = layers.flat_map(|layer| layer.fragments.iter().cloned()).collect();
        let mut missing = BTreeSet::new();
        while let Some(key) = wanted.pop() {
            if !missing.contains(&key) && self.fragment(&key).is_none() {
                wanted.extend(plan.recipes[&key].depends_on());
                missing.insert(key);
            }
        }
        missing
    }

    /// The layer that this plan gave before, here or where it was pulled from.
    pub fn planned(&self, plan: &LayerPlan) -> Option<Layer> {
        self.store
            .action::<Layer>(&self.layer_key(&plan.key()))
            .filter(|layer| layer.fragments.iter().all(|part| self.store.has(part)))
    }

    /// Remembers what a layer's plan gives.
    pub fn keep_layer(&self, key: &Digest, layer: &Layer) -> Result<()> {
        Ok(self.store.record_action(&self.layer_key(key), layer)?)
    }

    fn layer_key(&self, key: &Digest) -> Digest {
        Digest::of_value(&("planned layer", &self.architecture, key))
    }

    /// A layer of these recipes, if it was put together before and is there.
    pub fn known_layer(&self, keys: &[Digest]) -> Option<Layer> {
        let fragments: Option<Vec<Fragment>> = keys.iter().map(|key| self.fragment(key)).collect();
        self.assembled(&fragments?)
    }

    fn assembled(&self, fragments: &[Fragment]) -> Option<Layer> {
        let key = Digest::of_value(&("layer", fragments));
        self.store.action::<Layer>(&key).filter(|layer| layer.fragments.iter().all(|part| self.store.has(part)))
    }

    /// All images, of layers that are put together once each, as many at a time as there are cores.
    async fn assemble(&self, plan: &Plan) -> Result<Vec<(String, Image)>> {
        let planned: BTreeMap<Digest, &LayerPlan> =
            plan.images.iter().flat_map(|image| &image.layers).map(|layer| (layer.key(), layer)).collect();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let layers: BTreeMap<Digest, Layer> = stream::iter(planned)
            .map(|(key, layer)| async move {
                let made = match self.planned(layer) {
                    Some(known) => known,
                    None => {
                        let made = self.layer(&layer.title, &layer.fragments).await?;
                        self.keep_layer(&key, &made)?;
                        made
                    }
                };
                anyhow::Ok((key, made))
            })
            .buffer_unordered(cores)
            .try_collect()
            .await?;
        let image = |plan: &ImagePlan| {
            let titled = |layer: &LayerPlan| Layer { title: layer.title.clone(), ..layers[&layer.key()].clone() };
            let layers = plan.layers.iter().map(titled).collect();
            (plan.name.clone(), Image::new(plan.reference.clone(), &self.architecture, &plan.settings, layers))
        };
        Ok(plan.images.iter().map(image).collect())
    }

    /// Puts a layer together from fragments, and hashes it if it was not hashed before.
    async fn layer(&self, title: &str, keys: &[Digest]) -> Result<Layer> {
        let fragments: Vec<Fragment> = keys
            .iter()
            .map(|key| self.fragment(key).with_context(|| format!("a fragment of the layer `{title}` is missing")))
            .collect::<Result<_>>()?;
        let key = Digest::of_value(&("layer", &fragments));
        if let Some(known) = self.assembled(&fragments) {
            return Ok(Layer { title: title.to_owned(), ..known });
        }
        let (store, name) = (self.store.clone(), title.to_owned());
        let layer = tokio::task::spawn_blocking(move || -> Result<Layer> {
            let mut folders = Tree::default();
            for fragment in &fragments {
                folders_of(&mut folders, &store.read(&fragment.folders)?)?;
            }
            let mut bytes = Vec::new();
            folders.write_fragment(&mut bytes)?;
            let parts = [store.put(&bytes)?].into_iter().chain(fragments.into_iter().map(|fragment| fragment.content)).collect();
            Ok(Layer::assemble(&name, parts, |digest| store.reader(digest))?)
        })
        .await?
        .with_context(|| format!("cannot assemble the layer `{title}`"))?;
        self.store.record_action(&key, &layer)?;
        Ok(layer)
    }

    /// Nothing is left to do for these: the engine has them, or else the store.
    async fn all_kept(&self, images: &[(String, Image)]) -> Result<bool> {
        if self.engine.keeps_images() {
            return self.all_held(images.iter().map(|(_, image)| image)).await;
        }
        let mut parts = images.iter().flat_map(|(_, image)| &image.layers).flat_map(|layer| &layer.fragments);
        Ok(parts.all(|part| self.store.has(part)))
    }
}

/// Adds the folders of a fragment; where two say different things, the lower one is right.
fn folders_of(folders: &mut Tree, fragment: &[u8]) -> Result<()> {
    let mut archive = tar::Archive::new(fragment);
    for entry in archive.entries()? {
        let entry = entry?;
        let path = String::from_utf8(entry.path_bytes().into_owned())?;
        let path = Tree::normal_path(&path)?;
        if folders.get(&path).is_none() {
            let header = entry.header();
            let (uid, gid) = (u32::try_from(header.uid()?)?, u32::try_from(header.gid()?)?);
            folders.insert(&path, Node::Directory { mode: header.mode()?, uid, gid })?;
        }
    }
    Ok(())
}
