//! Two images, or all images of two environments: packages and bytes.

use super::{Context, build, platform, sbom};
use crate::cli::Diff;
use crate::environment;
use crate::error::Fault;
use crate::model::{Digest, EnvironmentId};
use crate::sbom::{Bill, Kind};
use crate::{lock, ui};
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::collections::BTreeMap;

/// One side: images of an environment.
struct Side {
    bills: Vec<(String, Bill)>,
    /// Layers of all of them, each once, with their sizes.
    layers: BTreeMap<Digest, u64>,
}

#[derive(Serialize)]
struct Report {
    packages: Vec<String>,
    same: Sum,
    left_only: Sum,
    right_only: Sum,
}

#[derive(Clone, Copy, Serialize)]
struct Sum {
    layers: usize,
    bytes: u64,
}

/// Whether `ID` or `ID/IMAGE` is meant, not a release branch.
pub fn is_meant(context: &Context, text: &str) -> Result<bool> {
    let known = |environment: &environment::Environment| environment.id.as_str() == text;
    Ok(text.contains('/') || environment::list(&context.store)?.iter().any(known))
}

pub async fn run(context: &Context, options: &Diff) -> Result<()> {
    let left = side(context, &options.from).await?;
    let right = side(context, &options.to).await?;
    let one_image = options.from.contains('/') && options.to.contains('/');
    let packages = lock::differences(&versions(&left, one_image), &versions(&right, one_image));
    let only = |these: &Side, others: &Side| sum(these.layers.iter().filter(|(digest, _)| !others.layers.contains_key(*digest)));
    let report = Report {
        packages,
        same: sum(left.layers.iter().filter(|(digest, _)| right.layers.contains_key(*digest))),
        left_only: only(&left, &right),
        right_only: only(&right, &left),
    };
    let row = |what: String, sum: Sum| vec![what, format!("{} layers", sum.layers), ui::bytes(sum.bytes)];
    let rows = [
        row("in both".into(), report.same),
        row(format!("only in {}", options.from), report.left_only),
        row(format!("only in {}", options.to), report.right_only),
    ];
    let packages = if report.packages.is_empty() { "the same packages".to_owned() } else { report.packages.join("\n") };
    context.print(&report, &format!("{packages}\n\n{}", ui::table(&rows)))
}

fn sum<'a>(layers: impl Iterator<Item = (&'a Digest, &'a u64)>) -> Sum {
    layers.fold(Sum { layers: 0, bytes: 0 }, |sum, (_, size)| Sum { layers: sum.layers + 1, bytes: sum.bytes + size })
}

/// What is named `ID` or `ID/IMAGE`, built if it was not.
async fn side(context: &Context, text: &str) -> Result<Side> {
    let (id, image) = text.split_once('/').map_or((text, None), |(id, image)| (id, Some(image)));
    let named = EnvironmentId::parse(id).map_err(|fault| fault.hint("write it as `ID` or `ID/IMAGE`"))?;
    let here = std::env::current_dir().context("the current folder cannot be read")?;
    let mut environment = environment::find(&context.store, Some(&named), &here)?;
    let bills = sbom::bills(context, &mut environment).await?;
    let wanted = |name: &str| image.is_none_or(|image| image == name);
    if !bills.iter().any(|(name, _)| wanted(name)) {
        let known: Vec<&str> = bills.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Fault::usage(format!("`{id}` has no image `{}`", image.unwrap_or_default()))
            .hint(format!("it has {}", known.join(", ")))
            .into());
    }
    let (release, _) = platform::here(context, &environment).await?;
    let plan = build::plan(&environment.folder, &release)?;
    let builder = build::builder(context).await?;
    let planned = plan.images.iter().filter(|image| wanted(&image.name)).flat_map(|image| &image.layers);
    let layers = planned.filter_map(|layer| builder.planned(layer)).map(|layer| (layer.diff_id, layer.size)).collect();
    Ok(Side { bills: bills.into_iter().filter(|(name, _)| wanted(name)).collect(), layers })
}

/// Place and name → version; of single images the place is the kind, so that different images compare.
fn versions(side: &Side, one_image: bool) -> BTreeMap<(String, String), String> {
    let parts = side.bills.iter().flat_map(|(name, bill)| bill.parts.iter().map(move |part| (name, part)));
    let place = |image: &String, kind: Kind| match (one_image, kind) {
        (false, _) => image.clone(),
        (true, Kind::Debian) => "Debian".to_owned(),
        (true, Kind::Python) => "Python".to_owned(),
        (true, Kind::Interpreter) => "interpreter".to_owned(),
        (true, Kind::Component) => "component".to_owned(),
    };
    parts.map(|(image, part)| ((place(image, part.kind), part.name.clone()), part.version.clone())).collect()
}
