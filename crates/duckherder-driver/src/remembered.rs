//! What a driver with a directory, or with storage, remembers beside its databases: `driver.json`, written anew with
//! every change.

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
}

/// Workers and extensions that come back with the driver; without a file, they don't.
#[derive(Default)]
pub struct Remembered {
    place: Place,
    content: Mutex<Content>,
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
        let remembered = Self { place: Place::Store(store), content: Mutex::new(content) };
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
        let remembered = Self { place: Place::File(file), content: Mutex::new(content) };
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

    fn change(&self, change: impl FnOnce(&mut Content)) -> Result<()> {
        let mut content = lock(&self.content);
        change(&mut content);
        (content.format, content.written_by) = (FORMAT, env!("CARGO_PKG_VERSION").to_string());
        let text = serde_json::to_vec_pretty(&*content)
            .map_err(|error| DriverError::Task(format!("{FILE} can't be written: {error}")))?;
        match &self.place {
            Place::Nowhere => Ok(()),
            Place::File(file) => {
                let written = unfinished(file);
                fs::write(&written, text).map_err(failed("write", &written))?;
                finish(&written, file)
            }
            Place::Store(store) => Ok(store.write_file(FILE, &text)?),
        }
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
