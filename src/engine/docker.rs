//! The Docker Engine API, also as Podman speaks it. Only this file and those below it name bollard.

mod look;
mod ping;
mod steps;

use super::podman::Healthchecks;
use super::{ArchiveWriter, Container, Engine, Executor, Facts, HeldImage, Kind, Listed, Log, Said, Step, Usage};
use crate::error::Fault;
use crate::model::{Digest, ENVIRONMENT_LABEL, EnvironmentId};
use anyhow::{Context, Result};
use async_trait::async_trait;
use bollard::ClientVersion;
use bollard::container::LogOutput;
use bollard::errors::Error as ApiError;
use bollard::models::{ExecConfig, SystemVersion};
use bollard::query_parameters as query;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;
use tokio::sync::{Mutex, OnceCell};
use tokio::task::JoinSet;

pub struct Docker {
    api: bollard::Docker,
    /// What it says of itself, once it was asked.
    version: OnceCell<SystemVersion>,
    /// Where it listens, if that is a socket of this machine.
    socket: Option<String>,
    /// Containers of steps that are being removed while work goes on.
    removals: Mutex<JoinSet<Result<()>>>,
    /// Layers of images by their IDs, which mean the same as long as they are.
    known: std::sync::Mutex<BTreeMap<String, Vec<Digest>>>,
}

impl Docker {
    /// Connects to `DOCKER_HOST` or the usual socket and agrees on an API version.
    pub async fn connect() -> Result<Self> {
        Self::at(crate::host::engine_address()).await
    }

    /// The same for an address; `None` is the usual socket.
    pub async fn at(address: Option<String>) -> Result<Self> {
        let unreachable = || {
            let place = address.clone().unwrap_or_else(|| "the default socket".into());
            Fault::engine(format!("no container engine answers at {place}"))
                .hint("type `baibox doctor` to see what is missing, or `baibox doctor --fix` to have it mended")
        };
        if let Some(place) = address.as_deref().filter(|place| !place.starts_with("unix://"))
            && crate::host::variable("DOCKER_HOST").is_none()
            && (!place.starts_with("tcp://") || place.contains(' '))
        {
            return Err(Fault::engine(format!("the Docker context that is chosen leads where baibox cannot go: {place}"))
                .hint("choose another with `docker context use`, or set `DOCKER_HOST` to a socket: `unix:///…`")
                .into());
        }
        let open = |version: &ClientVersion| match address.as_deref() {
            None => bollard::Docker::connect_with_unix(DEFAULT_SOCKET, ANSWER_LIMIT, version),
            Some(socket) if socket.starts_with("unix://") => bollard::Docker::connect_with_unix(socket, ANSWER_LIMIT, version),
            Some(place) if crate::host::variable("DOCKER_HOST").is_none() => {
                bollard::Docker::connect_with_http(place, ANSWER_LIMIT, version)
            }
            // With its certificates, as the environment names them.
            _ => bollard::Docker::connect_with_defaults(),
        };
        let socket = address.clone().unwrap_or_else(|| DEFAULT_SOCKET.into()).strip_prefix("unix://").map(str::to_owned);
        let api = open(bollard::API_DEFAULT_VERSION).with_context(unreachable)?;
        let version = OnceCell::new();
        let told = match &socket {
            Some(socket) => ping::api_version(socket).await,
            None => None,
        };
        let spoken = match told {
            Some(spoken) => spoken,
            None => {
                let answer = api.version().await.with_context(unreachable)?;
                let spoken = answer.api_version.as_deref().and_then(client_version);
                version.set(answer)?;
                spoken.context("the engine does not say which API it speaks").with_context(unreachable)?
            }
        };
        let api = if spoken < api.client_version() { open(&spoken).with_context(unreachable)? } else { api };
        // Those that come from the environment do not take a version.
        let api = if spoken < api.client_version() { api.negotiate_version().await.with_context(unreachable)? } else { api };
        Ok(Self { api, version, socket, removals: Mutex::default(), known: Default::default() })
    }
}

/// Such as `1.41`.
fn client_version(text: &str) -> Option<ClientVersion> {
    let (major, minor) = text.split_once('.')?;
    Some(ClientVersion { major_version: major.parse().ok()?, minor_version: minor.parse().ok()? })
}

const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";
/// On containers of steps: what they do, and for which process.
const STEP_LABEL: &str = "ai.baibox.step";
const PROCESS_LABEL: &str = "ai.baibox.process";
/// Seconds for an answer to begin; bollard's own default.
const ANSWER_LIMIT: u64 = 120;

