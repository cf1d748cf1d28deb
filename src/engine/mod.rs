//! The container engine, in baibox's verbs. Only `docker.rs` names bollard.

#[cfg(test)]
mod contract;
mod docker;
#[cfg(test)]
mod fake;
mod podman;
pub mod sandbox;

pub use docker::{Docker, is_gone};
#[cfg(test)]
pub use fake::Fake;
pub use sandbox::Sandbox;

use crate::model::{Digest, EnvironmentId};
use anyhow::Result;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What the engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub kind: Kind,
    pub version: String,
    /// Identity of this engine's data, to know it again.
    pub id: String,
    /// In Go's words: `amd64`, `arm64`.
    pub architecture: String,
    /// Layers are known by manifests of a containerd image store, not by chain ID.
    pub containerd_store: bool,
    pub runtimes: Vec<String>,
}

/// Whose engine speaks the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Docker,
    Podman,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, out)
    }
}

impl Facts {
    /// Healthchecks may have an interval of their own while a service starts: since API 1.44, Docker 25.
    pub fn has_start_interval(&self) -> bool {
        // Podman counts its versions by itself, and knows no such interval behind this interface.
        self.kind == Kind::Docker
            && self.version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 25)
    }
}

/// An image that the engine holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldImage {
    pub id: String,
    pub references: Vec<String>,
    pub diff_ids: Vec<Digest>,
}

/// Images that steps run on are called so; the tag tells the store that they are of, too.
pub const STEP_IMAGES: &str = "baibox.local/step:";

/// One command in a container that is thrown away, without network.
#[derive(Clone, Debug, Default)]
pub struct Step {
    pub name: String,
    pub image: String,
    pub command: Vec<String>,
    pub environment: Vec<String>,
    /// A file with a tar stream that is unpacked at `/` before the command runs.
    pub input: Option<std::path::PathBuf>,
    /// A file that is the command's standard input, where its output is a stream.
    pub stdin: Option<std::path::PathBuf>,
    pub network: bool,
    /// Container whose network the command shares.
    pub beside: Option<String>,
    /// Folders of the engine's host and named volumes, each with its place: `NAME:/PLACE`.
    pub binds: Vec<String>,
    /// Name and hard value of resource limits to ask for.
    pub ulimits: BTreeMap<String, i64>,
    /// What is read back when the command has ended well.
    pub output: Output,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Output {
    #[default]
    Nothing,
    /// One folder of the container, as tar stream.
    Folder(String),
    /// The whole file system, as tar stream.
    Everything,
    /// The command's standard output up to these bytes, which nothing before them has. Nothing else is
    /// waited for then: neither the exit code nor that the container is gone.
    Stream { end: String },
}

/// State of one container of an environment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Container {
    pub id: String,
    pub name: String,
    /// Compose service, or empty for compute containers.
    pub service: String,
    /// `running`, `exited`, `created`, …
    pub state: String,
    /// `healthy`, `starting`, `unhealthy`, or empty without a healthcheck.
    pub health: String,
    pub exit_code: Option<i64>,
    pub image: String,
    /// Digest of the service's definition, as Compose records it.
    pub config_hash: String,
}

impl Container {
    /// The service, or its own name if it is none of the graph.
    pub fn called(&self) -> &str {
        if self.service.is_empty() { &self.name } else { &self.service }
    }
}

/// What a container has used of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Of processors, since it began.
    pub cpu: std::time::Duration,
    /// Bytes now, without what the kernel would give back.
    pub memory: u64,
}

/// A line that a container said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// By RFC 3339 with nine digits, so that texts are in the order of time.
    pub time: String,
    pub text: String,
}

/// Lines of one container, in their order.
pub type Log = futures_util::stream::BoxStream<'static, Result<LogLine>>;

/// A container as the engine lists it, whoever it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its environment, if a label names one.
    pub environment: Option<String>,
    pub container: Container,
    /// TCP ports of this host's loopback address that lead to it.
    pub ports: Vec<u16>,
}

/// What a command in a container said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub code: i64,
    /// Standard output alone: progress on standard error must not get between its lines.
    pub output: String,
    pub errors: String,
}

impl Said {
    pub fn all(&self) -> String {
        format!("{}{}", self.output, self.errors)
    }
}

/// All that building asks for: images, and steps that run on them.
#[async_trait]
pub trait Executor: Send + Sync {
    /// In Go's words: `amd64`, `arm64`. Cheaper than all facts.
    async fn architecture(&self) -> Result<String>;
    async fn image(&self, reference: &str) -> Result<Option<HeldImage>>;
    async fn images(&self) -> Result<Vec<HeldImage>>;
    async fn remove_image(&self, reference: &str) -> Result<()>;
    /// Takes the archive that `write` produces; gives the engine's own words.
    async fn load(&self, write: ArchiveWriter) -> Result<String>;
    /// Runs a step; what it gives back is written to `output`.
    async fn run_step(&self, step: &Step, output: &Path) -> Result<()>;
    /// Whether images can be given to it to keep.
    fn keeps_images(&self) -> bool {
        true
    }
    /// Removes containers of steps whose process has ended, or with `own` those of this one.
    async fn sweep_steps(&self, own: bool) -> Result<()>;
}

/// What also runs stacks.
#[async_trait]
pub trait Engine: Executor {
    async fn facts(&self) -> Result<Facts>;
    /// Everything with the environment's label, stopped or not.
    async fn containers(&self, environment: &EnvironmentId) -> Result<Vec<Container>>;
    /// IDs of images with the environment's label, which its tests built.
    async fn images_of(&self, environment: &EnvironmentId) -> Result<Vec<String>>;
    /// Has containers that start asked for their health; false where the engine does that by its own clock.
    async fn ask_health(&self, environment: &EnvironmentId) -> Result<bool>;
    /// All containers of the engine, stopped or not, by one question.
    async fn list(&self) -> Result<Vec<Listed>>;
    /// What a running container has used; none if it does not run any more.
    async fn usage(&self, container: &str) -> Result<Option<Usage>>;
    /// Layers of an image, lowest first, with the bytes they take; none if it is not there.
    async fn layers(&self, reference: &str) -> Result<Vec<(Digest, u64)>>;
    /// Bytes that containers of an environment wrote outside of volumes.
    async fn written(&self, environment: &EnvironmentId) -> Result<u64>;
    /// What a container said since that second of 1970; with `follow` it goes on while it runs.
    fn logs(&self, container: &str, since: Option<i64>, follow: bool) -> Log;
    async fn exec(&self, container: &str, command: &[String]) -> Result<Said>;
    async fn last_log(&self, container: &str, lines: u32) -> Result<String>;
    async fn remove_container(&self, id: &str) -> Result<()>;
    /// Names of networks and volumes with the environment's label.
    async fn networks(&self, environment: &EnvironmentId) -> Result<Vec<String>>;
    async fn volumes(&self, environment: &EnvironmentId) -> Result<Vec<String>>;
    /// IDs of environments that labels of networks and volumes name, whoever's they are.
    async fn owners(&self) -> Result<BTreeSet<String>>;
    async fn remove_network(&self, name: &str) -> Result<()>;
    async fn remove_volume(&self, name: &str) -> Result<()>;
    /// Subnets of all networks of the engine.
    async fn subnets(&self) -> Result<Vec<String>>;
}

/// Writes an archive into what the engine reads from.
pub type ArchiveWriter = Box<dyn FnOnce(&mut dyn std::io::Write) -> std::io::Result<()> + Send>;
