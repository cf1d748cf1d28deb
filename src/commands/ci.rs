//! A throw-away environment, the tests of components in it, and what stays of both.

use super::{Context, build, delete, guard, lifecycle, pull, sources, up};
use crate::build::Outcome;
use crate::ci::{self, Case, Counts, RECORD_VERSION, Record, Report};
use crate::cli::Ci;
use crate::engine::{Engine, Facts};
use crate::environment::{self, Environment, Home};
use crate::error::{self, Exit, Fault};
use crate::model::EnvironmentId;
use crate::release::{Catalog, Era, Named, Release};
use crate::render::{developed_in, tested_by, tested_in};
use crate::{host, source, stack};
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the run found; the report is written whatever it is.
struct Run {
    environment: Environment,
    release: Release,
    reports: BTreeMap<String, Report>,
    outcome: Option<Outcome>,
    /// Of each component, read when the trees were there.
    sources: BTreeMap<String, source::Provenance>,
    /// What pytest was told for each component.
    pytest: BTreeMap<String, Vec<String>>,
    facts: Facts,
    /// It ended at the limit.
    given_up: bool,
}

pub async fn run(context: &Context, options: &Ci) -> Result<()> {
    let release = Catalog::release(context.branch(&options.branch)?.as_str())?;
    let components = options.component.iter().map(|name| release.named(name)).collect::<Result<Vec<_>>>()?;
    let output = std::path::absolute(&options.output)?;
    empty(&output)?;
    let here = std::env::current_dir().context("the current folder cannot be read")?;
    super::doctor::check(&crate::doctor::examine(&here).await)?;
    guard::sweep(context).await?;
    let engine = context.engine().await?;
    let facts = engine.facts().await?;
    let environment = create(context, &release, &engine.subnets().await?, context.home().await?)?;
    let watched = guard::watch(&environment.id)?;
    let mut run = Run {
        environment,
        release: release.clone(),
        reports: BTreeMap::new(),
        outcome: None,
        sources: BTreeMap::new(),
        pytest: BTreeMap::new(),
        facts,
        given_up: false,
    };
    let limit = Duration::from_secs(options.limit * 60);
    let worked = tokio::select! {
        worked = work(context, options, &components, &mut run, &output) => worked,
        () = tokio::time::sleep(limit) => {
            run.given_up = true;
            Err(Fault::new(format!("the run was given up after {} minutes", options.limit))
                .hint("allow more with `--limit MINUTES`, or read the logs for what it waited for").into())
        }
        signal = signalled() => Err(Fault { exit: Exit::Interrupted, ..Fault::new(format!("stopped by {signal}")) }.into()),
    };
    let cut_off = worked.is_err();
    let verdict = worked.and_then(|()| verdict(&counts(&run, options)));
    let kept = keep(context, options, &run, &verdict, &*engine, &output).await;
    let ended = end(context, options, &mut run.environment, cut_off).await;
    match &ended {
        Ok(()) => watched.release()?,
        // The guard tries once more.
        Err(error) => context.ui.remark("ci", &format!("`{}` could not be removed: {error:#}", run.environment.id)),
    }
    context.ui.say(&format!("report, result and logs: {}", output.display()));
    verdict.and(kept).and(ended)
}

async fn end(context: &Context, options: &Ci, environment: &mut Environment, cut_off: bool) -> Result<()> {
    let id = environment.id.clone();
    if options.keep {
        environment.owner = None;
        environment.save(&context.store)?;
        context.ui.say(&format!("the environment stays: `baibox shell --env {id}`, `baibox delete {id}`"));
        return Ok(());
    }
    let stage = context.ui.stage("remove");
    if cut_off {
        stack::end_compose(&*context.engine().await?, &id).await?;
    }
    delete::now(context, environment).await?;
    stage.done(&format!("{id} left nothing behind"));
    Ok(())
}

/// Folders with its tests that the tree has.
pub fn tests_there(named: &Named, tree: &Path) -> Vec<String> {
    named.tests().into_iter().filter(|folder| tree.join(folder).is_dir()).collect()
}

