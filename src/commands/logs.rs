//! What all services say, merged in the order of time.

use super::Context;
use crate::cli::Logs;
use crate::engine::{Container, Engine, LogLine};
use crate::environment::Environment;
use crate::error::Fault;
use anyhow::{Context as _, Result};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

/// How long a line waits for an earlier one of another service, while they go on.
const HOLD: Duration = Duration::from_millis(200);
/// How often containers are looked for that began meanwhile.
const LOOK: Duration = Duration::from_secs(1);

pub async fn run(context: &Context, options: &Logs) -> Result<()> {
    let environment = context.environment_at_home(&options.one).await?;
    let since = options.since.as_deref().map(|text| moment(text, OffsetDateTime::now_utc())).transpose()?;
    let engine = context.engine().await?;
    let containers = wanted(&*engine, &environment, &options.services).await?;
    let mut page = Page::new(&containers, context.ui.colours_data());
    if options.follow {
        return follow(&*engine, &environment, options, since, page).await;
    }
    // Each log is in order by itself: the earliest of their first lines is next.
    let mut logs: Vec<_> = containers.iter().map(|one| (one, engine.logs(&one.id, since, false).peekable())).collect();
    loop {
        let mut first: Option<(usize, String)> = None;
        for (number, (_, log)) in logs.iter_mut().enumerate() {
            if let Some(Ok(line)) = std::pin::Pin::new(&mut *log).peek().await
                && first.as_ref().is_none_or(|(_, time)| line.time < *time)
            {
                first = Some((number, line.time.clone()));
            }
        }
        let Some((number, _)) = first else { break };
        let (container, log) = &mut logs[number];
        if let Some(line) = log.next().await
            && !page.write(container.called(), &line?)?
        {
            return Ok(());
        }
    }
    // What is left is no line.
    for (_, log) in &mut logs {
        if let Some(Err(error)) = log.next().await {
            return Err(error);
        }
    }
    Ok(())
}

