//! baibox: development environments for Backend.AI, from a release branch to a running stack.
//!
//! ```text
//! request ─ release ─ source ─ lock ─ plan ─ build ─ load ─ render ─ up ─ verify
//! ```
//!
//! A module names only modules above it.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod error;
pub mod model;
pub mod oci;
pub mod release;
pub mod host;
pub mod ui;
pub mod store;
pub mod fetch;
pub mod debian;
pub mod python;
pub mod plan;
pub mod source;
pub mod engine;
pub mod build;
pub mod environment;
pub mod render;
pub mod stack;
pub mod doctor;
pub mod cli;
pub mod commands;
