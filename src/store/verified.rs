//! A blob that is checked while it is read.

use super::{Store, StoreError};
use crate::model::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// Ends with an error instead of the blob's end if it is not what its name says; the
/// blob is removed then, so that it is made again.
pub struct Verified {
    file: File,
    path: PathBuf,
    wanted: Digest,
    hasher: Sha256,
}

impl Store {
    /// Opens a blob for reading in order, to its end.
    pub fn reader(&self, digest: &Digest) -> io::Result<Verified> {
        let path = self.blob_path(digest);
        let file = File::open(&path)?;
        Ok(Verified { file, path, wanted: digest.clone(), hasher: Sha256::new() })
    }
}

impl Read for Verified {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        if count == 0 && !buffer.is_empty() {
            let found = Digest::from_hasher(self.hasher.clone());
            if found != self.wanted {
                std::fs::remove_file(&self.path)?;
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    StoreError::Corrupt { wanted: self.wanted.clone(), found },
                ));
            }
        }
        Ok(count)
    }
}

/// Blobs one after the other, each opened when it is reached.
pub struct Sequence {
    store: Store,
    waiting: std::collections::VecDeque<Digest>,
    current: Option<Verified>,
}

impl Store {
    /// Reads several blobs as one.
    pub fn sequence(&self, digests: &[Digest]) -> Sequence {
        Sequence { store: self.clone(), waiting: digests.iter().cloned().collect(), current: None }
    }
}

impl Read for Sequence {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(current) = &mut self.current else {
                match self.waiting.pop_front() {
                    Some(digest) => self.current = Some(self.store.reader(&digest)?),
                    None => return Ok(0),
                }
                continue;
            };
            match current.read(buffer)? {
                0 if !buffer.is_empty() => self.current = None,
                count => return Ok(count),
            }
        }
    }
}

/// Whether a failure comes from a blob that was corrupt, and is gone now.
pub fn was_corrupt(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let inside = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inside = inside.and_then(|inner| inner.downcast_ref::<StoreError>());
        matches!(inside.or_else(|| cause.downcast_ref()), Some(StoreError::Corrupt { .. }))
    })
}
