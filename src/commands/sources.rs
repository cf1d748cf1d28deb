//! The source trees of an environment: what is missing is brought, what is there is left alone.

use super::{Context, build};
use crate::cli::{SourceChoice, Sources};
use crate::error::Fault;
use crate::fetch::OFFLINE_HINT;
use crate::release::{Component, Release};
use crate::source::{self, topic};
use crate::ui::Stage;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the components' repositories are, unless told otherwise.
pub const GIT_BASE: &str = "https://github.com/lablup";

/// Brings the trees that are missing. `references` are those that were asked for, by component.
pub async fn bring(
    context: &Context,
    options: &Sources,
    folder: &Path,
    release: &Release,
    references: &BTreeMap<String, String>,
) -> Result<()> {
    let known = |name: &String| release.optional.iter().find(|component| component.name == *name);
    if let Some(name) = options.with.iter().find(|name| known(name).is_none()) {
        let names: Vec<String> = release.optional.iter().map(|component| format!("`{}`", component.name)).collect();
        return Err(Fault::usage(format!("release {} has no optional component `{name}`", release.branch))
            .hint(format!("it has {}", names.join(", ")))
            .into());
    }
    let own = own_trees(options, release)?;
    let urls = by_component("--url", &options.url, release)?;
    let mut wanted: Vec<&Component> = release.linked().collect();
    wanted.extend(options.with.iter().filter_map(known).filter(|one| !release.linked().any(|other| other.name == one.name)));
    for component in wanted.iter().filter(|component| references.contains_key(&component.name)) {
        stands_elsewhere(context, &folder.join(&component.name), &references[&component.name]).await?;
    }
    let missing: Vec<&Component> = wanted.iter().copied().filter(|component| !folder.join(&component.name).exists()).collect();
    if !missing.is_empty() {
        let stage = context.ui.stage("source");
        stage.length(missing.len() as u64);
        let (copied, missing): (Vec<&Component>, Vec<&Component>) =
            missing.into_iter().partition(|component| own.contains_key(&component.name));
        for component in &copied {
            source::copy(&own[&component.name], &folder.join(&component.name)).await?;
            stage.advance(1);
        }
        // Who names a place in git means git.
        let named = |one: &Component| urls.contains_key(&one.name) || references.contains_key(&one.name) || one.file.is_none();
        let (mut cloned, rest): (Vec<&Component>, Vec<&Component>) = missing.into_iter().partition(|component| named(component));
        let published = match rest.first() {
            Some(first) if origin(context, options, first).await == SourceChoice::Pypi => rest,
            _ => {
                cloned.extend(rest);
                Vec::new()
            }
        };
        clone(context, options, (&urls, references), &cloned, folder, release, &stage).await?;
        publish(context, &published, folder, release, &stage).await?;
        let parts = [(copied.len(), "copied"), (cloned.len(), "from git"), (published.len(), "from PyPI's source distributions")];
        let parts: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, from)| format!("{count} trees {from}")).collect();
        stage.done(&parts.join(", "));
    }
    match &options.fork {
        Some(account) => forks(options, account, &wanted, folder).await,
        None => Ok(()),
    }
}

/// References that are asked for, by component: `--ref`, and `--client-branch` for the client.
pub fn references(options: &Sources, release: &Release) -> Result<BTreeMap<String, String>> {
    let mut references = by_component("--ref", &options.reference, release)?;
    if let Some(branch) = &options.client_branch {
        references.entry("client".into()).or_insert_with(|| branch.clone());
    }
    if options.source == SourceChoice::Pypi && !(references.is_empty() && options.url.is_empty()) {
        return Err(Fault::usage("source distributions have no branches to choose from")
            .hint("leave `--source pypi` away")
            .into());
    }
    Ok(references)
}

/// The branch of upstream's repository that a component's work is for.
pub async fn branch(
    references: &BTreeMap<String, String>,
    component: &Component,
    release: &Release,
    tree: &Path,
) -> Result<String> {
    if let (Some(name), Some(remote)) = (references.get(&component.name), topic::remote(tree).await?)
        && topic::tracked(tree, remote, name).await.is_some()
    {
        return Ok(name.clone());
    }
    Ok(component.git_branch.as_ref().unwrap_or(&release.branch).clone())
}

