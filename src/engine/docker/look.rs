//! What the engine tells of all that it runs.

use super::{Container, Digest, ENVIRONMENT_LABEL, Filters, HeldImage, Listed, Log, Usage, unless_absent};
use crate::engine::LogLine;
use anyhow::{Context, Result};
use bollard::models::{ContainerSummary, PortSummary, PortSummaryTypeEnum};
use bollard::query_parameters as query;
use futures_util::StreamExt;
use std::collections::BTreeSet;
use std::time::Duration;

pub async fn list(api: &bollard::Docker) -> Result<Vec<Listed>> {
    let options = query::ListContainersOptions { all: true, ..Default::default() };
    let list = api.list_containers(Some(options)).await.context("the engine does not list its containers")?;
    Ok(list.into_iter().map(listed).collect())
}

pub async fn owners(api: &bollard::Docker) -> Result<BTreeSet<String>> {
    let networks =
        api.list_networks(None::<query::ListNetworksOptions>).await.context("the engine does not list its networks")?;
    let volumes = api.list_volumes(None::<query::ListVolumesOptions>).await.context("the engine does not list its volumes")?;
    let of_networks = networks.into_iter().filter_map(|network| network.labels?.remove(ENVIRONMENT_LABEL));
    let of_volumes =
        volumes.volumes.unwrap_or_default().into_iter().filter_map(|mut volume| volume.labels.remove(ENVIRONMENT_LABEL));
    Ok(of_networks.chain(of_volumes).collect())
}

pub async fn usage(api: &bollard::Docker, container: &str) -> Result<Option<Usage>> {
    let options = query::StatsOptions { stream: false, one_shot: true };
    let Some(answer) = Box::pin(api.stats(container, Some(options))).next().await else { return Ok(None) };
    let Some(stats) = unless_absent(answer).with_context(|| format!("the engine does not tell what `{container}` uses"))? else {
        return Ok(None);
    };
    let memory = stats.memory_stats.unwrap_or_default();
    // As `docker stats` counts: files that the kernel keeps for later belong to nobody.
    let kept = memory.stats.unwrap_or_default();
    let kept = ["total_inactive_file", "inactive_file"].iter().find_map(|name| kept.get(*name)).copied().unwrap_or(0);
    let cpu = stats.cpu_stats.and_then(|stats| stats.cpu_usage?.total_usage);
    // One that has just ended is told with no figures.
    Ok(cpu.zip(memory.usage).map(|(cpu, usage)| Usage { cpu: Duration::from_nanos(cpu), memory: usage.saturating_sub(kept) }))
}

pub async fn layers(api: &bollard::Docker, image: HeldImage) -> Result<Vec<(Digest, u64)>> {
    let history = api.image_history(&image.id).await.with_context(|| format!("the engine does not tell about `{}`", image.id))?;
    // Newest first. Steps that made no layer have no size, and images of baibox have none of these.
    let sizes: Vec<u64> = history.iter().rev().map(|step| u64::try_from(step.size).unwrap_or(0)).collect();
    Ok(image.diff_ids.into_iter().zip(sizes).collect())
}

pub async fn written(api: &bollard::Docker, filters: Option<Filters>) -> Result<u64> {
    let options = query::ListContainersOptions { all: true, size: true, filters, ..Default::default() };
    let list = api.list_containers(Some(options)).await.context("the engine does not measure its containers")?;
    Ok(list.into_iter().filter_map(|summary| u64::try_from(summary.size_rw?).ok()).sum())
}

pub fn logs(api: &bollard::Docker, container: &str, since: Option<i64>, follow: bool) -> Log {
    let options = query::LogsOptions {
        stdout: true,
        stderr: true,
        timestamps: true,
        follow,
        since: since.and_then(|second| i32::try_from(second).ok()).unwrap_or(0),
        ..Default::default()
    };
    let of = container.to_owned();
    Box::pin(api.logs(container, Some(options)).map(move |message| {
        let message = message.with_context(|| format!("no log of `{of}`"))?;
        let text = String::from_utf8_lossy(&message.into_bytes()).into_owned();
        let (time, text) = text.split_once(' ').unwrap_or(("", &text));
        Ok(LogLine { time: time.to_owned(), text: text.trim_end_matches(['\r', '\n']).to_owned() })
    }))
}

fn listed(summary: ContainerSummary) -> Listed {
    let labels = summary.labels.unwrap_or_default();
    let label = |name: &str| labels.get(name).cloned();
    let status = summary.status.unwrap_or_default();
    let name = summary.names.unwrap_or_default().into_iter().next().unwrap_or_default();
    let mut ports: Vec<u16> = summary.ports.unwrap_or_default().iter().filter_map(local_port).collect();
    ports.sort_unstable();
    ports.dedup();
    Listed {
        environment: label(ENVIRONMENT_LABEL),
        container: Container {
            id: summary.id.unwrap_or_default(),
            name: name.trim_start_matches('/').to_owned(),
            service: label("com.docker.compose.service").unwrap_or_default(),
            state: summary.state.map(|state| state.to_string()).unwrap_or_default(),
            health: health(&status).to_owned(),
            exit_code: exit_code(&status),
            image: summary.image.unwrap_or_default(),
            config_hash: label("com.docker.compose.config-hash").unwrap_or_default(),
        },
        ports,
    }
}

fn local_port(port: &PortSummary) -> Option<u16> {
    let local = port.ip.as_deref().is_none_or(|ip| matches!(ip, "127.0.0.1" | "0.0.0.0" | ""));
    (local && port.typ == Some(PortSummaryTypeEnum::TCP)).then_some(port.public_port).flatten()
}

/// Engines of all ages say it in the text for people: `Up 2 minutes (healthy)`.
fn health(status: &str) -> &'static str {
    match status.rsplit_once('(').map_or("", |(_, word)| word.trim_end_matches(')')) {
        "healthy" => "healthy",
        "unhealthy" => "unhealthy",
        "health: starting" | "starting" => "starting",
        _ => "",
    }
}

/// `Exited (137) 2 minutes ago`
fn exit_code(status: &str) -> Option<i64> {
    status.strip_prefix("Exited (")?.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_and_exit_code_are_read_from_the_status() {
        let check =
            |status: &str, wanted: (&str, Option<i64>)| assert_eq!((health(status), exit_code(status)), wanted, "{status}");
        check("Up 2 minutes (healthy)", ("healthy", None));
        check("Up Less than a second (health: starting)", ("starting", None));
        check("Up 3 days (unhealthy)", ("unhealthy", None));
        check("Up 3 days (Paused)", ("", None));
        check("Up 1 second", ("", None));
        check("Exited (137) 2 minutes ago", ("", Some(137)));
        check("Created", ("", None));
        check("", ("", None));
    }
}
