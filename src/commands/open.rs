use super::Context;
use crate::cli::Open;
use crate::error::Fault;
use anyhow::{Context as _, Result};
use serde_json::json;
use std::process::Stdio;

/// The example administrator of upstream's fixtures.
const ACCOUNT: (&str, &str) = ("admin@lablup.com", "wJalrXUt");

/// Says where the web UI is and who can log in, and opens it in a browser where there is one.
pub async fn run(context: &Context, options: &Open) -> Result<()> {
    let environment = context.environment(&options.one)?;
    let url = environment.web_ui().context("this release has no webserver")?;
    let engine = context.engine().await?;
    let runs = |one: &crate::engine::Container| one.service == "webserver" && one.state == "running";
    if !engine.containers(&environment.id).await?.iter().any(runs) {
        return Err(Fault::unhealthy(format!("the webserver of `{}` does not run", environment.id))
            .hint(format!("type `baibox start --env {}`", environment.id))
            .into());
    }
    let (user, password) = ACCOUNT;
    context.print(&json!({"url": url, "user": user, "password": password}), &format!("{url}  {user} / {password}"))?;
    let Some(opener) = crate::host::opener().filter(|_| !options.print && !context.json) else { return Ok(()) };
    let started = std::process::Command::new(opener).arg(&url).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    started.with_context(|| {
        Fault::new(format!("`{opener}` cannot be started")).hint(format!("open {url} in a browser, or say `--print`"))
    })?;
    Ok(())
}
