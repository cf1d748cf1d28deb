//! A `.devcontainer` for a repository: with it and a registry, a clone is all that is needed.

use super::{Context, build};
use crate::cli::Export;
use crate::environment::Environment;
use crate::error::Fault;
use crate::model::Digest;
use crate::registry::{self, Place, Registry};
use crate::release::{Component, ImageData, Release};
use crate::render::{self, Exported, Layout, WORKSPACE};
use crate::source;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

pub async fn run(context: &Context, options: &Export) -> Result<()> {
    let environment = context.environment(&options.one)?;
    let (release, lock) = build::locked(&environment)?;
    let folder = std::path::absolute(&options.folder)?;
    if !folder.join(".git").exists() {
        return Err(Fault::usage(format!("`{}` is not the top of a git working tree", folder.display()))
            .hint("name the folder of a clone: its `.devcontainer` is what gets committed")
            .into());
    }
    let component = component_of(&folder, options.component.as_deref(), &release)?;
    let mut environment = environment;
    let outcome = build::images(context, &mut environment, true).await?;
    let registry = Registry::new(Place::parse(&options.registry)?, options.plain_http)?;
    let stage = context.ui.stage("export");
    let trees = trees(context, &environment, &release, component).await?;

    let mut pinned = BTreeMap::new();
    stage.length(outcome.images.len() as u64);
    for (name, image) in &outcome.images {
        stage.note(name);
        let found = registry::find(&registry, image).await?.ok_or_else(|| {
            Fault::usage(format!("`{}` does not have the image `{name}` as it is now", registry.place))
                .hint(format!("send it first: `baibox push --env {} {}`", environment.id, registry.place))
        })?;
        pinned.insert(name.clone(), found.pinned());
        stage.advance(1);
    }

    let exported = exported(&environment, &release, &pinned, &lock.digest()?)?;
    let storage = exported.ports.get("storage-proxy").map(|port| format!("{port}=storage-proxy:{port}"));
    let name = component.map_or(repository_name(&folder), |component| &component.name);
    let layout = Layout::of_clone(
        name,
        Exported {
            commands: release.images.iter().map(|image| (image.name.clone(), again(name, image))).collect(),
            tags: [(pinned["python"].clone(), environment.images["python"].clone())].into(),
            forward: std::iter::once("8080=webserver:8080".to_owned()).chain(storage).collect(),
        },
    );
    let inputs = build::inputs(&release, &outcome)?;
    let top = folder.join(".devcontainer");
    let mut changed = 0;
    for (place, text) in render::exported_files(&exported, &release, component, &inputs, &layout, &trees)? {
        changed += usize::from(build::write_changed(&top.join(place), &text)?);
    }
    stage.done(&format!("{changed} files written in {}", top.display()));
    context.print(&pinned, &format!("commit it: git -C {} add .devcontainer", folder.display()))
}

/// The environment as clones have it. Nothing of it is published on a host, so ports are
/// the usual ones, and secrets guard nothing: from the lock, they stay when it is written again.
fn exported(
    environment: &Environment,
    release: &Release,
    pinned: &BTreeMap<String, String>,
    lock: &Digest,
) -> Result<Environment> {
    let secret = |name: &String| (name.clone(), Digest::of(format!("{name} {lock}").as_bytes()).hex()[..32].to_owned());
    Ok(Environment {
        id: crate::model::EnvironmentId::parse("exported")?,
        ports: release.ports.clone(),
        ulimits: Some(granted_anywhere(environment)),
        secrets: environment.secrets.keys().map(secret).collect(),
        images: pinned.clone(),
        debug: BTreeMap::new(),
        ..environment.clone()
    })
}

/// Limits that unknown engines grant too, as far as is known.
fn granted_anywhere(environment: &Environment) -> BTreeMap<String, i64> {
    let mut limits = environment.ulimits.clone().unwrap_or_default();
    for (name, modest) in [("memlock", 8 << 20), ("nofile", 20_000)] {
        let limit = limits.entry(name.to_owned()).or_insert(modest);
        *limit = modest.min(*limit);
    }
    limits
}

/// The image's own command, by the script that starts it again when it is asked to.
fn again(repository: &str, image: &ImageData) -> Vec<String> {
    let script = format!("{}/services/again.py", Layout::state_of_clone(repository));
    ["python3", &script, &image.name].map(str::to_owned).into_iter().chain(image.settings.cmd.iter().cloned()).collect()
}

/// The component whose repository the tree is, by its package or as it is said.
fn component_of<'a>(folder: &Path, said: Option<&str>, release: &'a Release) -> Result<Option<&'a Component>> {
    match said {
        Some("none") => Ok(None),
        Some(name) => Ok(Some(release.component(name).ok_or_else(|| {
            let known: Vec<&str> = release.components.iter().map(|component| component.name.as_str()).collect();
            Fault::usage(format!("release {} has no component `{name}`", release.branch))
                .hint(format!("it has {}", known.join(", ")))
        })?)),
        None => {
            let has = |component: &&Component| folder.join("src").join(component.module.replace('.', "/")).is_dir();
            Ok(release.components.iter().find(has))
        }
    }
}

/// Name below the workspace of a repository that is no component's.
fn repository_name(folder: &Path) -> &str {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or(WORKSPACE);
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if name.chars().all(plain) { name } else { WORKSPACE }
}

/// Where clones get the other components' trees.
async fn trees(
    context: &Context,
    environment: &Environment,
    release: &Release,
    own: Option<&Component>,
) -> Result<BTreeMap<String, Value>> {
    let mut trees = BTreeMap::new();
    for component in release.components.iter().filter(|component| own.is_none_or(|own| own.name != component.name)) {
        let tree = environment.folder.join(&component.name);
        let known = source::provenance(&tree).await?;
        let url = known.url.filter(|url| !url.starts_with('/') && !url.starts_with("file:"));
        let Some(url) = url else {
            return Err(Fault::usage(format!("`{}` was not cloned from an address that others can reach", tree.display()))
                .hint("make an environment whose trees come from git: `baibox up --source git --git-base URL`")
                .into());
        };
        let state = source::state(&tree).await?;
        if state.dirty || state.unpushed {
            let what = if state.dirty { "uncommitted changes" } else { "commits that are not pushed" };
            context.ui.warn(&format!("`{}` has {what}: clones get commit {}", component.name, known.commit));
        }
        let branch = if state.branch == "HEAD" { release.branch.clone() } else { state.branch };
        trees.insert(component.name.clone(), json!({ "url": url, "branch": branch, "commit": known.commit }));
    }
    Ok(trees)
}
