//! What is known of every release, also of those that no environment can be made of yet.

use super::{Catalog, Era};
use crate::error::Fault;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// `row.toml` of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub branch: String,
    pub era: Era,
    /// Version of CPython that upstream develops it with.
    pub python: String,
    /// Where its sources are in upstream's repositories.
    #[serde(rename = "ref")]
    pub reference: String,
    /// How its one repository locks Python packages: `pex` or `uv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// What an environment of it lacks, a sentence each.
    #[serde(default)]
    pub missing: Vec<String>,
    pub halfstack: BTreeMap<String, String>,
    /// Newest published version, or the folder in the one repository.
    pub components: BTreeMap<String, String>,
}

/// How far a release was seen to work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    #[default]
    #[serde(rename = "catalog only")]
    CatalogOnly,
    #[serde(rename = "images build")]
    ImagesBuild,
    #[serde(rename = "services healthy")]
    ServicesHealthy,
    #[serde(rename = "hello world")]
    HelloWorld,
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::CatalogOnly => "catalog only",
            Self::ImagesBuild => "images build",
            Self::ServicesHealthy => "services healthy",
            Self::HelloWorld => "hello world",
        })
    }
}

/// What a run of `baibox releases --verify` saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verified {
    pub level: Level,
    /// Day, `YYYY-MM-DD`.
    pub date: String,
    /// Where the sources came from.
    pub sources: String,
    pub platform: String,
    /// The Python that it ran with, where that is not the release's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub python: String,
    /// What stopped it before hello world.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stopped: String,
}

/// Where [`Verified`] of each release is, below `images/`.
pub const VERIFIED: &str = "releases/verified.toml";

impl Catalog {
    /// Every release that is known, oldest first.
    pub fn rows() -> Result<Vec<Row>> {
        Self::known()?.iter().map(|branch| Self::row(branch)).collect()
    }

    /// The row of a release; one that only has data gets it from that.
    pub fn row(branch: &str) -> Result<Row> {
        let path = format!("releases/{branch}/row.toml");
        if let Ok(text) = Self::file(&path) {
            return toml::from_str(text).with_context(|| format!("`images/{path}` is not a row of the catalog"));
        }
        let release = Self::release(branch)?;
        let components = release.components.iter().map(|found| (found.name.clone(), found.version().to_owned())).collect();
        Ok(Row {
            branch: release.branch.clone(),
            era: release.era,
            python: release.python,
            reference: release.branch,
            lock: None,
            missing: Vec::new(),
            halfstack: BTreeMap::new(),
            components,
        })
    }

    /// What was seen of each release.
    pub fn verified() -> Result<BTreeMap<String, Verified>> {
        match Self::file(VERIFIED) {
            Ok(text) => toml::from_str(text).with_context(|| format!("`images/{VERIFIED}` is not what baibox wrote")),
            Err(_) => Ok(BTreeMap::new()),
        }
    }

    /// Why no environment can be made of a release that is in the catalog, and what can be done.
    pub(super) fn refused(branch: &str) -> Result<Fault> {
        Ok(Self::row(branch)?.refused(&Self::branches()?))
    }
}

impl Row {
    fn refused(&self, run: &[String]) -> Fault {
        let branch = &self.branch;
        let missing = if self.missing.is_empty() { "its data".to_owned() } else { self.missing.join("; ") };
        Fault::usage(format!("no environment can be made of release {branch} yet: what is missing is {missing}"))
            .hint(format!("these releases run: {}", run.join(", ")))
            .hint(format!("see what is known of it: `baibox releases {branch}`"))
            .hint(format!("or add `releases/{branch}/release.toml` in a folder that `BAIBOX_IMAGES` names: see the README"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_has_its_row_and_those_that_cannot_run_say_why() {
        let rows = Catalog::rows().unwrap();
        assert!(rows.len() >= 14);
        let runnable = Catalog::branches().unwrap();
        for row in &rows {
            assert_eq!(runnable.contains(&row.branch), row.missing.is_empty(), "{}", row.branch);
            assert_eq!(row.lock.is_some(), row.era == Era::Monorepo, "{}", row.branch);
            for part in ["postgres", "redis", "etcd"] {
                assert!(row.halfstack.contains_key(part), "{}: {part}", row.branch);
            }
            assert!(row.components.contains_key("manager") && row.components.contains_key("agent"), "{}", row.branch);
        }
        let row = Row { missing: vec!["Python 3.10".into(), "templates".into()], ..rows[0].clone() };
        let fault = row.refused(&runnable);
        assert!(fault.message.contains("is Python 3.10; templates") && fault.hints.len() == 3, "{fault:?}");
    }

    #[test]
    fn what_was_seen_is_of_releases_that_are_known() {
        let known = Catalog::known().unwrap();
        for (branch, seen) in Catalog::verified().unwrap() {
            let base = branch.split('+').next().unwrap_or_default();
            assert!(known.iter().any(|known| known == base), "{branch}");
            assert_eq!(seen.stopped.is_empty(), seen.level == Level::HelloWorld, "{branch}");
        }
    }
}
