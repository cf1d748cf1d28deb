//! Images as they leave this machine: compressed layers and what is said of them, the same
//! for a registry and for a file.

use super::{Compressed, LAYER_KEY, compress};
use crate::model::{CREATED, Digest, Platform, canonical_json};
use crate::oci::Image;
use crate::plan::ImagePlan;
use crate::release::Base;
use crate::store::Store;
use anyhow::Result;
use serde_json::json;
use std::collections::BTreeMap;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image that leaves, with the plan that it came from.
pub struct Outgoing<'a> {
    pub plan: &'a ImagePlan,
    pub image: &'a Image,
    pub platform: Platform,
    /// Layers from the lowest that are its base; none if there is no base.
    pub base: usize,
    /// The image that it stands on, where that is of a registry.
    pub below: Option<&'a Base>,
    /// What its manifest says, by the keys of the OCI image specification and of baibox.
    pub annotations: BTreeMap<String, String>,
}

/// A manifest over compressed layers, which are in the store.
pub struct Manifest {
    /// Canonical JSON.
    pub bytes: Vec<u8>,
    pub layers: Vec<Compressed>,
}

impl Manifest {
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// Compresses the layers that were not compressed before.
    pub async fn of(store: &Store, outgoing: &Outgoing<'_>) -> Result<Self> {
        let Outgoing { plan, image, base, annotations, .. } = outgoing;
        let mut layers = Vec::new();
        let mut descriptors = Vec::new();
        for (layer, planned) in image.layers.iter().zip(&plan.layers) {
            // A layer of a base leaves as it came.
            let (kind, packed) = match &planned.blob {
                Some(blob) => (blob.media_type.as_str(), Compressed { digest: blob.digest.clone(), size: blob.size }),
                None => ("application/vnd.oci.image.layer.v1.tar+gzip", compress(store, layer).await?),
            };
            descriptors.push(json!({
                "mediaType": kind,
                "digest": packed.digest,
                "size": packed.size,
                "annotations": { LAYER_KEY: planned.key() },
            }));
            layers.push(packed);
        }
        let mut annotations = annotations.clone();
        annotations.insert("org.opencontainers.image.created".into(), CREATED.into());
        annotations.insert("org.opencontainers.image.title".into(), image.reference.clone());
        if *base > 0 {
            // No image of its own: the digest that one of these layers alone has.
            let below = image.of_lowest_layers(*base);
            let digest = Digest::of(&manifest(&below, &descriptors[..*base], &BTreeMap::new()));
            annotations.insert("org.opencontainers.image.base.digest".into(), digest.to_string());
        }
        Ok(Self { bytes: manifest(image, &descriptors, &annotations), layers })
    }
}

fn manifest(image: &Image, layers: &[serde_json::Value], annotations: &BTreeMap<String, String>) -> Vec<u8> {
    canonical_json(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": image.id(),
            "size": image.config.len(),
        },
        "layers": layers,
        "annotations": annotations,
    }))
}

/// One image for several platforms: what is under one tag.
pub struct ImageIndex {
    /// As the engine would call it; the tag tells the platforms' images.
    pub reference: String,
    /// Canonical JSON.
    pub bytes: Vec<u8>,
}

impl ImageIndex {
    /// Over manifests of one image, each for another platform.
    pub fn over(parts: &[Part<'_>]) -> Self {
        let references: Vec<&str> = parts.iter().map(|(outgoing, _)| outgoing.image.reference.as_str()).collect();
        let repository = references[0].rsplit_once(':').map_or(references[0], |(repository, _)| repository);
        let manifests: Vec<_> = parts.iter().map(|(outgoing, manifest)| descriptor(outgoing, manifest)).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        let tag = Digest::of_value(&references);
        Self { reference: format!("{repository}:{}", tag.short()), bytes: canonical_json(&index) }
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

/// How an index names a manifest.
pub fn descriptor(outgoing: &Outgoing<'_>, manifest: &Manifest) -> serde_json::Value {
    json!({
        "mediaType": MANIFEST,
        "digest": manifest.digest(),
        "size": manifest.bytes.len(),
        "platform": { "os": "linux", "architecture": outgoing.platform.architecture() },
    })
}

/// An image with its manifest.
pub type Part<'a> = (&'a Outgoing<'a>, &'a Manifest);

/// Images in their order, each with its parts for one or more platforms.
pub fn by_name<'a>(manifests: &'a [(&'a Outgoing<'a>, Manifest)]) -> Vec<(&'a str, Vec<Part<'a>>)> {
    let mut found: Vec<(&str, Vec<Part>)> = Vec::new();
    for (outgoing, manifest) in manifests {
        let name = outgoing.plan.name.as_str();
        match found.iter_mut().find(|(other, _)| *other == name) {
            Some((_, parts)) => parts.push((outgoing, manifest)),
            None => found.push((name, vec![(outgoing, manifest)])),
        }
    }
    found
}
