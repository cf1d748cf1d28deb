//! Fragments, layers, image configs and archives, by the names of the OCI image specification. Computes only.

pub mod compare;
mod tree;

pub use tree::{END_MARKER, Node, Tree, TreeError};
mod image;
pub use image::{Image, Layer, Settings, write_archive};
