//! What Podman does not do by itself behind Docker's interface.

use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// Healthchecks as Podman runs them when it is asked. Their pace it leaves to timers of systemd:
/// on a host without systemd nobody asks, and whoever waits for health waits for ever.
pub struct Healthchecks {
    client: reqwest::Client,
}

impl Healthchecks {
    pub fn at(socket: &str) -> Result<Self> {
        let client = reqwest::Client::builder().unix_socket(socket).timeout(Duration::from_secs(30)).build();
        Ok(Self { client: client.context("cannot prepare to ask Podman")? })
    }

    /// <https://docs.podman.io/en/latest/_static/api.html#tag/containers/operation/ContainerHealthcheckLibpod>
    pub async fn ask(&self, container: &str) -> Result<()> {
        let address = format!("http://podman/v4.0.0/libpod/containers/{container}/healthcheck");
        let failed = || format!("Podman does not ask `{container}` for its health");
        let answer = self.client.get(address).send().await.with_context(failed)?;
        // One that was removed or stopped meanwhile has no health; a failed check is an answer, too.
        let gone = matches!(answer.status().as_u16(), 404 | 409);
        ensure!(gone || answer.status().is_success(), "{}: {}", failed(), answer.text().await?.trim());
        Ok(())
    }
}
