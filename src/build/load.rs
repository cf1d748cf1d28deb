//! Images on their way to the engine: without layers that it has, in an order that it takes fastest.

use super::Builder;
use crate::engine::{HeldImage, is_gone};
use crate::model::Digest;
use crate::oci::{Image, Layer, write_archive};
use crate::store::was_corrupt;
use anyhow::Result;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, BTreeSet};

/// Archives that an engine gets at the same time.
const SENT_AT_ONCE: usize = 2;
/// Bytes of layers up to which images share an archive: an engine takes a tenth of a second for any, empty or not.
const SMALL: u64 = 16 << 20;

impl Builder {
    /// Loads the images that the engine lacks, without the layers that it has.
    pub(super) async fn load(&self, images: &[Image], told: bool) -> Result<(usize, u64)> {
        let mut lacking = Vec::new();
        let asked = images.iter().map(|image| self.engine.image(&image.reference));
        for (image, held) in images.iter().zip(futures_util::future::try_join_all(asked).await?) {
            if !held.is_some_and(|held| is_same(&held, image)) {
                lacking.push(image.clone());
            }
        }
        if lacking.is_empty() {
            return Ok((0, 0));
        }
        let stage = told.then(|| self.ui.stage("load"));
        let mut chains = BTreeSet::new();
        for held in self.engine.images().await? {
            for end in 1..=held.diff_ids.len() {
                chains.insert(held.diff_ids[..end].to_vec());
            }
        }
        let sent = match self.send_apart(&lacking, &chains).await {
            Ok(bytes) => Some(bytes),
            Err(error) if was_corrupt(&error) || is_gone(&error) => return Err(error),
            Err(_) => None,
        };
        let bytes = match sent {
            Some(bytes) if self.all_held(&lacking).await? => bytes,
            _ => {
                // Refused, or accepted and broken: everything goes once more, whole.
                let all = layers_to_send(&lacking, &BTreeSet::new());
                let bytes = all.values().sum();
                self.send(lacking.clone(), all).await?;
                anyhow::ensure!(self.all_held(&lacking).await?, "the engine took the images, but does not hold them");
                bytes
            }
        };
        if let Some(stage) = stage {
            stage.done(&format!("{} images, {} sent", lacking.len(), crate::ui::bytes(bytes)));
        }
        Ok((lacking.len(), bytes))
    }

    pub(super) async fn all_held(&self, images: impl IntoIterator<Item = &Image>) -> Result<bool> {
        let asked = images.into_iter().map(|image| async {
            anyhow::Ok(self.engine.image(&image.reference).await?.is_some_and(|held| is_same(&held, image)))
        });
        Ok(futures_util::future::try_join_all(asked).await?.into_iter().all(|held| held))
    }

    /// An engine unpacks layer after layer, so each image goes by itself, as soon as the one is there that brings
    /// what it stands on. Gives the bytes of layers.
    async fn send_apart(&self, images: &[Image], chains: &BTreeSet<Vec<Digest>>) -> Result<u64> {
        let mut waiting = shipments(images, chains);
        let (mut arrived, mut bytes) = (vec![false; waiting.len()], 0);
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < SENT_AT_ONCE {
                let together = next(&mut waiting, &arrived, SENT_AT_ONCE - under_way.len());
                if together.is_empty() {
                    break;
                }
                bytes += together.iter().flat_map(|shipment| shipment.layers.values()).sum::<u64>();
                under_way.push(async move {
                    let places: Vec<usize> = together.iter().map(|shipment| shipment.place).collect();
                    let sent: Vec<Image> = places.iter().map(|place| images[*place].clone()).collect();
                    self.send(sent, together.into_iter().flat_map(|shipment| shipment.layers).collect()).await?;
                    anyhow::Ok(places)
                });
            }
            match under_way.next().await {
                Some(places) => places?.into_iter().for_each(|place| arrived[place] = true),
                None => return Ok(bytes),
            }
        }
    }

    async fn send(&self, images: Vec<Image>, layers: BTreeMap<Digest, u64>) -> Result<String> {
        let store = self.store.clone();
        self.engine
            .load(Box::new(move |mut out| {
                let left_out = |layer: &Layer| !layers.contains_key(&layer.diff_id);
                write_archive(&mut out, &images, left_out, |digest| store.reader(digest))
            }))
            .await
    }
}

fn is_same(held: &HeldImage, image: &Image) -> bool {
    held.id == image.id().as_str() || held.id == image.manifest_digest().as_str()
}

/// An image on its way to the engine.
#[derive(Debug, PartialEq, Eq)]
struct Shipment {
    /// The image, by its place among all.
    place: usize,
    /// The image that brings the layers below.
    after: Option<usize>,
    /// What remains to be sent, with sizes.
    layers: BTreeMap<Digest, u64>,
}

