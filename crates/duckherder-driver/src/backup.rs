//! Copies of a database in one file that any DuckDB opens, made and taken back while the driver runs.
//!
//! A backup is what one transaction sees. It is written beside its place, and takes it when it is whole and on the disk;
//! one in object storage is made among the temporary files, and appears there as a whole.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use duckherder_storage::WholeObject;
use tokio::runtime::Handle;

use crate::databases::Databases;
use crate::directory::{failed, finish, log_of, remove_if_there, unfinished, with_suffix};
use crate::error::{DriverError, Result};
use crate::sql::{quote_identifier, quote_text};

/// How long others may look at a copy, and how often it is looked whether they still do.
const CLOSE_LIMIT: Duration = Duration::from_secs(600);
const CLOSE_PAUSE: Duration = Duration::from_millis(5);

/// Writes a database's content to `target`, in the place of what may be there; blocks, in a runtime.
///
/// # Errors
/// There is no such database, `target` is one, or can't be written.
pub fn back_up(databases: &Databases, name: &str, target: &str) -> Result<()> {
    match place(databases, target)? {
        Place::File(file) => copy_to(databases, name, &file)?,
        Place::Object(object) => {
            let copy = Temporary::new(databases)?;
            copy_to(databases, name, &copy.file)?;
            Handle::current().block_on(object.upload(&copy.file))?;
        }
    }
    tracing::info!(database = name, target, "backed up");
    Ok(())
}

/// The same, to a file.
fn copy_to(databases: &Databases, name: &str, target: &Path) -> Result<()> {
    // Keeps it from being dropped meanwhile.
    let source = databases.enter(Some(name))?;
    let id = uuid::Uuid::new_v4();
    let written = unfinished(&with_suffix(target, &format!(".{id}")));
    let connection = databases.instance().connect()?;
    let copy = quote_identifier(&format!("duckherder backup {id}"));
    connection.execute(&format!("ATTACH {} AS {copy}", quote_text(path_text(&written)?)))?;
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
    let whole = copied.and(closed).map_err(DriverError::from).and_then(|()| wait_until_whole(&written));
    let done = whole.and_then(|()| finish(&written, target));
    if done.is_err() {
        remove_if_there(&log_of(&written))?;
        remove_if_there(&written)?;
    }
    done
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
            let copy = Temporary::new(databases)?;
            Handle::current().block_on(object.download(&copy.file))?;
            adopt(databases, name, &copy.file)?;
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

/// A file of no use once this is dropped.
struct Temporary {
    file: PathBuf,
}

impl Temporary {
    fn new(databases: &Databases) -> Result<Self> {
        let directory = databases.temporary_directory()?;
        std::fs::create_dir_all(&directory).map_err(failed("make", &directory))?;
        Ok(Self { file: directory.join(format!("duckherder-backup-{}.duckdb", uuid::Uuid::new_v4())) })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = remove_if_there(&self.file) {
            tracing::warn!(%error, "a temporary file is left");
        }
    }
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| DriverError::Invalid(format!("{} is no text", path.display())))
}
