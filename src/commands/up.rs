use super::{Context, build, platform, sources};
use crate::cli::{CudaChoice, Up};
use crate::engine::Listed;
use crate::environment::{self, Environment};
use crate::error::Fault;
use crate::model::{Branch, EnvironmentId, Platform};
use crate::release::{Catalog, Cuda, Plugin, Release};
use crate::stack;
use anyhow::{Context as _, Result};
use std::path::Path;

pub async fn run(context: &Context, options: Up) -> Result<()> {
    let watch = options.watch && !options.dry_run;
    match line(context, options).await? {
        Some(environment) if watch => super::watch::run(context, &environment).await,
        _ => Ok(()),
    }
}

/// The straight line, from a request to a stack that said hello; the environment if there is one.
async fn line(context: &Context, options: Up) -> Result<Option<Environment>> {
    let here = std::env::current_dir().context("the current folder cannot be read")?;
    // A release that no environment can be made of is refused before anything else is looked at.
    if let Some(text) = &options.branch {
        Catalog::release(context.branch(text)?.as_str())?;
    }
    let mut findings = crate::doctor::examine(&here).await;
    if findings.iter().any(|finding| finding.state == crate::doctor::State::Fault) {
        findings = super::doctor::mend(context, &here, findings, options.fix).await?;
    }
    super::doctor::check(&findings)?;
    let engine = context.engine().await?;
    let choosing = context.store.lock("environments")?;
    let mut environment = open(context, &options, &here, &engine.subnets().await?, &engine.list().await?)?;
    context.at_home(&environment).await?;
    if environment.home.is_none() {
        environment.home = Some(context.home().await?);
    }
    super::mix::choose(context, &mut environment, &options.component)?;
    choose_cuda(&mut environment, &options, &here).await?;
    let release = environment.release()?;
    if options.dry_run {
        drop(choosing);
        dry_run(context, &options, environment, &release).await?;
        return Ok(None);
    }
    environment.references.extend(sources::references(&options.sources, &release)?);
    // A folder that cannot be mounted is told before anything is brought there.
    crate::render::Layout::here(&environment)?;
    environment.save(&context.store)?;
    // From here on others see its ports and network.
    drop(choosing);
    sources::bring(context, &options.sources, &environment.folder, &release, &environment.references).await?;
    if let Some(cache) = &options.cache {
        super::pull::warm(context, &environment, cache).await?;
    }
    let outcome = build::images(context, &mut environment, options.locked).await?;
    if environment.ulimits.is_none() {
        environment.ulimits = Some(limits(context, &environment).await?);
        environment.save(&context.store)?;
    }
    let changed = build::write(context, &environment, &outcome).await?;
    let services = release.services();
    let containers = engine.containers(&environment.id).await?;
    let well = stack::judge(&services, &containers).values().all(|verdict| *verdict == stack::Verdict::Good);
    if well && changed == 0 && outcome.images_loaded == 0 {
        context.ui.remark("up", &format!("nothing to do: `{}` runs and is healthy", environment.id));
        return Ok(Some(environment));
    }
    super::lifecycle::bring_up(context, &environment).await?;
    if !options.no_verify {
        let stage = context.ui.stage("verify");
        let proof = stack::verify(&*engine, &environment).await?;
        stage.done(&format!("a compute session said `{}`", proof.hello));
    }
    summary(context, &environment);
    Ok(Some(environment))
}

