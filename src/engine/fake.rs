//! An engine in memory: it records what is asked of it and can be told to refuse.
//!
//! It passes the same contract as the real one (`contract.rs`).

use super::*;
use crate::error::Fault;
use std::io::Read;
use std::sync::{Mutex, MutexGuard};

#[derive(Default)]
pub struct Fake(Mutex<World>);

#[derive(Default)]
pub struct World {
    /// Every verb with what it was about, in order.
    pub calls: Vec<String>,
    pub images: Vec<HeldImage>,
    /// Environment and container.
    pub containers: Vec<(String, Container)>,
    pub networks: Vec<(String, String)>,
    pub volumes: Vec<(String, String)>,
    /// Verb → what the engine says instead of doing it.
    pub refuses: BTreeMap<&'static str, String>,
    /// Layers that are left out are refused, though they are known.
    pub takes_whole_archives_only: bool,
    /// What steps write to their output.
    pub step_output: Vec<u8>,
    /// What commands in containers print, one after the other; those after them nothing.
    pub prints: std::collections::VecDeque<String>,
}

impl Fake {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
    /// Notes the call; refuses it if it was told to.
    fn called(&self, verb: &'static str, about: &str) -> Result<MutexGuard<'_, World>> {
        let mut world = self.world();
        world.calls.push(format!("{verb} {about}").trim_end().to_owned());
        match world.refuses.get(verb) {
            Some(words) => Err(Fault::engine(words.clone()).into()),
            None => Ok(world),
        }
    }
}

/// What an archive for `load` holds: the bytes of every file, by name.
fn files(archive: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let name = String::from_utf8(entry.path_bytes().into_owned())?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        files.insert(name, bytes);
    }
    Ok(files)
}

fn of(list: &[(String, String)], environment: &EnvironmentId) -> Vec<String> {
    list.iter().filter(|(owner, _)| owner == environment.as_str()).map(|(_, name)| name.clone()).collect()
}

#[async_trait]
impl Executor for Fake {
    async fn architecture(&self) -> Result<String> {
        drop(self.called("architecture", "")?);
        Ok("amd64".into())
    }
    async fn image(&self, reference: &str) -> Result<Option<HeldImage>> {
        let world = self.called("image", reference)?;
        Ok(world.images.iter().find(|image| image.references.iter().any(|own| own == reference)).cloned())
    }
    async fn images(&self) -> Result<Vec<HeldImage>> {
        Ok(self.called("images", "")?.images.clone())
    }
    async fn remove_image(&self, reference: &str) -> Result<()> {
        self.called("remove_image", reference)?.images.retain(|image| !image.references.iter().any(|own| own == reference));
        Ok(())
    }
    async fn load(&self, write: ArchiveWriter) -> Result<String> {
        let mut archive = Vec::new();
        write(&mut archive)?;
        let mut world = self.called("load", "")?;
        let files = files(&archive)?;
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"])?;
        for image in manifest.as_array().into_iter().flatten() {
            let config = &files[image["Config"].as_str().unwrap_or_default()];
            let config_value: serde_json::Value = serde_json::from_slice(config)?;
            let diff_ids: Vec<Digest> = serde_json::from_value(config_value["rootfs"]["diff_ids"].clone())?;
            for (place, diff_id) in diff_ids.iter().enumerate() {
                // Layers are known by all that is below them too, as graph drivers do.
                let known = world.images.iter().any(|held| held.diff_ids.get(..=place) == Some(&diff_ids[..=place]));
                match image["Layers"][place].as_str().and_then(|name| files.get(name)) {
                    Some(bytes) => anyhow::ensure!(Digest::of(bytes) == *diff_id, "a layer is not what it says"),
                    None => anyhow::ensure!(known && !world.takes_whole_archives_only, "the layer {diff_id} is not there"),
                }
            }
            let references: Vec<String> = serde_json::from_value(image["RepoTags"].clone())?;
            for held in &mut world.images {
                held.references.retain(|own| !references.contains(own));
            }
            world.images.push(HeldImage { id: Digest::of(config).to_string(), references, diff_ids });
        }
        Ok(String::new())
    }
    async fn run_step(&self, step: &Step, output: &Path) -> Result<()> {
        let world = self.called("run_step", &step.name)?;
        anyhow::ensure!(
            world.images.iter().any(|image| image.references.contains(&step.image)),
            "the engine cannot make a container for `{}`",
            step.name
        );
        Ok(std::fs::write(output, &world.step_output)?)
    }
    async fn sweep_steps(&self, _: bool) -> Result<()> {
        self.called("sweep_steps", "").map(drop)
    }
}

