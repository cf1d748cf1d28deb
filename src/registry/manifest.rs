//! Images as they leave this machine: compressed layers and what is said of them, the same
//! for a registry and for a file.

use super::{Compressed, LAYER_KEY, compress};
use crate::model::{CREATED, Digest, canonical_json};
use crate::oci::Image;
use crate::plan::ImagePlan;
use crate::store::Store;
use anyhow::Result;
use serde_json::json;
use std::collections::BTreeMap;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image that leaves, with the plan that it came from.
pub struct Outgoing<'a> {
    pub plan: &'a ImagePlan,
    pub image: &'a Image,
    /// Layers from the lowest that are its base; none if there is no base.
    pub base: usize,
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
        let Outgoing { plan, image, base, annotations } = outgoing;
        let mut layers = Vec::new();
        let mut descriptors = Vec::new();
        for (layer, planned) in image.layers.iter().zip(&plan.layers) {
            let packed = compress(store, layer).await?;
            descriptors.push(json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
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
