//! One file a verb; flags stop here.

mod base;
mod build;
mod check;
mod ci;
mod compare;
mod clone;
mod completions;
mod contrib;
mod debug;
mod delete;
mod df;
mod diff;
mod doctor;
mod exec;
mod explain;
mod export;
mod graph;
mod guard;
mod home;
mod leases;
mod lifecycle;
mod lock;
mod logs;
mod ls;
mod mix;
mod open;
mod output;
mod platform;
mod prune;
mod pull;
mod push;
mod python;
mod releases;
mod repro;
mod request;
mod sbom;
mod snapshot;
mod sources;
mod status;
mod switch;
mod sync;
mod template;
mod top;
mod up;
mod verify;
mod watch;

use crate::cli::{Cli, Command, One};
use crate::engine::{self, Docker, Engine, Executor, Sandbox};
use crate::environment::{self, Environment};
use crate::error::{self, Exit, Fault};
use crate::fetch::Fetcher;
use crate::lock::Chooser;
use crate::model::{Branch, EnvironmentId};
use crate::release::Catalog;
use crate::store::Store;
use crate::ui::{Stage, Ui};
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::io::Write;
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

/// What every command gets.
pub struct Context {
    pub ui: Ui,
    pub store: Store,
    pub json: bool,
    pub offline: bool,
    /// The engine, being asked what it is since [`Context::ask_early`].
    early: Mutex<Option<JoinHandle<Result<Docker>>>>,
}

impl Context {
    /// Asks the engine what it is while other things are read; who wants it next takes the answer.
    pub fn ask_early(&self) {
        if Self::has_engine() {
            *self.early.lock().expect("never poisoned") = Some(tokio::spawn(Docker::connect()));
        }
    }
    async fn docker(&self) -> Result<Docker> {
        let early = self.early.lock().expect("never poisoned").take();
        match early {
            Some(asked) => asked.await?,
            None => Docker::connect().await,
        }
    }
    pub async fn engine(&self) -> Result<Arc<dyn Engine>> {
        Ok(Arc::new(self.docker().await?))
    }
    /// What runs the steps of builds: the engine, or a sandbox where there is to be none.
    pub async fn executor(&self) -> Result<Arc<dyn Executor>> {
        if Self::has_engine() {
            return Ok(Arc::new(self.docker().await?));
        }
        Ok(Arc::new(Sandbox::new(self.store.root())?))
    }
    /// Whether there is to be an engine at all.
    pub fn has_engine() -> bool {
        crate::host::variable("BAIBOX_ENGINE").as_deref() != Some("none")
    }
    pub fn fetcher(&self) -> Result<Fetcher> {
        if self.offline { Ok(Fetcher::offline(&self.store)) } else { Fetcher::new(&self.store) }
    }
    /// What Debian packages are chosen by.
    pub fn chooser<'a>(&'a self, fetcher: &'a Fetcher, stage: &'a Stage) -> Chooser<'a> {
        Chooser { fetcher, store: &self.store, ui: &self.ui, stage }
    }
    /// The environment that the command line means.
    pub fn environment(&self, one: &One) -> Result<Environment> {
        let named = one.env.as_deref().map(EnvironmentId::parse).transpose()?;
        let here = std::env::current_dir().context("the current folder cannot be read")?;
        environment::find(&self.store, named.as_ref(), &here)
    }
    /// The release branch that is meant; says so where it was written in another way.
    pub fn branch(&self, text: &str) -> Result<Branch> {
        let branch = Branch::parse(text, &Catalog::known()?)?;
        if branch.as_str() != text {
            self.ui.remark("release", &format!("`{text}` is of release branch {branch}"));
        }
        Ok(branch)
    }
    /// Data on standard output: JSON when asked for, else the text.
    pub fn print(&self, value: &impl Serialize, text: &str) -> Result<()> {
        let text = if self.json { serde_json::to_string_pretty(value)? } else { text.trim_end().to_owned() };
        if text.is_empty() {
            return Ok(());
        }
        match writeln!(std::io::stdout().lock(), "{text}") {
            // Who reads, such as `head`, has enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("standard output cannot be written"),
        }
    }
}

/// Runs a command line to its end; what went wrong is on standard error.
pub fn run(cli: Cli) -> Exit {
    let ui = Ui::new(cli.quiet);
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Archives are unpacked on these; more threads than work only hold memory.
        .max_blocking_threads(8)
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| {
            // A CI run and its guard tidy up after a signal by themselves.
            let tidies_up = matches!(cli.command, Command::Ci(_) | Command::Guard(_));
            let outcome = runtime.block_on(async {
                if tidies_up {
                    return dispatch(cli, ui.clone()).await;
                }
                tokio::select! {
                    outcome = dispatch(cli, ui.clone()) => outcome,
                    _ = tokio::signal::ctrl_c() => Err(interrupted().await),
                }
            });
            // Blocking work that was cut off must not hold the process.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(()) => Exit::Done,
        Err(error) => {
            let error = if engine::is_gone(&error) { without_engine(error) } else { error };
            ui.fail(&error::render(&error));
            error::exit_of(&error)
        }
    }
}

