//! A directory that belongs to one driver: its databases' files, and what else outlives the process.
//!
//! ```text
//!   driver.lease       whose it is, and where in it the files are
//!   driver.takeover    held while it changes hands
//!   driver.lock        held while the driver runs
//!   driver.heartbeat   changes while it runs
//!   driver.json        what else the driver remembers
//!   sales.duckdb       a database, and while it is open or after a crash
//!   sales.duckdb.wal   its log
//!   epoch-8/           the last five, once driver 8 has taken over from one that did not end
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use duckherder_engine::EngineError;
use duckherder_proto::database::{decode_name, encode_name};

use crate::error::{DriverError, Result};
use crate::lease::{Content, DirectoryLease};
use crate::takeover;

const LOCK: &str = "driver.lock";
const CHANGING: &str = "driver.takeover";
const DATABASE: &str = ".duckdb";
const LOG: &str = ".wal";
/// What comes after the name of a file that is still being written, or goes away.
const UNFINISHED: &str = ".unfinished";
const DROPPED: &str = ".dropped";
/// How long a driver that starts waits for others that look whether they may.
const CHANGING_LIMIT: Duration = Duration::from_secs(5);
const CHANGING_PAUSE: Duration = Duration::from_millis(10);

/// How long a process that ends may take to close its databases, and what DuckDB says of one that is open elsewhere.
const CLOSING_LIMIT: Duration = Duration::from_secs(10);
const LOCKED: &str = "Could not set lock on file";

/// A directory, locked until this is dropped.
pub struct Directory {
    /// As the user named it.
    root: PathBuf,
    /// Where its files are.
    place: PathBuf,
    lease: Arc<DirectoryLease>,
    _lock: File,
}

impl Directory {
    /// Makes the directory if it is missing, takes it for the driver that listens at `address`, and clears away what an
    /// earlier one left half done.
    ///
    /// # Errors
    /// Another driver has it, or the file system refuses.
    pub fn open(path: &Path, address: &str) -> Result<Self> {
        fs::create_dir_all(path).map_err(failed("make the directory", path))?;
        let root = root(path)?;
        let begun = Instant::now();
        let changing = loop {
            match hold(&root.join(CHANGING))? {
                Held::Ours(file) => break file,
                Held::Others(process) if begun.elapsed() > CHANGING_LIMIT => {
                    return Err(DriverError::DirectoryInUse { path: root, process });
                }
                Held::Others(_) => std::thread::sleep(CHANGING_PAUSE),
            }
        };
        let content = Content::read(&root)?.unwrap_or_default();
        match hold(&root.join(&content.place).join(LOCK))? {
            Held::Ours(lock) => Self::take(root, content, lock, address, &changing),
            Held::Others(process) => Err(DriverError::DirectoryInUse { path: root, process }),
        }
    }

