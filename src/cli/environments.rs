//! What is said to whole environments, and to see them.

use super::One;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Switch {
    /// Environment ID
    pub id: String,
}

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pub one: One,
    /// Go on, and show what changes
    #[arg(long, short)]
    pub watch: bool,
}

#[derive(Debug, Args)]
pub struct Graph {
    #[command(flatten)]
    pub one: One,
    /// How it is told
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    pub format: GraphFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GraphFormat {
    /// A line for each service, in the order of their start
    Text,
    /// For Markdown
    Mermaid,
    /// For Graphviz
    Dot,
    /// A picture
    Svg,
}

#[derive(Debug, Args)]
pub struct Open {
    /// What is opened
    #[arg(value_enum)]
    pub place: Place,
    #[command(flatten)]
    pub one: One,
    /// Only say where it is
    #[arg(long)]
    pub print: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// The web UI
    Webui,
}

#[derive(Debug, Args)]
pub struct Clone {
    /// ID of the environment that is copied; it may run
    pub id: String,
    /// ID of the copy
    pub new: String,
    /// Folder of the copy [default: beside the other one]
    #[arg(long, value_name = "FOLDER")]
    pub path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Snapshot {
    /// Name of the snapshot
    pub name: String,
    #[command(flatten)]
    pub one: One,
}

#[derive(Debug, Args)]
pub struct Snapshots {
    #[command(flatten)]
    pub one: One,
    /// Delete this one
    #[arg(long, value_name = "NAME")]
    pub delete: Option<String>,
}

#[derive(Debug, Args)]
pub struct Restore {
    /// Name of the snapshot
    pub name: String,
    #[command(flatten)]
    pub one: One,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Reset {
    #[command(flatten)]
    pub one: One,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Logs {
    #[command(flatten)]
    pub one: One,
    /// Go on printing
    #[arg(long, short)]
    pub follow: bool,
    /// Only what was said since then: 10m, 2h, 1d ago, or a time by RFC 3339
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Services, all if none is named
    pub services: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Exec {
    #[command(flatten)]
    pub one: One,
    /// Service to run in
    pub service: String,
    /// Account to run as [default: the owner of the folder where one develops, else the service's]
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Command and its arguments, after `--`
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Shell {
    #[command(flatten)]
    pub one: One,
    /// Service to open the shell in
    #[arg(default_value = "workspace")]
    pub service: String,
    /// Account to run as [default: the owner of the folder where one develops, else the service's]
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

#[derive(Debug, Args)]
pub struct Delete {
    /// Environment ID
    pub id: String,
    /// Also remove source trees with uncommitted or unpushed work
    #[arg(long)]
    pub force: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// List what would be removed, and stop
    #[arg(long)]
    pub dry_run: bool,
}
