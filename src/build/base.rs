//! Layers of an image of a registry as fragments, and what they left.

use super::{Builder, Fragment};
use crate::debian::{self, account};
use crate::model::Digest;
use crate::oci::{Node, Tree};
use crate::plan::Recipe;
use crate::registry;
use crate::release::BaseLayer;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

impl Builder {
    /// The layer as it is: one fragment, whose folders stay where they are in it.
    pub(super) async fn base_layer(&self, key: &Digest, layer: &BaseLayer) -> Result<()> {
        let content = registry::base::layer_content(&self.store, layer).await?;
        let folders = self.store.put(b"")?;
        Ok(self.store.record_action(key, &Fragment { folders, content })?)
    }

    /// Accounts and dpkg's record, as the topmost of these layers has them.
    pub(super) async fn base_record(&self, recipes: &BTreeMap<Digest, Recipe>, layers: &[Digest]) -> Result<Tree> {
        let mut diff_ids = Vec::new();
        for key in layers {
            let Some(Recipe::BaseLayer { layer, .. }) = recipes.get(key) else { bail!("not a layer of a base") };
            diff_ids.push(layer.diff_id.clone());
        }
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            let stacked = debian::base::look(&store, &diff_ids)?.context("a layer of the base is missing")?;
            let mut tree = Tree::default();
            for path in account::FILES.into_iter().chain([debian::base::STATUS]) {
                if let Some(text) = stacked.text(path) {
                    tree.insert(path, Node::file(0o644, text))?;
                }
            }
            Ok(tree)
        })
        .await?
    }
}
