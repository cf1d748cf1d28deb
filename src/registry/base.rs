//! An image that somebody else pushed, as what others stand on: pinned once, its layers taken as they are.

use super::manifest::{INDEX, MANIFEST};
use super::pull::{LAYER, blob, download, is_absent, keep, unpack};
use super::{Place, Registry};
use crate::debian::base::unpacked;
use crate::error::Fault;
use crate::model::{Digest, Platform};
use crate::release::BaseLayer;
use crate::store::Store;
use anyhow::{Context, Result};
use oci_client::Reference;
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use std::collections::BTreeMap;

/// Docker's own names, which registries still have.
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// The most layers that leave room for ours: engines take 127.
const MOST: usize = 100;

/// What a reference names at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Of what the registry answers with: an index or a manifest.
    pub digest: Digest,
    /// Of the image for the platform.
    pub manifest: Digest,
    pub layers: Vec<BaseLayer>,
    /// Environment variables of its config.
    pub env: BTreeMap<String, String>,
}

/// An image's place: its registry, and itself.
pub(super) fn place(reference: &str) -> Result<(Registry, Reference), anyhow::Error> {
    let parsed: Reference = reference.parse().map_err(|error| {
        Fault::usage(format!("`{reference}` is no reference of an image: {error}"))
            .hint("write it as `python:3.9-slim-bullseye` or `registry.example/team/python:3.9`")
    })?;
    let place = Place { registry: parsed.registry().to_owned(), prefix: parsed.repository().to_owned() };
    Ok((Registry::new(place, false)?, parsed))
}

/// Asks the registry what a reference names for a platform.
pub async fn pin(text: &str, platform: Platform) -> Result<Pinned> {
    let (registry, reference) = place(text)?;
    let broken = || Fault::new(format!("what the registry calls `{text}` is not an image")).hint("name another image");
    let asked = registry.manifest(&reference, &[INDEX, DOCKER_LIST, MANIFEST, DOCKER_MANIFEST]).await;
    let top = asked.map_err(|error| match is_absent(&error) {
        true => Fault::new(format!("the registry `{}` has no image `{text}`", registry.place.registry))
            .hint("see that its name and tag are right, and that it was pushed there")
            .into(),
        false => error,
    })?;
    let digest = Digest::of(&top);
    let value: serde_json::Value = serde_json::from_slice(&top).with_context(broken)?;
    let (manifest, bytes) = match value["manifests"].as_array() {
        None => (digest.clone(), top),
        Some(list) => {
            let told = |entry: &serde_json::Value| {
                let word = |name: &str| entry["platform"][name].as_str().unwrap_or_default().to_owned();
                format!("{}/{}", word("os"), word("architecture"))
            };
            let Some(entry) = list.iter().find(|entry| told(entry) == platform.to_string()) else {
                let has: Vec<String> = list.iter().map(told).collect();
                let fault = Fault::new(format!("`{text}` has no image for {platform}"));
                return Err(fault.hint(format!("name another one: it has {}", has.join(", "))).into());
            };
            let wanted = Digest::parse(entry["digest"].as_str().unwrap_or_default()).map_err(|_| broken())?;
            let at = reference.clone_with_digest(wanted.to_string());
            (wanted, registry.manifest(&at, &[MANIFEST, DOCKER_MANIFEST]).await?)
        }
    };
    let image: OciImageManifest = serde_json::from_slice(&bytes).with_context(broken)?;
    let config = blob(&registry, &reference, &image.config).await?;
    let config: serde_json::Value = serde_json::from_slice(&config).with_context(broken)?;
    let of = format!("{}/{}", config["os"].as_str().unwrap_or_default(), config["architecture"].as_str().unwrap_or_default());
    if of != platform.to_string() {
        let fault = Fault::new(format!("`{text}` is an image for {of}, not for {platform}"));
        return Err(fault.hint("name one that is for it, or an index that has it").into());
    }
    let diff_ids: Vec<Digest> = serde_json::from_value(config["rootfs"]["diff_ids"].clone()).with_context(broken)?;
    if diff_ids.len() != image.layers.len() || !(1..=MOST).contains(&diff_ids.len()) {
        return Err(broken().into());
    }
    let layer = |(descriptor, diff_id): (&OciDescriptor, Digest)| -> Result<BaseLayer> {
        let media_type = match descriptor.media_type.as_str() {
            DOCKER_LAYER => format!("{LAYER}+gzip"),
            kind if kind.strip_prefix(LAYER).is_some_and(|form| ["", "+gzip", "+zstd"].contains(&form)) => kind.to_owned(),
            kind => {
                let fault = Fault::new(format!("a layer of `{text}` is of a kind that is not taken: `{kind}`"));
                return Err(fault.hint("name an image whose layers are tar archives, plain, in gzip or in zstd").into());
            }
        };
        let size = u64::try_from(descriptor.size).with_context(broken)?;
        Ok(BaseLayer { digest: Digest::parse(&descriptor.digest).map_err(|_| broken())?, size, diff_id, media_type })
    };
    let layers = image.layers.iter().zip(diff_ids).map(layer).collect::<Result<Vec<_>>>()?;
    let env: Option<Vec<String>> = serde_json::from_value(config["config"]["Env"].clone()).with_context(broken)?;
    let pair = |line: &String| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let env = env.unwrap_or_default().iter().filter_map(pair).collect();
    Ok(Pinned { digest, manifest, layers, env })
}

/// Brings a layer into the store as its registry has it.
pub async fn fetch_layer(store: &Store, reference: &str, layer: &BaseLayer) -> Result<()> {
    if store.has(&layer.digest) {
        return Ok(());
    }
    let (registry, reference) = place(reference)?;
    let descriptor = OciDescriptor {
        media_type: layer.media_type.clone(),
        digest: layer.digest.to_string(),
        size: i64::try_from(layer.size).context("a size that no file has")?,
        ..OciDescriptor::default()
    };
    let mut file = download(&registry, store, &reference, &descriptor).await?;
    let (store, digest) = (store.clone(), layer.digest.clone());
    tokio::task::spawn_blocking(move || keep(&store, &mut file, &digest)).await?
}

/// The blob of a layer's content without its end marker, unpacked from the one that was fetched if it was not before.
pub async fn layer_content(store: &Store, layer: &BaseLayer) -> Result<Digest> {
    let key = unpacked(&layer.diff_id);
    if let Some(content) = store.action::<Digest>(&key).filter(|content| store.has(content)) {
        return Ok(content);
    }
    let (here, wanted) = (store.clone(), layer.clone());
    let content = tokio::task::spawn_blocking(move || {
        let packed = here.reader(&wanted.digest).context("the layer of the base is not in the store")?;
        let layer = unpack(&here, packed, wanted.size, &wanted.media_type, &wanted.diff_id, "base");
        let layer = layer.with_context(|| format!("cannot take the layer `{}` of the base", wanted.digest))?;
        anyhow::Ok(layer.fragments[0].clone())
    })
    .await??;
    store.record_action(&key, &content)?;
    Ok(content)
}
