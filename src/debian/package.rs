//! One exact `.deb` as the lock names it, and its download.

use super::{DebianError, Mirror, Package};
use crate::fetch::{FetchError, Fetcher};
use crate::model::Digest;
use crate::oci::Tree;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// A package file, found again on any mirror.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockedDeb {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// Path below the archive's base, percent-decoded.
    pub file: String,
    /// Bytes.
    pub size: u64,
    pub sha256: Digest,
    /// From the security archive.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub security: bool,
}

impl TryFrom<&Package> for LockedDeb {
    type Error = DebianError;
    fn try_from(package: &Package) -> Result<Self, DebianError> {
        let bad = |field, value: &str| DebianError::BadField { name: package.name.clone(), field, value: value.to_owned() };
        Ok(Self {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            file: package.file.clone(),
            size: package.size,
            sha256: Digest::parse(&package.sha256).map_err(|_| bad("SHA256", &package.sha256))?,
            security: package.security,
        })
    }
}

impl LockedDeb {
    /// Where the mirror has it, then snapshots, in the order to try.
    pub fn urls(&self, mirror: &Mirror) -> Vec<String> {
        mirror
            .bases(self.security)
            .iter()
            .chain(&mirror.snapshots)
            .map(|base| format!("{base}/{}", encoded(&self.file)))
            .collect()
    }
}

/// Brings the package into the store, where its name is its digest.
pub async fn download(fetcher: &Fetcher, mirror: &Mirror, deb: &LockedDeb) -> Result<()> {
    // A lock is a file that people edit: its paths are checked like an index's.
    let file = decoded(&deb.file).filter(|file| *file == deb.file).ok_or_else(|| DebianError::BadField {
        name: deb.name.clone(),
        field: "file",
        value: deb.file.clone(),
    })?;
    let context = || DebianError::Missing { file, digest: deb.sha256.clone() };
    fetcher.file(&deb.urls(mirror), &deb.sha256).await.with_context(context)
}

/// A locked package that the archives had, and have no more.
pub fn is_gone(error: &anyhow::Error) -> bool {
    let absent = matches!(error.downcast_ref::<FetchError>(), Some(FetchError::Status { status: 404 | 410, .. }));
    absent && matches!(error.downcast_ref::<DebianError>(), Some(DebianError::Missing { .. }))
}

/// A path relative to the archive, percent-decoded; `None` if it leaves the archive.
pub(super) fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        bytes.push(match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                u8::from_str_radix(std::str::from_utf8(&[*high, *low]).ok()?, 16).ok()?
            }
            _ => *first,
        });
    }
    let text = String::from_utf8(bytes).ok()?;
    Tree::normal_path(&text).ok().filter(|normal| *normal == text && !text.contains(['?', '#', '\\', '%']))
}

/// `+` too is encoded, as apt does: some object stores behind mirrors take it for a space.
pub(super) fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b':' => out.push(byte as char),
            _ => write!(out, "%{byte:02x}").expect("strings take all"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_asked_last() {
        let of = |base: &str| vec![base.to_owned()];
        let mirror = Mirror { main: of("http://m/debian"), security: of("http://m/sec"), snapshots: of("http://s/day") };
        let deb = |security| LockedDeb {
            name: "x".into(),
            version: "1".into(),
            architecture: "all".into(),
            file: "pool/x_1_all.deb".into(),
            size: 1,
            sha256: Digest::of(b"x"),
            security,
        };
        assert_eq!(deb(false).urls(&mirror), ["http://m/debian/pool/x_1_all.deb", "http://s/day/pool/x_1_all.deb"]);
        assert_eq!(deb(true).urls(&mirror), ["http://m/sec/pool/x_1_all.deb", "http://s/day/pool/x_1_all.deb"]);
    }

    #[test]
    fn paths_stay_in_the_archive() {
        for bad in ["/etc/x", "../x", "a/%2e%2e/x", "a?b", "%zz", "", "a//b"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
        assert_eq!(decoded("pool/g%2b%2b_1%3a2.deb").as_deref(), Some("pool/g++_1:2.deb"));
        assert_eq!(encoded("pool/g++_1.deb"), "pool/g%2b%2b_1.deb");
    }
}
