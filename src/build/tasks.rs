//! What of a plan is missing, cut into tasks, and the order they run in.

use crate::model::Digest;
use crate::plan::{Plan, Recipe};
use anyhow::{Result, bail};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

/// Recipes that are made together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Made here, from a file or from nothing.
    Make(Digest),
    /// One container runs maintainer scripts.
    Configure(Digest),
    /// One container builds source distributions on the same image.
    BuildWheels { on: Digest, recipes: Vec<Digest> },
    /// One container compiles modules with the Python of the same image.
    Compile { on: Digest, recipes: Vec<Digest> },
}

impl Task {
    fn recipes(&self) -> Vec<Digest> {
        match self {
            Self::Make(key) | Self::Configure(key) => vec![key.clone()],
            Self::BuildWheels { recipes, .. } | Self::Compile { recipes, .. } => recipes.clone(),
        }
    }
}

/// Cuts the missing recipes into tasks; what runs in a container is gathered, since
/// starting one costs more than the work.
pub fn cut(plan: &Plan, missing: &BTreeSet<Digest>) -> Vec<Task> {
    let mut tasks = Vec::new();
    let mut builds: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
    // Byte code of wheels need not wait for source distributions to be built.
    let mut compiles: BTreeMap<(bool, Digest), Vec<Digest>> = BTreeMap::new();
    for key in missing {
        match &plan.recipes[key] {
            Recipe::DebianConfigured { .. } => tasks.push(Task::Configure(key.clone())),
            Recipe::Sdist { on, .. } => builds.entry(on.clone()).or_default().push(key.clone()),
            Recipe::ByteCode { of, on } => {
                let built = matches!(plan.recipes.get(of), Some(Recipe::Sdist { .. }));
                compiles.entry((built, on.clone())).or_default().push(key.clone());
            }
            _ => tasks.push(Task::Make(key.clone())),
        }
    }
    // Everything waits for the first configure step, and that for its packages: they come first. Then what is compiled
    // beside that step.
    let first: BTreeSet<&Digest> = plan
        .recipes
        .values()
        .filter_map(|recipe| match recipe {
            Recipe::DebianConfigured { below, .. } if Plan::is_first(&plan.recipes, &recipe.key()) => {
                Some(below.iter().flatten())
            }
            _ => None,
        })
        .flatten()
        .collect();
    tasks.sort_by_key(|task| match task {
        Task::Make(key) if first.contains(key) => 0,
        Task::Make(key) if plan.recipes[key].package().is_some() => 1,
        _ => 2,
    });
    tasks.extend(builds.into_iter().map(|(on, recipes)| Task::BuildWheels { on, recipes }));
    tasks.extend(compiles.into_iter().map(|((_, on), recipes)| Task::Compile { on, recipes }));
    tasks
}

/// Runs every task as soon as what it stands on is there; the first failure ends all.
pub async fn run<F>(
    plan: &Plan,
    missing: &BTreeSet<Digest>,
    start: impl Fn(Task) -> F,
    mut ended: impl FnMut(usize),
) -> Result<()>
where
    F: Future<Output = Result<Task>>,
{
    let mut waiting = cut(plan, missing);
    let mut absent = missing.clone();
    let mut running = FuturesUnordered::new();
    loop {
        let (ready, rest): (Vec<Task>, Vec<Task>) = waiting.into_iter().partition(|task| {
            task.recipes().iter().all(|key| plan.recipes[key].depends_on().iter().all(|input| !absent.contains(input)))
        });
        waiting = rest;
        for task in ready {
            running.push(start(task));
        }
        match running.next().await {
            Some(task) => {
                let recipes = task?.recipes();
                ended(recipes.len());
                for key in recipes {
                    absent.remove(&key);
                }
            }
            None if waiting.is_empty() => return Ok(()),
            None => bail!("{} parts of the plan wait for each other", waiting.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Input;

    fn plan_of(recipes: Vec<Recipe>) -> Plan {
        Plan { recipes: recipes.into_iter().map(|recipe| (recipe.key(), recipe)).collect(), images: Vec::new() }
    }

    fn wheel(name: &str) -> Recipe {
        let input = Input { file: format!("{name}.whl"), digest: Digest::of(name.as_bytes()) };
        Recipe::Wheel { name: name.into(), version: "1".into(), input, python: "3.9".into() }
    }

    #[test]
    fn what_the_first_configure_step_stands_on_comes_first_and_then_what_is_compiled_beside_it() {
        let files = |title: &str| Recipe::Files { title: title.into(), files: BTreeMap::new() };
        let others = ["a", "b", "c", "d"].map(files);
        let below = ["x", "y", "z"].map(files);
        let configured = Recipe::DebianConfigured { below: vec![below.iter().map(Recipe::key).collect()], again: false };
        let again = Recipe::DebianConfigured {
            below: vec![others.iter().map(Recipe::key).chain([configured.key()]).collect()],
            again: true,
        };
        let recipes = [&others[..], &below, &[wheel("a"), wheel("b"), configured, again]].concat();
        let plan = plan_of(recipes);
        let missing: BTreeSet<Digest> = plan.recipes.keys().cloned().collect();
        let tasks = cut(&plan, &missing);
        let order = tasks.iter().filter_map(|task| match task {
            Task::Make(key) if below.iter().any(|one| one.key() == *key) => Some('1'),
            Task::Make(key) if others.iter().any(|one| one.key() == *key) => Some('3'),
            Task::Make(_) => Some('2'),
            _ => None,
        });
        assert_eq!(order.collect::<String>(), "111223333");
    }

    #[tokio::test]
    async fn byte_code_is_compiled_together_after_its_image_and_wheels() {
        let base = Recipe::DebianSkeleton;
        let on = base.key();
        let codes = ["a", "b"].map(|name| Recipe::ByteCode { of: wheel(name).key(), on: on.clone() });
        let plan = plan_of([vec![base, wheel("a"), wheel("b")], codes.to_vec()].concat());
        let missing: BTreeSet<Digest> = plan.recipes.keys().cloned().collect();
        let order = std::sync::Mutex::new(Vec::new());
        run(
            &plan,
            &missing,
            |task| {
                order.lock().unwrap().push(task.clone());
                async { Ok(task) }
            },
            |_| {},
        )
        .await
        .unwrap();
        let order = order.into_inner().unwrap();
        assert_eq!(order.len(), 4);
        assert!(matches!(&order[3], Task::Compile { recipes, .. } if recipes.len() == 2));
    }
}