/// A tree that is there is left as it is, also where it is at something else than was asked for.
async fn stands_elsewhere(context: &Context, tree: &Path, reference: &str) -> Result<()> {
    if tree.join(".git").exists() && !topic::is_at(tree, reference).await? {
        let state = source::state(tree).await?;
        let what = format!("`{}` is on `{}`, not at `{reference}`: it is left as it is", tree.display(), state.branch);
        context.ui.warn(&format!("{what}; to go there: git -C {} switch {reference}", tree.display()));
    }
    Ok(())
}

/// What is asked for, or git where the host answers, else source distributions.
async fn origin(context: &Context, options: &Sources, first: &Component) -> SourceChoice {
    if options.source != SourceChoice::Auto {
        return options.source;
    }
    let url = format!("{}/{}", base(options), first.repository);
    if (is_here(&url) || !context.offline) && source::reachable(&url).await {
        return SourceChoice::Git;
    }
    context.ui.remark("source", &format!("`{url}` cannot be reached: sources come from PyPI's source distributions"));
    SourceChoice::Pypi
}

/// Whether a repository is on this machine.
fn is_here(url: &str) -> bool {
    url.starts_with("file://") || url.starts_with('/')
}

/// Where nothing may be fetched, all repositories that would be asked are named at once.
fn can_be_cloned<'a>(context: &Context, urls: impl Iterator<Item = (&'a Component, String)>) -> Result<(), Fault> {
    let elsewhere: Vec<String> =
        urls.filter(|(_, url)| context.offline && !is_here(url)).map(|(one, url)| format!("{} of `{url}`", one.name)).collect();
    if elsewhere.is_empty() {
        return Ok(());
    }
    Err(Fault::new(format!("trees are not here, and would be cloned: {}", elsewhere.join(", ")))
        .hint("name repositories of this machine, `--git-base file:///FOLDER`, or your own trees, `--tree COMPONENT=FOLDER`")
        .hint(OFFLINE_HINT))
}

fn base(options: &Sources) -> &str {
    options.git_base.as_deref().unwrap_or(GIT_BASE).trim_end_matches('/')
}

async fn publish(context: &Context, missing: &[&Component], folder: &Path, release: &Release, stage: &Stage) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let builder = build::builder(context).await?;
    let fetcher = context.fetcher()?;
    let work = missing.iter().map(|found| {
        let (builder, fetcher) = (&builder, &fetcher);
        let branch = found.git_branch.as_ref().unwrap_or(&release.branch);
        let into = folder.join(&found.name);
        async move {
            source::publish(&of(found)?, branch, &into, fetcher, &context.store, &builder.index).await?;
            stage.advance(1);
            anyhow::Ok(())
        }
    });
    futures_util::future::try_join_all(work).await.map(drop)
}

/// Clones trees, once all of them are known to be there.
async fn clone(
    context: &Context,
    options: &Sources,
    (urls, references): (&BTreeMap<String, String>, &BTreeMap<String, String>),
    missing: &[&Component],
    folder: &Path,
    release: &Release,
    stage: &Stage,
) -> Result<()> {
    let url = |component: &Component| {
        urls.get(&component.name).cloned().unwrap_or_else(|| format!("{}/{}", base(options), component.repository))
    };
    can_be_cloned(context, missing.iter().map(|component| (*component, url(component))))?;
    let asked = missing.iter().map(|component| async {
        let url = url(component);
        let usual = component.git_branch.as_ref().unwrap_or(&release.branch);
        source::find(&url, references.get(&component.name).unwrap_or(usual)).await
    });
    let mut found = Vec::new();
    let mut absent = Vec::new();
    for (component, answer) in missing.iter().zip(futures_util::future::join_all(asked).await) {
        match answer {
            Ok(answer) => found.push((component, answer)),
            Err(error) => absent.push((&component.name, error)),
        }
    }
    if let Some((name, _)) = absent.first() {
        let name = name.as_str();
        let list: Vec<String> = absent.iter().map(|(name, error)| format!("{name}: {error}")).collect();
        let mut fault = Fault::usage(format!("not all trees can be cloned:\n  {}", list.join("\n  ")))
            .hint(format!("say what else to take: `--ref {name}=REF`, or your own tree: `--tree {name}=FOLDER`"));
        // What each of them says to do, once.
        for (_, error) in &absent {
            for hint in error.downcast_ref::<Fault>().into_iter().flat_map(|fault| &fault.hints) {
                if !fault.hints.contains(hint) {
                    fault = fault.hint(hint);
                }
            }
        }
        return Err(fault.into());
    }
    let instead = options.git_base.as_deref().map(|other| (GIT_BASE, other));
    let work = found.iter().map(|(component, found)| {
        let tree = folder.join(&component.name);
        async move {
            source::clone(&context.store, found, options.shallow, &tree).await?;
            told(context, &component.name, &tree, &source::complete(&tree, instead).await?);
            stage.advance(1);
            anyhow::Ok(())
        }
    });
    futures_util::future::try_join_all(work).await.map(drop)
}

