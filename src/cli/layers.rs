//! What is said to locks, and to layers in registries.

use super::{One, Sources};
use clap::Args;

#[derive(Debug, Args)]
pub struct Push {
    #[command(flatten)]
    pub one: One,
    /// Where to: a registry and a path in it
    #[arg(value_name = "REGISTRY/PREFIX")]
    pub place: String,
    /// Speak HTTP without TLS, also to another machine
    #[arg(long)]
    pub plain_http: bool,
    /// For these platforms, such as linux/amd64,linux/arm64, under one tag [default: the engine's own]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub platform: Vec<String>,
    /// Make and send only this image [default: all]
    #[arg(long, value_name = "IMAGE")]
    pub image: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Pull {
    /// Release branch that an environment is to be made of, such as 21.03; without it, an environment's layers
    #[arg(long, short, conflicts_with = "env")]
    pub branch: Option<String>,
    #[command(flatten)]
    pub one: One,
    /// Where from: a registry and a path in it
    #[arg(value_name = "REGISTRY/PREFIX")]
    pub place: String,
    /// Speak HTTP without TLS, also to another machine
    #[arg(long)]
    pub plain_http: bool,
    #[command(flatten)]
    pub sources: Sources,
}

#[derive(Debug, Args)]
pub struct Lock {
    /// Release branch, such as 21.03; without it, the lock of an environment
    #[arg(long, short, conflicts_with = "env")]
    pub branch: Option<String>,
    #[command(flatten)]
    pub one: One,
    /// Choose these packages anew, and what their new versions force: names, Python's also with bounds as in `aiohttp<3.8`;
    /// `debian` or `python` for all of a kind, `cpython` for the standalone build, `base` for the image below [default: debian]
    #[arg(long, num_args = 0.., value_name = "NAME")]
    pub update: Option<Vec<String>>,
    /// Stand the images on this image of a registry, such as python:3.9-slim-bullseye; `none`: on Debian's packages alone
    #[arg(long, value_name = "REFERENCE", conflicts_with_all = ["update", "platform"])]
    pub base: Option<String>,
    /// The Python packages
    #[arg(long)]
    pub python: bool,
    /// An environment's lock for this platform, such as linux/arm64; with `--update` its packages are chosen anew
    #[arg(long, value_name = "PLATFORM", conflicts_with = "branch")]
    pub platform: Option<String>,
    /// Take what was published up to this day, in the place of the lock's cut-off
    #[arg(long, value_name = "YYYY-MM-DD", requires = "update")]
    pub as_of: Option<String>,
    /// Print what would change, and change nothing
    #[arg(long, requires = "update")]
    pub dry_run: bool,
    #[command(flatten)]
    pub sources: Sources,
}
