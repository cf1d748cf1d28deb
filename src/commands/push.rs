//! Images to a registry.

use super::{Context, build, output};
use crate::cli::Push;
use crate::environment::Environment;
use crate::registry::{self, Place, Pushed, Registry};
use anyhow::Result;
use std::collections::BTreeMap;

pub async fn run(context: &Context, options: &Push) -> Result<()> {
    let mut environment = context.environment(&options.one)?;
    let registry = Registry::new(Place::parse(&options.place)?, options.plain_http)?;
    let pushed = push(context, &mut environment, &registry).await?;
    let rows: Vec<Vec<String>> = pushed.iter().map(|(name, image)| vec![name.clone(), image.pinned()]).collect();
    context.print(&pushed, &crate::ui::table(&rows))
}

/// Builds what is missing, and sends what the registry lacks.
pub async fn push(context: &Context, environment: &mut Environment, registry: &Registry) -> Result<BTreeMap<String, Pushed>> {
    let _lease = context.store.lease()?;
    let outcome = build::images(context, environment, false).await?;
    let (release, lock) = build::locked(environment)?;
    let plan = build::plan(&environment.folder, &release)?;
    let images = output::outgoing(&release, &lock, &plan, &outcome)?;
    let stage = context.ui.stage("push");
    let (pushed, bytes) = registry::push(registry, &context.store, &images, &stage).await?;
    stage.done(&format!("{} images at {}, {} sent", pushed.len(), registry.place, crate::ui::bytes(bytes)));
    Ok(pushed)
}
