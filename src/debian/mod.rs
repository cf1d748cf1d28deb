//! Debian: package indexes, resolution, `.deb` to fragment, dpkg's database, and the configure step.
//!
//! ```text
//! mirror ─ index ─ resolve ─ package ─ unpack ─ database ─ configure
//! ```
//!
//! No package manager of the host takes part: a set of packages becomes
//! fragments on any operating system, and one container configures it.

pub mod account;
mod ar;
pub mod base;
pub mod configure;
pub mod database;
mod error;
pub mod index;
pub mod mirror;
pub mod package;
pub mod relation;
pub mod resolve;
pub mod signature;
mod stanza;
pub mod unpack;

pub use error::{DebianError, Unsatisfied};
pub use index::{Index, Package};
pub use mirror::Mirror;
pub use package::{LockedDeb, download, is_gone};
pub use resolve::{Request, resolve};
pub use unpack::{Blank, Control, Database, Options, Unpacked, control_text, unpack};

#[cfg(test)]
mod real;
