//! What nobody needs any more goes.

use super::{Store, StoreError, io_error};
use crate::model::Digest;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// What may go, of all that is not in use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Only what was used longer ago.
    pub older_than: Option<Duration>,
    /// Only as much, oldest first, as the store is larger than this many bytes.
    pub larger_than: Option<u64>,
}

/// What went and what stayed, in bytes and files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    pub freed: Share,
    /// Environments stand on it.
    pub in_use: Share,
    /// Nobody needs it, and the limits keep it.
    pub kept: Share,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    pub files: u64,
    pub bytes: u64,
}

impl Share {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

struct Found {
    time: SystemTime,
    path: PathBuf,
    bytes: u64,
}

impl Store {
    /// Says of blobs that they are used now; those that are not there are left out.
    pub fn mark_used(&self, digests: &BTreeSet<Digest>, now: SystemTime) -> Result<(), StoreError> {
        for digest in digests {
            let path = self.blob_path(digest);
            match fs::File::open(&path).and_then(|file| file.set_modified(now)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("mark", &path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// All blobs, and where they are.
    pub fn blobs(&self) -> Result<Vec<(Digest, PathBuf)>, StoreError> {
        let mut found = Vec::new();
        for folder in listed(&self.root.join("blobs"))? {
            for path in listed(&folder)? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                found.extend(Digest::parse(name).ok().map(|digest| (digest, path.clone())));
            }
        }
        Ok(found)
    }

    /// What actions recorded, of those that record a `T`.
    pub fn outcomes<T: DeserializeOwned>(&self) -> Result<Vec<T>, StoreError> {
        let paths = listed(&self.root.join("actions"))?;
        let read = |path: &PathBuf| serde_json::from_slice(&fs::read(path).ok()?).ok();
        Ok(paths.iter().filter_map(read).collect())
    }

    /// Whether an action was recorded longer ago than this.
    pub fn is_older(&self, action: &Digest, age: Duration) -> bool {
        let written = fs::metadata(self.action_path(action)).and_then(|metadata| metadata.modified());
        written.is_ok_and(|time| time.elapsed().is_ok_and(|is| is > age))
    }

    /// Removes blobs that are not `used`, as far as the limits say; without `remove` only counts.
    ///
    /// The caller holds the store for itself, see [`Store::alone`].
    pub fn prune(&self, used: &BTreeSet<Digest>, limits: Limits, remove: bool, now: SystemTime) -> Result<Account, StoreError> {
        let mut account = Account::default();
        let mut free = Vec::new();
        for folder in listed(&self.root.join("blobs"))? {
            for path in listed(&folder)? {
                let Ok(metadata) = fs::metadata(&path) else { continue };
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if Digest::parse(name).is_ok_and(|digest| used.contains(&digest)) {
                    account.in_use.add(metadata.len());
                } else {
                    let time = metadata.modified().unwrap_or(now);
                    free.push(Found { time, path, bytes: metadata.len() });
                }
            }
        }
        free.sort_by(|left, right| (left.time, &left.path).cmp(&(right.time, &right.path)));
        let mut total = account.in_use.bytes + free.iter().map(|found| found.bytes).sum::<u64>();
        for Found { time, path, bytes } in free {
            let old = limits.older_than.is_none_or(|age| now.duration_since(time).is_ok_and(|is| is >= age));
            let much = limits.larger_than.is_none_or(|most| total > most);
            if !(old && much) {
                account.kept.add(bytes);
                continue;
            }
            if remove {
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
            total -= bytes;
            account.freed.add(bytes);
        }
        if remove {
            self.forget_actions()?;
        }
        Ok(account)
    }

    /// Removes records of actions of whose outcome nothing is there any more.
    fn forget_actions(&self) -> Result<(), StoreError> {
        for path in listed(&self.root.join("actions"))? {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let mut digests =
                text.split('"').filter(|word| word.starts_with("sha256:")).filter_map(|word| Digest::parse(word).ok());
            let mut any = false;
            let alive = digests.any(|digest| {
                any = true;
                self.has(&digest)
            });
            // One that names nothing says something by itself.
            if any && !alive {
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
        }
        Ok(())
    }
}

fn listed(folder: &std::path::Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = || io_error("list", folder);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        paths.push(entry.map_err(failed())?.path());
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// A store with blobs of 10 bytes, by their age in days.
    fn store(folder: &std::path::Path, ages: &[u32], now: SystemTime) -> (Store, Vec<Digest>) {
        let store = Store::open(folder).unwrap();
        let put = |age: &u32| {
            let digest = store.put(format!("blob {age:>5}").as_bytes()).unwrap();
            let file = fs::File::options().write(true).open(store.blob_path(&digest)).unwrap();
            file.set_modified(now - DAY * *age).unwrap();
            digest
        };
        let digests = ages.iter().map(put).collect();
        (store, digests)
    }

    #[test]
    fn limits_choose_among_what_is_not_in_use() {
        let check = |limits: Limits, left: &[u32], freed: u64, in_use: u64, kept: u64| {
            let folder = tempfile::tempdir().unwrap();
            let now = SystemTime::now();
            let ages = [1, 5, 9, 20];
            let (store, digests) = store(folder.path(), &ages, now);
            let used = BTreeSet::from([digests[3].clone()]);
            let told = store.prune(&used, limits, false, now).unwrap();
            assert!(digests.iter().all(|digest| store.has(digest)), "only counted");
            let account = store.prune(&used, limits, true, now).unwrap();
            assert_eq!(account, told);
            assert_eq!((account.freed.bytes, account.in_use.bytes, account.kept.bytes), (freed, in_use, kept), "{limits:?}");
            let there: Vec<u32> =
                ages.iter().zip(&digests).filter(|(_, digest)| store.has(digest)).map(|(age, _)| *age).collect();
            assert_eq!(there, left, "{limits:?}");
        };
        let limits =
            |days: Option<u32>, bytes: Option<u64>| Limits { older_than: days.map(|days| DAY * days), larger_than: bytes };
        check(limits(None, None), &[20], 30, 10, 0);
        check(limits(Some(5), None), &[1, 20], 20, 10, 10);
        check(limits(None, Some(25)), &[1, 20], 20, 10, 10);
        check(limits(None, Some(30)), &[1, 5, 20], 10, 10, 20);
        check(limits(Some(6), Some(0)), &[1, 5, 20], 10, 10, 20);
        check(limits(None, Some(1000)), &[1, 5, 9, 20], 0, 10, 30);
    }

    #[test]
    fn records_go_with_the_last_blob_that_they_name() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let (store, digests) = store(folder.path(), &[1, 2], now);
        let keys = ["gone", "half", "text"].map(|name| Digest::of(name.as_bytes()));
        store.record_action(&keys[0], &vec![&digests[0]]).unwrap();
        store.record_action(&keys[1], &vec![&digests[0], &digests[1]]).unwrap();
        store.record_action(&keys[2], &"a record of its own").unwrap();
        store.prune(&BTreeSet::from([digests[1].clone()]), Limits::default(), true, now).unwrap();
        let there = keys.map(|key| store.action::<serde_json::Value>(&key).is_some());
        assert_eq!(there, [false, true, true]);
    }
}
