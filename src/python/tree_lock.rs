//! `python.lock` of a source tree itself: the one repository has one, which pex or uv wrote.

use super::select::{self, Target};
use super::{PythonError, pex, uv};
use crate::model::Digest;
use std::collections::BTreeMap;

/// What of such a lock is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeLock {
    /// `name version` → file → digest.
    pub pins: BTreeMap<String, BTreeMap<String, Digest>>,
}

impl TreeLock {
    /// Reads a lock by its content, since the file has one name whoever wrote it; `None` if it is neither's.
    /// `python` is the minor version of the images, such as `3.13`.
    pub fn read(text: &str, python: &str) -> Result<Option<Self>, PythonError> {
        if pex::is_one(text) {
            pex::parse(text).map(Some)
        } else if uv::is_one(text) {
            uv::parse(text, python).map(Some)
        } else {
            Ok(None)
        }
    }

    /// What a tree with this lock requires: exactly its pins.
    pub fn requirements(&self) -> Vec<String> {
        self.pins.keys().map(|pin| pin.replacen(' ', "==", 1)).collect()
    }

    /// The file that images for `target` take of a pin, by the lock alone.
    pub fn file(&self, pin: &str, target: &Target) -> Option<(&str, &Digest)> {
        let files = self.pins.get(pin)?;
        let (name, version) = pin.split_once(' ')?;
        let best = select::best(files.keys().map(String::as_str), name, version, target)?;
        files.get_key_value(best).map(|(file, digest)| (file.as_str(), digest))
    }

    /// Takes a pin with its files; says what is wrong with it.
    pub(super) fn add(&mut self, pin: String, files: BTreeMap<String, Digest>) -> Option<String> {
        if files.is_empty() {
            return Some(format!("`{pin}` has no file"));
        }
        let twice = self.pins.contains_key(&pin).then(|| format!("`{pin}` is there twice"));
        self.pins.insert(pin, files);
        twice
    }
}

/// Name of the file that an address leads to.
pub(super) fn file_name(url: &str) -> Option<String> {
    let name = url.split(['#', '?']).next()?.rsplit('/').next()?;
    // Some versions are escaped in addresses: `1.0+cpu`.
    Some(name.replace("%2B", "+")).filter(|name| !name.is_empty())
}
