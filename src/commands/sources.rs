//! The source trees of an environment: what is missing is brought, what is there is left alone.

use super::{Context, build};
use crate::cli::{SourceChoice, Sources};
use crate::error::Fault;
use crate::fetch::Fetcher;
use crate::release::{Component, Release};
use crate::source::{self, Origin};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// Where the components' repositories are, unless told otherwise.
pub const GIT_BASE: &str = "https://github.com/lablup";

pub async fn bring(context: &Context, options: &Sources, folder: &Path, release: &Release) -> Result<()> {
    let known = |name: &String| release.optional.iter().find(|component| component.name == *name);
    if let Some(name) = options.with.iter().find(|name| known(name).is_none()) {
        let names: Vec<String> = release.optional.iter().map(|component| format!("`{}`", component.name)).collect();
        return Err(Fault::usage(format!("release {} has no optional component `{name}`", release.branch))
            .hint(format!("it has {}", names.join(", ")))
            .into());
    }
    let own = own_trees(options, release)?;
    let wanted = release.components.iter().chain(options.with.iter().filter_map(known));
    let missing: Vec<_> = wanted.filter(|component| !folder.join(&component.name).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let stage = context.ui.stage("source");
    stage.length(missing.len() as u64);
    let (copied, missing): (Vec<&Component>, Vec<&Component>) =
        missing.into_iter().partition(|component| own.iter().any(|(name, _)| *name == component.name));
    for (name, tree) in own.iter().filter(|(name, _)| copied.iter().any(|component| component.name == *name)) {
        source::copy(tree, &folder.join(name)).await?;
        stage.advance(1);
    }
    let Some(first) = missing.first() else {
        stage.done(&format!("{} trees copied", copied.len()));
        return Ok(());
    };
    let base = options.git_base.as_deref().unwrap_or(GIT_BASE);
    let origin = match options.source {
        SourceChoice::Git => Origin::Git { base: base.to_owned() },
        SourceChoice::Pypi => Origin::Pypi,
        SourceChoice::Auto => source::automatic(base, &first.repository).await,
    };
    let from = match origin {
        Origin::Git { .. } => base,
        Origin::Pypi => "PyPI's source distributions",
    };
    if origin == Origin::Pypi && options.source == SourceChoice::Auto {
        context.ui.remark("source", &format!("`{base}` cannot be reached: sources come from {from}"));
    }
    let builder = build::builder(context).await?;
    let fetcher = Fetcher::new(&context.store)?;
    let work = missing.iter().map(|found| {
        let (stage, origin, builder, fetcher) = (&stage, &origin, &builder, &fetcher);
        let branch = found.git_branch.as_ref().unwrap_or(&release.branch);
        let into = folder.join(&found.name);
        async move {
            source::ensure(origin, &of(found), branch, &into, fetcher, &context.store, &builder.index).await?;
            stage.advance(1);
            anyhow::Ok(())
        }
    });
    futures_util::future::try_join_all(work).await?;
    stage.done(&format!("{} trees from {from}", missing.len()));
    Ok(())
}

/// A component in the words of the source room.
pub fn of(component: &Component) -> source::Component<'_> {
    let Component { repository, project, file, sha256, .. } = component;
    source::Component { repository, project, file, sha256 }
}

/// `COMPONENT=FOLDER` of `--tree`, checked.
fn own_trees(options: &Sources, release: &Release) -> Result<Vec<(String, PathBuf)>> {
    let parsed = options.tree.iter().map(|text| {
        let (name, folder) =
            text.split_once('=').filter(|(name, folder)| !name.is_empty() && !folder.is_empty()).ok_or_else(|| {
                Fault::usage(format!("`{text}` does not say which component the tree is of"))
                    .hint("write it as `--tree manager=FOLDER`")
            })?;
        if !release.components.iter().chain(&release.optional).any(|component| component.name == name) {
            let known: Vec<&str> = release.components.iter().map(|component| component.name.as_str()).collect();
            return Err(Fault::usage(format!("release {} has no component `{name}`", release.branch))
                .hint(format!("it has {}", known.join(", ")))
                .into());
        }
        let folder = std::path::absolute(folder).with_context(|| format!("`{folder}` is no folder"))?;
        Ok((name.to_owned(), folder))
    });
    parsed.collect()
}
