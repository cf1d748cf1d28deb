use super::Context;
use crate::cli::{Exec, Shell};
use crate::error::Fault;
use crate::stack;
use anyhow::{Context as _, Result};
use std::io::IsTerminal;
use std::process::Stdio;

pub async fn run(context: &Context, options: &Exec) -> Result<()> {
    let environment = context.environment(&options.one)?;
    let words: Vec<&str> = options.command.iter().map(String::as_str).collect();
    inside(&environment, &options.service, &words).await
}

pub async fn shell(context: &Context, options: &Shell) -> Result<()> {
    let environment = context.environment(&options.one)?;
    inside(&environment, &options.service, &["bash", "-l"]).await
}

/// Hands the terminal to the command; its exit code becomes ours.
async fn inside(environment: &crate::environment::Environment, service: &str, words: &[&str]) -> Result<()> {
    let mut command = stack::compose(environment);
    command.arg("exec");
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        command.arg("-T");
    }
    let status = command
        .arg(service)
        .args(words)
        .stdin(Stdio::inherit())
        .status()
        .await
        .with_context(|| Fault::engine("`docker compose` cannot be started").hint("type `baibox doctor --fix`"))?;
    match status.code() {
        Some(0) => Ok(()),
        code => std::process::exit(code.unwrap_or(1)),
    }
}
