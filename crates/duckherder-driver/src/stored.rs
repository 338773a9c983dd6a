//! The store as DuckDB's files.

use std::sync::Arc;

use duckherder_engine::{EngineError, Result, StoredFile, StoredFiles};
use duckherder_storage::{File, OpenMode, StorageError, Store};

/// What comes after a database's name.
pub const DATABASE: &str = ".duckdb";
/// What DuckDB puts after that for its logs.
const LOGS: [&str; 3] = [".wal", ".wal.checkpoint", ".wal.recovery"];

/// The files of a store; it is closed with the DuckDB that uses them.
pub struct Stored(Arc<Store>);

impl Stored {
    pub fn new(store: Arc<Store>) -> Self {
        Self(store)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        match self.0.close() {
            Ok(()) => {}
            // The driver ends for this reason.
            Err(StorageError::Fenced { .. } | StorageError::Failed { .. }) => {}
            Err(error) => tracing::error!(%error, "the storage was not closed as it should be"),
        }
    }
}

/// Whether a file is a database or its log: statements reach no others.
pub fn is_own(name: &str) -> bool {
    let database = LOGS.iter().find_map(|log| name.strip_suffix(log)).unwrap_or(name);
    database.len() > DATABASE.len() && database.ends_with(DATABASE) && !name.contains('/')
}

fn io(error: StorageError) -> EngineError {
    EngineError::new("IO", error.to_string())
}

fn check(name: &str) -> Result<()> {
    if is_own(name) {
        return Ok(());
    }
    Err(EngineError::new("IO", format!("stored://{name} is no database of the driver's: use another path")))
}

impl StoredFiles for Stored {
    fn open(&self, name: &str, create: bool, truncate: bool) -> Result<Option<Box<dyn StoredFile>>> {
        check(name)?;
        let file = self.0.open_file(name, OpenMode { create, truncate }).map_err(io)?;
        Ok(file.map(|file| Box::new(Open(file)) as Box<dyn StoredFile>))
    }

    fn exists(&self, name: &str) -> Result<bool> {
        self.0.exists(name).map_err(io)
    }

    fn remove(&self, name: &str) -> Result<bool> {
        check(name)?;
        self.0.remove(name).map_err(io)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check(from)?;
        check(to)?;
        self.0.rename(from, to).map_err(io)
    }

    fn position(&self) -> u64 {
        self.0.position()
    }

    fn wait_durable(&self, position: u64) -> Result<()> {
        self.0.wait_durable_to(position).map_err(io)
    }

    fn changed(&self, name: &str) -> u64 {
        self.0.changed(name)
    }
}

/// A file of the store.
struct Open(File);

impl StoredFile for Open {
    fn length(&self) -> Result<u64> {
        self.0.length().map_err(io)
    }

    fn read(&self, offset: u64, target: &mut [u8]) -> Result<usize> {
        self.0.read(offset, target).map_err(io)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0.write(offset, bytes).map_err(io)
    }

    fn trim(&self, offset: u64, count: u64) -> Result<()> {
        self.0.trim(offset, count).map_err(io)
    }

    fn truncate(&self, length: u64) -> Result<()> {
        self.0.truncate(length).map_err(io)
    }

    fn sync(&self) -> Result<()> {
        self.0.sync().map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::is_own;

    #[test]
    fn statements_reach_databases_and_their_logs() {
        for name in ["a.duckdb", "a.duckdb.wal", "a.duckdb.wal.checkpoint", "a.duckdb.wal.recovery"] {
            assert!(is_own(name), "{name}");
        }
        for name in ["driver.json", ".duckdb", "a.csv", "a.duckdb.csv", "a.wal", "x/a.duckdb"] {
            assert!(!is_own(name), "{name}");
        }
    }
}
