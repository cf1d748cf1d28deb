use super::{Context, build, delete, guard, mix, up};
use crate::cli::{Cli, Command, Releases, SourceChoice};
use crate::environment::{self, Environment};
use crate::error::{self, Fault};
use crate::model::EnvironmentId;
use crate::release::{Catalog, Era, Level, Mix, Row, VERIFIED, Verified, mix_name};
use crate::{host, source, stack};
use anyhow::{Context as _, Result};
use clap::Parser;
use serde::Serialize;
use std::path::Path;

/// A row of the catalog, and what was seen of it.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    row: Row,
    /// Python of the images, where environments can be made.
    images_python: Option<String>,
    level: Level,
    verified: Option<Verified>,
    /// Components of other releases that were tried in its stack, and how far that came.
    mixes: Vec<(String, String)>,
}

pub async fn run(context: &Context, options: &Releases) -> Result<()> {
    let named = options.branches.iter().map(|text| context.branch(text)).collect::<Result<Vec<_>>>()?;
    if options.verify {
        let branches = match named.as_slice() {
            [] => Catalog::branches()?,
            named => named.iter().map(ToString::to_string).collect(),
        };
        return verify(context, options, &branches).await;
    }
    let seen = Catalog::verified()?;
    let told = |row: Row| -> Result<Told> {
        let runs = Catalog::branches()?.contains(&row.branch);
        let images_python = if runs { Some(Catalog::release(&row.branch)?.python_name()) } else { None };
        let verified = seen.get(&row.branch).cloned();
        Ok(Told {
            mixes: mix::tried(&row.branch)?,
            level: verified.as_ref().map(|seen| seen.level).unwrap_or_default(),
            verified,
            images_python,
            row,
        })
    };
    if named.is_empty() {
        let all = Catalog::rows()?.into_iter().map(told).collect::<Result<Vec<_>>>()?;
        return context.print(&all, &table(&all));
    }
    let all = named.iter().map(|branch| told(Catalog::row(branch.as_str())?)).collect::<Result<Vec<_>>>()?;
    context.print(&all, &all.iter().map(details).collect::<Vec<_>>().join("\n\n"))
}

fn halfstack(row: &Row) -> String {
    let part = |name: &str| format!("{name} {}", row.halfstack.get(name).map_or("?", String::as_str));
    ["postgres", "redis", "etcd"].map(part).join(", ")
}

fn era(row: &Row) -> &'static str {
    match row.era {
        Era::Components => "components",
        Era::Monorepo => "monorepo",
    }
}

fn seen(told: &Told) -> String {
    told.verified.as_ref().map_or_else(|| told.level.to_string(), |seen| format!("{} ({})", seen.level, seen.date))
}

