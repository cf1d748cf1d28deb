//! The command line; a doc comment is the help text.

mod contrib;
mod cuda;

pub use contrib::{Check, Contrib, Fork, News, Start, Sync, Test, Worked};
pub use cuda::CudaChoice;

mod environments;
mod layers;

pub use environments::*;
pub use layers::*;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Development environments for Backend.AI: from a release branch to a running stack.
#[derive(Debug, Parser)]
#[command(name = "baibox", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// Print data as JSON on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Say only what went wrong
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Fetch nothing: what is in the store must do, and what is missing is named
    #[arg(long, global = true)]
    pub offline: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an environment of a release branch, start it and prove it with hello world
    Up(Up),
    /// Print the exact packages of a release or an environment, or choose some of them anew
    Lock(Lock),
    /// Make the images of an environment, also of a new one, and give the engine those that it lacks
    Build(Build),
    /// Run hello world in a compute session; exit code 0 only if it ran
    Verify(One),
    /// List all environments
    Ls,
    /// Show the services of an environment
    Status(Status),
    /// Show what each container takes of processor and memory
    Top(Status),
    /// Show what environments take on disk, each by itself and together
    Df,
    /// Draw the compose graph with health, ports and volumes
    Graph(Graph),
    /// Say where the web UI is and who can log in, and open it in a browser
    Open(Open),
    /// Print what the services say
    Logs(Logs),
    /// Run a command in a service
    Exec(Exec),
    /// Open a shell in a service
    Shell(Shell),
    /// Stop an environment; its data stays
    Stop(One),
    /// Start a stopped environment and wait until it is healthy
    Start(One),
    /// Stop the environments that run, and start this one
    Switch(Switch),
    /// Copy an environment with its trees and its state
    Clone(Clone),
    /// Keep database, etcd and virtual folders as they are now, under a name
    Snapshot(Snapshot),
    /// List the snapshots of an environment, or delete one
    Snapshots(Snapshots),
    /// Go back to a snapshot; a failure leaves all as it is
    Restore(Restore),
    /// Begin with a fresh database; sources, images and snapshots stay
    Reset(Reset),
    /// Restart services, so that they see changed sources
    Restart(Services),
    /// Restart one service under the debugger, on a local port
    Debug(Debug),
    /// Print what `up` would make, and stop
    Plan(PlanOf),
    /// Write compose file and configurations of an environment again
    Render(One),
    /// Take the layers of an environment or a release from a registry, so that nothing need be made
    Pull(Pull),
    /// Send the images of an environment to a registry; only what it lacks
    Push(Push),
    /// Dev containers that work without baibox
    #[command(subcommand)]
    Devcontainer(Devcontainer),
    /// Fetch, and move clean trees on to upstream's newest commits; say which images change
    Sync(Sync),
    /// The way to a pull request: branch, checks, news and tests by upstream's rules
    #[command(subcommand)]
    Contrib(Contrib),
    /// Run tests of components in a throw-away environment
    Ci(Ci),
    /// Make the environment of a CI run again, and say whether its images are bit-equal
    Repro(Repro),
    #[command(hide = true)]
    Guard(Guard),
    #[command(hide = true)]
    Rebuild(Rebuild),
    #[command(hide = true)]
    Step(Step),
    /// Check this host, and with --fix install and start what is missing
    Doctor(Doctor),
    /// Show why an image is as it is, or which faults of upstream are cured
    Explain(Explain),
    /// Print the bill of materials of an image
    Sbom(Sbom),
    /// Remove from the store what no environment stands on
    Prune(Prune),
    /// Remove an environment: containers, volumes, networks, images, and its folder
    Delete(Delete),
    /// List the release branches that baibox knows, and how far each was seen to work
    Releases(Releases),
    /// Compare two releases, environments or images
    Diff(Diff),
    /// Print a completion script for a shell
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
}

/// The environment that a command is for.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub struct One {
    /// Environment ID; the one of the current folder if not given
    #[arg(long, value_name = "ID")]
    pub env: Option<String>,
}

#[derive(Debug, Args)]
pub struct Build {
    #[command(flatten)]
    pub request: Request,
    /// Use exactly what the lock says, or fail naming what is gone
    #[arg(long)]
    pub locked: bool,
    /// Make the images a second time in a store of their own, and say whether they are the same
    #[arg(long)]
    pub check: bool,
    /// Write the images there, and give the engine none: oci:FOLDER, oci-archive:FILE or docker-archive:FILE
    #[arg(long, value_name = "FORM:PATH")]
    pub output: Vec<String>,
    /// For these platforms, such as linux/amd64,linux/arm64; what must run is run by the engine's emulation [default: the engine's own]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',', requires = "output", conflicts_with = "check")]
    pub platform: Vec<String>,
    /// Make and write only this image [default: all]
    #[arg(long, value_name = "IMAGE", requires = "output")]
    pub image: Vec<String>,
    /// Say for each layer whether it is reused, assembled or built, and why
    #[arg(long, short)]
    pub verbose: bool,
}

