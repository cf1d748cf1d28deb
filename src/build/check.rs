//! Where two makings of an image part.

use crate::oci::compare;
use crate::oci::{Image, Layer};
use crate::plan::{ImagePlan, Plan};
use crate::store::Store;
use anyhow::Result;

/// One line on the first thing that is not the same in two images of one plan.
pub fn first_difference(left: (&Store, &Image), right: (&Store, &Image), planned: &ImagePlan, plan: &Plan) -> Result<String> {
    for (number, (one, other)) in left.1.layers.iter().zip(&right.1.layers).enumerate() {
        if one.diff_id == other.diff_id {
            continue;
        }
        let found = compare::first_difference(|| Ok(left.0.sequence(&one.fragments)), || Ok(right.0.sequence(&other.fragments)))?;
        let what = found.map_or_else(|| "the streams differ, their entries do not".to_owned(), |found| found.to_string());
        let of = planned.layers.get(number).and_then(|layer| fragment(one, other, &layer.fragments));
        let of = of.and_then(|key| plan.recipes.get(key)).map(|recipe| format!(", of {}", recipe.title())).unwrap_or_default();
        return Ok(format!("layer {} “{}”{of}: {what}", number + 1, one.title));
    }
    Ok(format!("the configs differ: {} and {}", left.1.config, right.1.config))
}

/// The key of the first fragment that differs; a layer has its folders before them.
fn fragment<'a>(one: &Layer, other: &Layer, keys: &'a [crate::model::Digest]) -> Option<&'a crate::model::Digest> {
    // Layers that came from a registry are one fragment.
    if one.fragments.len() != other.fragments.len() || one.fragments.len() != keys.len() + 1 {
        return None;
    }
    let differing = one.fragments.iter().zip(&other.fragments).skip(1).position(|(left, right)| left != right)?;
    keys.get(differing)
}
