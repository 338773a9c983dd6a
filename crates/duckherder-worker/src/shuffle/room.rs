//! How much of a query's rows may wait in the memory of this process, and where the rest goes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use duckherder_engine::{Connection, EngineError};

/// The memory that all tasks of a query share here.
pub struct Room {
    limit_bytes: usize,
    taken_bytes: AtomicUsize,
    /// Where the files are that the rest is in, if there may be any.
    pub(super) directory: Option<PathBuf>,
}

impl Room {
    pub fn new(limit_bytes: usize, directory: Option<PathBuf>) -> Self {
        Self { limit_bytes, taken_bytes: AtomicUsize::new(0), directory }
    }

    /// As the settings of `connection` say: `duckherder_exchange_memory` and `temp_directory`.
    ///
    /// # Errors
    /// DuckDB's.
    pub fn of(connection: &Connection) -> Result<Self, EngineError> {
        let limit_bytes = usize::try_from(connection.exchange_memory_bytes()?).unwrap_or(usize::MAX);
        Ok(Self::new(limit_bytes, connection.temp_directory()?))
    }

    /// Takes memory, if there is so much, for rows that somebody reads.
    pub(super) fn try_take(&self, bytes: usize) -> bool {
        self.try_take_of(self.limit_bytes, bytes)
    }

    /// Takes memory for rows whose reader is away; some is left for those that are read.
    pub(super) fn try_take_for_later(&self, bytes: usize) -> bool {
        self.try_take_of(self.limit_bytes - self.limit_bytes / 4, bytes)
    }

    fn try_take_of(&self, limit: usize, bytes: usize) -> bool {
        let take = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= limit);
        self.taken_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Takes memory for what goes on to a reader at once.
    pub(super) fn take(&self, bytes: usize) {
        self.taken_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.taken_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
