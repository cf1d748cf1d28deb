//! Whether this host can do what baibox needs, and what to do where it cannot.
//!
//! `look` collects facts, `judge` decides (pure), `mend` acts. Looking changes nothing.

mod apt;
mod command;
mod cuda;
mod editors;
mod facts;
mod judge;
mod look;
mod mend;
mod ports;
mod start;

pub use facts::{Answer, Engine, Facts, Limits, Space, Taken};
pub use judge::judge;
pub use look::look;
pub use mend::{deb_tree, fix, fix_with, install};

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Those of `ports` that are taken on 127.0.0.1, and by whom, as far as it can be seen;
/// `published` are those that containers hold, with what to call these.
pub fn taken_ports(ports: &BTreeSet<u16>, published: &BTreeMap<u16, String>) -> Vec<(u16, Option<String>)> {
    ports::taken(ports, published).into_iter().map(|taken| (taken.port, taken.holder)).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Fine,
    Warning,
    Fault,
}

/// What can be mended here, in the order in which it must be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fix {
    InstallGit,
    InstallEngine,
    StartEngine,
    InstallCompose,
}

/// One thing that baibox needs, and how it stands with it.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// `git`, `engine`, `init`, `health`, `context`, `storage`, `compose`, `kernel`, `limits`, `memory`, `disk` or `ports`;
    /// `gpu-driver`, `gpu-toolkit` or `gpu-runtime` when they are asked for, and `editors`.
    pub name: &'static str,
    pub state: State,
    pub detail: String,
    /// Something to type.
    pub remedy: Option<String>,
    pub fix: Option<Fix>,
}

/// Looks for what gives containers a GPU, and changes nothing.
pub async fn examine_cuda(folder: &Path) -> Vec<Finding> {
    let (facts, nvidia) = tokio::join!(look(folder), cuda::nvidia());
    cuda::judge(&facts, &nvidia)
}

/// Looks for the command that opens dev containers without an editor.
pub async fn examine_editors() -> Finding {
    editors::judge(editors::reference_cli().await)
}

/// Looks at this host for an environment in `folder`, and changes nothing.
pub async fn examine(folder: &Path) -> Vec<Finding> {
    judge(&look(folder).await)
}
