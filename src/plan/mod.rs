//! What is to be made: a pure function's value that prints. No clock, no files, no network.
//!
//! A [`Recipe`] says how one fragment comes from its inputs; the digest of the
//! recipe is its key, so a plan knows what is there before anything is made.

mod changed;
mod images;

pub use images::{DEVELOPER, DEVELOPER_ID, plan};

use crate::debian::{LockedDeb, Options, configure};
use crate::model::Digest;
use crate::oci::Settings;
use crate::python::editable::Metadata;
use crate::python::{self, Interpreter};
use crate::release::BaseLayer;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Raised when the code that makes fragments changes what it makes.
const RECIPE_VERSION: u32 = 10;

/// A file that is fetched: name, size and digest; where from is the host's business.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Input {
    /// File name in messages.
    pub file: String,
    pub digest: Digest,
}

/// How one fragment is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "make")]
pub enum Recipe {
    /// Links and folders that the packages of a Debian suite stand on.
    DebianSkeleton,
    /// Accounts and name services for images of packages that are never configured.
    DebianBase,
    /// A layer of an image that ours stand on, as its registry has it: the whole of a layer here, too.
    BaseLayer {
        layer: BaseLayer,
        /// The image's reference, which is no part of what the layer is.
        #[serde(skip)]
        from: String,
    },
    /// What the layers of such an image left of accounts and of packages; in no image.
    BaseRecord { layers: Vec<Digest> },
    /// One .deb, unpacked.
    Deb { deb: LockedDeb, options: Options },
    /// dpkg's record of unpacked packages, by their keys, on top of what a configure step left.
    DebianDatabase { packages: Vec<Digest>, below: Option<Digest> },
    /// Packages that are unpacked and not configured, for steps that need no more; in no image, and empty.
    Unpacked { layers: Vec<Vec<Digest>> },
    /// What the maintainer scripts changed on the fragments below, in order.
    DebianConfigured { below: Vec<Vec<Digest>>, again: bool },
    /// One wheel, installed.
    Wheel { name: String, version: String, input: Input, python: String },
    /// One source distribution, built to a wheel on configured packages and installed.
    Sdist { name: String, version: String, input: Input, python: String, builders: Vec<Input>, on: Digest },
    /// Byte code of another fragment's modules, compiled by the Python of packages that need only be unpacked.
    ByteCode { of: Digest, on: Digest },
    /// Removes a package of the layers below, but for what packages that stay have, too.
    Without { package: Digest, stay: Vec<Digest>, python: String },
    /// The frame of the virtual environment. Debian's interpreter is not told: so it was always meant.
    VirtualEnvironment {
        python: String,
        #[serde(default, skip_serializing_if = "Interpreter::is_debian")]
        interpreter: Interpreter,
    },
    /// A build of CPython that is whole in itself, on configured packages that have none.
    Cpython { version: String, input: Input, on: Digest },
    /// A link to a component's mounted source tree.
    Link { component: String, metadata: Metadata, python: String },
    /// An account beside those that configured packages left, the topmost of which comes first.
    Account { name: String, id: u32, below: Vec<Digest> },
    /// Files whose content is in the plan.
    Files { title: String, files: BTreeMap<String, PlannedFile> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFile {
    pub mode: u32,
    pub content: String,
}

impl Recipe {
    pub fn key(&self) -> Digest {
        Digest::of_value(&(RECIPE_VERSION, self, self.program()))
    }
    /// The digest of baibox's own program that its step runs, whose text tells in what it makes.
    fn program(&self) -> Option<&'static Digest> {
        static COMPILE: LazyLock<Digest> = LazyLock::new(|| Digest::of(python::COMPILE.as_bytes()));
        static BUILD_WHEELS: LazyLock<Digest> = LazyLock::new(|| Digest::of(python::BUILD_WHEELS.as_bytes()));
        static CONFIGURE: LazyLock<Digest> = LazyLock::new(|| Digest::of(configure::script().as_bytes()));
        static CONFIGURE_ON_TOP: LazyLock<Digest> = LazyLock::new(|| Digest::of(configure::script_on_top().as_bytes()));
        match self {
            Self::ByteCode { .. } => Some(&COMPILE),
            Self::Sdist { .. } => Some(&BUILD_WHEELS),
            Self::DebianConfigured { again: false, .. } => Some(&CONFIGURE),
            Self::DebianConfigured { again: true, .. } => Some(&CONFIGURE_ON_TOP),
            _ => None,
        }
    }
    /// Recipes whose fragments must be there before: what runs on an image needs all of it.
    pub fn depends_on(&self) -> Vec<Digest> {
        match self {
            Self::DebianConfigured { below: layers, .. } | Self::Unpacked { layers } => layers.concat(),
            Self::BaseRecord { layers } => layers.clone(),
            Self::Sdist { on, .. } | Self::Cpython { on, .. } => vec![on.clone()],
            Self::ByteCode { of, on } => vec![on.clone(), of.clone()],
            Self::DebianDatabase { packages, below } => packages.iter().chain(below).cloned().collect(),
            Self::Account { below, .. } => below.clone(),
            Self::Without { package, stay, .. } => std::iter::once(package).chain(stay).cloned().collect(),
            _ => Vec::new(),
        }
    }
    /// Whether it says nothing by itself: it follows from what it depends on.
    pub fn follows(&self) -> bool {
        matches!(
            self,
            Self::ByteCode { .. }
                | Self::DebianConfigured { .. }
                | Self::Unpacked { .. }
                | Self::BaseRecord { .. }
                | Self::DebianDatabase { .. }
                | Self::Account { .. }
                | Self::Without { .. }
        )
    }
    /// The Python package that it installs.
    pub fn package(&self) -> Option<&str> {
        match self {
            Self::Wheel { name, .. } | Self::Sdist { name, .. } => Some(name),
            _ => None,
        }
    }
    /// The downloaded files that it is made of.
    pub fn inputs(&self) -> Vec<Input> {
        match self {
            Self::Deb { deb, .. } => {
                let file = deb.file.rsplit('/').next().unwrap_or(&deb.file);
                vec![Input { file: file.to_owned(), digest: deb.sha256.clone() }]
            }
            Self::BaseLayer { layer, from } => {
                vec![Input { file: format!("layer {} of {from}", layer.digest.short()), digest: layer.digest.clone() }]
            }
            Self::Wheel { input, .. } | Self::Cpython { input, .. } => vec![input.clone()],
            Self::Sdist { input, builders, .. } => std::iter::once(input).chain(builders).cloned().collect(),
            _ => Vec::new(),
        }
    }
    /// The package that it is, or whose byte code it is.
    fn of<'a>(&'a self, key: &'a Digest) -> &'a Digest {
        if let Self::ByteCode { of, .. } = self { of } else { key }
    }
    /// The name of the fragment for people.
    pub fn title(&self) -> String {
        match self {
            Self::DebianSkeleton => "debian skeleton".into(),
            Self::DebianBase => "accounts".into(),
            Self::BaseLayer { layer, .. } => format!("layer {} of the base", layer.digest.short()),
            Self::BaseRecord { .. } => "record of the base".into(),
            Self::Deb { deb, .. } => format!("{} {}", deb.name, deb.version),
            Self::Wheel { name, version, .. } | Self::Sdist { name, version, .. } => format!("{name} {version}"),
            Self::DebianDatabase { packages, .. } => format!("dpkg database of {} packages", packages.len()),
            Self::DebianConfigured { .. } => "configured packages".into(),
            Self::Unpacked { .. } => "unpacked packages".into(),
            Self::ByteCode { .. } => "byte code".into(),
            Self::Without { .. } => "removal".into(),
            Self::VirtualEnvironment { python, .. } => format!("virtual environment for Python {python}"),
            Self::Cpython { version, .. } => format!("CPython {version}"),
            Self::Link { component, .. } => format!("link to {component}"),
            Self::Account { name, .. } => format!("account {name}"),
            Self::Files { title, .. } => title.clone(),
        }
    }
}

/// Where in an image a fragment goes: stable and shared things below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rank {
    /// A layer of an image of a registry, by its place in that.
    Base(usize),
    Packages,
    Configured,
    Interpreter,
    MorePackages,
    MoreConfigured,
    /// Python packages of which each is a layer of its own: other releases have the same, and it stays where others change.
    LargeWheels,
    Wheels,
    /// Python packages that changed since the layers below were cut.
    Changed,
    Links,
    Files,
}

