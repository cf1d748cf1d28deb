//! Layers as they leave this machine: gzip in members that several cores make side by side.
//!
//! A gzip file may have many members (RFC 1952, 2.2), and what reads layers reads them all.
//! Members begin at fixed places, so the bytes are the same whatever the number of cores.

use crate::model::Digest;
use crate::oci::{END_MARKER, Layer};
use crate::store::Store;
use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use libdeflater::{CompressionLvl, Compressor};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

/// Uncompressed bytes of a member.
const MEMBER: usize = 4 << 20;

/// Raised when the compressed bytes of a layer change.
const VERSION: u32 = 2;

/// A compressed layer in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compressed {
    pub digest: Digest,
    pub size: u64,
}

/// The compressed layer, if it was made before and is there.
pub fn compressed(store: &Store, layer: &Layer) -> Option<Compressed> {
    store.action::<Compressed>(&key(layer)).filter(|known| store.has(&known.digest))
}

fn key(layer: &Layer) -> Digest {
    Digest::of_value(&("gzip", VERSION, &layer.diff_id))
}

/// The compressed layer, made if it was not made before.
pub async fn compress(store: &Store, layer: &Layer) -> Result<Compressed> {
    if let Some(known) = compressed(store, layer) {
        return Ok(known);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut writer = store.writer()?;
    let mut members = stream::iter(chunks(store.clone(), layer.clone()))
        .map(|chunk| async move {
            let chunk = chunk?;
            tokio::task::spawn_blocking(move || member(&chunk)).await?
        })
        .buffered(cores)
        .boxed();
    while let Some(member) = members.try_next().await? {
        writer.write_all(&member).context("a compressed layer cannot be written")?;
    }
    let (digest, size) = writer.commit()?;
    let made = Compressed { digest, size };
    store.record_action(&key(layer), &made)?;
    Ok(made)
}

fn member(bytes: &[u8]) -> Result<Vec<u8>> {
    // Neither name nor time are written, so that the bytes depend on the content alone.
    let mut compressor = Compressor::new(CompressionLvl::new(6).expect("levels go up to 12"));
    let mut packed = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let size = compressor.gzip_compress(bytes, &mut packed)?;
    packed.truncate(size);
    Ok(packed)
}

/// The layer's bytes in pieces of [`MEMBER`], read as they are asked for.
fn chunks(store: Store, layer: Layer) -> impl Iterator<Item = Result<Vec<u8>>> {
    let mut fragments = layer.fragments.into_iter();
    let mut current: Option<Box<dyn Read + Send>> = None;
    let mut ended = false;
    std::iter::from_fn(move || {
        let mut chunk = Vec::with_capacity(MEMBER);
        loop {
            if current.is_none() {
                current = match fragments.next() {
                    Some(digest) => match store.reader(&digest) {
                        Ok(reader) => Some(Box::new(reader)),
                        Err(error) => return Some(Err(error.into())),
                    },
                    None if ended => return (!chunk.is_empty()).then_some(Ok(chunk)),
                    None => {
                        ended = true;
                        Some(Box::new(&END_MARKER[..]))
                    }
                };
            }
            let room = MEMBER - chunk.len();
            let reader = current.as_mut().expect("set above");
            match reader.by_ref().take(room as u64).read_to_end(&mut chunk) {
                Ok(0) => current = None,
                Ok(_) if chunk.len() == MEMBER => return Some(Ok(chunk)),
                Ok(_) => current = None,
                Err(error) => return Some(Err(error.into())),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_compressed_is_the_layer_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let parts: Vec<Vec<u8>> = vec![vec![1; 512], (0..MEMBER * 2 + 512).map(|at| (at % 251) as u8).collect(), vec![3; 1024]];
        let digests: Vec<Digest> = parts.iter().map(|part| store.put(part).unwrap()).collect();
        let layer = Layer::assemble("x", digests, |digest| store.reader(digest)).unwrap();
        let made = compress(&store, &layer).await.unwrap();
        let packed = store.read(&made.digest).unwrap();
        assert_eq!(packed.len() as u64, made.size);
        let mut text = Vec::new();
        flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut text).unwrap();
        assert_eq!(Digest::of(&text), layer.diff_id);
        assert_eq!(compress(&store, &layer).await.unwrap(), made);
    }
}
