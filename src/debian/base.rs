//! What an image that others stand on says of itself: its distribution, packages and Python.

use super::{Package, account, index};
use crate::model::Digest;
use crate::oci::{Seen, Stacked};
use crate::store::Store;
use anyhow::{Context, Result};

pub const STATUS: &str = "var/lib/dpkg/status";
const OS_RELEASE: [&str; 2] = ["usr/lib/os-release", "etc/os-release"];

/// Where the store remembers which blob a layer's content is.
pub fn unpacked(diff_id: &Digest) -> Digest {
    Digest::of_value(&("layer of a base", diff_id))
}

/// The files of layers, the lowest first; `None` if one of them is not in the store.
pub fn look<'a>(store: &Store, diff_ids: impl IntoIterator<Item = &'a Digest>) -> Result<Option<Stacked>> {
    let mut stacked = Stacked::default();
    for diff_id in diff_ids {
        let Some(content) = store.action::<Digest>(&unpacked(diff_id)).filter(|content| store.has(content)) else {
            return Ok(None);
        };
        let reader = std::io::BufReader::with_capacity(1 << 18, store.reader(&content)?);
        let read = |path: &str| path == STATUS || OS_RELEASE.contains(&path) || account::FILES.contains(&path);
        stacked.add(reader, read).with_context(|| format!("the layer `{diff_id}` cannot be taken"))?;
    }
    Ok(Some(stacked))
}

/// The words of `os-release`: `debian`, `bookworm` and a name for people.
pub fn distribution(stacked: &Stacked) -> (String, String, String) {
    let text = OS_RELEASE.into_iter().find_map(|path| stacked.text(path)).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().trim().trim_matches('"').to_owned()
    };
    (field("ID"), field("VERSION_CODENAME"), field("PRETTY_NAME"))
}

/// Packages that are configured, by dpkg's record.
pub fn packages(stacked: &Stacked) -> Vec<Package> {
    stacked.text(STATUS).map(|text| index::installed(&text)).unwrap_or_default()
}

/// Minor versions of Python below `/usr/local`, such as `3.9`.
pub fn pythons(stacked: &Stacked) -> Vec<&str> {
    let names = stacked.names("usr/local/bin").into_iter().filter_map(|name| name.strip_prefix("python"));
    names
        .filter(|version| version.strip_prefix("3.").is_some_and(|minor| minor.bytes().all(|byte| byte.is_ascii_digit())))
        .collect()
}

/// Names and versions of Python packages that lie beside that Python.
pub fn python_packages<'a>(stacked: &'a Stacked, python: &str) -> Vec<(&'a str, &'a str)> {
    let names = stacked.names(&format!("usr/local/lib/python{python}/site-packages"));
    names.into_iter().filter_map(|name| name.strip_suffix(".dist-info")?.rsplit_once('-')).collect()
}

/// Whether `/bin` and the like are folders of their own.
pub fn is_split(stacked: &Stacked) -> bool {
    stacked.get("bin") == Some(&Seen::Folder)
}
