//! Whether the services are what the graph wants them to be.

use crate::engine::{Container, Engine};
use crate::environment::Environment;
use crate::error::Fault;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How one service is, measured by what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Healthy, or a one-shot that ended well.
    Good,
    /// On its way.
    Starting,
    /// Not there, stopped, unhealthy or ended badly.
    Ill,
}

/// Verdicts of all services of the graph, by name.
pub type Health = BTreeMap<String, Verdict>;

/// Judges containers against the services of the graph; `true` marks one-shots.
pub fn judge(services: &BTreeMap<String, bool>, containers: &[Container]) -> Health {
    services
        .iter()
        .map(|(service, once)| {
            let verdict = match containers.iter().find(|container| container.service == *service) {
                None => Verdict::Ill,
                Some(container) => match (container.state.as_str(), container.health.as_str(), container.exit_code) {
                    ("exited", _, Some(0)) if *once => Verdict::Good,
                    ("running", "healthy" | "", _) if !*once => Verdict::Good,
                    ("running", "starting", _) | ("created" | "restarting", _, _) => Verdict::Starting,
                    ("running", _, _) if *once => Verdict::Starting,
                    _ => Verdict::Ill,
                },
            };
            (service.clone(), verdict)
        })
        .collect()
}

/// Asks services for their health while `work` goes on, on an engine that has no clock for that.
pub(super) async fn asking<T>(engine: &dyn Engine, environment: &Environment, work: impl Future<Output = T>) -> T {
    let asking = async {
        loop {
            // What cannot be asked now is asked again; how long that may go on is said where it is waited.
            if matches!(engine.ask_health(&environment.id).await, Ok(false)) {
                return std::future::pending().await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        outcome = work => outcome,
        never = asking => never,
    }
}

/// Waits until every service is good; an ill one or the end of `limit` is a failure with evidence.
pub async fn wait_healthy(
    engine: &dyn Engine,
    environment: &Environment,
    services: &BTreeMap<String, bool>,
    limit: Duration,
    note: impl FnMut(&str),
) -> Result<Health> {
    asking(engine, environment, watch(engine, environment, services, limit, note)).await
}

async fn watch(
    engine: &dyn Engine,
    environment: &Environment,
    services: &BTreeMap<String, bool>,
    limit: Duration,
    mut note: impl FnMut(&str),
) -> Result<Health> {
    let begin = Instant::now();
    loop {
        let containers = engine.containers(&environment.id).await?;
        let health = judge(services, &containers);
        let of = |wanted: Verdict| -> Vec<&str> {
            health.iter().filter(|(_, verdict)| **verdict == wanted).map(|(service, _)| service.as_str()).collect()
        };
        let (starting, ill) = (of(Verdict::Starting), of(Verdict::Ill));
        if starting.is_empty() && ill.is_empty() {
            return Ok(health);
        }
        let late = begin.elapsed() > limit;
        if !ill.is_empty() || late {
            let none_ill = ill.is_empty();
            let mut unwell = if none_ill { starting } else { ill };
            // Those that can say something come first.
            unwell.sort_by_key(|service| !containers.iter().any(|container| container.service == **service));
            let mut message = if none_ill {
                format!("after {} s these services are not healthy: {}", limit.as_secs(), unwell.join(", "))
            } else {
                format!("these services are ill: {}", unwell.join(", "))
            };
            for service in unwell.iter().take(3) {
                message.push_str(&evidence(engine, &containers, service).await);
            }
            return Err(Fault::unhealthy(message)
                .hint(format!("read more: `baibox logs --env {} {}`", environment.id, unwell[0]))
                .hint("when the cause is gone, type the same command again: it goes on from here")
                .into());
        }
        note(&format!("waiting for {}", starting.join(", ")));
        // The engine has no blocking wait for health; this is the pace of asking, not the condition.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn evidence(engine: &dyn Engine, containers: &[Container], service: &str) -> String {
    let Some(container) = containers.iter().find(|container| container.service == service) else {
        return format!("\n  {service}: there is no container");
    };
    let state = match container.exit_code {
        Some(code) => format!("{} with code {code}", container.state),
        None => format!("{} {}", container.state, container.health),
    };
    let log = engine.last_log(&container.id, 12).await.unwrap_or_else(|error| format!("(no log: {error})"));
    let lines: Vec<String> = log.lines().map(|line| format!("    {line}")).collect();
    format!("\n  {service}: {state}; it said last:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_judged_by_what_they_should_be() {
        let check = |once: bool, state: &str, health: &str, exit_code: Option<i64>, wanted: Verdict| {
            let container = Container {
                id: "1".into(),
                name: "n".into(),
                service: "s".into(),
                state: state.into(),
                health: health.into(),
                exit_code,
                image: String::new(),
                config_hash: String::new(),
            };
            let health = judge(&[("s".to_owned(), once)].into(), &[container]);
            assert_eq!(health["s"], wanted, "{once} {state} {health:?}");
        };
        check(false, "running", "healthy", None, Verdict::Good);
        check(false, "running", "starting", None, Verdict::Starting);
        check(false, "running", "unhealthy", None, Verdict::Ill);
        // The manager ends with 0 after an error of its initialisation.
        check(false, "exited", "", Some(0), Verdict::Ill);
        check(true, "exited", "", Some(0), Verdict::Good);
        check(true, "exited", "", Some(1), Verdict::Ill);
        check(true, "running", "", None, Verdict::Starting);
        assert_eq!(judge(&[("s".to_owned(), false)].into(), &[])["s"], Verdict::Ill);
    }
}