/// An engine may have many images, and each is asked about by itself.
const ASKED_AT_ONCE: usize = 8;

/// The map type that bollard asks for.
#[expect(clippy::disallowed_types, reason = "the type of a foreign interface")]
type Filters = std::collections::HashMap<String, Vec<String>>;

fn of_environment(environment: &EnvironmentId) -> Option<Filters> {
    Some([("label".to_owned(), vec![format!("{ENVIRONMENT_LABEL}={environment}")])].into_iter().collect())
}

fn absent(error: &ApiError) -> bool {
    matches!(error, ApiError::DockerResponseServerError { status_code: 404, .. })
}

/// Absence is an answer, not a failure.
fn unless_absent<T>(answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a failure is that the engine is not there any more, or broke off.
pub fn is_gone(error: &anyhow::Error) -> bool {
    let lost = |cause: &ApiError| {
        matches!(
            cause,
            ApiError::HyperLegacyError { .. }
                | ApiError::HyperResponseError { .. }
                | ApiError::IOError { .. }
                | ApiError::SocketNotFoundError(_)
        )
    };
    error.chain().any(|cause| cause.downcast_ref().is_some_and(lost))
}

/// Images were not taken.
fn refused(said: ApiError) -> anyhow::Error {
    let error = anyhow::Error::from(said);
    let what = if is_gone(&error) { "the engine did not take the images to their end" } else { "the engine refused the images" };
    error.context(what)
}

/// Blocking writes become chunks of a request body.
struct Chunks(tokio::sync::mpsc::Sender<Bytes>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .blocking_send(Bytes::copy_from_slice(bytes))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the engine stopped reading"))?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn remove(api: &bollard::Docker, container: &str) -> Result<()> {
    let options = query::RemoveContainerOptions { force: true, v: true, ..Default::default() };
    unless_absent(api.remove_container(container, Some(options)).await)
        .with_context(|| format!("the engine does not remove the container `{container}`"))?;
    Ok(())
}

#[async_trait]
impl Executor for Docker {
    async fn architecture(&self) -> Result<String> {
        self.version().await?.arch.clone().context("the engine does not say its architecture")
    }

    async fn image(&self, reference: &str) -> Result<Option<HeldImage>> {
        let found = unless_absent(self.api.inspect_image(reference).await)
            .with_context(|| format!("the engine does not tell about the image `{reference}`"))?;
        Ok(found.map(|image| HeldImage {
            id: image.id.unwrap_or_default(),
            references: image.repo_tags.unwrap_or_default(),
            diff_ids: image
                .root_fs
                .and_then(|root| root.layers)
                .unwrap_or_default()
                .iter()
                .filter_map(|text| Digest::parse(text).ok())
                .collect(),
        }))
    }

    async fn images(&self) -> Result<Vec<HeldImage>> {
        let list = self.api.list_images(None::<query::ListImagesOptions>).await.context("the engine does not list its images")?;
        let asked = futures_util::stream::iter(list).map(|summary| async move {
            let known = self.known.lock().expect("never poisoned").get(&summary.id).cloned();
            let held = match known {
                Some(diff_ids) => Some(HeldImage { id: summary.id, references: summary.repo_tags, diff_ids }),
                None => self.image(&summary.id).await?,
            };
            if let Some(held) = &held {
                self.known.lock().expect("never poisoned").insert(held.id.clone(), held.diff_ids.clone());
            }
            anyhow::Ok(held)
        });
        let held: Vec<_> = asked.buffered(ASKED_AT_ONCE).try_collect().await?;
        Ok(held.into_iter().flatten().collect())
    }

    async fn remove_image(&self, reference: &str) -> Result<()> {
        // Containers may stand on it.
        self.settle().await?;
        unless_absent(self.api.remove_image(reference, None::<query::RemoveImageOptions>, None).await)
            .with_context(|| format!("the engine does not remove the image `{reference}`"))?;
        Ok(())
    }

    async fn load(&self, write: ArchiveWriter) -> Result<String> {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(16);
        let writing = tokio::task::spawn_blocking(move || {
            let mut out = io::BufWriter::with_capacity(1 << 20, Chunks(sender));
            write(&mut out)?;
            out.flush()
        });
        let body =
            futures_util::stream::unfold(
                receiver,
                |mut receiver| async move { receiver.recv().await.map(|chunk| (chunk, receiver)) },
            );
        let options = query::ImportImageOptionsBuilder::default().quiet(true).build();
        let mut answers = Box::pin(self.api.import_image(options, bollard::body_stream(body), None));
        let mut words = String::new();
        let mut failure = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(info) => words.push_str(info.stream.as_deref().unwrap_or_default()),
                Err(error) => failure = Some(error),
            }
        }
        let written = writing.await.context("the archive was not written")?;
        match (written, failure) {
            // The engine stopped reading: what it says is the reason.
            (Err(error), Some(said)) if error.kind() == io::ErrorKind::BrokenPipe => return Err(refused(said)),
            (Err(error), _) => return Err(error).context("cannot send the images to the engine"),
            (Ok(()), Some(said)) => return Err(refused(said)),
            (Ok(()), None) => {}
        }
        // A containerd store says this, ends with success, and keeps a broken image.
        anyhow::ensure!(!words.contains("Error unpacking"), "the engine could not unpack an image: {}", words.trim());
        Ok(words)
    }

    async fn run_step(&self, step: &Step, output: &Path) -> Result<()> {
        self.run(step, output).await
    }

    async fn sweep_steps(&self, own: bool) -> Result<()> {
        if own {
            self.settle().await?;
        }
        let filters = [("label".to_owned(), vec![STEP_LABEL.to_owned()])].into_iter().collect();
        let options = query::ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        let list = self.api.list_containers(Some(options)).await.context("the engine does not list its containers")?;
        let us = crate::host::process();
        for container in list {
            let labels = container.labels.unwrap_or_default();
            let of = labels.get(PROCESS_LABEL).map(String::as_str).unwrap_or_default();
            if if own { of == us } else { crate::host::has_ended(of) } {
                self.remove_container(&container.id.unwrap_or_default()).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Engine for Docker {
    async fn facts(&self) -> Result<Facts> {
        let asked = async { self.api.info().await.context("the engine does not say what it is") };
        let (info, kind) = tokio::try_join!(asked, self.kind())?;
        let containerd_store =
            info.driver_status.iter().flatten().any(|pair| pair.iter().any(|word| word.contains("io.containerd.snapshotter")));
        // Podman makes up an ID for every answer; daemons of one host may have the same, and never one root.
        let name = if kind == Kind::Podman { info.name } else { info.id };
        Ok(Facts {
            kind,
            version: info.server_version.unwrap_or_default(),
            id: format!("{} {}", name.unwrap_or_default(), info.docker_root_dir.unwrap_or_default()),
            architecture: match info.architecture.as_deref() {
                Some("x86_64") => "amd64".into(),
                Some("aarch64") => "arm64".into(),
                other => other.unwrap_or_default().to_owned(),
            },
            containerd_store,
            runtimes: info.runtimes.into_iter().flatten().map(|(name, _)| name).collect(),
        })
    }

    async fn containers(&self, environment: &EnvironmentId) -> Result<Vec<Container>> {
        let options = query::ListContainersOptions { all: true, filters: of_environment(environment), ..Default::default() };
        let list = self.api.list_containers(Some(options)).await.context("the engine does not list its containers")?;
        let mut containers = Vec::new();
        for summary in list {
            let id = summary.id.unwrap_or_default();
            // One that is removed between the two questions is simply not there.
            let Some(details) = unless_absent(self.api.inspect_container(&id, None::<query::InspectContainerOptions>).await)?
            else {
                continue;
            };
            let labels = summary.labels.unwrap_or_default();
            let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
            let state = details.state.unwrap_or_default();
            let running = state.running.unwrap_or(false);
            let word = |text: Option<String>| text.unwrap_or_default();
            containers.push(Container {
                name: word(details.name).trim_start_matches('/').to_owned(),
                service: label("com.docker.compose.service"),
                config_hash: label("com.docker.compose.config-hash"),
                state: word(state.status.map(|status| status.to_string())),
                health: word(state.health.and_then(|health| health.status).map(|status| status.to_string())).replace("none", ""),
                exit_code: (!running).then_some(state.exit_code).flatten(),
                image: word(details.config.and_then(|config| config.image)),
                id,
            });
        }
        containers.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(containers)
    }

    async fn images_of(&self, environment: &EnvironmentId) -> Result<Vec<String>> {
        let options = query::ListImagesOptions { filters: of_environment(environment), ..Default::default() };
        let list = self.api.list_images(Some(options)).await.context("the engine does not list its images")?;
        Ok(list.into_iter().map(|summary| summary.id).collect())
    }

    async fn ask_health(&self, environment: &EnvironmentId) -> Result<bool> {
        let (Kind::Podman, Some(socket)) = (self.kind().await?, &self.socket) else { return Ok(false) };
        let healthchecks = Healthchecks::at(socket)?;
        for container in self.containers(environment).await? {
            if container.state == "running" && container.health == "starting" {
                healthchecks.ask(&container.id).await?;
            }
        }
        Ok(true)
    }

    async fn list(&self) -> Result<Vec<Listed>> {
        look::list(&self.api).await
    }

    async fn usage(&self, container: &str) -> Result<Option<Usage>> {
        look::usage(&self.api, container).await
    }

    async fn layers(&self, reference: &str) -> Result<Vec<(Digest, u64)>> {
        let Some(image) = self.image(reference).await? else { return Ok(Vec::new()) };
        look::layers(&self.api, image).await
    }

    async fn written(&self, environment: &EnvironmentId) -> Result<u64> {
        look::written(&self.api, of_environment(environment)).await
    }

    fn logs(&self, container: &str, since: Option<i64>, follow: bool) -> Log {
        look::logs(&self.api, container, since, follow)
    }

    async fn exec(&self, container: &str, command: &[String]) -> Result<Said> {
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..ExecConfig::default()
        };
        let failed = || format!("cannot run a command in `{container}`");
        let exec = self.api.create_exec(container, config).await.with_context(failed)?;
        let started = self.api.start_exec(&exec.id, None).await.with_context(failed)?;
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        if let bollard::exec::StartExecResults::Attached { output: mut stream, .. } = started {
            while let Some(message) = stream.next().await {
                match message.with_context(failed)? {
                    LogOutput::StdErr { message } => errors.extend_from_slice(&message),
                    other => output.extend_from_slice(&other.into_bytes()),
                }
            }
        }
        let ended = self.api.inspect_exec(&exec.id).await.with_context(failed)?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Said { code: ended.exit_code.unwrap_or(-1), output: text(output), errors: text(errors) })
    }

    async fn last_log(&self, container: &str, lines: u32) -> Result<String> {
        let options = query::LogsOptions { stdout: true, stderr: true, tail: lines.to_string(), ..Default::default() };
        let messages: Vec<LogOutput> =
            self.api.logs(container, Some(options)).try_collect().await.with_context(|| format!("no log of `{container}`"))?;
        Ok(messages.into_iter().map(|message| String::from_utf8_lossy(&message.into_bytes()).into_owned()).collect())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        remove(&self.api, id).await
    }

    async fn networks(&self, environment: &EnvironmentId) -> Result<Vec<String>> {
        let options = query::ListNetworksOptions { filters: of_environment(environment) };
        let list = self.api.list_networks(Some(options)).await.context("the engine does not list its networks")?;
        Ok(list.into_iter().filter_map(|network| network.name).collect())
    }

    async fn volumes(&self, environment: &EnvironmentId) -> Result<Vec<String>> {
        let options = query::ListVolumesOptions { filters: of_environment(environment) };
        let list = self.api.list_volumes(Some(options)).await.context("the engine does not list its volumes")?;
        Ok(list.volumes.unwrap_or_default().into_iter().map(|volume| volume.name).collect())
    }

    async fn owners(&self) -> Result<BTreeSet<String>> {
        look::owners(&self.api).await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        unless_absent(self.api.remove_network(name).await)
            .with_context(|| format!("the engine does not remove the network `{name}`"))?;
        Ok(())
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        unless_absent(self.api.remove_volume(name, None::<query::RemoveVolumeOptions>).await)
            .with_context(|| format!("the engine does not remove the volume `{name}`"))?;
        Ok(())
    }

    async fn subnets(&self) -> Result<Vec<String>> {
        let list =
            self.api.list_networks(None::<query::ListNetworksOptions>).await.context("the engine does not list its networks")?;
        Ok(list.into_iter().filter_map(|network| network.ipam?.config).flatten().filter_map(|config| config.subnet).collect())
    }
}

impl Docker {
    /// Podman names its own parts behind the same interface.
    async fn kind(&self) -> Result<Kind> {
        let mut parts = self.version().await?.components.iter().flatten();
        Ok(if parts.any(|part| part.name.starts_with("Podman")) { Kind::Podman } else { Kind::Docker })
    }

    /// Asked once, and only where it is needed: an engine runs programs to answer.
    async fn version(&self) -> Result<&SystemVersion> {
        self.version.get_or_try_init(|| async { self.api.version().await.context("the engine does not say its version") }).await
    }
}