/// Goes on, also with containers that begin later, until it is stopped.
async fn follow(
    engine: &dyn Engine,
    environment: &Environment,
    options: &Logs,
    since: Option<i64>,
    mut page: Page,
) -> Result<()> {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(String, String, Option<LogLine>)>();
    let mut open = BTreeSet::new();
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    let mut held: Vec<(String, LogLine)> = Vec::new();
    let mut due = Vec::new();
    let (mut hold, mut look) = (tokio::time::interval(HOLD), tokio::time::interval(LOOK));
    loop {
        tokio::select! {
            _ = look.tick() => {
                for container in wanted(engine, environment, &options.services).await? {
                    if (container.state == "running" || !last.contains_key(&container.id)) && open.insert(container.id.clone()) {
                        let mut log = engine.logs(&container.id, since, true);
                        let sender = sender.clone();
                        tokio::spawn(async move {
                            let name = container.called().to_owned();
                            while let Some(Ok(line)) = log.next().await {
                                if sender.send((container.id.clone(), name.clone(), Some(line))).is_err() {
                                    return;
                                }
                            }
                            // The last one of a container says that it ended.
                            let _ = sender.send((container.id.clone(), name, None));
                        });
                    }
                }
            }
            Some((id, name, line)) = receiver.recv() => match line {
                None => {
                    open.remove(&id);
                    last.entry(id).or_default();
                }
                // A log that is read again begins with what was said.
                Some(line) if last.get(&id).is_some_and(|time| line.time <= *time) => {}
                Some(line) => {
                    last.insert(id, line.time.clone());
                    held.push((name, line));
                }
            },
            _ = hold.tick() => {
                due.append(&mut held);
                due.sort_by(|one, two| one.1.time.cmp(&two.1.time));
                for (name, line) in due.drain(..) {
                    if !page.write(&name, &line)? {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Containers of the services that are named, or of all.
async fn wanted(engine: &dyn Engine, environment: &Environment, services: &[String]) -> Result<Vec<Container>> {
    let mut containers = engine.containers(&environment.id).await?;
    let known = |name: &&String| !containers.iter().any(|one| one.called() == name.as_str());
    if let Some(name) = services.iter().find(known) {
        let names: Vec<&str> = containers.iter().map(Container::called).collect();
        return Err(Fault::usage(format!("`{}` has no container of a service `{name}`", environment.id))
            .hint(if names.is_empty() { "start it first".to_owned() } else { format!("it has {}", names.join(", ")) })
            .into());
    }
    containers.retain(|one| services.is_empty() || services.iter().any(|name| name == one.called()));
    Ok(containers)
}

/// The lines with who said them, each in its colour.
struct Page {
    colours: bool,
    width: usize,
    known: BTreeMap<String, usize>,
}

/// Of terminals, those that are read on dark and on light grounds.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

impl Page {
    fn new(containers: &[Container], colours: bool) -> Self {
        let services = containers.iter().filter(|one| !one.service.is_empty());
        let width = services.map(|one| one.service.len()).max().unwrap_or(0);
        Self { colours, width, known: BTreeMap::new() }
    }

    /// False if nobody reads any more.
    fn write(&mut self, name: &str, line: &LogLine) -> Result<bool> {
        match writeln!(std::io::stdout().lock(), "{}", self.line(name, line)) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            written => written.map(|()| true).context("standard output cannot be written"),
        }
    }

    fn line(&mut self, name: &str, line: &LogLine) -> String {
        let width = self.width;
        let count = self.known.len();
        let colour = COLOURS[*self.known.entry(name.to_owned()).or_insert(count) % COLOURS.len()];
        if self.colours {
            format!("\x1b[{colour}m{name:<width$} │\x1b[0m {}", line.text)
        } else {
            // Some services colour their lines, whoever reads them.
            format!("{name:<width$} | {}", console::strip_ansi_codes(&line.text))
        }
    }
}

/// Seconds since 1970 of `10m`, `1h30m`, `2d` ago, or of a time by RFC 3339.
fn moment(text: &str, now: OffsetDateTime) -> Result<i64, Fault> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(time.unix_timestamp());
    }
    ago(text).map(|seconds| now.unix_timestamp() - seconds).ok_or_else(|| {
        Fault::usage(format!("`{text}` is no time")).hint("write it as `10m`, `1h30m` or `2d`, or as `2021-03-31T12:00:00Z`")
    })
}

fn ago(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut seconds = 0i64;
    while !rest.is_empty() {
        let (number, unit) = rest.split_at(rest.find(|letter: char| !letter.is_ascii_digit())?);
        let factor = match unit.chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            _ => return None,
        };
        seconds = seconds.checked_add(number.parse::<i64>().ok()?.checked_mul(factor)?)?;
        rest = &unit[1..];
    }
    (!text.is_empty()).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_do() {
        let now = OffsetDateTime::from_unix_timestamp(1_000_000).unwrap();
        let check = |text: &str, wanted: Option<i64>| assert_eq!(moment(text, now).ok(), wanted, "{text}");
        check("10s", Some(999_990));
        check("1h30m", Some(994_600));
        check("1d", Some(913_600));
        check("1970-01-01T00:01:00Z", Some(60));
        for bad in ["", "m", "10", "10x", "-1s", "yesterday", "99999999999999999999s", "9223372036854775807d"] {
            check(bad, None);
        }
    }

    #[test]
    fn every_service_keeps_its_column_and_colour() {
        let line = LogLine { time: String::new(), text: "hello".into() };
        let mut plain = Page { colours: false, width: 8, known: BTreeMap::new() };
        let red = LogLine { text: "\x1b[31mred\x1b[0m".into(), ..line.clone() };
        assert_eq!([&line, &red].map(|line| plain.line("etcd", line)), ["etcd     | hello", "etcd     | red"]);
        let mut page = Page { colours: true, ..plain };
        let first = page.line("manager", &line);
        assert_ne!(page.line("agent", &line)[..6], first[..6]);
        assert_eq!(page.line("manager", &line), first);
    }
}
