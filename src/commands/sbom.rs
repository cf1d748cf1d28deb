//! What an image is made of, in the forms that scanners and auditors read.

use super::{Context, build, platform};
use crate::cli::{Sbom, SbomForm};
use crate::environment::Environment;
use crate::error::Fault;
use crate::sbom::Bill;
use anyhow::{Context as _, Result};
use std::io::Write;

pub async fn run(context: &Context, options: &Sbom) -> Result<()> {
    let mut environment = context.environment(&options.one)?;
    let bills = bills(context, &mut environment).await?;
    let Some((_, bill)) = bills.iter().find(|(name, _)| *name == options.image) else {
        let known: Vec<&str> = bills.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Fault::usage(format!("release {} has no image `{}`", environment.branch, options.image))
            .hint(format!("it has {}", known.join(", ")))
            .into());
    };
    let value = match options.format {
        SbomForm::Spdx => bill.spdx(),
        SbomForm::Cyclonedx => bill.cyclonedx(),
    };
    let text = serde_json::to_string_pretty(&value)?;
    writeln!(std::io::stdout().lock(), "{text}").context("standard output cannot be written")
}

/// The bill of every image of an environment, built if it was not.
pub async fn bills(context: &Context, environment: &mut Environment) -> Result<Vec<(String, Bill)>> {
    let how = build::How { store_only: true, ..build::How::default() };
    let outcome = build::images_as(context, environment, &how).await?;
    let (release, lock) = platform::here(context, environment).await?;
    let images = outcome.images.iter().map(|(name, image)| {
        let data = release.images.iter().find(|data| data.name == *name).context("every image is of the release")?;
        Ok((name.clone(), Bill::new(&release, &lock, data, &image.reference, image.id())))
    });
    images.collect()
}
