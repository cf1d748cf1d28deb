//! Steps as containers: each is made, fed, run, read and removed.

use super::{Docker, PROCESS_LABEL, STEP_LABEL, remove};
use crate::engine::{Engine, Output, Step};
use anyhow::{Context, Result};
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error as ApiError;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, ResourcesUlimits};
use bollard::query_parameters as query;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::path::Path;
use tokio::io::AsyncWriteExt;

/// Bytes of what a step says that are kept for its failure.
const LAST_WORDS: usize = 64 << 10;

impl Docker {
    pub(super) async fn run(&self, step: &Step, output: &Path) -> Result<()> {
        let ulimits: Vec<_> = step
            .ulimits
            .iter()
            .map(|(name, value)| ResourcesUlimits { name: Some(name.clone()), soft: Some(*value), hard: Some(*value) })
            .collect();
        let streams = matches!(step.output, Output::Stream { .. });
        let body = ContainerCreateBody {
            image: Some(step.image.clone()),
            attach_stdin: Some(streams),
            attach_stdout: Some(streams),
            attach_stderr: Some(streams),
            open_stdin: Some(streams),
            stdin_once: Some(streams),
            // Namespaces as with the network `none`, without the program that sets one up: half of a start.
            network_disabled: Some(streams && !step.network && step.beside.is_none()),
            user: Some("0:0".into()),
            entrypoint: Some(Vec::new()),
            cmd: Some(step.command.clone()),
            env: Some(step.environment.clone()),
            working_dir: Some("/".into()),
            labels: Some(
                [(STEP_LABEL.to_owned(), step.name.clone()), (PROCESS_LABEL.to_owned(), crate::host::process())]
                    .into_iter()
                    .collect(),
            ),
            host_config: Some(HostConfig {
                network_mode: match &step.beside {
                    Some(container) => Some(format!("container:{container}")),
                    None => (!step.network).then(|| "none".into()),
                },
                binds: Some(step.binds.clone()),
                ulimits: Some(ulimits),
                // A log would be a second copy of the stream.
                log_config: streams.then(|| HostConfigLogConfig { typ: Some("none".into()), config: None }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let created = self
            .api
            .create_container(None::<query::CreateContainerOptions>, body)
            .await
            .with_context(|| format!("the engine cannot make a container for `{}`", step.name))?;
        let outcome = match &step.output {
            Output::Stream { end } => self.talk(step, &created.id, end, output).await,
            _ => self.drive_step(step, &created.id, output).await,
        };
        if streams && outcome.is_ok() {
            let (api, id) = (self.api.clone(), created.id);
            self.removals.lock().await.spawn(async move { remove(&api, &id).await });
            return Ok(());
        }
        let removed = self.remove_container(&created.id).await;
        outcome?;
        removed
    }

    /// Waits for removals that are under way.
    pub(super) async fn settle(&self) -> Result<()> {
        let mut removals = self.removals.lock().await;
        while let Some(removed) = removals.join_next().await {
            removed??;
        }
        Ok(())
    }

    /// Waits until a container has ended.
    async fn exit_code(&self, id: &str) -> Result<i64, ApiError> {
        match self.api.wait_container(id, None::<query::WaitContainerOptions>).next().await {
            Some(Ok(answer)) => Ok(answer.status_code),
            Some(Err(ApiError::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(error)) => Err(error),
            None => Ok(-1),
        }
    }

    /// Gives a container its standard input and takes its output, which spares files in it and the way of archives.
    async fn talk(&self, step: &Step, id: &str, end: &str, output: &Path) -> Result<()> {
        let failed = || format!("the step `{}` did not run", step.name);
        let options =
            query::AttachContainerOptions { stream: true, stdin: true, stdout: true, stderr: true, ..Default::default() };
        let AttachContainerResults { output: mut said, mut input } =
            self.api.attach_container(id, Some(options)).await.with_context(failed)?;
        self.api.start_container(id, None::<query::StartContainerOptions>).await.with_context(failed)?;
        let sending = async {
            if let Some(place) = &step.stdin {
                tokio::io::copy_buf(
                    &mut tokio::io::BufReader::with_capacity(1 << 18, tokio::fs::File::open(place).await?),
                    &mut input,
                )
                .await?;
            }
            input.shutdown().await
        };
        let receiving = async {
            let mut file =
                tokio::fs::File::create(output).await.with_context(|| format!("cannot create `{}`", output.display()))?;
            let (mut tail, mut errors) = (Vec::new(), Vec::new());
            while let Some(message) = said.next().await {
                match message.context("the engine broke off")? {
                    LogOutput::StdOut { message } => {
                        file.write_all(&message).await?;
                        tail.extend_from_slice(&message[message.len().saturating_sub(end.len())..]);
                        tail.drain(..tail.len().saturating_sub(end.len()));
                        if tail == end.as_bytes() {
                            break;
                        }
                    }
                    other => {
                        errors.extend_from_slice(&other.into_bytes());
                        errors.drain(..errors.len().saturating_sub(LAST_WORDS));
                    }
                }
            }
            file.flush().await?;
            anyhow::Ok((tail == end.as_bytes(), errors))
        };
        // Where it ends before it has read all, it says why.
        let (sent, received) = tokio::join!(sending, receiving);
        let (whole, errors) = received.with_context(failed)?;
        if whole {
            return Ok(());
        }
        let code = self.exit_code(id).await.with_context(failed)?;
        if code == 0 {
            sent.with_context(failed)?;
        }
        let said = String::from_utf8_lossy(&errors);
        let last = said.lines().rev().take(100).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>();
        Err(ended_badly(step, code, &last.join("\n")))
    }

    async fn drive_step(&self, step: &Step, id: &str, output: &Path) -> Result<()> {
        let failed = || format!("the step `{}` did not run", step.name);
        if let Some(input) = &step.input {
            let options = query::UploadToContainerOptions { path: "/".into(), ..Default::default() };
            let file = tokio::fs::File::open(input).await.with_context(failed)?;
            let body = bollard::body_try_stream(tokio_util::io::ReaderStream::with_capacity(file, 1 << 18));
            self.api.upload_to_container(id, Some(options), body).await.with_context(failed)?;
        }
        self.api.start_container(id, None::<query::StartContainerOptions>).await.with_context(failed)?;
        let code = self.exit_code(id).await.with_context(failed)?;
        if code != 0 {
            let said = self.last_log(id, 100).await?;
            return Err(ended_badly(step, code, &said));
        }
        match &step.output {
            Output::Nothing | Output::Stream { .. } => Ok(()),
            Output::Everything => save(Box::pin(self.api.export_container(id)), output).await,
            Output::Folder(path) => {
                let options = query::DownloadFromContainerOptions { path: path.clone() };
                save(Box::pin(self.api.download_from_container(id, Some(options))), output).await
            }
        }
    }
}

async fn save(mut stream: impl Stream<Item = Result<Bytes, ApiError>> + Unpin, path: &Path) -> Result<()> {
    let mut file = tokio::fs::File::create(path).await.with_context(|| format!("cannot create `{}`", path.display()))?;
    while let Some(chunk) = stream.next().await {
        file.write_all(&chunk.context("the engine broke off")?).await?;
    }
    file.flush().await?;
    Ok(())
}

fn ended_badly(step: &Step, code: i64, said: &str) -> anyhow::Error {
    anyhow::anyhow!("the step `{}` ended with {code}; it said last:\n{}", step.name, said.trim_end())
}
