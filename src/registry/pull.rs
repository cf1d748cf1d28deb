//! Layers from a registry, in the place of making them.

use super::manifest::MANIFEST;
use super::{LAYER_KEY, Pushed, Registry};
use crate::error::Fault;
use crate::model::Digest;
use crate::oci::{END_MARKER, Layer, may_unpack_to};
use crate::plan::{ImagePlan, LayerPlan};
use crate::store::Store;
use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use tokio::io::{AsyncWrite, AsyncWriteExt};

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
    let bytes = match registry.manifest(&reference, &[MANIFEST]).await {
        Ok(bytes) => bytes,
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
        let layer = fetch(registry, store, reference, descriptor, diff_id, planned).await;
        keep(&planned.key(), &layer.with_context(|| format!("cannot take the layer `{}`", planned.title))?)
    });
    stream::iter(downloads).buffer_unordered(SLOTS).try_collect::<Vec<()>>().await?;
    Ok(count)
}

/// Where the registry has exactly this image, if it does.
pub async fn find(registry: &Registry, image: &crate::oci::Image) -> Result<Option<Pushed>> {
    let reference = registry.place.reference(&image.reference)?;
    let bytes = match registry.manifest(&reference, &[MANIFEST]).await {
        Ok(bytes) => bytes,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let same = serde_json::from_slice::<OciImageManifest>(&bytes).is_ok_and(|found| found.config.digest == image.id().as_str());
    let repository = format!("{}/{}", reference.registry(), reference.repository());
    let tag = reference.tag().context("references have tags here")?.to_owned();
    Ok(same.then(|| Pushed { repository, tag, digest: Digest::of(&bytes) }))
}

pub(super) fn is_absent(error: &anyhow::Error) -> bool {
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
pub(super) async fn blob(registry: &Registry, reference: &oci_client::Reference, descriptor: &OciDescriptor) -> Result<Vec<u8>> {
    anyhow::ensure!((0..=16 << 20).contains(&descriptor.size), "an image config of {} bytes", descriptor.size);
    let ask = || async {
        let mut bytes = Vec::new();
        receive(registry, reference, descriptor, &mut bytes).await.map(|()| bytes)
    };
    registry.retry("an image config", ask).await
}

/// A blob as its descriptor says it is, in digest and size: who sends more is not read to the end.
pub(super) async fn receive(
    registry: &Registry,
    reference: &oci_client::Reference,
    descriptor: &OciDescriptor,
    out: &mut (impl AsyncWrite + Unpin),
) -> Result<(), OciDistributionError> {
    // The stream wraps what happens on the way, which is told apart by its kind later.
    let plain = |error: io::Error| -> OciDistributionError {
        match error.downcast::<reqwest::Error>() {
            Ok(error) => error.into(),
            Err(error) => error.downcast::<DigestError>().map_or_else(Into::into, Into::into),
        }
    };
    let lie = || io::Error::new(io::ErrorKind::InvalidData, format!("it is not of the {} bytes that are told", descriptor.size));
    let mut blob = registry.client.pull_blob_stream(reference, descriptor).await?;
    let mut left = u64::try_from(descriptor.size).map_err(|_| lie())?;
    while let Some(chunk) = blob.try_next().await.map_err(plain)? {
        left = left.checked_sub(chunk.len() as u64).ok_or_else(lie)?;
        out.write_all(&chunk).await?;
    }
    out.flush().await?;
    if left == 0 { Ok(()) } else { Err(lie().into()) }
}

/// A blob, in a file without a name.
pub(super) async fn download(
    registry: &Registry,
    store: &Store,
    reference: &oci_client::Reference,
    descriptor: &OciDescriptor,
) -> Result<File> {
    let ask = || async {
        let file = tempfile::tempfile_in(store.temporary())?;
        let mut file = tokio::fs::File::from_std(file);
        receive(registry, reference, descriptor, &mut file).await?;
        Ok(file)
    };
    let mut file = registry.retry(&format!("the blob `{}`", descriptor.digest), ask).await?.into_std().await;
    file.rewind()?;
    Ok(file)
}

/// One layer, unpacked and kept without its end marker, so that it is like one made here.
/// That of a base is also kept as it came, since it leaves like that.
async fn fetch(
    registry: &Registry,
    store: &Store,
    reference: &oci_client::Reference,
    descriptor: &OciDescriptor,
    diff_id: &Digest,
    planned: &LayerPlan,
) -> Result<Layer> {
    let mut packed = download(registry, store, reference, descriptor).await?;
    let blob = planned.blob.as_ref().map(|blob| blob.digest.clone()).filter(|digest| digest.as_str() == descriptor.digest);
    let (kind, title) = (descriptor.media_type.clone(), planned.title.clone());
    let (store, diff_id) = (store.clone(), diff_id.clone());
    tokio::task::spawn_blocking(move || {
        let size = packed.metadata()?.len();
        let layer = unpack(&store, packed.try_clone()?, size, &kind, &diff_id, &title)?;
        if let Some(digest) = blob {
            packed.rewind()?;
            keep(&store, &mut packed, &digest)?;
        }
        Ok(layer)
    })
    .await?
}

/// Puts what was downloaded into the store, if it is what it should be.
pub(super) fn keep(store: &Store, file: &mut File, digest: &Digest) -> Result<()> {
    let mut writer = store.writer()?;
    io::copy(file, &mut writer)?;
    writer.flush()?;
    Ok(writer.commit_as(digest).map(drop)?)
}

/// A layer's media type without its compression.
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Keeps a layer of so many packed bytes without its end marker, if it has the digest that it should.
pub(super) fn unpack(
    store: &Store,
    packed: impl Read + 'static,
    size: u64,
    kind: &str,
    diff_id: &Digest,
    title: &str,
) -> Result<Layer> {
    let limit = LARGEST.min(may_unpack_to(size));
    let packed = io::BufReader::with_capacity(1 << 18, packed);
    let reader: Box<dyn Read> = match kind.strip_prefix(LAYER) {
        Some("") => Box::new(packed),
        Some("+gzip") => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        Some("+zstd") => Box::new(zstd::Decoder::with_buffer(packed)?),
        _ => anyhow::bail!("its compression `{kind}` is not known"),
    };
    let mut reader = reader.take(limit + 1);
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
    let size = writer.size() + tail.len() as u64;
    anyhow::ensure!(size <= limit, "it unpacks to more than {limit} bytes");
    anyhow::ensure!(tail == END_MARKER, "it does not end as a layer does");
    let found = writer.digest_with(&tail);
    anyhow::ensure!(found == *diff_id, "its content is `{found}`, not `{diff_id}`");
    let (content, _) = writer.commit()?;
    Ok(Layer { title: title.to_owned(), diff_id: diff_id.clone(), size, fragments: vec![content] })
}
