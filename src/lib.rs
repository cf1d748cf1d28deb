//! baibox: development environments for Backend.AI, from a release branch to a running stack.
//!
//! ```text
//! request ─ release ─ source ─ lock ─ plan ─ build ─ load ─ render ─ up ─ verify
//! ```
//!
//! A module names only modules above it.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod debian;
pub mod engine;
pub mod environment;
pub mod error;
pub mod fetch;
pub mod host;
pub mod lock;
pub mod model;
pub mod oci;
pub mod plan;
pub mod python;
pub mod release;
pub mod source;
pub mod stack;
pub mod store;