/// What is said of CUDA is remembered; a GPU must be there before anything is made for it.
async fn choose_cuda(environment: &mut Environment, options: &Up, here: &Path) -> Result<()> {
    let release = Catalog::release(environment.branch.as_str())?.mixed(&environment.mix)?;
    environment.cuda = match options.cuda {
        None => environment.cuda,
        Some(CudaChoice::Off) => None,
        Some(CudaChoice::Gpu) => Some(Cuda::Gpu),
        Some(CudaChoice::Mock) => Some(Cuda::Mock),
    };
    let Some(cuda) = environment.cuda else { return Ok(()) };
    let (_, plugin) = release.cuda_plugin(cuda)?;
    match (&options.cuda_branch, plugin) {
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

/// Prints the plan. Trees that are not there are read in a folder that goes again.
async fn dry_run(context: &Context, options: &Up, mut environment: Environment, release: &Release) -> Result<()> {
    let (mut locked, mut lock) = build::locked(&environment)?;
    let scratch = tempfile::tempdir_in(context.store.temporary())?;
    if release.components.iter().any(|component| !environment.folder.join(&component.name).exists()) {
        environment.folder = scratch.path().to_owned();
        environment.references.extend(sources::references(&options.sources, release)?);
        sources::bring(context, &options.sources, scratch.path(), release, &environment.references).await?;
    }
    for unmet in crate::lock::unmet(&locked, &lock.python, &build::requirements(&environment.folder, &locked)?)? {
        context.ui.remark("lock", &format!("{unmet}: Python packages would be resolved again, and the plan with them"));
    }
    let builder = build::builder(context).await?;
    let platform = Platform::parse(options.platform.as_ref().unwrap_or(&builder.architecture))?;
    platform::complete(context, &locked, &mut lock, platform, options.locked).await?;
    lock.apply_on(&mut locked, platform);
    let plan = build::plan(&environment.folder, &locked)?;
    let builder = builder.on(platform);
    context.print(&plan, &plan.print(|key| builder.fragment(key).is_some()))
}

/// Asks the engine what it grants to sessions, and says so if that is less than usual.
pub async fn limits(context: &Context, environment: &Environment) -> Result<std::collections::BTreeMap<String, i64>> {
    let image = environment.images.get("manager").context("the manager's image was not built")?;
    let granted = stack::granted_limits(&*context.engine().await?, image, &context.store.temporary()).await?;
    if !granted.is_empty() {
        let list: Vec<String> = granted.iter().map(|(name, value)| format!("{name} {value}")).collect();
        context.ui.remark("limits", &format!("this engine grants sessions less than the agent asks: {}", list.join(", ")));
    }
    Ok(granted)
}

/// What to do next, and where the time went.
fn summary(context: &Context, environment: &Environment) {
    let (id, ports) = (&environment.id, &environment.ports);
    let stages: Vec<String> =
        context.ui.timings().iter().map(|(name, took)| format!("{name} {}", crate::ui::duration(*took))).collect();
    let address = |service: &str| ports.get(service).map(|port| format!("http://127.0.0.1:{port}")).unwrap_or_default();
    let folder = environment.folder.display();
    let rows = [
        ("web UI", format!("{}  admin@lablup.com / wJalrXUt", address("webserver"))),
        ("manager", format!("{}  access key AKIAIOSFODNN7EXAMPLE", address("manager"))),
        ("client", format!("baibox exec --env {id} workspace -- backend.ai run -c 'print(1)' python")),
        ("edit", format!("change a file below {folder}, then: baibox restart --env {id}")),
        ("VS Code", format!("open {folder} and choose “Reopen in Container”")),
        ("debug", format!("baibox debug --env {id} manager")),
        ("stop", format!("baibox stop --env {id}")),
        ("delete", format!("baibox delete {id}")),
    ];
    let rows: Vec<String> = rows.iter().map(|(name, text)| format!("  {name:<9} {text}")).collect();
    context.ui.say(&format!(
        "\nrelease {} runs as `{id}` in {folder}\n{}\n\ntime: {}",
        environment.release_name(),
        rows.join("\n"),
        stages.join(", ")
    ));
}

/// The environment that is meant, or a new one that is not saved yet.
fn open(context: &Context, options: &Up, here: &Path, subnets: &[String], listed: &[Listed]) -> Result<Environment> {
    let known = Catalog::known()?;
    let branch = options.branch.as_deref().map(|text| Branch::parse(text, &known)).transpose()?;
    let id = options.one.env.as_deref().map(EnvironmentId::parse).transpose()?;
    let path = options.path.as_ref().map(std::path::absolute).transpose()?;
    let all = environment::list(&context.store)?;
    let known = match (&id, &branch) {
        (Some(id), _) => all.iter().find(|environment| environment.id == *id),
        (None, None) => Some(&environment::find(&context.store, None, here)?),
        (None, Some(branch)) => same_place(&all, branch, path.as_deref(), here)?,
    };
    if let Some(environment) = known {
        agrees(environment, branch.as_ref(), path.as_deref())?;
        return Ok(environment.clone());
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
    let meant = |environment: &&Environment| match path {
        Some(path) => environment.folder == path,
        None => {
            environment.branch == *branch
                && (environment.folder.parent() == Some(here) || environment::is_within(here, &environment.folder))
        }
    };
    let found: Vec<&Environment> = all.iter().filter(meant).collect();
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
