//! Images to a registry.

use super::build::How;
use super::{Context, build, output, platform};
use crate::cli::Push;
use crate::environment::Environment;
use crate::registry::{self, Place, Pushed, Registry};
use anyhow::Result;
use std::collections::BTreeMap;

pub async fn run(context: &Context, options: &Push) -> Result<()> {
    let mut environment = context.environment(&options.one)?;
    let registry = Registry::new(Place::parse(&options.place)?, options.plain_http)?;
    let pushed = push(context, &mut environment, &registry, options).await?;
    let rows: Vec<Vec<String>> = pushed.iter().map(|(name, image)| vec![name.clone(), image.pinned()]).collect();
    context.print(&pushed, &crate::ui::table(&rows))
}

/// Builds what is missing, and sends what the registry lacks.
pub async fn push(
    context: &Context,
    environment: &mut Environment,
    registry: &Registry,
    options: &Push,
) -> Result<BTreeMap<String, Pushed>> {
    let _lease = context.store.lease()?;
    let mut made = Vec::new();
    for platform in platform::asked(context, &options.platform).await? {
        // The engine keeps what is its own.
        let how = How {
            store_only: !options.platform.is_empty() || !options.image.is_empty(),
            platform: Some(platform),
            only: options.image.clone(),
            ..How::default()
        };
        made.push((platform, build::images_as(context, environment, &how).await?));
    }
    let planned = output::planned(context, environment, &made).await?;
    let images =
        planned.iter().zip(&made).flat_map(|(planned, (platform, outcome))| output::outgoing(planned, *platform, outcome));
    let images: Vec<_> = images.collect();
    let stage = context.ui.stage("push");
    let (pushed, bytes) = registry::push(registry, &context.store, &images, &stage).await?;
    stage.done(&format!("{} images at {}, {} sent", pushed.len(), registry.place, crate::ui::bytes(bytes)));
    Ok(pushed)
}