/// Says what of a tree could not be had, and how to get it.
pub fn told(context: &Context, name: &str, tree: &Path, lacking: &source::Lacking) {
    let tree = tree.display();
    for (path, why) in &lacking.submodules {
        context.ui.warn(&format!(
            "{name} lacks its submodule `{path}`: {why}\n  to try again: git -C {tree} submodule update --init --recursive"
        ));
    }
    if let Some(first) = lacking.pointers.first() {
        let count = lacking.pointers.len();
        let next = match &lacking.refused {
            Some(why) => format!("{why}\n  to try again: git -C {tree} lfs pull"),
            None => format!("install git-lfs, then: git -C {tree} lfs install --local && git -C {tree} lfs pull"),
        };
        context.ui.warn(&format!(
            "{count} files of {name}, such as `{first}`, are Git LFS pointers without their content: what needs them fails\n  {next}"
        ));
    }
}

/// Makes `origin` the fork of an account in every tree that came from git.
async fn forks(options: &Sources, account: &str, wanted: &[&Component], folder: &Path) -> Result<()> {
    for component in wanted {
        let tree = folder.join(&component.name);
        if let Some(upstream) = topic::upstream(&tree).await? {
            let url = topic::fork_url(&upstream, account)?;
            let project = if upstream == url { format!("{}/{}", base(options), component.repository) } else { upstream };
            topic::fork(&tree, &url, &project).await?;
        }
    }
    Ok(())
}

/// A component in the words of the source room.
pub fn of(component: &Component) -> Result<source::Component<'_>, Fault> {
    match component {
        Component { project, file: Some(file), sha256: Some(sha256), parts, .. } => {
            let parts = parts.iter().map(|part| (part.project.as_str(), part.file.as_str(), &part.sha256)).collect();
            Ok(source::Component { project, file, sha256, parts })
        }
        Component { name, repository, .. } => Err(Fault::new(format!("`{repository}` is published in git alone"))
            .hint(format!("say where it is: `--url {name}=URL`, or your own tree: `--tree {name}=FOLDER`"))),
    }
}

/// `COMPONENT=FOLDER` of `--tree`.
fn own_trees(options: &Sources, release: &Release) -> Result<BTreeMap<String, PathBuf>> {
    let named = by_component("--tree", &options.tree, release)?;
    let absolute = |(name, folder): (String, String)| {
        let path = std::path::absolute(&folder).with_context(|| format!("`{folder}` is no folder"))?;
        Ok((name, path))
    };
    named.into_iter().map(absolute).collect()
}

/// `COMPONENT=VALUE` of an option, checked.
pub fn by_component(option: &str, texts: &[String], release: &Release) -> Result<BTreeMap<String, String>> {
    let parsed = texts.iter().map(|text| {
        let (name, value) =
            text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty()).ok_or_else(|| {
                Fault::usage(format!("`{option} {text}` does not say which component is meant"))
                    .hint(format!("write it as `{option} manager=…`"))
            })?;
        if !release.components.iter().chain(&release.optional).any(|component| component.name == name) {
            let known: Vec<&str> = release.components.iter().map(|component| component.name.as_str()).collect();
            return Err(Fault::usage(format!("release {} has no component `{name}`", release.branch))
                .hint(format!("it has {}", known.join(", ")))
                .into());
        }
        Ok((name.to_owned(), value.to_owned()))
    });
    parsed.collect()
}