    /// As [`open`](Self::open), if no driver has it just now.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn open_if_free(root: &Path, address: &str) -> Result<Option<Self>> {
        let Some(content) = Content::read(root)? else { return Ok(None) };
        let Held::Ours(lock) = hold(&root.join(&content.place).join(LOCK))? else { return Ok(None) };
        let Held::Ours(changing) = hold(&root.join(CHANGING))? else { return Ok(None) };
        // Another may have come and gone since it was read.
        if Content::read(root)?.as_ref() != Some(&content) {
            return Ok(None);
        }
        Self::take(root.to_path_buf(), content, lock, address, &changing).map(Some)
    }

    /// Takes the directory from a driver that still has it, if `content` is still what it says: that driver is told first
    /// of all that it is not its any more, then its files are copied to another place.
    ///
    /// # Errors
    /// The file system refuses. The old driver may have been fenced already.
    pub fn wrest(root: &Path, content: &Content, address: &str) -> Result<Option<Self>> {
        let Held::Ours(_changing) = hold(&root.join(CHANGING))? else { return Ok(None) };
        if Content::read(root)?.as_ref() != Some(content) {
            return Ok(None);
        }
        let fencing = content.next(address);
        fencing.write(root)?;
        let name = takeover::place_of(fencing.epoch);
        let (from, place) = (root.join(&content.place), root.join(&name));
        takeover::copy(&from, &place)?;
        sync_directory(root)?;
        let Held::Ours(lock) = hold(&place.join(LOCK))? else {
            return Err(DriverError::Storage(format!("{} is locked by somebody", place.display())));
        };
        let content = Content { place: name, moving: false, ..fencing };
        let lease = DirectoryLease::take(root, &content, &place)?;
        let directory = Self { root: root.to_path_buf(), place, lease, _lock: lock };
        directory.clear()?;
        Ok(Some(directory))
    }

    /// With the lock of the place where the files are, which nobody else has open.
    fn take(root: PathBuf, content: Content, lock: File, address: &str, _changing: &File) -> Result<Self> {
        let (content, lock) = match takeover::move_home(&root, content.clone(), || hold(&root.join(LOCK)))? {
            Some(home) => {
                drop(lock);
                home
            }
            None => (content, lock),
        };
        let place = root.join(&content.place);
        let lease = DirectoryLease::take(&root, &content.next(address), &place)?;
        let directory = Self { root, place, lease, _lock: lock };
        directory.clear()?;
        takeover::remove_places(&directory.root, &directory.place, |place| hold(&place.join(LOCK)))?;
        Ok(directory)
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        &self.place
    }

    /// Whether a file is, or would be, one of the driver's.
    pub fn contains(&self, folder: &Path) -> bool {
        folder == self.root || folder == self.place
    }

    /// The right to answer for what is in it.
    pub fn lease(&self) -> &Arc<DirectoryLease> {
        &self.lease
    }

    /// Where a new database is to be.
    pub fn database_file(&self, name: &str) -> PathBuf {
        self.place.join(encode_name(name) + DATABASE)
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
        sync_directory(&self.place)
    }

    fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let refused = failed("read the directory", &self.place);
        let entries: io::Result<Vec<_>> = fs::read_dir(&self.place).and_then(Iterator::collect);
        let paths = entries.map_err(refused)?.into_iter().map(|entry| entry.path());
        Ok(paths.filter_map(|path| Some((path.file_name()?.to_str()?.to_string(), path))).collect())
    }

    /// A log without its database would be taken for that of the next database of the name.
    fn clear(&self) -> Result<()> {
        for (name, path) in self.files()? {
            let unfinished = [UNFINISHED, DROPPED].iter().any(|suffix| name.contains(&format!("{DATABASE}{suffix}")));
            let orphan = name
                .strip_suffix(LOG)
                .is_some_and(|database| database.ends_with(DATABASE) && !self.place.join(database).exists());
            if unfinished || orphan {
                tracing::warn!(file = %path.display(), "removed what a driver left half done");
                remove_if_there(&path)?;
            }
        }
        Ok(())
    }
}

/// Tasks of the driver may have another working directory one day.
///
/// # Errors
/// There is no such directory.
pub fn root(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(failed("find the directory", path))
}

/// A file that one process at a time may hold.
pub enum Held {
    /// Until it is dropped.
    Ours(File),
    /// By the process of this number, if it was there to be read.
    Others(String),
}

/// Takes hold of a file if nobody else has it; makes it if it is missing.
///
/// # Errors
/// The file system refuses.
pub fn hold(file: &Path) -> Result<Held> {
    let refused = || failed("lock", file);
    let mut opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file).map_err(refused())?;
    match opened.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            // Only for the message.
            let _ = opened.read_to_string(&mut process);
            return Ok(Held::Others(process.trim().to_string()));
        }
        Err(TryLockError::Error(error)) => return Err(refused()(error)),
    }
    opened.set_len(0).map_err(refused())?;
    writeln!(opened, "{}", std::process::id()).map_err(refused())?;
    Ok(Held::Ours(opened))
}

/// The same of a file that is there, which stays as it is. `None`: somebody has it, or who has can't be seen.
pub fn hold_left(file: &Path) -> Option<File> {
    let opened = OpenOptions::new().read(true).open(file).ok()?;
    opened.try_lock().ok().map(|()| opened)
}

/// Opens one of the directory's databases. A process that ends lets go of the directory's lock a moment before it lets go
/// of its databases: what is locked by then is waited for.
///
/// # Errors
/// DuckDB's.
pub fn once_closed<T>(open: impl Fn() -> Result<T, EngineError>) -> Result<T, EngineError> {
    let begun = Instant::now();
    loop {
        match open() {
            Err(error) if error.message.contains(LOCKED) && begun.elapsed() < CLOSING_LIMIT => {
                std::thread::sleep(CHANGING_PAUSE);
            }
            opened => return opened,
        }
    }
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

/// Whether a file is a database, or what DuckDB keeps of it beside it.
pub fn is_of_database(name: &str) -> bool {
    let log = format!("{DATABASE}{LOG}");
    name.ends_with(DATABASE) || name.split_once(&log).is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('.'))
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

/// Makes sure that what was made, renamed or removed in a directory stays so.
///
/// # Errors
/// The file system refuses.
pub fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed("write the directory", path))
}

/// What could not be done to which file.
pub fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> DriverError + use<> {
    let path = path.to_path_buf();
    move |source| DriverError::File { what, path: path.clone(), source }
}
