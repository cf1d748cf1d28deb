use super::{Context, build};
use crate::cli::{SourceChoice, Up};
use crate::environment::{self, Environment};
use crate::error::Fault;
use crate::fetch::Fetcher;
use crate::model::{Branch, EnvironmentId};
use crate::release::{Catalog, Release};
use crate::source::{self, Origin};
use crate::stack;
use anyhow::{Context as _, Result};
use std::path::Path;

/// Where the components' repositories are, unless told otherwise.
const GIT_BASE: &str = "https://github.com/lablup";

pub async fn run(context: &Context, options: Up) -> Result<()> {
    let here = std::env::current_dir().context("the current folder cannot be read")?;
    let mut findings = crate::doctor::examine(&here).await;
    if findings.iter().any(|finding| finding.state == crate::doctor::State::Fault) {
        findings = super::doctor::mend(context, &here, findings, options.fix).await?;
    }
    super::doctor::check(&findings)?;
    let engine = context.engine().await?;
    let mut environment = open(context, &options, &here, &engine.subnets().await?)?;
    let release = Catalog::release(environment.branch.as_str())?;
    if options.dry_run {
        return dry_run(context, &options, environment, &release).await;
    }
    environment.save(&context.store)?;
    sources(context, &options, &environment.folder, &release).await?;
    let outcome = build::images(context, &mut environment, options.locked).await?;
    if environment.ulimits.is_none() {
        environment.ulimits = Some(limits(context, &environment).await?);
        environment.save(&context.store)?;
    }
    let changed = build::write(context, &environment, &outcome).await?;
    let services = crate::render::services();
    let containers = engine.containers(&environment.id).await?;
    let well = stack::judge(&services, &containers).values().all(|verdict| *verdict == stack::Verdict::Good);
    if well && changed == 0 && outcome.images_loaded == 0 {
        context.ui.remark("up", &format!("nothing to do: `{}` runs and is healthy", environment.id));
        return Ok(());
    }
    super::lifecycle::bring_up(context, &environment).await?;
    if !options.no_verify {
        let stage = context.ui.stage("verify");
        let proof = stack::verify(&*engine, &environment).await?;
        stage.done(&format!("a compute session said `{}`", proof.hello));
    }
    summary(context, &environment);
    Ok(())
}

/// Prints the plan. Trees that are not there are read in a folder that goes again.
async fn dry_run(context: &Context, options: &Up, mut environment: Environment, release: &Release) -> Result<()> {
    let (locked, lock) = build::locked(&environment)?;
    let scratch = tempfile::tempdir_in(context.store.temporary())?;
    if release.components.iter().any(|component| !environment.folder.join(&component.name).exists()) {
        environment.folder = scratch.path().to_owned();
        sources(context, options, scratch.path(), release).await?;
    }
    for unmet in crate::lock::unmet(&locked, &lock.python, &build::requirements(&environment, &locked))? {
        context.ui.remark("lock", &format!("{unmet}: Python packages would be resolved again, and the plan with them"));
    }
    let plan = build::plan(&environment, &locked)?;
    let builder = build::builder(context).await?;
    context.print(&plan, &plan.print(|key| builder.fragment(key).is_some()))
}

/// Asks the engine what it grants to sessions, and says so if that is less than usual.
async fn limits(context: &Context, environment: &Environment) -> Result<std::collections::BTreeMap<String, i64>> {
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
        ("VS Code", format!("Dev Containers: Attach to Running Container… {id}-workspace-1, open {folder}")),
        ("stop", format!("baibox stop --env {id}")),
        ("delete", format!("baibox delete {id}")),
    ];
    let rows: Vec<String> = rows.iter().map(|(name, text)| format!("  {name:<9} {text}")).collect();
    context.ui.say(&format!(
        "\nrelease {} runs as `{id}` in {folder}\n{}\n\ntime: {}",
        environment.branch,
        rows.join("\n"),
        stages.join(", ")
    ));
}

/// The environment that is meant, or a new one that is not saved yet.
fn open(context: &Context, options: &Up, here: &Path, subnets: &[String]) -> Result<Environment> {
    let branches = Catalog::branches()?;
    let branch = options.branch.as_deref().map(|text| Branch::parse(text, &branches)).transpose()?;
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
    let folder = path.unwrap_or_else(|| here.join(id.as_str()));
    let release = Catalog::release(branch.as_str())?;
    let environment = environment::create(id, branch, folder, &release.ports, &all, subnets)?;
    for (service, wanted) in &release.ports {
        let port = environment.ports[service];
        if port != *wanted {
            context.ui.remark("ports", &format!("{service} gets port {port}, since {wanted} is taken"));
        }
    }
    Ok(environment)
}

/// `up --branch` typed again where an environment of that branch was made means that one.
fn same_place<'a>(all: &'a [Environment], branch: &Branch, path: Option<&Path>, here: &Path) -> Result<Option<&'a Environment>> {
    let meant = |environment: &&Environment| match path {
        Some(path) => environment.folder == path,
        None => {
            environment.branch == *branch && (environment.folder.parent() == Some(here) || here.starts_with(&environment.folder))
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

/// Brings the trees that are missing; those that are there are left alone.
async fn sources(context: &Context, options: &Up, folder: &Path, release: &Release) -> Result<()> {
    let known = |name: &String| release.optional.iter().find(|component| component.name == *name);
    if let Some(name) = options.with.iter().find(|name| known(name).is_none()) {
        let names: Vec<String> = release.optional.iter().map(|component| format!("`{}`", component.name)).collect();
        return Err(Fault::usage(format!("release {} has no optional component `{name}`", release.branch))
            .hint(format!("it has {}", names.join(", ")))
            .into());
    }
    let wanted = release.components.iter().chain(options.with.iter().filter_map(known));
    let missing: Vec<_> = wanted.filter(|component| !folder.join(&component.name).exists()).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let stage = context.ui.stage("source");
    stage.length(missing.len() as u64);
    let base = options.git_base.as_deref().unwrap_or(GIT_BASE);
    let origin = match options.source {
        SourceChoice::Git => Origin::Git { base: base.to_owned() },
        SourceChoice::Pypi => Origin::Pypi,
        SourceChoice::Auto => source::automatic(base, &first.repository).await,
    };
    let from = match origin {
        Origin::Git { .. } => base,
        Origin::Pypi => "PyPI's source distributions",
    };
    if origin == Origin::Pypi && options.source == SourceChoice::Auto {
        context.ui.remark("source", &format!("`{base}` cannot be reached: sources come from {from}"));
    }
    let builder = build::builder(context).await?;
    let fetcher = Fetcher::new(&context.store)?;
    let work = missing.iter().map(|found| {
        let (stage, origin, builder, fetcher) = (&stage, &origin, &builder, &fetcher);
        let branch = found.git_branch.as_ref().unwrap_or(&release.branch);
        let (repository, project, file) = (&found.repository, &found.project, &found.file);
        let component = source::Component { repository, project, file, sha256: &found.sha256 };
        let into = folder.join(&found.name);
        async move {
            source::ensure(origin, &component, branch, &into, fetcher, &context.store, &builder.index).await?;
            stage.advance(1);
            anyhow::Ok(())
        }
    });
    futures_util::future::try_join_all(work).await?;
    stage.done(&format!("{} trees from {from}", missing.len()));
    Ok(())
}
