//! Copies of a database in one file that any DuckDB opens, made and taken back while the driver runs.
//!
//! A backup is what one transaction sees. It is written beside its place, and takes it when it is whole and on the disk;
//! one in object storage is made among the temporary files, and appears there as a whole. What is left of one whose driver
//! was killed goes with the next one there.
//!
//! ```text
//!   sales.duckdb.ID.unfinished        what is written
//!   sales.duckdb.ID.unfinished.lock   held by its driver as long as that writes
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use duckherder_storage::WholeObject;
use tokio::runtime::Handle;

use crate::databases::Databases;
use crate::directory::{Held, failed, finish, hold, hold_left, log_of, remove_if_there, unfinished, with_suffix};
use crate::error::{DriverError, Result};
use crate::sql::{quote_identifier, quote_text};

/// What comes after the name of a file that is written, for that of the lock of who writes it.
const LOCK: &str = ".lock";
/// How long others may look at a copy, and how often it is looked whether they still do.
const CLOSE_LIMIT: Duration = Duration::from_secs(600);
const CLOSE_PAUSE: Duration = Duration::from_millis(5);

/// Writes a database's content to `target`, in the place of what may be there; blocks, in a runtime.
///
/// # Errors
/// There is no such database, `target` is one, or can't be written.
pub fn back_up(databases: &Databases, name: &str, target: &str) -> Result<()> {
    match place(databases, target)? {
        Place::File(file) => {
            let draft = Draft::of(&file);
            copy_to(databases, name, &draft.file)?;
            finish(&draft.file, &file)?;
        }
        Place::Object(object) => {
            let draft = Draft::of(&temporary_file(databases)?);
            copy_to(databases, name, &draft.file)?;
            Handle::current().block_on(object.upload(&draft.file))?;
        }
    }
    tracing::info!(database = name, target, "backed up");
    Ok(())
}

/// Writes it to a file that is not there yet.
fn copy_to(databases: &Databases, name: &str, file: &Path) -> Result<()> {
    // Keeps it from being dropped meanwhile.
    let source = databases.enter(Some(name))?;
    let connection = databases.instance().connect()?;
    let copy = quote_identifier(&format!("duckherder backup {}", uuid::Uuid::new_v4()));
    connection.execute(&format!("ATTACH {} AS {copy}", quote_text(path_text(file)?)))?;
    let from = quote_identifier(source.name());
    let copied = connection
        .execute("BEGIN TRANSACTION")
        .and_then(|()| connection.execute(&format!("COPY FROM DATABASE {from} TO {copy}")))
        .and_then(|()| connection.execute("COMMIT"));
    if copied.is_err() {
        // What was wrong is known already.
        let _ = connection.execute("ROLLBACK");
    }
    let closed = connection.execute(&format!("DETACH {copy}"));
    copied.and(closed)?;
    wait_until_whole(file)
}

/// DuckDB writes the log's content to the file, and removes the log, when the last who looks at the database lets go of
/// it: any session that lists tables just now may be that.
fn wait_until_whole(file: &Path) -> Result<()> {
    let begun = Instant::now();
    while log_of(file).exists() {
        if begun.elapsed() > CLOSE_LIMIT {
            return Err(DriverError::Storage(format!(
                "{} is still in use after {} s: try again",
                file.display(),
                CLOSE_LIMIT.as_secs()
            )));
        }
        std::thread::sleep(CLOSE_PAUSE);
    }
    Ok(())
}

/// Makes a database of a file that a backup is, or any other file of DuckDB's that nobody has open; blocks, in a runtime.
///
/// # Errors
/// There is a database of the name, the driver has no directory, or the file is none of DuckDB's.
pub fn restore(databases: &Databases, name: &str, source: &str) -> Result<()> {
    match place(databases, source)? {
        Place::File(file) => adopt(databases, name, &file)?,
        Place::Object(object) => {
            databases.check_may_add(name)?;
            let draft = Draft::of(&temporary_file(databases)?);
            Handle::current().block_on(object.download(&draft.file))?;
            adopt(databases, name, &draft.file)?;
        }
    }
    tracing::info!(database = name, source, "restored");
    Ok(())
}

