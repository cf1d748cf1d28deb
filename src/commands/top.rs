use super::Context;
use super::status::PACE;
use crate::cli::Status;
use crate::engine::{Engine, Usage};
use crate::model::EnvironmentId;
use crate::ui::{Live, bytes, table};
use anyhow::{Context as _, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;

/// Usage of each container that runs, by what it is called, and when it was asked.
struct Sample {
    at: Instant,
    usage: BTreeMap<String, Usage>,
}

/// Processor and memory of each container, over the last second.
pub async fn run(context: &Context, options: &Status) -> Result<()> {
    let environment = context.environment_at_home(&options.one).await?;
    let engine = context.engine().await?;
    let mut live = Live::default();
    let mut before = sample(&*engine, &environment.id).await?;
    loop {
        tokio::time::sleep(PACE).await;
        let now = sample(&*engine, &environment.id).await?;
        let rows = rows(&before, &now);
        let text = text(&rows);
        if !options.watch {
            let value: Vec<_> = rows.iter().map(|row| json!({"name": row.name, "cpu": row.cpu, "memory": row.memory})).collect();
            return context.print(&value, &text);
        }
        live.show(&text).context("standard output cannot be written")?;
        before = now;
    }
}

async fn sample(engine: &dyn Engine, id: &EnvironmentId) -> Result<Sample> {
    let containers = engine.containers(id).await?;
    let running: Vec<_> = containers.iter().filter(|container| container.state == "running").collect();
    let at = Instant::now();
    let usages = futures_util::future::try_join_all(running.iter().map(|container| engine.usage(&container.id))).await?;
    // One that ended meanwhile uses nothing.
    let usage = running.iter().zip(usages).filter_map(|(one, usage)| Some((one.called().to_owned(), usage?))).collect();
    Ok(Sample { at, usage })
}

struct Row<'a> {
    name: &'a str,
    /// Of one processor, in percent.
    cpu: f64,
    memory: u64,
}

fn rows<'a>(before: &Sample, now: &'a Sample) -> Vec<Row<'a>> {
    let passed = now.at.duration_since(before.at).as_secs_f64();
    let cpu = |name: &String, usage: &Usage| {
        let used = before.usage.get(name).map_or(0.0, |earlier| usage.cpu.saturating_sub(earlier.cpu).as_secs_f64());
        100.0 * used / passed
    };
    let mut rows: Vec<Row<'_>> =
        now.usage.iter().map(|(name, usage)| Row { name, cpu: cpu(name, usage), memory: usage.memory }).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.memory));
    rows
}

fn text(rows: &[Row<'_>]) -> String {
    let mut lines = vec![["SERVICE", "CPU", "MEMORY"].map(String::from).to_vec()];
    let line =
        |name: &str, cpu: f64, memory: u64| vec![name.to_owned(), format!("{cpu:>5.1} %"), format!("{:>8}", bytes(memory))];
    lines.extend(rows.iter().map(|row| line(row.name, row.cpu, row.memory)));
    lines.push(line("together", rows.iter().map(|row| row.cpu).sum(), rows.iter().map(|row| row.memory).sum()));
    table(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn processors_are_counted_over_the_time_between_two_samples() {
        let at = Instant::now();
        let usage = |cpu: u64, memory| Usage { cpu: Duration::from_millis(cpu), memory };
        let before = Sample { at, usage: [("manager".to_owned(), usage(1000, 1))].into() };
        let later = [("manager".to_owned(), usage(1500, 2_000_000)), ("new".to_owned(), usage(900, 3_000_000))];
        let now = Sample { at: at + Duration::from_secs(2), usage: later.into() };
        insta::assert_snapshot!(text(&rows(&before, &now)), @r"
        SERVICE   CPU      MEMORY
        new         0.0 %    3.0 MB
        manager    25.0 %    2.0 MB
        together   25.0 %    5.0 MB
        ");
    }
}
