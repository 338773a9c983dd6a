//! Pieces of packs on the local disk: 4 MiB each, in one file without a name, which goes with the process.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Condvar, Mutex};

use bytes::Bytes;

use crate::error::{Result, StorageError};
use crate::extents::PackId;
use crate::sync::lock;

/// What is read of a pack at once.
pub const PIECE_BYTES: u64 = 4 << 20;
/// Fewer make no sense: those that are being read or written stay.
const LEAST_SLOTS: usize = 16;

/// A pack, and which 4 MiB of it.
pub type Key = (PackId, u64);

/// A file of slots.
pub struct Cache {
    file: File,
    directory: String,
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    slots: usize,
    /// That never had anything.
    fresh: usize,
    free: Vec<usize>,
    entries: HashMap<Key, Entry>,
    clock: u64,
}

enum Entry {
    /// Somebody fetches it.
    Coming,
    Here {
        slot: usize,
        users: usize,
        used: u64,
    },
}

/// What is to be done for a piece.
pub enum Look {
    /// It is there, and stays until [`Cache::done`].
    Here(usize),
    /// The caller is to fetch it, and then to call [`Cache::put`] or [`Cache::give_up`].
    Fetch,
}

impl Cache {
    /// # Errors
    /// No file can be made in the directory.
    pub fn new(directory: &Path, bytes: u64) -> Result<Self> {
        let failed = |error: std::io::Error| cannot(&directory.display().to_string(), &error);
        std::fs::create_dir_all(directory).map_err(failed)?;
        let path = directory.join(format!("duckherder-storage-{}", uuid::Uuid::new_v4()));
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        std::fs::remove_file(&path).map_err(failed)?;
        let slots = usize::try_from(bytes / PIECE_BYTES).unwrap_or(usize::MAX).max(LEAST_SLOTS);
        let inner = Inner { slots, fresh: 0, free: Vec::new(), entries: HashMap::new(), clock: 0 };
        let directory = directory.display().to_string();
        Ok(Self { file, directory, inner: Mutex::new(inner), changed: Condvar::new() })
    }

    /// Looks for a piece; waits while somebody else fetches it.
    pub fn look(&self, key: Key) -> Look {
        let mut inner = lock(&self.inner);
        loop {
            inner.clock += 1;
            let now = inner.clock;
            match inner.entries.get_mut(&key) {
                Some(Entry::Here { slot, users, used }) => {
                    *users += 1;
                    *used = now;
                    return Look::Here(*slot);
                }
                Some(Entry::Coming) => {
                    inner = self.changed.wait(inner).unwrap_or_else(std::sync::PoisonError::into_inner);
                }
                None => {
                    inner.entries.insert(key, Entry::Coming);
                    return Look::Fetch;
                }
            }
        }
    }

    /// Whether the caller is to fetch a piece that is not there yet; does not wait.
    pub fn claim(&self, key: Key) -> bool {
        let mut inner = lock(&self.inner);
        let missing = !inner.entries.contains_key(&key);
        if missing {
            inner.entries.insert(key, Entry::Coming);
        }
        missing
    }

    /// What it keeps.
    pub fn bytes(&self) -> u64 {
        let here = |entry: &&Entry| matches!(entry, Entry::Here { .. });
        lock(&self.inner).entries.values().filter(here).count() as u64 * PIECE_BYTES
    }

    pub fn has(&self, key: Key) -> bool {
        lock(&self.inner).entries.contains_key(&key)
    }

    /// Keeps a piece that the caller was to fetch, if there is room.
    pub fn put(&self, key: Key, bytes: &Bytes) {
        let slot = lock(&self.inner).take_slot();
        let written = slot.map(|slot| (slot, self.file.write_all_at(bytes, slot as u64 * PIECE_BYTES)));
        let mut inner = lock(&self.inner);
        match written {
            Some((slot, Ok(()))) => {
                inner.clock += 1;
                let used = inner.clock;
                inner.entries.insert(key, Entry::Here { slot, users: 0, used });
            }
            Some((slot, Err(error))) => {
                tracing::warn!(directory = self.directory, %error, "the storage's cache can't be written");
                inner.free.push(slot);
                inner.entries.remove(&key);
            }
            None => {
                inner.entries.remove(&key);
            }
        }
        self.changed.notify_all();
    }

    /// The piece could not be fetched.
    pub fn give_up(&self, key: Key) {
        lock(&self.inner).entries.remove(&key);
        self.changed.notify_all();
    }

    /// Reads of a slot that was looked up.
    ///
    /// # Errors
    /// The disk fails.
    pub fn read(&self, slot: usize, offset: u64, target: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact_at(target, slot as u64 * PIECE_BYTES + offset);
        read.map_err(|error| cannot(&self.directory, &error))
    }

    /// Lets go of a piece that was looked up.
    pub fn done(&self, key: Key) {
        if let Some(Entry::Here { users, .. }) = lock(&self.inner).entries.get_mut(&key) {
            *users -= 1;
        }
    }

    /// Forgets a pack that is gone.
    pub fn forget(&self, pack: PackId) {
        let mut inner = lock(&self.inner);
        let gone: Vec<_> = inner
            .entries
            .iter()
            .filter_map(|(key, entry)| match entry {
                Entry::Here { slot, users: 0, .. } if key.0 == pack => Some((*key, *slot)),
                _ => None,
            })
            .collect();
        for (key, slot) in gone {
            inner.entries.remove(&key);
            inner.free.push(slot);
        }
    }
}

impl Inner {
    /// A slot, if need be that of the piece that nobody has read for longest.
    fn take_slot(&mut self) -> Option<usize> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        if self.fresh < self.slots {
            self.fresh += 1;
            return Some(self.fresh - 1);
        }
        let idle = self.entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Here { slot, users: 0, used } => Some((*used, *key, *slot)),
            _ => None,
        });
        let (_, key, slot) = idle.min_by_key(|(used, ..)| *used)?;
        self.entries.remove(&key);
        Some(slot)
    }
}

fn cannot(directory: &str, error: &std::io::Error) -> StorageError {
    StorageError::Cache { directory: directory.to_string(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        (PackId { writer: 1, number }, 0)
    }

    #[test]
    fn the_piece_that_was_not_read_for_longest_goes() {
        let cache = Cache::new(&std::env::temp_dir(), 0).unwrap();
        for number in 0..LEAST_SLOTS as u64 {
            assert!(matches!(cache.look(key(number)), Look::Fetch));
            cache.put(key(number), &Bytes::from(number.to_string()));
        }
        let Look::Here(slot) = cache.look(key(0)) else { panic!("it was kept") };
        let mut read = [0];
        cache.read(slot, 0, &mut read).unwrap();
        assert_eq!(&read, b"0");
        assert!(cache.claim(key(100)));
        assert!(!cache.claim(key(100)));
        cache.put(key(100), &Bytes::from_static(b"x"));
        assert!(cache.has(key(0)) && cache.has(key(100)) && !cache.has(key(1)));
        cache.done(key(0));
        cache.forget(key(0).0);
        assert!(!cache.has(key(0)));
    }
}
