//! The words: values that all rooms speak of. Computes only.

pub mod calver;
mod canonical;
mod digest;
mod name;
mod platform;

pub use canonical::canonical_json;
pub use digest::Digest;
pub use name::{Branch, EnvironmentId, nearest};
pub use platform::Platform;

/// Every file in an image carries this time: 2021-03-01T00:00:00Z.
///
/// A constant, not the time of the build: the same inputs give the same bytes.
pub const SOURCE_DATE_EPOCH: u64 = 1_614_556_800;
/// The same moment, as RFC 3339 writes it.
pub const CREATED: &str = "2021-03-01T00:00:00Z";

/// Label that names the environment on containers, networks and volumes.
pub const ENVIRONMENT_LABEL: &str = "ai.baibox.environment";
