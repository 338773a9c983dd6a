//! Rows of a table that may be kept elsewhere, as long as they are what a snapshot has.

use std::ffi::c_void;

use super::ffi::{self, DhStoredGroup};
use super::fragment::{Fragment, Snapshot};
use crate::connection::Connection;
use crate::error::Result;
use crate::ffi::{DhError, push_text};

/// A row group as a snapshot sees it: two that are equal have the same rows in the columns that were asked about, in the
/// life of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoredGroup {
    /// Its first row id.
    pub first: u64,
    /// 0: its rows can't be told from others.
    pub number: u64,
    /// Rows that were ever put into it.
    pub inserted: u64,
    /// Those that are left.
    pub visible: u64,
}

/// What an input reads of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTable {
    /// Its qualified name, as SQL.
    pub name: String,
    /// Places in its storage, and names.
    pub columns: Vec<(u64, String)>,
}

/// The databases of a snapshot that are in stored files, as it sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredDatabases {
    /// The state of the files: how much was synced.
    pub position: u64,
    pub databases: Vec<StoredDatabase>,
}

/// A database in stored files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDatabase {
    /// In DuckDB.
    pub name: String,
    /// In the files.
    pub file: String,
    /// How much was synced when it last changed, or the state's own position.
    pub as_of: u64,
}

impl Snapshot {
    /// What of it can be read in the files that the databases are kept in.
    pub fn stored(&self) -> StoredDatabases {
        let mut texts: Vec<String> = Vec::new();
        // SAFETY: the snapshot is alive; the sink gets the list it expects.
        let position =
            unsafe { ffi::dh_snapshot_stored(self.as_ptr(), push_text, std::ptr::from_mut(&mut texts).cast()) };
        let mut texts = texts.into_iter();
        let database = || {
            let (name, file) = (texts.next()?, texts.next()?);
            Some(StoredDatabase { name, file, as_of: texts.next()?.parse().ok()? })
        };
        StoredDatabases { position, databases: std::iter::from_fn(database).collect() }
    }
}

impl Fragment {
    /// The database that `input`, counted among the splits, is of, if a copy of it gives the same rows.
    ///
    /// # Errors
    /// There is no such input.
    pub fn catalog(&self, input: usize) -> Result<Option<String>> {
        let mut error = DhError::none();
        let mut texts: Vec<String> = Vec::new();
        let target: *mut c_void = std::ptr::from_mut(&mut texts).cast();
        // SAFETY: the fragment is alive; the sink gets the list it expects.
        unsafe { ffi::dh_fragment_catalog(self.as_ptr(), input as u64, push_text, target, &mut error) };
        error.into_result(texts.pop())
    }

    /// The table that `input`, counted among the splits, is of; `None` if its rows can't be kept elsewhere.
    ///
    /// # Errors
    /// There is no such input.
    pub fn stored(&self, input: usize) -> Result<Option<StoredTable>> {
        let mut error = DhError::none();
        let mut texts: Vec<String> = Vec::new();
        let target: *mut c_void = std::ptr::from_mut(&mut texts).cast();
        // SAFETY: the fragment is alive; the sink gets the list it expects.
        unsafe { ffi::dh_fragment_stored(self.as_ptr(), input as u64, push_text, target, &mut error) };
        error.into_result(())?;
        let mut texts = texts.into_iter();
        let Some(name) = texts.next() else { return Ok(None) };
        let column = || Some((texts.next()?.parse().ok()?, texts.next()?));
        Ok(Some(StoredTable { name, columns: std::iter::from_fn(column).collect() }))
    }
}

/// The SQL of the rows of `groups`, which follow each other, with their row ids before their `columns`: to be run in the
/// snapshot.
///
/// # Errors
/// There is no such table any more, or the groups have changed.
pub fn read_stored(
    connection: &Connection,
    table: &str,
    columns: &[u64],
    groups: &[StoredGroup],
) -> Result<(Snapshot, String)> {
    let groups: Vec<DhStoredGroup> = groups
        .iter()
        .map(|group| DhStoredGroup {
            first: group.first,
            number: group.number,
            inserted: group.inserted,
            visible: group.visible,
        })
        .collect();
    let mut error = DhError::none();
    let mut texts: Vec<String> = Vec::new();
    let target: *mut c_void = std::ptr::from_mut(&mut texts).cast();
    // SAFETY: the connection is alive, the arrays outlive the call, the sink gets the list it expects.
    let snapshot = unsafe {
        ffi::dh_stored_rows(
            connection.as_ptr(),
            table.into(),
            columns.as_ptr(),
            columns.len() as u64,
            groups.as_ptr(),
            groups.len() as u64,
            push_text,
            target,
            &mut error,
        )
    };
    error.into_result(())?;
    // SAFETY: it is new, and ours.
    Ok((unsafe { Snapshot::from_raw(snapshot) }, texts.pop().unwrap_or_default()))
}
