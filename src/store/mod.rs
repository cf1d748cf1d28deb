//! Content-addressed blobs and an action cache.
//!
//! A blob is written to a temporary file, synced and renamed, so what has a
//! name is whole, whatever died. An action maps the digest of inputs to a small
//! JSON value, mostly the digests of what was made from them. Blobs are
//! verified when they are read into an image.

mod prune;
mod verified;

pub use prune::{Account, Limits, Share};
pub use verified::{Sequence, Verified, was_corrupt};

use crate::model::Digest;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {verb} `{path}` in the store")]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("the blob `{wanted}` in the store has the content of `{found}`; it was removed")]
    Corrupt { wanted: Digest, found: Digest },
    #[error("the content has the digest `{found}`, not `{wanted}`")]
    Unexpected { wanted: Digest, found: Digest },
}

fn io_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { verb, path, source }
}

#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        for folder in ["blobs", "actions", "temporary", "locks", "environments"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(io_error("create", &path))?;
        }
        Ok(Self { root: root.to_owned() })
    }
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// For files and folders that go when the process is done with them.
    pub fn temporary(&self) -> PathBuf {
        self.root.join("temporary")
    }
    /// Removes what a killed process left half made: nothing is in the making for a day.
    pub fn sweep(&self) -> Result<(), StoreError> {
        const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
        let folder = self.temporary();
        for entry in fs::read_dir(&folder).map_err(io_error("list", &folder))? {
            let entry = entry.map_err(io_error("list", &folder))?;
            let path = entry.path();
            // Another process may be removing it too.
            let Ok(metadata) = entry.metadata() else { continue };
            let old = metadata.modified().ok().and_then(|time| time.elapsed().ok()).is_some_and(|age| age > DAY);
            let removed = match () {
                () if !old => continue,
                () if metadata.is_dir() => fs::remove_dir_all(&path),
                () => fs::remove_file(&path),
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &path)(error)),
                _ => {}
            }
        }
        Ok(())
    }
    /// Where a blob is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(&digest.hex()[..2]).join(digest.hex())
    }
    pub fn has(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.blob_path(digest)).ok().map(|metadata| metadata.len())
    }

    /// A blob's bytes, verified; a corrupt one is removed so that it is made again.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(digest);
        let mut bytes = Vec::new();
        File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(io_error("read", &path))?;
        let found = Digest::of(&bytes);
        if found != *digest {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
            return Err(StoreError::Corrupt { wanted: digest.clone(), found });
        }
        Ok(bytes)
    }

    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if !self.has(&digest) {
            let mut writer = self.writer()?;
            writer.write_all(bytes).map_err(io_error("write", &self.root))?;
            writer.commit()?;
        }
        Ok(digest)
    }

    /// Takes a blob of another store, without copying it where both are on one file system.
    pub fn link(&self, digest: &Digest, from: &Self) -> Result<(), StoreError> {
        let (source, path) = (from.blob_path(digest), self.blob_path(digest));
        let folder = path.parent().expect("blobs have a folder");
        fs::create_dir_all(folder).map_err(io_error("create", folder))?;
        match fs::hard_link(&source, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(_) => self.put(&from.read(digest)?).map(drop),
            Ok(()) => Ok(()),
        }
    }

    /// A new blob whose digest is known when it is complete.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        let folder = self.temporary();
        let file = NamedTempFile::new_in(&folder).map_err(io_error("create a file in", &folder))?;
        Ok(BlobWriter { store: self.clone(), file: BufWriter::with_capacity(1 << 18, file), hasher: Sha256::new(), size: 0 })
    }

    /// What an action with these inputs gave, if it ran before.
    pub fn action<T: DeserializeOwned>(&self, key: &Digest) -> Option<T> {
        let bytes = fs::read(self.action_path(key)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
    pub fn record_action(&self, key: &Digest, outcome: &impl Serialize) -> Result<(), StoreError> {
        let path = self.action_path(key);
        write_atomically(&path, &crate::model::canonical_json(outcome)).map_err(io_error("write", &path))
    }
    fn action_path(&self, key: &Digest) -> PathBuf {
        self.root.join("actions").join(key.hex())
    }
    /// While it is held nothing is pruned; any number may hold it.
    pub fn lease(&self) -> Result<StoreLock, StoreError> {
        self.hold("use", rustix::fs::FlockOperation::LockShared)
    }
    /// Waits until no process reads or builds, and keeps them waiting; `None` at once if one does and `wait` is not set.
    pub fn alone(&self, wait: bool) -> Result<Option<StoreLock>, StoreError> {
        if wait {
            return self.lock("use").map(Some);
        }
        self.try_lock("use")
    }
    /// Takes the lock `name` if no other process holds it.
    pub fn try_lock(&self, name: &str) -> Result<Option<StoreLock>, StoreError> {
        match self.hold(name, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => Ok(None),
            held => held.map(Some),
        }
    }
    /// Waits until no other process holds the lock `name`; held until the value is dropped.
    pub fn lock(&self, name: &str) -> Result<StoreLock, StoreError> {
        self.hold(name, rustix::fs::FlockOperation::LockExclusive)
    }
    fn hold(&self, name: &str, how: rustix::fs::FlockOperation) -> Result<StoreLock, StoreError> {
        let path = self.root.join("locks").join(name);
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io_error("open", &path))?;
        rustix::fs::flock(&file, how).map_err(|errno| io_error("lock", &path)(errno.into()))?;
        Ok(StoreLock { _file: file })
    }
}