/// Each image after the one that has most of its layers, of several the smallest first; the largest first of what
/// can go at any time.
fn shipments(images: &[Image], chains: &BTreeSet<Vec<Digest>>) -> Vec<Shipment> {
    let alone = |place: usize| layers_to_send(&images[place..=place], chains).values().sum::<u64>();
    let mut order: Vec<usize> = (0..images.len()).collect();
    order.sort_by_key(|place| alone(*place));
    let mut shipments: Vec<Shipment> = Vec::new();
    for place in order {
        let diff_ids = images[place].diff_ids();
        let shared =
            |other: usize| diff_ids.iter().zip(images[other].diff_ids()).take_while(|(one, other)| *one == other).count();
        let known = (0..=diff_ids.len()).rev().find(|end| *end == 0 || chains.contains(&diff_ids[..*end])).unwrap_or(0);
        let all = shipments.iter().rev().map(|earlier| (shared(earlier.place), earlier.place));
        let best = all.max_by_key(|(shared, _)| *shared);
        let best = best.filter(|(shared, _)| *shared > known);
        let there = best.map_or(known, |(shared, _)| shared);
        let mut layers = layers_to_send(&images[place..=place], chains);
        layers.retain(|diff_id, _| !diff_ids[..there].contains(diff_id));
        shipments.push(Shipment { place, after: best.map(|(_, other)| other), layers });
    }
    shipments.sort_by_key(|shipment| std::cmp::Reverse(shipment.layers.values().sum::<u64>()));
    shipments
}

/// Takes what goes next of what can go now: small ones share their archives, as many as there are free places.
fn next(waiting: &mut Vec<Shipment>, arrived: &[bool], free: usize) -> Vec<Shipment> {
    let can_go = |shipment: &Shipment| shipment.after.is_none_or(|other| arrived[other]);
    let ready: Vec<usize> = (0..waiting.len()).filter(|place| can_go(&waiting[*place])).collect();
    let is_small = |place: &usize| waiting[*place].layers.values().sum::<u64>() <= SMALL;
    let share = if ready.first().is_some_and(is_small) { ready.len() } else { 1 };
    let taken: Vec<usize> = ready.into_iter().take(share).step_by(free).collect();
    taken.into_iter().rev().map(|place| waiting.remove(place)).collect()
}

/// The layers whose chain the engine does not have, with their sizes.
fn layers_to_send(images: &[Image], chains: &BTreeSet<Vec<Digest>>) -> BTreeMap<Digest, u64> {
    let mut absent = BTreeMap::new();
    for image in images {
        let diff_ids = image.diff_ids();
        for (index, layer) in image.layers.iter().enumerate() {
            if !chains.contains(&diff_ids[..=index]) {
                absent.insert(layer.diff_id.clone(), layer.size);
            }
        }
    }
    absent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Node, Settings, Tree};

    #[test]
    fn an_image_is_sent_after_the_one_that_brings_its_lower_layers_and_the_largest_first() {
        let layer = |name: &str| {
            let mut tree = Tree::default();
            tree.insert(name, Node::file(0o644, name.repeat(1000))).unwrap();
            let mut bytes = Vec::new();
            tree.write_fragment(&mut bytes).unwrap();
            Layer::assemble(name, vec![Digest::of(&bytes)], |_| Ok(&bytes[..])).unwrap()
        };
        let image = |name: &str, layers: &[&str]| {
            Image::new(format!("x/{name}:1"), "amd64", &Settings::default(), layers.iter().map(|name| layer(name)).collect())
        };
        let images = [
            image("large", &["base", "stem", "branch", "l1", "l2-which-is-long"]),
            image("small", &["base", "stem"]),
            image("middle", &["base", "stem", "branch", "m"]),
            image("other", &["alone", "o"]),
            image("twin", &["base", "stem"]),
        ];
        let chains = [vec![layer("base").diff_id]].into();
        let of = |names: &[&str]| -> BTreeMap<Digest, u64> {
            names.iter().map(|name| layer(name)).map(|layer| (layer.diff_id, layer.size)).collect()
        };
        let sent = shipments(&images, &chains);
        let check = |place: usize, after: Option<usize>, names: &[&str]| {
            let expected = Shipment { place, after, layers: of(names) };
            assert!(sent.contains(&expected), "{expected:?} in {sent:#?}");
        };
        check(1, None, &["stem"]);
        check(4, Some(1), &[]);
        check(2, Some(1), &["branch", "m"]);
        check(0, Some(2), &["l1", "l2-which-is-long"]);
        check(3, None, &["alone", "o"]);
        assert_eq!(sent.iter().map(|shipment| shipment.place).next(), Some(0));
    }

    #[test]
    fn what_is_small_shares_the_archives_that_can_go_at_once() {
        let shipment = |place: usize, after: Option<usize>, size: u64| {
            let layers = [(Digest::of(&place.to_be_bytes()), size)].into();
            Shipment { place, after, layers }
        };
        let mut waiting = vec![
            shipment(0, None, SMALL + 1),
            shipment(1, None, 9),
            shipment(2, None, 8),
            shipment(3, Some(0), 7),
            shipment(4, None, 6),
        ];
        let mut arrived = [false; 5];
        let mut taken = |arrived: &[bool], free: usize| -> BTreeSet<usize> {
            next(&mut waiting, arrived, free).into_iter().map(|shipment| shipment.place).collect()
        };
        assert_eq!(taken(&arrived, 2), [0].into());
        assert_eq!(taken(&arrived, 2), [1, 4].into());
        assert_eq!(taken(&arrived, 1), [2].into());
        assert!(taken(&arrived, 2).is_empty());
        arrived[0] = true;
        assert_eq!(taken(&arrived, 2), [3].into());
    }
}