#[derive(Debug, Args)]
pub struct Explain {
    #[command(flatten)]
    pub one: One,
    /// Image, such as manager [default: the cures of the release]
    pub image: Option<String>,
    /// List all fragments of a layer
    #[arg(long, short)]
    pub verbose: bool,
}

#[derive(Debug, Args)]
pub struct PlanOf {
    #[command(flatten)]
    pub up: Up,
    /// Plan images for this platform, such as linux/arm64 [default: the engine's own]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
}

/// Which environment is meant; a new one, if none is there.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub struct Request {
    /// Release branch, such as 21.03
    #[arg(long, short)]
    pub branch: Option<String>,
    #[command(flatten)]
    pub one: One,
    /// Folder of a new environment [default: ./ID]
    #[arg(long, value_name = "FOLDER")]
    pub path: Option<PathBuf>,
    /// Take this component of another release, such as agent=20.09; a new environment only
    #[arg(long, value_name = "COMPONENT=BRANCH")]
    pub component: Vec<String>,
    #[command(flatten)]
    pub sources: Sources,
    /// Python of the images: `debian`, `standalone`, or a version of a standalone build such as 3.11.6; a new environment only
    #[arg(long, value_name = "PYTHON")]
    pub python: Option<String>,
    /// Stand the images on this image of a registry, such as python:3.9-slim-bullseye; `none`: on Debian's packages alone
    #[arg(long, value_name = "REFERENCE")]
    pub base: Option<String>,
    /// Give the agent the release's CUDA plug-in: `gpu`, `mock` with devices that are made up, or `off`
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "gpu", value_name = "KIND")]
    pub cuda: Option<CudaChoice>,
    /// Take this branch of the CUDA plug-in
    #[arg(long, value_name = "BRANCH", requires = "cuda")]
    pub cuda_branch: Option<String>,
}

#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    pub request: Request,
    /// Install and start what the host lacks, without asking
    #[arg(long)]
    pub fix: bool,
    /// Print the plan and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Use exactly what the lock says, or fail naming what is gone
    #[arg(long)]
    pub locked: bool,
    /// Take layers from this registry where it has them
    #[arg(long, value_name = "REGISTRY/PREFIX")]
    pub cache: Option<String>,
    /// Do not run hello world at the end
    #[arg(long)]
    pub no_verify: bool,
    /// Go on: restart services when the sources that they run are saved
    #[arg(long)]
    pub watch: bool,
    /// What a plan is for.
    #[arg(skip)]
    pub platform: Option<String>,
}

/// Which source trees, and where they come from.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub struct Sources {
    /// Where component sources come from
    #[arg(long, value_enum, default_value_t = SourceChoice::Auto)]
    pub source: SourceChoice,
    /// Base URL that component repositories are cloned from; `file://` works
    #[arg(long, value_name = "URL")]
    pub git_base: Option<String>,
    /// Clone this component's repository from here
    #[arg(long, value_name = "COMPONENT=URL")]
    pub url: Vec<String>,
    /// Take this branch, tag or commit of a component, in the place of the release's branch
    #[arg(long = "ref", value_name = "COMPONENT=REF")]
    pub reference: Vec<String>,
    /// Take this branch of the client
    #[arg(long, value_name = "BRANCH")]
    pub client_branch: Option<String>,
    /// Make `origin` the fork of this account, and the project's own repository `upstream`
    #[arg(long, value_name = "USER")]
    pub fork: Option<String>,
    /// Clone the newest commits alone, and share nothing with other environments
    #[arg(long)]
    pub shallow: bool,
    /// Also bring the source tree of an optional component, such as accelerator-cuda
    #[arg(long, value_name = "COMPONENT")]
    pub with: Vec<String>,
    /// Take this tree, with its uncommitted changes, for a component; it is copied
    #[arg(long, value_name = "COMPONENT=FOLDER")]
    pub tree: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum Devcontainer {
    /// Write a `.devcontainer` that can be committed: pushed images, and each tree at its commit
    Export(Export),
    /// Write a dev container Template of every release: its container has baibox
    Template(Template),
}

#[derive(Debug, Args)]
pub struct Template {
    /// Folder that gets `src/backend.ai-BRANCH`, as packaging tools ask
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Where the Feature `baibox` is published
    #[arg(long, value_name = "REFERENCE", default_value = crate::render::FEATURE)]
    pub feature: String,
}

#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    pub one: One,
    /// Working tree of the repository that gets the `.devcontainer`
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Where the environment's images were pushed to
    #[arg(long, value_name = "REGISTRY/PREFIX")]
    pub registry: String,
    /// Component that the repository is of, or `none` [default: told by its project name]
    #[arg(long, value_name = "COMPONENT")]
    pub component: Option<String>,
    /// Speak HTTP without TLS, also to another machine
    #[arg(long)]
    pub plain_http: bool,
}

