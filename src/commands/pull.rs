//! Layers from a registry, in the place of making them.

use super::{Context, build, platform, sources};
use crate::build::Builder;
use crate::cli::Pull;
use crate::environment::Environment;
use crate::error::Fault;
use crate::plan::{LayerPlan, Plan};
use crate::registry::{self, Place, Registry};
use crate::release::Catalog;
use anyhow::Result;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Layers of an image.
#[derive(Serialize)]
struct Here {
    layers: usize,
    missing: usize,
}

pub async fn run(context: &Context, options: &Pull) -> Result<()> {
    let registry = Registry::new(Place::parse(&options.place)?, options.plain_http)?;
    let plan = match &options.branch {
        None => planned(context, &context.environment(&options.one)?).await?,
        Some(text) => {
            // What is linked is in the images, so the trees are read, and go again.
            let mut release = Catalog::release(context.branch(text)?.as_str())?;
            let scratch = tempfile::tempdir_in(context.store.temporary())?;
            let references = sources::references(&options.sources, &release)?;
            sources::bring(context, &options.sources, scratch.path(), &release, &references).await?;
            platform::of_release(context, &mut release).await?;
            build::plan(scratch.path(), &release)?
        }
    };
    let builder = build::builder(context).await?;
    let before = absent(&builder, &plan).len();
    let count = take(context, &builder, &plan, &registry).await?;
    if before == 0 {
        context.ui.remark("pull", "nothing to do: all layers are here");
    } else if count == 0 {
        return Err(Fault::new(format!("`{}` has none of the {before} layers that are not here", registry.place))
            .hint(format!("send them from where they were made of the same lock and trees: `baibox push {}`", registry.place))
            .hint("or make them here: `baibox build`")
            .into());
    }
    let of_image = |layers: &[LayerPlan]| Here {
        layers: layers.len(),
        missing: layers.iter().filter(|layer| builder.planned(layer).is_none()).count(),
    };
    let here: BTreeMap<&str, Here> = plan.images.iter().map(|image| (image.name.as_str(), of_image(&image.layers))).collect();
    let rows: Vec<Vec<String>> = here
        .iter()
        .map(|(name, here)| match here.missing {
            0 => vec![(*name).to_owned(), format!("all {} layers are here", here.layers)],
            missing => vec![(*name).to_owned(), format!("{missing} of {} layers remain to be made", here.layers)],
        })
        .collect();
    context.print(&here, &crate::ui::table(&rows))
}

/// Takes the layers of an environment that are not here, so that they need not be made.
pub async fn warm(context: &Context, environment: &Environment, place: &str) -> Result<()> {
    let registry = Registry::new(Place::parse(place)?, false)?;
    let builder = build::builder(context).await?;
    take(context, &builder, &planned(context, environment).await?, &registry).await.map(drop)
}

async fn planned(context: &Context, environment: &Environment) -> Result<Plan> {
    let (release, _) = platform::here(context, environment).await?;
    build::plan(&environment.folder, &release)
}

/// Layers that would have to be made.
fn absent(builder: &Builder, plan: &Plan) -> BTreeSet<crate::model::Digest> {
    let layers = plan.images.iter().flat_map(|image| &image.layers);
    layers.filter(|layer| builder.planned(layer).is_none()).map(LayerPlan::key).collect()
}

/// Says how many layers came.
async fn take(context: &Context, builder: &Builder, plan: &Plan, registry: &Registry) -> Result<usize> {
    if absent(builder, plan).is_empty() {
        return Ok(0);
    }
    let stage = context.ui.stage("pull");
    stage.length(plan.images.len() as u64);
    let mut count = 0;
    // One after the other, since images share most layers.
    for image in &plan.images {
        stage.note(&image.name);
        let wanted = |layer: &LayerPlan| builder.planned(layer).is_none();
        count += registry::pull(registry, &context.store, image, wanted, |key, layer| builder.keep_layer(key, layer)).await?;
        stage.advance(1);
    }
    stage.done(&format!("{count} layers from {}", registry.place));
    Ok(count)
}
