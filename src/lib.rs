//! baibox: development environments for Backend.AI, from a release branch to a running stack.
//!
//! ```text
//! request ─ release ─ source ─ lock ─ plan ─ build ─ load ─ render ─ up ─ verify
//! ```
//!
//! Every stage takes values and returns a value; `commands/up.rs` is the line in Rust.
//!
//! What must stay true, and the test that says so:
//!
//! * A module names only modules above it in this file (`tests/tidy.rs`).
//! * `plan` and what it is made of touch neither files, network nor clock.
//! * Only `engine/docker.rs` and what is below it name bollard (`tests/tidy.rs`); only `host` reads
//!   environment variables (`clippy.toml`).
//! * What is downloaded has a digest before it is used (`store`, `fetch`); archives
//!   are read into memory and checked (`oci::Tree`), never extracted to the host. Source
//!   distributions are, entry by entry, and so are layers made here where steps run without
//!   an engine (`engine::sandbox`), by a process whose root is the step's own folder.
//! * The same inputs give the same bytes: maps are sorted, times are
//!   [`model::SOURCE_DATE_EPOCH`], hashed values pass [`model::canonical_json`].
//! * The user's source trees are mounted, and changed by no stage of the line; `sync` and
//!   `contrib` do with them what their words say.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod error;
pub mod model;
pub mod oci;
pub mod host;
pub mod ui;
pub mod store;
pub mod fetch;
pub mod debian;
pub mod python;
pub mod release;
pub mod contrib;
pub mod lock;
pub mod sbom;
pub mod plan;
pub mod source;
pub mod registry;
pub mod engine;
pub mod build;
pub mod environment;
pub mod render;
pub mod stack;
pub mod snapshot;
pub mod graph;
pub mod ci;
pub mod doctor;
pub mod cli;
pub mod commands;