impl Rank {
    fn title(self) -> &'static str {
        match self {
            Self::Base(_) => "base",
            Self::Packages => "Debian packages",
            Self::Configured => "configured packages",
            Self::Interpreter => "CPython",
            Self::MorePackages => "more Debian packages",
            Self::MoreConfigured => "more configured packages",
            Self::LargeWheels | Self::Wheels => "Python packages",
            Self::Changed => "changed Python packages",
            Self::Links => "links to sources",
            Self::Files => "files",
        }
    }
    /// Engines know a layer by all below it too, so what fewer images have never comes below what more have.
    fn level(self) -> Self {
        if self == Self::LargeWheels { Self::Wheels } else { self }
    }
    /// Small things that change often. Where they begin, an image stands on what no other has, so engines
    /// unpack them for each image alone, layer by layer: one layer takes the least time.
    fn is_topmost(self) -> bool {
        self >= Self::Changed
    }
}

/// One fragment of an image; its key is computed once.
#[derive(Clone, Debug)]
pub struct Part {
    pub rank: Rank,
    pub key: Digest,
    pub recipe: Recipe,
}

impl Part {
    pub fn new(rank: Rank, recipe: Recipe) -> Self {
        Self { rank, key: recipe.key(), recipe }
    }
}

/// What one image is asked to hold, before layers are cut.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub name: String,
    pub parts: Vec<Part>,
    pub settings: Settings,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerPlan {
    pub title: String,
    /// Keys of recipes, in order.
    pub fragments: Vec<Digest>,
    /// What it is in registries, if it came from one as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<BaseLayer>,
}

