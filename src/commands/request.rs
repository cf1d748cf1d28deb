//! The environment that a command line asks for: one that is there, or a new one.

use super::{Context, mix, python, sources};
use crate::cli::{CudaChoice, Request};
use crate::engine::{Engine, Listed};
use crate::environment::{self, Environment};
use crate::error::Fault;
use crate::model::{Branch, EnvironmentId};
use crate::release::{Catalog, Cuda, Plugin, Release};
use crate::store::StoreLock;
use anyhow::{Context as _, Result};
use std::path::Path;

/// Chosen, and known to no one else yet.
pub struct Opened {
    environment: Environment,
    choosing: StoreLock,
}

/// Without an engine, as some images are built, nobody is asked for networks and names in use.
pub async fn open(context: &Context, request: &Request, engine: Option<&dyn Engine>) -> Result<Opened> {
    let here = std::env::current_dir().context("the current folder cannot be read")?;
    let choosing = context.store.lock("environments")?;
    let (subnets, listed) = match engine {
        Some(engine) => (engine.subnets().await?, engine.list().await?),
        None => Default::default(),
    };
    let mut environment = meant(context, request, &here, &subnets, &listed)?;
    if engine.is_some() {
        context.at_home(&environment).await?;
        if environment.home.is_none() {
            environment.home = Some(context.home().await?);
        }
    }
    mix::choose(context, &mut environment, &request.component)?;
    python::choose(&mut environment, request.python.as_deref())?;
    choose_cuda(&mut environment, request, &here).await?;
    Ok(Opened { environment, choosing })
}

impl Opened {
    /// To look at; others may take its ports.
    pub fn unsaved(self) -> Environment {
        self.environment
    }

    /// Remembers it, and brings its trees.
    pub async fn bring(self, context: &Context, request: &Request) -> Result<(Environment, Release)> {
        let Self { mut environment, choosing } = self;
        let release = environment.release()?;
        environment.references.extend(sources::references(&request.sources, &release)?);
        // A folder that cannot be mounted is told before anything is brought there.
        crate::render::Layout::here(&environment)?;
        environment.save(&context.store)?;
        // From here on others see its ports and network.
        drop(choosing);
        sources::bring(context, &request.sources, &environment.folder, &release, &environment.references).await?;
        Ok((environment, release))
    }
}

/// What is said of CUDA is remembered; a GPU must be there before anything is made for it.
async fn choose_cuda(environment: &mut Environment, request: &Request, here: &Path) -> Result<()> {
    let release = Catalog::release(environment.branch.as_str())?.mixed(&environment.mix)?;
    environment.cuda = match request.cuda {
        None => environment.cuda,
        Some(CudaChoice::Off) => None,
        Some(CudaChoice::Gpu) => Some(Cuda::Gpu),
        Some(CudaChoice::Mock) => Some(Cuda::Mock),
    };
    let Some(cuda) = environment.cuda else { return Ok(()) };
    let (_, plugin) = release.cuda_plugin(cuda)?;
    match (&request.cuda_branch, plugin) {
        (Some(branch), Plugin::Component(name)) => drop(environment.references.insert(name.clone(), branch.clone())),
        (Some(_), Plugin::Module(name)) => {
            return Err(Fault::usage(format!("the CUDA plug-in of {} has no branch of its own", release.branch))
                .hint(format!("`{name}` is a module of the one tree: take another branch of that by `--ref`"))
                .into());
        }
        (None, _) => {}
    }
    if cuda == Cuda::Gpu {
        let findings = crate::doctor::examine_cuda(here).await;
        let faults: Vec<_> = findings.iter().filter(|finding| finding.state == crate::doctor::State::Fault).collect();
        if !faults.is_empty() {
            let list: Vec<&str> = faults.iter().map(|finding| finding.detail.as_str()).collect();
            let fault = Fault::engine(format!("there is no GPU for the agent: {}", list.join("; ")));
            let fault = faults.iter().filter_map(|finding| finding.remedy.clone()).fold(fault, Fault::hint);
            return Err(fault.hint("or take devices that are made up: `--cuda mock`").into());
        }
    }
    Ok(())
}