/// A lock between processes; the kernel takes it back when its holder dies.
pub struct StoreLock {
    _file: File,
}

/// Writes beside the target, syncs and renames: readers see the old or the new, never half.
/// Only its owner may read it: much of what is written holds secrets.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_as(path, bytes, 0o600)
}

/// The same for what is made to be read by others, as far as the umask lets them.
pub fn write_for_others(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_as(path, bytes, 0o666)
}

fn write_as(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().permissions(fs::Permissions::from_mode(mode)).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_data()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A blob while it is written; dropped without [`BlobWriter::commit`] it leaves nothing.
pub struct BlobWriter {
    store: Store,
    file: BufWriter<NamedTempFile>,
    hasher: Sha256,
    size: u64,
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl BlobWriter {
    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// Digest of what was written so far and `more`.
    pub fn digest_with(&self, more: &[u8]) -> Digest {
        Digest::from_hasher(self.hasher.clone().chain_update(more))
    }
    /// Begins again with nothing.
    pub fn restart(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let file = self.file.get_mut().as_file_mut();
        file.set_len(0)?;
        file.seek(io::SeekFrom::Start(0))?;
        self.hasher = Sha256::new();
        self.size = 0;
        Ok(())
    }
    pub fn commit(self) -> Result<(Digest, u64), StoreError> {
        let Self { store, file, hasher, size } = self;
        let digest = Digest::from_hasher(hasher);
        let path = store.blob_path(&digest);
        let file = file.into_inner().map_err(|error| io_error("write", &path)(error.into_error()))?;
        let folder = path.parent().expect("blobs have a folder");
        fs::create_dir_all(folder).map_err(io_error("create", folder))?;
        file.as_file().sync_data().map_err(io_error("sync", &path))?;
        file.persist(&path).map_err(|error| io_error("name", &path)(error.error))?;
        Ok((digest, size))
    }
    /// Commits only if the content is the one that was expected.
    pub fn commit_as(self, wanted: &Digest) -> Result<u64, StoreError> {
        let found = Digest::from_hasher(self.hasher.clone());
        if found != *wanted {
            return Err(StoreError::Unexpected { wanted: wanted.clone(), found });
        }
        Ok(self.commit()?.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_for_others_and_the_rest_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        write_atomically(&folder.path().join("secret"), b"x").unwrap();
        write_for_others(&folder.path().join("result"), b"x").unwrap();
        // What the umask makes of any new file.
        fs::write(folder.path().join("plain"), b"x").unwrap();
        assert_eq!((mode("secret"), mode("result")), (0o600, mode("plain")));
    }

    #[test]
    fn a_corrupt_blob_is_found_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let digest = store.put(b"whole").unwrap();
        assert_eq!(store.read(&digest).unwrap(), b"whole");
        fs::write(store.blob_path(&digest), b"broken").unwrap();
        assert!(matches!(store.read(&digest), Err(StoreError::Corrupt { .. })));
        assert!(!store.has(&digest));
    }

    #[test]
    fn nothing_is_kept_of_unexpected_content() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let wanted = Digest::of(b"right");
        let mut writer = store.writer().unwrap();
        writer.write_all(b"wrong").unwrap();
        assert!(matches!(writer.commit_as(&wanted), Err(StoreError::Unexpected { .. })));
        assert!(!store.has(&wanted));
        assert_eq!(fs::read_dir(folder.path().join("temporary")).unwrap().count(), 0);
    }

    #[test]
    fn only_what_is_old_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 24 * 60 * 60);
        for name in ["young", "old"] {
            let file = File::create(store.temporary().join(name)).unwrap();
            if name == "old" {
                file.set_modified(old).unwrap();
            }
        }
        store.sweep().unwrap();
        assert!(store.temporary().join("young").exists() && !store.temporary().join("old").exists());
    }
}
