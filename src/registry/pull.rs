//! Layers from a registry, in the place of making them.

use super::manifest::MANIFEST;
use super::{LAYER_KEY, Pushed, Registry};
use crate::error::Fault;
use crate::model::Digest;
use crate::oci::{END_MARKER, Layer};
use crate::plan::{ImagePlan, LayerPlan};
use crate::store::Store;
use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use std::io::{Read, Write};

/// The largest layer that is taken, uncompressed.
const LARGEST: u64 = 8 << 30;

/// Downloads at once.
const SLOTS: usize = 4;

/// Layers of an image that the registry has and `wanted` asks for go to `keep`, with the keys of
/// their plans, each as soon as it is whole; says how many.
///
/// The registry's word is taken for which plan a layer came from, as for an image that one
/// pulls by tag; its bytes are verified against the image's config and manifest.
pub async fn pull(
    registry: &Registry,
    store: &Store,
    image: &ImagePlan,
    wanted: impl Fn(&LayerPlan) -> bool,
    keep: impl Fn(&Digest, &Layer) -> Result<()>,
) -> Result<usize> {
    let reference = registry.place.reference(&image.reference)?;
    let ask = || registry.client.pull_manifest_raw(&reference, &registry.auth, &[MANIFEST]);
    let answer = registry.retry(&format!("the manifest of `{reference}`"), ask).await;
    let bytes = match answer {
        Ok((bytes, _)) => bytes,
        Err(error) if is_absent(&error) => return Ok(0),
        Err(error) => return Err(error),
    };
    let broken = || {
        Fault::new(format!("the registry's `{reference}` is not an image that baibox pushed"))
            .hint("push it again, or leave the registry out")
    };
    let manifest: OciImageManifest = serde_json::from_slice(&bytes).with_context(broken)?;
    let config: serde_json::Value =
        serde_json::from_slice(&blob(registry, &reference, &manifest.config).await?).with_context(broken)?;
    let diff_ids: Vec<Digest> = serde_json::from_value(config["rootfs"]["diff_ids"].clone()).with_context(broken)?;
    if diff_ids.len() != manifest.layers.len() {
        return Err(broken().into());
    }
    let mut taken = Vec::new();
    for (descriptor, diff_id) in manifest.layers.iter().zip(&diff_ids) {
        let key = descriptor.annotations.as_ref().and_then(|all| all.get(LAYER_KEY));
        let planned = image.layers.iter().find(|layer| Some(layer.key().as_str()) == key.map(String::as_str));
        if let Some(planned) = planned.filter(|planned| wanted(planned)) {
            taken.push((descriptor, diff_id, planned));
        }
    }
    let count = taken.len();
    let (reference, keep) = (&reference, &keep);
    let downloads = taken.into_iter().map(|(descriptor, diff_id, planned)| async move {
        let layer = fetch(registry, store, reference, descriptor, diff_id, &planned.title).await;
        keep(&planned.key(), &layer.with_context(|| format!("cannot take the layer `{}`", planned.title))?)
    });
    stream::iter(downloads).buffer_unordered(SLOTS).try_collect::<Vec<()>>().await?;
    Ok(count)
}

/// Where the registry has exactly this image, if it does.
pub async fn find(registry: &Registry, image: &crate::oci::Image) -> Result<Option<Pushed>> {
    let reference = registry.place.reference(&image.reference)?;
    let ask = || registry.client.pull_manifest_raw(&reference, &registry.auth, &[MANIFEST]);
    let bytes = match registry.retry(&format!("the manifest of `{reference}`"), ask).await {
        Ok((bytes, _)) => bytes,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let same = serde_json::from_slice::<OciImageManifest>(&bytes).is_ok_and(|found| found.config.digest == image.id().as_str());
    let repository = format!("{}/{}", reference.registry(), reference.repository());
    let tag = reference.tag().context("references have tags here")?.to_owned();
    Ok(same.then(|| Pushed { repository, tag, digest: Digest::of(&bytes) }))
}

fn is_absent(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<OciDistributionError>() {
        Some(OciDistributionError::ImageManifestNotFoundError(_)) => true,
        Some(OciDistributionError::RegistryError { envelope, .. }) => envelope.errors.iter().any(|error| {
            matches!(error.code, OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound)
        }),
        Some(OciDistributionError::ServerError { code: 404, .. }) => true,
        _ => false,
    }
}

/// A small blob in memory, verified.
async fn blob(registry: &Registry, reference: &oci_client::Reference, descriptor: &OciDescriptor) -> Result<Vec<u8>> {
    anyhow::ensure!((0..=16 << 20).contains(&descriptor.size), "an image config of {} bytes", descriptor.size);
    let ask = || async {
        let mut bytes = Vec::new();
        registry.client.pull_blob(reference, descriptor, &mut bytes).await.map(|()| bytes)
    };
    registry.retry("an image config", ask).await
}

/// One layer, unpacked from gzip and kept without its end marker, so that it is like one made here.
async fn fetch(
    registry: &Registry,
    store: &Store,
    reference: &oci_client::Reference,
    descriptor: &OciDescriptor,
    diff_id: &Digest,
    title: &str,
) -> Result<Layer> {
    anyhow::ensure!(descriptor.media_type.ends_with("tar+gzip"), "its compression `{}` is not known", descriptor.media_type);
    let ask = || async {
        let file = tempfile::tempfile_in(store.temporary())?;
        let mut file = tokio::fs::File::from_std(file);
        registry.client.pull_blob(reference, descriptor, &mut file).await?;
        Ok(file)
    };
    let mut packed = registry.retry(&format!("the blob `{}`", descriptor.digest), ask).await?.into_std().await;
    let (store, diff_id, title) = (store.clone(), diff_id.clone(), title.to_owned());
    tokio::task::spawn_blocking(move || {
        use std::io::Seek;
        packed.rewind()?;
        let mut reader = flate2::read::MultiGzDecoder::new(std::io::BufReader::new(packed)).take(LARGEST);
        let mut writer = store.writer()?;
        // The last bytes wait, since the end marker is no part of what is kept.
        let mut tail: Vec<u8> = Vec::new();
        let mut chunk = vec![0; 1 << 18];
        loop {
            let count = reader.read(&mut chunk)?;
            tail.extend(&chunk[..count]);
            if count == 0 {
                break;
            }
            let ready = tail.len().saturating_sub(END_MARKER.len());
            writer.write_all(&tail[..ready])?;
            tail.drain(..ready);
        }
        anyhow::ensure!(tail == END_MARKER, "it does not end as a layer does");
        let (content, _) = writer.commit()?;
        let layer = Layer::assemble(&title, vec![content], |digest| store.reader(digest))?;
        anyhow::ensure!(layer.diff_id == diff_id, "its content is `{}`, not `{diff_id}`", layer.diff_id);
        Ok(layer)
    })
    .await?
}
