//! Images to a folder or a file that other tools read.

use super::{Context, build, platform, sources};
use crate::build::Outcome;
use crate::environment::Environment;
use crate::error::Fault;
use crate::lock::Lock;
use crate::model::{Digest, Platform};
use crate::oci::{Image, Layer, write_archive};
use crate::plan::Plan;
use crate::registry::{Outgoing, layout};
use crate::release::Release;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where images are written to, by the names that skopeo gives these forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Oci(PathBuf),
    OciArchive(PathBuf),
    DockerArchive(PathBuf),
}

impl Output {
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let refused = || {
            Fault::usage(format!("`{text}` does not say where the images go"))
                .hint("write it as `oci:FOLDER`, `oci-archive:FILE` or `docker-archive:FILE`")
        };
        match text.split_once(':').filter(|(_, path)| !path.is_empty()) {
            Some(("oci", path)) => Ok(Self::Oci(path.into())),
            Some(("oci-archive", path)) => Ok(Self::OciArchive(path.into())),
            Some(("docker-archive", path)) => Ok(Self::DockerArchive(path.into())),
            _ => Err(refused()),
        }
    }
}

/// Docker's own form has room for one platform.
pub fn may(outputs: &[Output], platforms: &[Platform]) -> Result<(), Fault> {
    let one = outputs.iter().any(|output| matches!(output, Output::DockerArchive(_)));
    if one && platforms.len() > 1 {
        return Err(Fault::usage("an archive for `docker load` holds images of one platform")
            .hint("write several platforms to `oci:FOLDER` or `oci-archive:FILE`")
            .hint("or name one platform"));
    }
    Ok(())
}

/// Writes images of one or more platforms.
pub async fn write(context: &Context, environment: &Environment, made: &[(Platform, Outcome)], outputs: &[Output]) -> Result<()> {
    let planned = planned(context, environment, made).await?;
    let images = planned.iter().zip(made).flat_map(|(planned, (platform, outcome))| outgoing(planned, *platform, outcome));
    let images: Vec<Outgoing> = images.collect();
    for output in outputs {
        let stage = context.ui.stage("write");
        let (form, path) = match output {
            Output::Oci(path) => {
                layout::to_folder(&context.store, &images, path, &stage).await?;
                ("an OCI layout", path)
            }
            Output::OciArchive(path) => {
                let (part, file) = beside(path)?;
                layout::to_archive(&context.store, &images, file, &stage)
                    .await
                    .with_context(|| format!("cannot write `{}`", path.display()))?;
                named_as(part, path)?;
                ("an OCI archive", path)
            }
            Output::DockerArchive(path) => {
                docker_archive(context, &images, path)?;
                ("an archive for `docker load`", path)
            }
        };
        stage.done(&format!("{} images in `{}`, {form}", images.len(), path.display()));
    }
    Ok(())
}

fn docker_archive(context: &Context, images: &[Outgoing], path: &Path) -> Result<()> {
    let (part, file) = beside(path)?;
    let mut out = std::io::BufWriter::with_capacity(1 << 18, file);
    let images: Vec<Image> = images.iter().map(|image| image.image.clone()).collect();
    let all = |_: &Layer| false;
    write_archive(&mut out, &images, all, |digest: &Digest| context.store.reader(digest))
        .and_then(|()| out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_data())
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    named_as(part, path)
}

/// A file beside the one that is wanted: what has the name is whole.
fn beside(path: &Path) -> Result<(tempfile::TempPath, std::fs::File)> {
    let cannot = || format!("cannot write `{}`", path.display());
    anyhow::ensure!(!path.is_dir(), Fault::usage(format!("`{}` is a folder", path.display())).hint("name a file"));
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(cannot)?;
    // As any other new file, whatever temporary ones get.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let file = tempfile::Builder::new().prefix(".baibox-").permissions(mode).tempfile_in(folder).with_context(cannot)?;
    let (file, part) = file.into_parts();
    Ok((part, file))
}

fn named_as(part: tempfile::TempPath, path: &Path) -> Result<()> {
    part.persist(path).with_context(|| format!("cannot write `{}`", path.display()))
}

/// What images of a platform were made by.
pub struct Planned {
    release: Release,
    lock: Lock,
    plan: Plan,
    digest: Digest,
}

/// What these images were made by; all that they are sent with is at hand.
pub async fn planned(context: &Context, environment: &Environment, made: &[(Platform, Outcome)]) -> Result<Vec<Planned>> {
    let mut all = Vec::new();
    for (platform, _) in made {
        let (release, lock) = platform::locked(environment, *platform)?;
        super::base::as_they_came(context, &release).await?;
        let plan = build::plan(&environment.folder, &release)?;
        all.push(Planned { digest: lock.digest()?, release, lock, plan });
    }
    Ok(all)
}

/// The images as they leave this machine, with what their manifests say.
pub fn outgoing<'a>(planned: &'a Planned, platform: Platform, outcome: &'a Outcome) -> Vec<Outgoing<'a>> {
    let Planned { release, lock, plan, digest } = planned;
    let made = outcome.images.iter().filter_map(|(name, image)| Some((plan.image(name)?, image)));
    let outgoing = made.map(|(planned, image)| {
        let data = release.images.iter().find(|data| data.name == planned.name);
        let links = data.map(|data| data.links.as_slice()).unwrap_or_default();
        let mut annotations = BTreeMap::from([
            ("org.opencontainers.image.version".to_owned(), release.branch.clone()),
            ("ai.baibox.lock".to_owned(), digest.to_string()),
        ]);
        // An image is of the component that it links first; the others are what that stands on.
        if let Some(component) = links.first().and_then(|name| release.component(name)) {
            let source = format!("{}/{}", sources::GIT_BASE, component.repository);
            annotations.insert("org.opencontainers.image.source".into(), source);
            if let Some(commit) = lock.sources.get(&component.name) {
                annotations.insert("org.opencontainers.image.revision".into(), commit.clone());
            }
            let commits = links.iter().filter_map(|name| Some(format!("{name}={}", lock.sources.get(name)?)));
            annotations.insert("ai.baibox.sources".into(), commits.collect::<Vec<_>>().join(","));
        }
        let below = data.and_then(|data| release.base_of(data.packages.first()?));
        if let Some(below) = below {
            annotations.insert("org.opencontainers.image.base.name".into(), below.reference.clone());
            annotations.insert("org.opencontainers.image.base.digest".into(), below.manifest.to_string());
        }
        let configured = |key: &Digest| below.is_none() && Plan::is_first(&plan.recipes, key);
        let base = planned.layers.iter().position(|layer| layer.fragments.iter().any(configured)).map_or(0, |place| place + 1);
        Outgoing { plan: planned, image, platform, base, below, annotations }
    });
    outgoing.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_named_as_skopeo_names_them() {
        assert_eq!(Output::parse("oci:a/b").unwrap(), Output::Oci("a/b".into()));
        assert_eq!(Output::parse("docker-archive:x:y.tar").unwrap(), Output::DockerArchive("x:y.tar".into()));
        for bad in ["", "oci", "oci:", "tar:x", "/x"] {
            assert!(!Output::parse(bad).unwrap_err().hints.is_empty(), "{bad}");
        }
    }
}
