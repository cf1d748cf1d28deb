use super::Context;
use crate::cli::Logs;
use crate::error::Fault;
use crate::stack;
use anyhow::{Context as _, Result};

pub async fn run(context: &Context, options: &Logs) -> Result<()> {
    let environment = context.environment(&options.one)?;
    let mut command = stack::compose(&environment);
    command.arg("logs");
    if options.follow {
        command.arg("--follow");
    }
    let status = command
        .args(&options.services)
        .status()
        .await
        .with_context(|| Fault::engine("`docker compose` cannot be started").hint("type `baibox doctor --fix`"))?;
    anyhow::ensure!(status.success(), "`docker compose logs` failed");
    Ok(())
}
