//! What no environment stands on goes from the store and the engine.

use super::{Context, build, platform};
use crate::build::Builder;
use crate::cli::Prune;
use crate::environment::{self, Environment};
use crate::error::Fault;
use crate::model::{Digest, Platform};
use crate::stack;
use crate::store::{Account, Limits, Share};
use crate::ui;
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::SystemTime;

pub async fn run(context: &Context, options: &Prune) -> Result<()> {
    // Before the store is held: building needs it too.
    let builder = build::builder_without_lease(context).await?;
    let alone = match context.store.alone(false)? {
        Some(alone) => alone,
        None => {
            context.ui.remark("prune", "waiting until builds that are under way have ended");
            let store = context.store.clone();
            let held = tokio::task::spawn_blocking(move || store.alone(true)).await??;
            held.context("the store is not free")?
        }
    };
    let environments = environment::list(&context.store)?;
    let mut used = BTreeSet::new();
    for environment in &environments {
        used.extend(in_use(&builder, environment).with_context(|| {
            Fault::new(format!("it cannot be told what `{}` stands on, so nothing is removed", environment.id))
                .hint(format!("mend its trees, or remove it: `baibox delete {}`", environment.id))
        })?);
    }
    if !options.dry_run {
        context.store.sweep()?;
    }
    let limits = Limits { older_than: options.older_than, larger_than: options.larger_than };
    let account = context.store.prune(&used, limits, !options.dry_run, SystemTime::now())?;
    // What was freed is told in any case.
    let (images, failed) = match images(context, options, &environments).await {
        Ok(images) => (images, Ok(())),
        Err(error) => (Vec::new(), Err(error)),
    };
    drop(alone);
    let row = |what: &str, share: Share, why: String| {
        vec![what.to_owned(), ui::bytes(share.bytes), format!("{} files", share.files), why]
    };
    let names: Vec<&str> = environments.iter().map(|environment| environment.id.as_str()).collect();
    let by = if names.is_empty() { "no environment is there".to_owned() } else { format!("by {}", names.join(", ")) };
    let rows = [
        row(if options.dry_run { "would be freed" } else { "freed" }, account.freed, String::new()),
        row("in use", account.in_use, by),
        row("kept", account.kept, "unused, within the limits".to_owned()),
    ];
    let word = if options.dry_run { "would be removed" } else { "removed" };
    let lines = images.iter().map(|image| format!("{word}  {image}"));
    let text = std::iter::once(ui::table(&rows)).chain(lines).collect::<Vec<_>>().join("\n");
    context.print(&Told { account, images }, &text)?;
    failed
}

#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    account: Account,
    /// References of the engine's images that nobody needed.
    images: Vec<String>,
}

/// Those of the engine that no environment stands on; the store is held, so that none comes meanwhile. Only where that is
/// asked for: of an environment of another store that was built this moment, the engine tells nothing.
async fn images(context: &Context, options: &Prune, environments: &[Environment]) -> Result<Vec<String>> {
    if !options.images || !Context::has_engine() {
        return Ok(Vec::new());
    }
    let engine = context.engine().await?;
    let unused = stack::unused_images(&*engine, environments).await?;
    if options.dry_run {
        return Ok(unused);
    }
    let mut gone = Vec::new();
    for image in unused {
        stack::remove_image(&*engine, &image).await?;
        // One that somebody took in this moment stays.
        if engine.image(&image).await?.is_none() {
            gone.push(image);
        }
    }
    Ok(gone)
}

/// Every blob that the environment's images, or the next build of them, would read.
fn in_use(builder: &Builder, environment: &Environment) -> Result<BTreeSet<Digest>> {
    let (release, lock) = build::locked(environment)?;
    let mut used = builder.on(Platform::LOCKED).reached(&build::plan(&environment.folder, &release)?);
    for architecture in lock.platform.keys() {
        let platform = Platform::parse(architecture)?;
        let (release, _) = platform::locked(environment, platform)?;
        used.extend(builder.on(platform).reached(&build::plan(&environment.folder, &release)?));
    }
    Ok(used)
}