impl LayerPlan {
    pub fn key(&self) -> Digest {
        Digest::of_value(&self.fragments)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePlan {
    pub name: String,
    pub reference: String,
    pub layers: Vec<LayerPlan>,
    pub settings: Settings,
}

/// All images of one environment and every recipe they stand on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub recipes: BTreeMap<Digest, Recipe>,
    pub images: Vec<ImagePlan>,
}

impl Plan {
    /// Cuts layers: fragments of one rank that are used by the same images share a
    /// layer, the most used below; large packages have one each; the topmost ranks of an image are one layer.
    pub fn new(prefix: &str, wanted: Vec<Wanted>) -> Self {
        let mut plan = Self::default();
        let mut users: BTreeMap<(Rank, Digest), BTreeSet<usize>> = BTreeMap::new();
        let mut order: BTreeMap<(Rank, Digest), usize> = BTreeMap::new();
        for (index, image) in wanted.iter().enumerate() {
            for Part { rank, key, recipe } in &image.parts {
                let next = order.len();
                order.entry((*rank, key.clone())).or_insert(next);
                users.entry((*rank, key.clone())).or_default().insert(index);
                plan.recipes.entry(key.clone()).or_insert_with(|| recipe.clone());
            }
        }
        // By rank, images that use it and package that is alone: what goes in a layer, with its place there.
        let mut layers = BTreeMap::<(Rank, BTreeSet<usize>, Option<Digest>), Vec<_>>::new();
        for ((rank, key), set) in users {
            let alone = (rank == Rank::LargeWheels).then(|| plan.recipes[&key].of(&key).clone());
            let place = (rank, order[&(rank, key.clone())], key);
            if rank.is_topmost() {
                for image in set {
                    layers.entry((Rank::Changed, [image].into(), None)).or_default().push(place.clone());
                }
            } else {
                layers.entry((rank, set, alone)).or_default().push(place);
            }
        }
        for fragments in layers.values_mut() {
            fragments.sort();
        }
        for (index, image) in wanted.into_iter().enumerate() {
            let mut mine: Vec<_> = layers.iter().filter(|((_, set, _), _)| set.contains(&index)).collect();
            mine.sort_by_key(|((rank, set, _), fragments)| {
                (rank.level(), std::cmp::Reverse(set.len()), set.clone(), *rank, &fragments[0])
            });
            let layers: Vec<LayerPlan> = mine
                .into_iter()
                .map(|((_, set, alone), fragments)| {
                    let ranks: BTreeSet<Rank> = fragments.iter().map(|(rank, ..)| *rank).collect();
                    let titles: Vec<String> = match alone {
                        Some(package) => vec![plan.recipes[package].title()],
                        None => ranks.into_iter().map(|rank| rank.title().to_owned()).collect(),
                    };
                    let title = format!("{} ({} for {} images)", titles.join(", "), fragments.len(), set.len());
                    let fragments: Vec<Digest> = fragments.iter().map(|(.., key)| key.clone()).collect();
                    let blob = match fragments.first().map(|key| &plan.recipes[key]) {
                        Some(Recipe::BaseLayer { layer, .. }) => Some(layer.clone()),
                        _ => None,
                    };
                    LayerPlan { title, fragments, blob }
                })
                .collect();
            let keys: Vec<Digest> = layers.iter().map(LayerPlan::key).collect();
            let tag = Digest::of_value(&(keys, &image.settings));
            plan.images.push(ImagePlan {
                reference: format!("{prefix}/{}:{}", image.name, tag.short()),
                name: image.name,
                layers,
                settings: image.settings,
            });
        }
        plan
    }

