//! Package indexes of a suite: signed Release file, digest of the index, stanzas.

use super::{DebianError, LockedDeb, Mirror, relation, signature, stanza};
use crate::fetch::Fetcher;
use crate::model::Digest;
use crate::store::Store;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::io::Read;
use time::OffsetDateTime;

/// The largest index that is read; that of trixie has about 60 MB.
const LARGEST: u64 = 512 << 20;

/// One stanza of an index. Relations are kept as text and read when a package
/// is asked for, so a broken stanza harms only who needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub multi_arch: String,
    pub essential: bool,
    pub priority: String,
    /// `Pre-Depends` and `Depends`, joined.
    pub depends: String,
    pub provides: String,
    /// `Conflicts` and `Breaks`, joined.
    pub conflicts: String,
    /// Path below the archive's base, such as `pool/main/z/zlib/zlib1g_1.2_amd64.deb`.
    pub file: String,
    /// Bytes.
    pub size: u64,
    pub sha256: String,
    /// From the security archive, which has its own base.
    pub security: bool,
}

impl Package {
    /// The version under which this package is `name`: its own, or what it
    /// provides (`Some(None)` without a version).
    pub fn serves(&self, wanted: &relation::Relation) -> bool {
        if self.name == wanted.name && wanted.admits(&self.version) {
            return true;
        }
        self.provides().any(|provided| {
            provided.name == wanted.name
                && match (&wanted.bound, &provided.bound) {
                    (None, _) => true,
                    (Some(_), Some((relation::Bound::Exactly, version))) => wanted.admits(version),
                    // A virtual package without a version meets no bound.
                    (Some(_), _) => false,
                }
        })
    }
    pub(super) fn provides(&self) -> impl Iterator<Item = relation::Relation> {
        relation::clauses(&self.provides).into_iter().flatten()
    }
}

/// All packages of one suite's `main`, and what the user should know of it.
#[derive(Clone, Debug, Default)]
pub struct Index {
    pub packages: Vec<Package>,
    pub notes: Vec<String>,
}

/// Fetches the index of a suite (`bullseye`, `bullseye-security`) for a Debian architecture (`amd64`).
pub async fn fetch(fetcher: &Fetcher, store: &Store, mirror: &Mirror, suite: &str, architecture: &str) -> Result<Index> {
    let security = suite.ends_with("-security");
    let bases = mirror.bases(security);
    let name = format!("{suite}/InRelease");
    let mut answer = Err(anyhow::anyhow!("no mirror is known for `{suite}`"));
    for base in bases {
        answer = match fetcher.text(&format!("{base}/dists/{name}"), "*/*").await {
            Ok(bytes) => signature::verified_text(&name, &bytes).map_err(Into::into),
            Err(error) => Err(error),
        };
        if answer.is_ok() {
            break;
        }
    }
    let text = answer.with_context(|| format!("cannot read the suite `{suite}` of Debian"))?;
    let release = Release::parse(&name, &text, suite)?;
    let path = format!("main/binary-{architecture}/Packages.xz");
    let digest = release.digest_of(&name, &path)?;
    let folder = path.rsplit_once('/').expect("it has folders").0;
    // By digest first: a mirror in the middle of an update has both.
    let by_hash = bases.iter().map(|base| format!("{base}/dists/{suite}/{folder}/by-hash/SHA256/{}", digest.hex()));
    let by_name = bases.iter().map(|base| format!("{base}/dists/{suite}/{path}"));
    let urls: Vec<String> = by_hash.filter(|_| release.by_hash).chain(by_name).collect();
    fetcher.file(&urls, &digest).await.with_context(|| format!("cannot fetch the packages of `{suite}`"))?;
    let compressed = store.read(&digest)?;
    let notes = release.stale(suite, OffsetDateTime::now_utc()).into_iter().collect();
    let name = format!("{suite}/{path}");
    let packages = tokio::task::spawn_blocking(move || {
        let text = decompressed(&name, &compressed)?;
        Ok::<_, DebianError>(parse(&text, security))
    })
    .await??;
    Ok(Index { packages, notes })
}

fn decompressed(name: &str, compressed: &[u8]) -> Result<String, DebianError> {
    let mut text = String::new();
    liblzma::read::XzDecoder::new(compressed)
        .take(LARGEST + 1)
        .read_to_string(&mut text)
        .map_err(|source| DebianError::Member { file: name.to_owned(), member: "index".to_owned(), source })?;
    if text.len() as u64 > LARGEST {
        return Err(DebianError::TooLarge { file: name.to_owned(), member: "index".to_owned(), limit: LARGEST });
    }
    Ok(text)
}

/// What is needed of a Release file.
struct Release {
    valid_until: Option<OffsetDateTime>,
    by_hash: bool,
    sha256: String,
}

impl Release {
    /// The suite is checked, since a mirror could answer with another suite's signed file.
    fn parse(name: &str, text: &str, suite: &str) -> Result<Self, DebianError> {
        let missing = |field| DebianError::MissingField { name: name.to_owned(), field };
        let stanza = stanza::stanzas(text).next().ok_or(missing("Codename"))?;
        let found = stanza.get("Codename").ok_or(missing("Codename"))?;
        if found != suite && stanza.get("Suite") != Some(suite) {
            return Err(DebianError::OtherSuite { name: name.to_owned(), wanted: suite.to_owned(), found: found.to_owned() });
        }
        let valid_until = stanza
            .get("Valid-Until")
            .map(|value| {
                date(value).ok_or_else(|| DebianError::BadField {
                    name: name.to_owned(),
                    field: "Valid-Until",
                    value: value.to_owned(),
                })
            })
            .transpose()?;
        Ok(Self {
            valid_until,
            by_hash: stanza.get("Acquire-By-Hash") == Some("yes"),
            sha256: stanza.get("SHA256").ok_or(missing("SHA256"))?.to_owned(),
        })
    }

