//! An image of a registry that the release's images stand on, in the place of Debian's packages alone.

use super::Release;
use crate::model::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The table `[base]` of a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// As it was asked for.
    pub reference: String,
    /// What that named: an index over platforms, or the manifest itself.
    pub digest: Digest,
    /// Of the image for the lock's platform.
    pub manifest: Digest,
    /// `/bin`, `/lib` and `/sbin` are folders of their own, as in Debian's images up to 11.
    pub split_usr: bool,
    /// `name version architecture` of each Debian package that is in it.
    pub packages: Vec<String>,
    /// `name version` of each Python package that is in it.
    pub python: Vec<String>,
    /// Environment variables of its config.
    pub env: BTreeMap<String, String>,
    /// The lowest first.
    #[serde(rename = "layer")]
    pub layers: Vec<BaseLayer>,
}

/// A layer as its registry has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseLayer {
    /// Of the compressed bytes.
    pub digest: Digest,
    /// Compressed bytes.
    pub size: u64,
    pub diff_id: Digest,
    /// By the names of the OCI image specification.
    pub media_type: String,
}

impl Base {
    /// The version of a Debian package that it has.
    pub fn version(&self, package: &str) -> Option<&str> {
        let mut all = self.packages.iter().filter_map(|line| line.split_once(' '));
        all.find(|(name, _)| *name == package)?.1.split(' ').next()
    }
}

impl Release {
    /// The package set that images with Python packages begin with: a base of a registry takes its place.
    pub fn lowest_set(&self) -> Option<&str> {
        let image = self.images.iter().find(|image| image.environment.is_some())?;
        image.packages.first().map(String::as_str)
    }

    /// The base of a registry, if the package set lies on it.
    pub fn base_of(&self, set: &str) -> Option<&Base> {
        let lowest = self.lowest_set()?;
        let on = self.debian.get(set).and_then(|set| set.on.as_deref());
        self.base.as_ref().filter(|_| set == lowest || on == Some(lowest))
    }
}