#[async_trait]
impl Engine for Fake {
    async fn facts(&self) -> Result<Facts> {
        drop(self.called("facts", "")?);
        Ok(Facts {
            kind: Kind::Docker,
            version: "25.0.0".into(),
            id: "fake".into(),
            architecture: "amd64".into(),
            containerd_store: false,
            runtimes: Vec::new(),
        })
    }
    async fn containers(&self, environment: &EnvironmentId) -> Result<Vec<Container>> {
        let world = self.called("containers", environment.as_str())?;
        let own = world.containers.iter().filter(|(owner, _)| owner == environment.as_str());
        Ok(own.map(|(_, container)| container.clone()).collect())
    }
    async fn images_of(&self, environment: &EnvironmentId) -> Result<Vec<String>> {
        let own = |image: &&HeldImage| image.references.iter().any(|name| name.starts_with(&format!("{environment}/")));
        Ok(self.called("images_of", environment.as_str())?.images.iter().filter(own).map(|image| image.id.clone()).collect())
    }
    async fn ask_health(&self, environment: &EnvironmentId) -> Result<bool> {
        self.called("ask_health", environment.as_str()).map(|_| false)
    }
    async fn list(&self) -> Result<Vec<Listed>> {
        let world = self.called("list", "")?;
        let listed = |(owner, container): &(String, Container)| Listed {
            environment: Some(owner.clone()),
            container: container.clone(),
            ports: Vec::new(),
        };
        Ok(world.containers.iter().map(listed).collect())
    }
    async fn usage(&self, container: &str) -> Result<Option<Usage>> {
        self.called("usage", container).map(|_| None)
    }
    async fn layers(&self, reference: &str) -> Result<Vec<(Digest, u64)>> {
        let held = self.image(reference).await?;
        Ok(held.into_iter().flat_map(|image| image.diff_ids).map(|digest| (digest, 1)).collect())
    }
    async fn written(&self, environment: &EnvironmentId) -> Result<u64> {
        self.called("written", environment.as_str()).map(|_| 0)
    }
    fn logs(&self, _: &str, _: Option<i64>, _: bool) -> Log {
        Box::pin(futures_util::stream::empty())
    }
    async fn exec(&self, container: &str, command: &[String]) -> Result<Said> {
        let mut world = self.called("exec", &format!("{container} {}", command.join(" ")))?;
        Ok(Said { code: 0, output: world.prints.pop_front().unwrap_or_default(), errors: String::new() })
    }
    async fn last_log(&self, container: &str, _: u32) -> Result<String> {
        drop(self.called("last_log", container)?);
        Ok(format!("the last words of {container}"))
    }
    async fn remove_container(&self, id: &str) -> Result<()> {
        self.called("remove_container", id)?.containers.retain(|(_, container)| container.id != id);
        Ok(())
    }
    async fn networks(&self, environment: &EnvironmentId) -> Result<Vec<String>> {
        Ok(of(&self.called("networks", environment.as_str())?.networks, environment))
    }
    async fn volumes(&self, environment: &EnvironmentId) -> Result<Vec<String>> {
        Ok(of(&self.called("volumes", environment.as_str())?.volumes, environment))
    }
    async fn owners(&self) -> Result<BTreeSet<String>> {
        let world = self.called("owners", "")?;
        Ok(world.networks.iter().chain(&world.volumes).map(|(owner, _)| owner.clone()).collect())
    }
    async fn remove_network(&self, name: &str) -> Result<()> {
        self.called("remove_network", name)?.networks.retain(|(_, own)| own != name);
        Ok(())
    }
    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.called("remove_volume", name)?.volumes.retain(|(_, own)| own != name);
        Ok(())
    }
    async fn subnets(&self) -> Result<Vec<String>> {
        self.called("subnets", "").map(|_| Vec::new())
    }
}
