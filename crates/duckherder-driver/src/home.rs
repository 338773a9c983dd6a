//! Where a driver with several databases keeps them, and what else outlives it: a directory, or object storage.
//!
//! ```text
//!   Home --database_file("sales")--> DIR/sales.duckdb, or stored://sales.duckdb, which DuckDB asks the store for
//! ```

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use duckherder_engine::{Database, stored_path};
use duckherder_proto::database::{decode_name, encode_name};
use duckherder_storage::{Location, OpenMode, Options, StorageError, Store};

use crate::directory::{Directory, failed, finish, log_of, once_closed, remove_if_there, size_bytes, unfinished};
use crate::error::{DriverError, Result};
use crate::lease::Lease;
use crate::remembered::Remembered;
use crate::store_lease::{About, StoreLease};
use crate::stored::{DATABASE, Stored};

/// Bytes of a file that is copied, at once.
const COPY_BYTES: usize = 4 << 20;

/// Object storage as the home of databases.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX` or `file:///DIR`.
    pub url: String,
    /// What is kept on the local disk of what was read, at most.
    pub cache_bytes: u64,
    /// Where; the system's directory for temporary files by default.
    pub cache_directory: Option<PathBuf>,
    /// How long objects stay that no database needs any more.
    pub keep: Duration,
    /// How long a request is tried before the storage counts as failed.
    pub timeout: Duration,
}

impl StorageOptions {
    /// Those of the store of a driver that listens at `address`.
    pub fn of_driver(&self, address: &str) -> Options {
        let defaults = Options::default();
        Options {
            cache_directory: self.cache_directory.clone().unwrap_or(defaults.cache_directory),
            cache_bytes: self.cache_bytes,
            keep: self.keep,
            patience: self.timeout,
            writer_name: writer_name(),
            about: About::new(address).to_text(),
            ..Options::default()
        }
    }
}

/// The home of a driver's databases.
pub enum Home {
    Directory(Directory),
    Store(Arc<Store>),
}

impl Home {
    /// Takes a directory, for the driver at `address`.
    ///
    /// # Errors
    /// Another driver has it, or the file system refuses.
    pub fn directory(path: &Path, address: &str) -> Result<Self> {
        Directory::open(path, address).map(Self::Directory)
    }

    /// Takes over a place in object storage, for the driver at `address`, whoever has it.
    ///
    /// # Errors
    /// The URL is none, or the storage refuses.
    pub fn storage(options: &StorageOptions, address: &str) -> Result<Self> {
        let location = Location::parse(&options.url, options.timeout)?;
        Ok(Self::Store(Arc::new(Store::open(location, options.of_driver(address))?)))
    }

    /// Whether it is a directory, and `folder` is that, or a part of it.
    pub fn contains(&self, folder: &Path) -> bool {
        match self {
            Self::Directory(directory) => directory.contains(folder),
            Self::Store(_) => false,
        }
    }

    /// The right to answer for the databases, where a standby may take it.
    pub fn lease(&self) -> Option<Arc<dyn Lease>> {
        match self {
            Self::Directory(directory) => Some(Arc::clone(directory.lease()) as Arc<dyn Lease>),
            Self::Store(store) => Some(Arc::new(StoreLease::of(Arc::clone(store))) as Arc<dyn Lease>),
        }
    }

    /// The store, if it is one.
    pub fn store(&self) -> Option<&Arc<Store>> {
        match self {
            Self::Directory(_) => None,
            Self::Store(store) => Some(store),
        }
    }

    /// What else the driver remembers.
    ///
    /// # Errors
    /// It can't be read, or another version has written it.
    pub fn remembered(&self) -> Result<Remembered> {
        match self {
            Self::Directory(directory) => Remembered::open(directory.path()),
            Self::Store(store) => Remembered::open_stored(Arc::clone(store)),
        }
    }