/// What pytest is told: what is usual for the component, where a part's tests are, and what the person says, who may
/// name tests by their paths.
pub fn words(named: &Named, usual: &[String], tree: &Path, said: &[String]) -> Vec<String> {
    let chosen = said.iter().any(|word| word.starts_with("tests/"));
    let folders = if named.code.is_some() && !chosen { tests_there(named, tree) } else { Vec::new() };
    [usual.to_vec(), folders, said.to_vec()].concat()
}

/// What an earlier run left there would be taken for this one's.
fn empty(output: &Path) -> Result<()> {
    let ours = output.join("result.json").is_file() || output.join("summary.md").is_file();
    match std::fs::read_dir(output).map(|mut entries| entries.next().is_some()) {
        Ok(true) if !ours => Err(Fault::usage(format!("`{}` holds something else than the output of a run", output.display()))
            .hint("name another folder with `--output FOLDER`")
            .into()),
        Ok(_) => std::fs::remove_dir_all(output).with_context(|| format!("cannot empty `{}`", output.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", output.display())),
    }
}

/// A new environment that goes with this process, in a folder that engines in virtual machines see too.
fn create(context: &Context, release: &Release, subnets: &[String], home: Home) -> Result<Environment> {
    let _choosing = context.store.lock("environments")?;
    let id = EnvironmentId::parse(&format!("ci-{}", environment::random_word(8)))?;
    let folder = context.store.root().join("ci").join(id.as_str());
    let branch = context.branch(&release.branch)?;
    let all = environment::list(&context.store)?;
    // Runs of other stores choose at the same moment, and nobody types these: a random block rarely meets theirs.
    let block = 1000 * u16::from(rand::random::<u8>() % 16);
    let ports = release.ports.iter().map(|(service, usual)| (service.clone(), usual + block)).collect();
    let mut environment = environment::create(id, branch, folder, &ports, &all, subnets)?;
    environment.owner = Some(host::process());
    environment.home = Some(home);
    environment.save(&context.store)?;
    Ok(environment)
}

async fn work(context: &Context, options: &Ci, components: &[Named], run: &mut Run, output: &Path) -> Result<()> {
    let references = sources::references(&options.sources, &run.release)?;
    sources::bring(context, &options.sources, &run.environment.folder, &run.release, &references).await?;
    for component in &run.release.components {
        let tree = run.environment.folder.join(&component.name);
        run.sources.insert(component.name.clone(), source::provenance(&tree).await?.without_secrets());
    }
    // Said before anything is built.
    let trees = run.environment.folder.clone();
    let lacks = |named: &&Named| tests_there(named, &trees.join(&named.component.name)).is_empty();
    if let Some(named) = components.iter().find(lacks).filter(|_| options.pytest.is_empty()) {
        return Err(no_tests(&named.name).into());
    }
    if let Some(cache) = &options.cache {
        pull::warm(context, &run.environment, cache).await?;
    }
    let outcome = run.outcome.insert(build::images(context, &mut run.environment, !options.unlocked).await?);
    if options.full {
        run.environment.ulimits = Some(up::limits(context, &run.environment).await?);
        run.environment.save(&context.store)?;
    }
    build::write(context, &run.environment, outcome).await?;
    if options.full {
        lifecycle::bring_up(context, &run.environment).await?;
    }
    let names: BTreeSet<&str> = components.iter().map(|named| named.component.name.as_str()).collect();
    develop(context, &run.environment, &names.into_iter().collect::<Vec<_>>(), Need::Tests).await?;
    for named in components {
        let name = &named.name;
        let usual: &[String] = if options.full { &[] } else { &named.component.tests };
        let words = words(named, usual, &trees.join(&named.component.name), &options.pytest);
        run.pytest.insert(name.clone(), words.clone());
        let log = output.join("logs").join(format!("{name}-tests.log"));
        let report = test(context, &run.environment, named, &words, &log).await?;
        run.reports.insert(name.clone(), report);
    }
    Ok(())
}

/// What components are needed for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// To look at their code.
    Code,
    Tests,
}

/// Starts the services in which components are developed, or tested, and what these stand on.
pub async fn develop(context: &Context, environment: &Environment, components: &[&str], need: Need) -> Result<()> {
    if environment.images.is_empty() {
        return Err(Fault::new(format!("`{}` has no images yet", environment.id))
            .hint(format!("type `baibox up --env {}`", environment.id))
            .into());
    }
    let engine = context.engine().await?;
    let release = environment.release()?;
    let service = |component: &&str| match need {
        Need::Code => developed_in(component),
        Need::Tests => tested_in(release.era, component),
    };
    let services: Vec<String> = components.iter().map(service).collect();
    let may = need == Need::Tests && (environment.owner.is_some() || release.era == Era::Monorepo);
    let has_engine = |component: &&str| may && release.test_engine.components.iter().any(|name| name == component);
    let engines: Vec<String> = components.iter().copied().filter(has_engine).map(tested_by).collect();
    let stage = context.ui.stage("start");
    let healthy: Vec<String> = engine
        .containers(&environment.id)
        .await?
        .into_iter()
        .filter(|one| one.health == "healthy")
        .map(|one| one.service)
        .collect();
    // Compose runs one-shots again whenever it may; a halfstack that is well needs none.
    let stands = ["postgres", "redis", "etcd"].iter().all(|name| healthy.iter().any(|service| service == name));
    let mut arguments = vec!["up", "--detach"];
    if stands {
        arguments.push("--no-deps");
    }
    arguments.extend(services.iter().chain(&engines).map(String::as_str));
    stack::start(&*engine, environment, &arguments).await?;
    let containers = engine.containers(&environment.id).await?;
    for (component, service) in components.iter().zip(&services) {
        let container = containers.iter().find(|container| container.service == *service).context("Compose made no container")?;
        // The account that tests run as owns the trees: see `images/services/develop.sh`.
        let account = r#"[ "$(id -u dev)" = "$(stat -c %u "$BAIBOX_OWNED")" ]"#;
        until(&*engine, &container.id, "the account `dev` is the owner of the trees", account).await?;
        if has_engine(component) {
            let ping = "curl --fail --silent --output /dev/null \"http://${DOCKER_HOST#tcp://}/_ping\"";
            until(&*engine, &container.id, &format!("`{}` answers", tested_by(component)), ping).await?;
        }
    }
    stage.done(&services.join(", "));
    Ok(())
}

/// Waits in a container until a condition of the shell holds.
async fn until(engine: &dyn Engine, container: &str, what: &str, condition: &str) -> Result<()> {
    let wait = format!("for round in $(seq 600); do {{ {condition}; }} && exit 0; sleep 0.05; done; exit 1");
    let said = engine.exec(container, &["/bin/sh", "-c", &wait].map(String::from)).await?;
    anyhow::ensure!(said.code == 0, "waited 30 s in vain until {what}");
    Ok(())
}

/// Runs tests in the component's service, and keeps what they say in `log`; their failure is no error here.
pub async fn test(
    context: &Context,
    environment: &Environment,
    Named { name, component, .. }: &Named,
    arguments: &[String],
    log: &Path,
) -> Result<Report> {
    let stage = context.ui.stage(&format!("test {name}"));
    stage.note("pytest");
    let junit = environment.state_folder().join(format!("junit-{name}.xml"));
    let place = junit.to_str().context("the folder's path is not UTF-8")?;
    let mut words = vec!["pytest", "-v", "-p", "no:cacheprovider", "--junitxml", place];
    words.extend(arguments.iter().map(String::as_str));
    // One stream, in the order in which it was said.
    let mut child = stack::compose(environment)
        .args([
            "exec",
            "-T",
            "--user",
            "dev",
            &tested_in(environment.release()?.era, &component.name),
            "/bin/sh",
            "-c",
            "exec \"$@\" 2>&1",
            "sh",
        ])
        .args(&words)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| Fault::engine("`docker compose` cannot be started").hint("type `baibox doctor --fix`"))?;
    let folder = log.parent().context("a log has a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let mut file = tokio::fs::File::create(log).await.with_context(|| format!("cannot write `{}`", log.display()))?;
    let grouped = host::variable("GITHUB_ACTIONS").is_some();
    if grouped {
        context.ui.say(&format!("::group::tests of {name}"));
    }
    let mut output = child.stdout.take().context("no output")?;
    let (mut line, mut chunk) = (Vec::new(), Vec::with_capacity(1 << 16));
    while output.read_buf(&mut chunk).await? > 0 {
        // At once, since the name of a test that hangs is no whole line.
        file.write_all(&chunk).await?;
        file.flush().await?;
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if line.ends_with(b"\n") {
                context.ui.say(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
                line.clear();
            }
        }
        chunk.clear();
    }
    if !line.is_empty() {
        context.ui.say(&String::from_utf8_lossy(&line));
    }
    if grouped {
        context.ui.say("::endgroup::");
    }
    let code = child.wait().await?.code();
    let refused =
        |what: &str| Fault::new(format!("the tests of `{name}` did not run: {what}")).hint(format!("read `{}`", log.display()));
    // <https://docs.pytest.org/en/stable/reference/exit-codes.html>
    match code {
        Some(0..=2) => {}
        Some(5) => return Err(no_tests(name).into()),
        Some(code) => return Err(refused(&format!("pytest ended with {code}")).into()),
        None => return Err(refused("a signal ended them").into()),
    }
    let text = std::fs::read_to_string(&junit).with_context(|| refused("there is no report"))?;
    let report = Report::parse(name, &text)?;
    if code != Some(0) && report.failed().next().is_none() {
        return Err(refused("pytest failed, and its report names no test that did").into());
    }
    let [passed, failed, skipped] = [Case::Passed, Case::Failed, Case::Skipped].map(|case| report.count(case));
    stage.done(&format!("{passed} passed, {failed} failed, {skipped} skipped"));
    Ok(report)
}

/// Ends what was there for tests alone, in an environment that stays.
pub async fn untest(environment: &Environment, named: &Named) -> Result<()> {
    if environment.release()?.era == Era::Components {
        return Ok(());
    }
    let component = &named.component.name;
    let services = [tested_by(component), tested_in(Era::Monorepo, component)];
    // The engine removes what tests left when it is told to stop.
    let (status, said) = stack::ended(stack::compose(environment).args(["rm", "--stop", "--force"]).args(&services)).await?;
    anyhow::ensure!(status.success(), "`docker compose rm` failed: {}", said.trim());
    Ok(())
}

pub fn no_tests(component: &str) -> Fault {
    Fault::new(format!("the tests of `{component}` did not run: there are none"))
        .hint("source distributions have no tests: take git sources with `--source git`, or a tree with `--tree`")
}

/// Tests that failed and are not known to are the run's failure.
pub fn verdict(counts: &BTreeMap<String, Counts>) -> Result<()> {
    let failed: Vec<String> = counts
        .iter()
        .flat_map(|(component, counts)| counts.failed.iter().map(move |name| format!("{component}: {name}")))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let few: Vec<&str> = failed.iter().take(10).map(String::as_str).collect();
    let more = if failed.len() > few.len() { format!("\n  and {} more", failed.len() - few.len()) } else { String::new() };
    Err(Fault::tests(format!("{} tests failed:\n  {}{more}", failed.len(), few.join("\n  "))).into())
}

fn counts(run: &Run, options: &Ci) -> BTreeMap<String, Counts> {
    let one = |(name, report): (&String, &Report)| (name.clone(), count(&run.release, name, report, options.strict));
    run.reports.iter().map(one).collect()
}

/// How the tests of a component went; with `strict`, failures that are known count too.
pub fn count(release: &Release, component: &str, report: &Report, strict: bool) -> Counts {
    let mut counts = Counts { passed: report.count(Case::Passed), skipped: report.count(Case::Skipped), ..Counts::default() };
    for name in report.failed() {
        let known = release.known_failures.iter().find(|known| known.component == component && name.starts_with(&known.test));
        match known.filter(|_| !strict) {
            Some(known) => drop(counts.known.insert(name.clone(), known.reason.clone())),
            None => counts.failed.push(name.clone()),
        }
    }
    counts
}

/// Writes report, result, summary and logs, and after a failure the evidence.
async fn keep(
    context: &Context,
    options: &Ci,
    run: &Run,
    verdict: &Result<()>,
    engine: &dyn Engine,
    output: &Path,
) -> Result<()> {
    let write = |path: &Path, bytes: &[u8]| {
        crate::store::write_for_others(path, bytes).with_context(|| format!("cannot write `{}`", path.display()))
    };
    // An engine that does not answer any more takes no report away.
    let mut gathered = ci::logs(engine, &run.environment, output).await;
    if verdict.is_err() {
        gathered = gathered.and(ci::gather(engine, &run.environment, output).await);
    }
    let junit = ci::merge(run.reports.values());
    write(&output.join("junit.xml"), &junit)?;
    if let Some(path) = &options.junit {
        write(&std::path::absolute(path)?, &junit)?;
    }
    let record = record(context, options, run, verdict)?;
    write(&output.join("result.json"), &serde_json::to_vec_pretty(&record)?)?;
    let words = match verdict {
        Ok(()) => format!("**{}**", said(run, verdict)),
        Err(error) => format!("**{}**\n\n```text\n{}\n```", said(run, verdict), error::render(error)),
    };
    let summary = record.summary(&words);
    write(&output.join("summary.md"), summary.as_bytes())?;
    // <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>
    if let Some(path) = host::variable("GITHUB_STEP_SUMMARY").map(PathBuf::from) {
        use std::io::Write;
        let file = std::fs::File::options().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(summary.as_bytes()))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    if host::variable("GITHUB_ACTIONS").is_some() {
        for (component, name) in record.tests.iter().flat_map(|(name, counts)| counts.failed.iter().map(move |test| (name, test)))
        {
            context.ui.say(&format!("::error title=test failed in {component}::{name}"));
        }
    }
    gathered
}

/// The verdict in a few words.
fn said(run: &Run, verdict: &Result<()>) -> &'static str {
    match verdict.as_ref().map_err(error::exit_of) {
        Ok(()) => "passed",
        Err(Exit::Tests) => "tests failed",
        Err(Exit::Interrupted) => "stopped",
        Err(_) if run.given_up => "given up at the limit",
        Err(_) => "the environment failed, not the tests",
    }
}

