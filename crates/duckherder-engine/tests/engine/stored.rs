//! Databases in files of ours: nobody sees what may be lost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use duckherder_engine::{Database, EngineError, Result, StoredFile, StoredFiles};

type Bytes = Arc<Mutex<Vec<u8>>>;

/// Files in memory, of which what is synced after `durable` syncs is never durable.
struct Files {
    by_name: Mutex<HashMap<String, Bytes>>,
    synced: Arc<AtomicU64>,
    durable: AtomicU64,
}

impl StoredFiles for Files {
    fn open(&self, name: &str, create: bool, truncate: bool) -> Result<Option<Box<dyn StoredFile>>> {
        let mut by_name = self.by_name.lock().unwrap();
        if create {
            by_name.entry(name.to_string()).or_default();
        }
        let Some(bytes) = by_name.get(name) else { return Ok(None) };
        if truncate {
            bytes.lock().unwrap().clear();
        }
        Ok(Some(Box::new(File { bytes: Arc::clone(bytes), synced: Arc::clone(&self.synced) })))
    }

    fn exists(&self, name: &str) -> Result<bool> {
        Ok(self.by_name.lock().unwrap().contains_key(name))
    }

    fn remove(&self, name: &str) -> Result<bool> {
        Ok(self.by_name.lock().unwrap().remove(name).is_some())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut by_name = self.by_name.lock().unwrap();
        let bytes = by_name.remove(from).unwrap();
        by_name.insert(to.to_string(), bytes);
        Ok(())
    }

    fn position(&self) -> u64 {
        self.synced.load(Ordering::SeqCst)
    }

    fn wait_durable(&self, position: u64) -> Result<()> {
        match position <= self.durable.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(EngineError::new("IO", "the storage has failed")),
        }
    }

    fn changed(&self, _: &str) -> u64 {
        self.position()
    }
}

struct File {
    bytes: Bytes,
    synced: Arc<AtomicU64>,
}

impl StoredFile for File {
    fn length(&self) -> Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, target: &mut [u8]) -> Result<usize> {
        let bytes = self.bytes.lock().unwrap();
        let found = bytes.get(offset as usize..).unwrap_or_default();
        let count = found.len().min(target.len());
        target[..count].copy_from_slice(&found[..count]);
        Ok(count)
    }

    fn write(&self, offset: u64, written: &[u8]) -> Result<()> {
        let mut bytes = self.bytes.lock().unwrap();
        let end = offset as usize + written.len();
        let length = bytes.len().max(end);
        bytes.resize(length, 0);
        bytes[offset as usize..end].copy_from_slice(written);
        Ok(())
    }

    fn trim(&self, _: u64, _: u64) -> Result<()> {
        Ok(())
    }

    fn truncate(&self, length: u64) -> Result<()> {
        self.bytes.lock().unwrap().resize(length as usize, 0);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.synced.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn not_even_the_first_rows_are_of_what_may_be_lost() {
    let (by_name, synced, durable) = (Mutex::default(), Arc::default(), AtomicU64::new(u64::MAX));
    let files = Arc::new(Files { by_name, synced, durable });
    let database = Database::open_stored("stored://d.duckdb", &[], Arc::clone(&files) as _).unwrap();
    let writer = database.connect().unwrap();
    writer.execute("CREATE TABLE t AS SELECT range AS i FROM range(500_000)").unwrap();
    let read = || database.connect().unwrap().query("FROM t").unwrap();
    files.durable.store(files.position(), Ordering::SeqCst);
    assert_eq!(read().map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 500_000);

    let error = writer.execute("UPDATE t SET i = i + 1").unwrap_err();
    assert!(error.message.contains("the storage has failed"), "{error}");
    let started = database.connect().unwrap();
    for mut rows in [read(), started.start("FROM t", None, true).unwrap().unwrap()] {
        assert!(rows.next().unwrap().is_err(), "rows were given that are not durable");
    }
}
