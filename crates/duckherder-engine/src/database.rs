//! An embedded DuckDB instance.

use std::sync::Arc;

use crate::connection::Connection;
use crate::error::Result;
use crate::stored::{self, StoredFiles};
use crate::{ffi, icu};

/// A database that any number of connections share; closed with its last handle.
#[derive(Clone)]
pub struct Database {
    handle: Arc<Handle>,
}

struct Handle(*mut ffi::DhDatabase);

// SAFETY: a DuckDB instance may be used from any thread; the pointer is only read.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// What a database has of its machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resources {
    pub threads: u64,
    /// That it uses.
    pub memory_bytes: u64,
    /// That it may use.
    pub memory_limit_bytes: u64,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by dh_database_open, closed once; connections keep the instance itself alive.
        unsafe { ffi::dh_database_close(self.0) }
    }
}

impl Database {
    /// Opens the database file `path` (`:memory:` for none) with DuckDB settings by name.
    ///
    /// # Errors
    /// What DuckDB says of the path or of a setting.
    pub fn open(path: &str, settings: &[(&str, &str)]) -> Result<Self> {
        Self::open_with(path, settings, None)
    }

    /// The same, where paths that [`stored_path`](crate::stored_path) makes are those of `files`. Statements end once all
    /// that they have seen or done is durable there.
    ///
    /// # Errors
    /// What DuckDB, or `files`, says.
    pub fn open_stored(path: &str, settings: &[(&str, &str)], files: Arc<dyn StoredFiles>) -> Result<Self> {
        Self::open_with(path, settings, Some(files))
    }

    fn open_with(path: &str, settings: &[(&str, &str)], files: Option<Arc<dyn StoredFiles>>) -> Result<Self> {
        icu::register();
        let files = files.map(stored::into_raw);
        let (table, files) = files
            .as_ref()
            .map_or((std::ptr::null(), std::ptr::null_mut()), |(table, files)| (&raw const *table, *files));
        let names: Vec<ffi::DhText> = settings.iter().map(|(name, _)| (*name).into()).collect();
        let values: Vec<ffi::DhText> = settings.iter().map(|(_, value)| (*value).into()).collect();
        let mut error = ffi::DhError::none();
        let (names, values, count) = (names.as_ptr(), values.as_ptr(), settings.len());
        // SAFETY: all texts and the table outlive the call; the two arrays have `count` elements each.
        let database = unsafe { ffi::dh_database_open(path.into(), names, values, count, table, files, &mut error) };
        error.into_result(Self { handle: Arc::new(Handle(database)) })
    }

    /// A new connection.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn connect(&self) -> Result<Connection> {
        Connection::open(self.clone())
    }

    /// Plans that connections keep are made anew: something has changed that DuckDB does not know of.
    pub fn forget_plans(&self) {
        // SAFETY: the database is alive.
        unsafe { ffi::dh_database_forget_plans(self.as_ptr()) }
    }

    /// What it has of its machine now.
    ///
    /// # Errors
    /// None is known.
    pub fn resources(&self) -> Result<Resources> {
        let mut found = Resources::default();
        let Resources { threads, memory_bytes, memory_limit_bytes } = &mut found;
        let mut error = ffi::DhError::none();
        // SAFETY: the database is alive; the targets are variables of ours.
        unsafe {
            ffi::dh_database_resources(self.as_ptr(), threads, memory_bytes, memory_limit_bytes, &mut error);
        }
        error.into_result(found)
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::DhDatabase {
        self.handle.0
    }
}