fn record(context: &Context, options: &Ci, run: &Run, verdict: &Result<()>) -> Result<Record> {
    let facts = &run.facts;
    let outcome = run.outcome.as_ref();
    let mut cache = BTreeMap::from([("lock".to_owned(), build::locked(&run.environment)?.1.digest()?.to_string())]);
    if let Some(outcome) = outcome {
        cache.insert("fragments made".into(), outcome.fragments_made.to_string());
        cache.insert("images loaded".into(), outcome.images_loaded.to_string());
        cache.insert("bytes sent to the engine".into(), crate::ui::bytes(outcome.bytes_sent));
    }
    let images = outcome.map(|outcome| outcome.images.iter().map(|(name, image)| (name.clone(), image.id())).collect());
    Ok(Record {
        version: RECORD_VERSION,
        baibox: env!("CARGO_PKG_VERSION").into(),
        branch: run.release.branch.clone(),
        platform: format!("linux/{}", facts.architecture),
        engine: format!("{} {}", facts.kind, facts.version),
        sources: run.sources.clone(),
        lock: build::locked(&run.environment)?.1.text()?,
        images: images.unwrap_or_default(),
        full: options.full,
        pytest: run.pytest.clone(),
        verdict: said(run, verdict).into(),
        tests: counts(run, options),
        phases: context.ui.timings().into_iter().map(|(name, took)| (name, took.as_secs_f64())).collect(),
        cache,
    })
}

/// The first signal that asks this process to end.
async fn signalled() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => "Ctrl-C",
        _ = terminate.recv() => "SIGTERM",
        _ = hangup.recv() => "the end of its terminal",
    }
}
