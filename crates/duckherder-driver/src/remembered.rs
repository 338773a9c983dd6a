//! What a driver with a directory, or with storage, remembers beside its databases: `driver.json`, written anew with
//! every change.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use duckherder_storage::{Reader, Store};
use serde::{Deserialize, Serialize};

use crate::directory::{failed, finish, unfinished};
use crate::error::{DriverError, Result};
use crate::sync::lock;

pub const FILE: &str = "driver.json";
/// Goes up when a driver that does not know a change would get the directory wrong.
const FORMAT: u32 = 1;

/// The file's content.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Content {
    format: u32,
    /// The version of Duckherder that wrote it, for people.
    written_by: String,
    extensions: BTreeSet<String>,
    /// Id and location.
    workers: BTreeMap<String, String>,
    /// Other names of tables, in lower case, and the tables, by database.
    #[serde(default)]
    table_names: BTreeMap<String, BTreeMap<String, String>>,
}

/// Workers, extensions and other names of tables that come back with the driver; without a file, they don't.
#[derive(Default)]
pub struct Remembered {
    place: Place,
    /// As it is written.
    content: Mutex<Content>,
    /// Held while it is written, which may take a while: readers do not wait for that.
    writing: Mutex<()>,
}

/// Where they are written.
#[derive(Default)]
enum Place {
    #[default]
    Nowhere,
    File(PathBuf),
    Store(Arc<Store>),
}

impl Remembered {
    /// The same, in object storage.
    ///
    /// # Errors
    /// The file can't be read, or was written by another version.
    pub fn open_stored(store: Arc<Store>) -> Result<Self> {
        let shown = PathBuf::from(format!("{}: {FILE}", store.shown()));
        let content = match store.read_file(FILE)? {
            Some(bytes) => parse(&bytes, &shown)?,
            None => Content::default(),
        };
        let remembered = Self { place: Place::Store(store), content: Mutex::new(content), writing: Mutex::default() };
        remembered.change(|_| ())?;
        Ok(remembered)
    }

    /// Makes sure that it could be read in object storage, without touching it.
    ///
    /// # Errors
    /// As for [`open_stored`](Self::open_stored).
    pub fn check_stored(reader: &Reader, place: &str) -> Result<()> {
        let Some(length) = reader.length(FILE) else { return Ok(()) };
        let mut bytes = vec![0; length as usize];
        reader.read(FILE, 0, &mut bytes)?;
        parse(&bytes, &PathBuf::from(format!("{place}: {FILE}"))).map(drop)
    }

    /// Reads what the directory has of it; a new one gets an empty file.
    ///
    /// # Errors
    /// The file can't be read, or was written by another version.
    pub fn open(directory: &Path) -> Result<Self> {
        let file = directory.join(FILE);
        let content = match fs::read(&file) {
            Ok(bytes) => parse(&bytes, &file)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Content::default(),
            Err(error) => return Err(failed("read", &file)(error)),
        };
        let remembered = Self { place: Place::File(file), content: Mutex::new(content), writing: Mutex::default() };
        remembered.change(|_| ())?;
        Ok(remembered)
    }