/// The same, of a file.
fn adopt(databases: &Databases, name: &str, source: &Path) -> Result<()> {
    if log_of(source).exists() {
        return Err(DriverError::Database(format!(
            "{} is not whole, part of it is in its log {}: open it with DuckDB, and CHECKPOINT",
            source.display(),
            log_of(source).display()
        )));
    }
    databases.adopt(name, |home, file| home.copy_in(source, file))
}

/// Where a backup is.
enum Place {
    File(PathBuf),
    Object(WholeObject),
}

/// Where a path or a URL points to: nothing of the driver's own.
fn place(databases: &Databases, text: &str) -> Result<Place> {
    let path = match text.split_once("://") {
        Some(("file", path)) => path,
        Some(_) => {
            databases.check_not_own_object(text)?;
            return Ok(Place::Object(WholeObject::parse(text)?));
        }
        None => text,
    };
    let path = Path::new(path);
    if path.is_absolute() && path.file_name().is_some() {
        databases.check_not_own(path)?;
        return Ok(Place::File(path.to_path_buf()));
    }
    Err(DriverError::Invalid(format!("\"{text}\" is not the absolute path of a file")))
}

/// Where the driver makes what it sends elsewhere, or gets from there.
fn temporary_file(databases: &Databases) -> Result<PathBuf> {
    let directory = databases.temporary_directory()?;
    std::fs::create_dir_all(&directory).map_err(failed("make", &directory))?;
    Ok(directory.join("duckherder-backup"))
}

/// A file of no use once this is dropped.
struct Draft {
    file: PathBuf,
    lock: PathBuf,
    /// `None` where the file system has no locks: then nobody takes it for left.
    #[allow(dead_code, reason = "it is held")]
    held: Option<File>,
}

impl Draft {
    /// Of what is to be `target`. Those go whose drivers are gone.
    fn of(target: &Path) -> Self {
        remove_stale(target);
        loop {
            let file = unfinished(&with_suffix(target, &format!(".{}", uuid::Uuid::new_v4())));
            let lock = lock_of(&file);
            let held = match hold(&lock) {
                Ok(Held::Ours(held)) => Some(held),
                // Another driver just looks whether this one is there.
                Ok(Held::Others(_)) => continue,
                Err(error) => {
                    tracing::warn!(%error, "a backup without a lock");
                    None
                }
            };
            return Self { file, lock, held };
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = remove_draft(&self.file, &self.lock) {
            tracing::warn!(%error, "a temporary file is left");
        }
    }
}

/// The lock goes last: as long as it is there, somebody can find the rest.
fn remove_draft(file: &Path, lock: &Path) -> Result<()> {
    remove_if_there(&log_of(file))?;
    remove_if_there(file)?;
    remove_if_there(lock)
}

fn lock_of(file: &Path) -> PathBuf {
    with_suffix(file, LOCK)
}

/// Removes drafts of `target` that nobody writes any more, as far as that can be seen and done here.
fn remove_stale(target: &Path) {
    let (Some(directory), Some(name)) = (target.parent(), target.file_name().and_then(|name| name.to_str())) else {
        return;
    };
    let end = lock_of(&unfinished(Path::new("")));
    let end = end.to_str().unwrap_or_default();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        // A link may lead to anybody's file.
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path();
        let found = path.file_name().and_then(|found| found.to_str()).unwrap_or_default();
        let id = found.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')?.strip_suffix(end));
        if id.is_some_and(|id| uuid::Uuid::parse_str(id).is_ok())
            && let Some(_held) = hold_left(&path)
        {
            tracing::warn!(file = %path.display(), "removed what a driver left half done");
            if let Err(error) = remove_draft(&path.with_extension(""), &path) {
                tracing::warn!(%error, "a temporary file is left");
            }
        }
    }
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| DriverError::Invalid(format!("{} is no text", path.display())))
}
