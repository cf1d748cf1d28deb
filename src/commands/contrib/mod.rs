//! The way to a pull request, one file a verb.

mod check;
mod fork;
mod lint;
mod news;
mod start;
mod test;

use super::{Context, sources};
use crate::cli::{Contrib, Worked};
use crate::contrib::{Finding, State};
use crate::environment::Environment;
use crate::error::Fault;
use crate::release::{Named, Release};
use crate::source;
use anyhow::{Context as _, Result};
use std::path::PathBuf;

pub async fn run(context: &Context, options: &Contrib) -> Result<()> {
    match options {
        Contrib::Start(options) => start::run(context, options).await,
        Contrib::Check(options) => check::run(context, options).await,
        Contrib::News(options) => news::run(context, options).await,
        Contrib::Test(options) => test::run(context, options).await,
        Contrib::Fork(options) => fork::run(context, options).await,
    }
}

/// The tree that one works in.
struct Place {
    environment: Environment,
    release: Release,
    named: Named,
    tree: PathBuf,
    /// Upstream's branch that the work is for.
    branch: String,
}

impl Place {
    /// What a later command must be told to mean this tree.
    fn words(&self) -> String {
        format!("--env {} -c {}", self.environment.id, self.named.name)
    }
}

/// The component that is named, that of the current folder, or the only one on a topic branch.
async fn place(context: &Context, worked: &Worked) -> Result<Place> {
    let environment = context.environment(&worked.one)?;
    let release = environment.release()?;
    let named = match &worked.component {
        Some(name) => release.named(name)?,
        None => here(&environment, &release).await?,
    };
    let tree = environment.folder.join(&named.component.name);
    if !tree.join(".git").exists() {
        return Err(Fault::new(format!("`{}` is not a git working tree", tree.display()))
            .hint(format!("type `baibox up --env {}`: it brings what is missing", environment.id))
            .into());
    }
    let branch = sources::branch(&environment.references, &named.component, &release, &tree).await?;
    Ok(Place { environment, release, named, tree, branch })
}

/// What is meant where none is named; of the one repository, the part that the current folder is in.
async fn here(environment: &Environment, release: &Release) -> Result<Named> {
    let here = std::env::current_dir().context("the current folder cannot be read")?;
    let trees = || release.components.iter().chain(&release.optional).map(|one| (one, environment.folder.join(&one.name)));
    if let Some((component, tree)) = trees().find(|(_, tree)| here.starts_with(tree)) {
        let inside = here.strip_prefix(&tree).unwrap_or(&here).to_string_lossy().into_owned();
        let part = release.parts()?.into_iter().find(|part| part.holds(&inside));
        return Ok(part.unwrap_or_else(|| Named::whole(component)));
    }
    if let ([only], []) = (release.components.as_slice(), release.optional.as_slice()) {
        return Ok(Named::whole(only));
    }
    let mut topics = Vec::new();
    for (one, tree) in trees().filter(|(_, tree)| tree.join(".git").exists()) {
        if source::state(&tree).await?.branch != sources::branch(&environment.references, one, release, &tree).await? {
            topics.push(one);
        }
    }
    match <[_; 1]>::try_from(topics) {
        Ok([found]) => Ok(Named::whole(found)),
        Err(topics) => Err(unclear(&topics.iter().map(|one| one.name.as_str()).collect::<Vec<_>>()).into()),
    }
}

fn unclear(topics: &[&str]) -> Fault {
    let fault = Fault::usage("which component?").hint("name it with `-c manager`, or go into the folder of its tree");
    if topics.is_empty() { fault } else { fault.hint(format!("on topic branches: {}", topics.join(", "))) }
}

/// A broken rule as an error, for commands that do one thing.
fn keep(finding: Finding) -> Result<(), Fault> {
    match finding.state {
        State::Fault => Err(Fault::usage(finding.what).hint(finding.mend)),
        _ => Ok(()),
    }
}
