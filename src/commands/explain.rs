//! Why an image is as it is, and which faults of upstream are cured.

use super::{Context, build, platform};
use crate::build::Builder;
use crate::cli::Explain;
use crate::environment::Environment;
use crate::error::Fault;
use crate::model::Digest;
use crate::plan::{ImagePlan, LayerPlan, Plan, Recipe};
use crate::release::{Cure, Release};
use crate::ui;
use anyhow::Result;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

pub async fn run(context: &Context, options: &Explain) -> Result<()> {
    let environment = context.environment(&options.one)?;
    match &options.image {
        None => cures(context, &environment),
        Some(name) => image(context, &environment, name, options.verbose).await,
    }
}

fn cures(context: &Context, environment: &Environment) -> Result<()> {
    let release = environment.release()?;
    let lines: Vec<String> = release.cures.iter().map(cure_text).collect();
    context.print(&release.cures, &lines.join("\n\n"))
}

fn cure_text(cure: &Cure) -> String {
    format!("{} ({})\n  why    {}\n  until  {}", cure.name, cure.scope, cure.reason, cure.until)
}

#[derive(Serialize)]
struct Explanation {
    image: String,
    reference: String,
    layers: Vec<LayerExplanation>,
    cures: Vec<Cure>,
}

#[derive(Serialize)]
struct LayerExplanation {
    title: String,
    /// In bytes; absent before it was built.
    size: Option<u64>,
    diff_id: Option<Digest>,
    shared_with: Vec<String>,
    fragments: Vec<FragmentExplanation>,
    change: Change,
}

#[derive(Serialize)]
struct FragmentExplanation {
    title: String,
    key: Digest,
    size: Option<u64>,
    inputs: Vec<crate::plan::Input>,
}

/// What a change in a layer would cost.
#[derive(Serialize)]
struct Change {
    /// Steps in containers that would run again, by their kind.
    steps: BTreeMap<&'static str, usize>,
    images: usize,
    /// The layer and those above it, in all these images: what an engine unpacks again.
    layers: usize,
    bytes: u64,
}

async fn image(context: &Context, environment: &Environment, name: &str, all: bool) -> Result<()> {
    let (release, _) = platform::here(context, environment).await?;
    let plan = build::plan(&environment.folder, &release)?;
    let Some(image) = plan.image(name) else {
        let known: Vec<&str> = plan.images.iter().map(|image| image.name.as_str()).collect();
        return Err(Fault::usage(format!("release {} has no image `{name}`", release.branch))
            .hint(format!("it has {}", known.join(", ")))
            .into());
    };
    let builder = build::builder(context).await?;
    let layers = image.layers.iter().map(|layer| explain(&builder, &plan, image, layer)).collect();
    let explanation =
        Explanation { image: name.to_owned(), reference: image.reference.clone(), layers, cures: cures_of(&release, name) };
    let text = text(&explanation, all);
    context.print(&explanation, &text)
}

/// Cures say in words where they are: one of the words is the image's name.
fn cures_of(release: &Release, image: &str) -> Vec<Cure> {
    release.cures.iter().filter(|cure| cure.concerns(image)).cloned().collect()
}

fn explain(builder: &Builder, plan: &Plan, image: &ImagePlan, layer: &LayerPlan) -> LayerExplanation {
    let built = builder.planned(layer);
    let size = |key: &Digest| {
        let fragment = builder.fragment(key)?;
        Some(builder.store.size(&fragment.folders)? + builder.store.size(&fragment.content)?)
    };
    let users = plan.users(layer);
    let fragments = layer.fragments.iter().map(|key| FragmentExplanation {
        title: plan.title(key),
        key: key.clone(),
        size: size(key),
        inputs: plan.recipes[key].inputs(),
    });
    LayerExplanation {
        title: layer.title.clone(),
        size: built.as_ref().map(|layer| layer.size),
        diff_id: built.map(|layer| layer.diff_id),
        shared_with: users.iter().filter(|other| other.name != image.name).map(|other| other.name.clone()).collect(),
        fragments: fragments.collect(),
        change: change(builder, plan, layer),
    }
}