    fn digest_of(&self, name: &str, path: &str) -> Result<Digest, DebianError> {
        let listed = self.sha256.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let (digest, _, file) = (words.next()?, words.next()?, words.next()?);
            (file == path).then_some(digest)
        });
        let listed = listed.ok_or_else(|| DebianError::NotListed { name: name.to_owned(), file: path.to_owned() })?;
        Digest::parse(listed).map_err(|_| DebianError::BadField {
            name: name.to_owned(),
            field: "SHA256",
            value: listed.to_owned(),
        })
    }

    /// Old suites end, and their last Release file outlives its date: said, not refused.
    fn stale(&self, suite: &str, now: OffsetDateTime) -> Option<String> {
        let until = self.valid_until?;
        (until < now).then(|| format!("the suite `{suite}` was valid until {}: its mirror no longer updates it", until.date()))
    }
}

/// `Sat, 12 Sep 2026 09:27:08 UTC`
fn date(text: &str) -> Option<OffsetDateTime> {
    let rfc2822 = text.replace("UTC", "+0000");
    OffsetDateTime::parse(&rfc2822, &time::format_description::well_known::Rfc2822).ok()
}

/// A package whose index is not there any more, by what its own `.deb` says of it.
pub fn of_deb(deb: &LockedDeb, control: &str) -> Option<Package> {
    let (file, size, digest) = (super::package::encoded(&deb.file), deb.size, deb.sha256.hex());
    parse(&format!("{}\nFilename: {file}\nSize: {size}\nSHA256: {digest}\n", control.trim_end()), deb.security).pop()
}

/// The stanzas that name a package, a file and its digest; others cannot be fetched and are left out.
pub fn parse(text: &str, security: bool) -> Vec<Package> {
    let package = |stanza: stanza::Stanza<'_>| {
        Some(Package {
            file: super::package::decoded(stanza.get("Filename")?)?,
            size: stanza.get("Size")?.parse().ok()?,
            sha256: stanza.get("SHA256")?.to_owned(),
            security,
            ..described(&stanza)?
        })
    };
    stanza::selected(text, |name| WANTED.contains(&name)).filter_map(package).collect()
}

/// What is installed, by dpkg's status file; of no file.
pub fn installed(status: &str) -> Vec<Package> {
    let stanzas = stanza::selected(status, |name| WANTED.contains(&name));
    stanzas
        .filter(|stanza| stanza.get("Status") == Some("install ok installed"))
        .filter_map(|stanza| described(&stanza))
        .collect()
}

const WANTED: [&str; 16] = [
    "Package",
    "Version",
    "Architecture",
    "Multi-Arch",
    "Essential",
    "Priority",
    "Depends",
    "Pre-Depends",
    "Provides",
    "Conflicts",
    "Breaks",
    "Filename",
    "Size",
    "SHA256",
    "Protected",
    "Status",
];

/// All but the file.
fn described(stanza: &stanza::Stanza<'_>) -> Option<Package> {
    let text = |name: &str| stanza.get(name).unwrap_or_default().to_owned();
    let joined = |first: &str, second: &str| match (stanza.get(first), stanza.get(second)) {
        (Some(first), Some(second)) => format!("{first}, {second}"),
        (one, other) => one.or(other).unwrap_or_default().to_owned(),
    };
    Some(Package {
        name: stanza.get("Package")?.to_owned(),
        version: stanza.get("Version")?.to_owned(),
        architecture: text("Architecture"),
        multi_arch: text("Multi-Arch"),
        essential: stanza.get("Essential") == Some("yes"),
        priority: text("Priority"),
        depends: joined("Pre-Depends", "Depends"),
        provides: text("Provides"),
        conflicts: joined("Conflicts", "Breaks"),
        ..Package::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_become_packages() {
        let found = parse(
            "Package: a\nVersion: 1\nArchitecture: amd64\nEssential: yes\nDepends: b\nPre-Depends: c\nDescription: x\n y\nFilename: pool/a_1%2b2.deb\nSize: 3\nSHA256: 00\n\nPackage: no-file\nVersion: 1\n\nPackage: hostile\nVersion: 1\nFilename: ../../x\nSize: 1\nSHA256: 0\n",
            true,
        );
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].depends.as_str(), found[0].file.as_str()), ("c, b", "pool/a_1+2.deb"));
        assert!(found[0].essential && found[0].security);
    }

    #[test]
    fn a_release_file_must_be_of_the_suite_and_may_be_old() {
        let digest = "a".repeat(64);
        let text = format!(
            "Suite: oldstable\nCodename: bullseye\nValid-Until: Sat, 12 Sep 2026 09:27:08 UTC\nSHA256:\n {digest} 12 main/x\n"
        );
        let release = Release::parse("x", &text, "bullseye").unwrap();
        assert_eq!(release.digest_of("x", "main/x").unwrap().hex(), digest);
        assert!(matches!(release.digest_of("x", "main/y"), Err(DebianError::NotListed { .. })));
        assert!(matches!(Release::parse("x", &text, "bookworm"), Err(DebianError::OtherSuite { .. })));
        let until = release.valid_until.unwrap();
        assert!(release.stale("bullseye", until + time::Duration::DAY).unwrap().contains("2026-09-12"));
        assert_eq!(release.stale("bullseye", until - time::Duration::DAY), None);
    }
}
