//! Waits beside a process that owns an environment; when that dies, the environment goes.

use super::{Context, delete};
use crate::cli::Guard;
use crate::environment::{self, Environment};
use crate::model::EnvironmentId;
use anyhow::{Context as _, Result};
use std::io::Read;
use std::process::Stdio;

/// What the owner says when it has tidied up by itself.
const DONE: &[u8] = b"done";

/// The other end: dropped without [`Watched::release`], the environment goes.
pub struct Watched {
    child: std::process::Child,
}

/// Starts a guard in a process of its own, which a signal to this one's group does not reach.
pub fn watch(id: &EnvironmentId) -> Result<Watched> {
    use std::os::unix::process::CommandExt;
    let program = std::env::current_exe().context("this program's own path is not known")?;
    let child = std::process::Command::new(program)
        .args(["--quiet", "guard", id.as_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start the guard of the environment")?;
    Ok(Watched { child })
}

impl Watched {
    /// The environment is gone, or meant to stay.
    pub fn release(mut self) -> Result<()> {
        use std::io::Write;
        let mut input = self.child.stdin.take().context("the guard has no standard input")?;
        input.write_all(DONE).context("the guard does not listen")?;
        drop(input);
        self.child.wait().context("the guard did not end")?;
        Ok(())
    }
}

pub async fn run(context: &Context, options: &Guard) -> Result<()> {
    let id = EnvironmentId::parse(&options.id)?;
    let said = tokio::task::spawn_blocking(|| {
        let mut said = Vec::new();
        // However the other end went, what it said before counts.
        let _ = std::io::stdin().lock().read_to_end(&mut said);
        said
    });
    if said.await? == DONE {
        return Ok(());
    }
    match environment::list(&context.store)?.into_iter().find(|environment| environment.id == id) {
        Some(environment) => remove(context, &environment).await,
        None => Ok(()),
    }
}

/// Removes environments whose owners died together with their guards.
pub async fn sweep(context: &Context) -> Result<()> {
    for environment in environment::list(&context.store)? {
        if !environment.owner.as_deref().is_some_and(crate::host::has_ended) {
            continue;
        }
        // Forgotten here, nobody would find what it has on its own engine.
        if let Err(elsewhere) = context.at_home(&environment).await {
            context.ui.remark("ci", &format!("`{}` stays, whose process has ended: {elsewhere:#}", environment.id));
            continue;
        }
        context.ui.remark("ci", &format!("removing `{}`, whose process has ended", environment.id));
        remove(context, &environment).await?;
    }
    Ok(())
}

/// Programs that the owner had started go first: Compose would make containers again.
async fn remove(context: &Context, environment: &Environment) -> Result<()> {
    crate::stack::end_compose(&*context.engine().await?, &environment.id).await?;
    delete::now(context, environment).await
}
