//! Where an environment's files stand, as its containers see them.

use crate::environment::{COMPOSE_FILES, Environment};
use crate::error::Fault;
use anyhow::Result;
use std::collections::BTreeMap;

/// Places in the containers, and what is mounted there.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Name of the compose project, as compose files say it.
    pub project: String,
    /// Folder with a tree for each component.
    pub folder: String,
    /// Folder with the rendered files.
    pub state: String,
    /// Folder for what services and sessions write.
    pub data: String,
    /// Folder whose owner owns what is written.
    pub owned: String,
    /// What makes up `folder`, in compose's notation without its mode.
    pub mounts: Vec<String>,
    /// The compose files, from the folder with the dev container's file.
    pub compose: Vec<String>,
    pub exported: Option<Exported>,
}

/// What differs where a clone of a repository is all that there is.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Names that images pulled by digest get in the engine, by their references.
    pub tags: BTreeMap<String, String>,
    /// What each service runs, which can be started again without an engine.
    pub commands: BTreeMap<String, Vec<String>>,
    /// Where services listen in the container that is developed in.
    pub forward: Vec<String>,
}

/// The compose files of an exported environment; the first is committed, the others are made by its scripts.
const EXPORTED_FILES: [&str; 3] = ["compose.yaml", "compose.name.yaml", "compose.gpu.yaml"];

/// Where components' trees are in the containers of an exported environment.
const CLONES: &str = "/workspaces/backend.ai";

impl Layout {
    /// An environment of this host: paths are the same inside and outside.
    pub fn here(environment: &Environment) -> Result<Self, Fault> {
        let folder = mountable(environment)?.to_owned();
        let state = format!("{folder}/.baibox/{}", environment.id);
        Ok(Self {
            project: environment.id.to_string(),
            data: state.clone(),
            owned: folder.clone(),
            mounts: vec![format!("{folder}:{folder}")],
            compose: COMPOSE_FILES.map(|name| format!(".baibox/{}/{name}", environment.id)).into(),
            folder,
            state,
            exported: None,
        })
    }

    /// Where the files of an exported environment are in its containers.
    pub fn state_of_clone(name: &str) -> String {
        format!("{CLONES}/{name}/.devcontainer/baibox")
    }

    /// A clone of the repository that is called `name` here, with the files in its
    /// `.devcontainer/baibox`; where it is on the host does not matter.
    pub fn of_clone(name: &str, exported: Exported) -> Self {
        let folder = CLONES;
        let repository = format!("{folder}/{name}");
        Self {
            project: "${COMPOSE_PROJECT_NAME}".into(),
            folder: folder.into(),
            state: Self::state_of_clone(name),
            data: "/workspaces/data".into(),
            mounts: vec![format!("trees:{folder}"), format!("../..:{repository}")],
            owned: repository,
            compose: EXPORTED_FILES.map(|name| format!("baibox/{name}")).into(),
            exported: Some(exported),
        }
    }
}

/// The folder, which containers see at the same path: one that a mount can name.
fn mountable(environment: &Environment) -> Result<&str, Fault> {
    let refused = |why: &str| {
        Fault::usage(format!("the folder `{}` cannot be mounted: {why}", environment.folder.display()))
            .hint("name another one with `--path FOLDER`")
    };
    let folder = environment.folder.to_str().ok_or_else(|| refused("its path is not UTF-8"))?;
    // A colon ends the path in every engine's notation of a mount.
    if folder.contains(':') {
        return Err(refused("its path holds a `:`"));
    }
    if folder.contains('%') {
        return Err(refused("its path holds a `%`, which upstream's alembic takes for a name"));
    }
    if folder.chars().any(char::is_control) {
        return Err(refused("its path holds a control character"));
    }
    Ok(folder.trim_end_matches('/'))
}
