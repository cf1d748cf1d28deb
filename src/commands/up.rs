use super::{Context, build};
use crate::cli::{SourceChoice, Up};
use crate::environment::{self, Environment};
use crate::error::Fault;
use crate::fetch::Fetcher;
use crate::model::{Branch, EnvironmentId};
use crate::release::{Catalog, Release};
use crate::source;
use crate::stack;
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

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
    let mut environment = open(context, &options, &engine.subnets().await?)?;
    let release = Catalog::release(environment.branch.as_str())?;
    sources(context, &options, &environment, &release).await?;
    if options.dry_run {
        let plan = build::plan(&environment, &build::locked(&environment)?.0)?;
        let builder = build::builder(context).await?;
        return context.print(&plan, &plan.print(|key| builder.fragment(key).is_some()));
    }
    let outcome = build::images(context, &mut environment).await?;
    images_of_the_agent(&*engine, &environment).await?;
    if environment.ulimits.is_empty() {
        environment.ulimits = granted_limits(context, &*engine, &environment).await?;
        environment.save(&context.store)?;
    }
    let changed = build::write(&environment, &outcome)?;
    let services = crate::render::services();
    let containers = engine.containers(&environment.id).await?;
    let well = stack::judge(&services, &containers).values().all(|verdict| *verdict == stack::Verdict::Good);
    if well && changed == 0 && outcome.images_loaded == 0 {
        context.ui.say(&format!("up         nothing to do: `{}` runs and is healthy", environment.id));
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

/// What to do next, and where the time went.
fn summary(context: &Context, environment: &Environment) {
    let (id, ports) = (&environment.id, &environment.ports);
    let stages: Vec<String> =
        context.ui.timings().iter().map(|(name, took)| format!("{name} {}", crate::ui::duration(*took))).collect();
    let line = |service: &str| ports.get(service).map(|port| format!("http://127.0.0.1:{port}")).unwrap_or_default();
    context.ui.say(&format!(
        "\nrelease {} runs as `{id}` in {}\n  web UI    {}   admin@lablup.com / wJalrXUt\n  manager   {}   \n  client    baibox exec --env {id} workspace -- backend.ai run -c 'print(1)' python\n  edit      change a file below {}, then: baibox restart --env {id}\n  stop      baibox stop --env {id}        delete  baibox delete {id}\n\ntime: {}",
        environment.branch,
        environment.folder.display(),
        line("webserver"),
        line("manager"),
        environment.folder.display(),
        stages.join(", "),
    ));
}

/// Helper images that the agent would load by a Docker client, which its image has not.
async fn images_of_the_agent(engine: &dyn crate::engine::Engine, environment: &Environment) -> Result<()> {
    let source = environment.folder.join("agent/src/ai/backend");
    let helpers = [
        ("backendai-socket-relay:latest", source.join("agent/docker/backendai-socket-relay.img.tar.gz")),
        ("backendai-krunner-extractor:latest", source.join("runner/krunner-extractor.img.tar.xz")),
    ];
    for (reference, path) in helpers {
        if engine.image(reference).await?.is_some() {
            continue;
        }
        let packed = std::fs::File::open(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let xz = path.extension().is_some_and(|ending| ending == "xz");
        engine
            .load(Box::new(move |out| {
                if xz {
                    std::io::copy(&mut liblzma::read::XzDecoder::new(packed), out)?;
                } else {
                    std::io::copy(&mut flate2::read::GzDecoder::new(packed), out)?;
                }
                Ok(())
            }))
            .await
            .with_context(|| format!("cannot load `{}`", path.display()))?;
    }
    Ok(())
}

/// What the agent asks for each session; engines without that right refuse it.
const WANTED_LIMITS: [(&str, i64); 2] = [("nofile", 1_048_576), ("memlock", -1)];

/// Limits that must be lowered, found by asking the engine for a container with them.
async fn granted_limits(
    context: &Context,
    engine: &dyn crate::engine::Engine,
    environment: &Environment,
) -> Result<BTreeMap<String, i64>> {
    use crate::engine::{Output, Step};
    let image = environment.images.get("manager").context("the manager's image was not built")?.clone();
    let output = tempfile::NamedTempFile::new_in(context.store.root().join("temporary"))?;
    let mut granted = BTreeMap::new();
    for (name, wanted) in WANTED_LIMITS {
        let step = Step {
            name: format!("limit {name}"),
            image: image.clone(),
            command: vec!["/bin/true".into()],
            ulimits: [(name.to_owned(), wanted)].into(),
            ..Step::default()
        };
        if engine.run_step(&step, output.path()).await.is_ok() {
            continue;
        }
        let letter = if name == "nofile" { 'n' } else { 'l' };
        let script = format!("mkdir /limit && ulimit -H -{letter} > /limit/value");
        let step = Step {
            name: format!("limit {name}"),
            image: image.clone(),
            command: ["/bin/bash", "-c", &script].map(String::from).to_vec(),
            output: Output::Folder("/limit/value".into()),
            ..Step::default()
        };
        engine.run_step(&step, output.path()).await?;
        let mut archive = tar::Archive::new(output.reopen()?);
        let mut text = String::new();
        if let Some(entry) = archive.entries()?.next() {
            std::io::Read::read_to_string(&mut entry?, &mut text)?;
        }
        let value: i64 = text.trim().parse().with_context(|| format!("the engine's limit `{name}` is `{}`", text.trim()))?;
        // bash counts locked memory in KiB.
        granted.insert(name.to_owned(), if letter == 'l' { value * 1024 } else { value });
    }
    if !granted.is_empty() {
        let list: Vec<String> = granted.iter().map(|(name, value)| format!("{name} {value}")).collect();
        context.ui.say(&format!("limits     this engine grants sessions less than the agent asks: {}", list.join(", ")));
    }
    Ok(granted)
}

/// The environment that is meant, or a new one.
fn open(context: &Context, options: &Up, subnets: &[String]) -> Result<Environment> {
    let branch = options.branch.as_deref().map(|text| Branch::parse(text, &Catalog::branches())).transpose()?;
    let id = options.one.env.as_deref().map(EnvironmentId::parse).transpose()?;
    let all = environment::list(&context.store)?;
    let here = std::env::current_dir().context("the current folder cannot be read")?;
    let known = match (&id, &branch) {
        (Some(id), _) => all.iter().find(|environment| environment.id == *id).cloned(),
        (None, None) => Some(environment::find(&context.store, None, &here)?),
        (None, Some(_)) => None,
    };
    if let Some(environment) = known {
        if let Some(branch) = branch.filter(|branch| *branch != environment.branch) {
            return Err(Fault::usage(format!(
                "the environment `{}` is of release {}, not {branch}",
                environment.id, environment.branch
            ))
            .hint("name another environment with `--env ID`")
            .hint(format!("or delete this one: `baibox delete {}`", environment.id))
            .into());
        }
        return Ok(environment);
    }
    let branch = branch.ok_or_else(|| Fault::usage("which release branch?").hint("type `baibox up --branch 21.03`"))?;
    let id = match id {
        Some(id) => id,
        None => EnvironmentId::parse(&environment::random_word(8))?,
    };
    let folder = std::path::absolute(options.path.clone().unwrap_or_else(|| PathBuf::from(id.as_str())))?;
    empty_or_ours(&folder, &id)?;
    create(context, branch, id, folder, &all, subnets)
}

/// A folder with other things in it is not taken over.
fn empty_or_ours(folder: &Path, id: &EnvironmentId) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("cannot list `{}`", folder.display()))?,
    };
    let foreign = entries.count() > 0 && !folder.join(".baibox").join(id.as_str()).is_dir();
    if foreign {
        return Err(Fault::usage(format!("the folder `{}` is not empty and not an environment of baibox", folder.display()))
            .hint("name another one with `--path FOLDER`")
            .into());
    }
    Ok(())
}

