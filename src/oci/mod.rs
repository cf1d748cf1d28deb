//! Fragments, layers, image configs and archives, by the names of the OCI image specification. Computes only.

pub mod compare;
mod stacked;
mod tree;

pub use stacked::{Seen, Stacked, StackedError, whiteout};
pub use tree::{END_MARKER, Node, Tree, TreeError};
mod image;
pub use image::{Image, Layer, Settings, archive_file, archive_header, archive_padding, full_name, write_archive};

/// How many times larger than its compressed form something may be, beyond a free allowance.
const RATIO: u64 = 200;
const ALLOWANCE: u64 = 64 << 20;

/// Bytes that honest content of so many compressed bytes unpacks to at most.
pub fn may_unpack_to(packed: u64) -> u64 {
    packed.saturating_mul(RATIO).saturating_add(ALLOWANCE)
}
