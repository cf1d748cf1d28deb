//! The environment of a CI run, made again from its record.

use super::{Context, build, sources};
use crate::ci::{RECORD_VERSION, Record};
use crate::cli::Repro;
use crate::environment;
use crate::error::Fault;
use crate::lock::Lock;
use crate::model::EnvironmentId;
use crate::release::Catalog;
use crate::source::{self, Provenance};
use anyhow::{Context as _, Result};
use std::path::Path;

pub async fn run(context: &Context, options: &Repro) -> Result<()> {
    let record = read(&options.file)?;
    let here = std::env::current_dir().context("the current folder cannot be read")?;
    super::doctor::check(&crate::doctor::examine(&here).await)?;
    let engine = context.engine().await?;
    let platform = format!("linux/{}", engine.architecture().await?);
    if platform != record.platform {
        return Err(Fault::usage(format!("the run was on {}, this engine is {platform}", record.platform))
            .hint("its images can only be the same on the same platform")
            .into());
    }
    let branch = context.branch(&record.branch)?;
    let release = Catalog::release(branch.as_str())?;
    let id = match &options.env {
        Some(id) => EnvironmentId::parse(id)?,
        None => EnvironmentId::parse(&format!("repro-{}", environment::random_word(8)))?,
    };
    let folder = options.path.as_ref().map(std::path::absolute).transpose()?.unwrap_or_else(|| here.join(id.as_str()));
    let choosing = context.store.lock("environments")?;
    let all = environment::list(&context.store)?;
    if all.iter().any(|environment| environment.id == id) {
        return Err(Fault::usage(format!("there is an environment `{id}` already")).hint("name another ID with `--env`").into());
    }
    let mut environment = environment::create(id, branch, folder, &release.ports, &all, &engine.subnets().await?)?;
    environment.save(&context.store)?;
    drop(choosing);
    let lock: Lock =
        toml::from_str(&record.lock).with_context(|| format!("the lock in `{}` cannot be read", options.file.display()))?;
    lock.write(&environment.lock_file())?;
    let stage = context.ui.stage("source");
    for component in &release.components {
        let known = record.sources.get(&component.name).with_context(|| {
            Fault::new(format!("`{}` does not say what tree `{}` was", options.file.display(), component.name))
                .hint("the run ended before its sources were there")
        })?;
        stage.note(&component.name);
        let into = environment.folder.join(&component.name);
        if known.imported {
            imported(context, component, &release.branch, known, &into).await?;
        } else {
            let url = options.git_base.as_ref().map(|base| format!("{}/{}", base.trim_end_matches('/'), component.repository));
            source::restore(known, url.as_deref(), &into).await?;
        }
    }
    stage.done(&format!("{} trees as they were", release.components.len()));
    let outcome = build::images(context, &mut environment, true).await?;
    build::write(context, &environment, &outcome).await?;
    let differing: Vec<String> = outcome
        .images
        .iter()
        .filter(|(name, image)| record.images.get(name) != Some(&image.id()))
        .map(|(name, image)| {
            let before = record.images.get(name).map_or("not recorded", |id| id.as_str());
            format!("{name}: {before} there, {} here", image.id())
        })
        .collect();
    let id = &environment.id;
    if differing.is_empty() {
        context
            .ui
            .say(&format!("{} images are bit-equal to the run's; start them: `baibox up --env {id}`", outcome.images.len()));
        return Ok(());
    }
    let ours = env!("CARGO_PKG_VERSION");
    let mut fault =
        Fault::new(format!("{} of {} images differ:\n  {}", differing.len(), outcome.images.len(), differing.join("\n  ")));
    if record.baibox != ours {
        fault = fault.hint(format!("the run was made by baibox {}, this is {ours}", record.baibox));
    }
    Err(fault.hint(format!("look inside: `baibox up --env {id}`, or remove it: `baibox delete {id}`")).into())
}

fn read(path: &Path) -> Result<Record> {
    let text = std::fs::read_to_string(path).with_context(|| {
        Fault::usage(format!("cannot read `{}`", path.display())).hint("name the `result.json` of a `baibox ci` run")
    })?;
    let not_ours = || Fault::usage(format!("`{}` is not the result of a run", path.display()));
    let value: serde_json::Value = serde_json::from_str(&text).with_context(not_ours)?;
    if value["version"].as_u64().is_some_and(|version| version > u64::from(RECORD_VERSION)) {
        return Err(not_ours().hint("a newer baibox wrote it: use that one").into());
    }
    serde_json::from_value(value).with_context(not_ours)
}

/// A source distribution, with the changes that were made since it was imported.
async fn imported(
    context: &Context,
    component: &crate::release::Component,
    branch: &str,
    known: &Provenance,
    into: &Path,
) -> Result<()> {
    let (fetcher, builder) = (context.fetcher()?, build::builder(context).await?);
    source::publish(&sources::of(component)?, branch, into, &fetcher, &context.store, &builder.index).await?;
    let commit = source::commit(into).await?;
    anyhow::ensure!(
        commit == known.commit,
        "`{}` became the commit {commit}, and was {} in the run",
        component.file.as_deref().unwrap_or_default(),
        known.commit
    );
    source::apply(into, &known.patch).await
}
