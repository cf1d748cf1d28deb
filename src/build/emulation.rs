//! Steps for a platform that is not the engine's: the kernel hands their programs to an emulator, if it knows one.

use crate::error::Fault;
use crate::model::Digest;
use crate::plan::{ImagePlan, Plan, Recipe};

/// What the kernel says of a program that it cannot run; engines hand it on in several forms.
const REFUSED: &str = "exec format error";

/// Says what is missing where a step could not run for want of an emulator, and what can be made without.
pub fn explained(error: anyhow::Error, plan: &Plan, architecture: &str) -> anyhow::Error {
    if !format!("{error:#}").to_lowercase().contains(REFUSED) {
        return error;
    }
    let fault = Fault::engine(format!("a step must run for linux/{architecture}, and the engine's host cannot run its programs"))
        .hint("give that host an emulator: on Debian `apt-get install qemu-user-static binfmt-support`")
        .hint(format!("or build where linux/{architecture} is the host's own platform"));
    let free: Vec<String> =
        plan.images.iter().filter(|image| !runs(plan, image)).map(|image| format!("--image {}", image.name)).collect();
    error.context(match free.is_empty() {
        true => fault,
        false => fault.hint(format!("or make only what needs no step: `{}`", free.join(" "))),
    })
}

/// Whether something runs to make the image.
fn runs(plan: &Plan, image: &ImagePlan) -> bool {
    let is_step = |key: &Digest| {
        let recipe = plan.recipes.get(key);
        matches!(recipe, Some(Recipe::DebianConfigured { .. } | Recipe::Sdist { .. } | Recipe::ByteCode { .. }))
    };
    image.layers.iter().flat_map(|layer| &layer.fragments).any(is_step)
}
