//! Mounted databases as DuckDB's files: `stored://NAME/FILE`, which nobody writes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use duckherder_engine::{EngineError, Result, StoredFile, StoredFiles};

use super::{Mount, lock};

/// All that are mounted, by name.
#[derive(Default)]
pub struct MountedFiles(Mutex<HashMap<String, Arc<Mount>>>);

impl MountedFiles {
    /// The path of the database below `stored://`.
    pub(super) fn add(&self, name: &str, mount: Arc<Mount>) -> String {
        // A name has slashes of its own.
        let path = format!("{}/{}", folder(name), mount.file);
        lock(&self.0).insert(folder(name), mount);
        path
    }

    pub(super) fn remove(&self, name: &str) {
        lock(&self.0).remove(&folder(name));
    }

    /// The database or log of a path.
    fn find(&self, path: &str) -> Option<Open> {
        let (folder, file) = path.split_once('/')?;
        let mount = lock(&self.0).get(folder).cloned()?;
        let own = file.strip_prefix(&mount.file).is_some_and(|log| log.is_empty() || log.starts_with(".wal"));
        mount.length(file).filter(|_| own)?;
        Some(Open { mount, file: file.to_string() })
    }
}

fn folder(name: &str) -> String {
    name.replace('/', "!")
}

fn read_only<T>() -> Result<T> {
    Err(EngineError::new("IO", "a worker does not write to the driver's storage"))
}

impl StoredFiles for MountedFiles {
    fn open(&self, name: &str, create: bool, truncate: bool) -> Result<Option<Box<dyn StoredFile>>> {
        if truncate {
            return read_only();
        }
        match self.find(name) {
            Some(file) => Ok(Some(Box::new(file))),
            None if create => read_only(),
            None => Ok(None),
        }
    }

    fn exists(&self, name: &str) -> Result<bool> {
        Ok(self.find(name).is_some())
    }

    fn remove(&self, _: &str) -> Result<bool> {
        read_only()
    }

    fn rename(&self, _: &str, _: &str) -> Result<()> {
        read_only()
    }

    fn position(&self) -> u64 {
        0
    }

    fn wait_durable(&self, _: u64) -> Result<()> {
        Ok(())
    }

    fn changed(&self, _: &str) -> u64 {
        0
    }
}

struct Open {
    mount: Arc<Mount>,
    file: String,
}

impl StoredFile for Open {
    fn length(&self) -> Result<u64> {
        let gone = || EngineError::new("IO", format!("{} is not there any more", self.file));
        self.mount.length(&self.file).ok_or_else(gone)
    }

    fn read(&self, offset: u64, target: &mut [u8]) -> Result<usize> {
        self.mount.read(&self.file, offset, target)
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<()> {
        read_only()
    }

    fn trim(&self, _: u64, _: u64) -> Result<()> {
        read_only()
    }

    fn truncate(&self, _: u64) -> Result<()> {
        read_only()
    }

    fn sync(&self) -> Result<()> {
        read_only()
    }
}
