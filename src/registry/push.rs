//! Images to a registry: only the blobs that it lacks, several at once.

use super::Registry;
use super::manifest::{INDEX, ImageIndex, MANIFEST, Manifest, Outgoing, by_name};
use crate::model::Digest;
use crate::store::Store;
use crate::ui::Stage;
use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use oci_client::Reference;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

/// Uploads at once.
const SLOTS: usize = 4;

/// Where an image is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// `registry/repository`.
    pub repository: String,
    pub tag: String,
    /// Of the manifest: what a reference by digest names.
    pub digest: Digest,
}

impl Pushed {
    /// The reference that can never mean something else.
    pub fn pinned(&self) -> String {
        format!("{}@{}", self.repository, self.digest)
    }
}

/// Bytes of a blob, and where they are.
enum Content {
    File(PathBuf),
    Text(String),
}

/// Sends images; gives where they are, and how many bytes were sent.
pub async fn push(
    registry: &Registry,
    store: &Store,
    images: &[Outgoing<'_>],
    stage: &Stage,
) -> Result<(BTreeMap<String, Pushed>, u64)> {
    stage.note(&format!("to {}", registry.place));
    for outgoing in images {
        let reference = &registry.place.reference(&outgoing.image.reference)?;
        let auth = &registry.auth;
        let log_in = || async { registry.client.auth(reference, auth, oci_client::RegistryOperation::Push).await.map(drop) };
        registry.retry("to log in", log_in).await?;
    }
    let mut blobs: BTreeMap<Digest, (u64, Content)> = BTreeMap::new();
    let mut users: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
    let mut manifests = Vec::new();
    for outgoing in images {
        let Outgoing { plan, image, .. } = outgoing;
        let reference = registry.place.reference(&image.reference)?;
        stage.note(&format!("compressing {}", plan.name));
        let manifest = Manifest::of(store, outgoing).await?;
        for packed in &manifest.layers {
            let path = store.blob_path(&packed.digest);
            blobs.entry(packed.digest.clone()).or_insert((packed.size, Content::File(path)));
            users.entry(packed.digest.clone()).or_default().push(reference.clone());
        }
        blobs.entry(image.id()).or_insert((image.config.len() as u64, Content::Text(image.config.clone())));
        users.entry(image.id()).or_default().push(reference.clone());
        manifests.push((outgoing, manifest));
    }
    // What the base's repository has need not be sent within one registry.
    let mut homes: BTreeMap<Digest, Reference> = BTreeMap::new();
    for below in images.iter().filter_map(|outgoing| outgoing.below) {
        let home: Reference = below.reference.parse().context("a base has a reference")?;
        if home.registry() == registry.place.registry {
            homes.extend(below.layers.iter().map(|layer| (layer.digest.clone(), home.clone())));
        }
    }
    stage.length(blobs.len() as u64);
    stage.note(&format!("to {}", registry.place));
    let sent = Mutex::new(0u64);
    let uploads = blobs.iter().map(|(digest, (size, content))| {
        let (sent, users, home) = (&sent, &users[digest], homes.get(digest));
        async move {
            let uploaded = bring(registry, digest, *size, content, users, home).await?;
            *sent.lock().expect("never poisoned") += if uploaded { *size } else { 0 };
            stage.advance(1);
            anyhow::Ok(())
        }
    });
    stream::iter(uploads).buffer_unordered(SLOTS).try_collect::<Vec<()>>().await?;
    let mut pushed = BTreeMap::new();
    for (name, parts) in by_name(&manifests) {
        let mut last = None;
        for (outgoing, manifest) in &parts {
            last = Some(put(registry, &outgoing.image.reference, &manifest.bytes, MANIFEST).await?);
        }
        // Each has its own tag too, by which `pull` finds it.
        if parts.len() > 1 {
            let index = ImageIndex::over(&parts);
            last = Some(put(registry, &index.reference, &index.bytes, INDEX).await?);
        }
        pushed.extend(last.map(|last| (name.to_owned(), last)));
    }
    Ok((pushed, sent.into_inner().expect("never poisoned")))
}

/// A manifest or an index under its tag.
async fn put(registry: &Registry, image: &str, bytes: &[u8], kind: &str) -> Result<Pushed> {
    let reference = registry.place.reference(image)?;
    let body = bytes::Bytes::copy_from_slice(bytes);
    let kind = kind.parse().context("a media type is a header's value")?;
    let put = || registry.client.push_manifest_raw(&reference, body.clone(), std::clone::Clone::clone(&kind));
    registry.retry(&format!("the manifest of `{reference}`"), put).await?;
    let repository = format!("{}/{}", reference.registry(), reference.repository());
    let tag = reference.tag().context("references have tags here")?.to_owned();
    Ok(Pushed { repository, tag, digest: Digest::of(bytes) })
}

/// Makes sure that every repository of `users` has the blob, which may be at `home`; says whether its bytes were sent.
async fn bring(
    registry: &Registry,
    digest: &Digest,
    size: u64,
    content: &Content,
    users: &[Reference],
    home: Option<&Reference>,
) -> Result<bool> {
    let client = &registry.client;
    let what = format!("the blob `{digest}`");
    let mut holder: Option<&Reference> = home;
    let mut lacking = Vec::new();
    for user in users {
        if registry.retry(&what, || client.blob_exists(user, digest.as_str())).await? {
            holder = Some(user);
        } else {
            lacking.push(user);
        }
    }
    let mut sent = false;
    for user in lacking {
        // A registry that cannot mount answers with an upload, which is then begun anew.
        if let Some(from) = holder
            && client.mount_blob(user, from, digest.as_str()).await.is_ok()
        {
            continue;
        }
        registry.retry(&what, || upload(registry, user, digest, size, content)).await?;
        sent = true;
        holder = Some(user);
    }
    Ok(sent)
}

async fn upload(
    registry: &Registry,
    to: &Reference,
    digest: &Digest,
    size: u64,
    content: &Content,
) -> Result<(), oci_client::errors::OciDistributionError> {
    let bytes = match content {
        Content::Text(text) => {
            let text = bytes::Bytes::from(text.clone());
            stream::once(async move { Ok(text) }).boxed()
        }
        Content::File(path) => {
            let file = tokio::fs::File::open(path).await?;
            tokio_util::io::ReaderStream::with_capacity(file, 1 << 18).map_err(Into::into).boxed()
        }
    };
    registry.client.push_blob_stream(to, bytes, digest.as_str(), Some(size)).await.map(drop)
}
