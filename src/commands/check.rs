//! The same images a second time: in a store of its own, by a process of other surroundings.

use super::{Context, build, platform};
use crate::build::{Builder, Outcome, first_difference};
use crate::cli::Rebuild;
use crate::environment::Environment;
use crate::error::Fault;
use crate::host;
use crate::model::EnvironmentId;
use crate::oci::Image;
use crate::plan::{Plan, Recipe};
use crate::store::Store;
use anyhow::{Context as _, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::process::Stdio;

/// Nothing of these may be seen in an image.
const SURROUNDINGS: [(&str, &str); 3] = [("TZ", "Pacific/Kiritimati"), ("LANG", "tr_TR.UTF-8"), ("LC_ALL", "tr_TR.UTF-8")];
const UMASK: u32 = 0o077;

/// Compares what the environment's images are with what they become when they are made again.
pub async fn run(context: &Context, environment: &Environment, first: &Outcome) -> Result<()> {
    let (release, _) = platform::here(context, environment).await?;
    let plan = build::plan(&environment.folder, &release)?;
    // Beside the store, so that downloads can be shared by links.
    let scratch = tempfile::tempdir_in(context.store.temporary())?;
    let store = Store::open(&scratch.path().join("baibox"))?;
    share_downloads(&context.store, &store, &plan)?;
    let names = first.images.iter().map(|(name, _)| name.as_str());
    let second = in_other_surroundings(environment, names, scratch.path()).await?;
    let mut faults = Vec::new();
    for (name, image) in &first.images {
        let again = &second.iter().find(|(other, _)| other == name).context("an image was not made again")?.1;
        if image.id() != again.id() {
            let planned = plan.image(name).context("every image was planned")?;
            faults.push(format!("{name}: {}", first_difference((&context.store, image), (&store, again), planned, &plan)?));
        }
    }
    if !faults.is_empty() {
        let message = format!("{} of {} images are not the same when they are made again", faults.len(), second.len());
        let fault = Fault::new(message).hint("this is a fault of baibox: report it with the lines above");
        return Err(anyhow::anyhow!("{}", faults.join("\n  cause: ")).context(fault));
    }
    let ids: BTreeMap<&str, String> = second.iter().map(|(name, image)| (name.as_str(), image.id().to_string())).collect();
    let layers: std::collections::BTreeSet<_> = second.iter().flat_map(|(_, image)| image.diff_ids()).collect();
    let text = format!("{} images of {} layers are bit for bit the same when they are made again", second.len(), layers.len());
    context.print(&json!({ "same": true, "images": ids }), &text)
}

/// What is downloaded is known by its digest: once is enough.
fn share_downloads(from: &Store, to: &Store, plan: &Plan) -> Result<()> {
    for input in plan.recipes.values().flat_map(Recipe::inputs).filter(|input| from.has(&input.digest)) {
        to.link(&input.digest, from)?;
    }
    Ok(())
}

async fn in_other_surroundings<'a>(
    environment: &Environment,
    images: impl Iterator<Item = &'a str>,
    cache: &std::path::Path,
) -> Result<Vec<(String, Image)>> {
    let program = std::env::current_exe().context("this program does not know where it is")?;
    let mut command = tokio::process::Command::new(program);
    command.args(["--json", "rebuild", environment.id.as_str()]).arg(&environment.folder).args(images);
    command.env("XDG_CACHE_HOME", cache).envs(SURROUNDINGS);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let started = host::on_one_core(|| command.spawn()).context("cannot start the second build")?;
    let output = started.wait_with_output().await?;
    // What went wrong stands above, in its own words.
    anyhow::ensure!(output.status.success(), Fault::new("the second build failed"));
    serde_json::from_slice(&output.stdout).context("the second build did not say what it made")
}

/// The second build; it says what it made on standard output.
pub async fn rebuild(context: &Context, options: &Rebuild) -> Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(UMASK));
    let environment = Environment::load(&options.folder, &EnvironmentId::parse(&options.id)?)?;
    let (release, _) = platform::here(context, &environment).await?;
    let builder = Builder { one_core: true, ..build::builder(context).await? };
    let outcome = builder.build(&build::plan_of(&environment.folder, &release, &options.images)?, true).await?;
    context.print(&outcome.images, "")
}