    /// Makes sure that it could be read, without touching it.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn check(directory: &Path) -> Result<()> {
        let file = directory.join(FILE);
        match fs::read(&file) {
            Ok(bytes) => parse(&bytes, &file).map(drop),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("read", &file)(error)),
        }
    }

    pub fn extensions(&self) -> Vec<String> {
        lock(&self.content).extensions.iter().cloned().collect()
    }

    /// Ids and locations.
    pub fn workers(&self) -> Vec<(String, String)> {
        lock(&self.content).workers.iter().map(|(id, location)| (id.clone(), location.clone())).collect()
    }

    /// # Errors
    /// The file can't be written.
    pub fn extension(&self, name: &str) -> Result<()> {
        self.change(|content| {
            content.extensions.insert(name.to_string());
        })
    }

    /// # Errors
    /// The file can't be written.
    pub fn worker(&self, id: &str, location: &str) -> Result<()> {
        self.change(|content| {
            content.workers.insert(id.to_string(), location.to_string());
        })
    }

    /// # Errors
    /// The file can't be written.
    pub fn forget_worker(&self, id: &str) -> Result<()> {
        if !lock(&self.content).workers.contains_key(id) {
            return Ok(());
        }
        self.change(|content| {
            content.workers.remove(id);
        })
    }

    /// Other names of a database's tables, and the tables.
    pub fn table_names(&self, database: &str) -> Vec<(String, String)> {
        let content = lock(&self.content);
        let names = content.table_names.get(database).into_iter().flatten();
        names.map(|(name, table)| (name.clone(), table.clone())).collect()
    }

    /// `table` has another `name`, which DuckDB compares as it compares all names.
    ///
    /// # Errors
    /// Another table has that, or the file can't be written.
    pub fn name_table(&self, database: &str, name: &str, table: &str) -> Result<()> {
        self.try_change(|content| {
            let names = content.table_names.entry(database.to_string()).or_default();
            match names.entry(name.to_ascii_lowercase()) {
                Entry::Occupied(known) if !known.get().eq_ignore_ascii_case(table) => Err(DriverError::Invalid(
                    format!("Failed to register table {name} because it's already registered!"),
                )),
                Entry::Occupied(_) => Ok(()),
                Entry::Vacant(place) => {
                    place.insert(table.to_string());
                    Ok(())
                }
            }
        })
    }

    /// No table has another `name` any more.
    ///
    /// # Errors
    /// None had, or the file can't be written.
    pub fn forget_name(&self, database: &str, name: &str) -> Result<()> {
        self.try_change(|content| {
            let names = content.table_names.get_mut(database);
            match names.and_then(|names| names.remove(&name.to_ascii_lowercase())) {
                Some(_) => Ok(()),
                None => Err(DriverError::Invalid(format!(
                    "Failed to unregister table {name} because it hasn't been registered!"
                ))),
            }
        })
    }

    /// A database is gone.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn forget_names(&self, database: &str) -> Result<()> {
        if !lock(&self.content).table_names.contains_key(database) {
            return Ok(());
        }
        self.change(|content| {
            content.table_names.remove(database);
        })
    }

    fn change(&self, change: impl FnOnce(&mut Content)) -> Result<()> {
        self.try_change(|content| {
            change(content);
            Ok(())
        })
    }

    /// Nothing has changed if `change` fails, or it can't be written.
    fn try_change(&self, change: impl FnOnce(&mut Content) -> Result<()>) -> Result<()> {
        let _writing = lock(&self.writing);
        let mut content = lock(&self.content).clone();
        change(&mut content)?;
        (content.format, content.written_by) = (FORMAT, env!("CARGO_PKG_VERSION").to_string());
        let text = serde_json::to_vec_pretty(&content)
            .map_err(|error| DriverError::Task(format!("{FILE} can't be written: {error}")))?;
        match &self.place {
            Place::Nowhere => {}
            Place::File(file) => {
                let written = unfinished(file);
                fs::write(&written, text).map_err(failed("write", &written))?;
                finish(&written, file)?;
            }
            Place::Store(store) => store.write_file(FILE, &text)?,
        }
        *lock(&self.content) = content;
        Ok(())
    }
}

fn parse(bytes: &[u8], file: &Path) -> Result<Content> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
        written_by: String,
    }
    let malformed = |error| {
        DriverError::Storage(format!("{} is not what a driver has written ({error}): repair it", file.display()))
    };
    let Format { format, written_by } = serde_json::from_slice(bytes).map_err(malformed)?;
    if format != FORMAT {
        return Err(DriverError::Storage(format!(
            "{} has format {format}, written by Duckherder {written_by}; this is Duckherder {}, which knows format \
             {FORMAT}: use a version that knows format {format}",
            file.display(),
            env!("CARGO_PKG_VERSION")
        )));
    }
    serde_json::from_slice(bytes).map_err(malformed)
}