    /// The DuckDB of the database in `file`.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn open(&self, file: &str, settings: &[(&str, &str)]) -> Result<Database, duckherder_engine::EngineError> {
        match self {
            Self::Directory(_) => once_closed(|| Database::open(file, settings)),
            Self::Store(store) => Database::open_stored(file, settings, Arc::new(Stored::new(Arc::clone(store)))),
        }
    }

    /// Where a new database is to be.
    pub fn database_file(&self, name: &str) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.database_file(name),
            Self::Store(_) => PathBuf::from(stored_path(&(encode_name(name) + DATABASE))),
        }
    }

    /// The databases that there are: name, in the case in which the file has it, and file.
    ///
    /// # Errors
    /// They can't be listed.
    pub fn databases(&self) -> Result<Vec<(String, PathBuf)>> {
        let store = match self {
            Self::Directory(directory) => return directory.databases(),
            Self::Store(store) => store,
        };
        let mut found = Vec::new();
        for file in store.names()? {
            if let Some(stem) = file.strip_suffix(DATABASE) {
                found.push((decode_name(stem).unwrap_or_else(|| stem.to_string()), PathBuf::from(stored_path(&file))));
            }
        }
        Ok(found)
    }

    /// Whether there is something in a database's place.
    ///
    /// # Errors
    /// The storage has failed.
    pub fn has(&self, file: &Path) -> Result<bool> {
        match self {
            Self::Directory(_) => Ok(file.exists()),
            Self::Store(store) => Ok(store.exists(&stored_name(file))?),
        }
    }

    /// Makes an empty database, whole or not at all.
    ///
    /// # Errors
    /// It can't be written.
    pub fn make(&self, file: &Path) -> Result<()> {
        match self {
            Self::Directory(_) => make(file),
            // DuckDB makes it with one sync, which is all or nothing.
            Self::Store(_) => Ok(()),
        }
    }

    /// Makes a database of a file of DuckDB's, whole or not at all.
    ///
    /// # Errors
    /// A file can't be read or written.
    pub fn copy_in(&self, source: &Path, file: &Path) -> Result<()> {
        let store = match self {
            Self::Directory(_) => {
                let written = unfinished(file);
                std::fs::copy(source, &written).map_err(failed("copy", source))?;
                return finish(&written, file);
            }
            Self::Store(store) => store,
        };
        // The log of another database must not become that of this one.
        store.remove(&stored_name(&log_of(file)))?;
        let name = stored_name(file);
        let Some(target) = store.open_file(&name, OpenMode { create: true, truncate: true })? else { return Ok(()) };
        let copied = copy(source, &target);
        if copied.is_err() {
            store.remove(&name)?;
        }
        copied?;
        Ok(store.wait_durable()?)
    }

    /// Removes what is in a place where no database could be opened.
    ///
    /// # Errors
    /// The storage refuses.
    pub fn discard(&self, file: &Path) -> Result<()> {
        match self {
            Self::Directory(_) => remove_if_there(file),
            Self::Store(store) => {
                store.remove(&stored_name(file))?;
                Ok(store.wait_durable()?)
            }
        }
    }

    /// Removes a database that is closed.
    ///
    /// # Errors
    /// The storage refuses.
    pub fn remove(&self, file: &Path) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.remove(file),
            Self::Store(store) => {
                store.remove(&stored_name(&log_of(file)))?;
                self.discard(file)
            }
        }
    }

    /// Makes sure that what was made stays.
    ///
    /// # Errors
    /// The storage refuses.
    pub fn sync(&self) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.sync(),
            Self::Store(store) => Ok(store.wait_durable()?),
        }
    }

    /// Bytes of a database and its log.
    pub fn size_bytes(&self, file: &Path) -> u64 {
        let store = match self {
            Self::Directory(_) => return size_bytes(file),
            Self::Store(store) => store,
        };
        let size = |file: &Path| {
            let found = store.open_file(&stored_name(file), OpenMode::default()).ok().flatten();
            found.and_then(|file| file.length().ok()).unwrap_or_default()
        };
        size(file) + size(&log_of(file))
    }
}

impl From<StorageError> for DriverError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error.to_string())
    }
}

/// The name of a file in the store.
fn stored_name(file: &Path) -> String {
    let path = file.to_string_lossy();
    path.strip_prefix(&stored_path("")).unwrap_or(&path).to_string()
}

fn copy(source: &Path, target: &duckherder_storage::File) -> Result<()> {
    let mut source_file = File::open(source).map_err(failed("read", source))?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut offset = 0;
    loop {
        let count = source_file.read(&mut buffer).map_err(failed("read", source))?;
        if count == 0 {
            return Ok(target.sync()?);
        }
        target.write(offset, &buffer[..count])?;
        offset += count as u64;
    }
}

/// Makes an empty database's file, whole or not at all: DuckDB (2.0.0) does not open one that it was not done with.
fn make(file: &Path) -> Result<()> {
    let written = unfinished(file);
    remove_if_there(&written)?;
    let path =
        written.to_str().ok_or_else(|| DriverError::Storage(format!("{} is no text: rename it", file.display())))?;
    drop(Database::open(path, &[("threads", "1")])?);
    finish(&written, file)
}

/// Who writes, for whoever takes over.
fn writer_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "an unknown host" } else { host.trim() };
    format!("process {} on {host}", std::process::id())
}
