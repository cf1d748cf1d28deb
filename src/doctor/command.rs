//! Programs of the host, asked with a time limit.

use anyhow::{Context, Result};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Engines behind ssh can be slow; an answer later than this is none.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, Default)]
pub struct Said {
    pub well: bool,
    pub output: String,
    pub errors: String,
}

impl Said {
    /// The first line of an answer that ended well.
    pub fn line(self) -> Option<String> {
        let line = self.output.lines().next().unwrap_or_default().trim().to_owned();
        (self.well && !line.is_empty()).then_some(line)
    }
}

/// What a program says; none when it is not there.
pub async fn ask(program: &str, arguments: &[&str]) -> Option<Said> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(LIMIT, command.output()).await {
        Ok(Ok(output)) => Some(Said {
            well: output.status.success(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }),
        Ok(Err(_)) => None,
        Err(_) => Some(Said {
            errors: format!("`{program} {}` gave no answer in {} s", arguments.join(" "), LIMIT.as_secs()),
            ..Said::default()
        }),
    }
}

/// Runs a command that changes the host, as long as it takes.
pub async fn run(words: &[&str]) -> Result<()> {
    let said = words.join(" ");
    let output = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("cannot run `{said}`"))?;
    if output.status.success() {
        return Ok(());
    }
    let mut text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if text.is_empty() {
        text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    }
    anyhow::bail!("`{said}` failed ({}); it said last:\n{}", output.status, last_lines(&text, 12))
}

pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
