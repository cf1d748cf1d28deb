//! Fragments, layers, image configs and archives, by the names of the OCI image specification. Computes only.

pub mod compare;
mod tree;

pub use tree::{END_MARKER, Node, Tree, TreeError};
mod image;
pub use image::{Image, Layer, Settings, archive_file, archive_header, archive_padding, full_name, write_archive};