fn table(all: &[Told]) -> String {
    let head = ["release", "era", "Python", "upstream's halfstack", "components", "ref", "verified"].map(str::to_owned).to_vec();
    let rows = all.iter().map(|told| {
        let row = &told.row;
        let count = row.components.len().to_string();
        vec![row.branch.clone(), era(row).into(), row.python.clone(), halfstack(row), count, row.reference.clone(), seen(told)]
    });
    crate::ui::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

fn details(told: &Told) -> String {
    let row = &told.row;
    let mut lines = vec![
        vec!["release".into(), row.branch.clone()],
        vec!["era".into(), era(row).into()],
        vec!["Python".into(), row.python.clone()],
        vec!["halfstack".into(), halfstack(row)],
        vec!["ref".into(), row.reference.clone()],
        vec!["verified".into(), seen(told)],
    ];
    lines.extend(told.images_python.iter().map(|python| vec!["in images".into(), format!("Python {python}")]));
    if let Some(seen) = &told.verified {
        let python = if seen.python.is_empty() { String::new() } else { format!(", with Python {}", seen.python) };
        lines.push(vec!["  by".into(), format!("sources from {}, on {}{python}", seen.sources, seen.platform)]);
        lines.extend(Some(&seen.stopped).filter(|why| !why.is_empty()).map(|why| vec!["  stopped".into(), why.clone()]));
    }
    lines.extend(told.mixes.iter().map(|(mix, seen)| vec![format!("  {mix}"), seen.clone()]));
    lines.extend(row.lock.iter().map(|lock| vec!["lock".into(), format!("python.lock as {lock} writes it")]));
    lines.extend(row.components.iter().map(|(name, what)| vec![name.clone(), what.clone()]));
    lines.extend(row.missing.iter().map(|what| vec!["missing".into(), what.clone()]));
    crate::ui::table(&lines)
}

/// Makes an environment of each release and writes how far it came.
async fn verify(context: &Context, options: &Releases, branches: &[String]) -> Result<()> {
    let Some(images) = host::variable("BAIBOX_IMAGES") else {
        return Err(Fault::usage("there is no place for what is seen")
            .hint("name the folder: `BAIBOX_IMAGES=./images baibox releases --verify`")
            .into());
    };
    for branch in branches {
        Catalog::release(branch)?;
    }
    let mix = match (branches, options.component.as_slice()) {
        (_, []) => Mix::new(),
        ([base], components) => mix::parse(components, base)?,
        _ => {
            return Err(Fault::usage("`--component` is for one release")
                .hint("name it: `baibox releases --verify 21.03 …`")
                .into());
        }
    };
    if let [base] = branches {
        Catalog::release(base)?.mixed(&mix)?;
    }
    guard::sweep(context).await?;
    let mut all = Catalog::verified()?;
    let mut failed = Vec::new();
    for branch in branches {
        let seen = one(context, options, branch, &mix).await?;
        let name = mix_name(branch, &mix);
        if seen.level != Level::HelloWorld {
            failed.push(format!("{name}: {}, then {}", seen.level, seen.stopped));
        }
        all.insert(name, seen);
        // Written each time: what was seen stays, whatever comes after.
        let text = format!("# Written by `baibox releases --verify`, by nobody else.\n\n{}", toml::to_string(&all)?);
        let path = Path::new(&images).join(VERIFIED);
        crate::store::write_atomically(&path, text.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    if !failed.is_empty() {
        return Err(Fault::unhealthy(format!("not every release said hello: {}", failed.join("; "))).into());
    }
    context.print(&all, "")
}

/// The whole line for one release, in an environment that goes again.
async fn one(context: &Context, options: &Releases, branch: &str, mix: &Mix) -> Result<Verified> {
    let id = EnvironmentId::parse(&format!("verify-{}-{}", branch.replace('.', ""), environment::random_word(6)))?;
    let scratch = tempfile::tempdir_in(context.store.temporary())?;
    let folder = scratch.path().join(id.as_str());
    let watched = guard::watch(&id)?;
    let came = line(context, options, (branch, mix), &id, &folder).await;
    let mut level = Level::CatalogOnly;
    let mut stopped = String::new();
    match came {
        Ok(()) => level = Level::HelloWorld,
        Err(error) => {
            let text = error::render(&error);
            context.ui.warn(&text);
            stopped = text.lines().next().unwrap_or_default().trim_start_matches("error: ").trim_end_matches(':').to_owned();
        }
    }
    let engine = context.engine().await?;
    let (mut sources, mut python) = (String::new(), String::new());
    if let Some(environment) = environment::list(&context.store)?.into_iter().find(|environment| environment.id == id) {
        if level != Level::HelloWorld && !environment.images.is_empty() {
            level = if healthy(context, &environment).await? { Level::ServicesHealthy } else { Level::ImagesBuild };
        }
        sources = origin(&environment).await?;
        if options.python.is_some() {
            python = build::locked(&environment)?.0.python_name();
        }
        stack::end_compose(&*engine, &environment.id).await?;
        delete::now(context, &environment).await?;
    }
    watched.release()?;
    let platform = format!("linux/{}", engine.architecture().await?);
    let date = time::OffsetDateTime::now_utc().date().to_string();
    Ok(Verified { level, date, sources, platform, python, stopped })
}

async fn line(
    context: &Context,
    options: &Releases,
    (branch, mix): (&str, &Mix),
    id: &EnvironmentId,
    folder: &Path,
) -> Result<()> {
    let folder = folder.to_str().context("the store's path is not UTF-8")?;
    let words = ["baibox", "up", "--branch", branch, "--env", id.as_str(), "--path", folder];
    let words = words.map(String::from).into_iter().chain(mix::words(mix));
    let Command::Up(mut wanted) = Cli::try_parse_from(words)?.command else { unreachable!("the words say `up`") };
    wanted.request.sources.source = options.sources.source;
    wanted.request.sources.git_base.clone_from(&options.sources.git_base);
    wanted.request.python.clone_from(&options.python);
    // The same trees everywhere, unless told otherwise.
    if wanted.request.sources.source == SourceChoice::Auto
        && wanted.request.sources.git_base.is_none()
        && Catalog::release(branch)?.has_published()
    {
        wanted.request.sources.source = SourceChoice::Pypi;
    }
    up::run(context, wanted).await
}

async fn healthy(context: &Context, environment: &Environment) -> Result<bool> {
    let containers = context.engine().await?.containers(&environment.id).await?;
    let services = environment.release()?.services();
    Ok(stack::judge(&services, &containers).values().all(|verdict| *verdict == stack::Verdict::Good))
}

/// Where the trees came from, by the first of them.
async fn origin(environment: &Environment) -> Result<String> {
    let Some(tree) = source::trees(&environment.folder)?.into_iter().next() else { return Ok("nowhere".into()) };
    Ok(if source::provenance(&tree).await?.imported { "PyPI".into() } else { "git".into() })
}