    /// The layers of a base: what was unpacked; or what a configure step stood on, what it changed, and an interpreter on that.
    pub fn base(recipes: &BTreeMap<Digest, Recipe>, on: &Digest) -> Option<Vec<Vec<Digest>>> {
        match recipes.get(on) {
            Some(Recipe::Unpacked { layers }) => Some(layers.clone()),
            Some(Recipe::DebianConfigured { below, .. }) => Some(below.iter().cloned().chain([vec![on.clone()]]).collect()),
            Some(Recipe::Cpython { on: below, .. }) => {
                Some(Self::base(recipes, below)?.into_iter().chain([vec![on.clone()]]).collect())
            }
            _ => None,
        }
    }

    /// The interpreter of a base, which steps on it run.
    pub fn interpreter(recipes: &BTreeMap<Digest, Recipe>, on: &Digest) -> Option<Interpreter> {
        match recipes.get(on) {
            Some(Recipe::DebianConfigured { below: layers, .. } | Recipe::Unpacked { layers }) => {
                let lowest = layers.first().and_then(|keys| recipes.get(keys.first()?));
                let of_image = matches!(lowest, Some(Recipe::BaseLayer { .. }));
                Some(if of_image { Interpreter::of_image() } else { Interpreter::debian() })
            }
            Some(Recipe::Cpython { .. }) => Some(Interpreter::standalone()),
            _ => None,
        }
    }

    /// Whether packages are configured here that stand on no other configured ones.
    pub fn is_first(recipes: &BTreeMap<Digest, Recipe>, key: &Digest) -> bool {
        let configured = |key: &Digest| matches!(recipes.get(key), Some(Recipe::DebianConfigured { .. }));
        matches!(recipes.get(key), Some(Recipe::DebianConfigured { below, .. }) if !below.iter().flatten().any(configured))
    }

    /// The name of a recipe's fragment; byte code and removals are those of something.
    pub fn title(&self, key: &Digest) -> String {
        match &self.recipes[key] {
            Recipe::ByteCode { of, .. } => format!("byte code of {}", self.recipes[of].title()),
            Recipe::Without { package, .. } => format!("removal of {}", self.recipes[package].title()),
            recipe => recipe.title(),
        }
    }

    /// Recipes that must be made again when one of these changes, without these.
    pub fn dependents(&self, keys: &[Digest]) -> BTreeSet<Digest> {
        let mut found = BTreeSet::new();
        let mut changed: Vec<&Digest> = keys.iter().collect();
        while let Some(key) = changed.pop() {
            let above = self.recipes.iter().filter(|(_, recipe)| recipe.depends_on().contains(key));
            for (key, _) in above {
                if found.insert(key.clone()) {
                    changed.push(key);
                }
            }
        }
        found.retain(|key| !keys.contains(key));
        found
    }

    /// The images that have this layer.
    pub fn users(&self, layer: &LayerPlan) -> Vec<&ImagePlan> {
        self.images.iter().filter(|image| image.layers.iter().any(|other| other.fragments == layer.fragments)).collect()
    }

    pub fn image(&self, name: &str) -> Option<&ImagePlan> {
        self.images.iter().find(|image| image.name == name)
    }

