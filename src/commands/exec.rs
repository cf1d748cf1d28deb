use super::Context;
use crate::cli::{Exec, Shell};
use crate::environment::Environment;
use crate::error::Fault;
use crate::plan::DEVELOPER;
use crate::render::is_developed_in;
use crate::stack;
use anyhow::{Context as _, Result};
use std::io::IsTerminal;
use std::process::Stdio;

pub async fn run(context: &Context, options: &Exec) -> Result<()> {
    let environment = context.environment_at_home(&options.one).await?;
    let words: Vec<&str> = options.command.iter().map(String::as_str).collect();
    inside(&environment, &options.service, options.user.as_deref(), &words).await
}

pub async fn shell(context: &Context, options: &Shell) -> Result<()> {
    let environment = context.environment_at_home(&options.one).await?;
    inside(&environment, &options.service, options.user.as_deref(), &["bash", "-l"]).await
}

/// Hands the terminal to the command; its exit code becomes ours.
async fn inside(environment: &Environment, service: &str, user: Option<&str>, words: &[&str]) -> Result<()> {
    let mut command = stack::compose(environment);
    command.arg("exec");
    // What is written where one develops belongs to the owner of the folder.
    let developed = is_developed_in(service).then_some(DEVELOPER);
    if let Some(user) = user.or(developed) {
        command.args(["--user", user]);
    }
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
