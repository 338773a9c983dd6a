//! A directory that belongs to one driver: its databases' files, and what else outlives the process.
//!
//! ```text
//!   driver.lock        held while the driver runs
//!   driver.json        what else the driver remembers
//!   sales.duckdb       a database, and while it is open or after a crash
//!   sales.duckdb.wal   its log
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use duckherder_proto::database::{decode_name, encode_name};

use crate::error::{DriverError, Result};

const LOCK: &str = "driver.lock";
const DATABASE: &str = ".duckdb";
const LOG: &str = ".wal";
/// What comes after the name of a file that is still being written, or goes away.
const UNFINISHED: &str = ".unfinished";
const DROPPED: &str = ".dropped";

/// A directory, locked until this is dropped.
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory if it is missing, takes it for this driver, and clears away what an earlier one left half
    /// done.
    ///
    /// # Errors
    /// Another driver has it, or the file system refuses.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(failed("make the directory", path))?;
        // Tasks of the driver may have another working directory one day.
        let path = fs::canonicalize(path).map_err(failed("find the directory", path))?;
        let lock = lock(&path)?;
        let directory = Self { path, _lock: lock };
        directory.clear()?;
        Ok(directory)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a new database is to be.
    pub fn database_file(&self, name: &str) -> PathBuf {
        self.path.join(encode_name(name) + DATABASE)
    }

    /// The databases that there are: name, in the case in which the file has it, and file.
    ///
    /// # Errors
    /// The directory can't be read, or a name is no text.
    pub fn databases(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut found = Vec::new();
        for (name, path) in self.files()? {
            if let Some(stem) = name.strip_suffix(DATABASE) {
                found.push((decode_name(stem).unwrap_or_else(|| stem.to_string()), path));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes a database's file, which is closed, at once or not at all.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn remove(&self, file: &Path) -> Result<()> {
        let dropped = with_suffix(file, DROPPED);
        fs::rename(file, &dropped).map_err(failed("remove", file))?;
        remove_if_there(&log_of(file))?;
        remove_if_there(&dropped)?;
        self.sync()
    }

    /// Makes sure that files that were made, renamed or removed stay so.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn sync(&self) -> Result<()> {
        sync_directory(&self.path)
    }

    fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let refused = failed("read the directory", &self.path);
        let entries: io::Result<Vec<_>> = fs::read_dir(&self.path).and_then(Iterator::collect);
        let paths = entries.map_err(refused)?.into_iter().map(|entry| entry.path());
        Ok(paths.filter_map(|path| Some((path.file_name()?.to_str()?.to_string(), path))).collect())
    }

    /// A log without its database would be taken for that of the next database of the name.
    fn clear(&self) -> Result<()> {
        for (name, path) in self.files()? {
            let unfinished = [UNFINISHED, DROPPED].iter().any(|suffix| name.contains(&format!("{DATABASE}{suffix}")));
            let orphan = name
                .strip_suffix(LOG)
                .is_some_and(|database| database.ends_with(DATABASE) && !self.path.join(database).exists());
            if unfinished || orphan {
                tracing::warn!(file = %path.display(), "removed what a driver left half done");
                remove_if_there(&path)?;
            }
        }
        Ok(())
    }
}

fn lock(path: &Path) -> Result<File> {
    let file = path.join(LOCK);
    let refused = || failed("lock", &file);
    let mut opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file).map_err(refused())?;
    match opened.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            // Only for the message.
            let _ = opened.read_to_string(&mut process);
            return Err(DriverError::DirectoryInUse { path: path.to_path_buf(), process: process.trim().to_string() });
        }
        Err(TryLockError::Error(error)) => return Err(refused()(error)),
    }
    opened.set_len(0).map_err(refused())?;
    writeln!(opened, "{}", std::process::id()).map_err(refused())?;
    Ok(opened)
}

/// Where a file is written before it takes the place of `file`.
pub fn unfinished(file: &Path) -> PathBuf {
    with_suffix(file, UNFINISHED)
}

/// Puts a file that is written in the place of `file`, at once and for good.
///
/// # Errors
/// The file system refuses; the old file is untouched then.
pub fn finish(written: &Path, file: &Path) -> Result<()> {
    File::open(written).and_then(|written| written.sync_all()).map_err(failed("write", written))?;
    fs::rename(written, file).map_err(failed("write", file))?;
    match file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync_directory(parent),
        None => sync_directory(Path::new(".")),
    }
}

/// Removes a file if it is there.
///
/// # Errors
/// The file system refuses.
pub fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Bytes of a database's file and its log.
pub fn size_bytes(file: &Path) -> u64 {
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    size(file) + size(&log_of(file))
}

/// Where DuckDB writes what is not in a database's file yet.
pub fn log_of(file: &Path) -> PathBuf {
    with_suffix(file, LOG)
}

/// `file` with something after its name.
pub fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed("write the directory", path))
}

/// What could not be done to which file.
pub fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> DriverError + use<> {
    let path = path.to_path_buf();
    move |source| DriverError::File { what, path: path.clone(), source }
}