#[derive(Debug, Args)]
pub struct Ci {
    /// Release branch, such as 21.03
    #[arg(long, short)]
    pub branch: String,
    /// Components whose tests run
    #[arg(long, value_name = "COMPONENT", required = true, value_delimiter = ',')]
    pub component: Vec<String>,
    #[command(flatten)]
    pub sources: Sources,
    /// Start the whole stack, and also run tests that ask for it
    #[arg(long)]
    pub full: bool,
    /// Resolve Python packages anew where a tree requires what the lock does not meet
    #[arg(long)]
    pub unlocked: bool,
    /// Take layers from this registry where it has them
    #[arg(long, value_name = "REGISTRY/PREFIX")]
    pub cache: Option<String>,
    /// Where the JUnit report goes, besides the output folder
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Folder for report, result, summary, logs and evidence
    #[arg(long, value_name = "FOLDER", default_value = "baibox-ci")]
    pub output: PathBuf,
    /// Minutes after which the run is given up
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    pub limit: u64,
    /// Count failures that are known to be upstream's too
    #[arg(long)]
    pub strict: bool,
    /// Leave the environment there
    #[arg(long)]
    pub keep: bool,
    /// Arguments for pytest, after `--`
    #[arg(last = true)]
    pub pytest: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Repro {
    /// `result.json` of a CI run
    pub file: PathBuf,
    /// ID of the environment that is made
    #[arg(long, value_name = "ID")]
    pub env: Option<String>,
    /// Its folder [default: ./ID]
    #[arg(long, value_name = "FOLDER")]
    pub path: Option<PathBuf>,
    /// Base URL to clone from, in the place of the recorded one
    #[arg(long, value_name = "URL")]
    pub git_base: Option<String>,
}

#[derive(Debug, Args)]
pub struct Rebuild {
    /// Environment whose images are made in this process's store
    pub id: String,
    /// Its folder
    pub folder: PathBuf,
    /// Images that are made [default: all]
    pub images: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Step {
    /// `run`, `remove`, `unpack` or `pack`
    pub verb: String,
    /// What it is done with
    pub paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Guard {
    /// Environment that goes when standard input ends
    pub id: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SourceChoice {
    #[default]
    /// git, or PyPI's source distributions where git hosts cannot be reached
    Auto,
    /// git repositories
    Git,
    /// Source distributions from PyPI
    Pypi,
}

#[derive(Debug, Args)]
pub struct Sbom {
    #[command(flatten)]
    pub one: One,
    /// Image, such as manager
    pub image: String,
    /// SPDX 2.3 or CycloneDX 1.5, as JSON
    #[arg(long, value_enum, default_value_t = SbomForm::Spdx)]
    pub format: SbomForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SbomForm {
    Spdx,
    Cyclonedx,
}

#[derive(Debug, Args)]
pub struct Prune {
    /// Only what was not used for so long, such as 12h or 30d
    #[arg(long, value_name = "AGE", value_parser = crate::ui::parse_age)]
    pub older_than: Option<std::time::Duration>,
    /// Only as much as the store is larger than this, such as 10GB; the oldest first
    #[arg(long, value_name = "SIZE", value_parser = crate::ui::parse_size)]
    pub larger_than: Option<u64>,
    /// Also images of the engine that nobody is seen to need any more
    #[arg(long)]
    pub images: bool,
    /// Say what would go, and stop
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Releases {
    /// Releases to tell more of, or to verify
    #[arg(value_name = "BRANCH")]
    pub branches: Vec<String>,
    /// Make an environment of each and run hello world in it; needs `BAIBOX_IMAGES`, where the outcome is written
    #[arg(long)]
    pub verify: bool,
    /// Verify with this component of another release, such as agent=20.09
    #[arg(long, value_name = "COMPONENT=BRANCH", requires = "verify")]
    pub component: Vec<String>,
    /// Verify with this Python, as `up` takes it
    #[arg(long, value_name = "PYTHON", requires = "verify")]
    pub python: Option<String>,
    #[command(flatten)]
    pub sources: Sources,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// Release branch, environment ID, or one of its images: ID/IMAGE
    pub from: String,
    /// The same of the other side
    pub to: String,
}

#[derive(Debug, Args)]
pub struct Services {
    #[command(flatten)]
    pub one: One,
    /// Services, all components if none is named
    pub services: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Debug {
    #[command(flatten)]
    pub one: One,
    /// Service to debug, such as manager; with --off, all if none is named
    #[arg(required_unless_present = "off")]
    pub service: Option<String>,
    /// Let the service wait for the debugger before its first line
    #[arg(long, conflicts_with = "off")]
    pub wait: bool,
    /// Run it without the debugger again
    #[arg(long)]
    pub off: bool,
}

#[derive(Debug, Args)]
pub struct Doctor {
    /// Install and start what is missing, without asking
    #[arg(long)]
    pub fix: bool,
    /// Install what is missing and start nothing, as in an image that is being built
    #[arg(long, conflicts_with = "fix")]
    pub install: bool,
    /// Also check what gives containers an NVIDIA GPU
    #[arg(long)]
    pub cuda: bool,
}
