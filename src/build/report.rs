//! What a build does for each layer, and why: told before anything is made.

use super::Builder;
use crate::model::Digest;
use crate::plan::{LayerPlan, Plan};
use crate::registry;
use serde::Serialize;
use std::collections::BTreeSet;

/// How a layer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Made {
    /// It was there.
    Reused,
    /// Its fragments were there, but not together.
    Assembled,
    /// Fragments of it had to be made.
    Built,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerReport {
    pub title: String,
    pub made: Made,
    pub why: String,
    pub images: Vec<String>,
}

impl Builder {
    /// Every blob that images of this plan, or the next build of them, would read.
    pub fn reached(&self, plan: &Plan) -> BTreeSet<Digest> {
        let mut reached = BTreeSet::new();
        for (key, recipe) in &plan.recipes {
            reached.extend(recipe.inputs().into_iter().map(|input| input.digest));
            if let Some(fragment) = self.fragment(key) {
                reached.extend([fragment.folders, fragment.content]);
            }
            // What steps ran on, besides the images.
            if let Some(base) = Plan::base(&plan.recipes, key) {
                reached.extend(base.iter().filter_map(|keys| self.known_layer(keys)).flat_map(|layer| layer.fragments));
            }
        }
        for layer in plan.images.iter().flat_map(|image| &image.layers).filter_map(|layer| self.planned(layer)) {
            reached.extend(registry::compressed(&self.store, &layer).map(|packed| packed.digest));
            reached.extend(layer.fragments);
        }
        reached
    }

    /// What building this plan does now, each layer once.
    pub fn report(&self, plan: &Plan) -> Vec<LayerReport> {
        let missing = self.missing(plan);
        let mut seen: BTreeSet<&[Digest]> = BTreeSet::new();
        let layers = plan.images.iter().flat_map(|image| &image.layers).filter(|layer| seen.insert(&layer.fragments));
        layers
            .map(|layer| {
                let (made, why) = if self.planned(layer).is_some() {
                    (Made::Reused, "nothing that it is made of changed".to_owned())
                } else {
                    judge(plan, layer, &missing)
                };
                let images = plan.users(layer).into_iter().map(|image| image.name.clone()).collect();
                LayerReport { title: layer.title.clone(), made, why, images }
            })
            .collect()
    }
}

fn judge(plan: &Plan, layer: &LayerPlan, missing: &BTreeSet<Digest>) -> (Made, String) {
    let own: Vec<&Digest> = layer.fragments.iter().filter(|key| missing.contains(*key)).collect();
    if own.is_empty() {
        let count = layer.fragments.len();
        return (Made::Assembled, format!("its {count} fragments are there, and were not together in a layer"));
    }
    (Made::Built, told(&causes(plan, &own, missing)))
}

/// What is new by itself among what is missing; what only follows from it is not named.
fn causes(plan: &Plan, keys: &[&Digest], missing: &BTreeSet<Digest>) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut asked: Vec<Digest> = keys.iter().map(|key| (*key).clone()).collect();
    let mut seen = BTreeSet::new();
    while let Some(key) = asked.pop() {
        if !seen.insert(key.clone()) {
            continue;
        }
        let recipe = &plan.recipes[&key];
        let below: Vec<Digest> = recipe.depends_on().into_iter().filter(|below| missing.contains(below)).collect();
        if recipe.follows() && !below.is_empty() {
            asked.extend(below);
        } else {
            found.insert(plan.title(&key));
        }
    }
    found.into_iter().collect()
}

fn told(causes: &[String]) -> String {
    const NAMED: usize = 3;
    let verb = if causes.len() == 1 { "is" } else { "are" };
    match causes.len().checked_sub(NAMED) {
        None | Some(0) => format!("{} {verb} new", causes.join(", ")),
        Some(more) => format!("{} and {more} more {verb} new", causes[..NAMED].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Input, Recipe};
    use std::collections::BTreeMap;

    #[test]
    fn what_follows_from_a_change_is_told_by_the_change() {
        let base = Recipe::DebianSkeleton;
        let wheel = Recipe::Wheel {
            name: "x".into(),
            version: "2".into(),
            input: Input { file: "x-2.whl".into(), digest: Digest::of(b"x") },
            python: "3.9".into(),
        };
        let code = Recipe::ByteCode { of: wheel.key(), on: base.key() };
        let recipes: BTreeMap<Digest, Recipe> = [&base, &wheel, &code].map(|recipe| (recipe.key(), recipe.clone())).into();
        let plan = Plan { recipes, images: Vec::new() };
        let layer = LayerPlan { title: "x".into(), fragments: vec![wheel.key(), code.key()], blob: None };
        let check = |missing: &[&Recipe], made: Made, why: &str| {
            let missing = missing.iter().map(|recipe| recipe.key()).collect();
            assert_eq!(judge(&plan, &layer, &missing), (made, why.to_owned()));
        };
        check(&[&wheel, &code], Made::Built, "x 2 is new");
        check(&[&code], Made::Built, "byte code of x 2 is new");
        check(&[], Made::Assembled, "its 2 fragments are there, and were not together in a layer");
        assert_eq!(plan.dependents(&[wheel.key()]), BTreeSet::from([code.key()]));
        assert_eq!(plan.dependents(&[base.key()]), BTreeSet::from([code.key()]));
    }
}