fn change(builder: &Builder, plan: &Plan, layer: &LayerPlan) -> Change {
    let mut steps = BTreeMap::new();
    for key in plan.dependents(&layer.fragments).iter().chain(&layer.fragments) {
        let kind = match &plan.recipes[key] {
            Recipe::DebianConfigured { .. } => "configure",
            Recipe::Sdist { .. } => "build a wheel",
            Recipe::ByteCode { .. } => "compile byte code",
            _ => continue,
        };
        *steps.entry(kind).or_insert(0) += 1;
    }
    // A layer in two images on different layers is two to an engine.
    let mut above: BTreeMap<Vec<&[Digest]>, u64> = BTreeMap::new();
    let users = plan.users(layer);
    for image in &users {
        let place = image.layers.iter().position(|other| other.fragments == layer.fragments).unwrap_or(0);
        for end in place..image.layers.len() {
            let chain = image.layers[..=end].iter().map(|layer| layer.fragments.as_slice()).collect();
            above.insert(chain, builder.planned(&image.layers[end]).map_or(0, |layer| layer.size));
        }
    }
    Change { steps, images: users.len(), layers: above.len(), bytes: above.values().sum() }
}

fn text(explanation: &Explanation, all: bool) -> String {
    let known: Vec<u64> = explanation.layers.iter().filter_map(|layer| layer.size).collect();
    let own: u64 = explanation.layers.iter().filter(|layer| layer.shared_with.is_empty()).filter_map(|layer| layer.size).sum();
    let mut lines = vec![format!("{}  {}", explanation.image, explanation.reference)];
    lines.push(match known.len() == explanation.layers.len() {
        true => {
            let total = ui::bytes(known.iter().sum());
            format!("{total} in {} layers, {} of them in no other image", known.len(), ui::bytes(own))
        }
        false => "not built yet: type `baibox build`".to_owned(),
    });
    for (number, layer) in explanation.layers.iter().enumerate() {
        let size = layer.size.map_or_else(|| "not built".to_owned(), ui::bytes);
        let digest = layer.diff_id.as_ref().map_or("", |digest| digest.short());
        lines.push(format!("\n{:>2}  {}  {size}  {digest}", number + 1, layer.title));
        let shared = if layer.shared_with.is_empty() { "no other image".to_owned() } else { layer.shared_with.join(", ") };
        lines.push(format!("    shared with  {shared}"));
        let mut fragments: Vec<&FragmentExplanation> = layer.fragments.iter().collect();
        const NAMED: usize = 3;
        if !all {
            fragments.sort_by_key(|fragment| std::cmp::Reverse(fragment.size));
        }
        let shown = if all { fragments.len() } else { NAMED.min(fragments.len()) };
        for fragment in &fragments[..shown] {
            let from: Vec<String> =
                fragment.inputs.iter().map(|input| format!("{} {}", input.file, input.digest.short())).collect();
            let from = if from.is_empty() { String::new() } else { format!("  from {}", from.join(", ")) };
            let size = fragment.size.map_or_else(String::new, |size| format!("  {}", ui::bytes(size)));
            lines.push(format!("    fragment     {}{size}{from}", fragment.title));
        }
        if shown < fragments.len() {
            lines.push(format!("                 and {} smaller ones", fragments.len() - shown));
        }
        let Change { steps, images, layers, bytes } = &layer.change;
        let steps: Vec<String> = steps.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
        let steps = if steps.is_empty() { "no step in a container".to_owned() } else { steps.join(", ") };
        lines.push(format!("    a change     {steps}; {layers} layers of {images} images, up to {}", ui::bytes(*bytes)));
    }
    for cure in &explanation.cures {
        lines.push(format!("\ncure {}", cure_text(cure)));
    }
    lines.join("\n")
}

/// The lines of `build -v`.
pub fn layers(reports: &[crate::build::LayerReport]) -> String {
    use crate::build::Made;
    let word = |made: Made| match made {
        Made::Reused => "reused",
        Made::Assembled => "assembled",
        Made::Built => "built",
    };
    let of =
        |images: &[String]| images.iter().map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ");
    let rows = reports.iter().map(|layer| {
        vec![word(layer.made).to_owned(), layer.title.clone(), layer.why.clone(), format!("[{}]", of(&layer.images))]
    });
    ui::table(&rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Catalog;

    #[test]
    fn cures_belong_to_the_images_that_they_name() {
        let release = Catalog::release("21.03").unwrap();
        let names = |image: &str| cures_of(&release, image).into_iter().map(|cure| cure.name).collect::<Vec<_>>();
        assert_eq!(names("postgres"), ["postgres-version"]);
        assert_eq!(names("manager"), ["session bounds"]);
        assert_eq!(names("agent").len(), 4);
        assert_eq!(names("redis"), Vec::<String>::new());
    }
}
