use super::relation::clauses;
use crate::model::Digest;
use crate::oci::TreeError;
use std::collections::BTreeSet;
use std::fmt;

/// What can be wrong with an archive, a suite or a package.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    #[error("`{name}` is not a clear-signed text")]
    NotSigned { name: String },
    #[error("no known Debian archive key signed `{name}`")]
    Signature { name: String },
    #[error("`{name}` describes the suite `{found}`, not `{wanted}`")]
    OtherSuite { name: String, wanted: String, found: String },
    #[error("`{name}` has no `{field}`")]
    MissingField { name: String, field: &'static str },
    #[error("`{field}` of `{name}` is `{value}`")]
    BadField { name: String, field: &'static str, value: String },
    #[error("`{name}` lists no `{file}`")]
    NotListed { name: String, file: String },
    #[error("{}", Listed(.0))]
    Unresolvable(Vec<Unsatisfied>),
    #[error("`{file}` is not a Debian package: {reason}")]
    NotPackage { file: String, reason: &'static str },
    #[error("`{member}` of `{file}` cannot be read")]
    Member { file: String, member: String, source: std::io::Error },
    #[error("`{member}` of `{file}` unpacks to more than {limit} bytes")]
    TooLarge { file: String, member: String, limit: u64 },
    #[error("the entry `{entry}` of `{file}` is refused")]
    Entry { file: String, entry: String, source: TreeError },
    #[error("the entry `{entry}` of `{file}` is a {kind}, which no image may get from a package")]
    Kind { file: String, entry: String, kind: &'static str },
    #[error("`{entry}` of `{file}` holds no version with the suffix `{suffix}`")]
    NoSuffix { file: String, entry: String, suffix: String },
    #[error("`{file}` holds the package `{found}`, the lock says `{wanted}`")]
    OtherPackage { file: String, wanted: String, found: String },
    #[error("`{file}` (`{digest}`) could not be had from a mirror")]
    Missing { file: String, digest: Digest },
}

/// A constraint that no set of packages meets, and who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsatisfied {
    Unknown { constraint: String, by: String },
    Version { constraint: String, by: String, have: String },
    Conflict { package: String, constraint: String, with: String },
}

impl Unsatisfied {
    /// Names of the packages that take part: other versions of these may go together.
    pub fn names(&self) -> BTreeSet<String> {
        let named = |text: &str| text.trim_matches('`').split(' ').next().unwrap_or_default().to_owned();
        let (constraint, others) = match self {
            Self::Unknown { constraint, by } | Self::Version { constraint, by, .. } => (constraint, vec![named(by)]),
            Self::Conflict { package, constraint, with } => (constraint, vec![named(package), named(with)]),
        };
        clauses(constraint).into_iter().flatten().map(|relation| relation.name).chain(others).collect()
    }
}

impl fmt::Display for Unsatisfied {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { constraint, by } => write!(out, "`{constraint}`, asked for by {by}, is in no suite"),
            Self::Version { constraint, by, have } => {
                write!(out, "`{constraint}`, asked for by {by}, cannot be met: there is {have}")
            }
            Self::Conflict { package, constraint, with } => {
                write!(out, "`{package}` does not go together with `{constraint}`, and `{with}` is chosen")
            }
        }
    }
}

struct Listed<'a>(&'a [Unsatisfied]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, one) in self.0.iter().enumerate() {
            write!(out, "{}{one}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}