/// The environment that is meant, or a new one that is not saved yet.
fn meant(context: &Context, request: &Request, here: &Path, subnets: &[String], listed: &[Listed]) -> Result<Environment> {
    let known = Catalog::known()?;
    let branch = request.branch.as_deref().map(|text| Branch::parse(text, &known)).transpose()?;
    let id = request.one.env.as_deref().map(EnvironmentId::parse).transpose()?;
    let path = request.path.as_ref().map(std::path::absolute).transpose()?;
    let all = environment::list(&context.store)?;
    let known = match (&id, &branch) {
        (Some(id), _) => all.iter().find(|environment| environment.id == *id),
        (None, None) => Some(&environment::find(&context.store, None, here)?),
        (None, Some(branch)) => same_place(&all, branch, path.as_deref(), here)?,
    };
    if let Some(environment) = known {
        agrees(environment, branch.as_ref(), path.as_deref())?;
        // One that an older baibox made may lack what the release has by now.
        let mut environment = environment.clone();
        let release = environment.release()?;
        environment::complete(&mut environment, &release.ports, &all)?;
        return Ok(environment);
    }
    let branch = branch.ok_or_else(|| Fault::usage("which release branch?").hint("type `baibox up --branch 21.03`"))?;
    let id = match id {
        Some(id) => id,
        None => EnvironmentId::parse(&environment::random_word(8))?,
    };
    unknown_to_engine(&id, listed)?;
    let folder = path.unwrap_or_else(|| here.join(id.as_str()));
    let release = Catalog::release(branch.as_str())?;
    let environment = environment::create(id, branch, folder, &release.ports, &all, subnets)?;
    if !environment.adopted.is_empty() {
        let names: Vec<&str> = environment.adopted.iter().map(String::as_str).collect();
        let what = format!(
            "{} of `{}` are taken as they are, and stay when the environment goes",
            names.join(", "),
            environment.folder.display()
        );
        context.ui.remark("source", &what);
    }
    for (service, wanted) in &release.ports {
        let port = environment.ports[service];
        if port != *wanted {
            context.ui.remark("ports", &format!("{service} gets port {port}, since {wanted} is taken"));
        }
    }
    Ok(environment)
}

/// Another user, or another store of this one, may have an environment of that name on the engine.
pub fn unknown_to_engine(id: &EnvironmentId, listed: &[Listed]) -> Result<(), Fault> {
    let Some(one) = listed.iter().find(|one| one.environment.as_deref() == Some(id.as_str())) else { return Ok(()) };
    Err(Fault::usage(format!(
        "the engine has containers of an environment `{id}` that is not in this store, such as {}",
        one.container.name
    ))
    .hint("choose another ID with `--env ID`")
    .hint(format!("if nobody needs it: `docker compose -p {id} down --volumes`")))
}

/// `up --branch` typed again where an environment of that branch was made means that one.
fn same_place<'a>(all: &'a [Environment], branch: &Branch, path: Option<&Path>, here: &Path) -> Result<Option<&'a Environment>> {
    let matches = |environment: &&Environment| match path {
        Some(path) => environment.folder == path,
        None => {
            environment.branch == *branch
                && (environment.folder.parent() == Some(here) || environment::is_within(here, &environment.folder))
        }
    };
    let found: Vec<&Environment> = all.iter().filter(matches).collect();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => {
            let names: Vec<String> = several.iter().map(|environment| format!("`{}`", environment.id)).collect();
            Err(Fault::usage(format!("several environments of release {branch} are here: {}", names.join(", ")))
                .hint("say which one with `--env ID`, or a new ID for another one")
                .into())
        }
    }
}

/// What is said again of an environment must be what it was made with.
fn agrees(environment: &Environment, branch: Option<&Branch>, path: Option<&Path>) -> Result<(), Fault> {
    let id = &environment.id;
    if let Some(branch) = branch.filter(|branch| **branch != environment.branch) {
        return Err(Fault::usage(format!("the environment `{id}` is of release {}, not {branch}", environment.branch))
            .hint("name another environment with `--env ID`")
            .hint(format!("or delete this one: `baibox delete {id}`")));
    }
    if path.is_some_and(|path| path != environment.folder) {
        return Err(Fault::usage(format!("the environment `{id}` is in `{}` already", environment.folder.display()))
            .hint("leave `--path` away, or name another environment with `--env ID`"));
    }
    Ok(())
}
