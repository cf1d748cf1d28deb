use super::{Context, build, platform, request, sources};
use crate::cli::Up;
use crate::environment::Environment;
use crate::model::Platform;
use crate::release::Catalog;
use crate::stack;
use anyhow::{Context as _, Result};

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
    if let Some(text) = &options.request.branch {
        Catalog::release(context.branch(text)?.as_str())?;
    }
    super::base::without_another_python(&options.request)?;
    let mut findings = crate::doctor::examine(&here).await;
    if findings.iter().any(|finding| finding.state == crate::doctor::State::Fault) {
        findings = super::doctor::mend(context, &here, findings, options.fix).await?;
    }
    super::doctor::check(&findings)?;
    let engine = context.engine().await?;
    let request = &options.request;
    let opened = request::open(context, request, Some(&*engine)).await?;
    if options.dry_run {
        dry_run(context, &options, opened.unsaved()).await?;
        return Ok(None);
    }
    let (mut environment, release) = opened.bring(context, request).await?;
    super::base::meant(context, &environment, request.base.as_deref(), options.locked).await?;
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

/// Prints the plan. Trees that are not there are read in a folder that goes again.
async fn dry_run(context: &Context, options: &Up, mut environment: Environment) -> Result<()> {
    let release = &environment.release()?;
    let from = &options.request.sources;
    let (mut locked, mut lock) = build::locked(&environment)?;
    if let Some(base) = &options.request.base {
        super::base::has_no_build_of_its_own(&environment, base)?;
        super::base::choose(context, &mut locked, &mut lock, base, options.locked).await?;
    }
    let scratch = tempfile::tempdir_in(context.store.temporary())?;
    if release.components.iter().any(|component| !environment.folder.join(&component.name).exists()) {
        environment.folder = scratch.path().to_owned();
        environment.references.extend(sources::references(from, release)?);
        sources::bring(context, from, scratch.path(), release, &environment.references).await?;
    }
    super::python::complete(context, &mut locked, &mut lock, options.locked).await?;
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
    let id = &environment.id;
    let stages: Vec<String> =
        context.ui.timings().iter().map(|(name, took)| format!("{name} {}", crate::ui::duration(*took))).collect();
    let manager = environment.ports.get("manager").map(|port| format!("http://127.0.0.1:{port}")).unwrap_or_default();
    let folder = environment.folder.display();
    let rows = [
        ("web UI", format!("{}  admin@lablup.com / wJalrXUt", environment.web_ui().unwrap_or_default())),
        ("manager", format!("{manager}  access key AKIAIOSFODNN7EXAMPLE")),
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