/// Ends what only this process waits for.
async fn interrupted() -> anyhow::Error {
    if let Ok(engine) = Docker::connect().await {
        // What stays all the same is swept by the next build.
        let _ = engine.sweep_steps(true).await;
    }
    let fault = Fault { exit: Exit::Interrupted, ..Fault::new("stopped by Ctrl-C; what was finished is kept") };
    fault.hint("type the same command again: it goes on from here").into()
}

/// The engine was there when the command began.
fn without_engine(error: anyhow::Error) -> anyhow::Error {
    if error::exit_of(&error) == Exit::Engine {
        return error;
    }
    let fault = Fault::engine("the container engine went away; what was finished is kept");
    error.context(
        fault
            .hint("start it again: `baibox doctor` says how, `baibox doctor --fix` does it")
            .hint("then type the same command again: it goes on from here"),
    )
}

async fn dispatch(cli: Cli, ui: Ui) -> Result<()> {
    match cli.command {
        Command::Completions { shell } => return completions::run(shell),
        Command::Step(options) => return crate::engine::sandbox::inside::main(&options.verb, &options.paths),
        _ => {}
    }
    let root = crate::host::store_root()
        .ok_or_else(|| Fault::usage("there is no place for the store").hint("set `HOME` or `XDG_CACHE_HOME`"))?;
    let context = Context { ui, store: Store::open(&root)?, json: cli.json, offline: cli.offline, early: Mutex::default() };
    match cli.command {
        Command::Up(options) => up::run(&context, options).await,
        Command::Lock(options) => lock::run(&context, &options).await,
        Command::Build(one) => build::run(&context, &one).await,
        Command::Verify(one) => verify::run(&context, &one).await,
        Command::Ls => ls::run(&context).await,
        Command::Status(one) => status::run(&context, &one).await,
        Command::Logs(options) => logs::run(&context, &options).await,
        Command::Exec(options) => exec::run(&context, &options).await,
        Command::Shell(options) => exec::shell(&context, &options).await,
        Command::Plan(options) => {
            up::run(&context, crate::cli::Up { dry_run: true, platform: options.platform, ..options.up }).await
        }
        Command::Debug(options) => debug::run(&context, &options).await,
        Command::Render(one) => build::render(&context, &one).await,
        Command::Stop(one) => lifecycle::stop(&context, &one).await,
        Command::Start(one) => lifecycle::start(&context, &one).await,
        Command::Switch(options) => switch::run(&context, &options).await,
        Command::Df => df::run(&context).await,
        Command::Graph(options) => graph::run(&context, &options).await,
        Command::Top(options) => top::run(&context, &options).await,
        Command::Open(options) => open::run(&context, &options).await,
        Command::Clone(options) => clone::run(&context, &options).await,
        Command::Snapshot(options) => snapshot::run(&context, &options).await,
        Command::Snapshots(options) => snapshot::list(&context, &options),
        Command::Restore(options) => snapshot::restore(&context, &options).await,
        Command::Reset(options) => snapshot::reset(&context, &options).await,
        Command::Restart(options) => lifecycle::restart(&context, &options).await,
        Command::Pull(options) => pull::run(&context, &options).await,
        Command::Push(options) => push::run(&context, &options).await,
        Command::Devcontainer(crate::cli::Devcontainer::Export(options)) => export::run(&context, &options).await,
        Command::Sync(options) => sync::run(&context, &options).await,
        Command::Devcontainer(crate::cli::Devcontainer::Template(options)) => template::run(&context, &options),
        Command::Contrib(options) => contrib::run(&context, &options).await,
        Command::Ci(options) => ci::run(&context, &options).await,
        Command::Repro(options) => repro::run(&context, &options).await,
        Command::Rebuild(options) => check::rebuild(&context, &options).await,
        Command::Guard(options) => guard::run(&context, &options).await,
        Command::Doctor(options) => doctor::run(&context, &options).await,
        Command::Explain(options) => explain::run(&context, &options).await,
        Command::Sbom(options) => sbom::run(&context, &options).await,
        Command::Diff(options) => diff::run(&context, &options).await,
        Command::Prune(options) => prune::run(&context, &options).await,
        Command::Delete(options) => delete::run(&context, &options).await,
        Command::Releases(options) => releases::run(&context, &options).await,
        Command::Completions { .. } | Command::Step(_) => unreachable!("answered above"),
    }
}