    /// The text of `--dry-run`.
    pub fn print(&self, made: impl Fn(&Digest) -> bool) -> String {
        let mut lines = Vec::new();
        for image in &self.images {
            lines.push(image.reference.clone());
            for layer in &image.layers {
                let missing: Vec<String> =
                    layer.fragments.iter().filter(|key| !made(key)).map(|key| self.recipes[key].title()).collect();
                let reason = match missing.as_slice() {
                    [] => "reuse".to_owned(),
                    [one] => format!("make: {one} is new"),
                    [one, rest @ ..] => format!("make: {one} and {} more are new", rest.len()),
                };
                lines.push(format!("  {:<44} {reason}", layer.title));
            }
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(title: &str) -> Recipe {
        Recipe::Files { title: title.into(), files: BTreeMap::new() }
    }

    fn wanted(name: &str, titles: &[&str]) -> Wanted {
        let parts = titles.iter().map(|title| Part::new(Rank::Wheels, files(title))).collect();
        Wanted { name: name.into(), parts, settings: Settings::default() }
    }

    #[test]
    fn fragments_used_by_the_same_images_share_a_layer_and_the_most_shared_is_lowest() {
        let plan = Plan::new("x", vec![wanted("a", &["own", "all", "two"]), wanted("b", &["all", "two"]), wanted("c", &["all"])]);
        let titles = |index: usize| -> Vec<String> {
            plan.images[index].layers.iter().flat_map(|layer| &layer.fragments).map(|key| plan.recipes[key].title()).collect()
        };
        assert_eq!(titles(0), ["all", "two", "own"]);
        assert_eq!(plan.images[0].layers[0], plan.images[2].layers[0]);
        assert_eq!(plan.images[0].layers[1], plan.images[1].layers[1]);
    }

    #[test]
    fn a_large_package_is_a_layer_of_its_own_with_its_byte_code_below_others_of_the_same_images() {
        let part = |rank, title| Part::new(rank, files(title));
        let (large, base) = (part(Rank::LargeWheels, "large"), Digest::of(b"base"));
        let code = Part::new(Rank::LargeWheels, Recipe::ByteCode { of: large.key.clone(), on: base });
        let image = |name: &str, parts: &[&Part]| {
            let parts = parts.iter().map(|part| (*part).clone()).collect();
            Wanted { name: name.into(), parts, settings: Settings::default() }
        };
        let (other, small, own) = (part(Rank::LargeWheels, "other"), part(Rank::Wheels, "small"), part(Rank::LargeWheels, "own"));
        let wanted = vec![image("a", &[&small, &own, &large, &code, &other]), image("b", &[&large, &code, &other, &small])];
        let plan = Plan::new("x", wanted);
        let titles = |index: usize| plan.images[index].layers.iter().map(|layer| layer.title.as_str()).collect::<Vec<_>>();
        let both = ["large (2 for 2 images)", "other (1 for 2 images)", "Python packages (1 for 2 images)"];
        assert_eq!(titles(0), [&both[..], &["own (1 for 1 images)"]].concat());
        assert_eq!(titles(1), both);
    }

    #[test]
    fn what_is_on_top_is_one_layer_of_each_image() {
        let parts = |link: &str| {
            let ranks = [(Rank::Files, "files"), (Rank::Links, link), (Rank::Changed, "changed"), (Rank::Wheels, "wheels")];
            ranks.map(|(rank, title)| Part::new(rank, files(title))).to_vec()
        };
        let wanted = ["a", "b"].map(|name| Wanted { name: name.into(), parts: parts(name), settings: Settings::default() });
        let plan = Plan::new("x", wanted.to_vec());
        for image in &plan.images {
            let titles: Vec<_> = image.layers.iter().map(|layer| layer.title.as_str()).collect();
            let top = "changed Python packages, links to sources, files (3 for 1 images)";
            assert_eq!(titles, ["Python packages (1 for 2 images)", top]);
            let inside: Vec<_> = image.layers[1].fragments.iter().map(|key| plan.recipes[key].title()).collect();
            assert_eq!(inside, ["changed", &image.name, "files"]);
        }
    }

    #[test]
    fn a_tag_changes_with_the_content_and_with_nothing_else() {
        let tag = |titles: &[&str]| Plan::new("x", vec![wanted("a", titles)]).images[0].reference.clone();
        assert_eq!(tag(&["one"]), tag(&["one"]));
        assert_ne!(tag(&["one"]), tag(&["two"]));
    }
}