fn create(
    context: &Context,
    branch: Branch,
    id: EnvironmentId,
    folder: PathBuf,
    all: &[Environment],
    subnets: &[String],
) -> Result<Environment> {
    let release = Catalog::release(branch.as_str())?;
    let mut taken: BTreeSet<u16> = all.iter().flat_map(|other| other.ports.values().copied()).collect();
    let mut ports = BTreeMap::new();
    for (service, wanted) in &release.ports {
        let port = environment::free_port(*wanted, &taken, environment::listens_nowhere)?;
        if port != *wanted {
            context.ui.say(&format!("{service} gets port {port}, since {wanted} is taken"));
        }
        taken.insert(port);
        ports.insert(service.clone(), port);
    }
    let used: Vec<String> = subnets.iter().cloned().chain(all.iter().map(|other| other.subnet.clone())).collect();
    let (subnet, gateway) = environment::free_subnet(&used)?;
    let secrets =
        ["database", "storage-manager", "storage-client"].map(|name| (name.to_owned(), environment::random_word(32))).into();
    let environment = Environment {
        id,
        branch,
        folder,
        ports,
        subnet,
        gateway,
        secrets,
        ulimits: BTreeMap::new(),
        images: BTreeMap::new(),
        superseded: BTreeSet::new(),
    };
    environment.save(&context.store)?;
    Ok(environment)
}

/// Brings the trees that are missing; those that are there are left alone.
async fn sources(context: &Context, options: &Up, environment: &Environment, release: &Release) -> Result<()> {
    let missing: Vec<_> =
        release.components.iter().filter(|component| !environment.folder.join(&component.name).exists()).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let stage = context.ui.stage("source");
    stage.length(missing.len() as u64);
    let base = options.git_base.as_deref().unwrap_or(GIT_BASE);
    let from_git = match options.source {
        SourceChoice::Git => true,
        SourceChoice::Pypi => false,
        SourceChoice::Auto => {
            let reachable = source::reachable(base, &first.repository).await;
            if !reachable {
                context.ui.say(&format!("`{base}` cannot be reached: sources come from PyPI's source distributions"));
            }
            reachable
        }
    };
    let builder = build::builder(context).await?;
    let fetcher = Fetcher::new(&context.store)?;
    let work = missing.iter().map(|component| {
        let (stage, fetcher, builder) = (&stage, &fetcher, &builder);
        async move {
            let tree = environment.folder.join(&component.name);
            if from_git {
                source::clone(base, &component.repository, environment.branch.as_str(), &tree).await?;
            } else {
                if !context.store.has(&component.sha256) {
                    let urls = builder.index.urls(fetcher, &component.project, &component.file).await?;
                    fetcher.file(&urls, &component.sha256).await?;
                }
                let bytes = context.store.read(&component.sha256)?;
                source::unpack(&component.file, &bytes, environment.branch.as_str(), &tree).await?;
            }
            stage.advance(1);
            anyhow::Ok(())
        }
    });
    futures_util::future::try_join_all(work).await?;
    let from = if from_git { base } else { "PyPI's source distributions" };
    stage.done(&format!("{} trees from {from}", missing.len()));
    Ok(())
}
