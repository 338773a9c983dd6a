//! Moving a driver's files to another place, out of reach of a driver that may still have them open.
//!
//! A process that was stopped, or cut off, may go on at any time, and writes where its open files and its paths lead. So
//! its successor works on copies, in a directory of its own: nothing that the old one can name. When the old one has
//! ended, whoever starts next moves the files back to where they are looked for.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::directory::{Held, failed, is_of_database, sync_directory};
use crate::error::{DriverError, Result};
use crate::lease::Content;
use crate::remembered;

const PLACE: &str = "epoch-";
/// More than the clock of a file system's times takes for a step.
const CLOCK_STEP: Duration = Duration::from_millis(30);
/// How often files that change meanwhile are copied again: the old driver ends with its next commit, or within a second.
const TRIES: usize = 100;

/// The name of the place that the driver of an epoch copies files to.
pub fn place_of(epoch: u64) -> String {
    format!("{PLACE}{epoch}")
}

/// A driver's files in `place`.
fn files(place: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(place).map_err(failed("read the directory", place))? {
        let path = entry.map_err(failed("read the directory", place))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if is_of_database(name) || name == remembered::FILE {
            files.push((name.to_string(), path));
        }
    }
    files.sort();
    Ok(files)
}

/// What changes if a file is written, replaced or removed: its name, number, size and time.
type Stamp = (String, u64, u64, i64, i64);

fn stamps(place: &Path) -> Result<Vec<Stamp>> {
    let stamp = |(name, path): (String, PathBuf)| {
        // Opened, so that file systems of several machines look at it anew.
        let metadata = File::open(&path).and_then(|file| file.metadata()).map_err(failed("read", &path))?;
        Ok((name, metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
    };
    files(place)?.into_iter().map(stamp).collect()
}

/// Copies a driver's files, as they all are at one moment, to the new directory `to`.
///
/// # Errors
/// The file system refuses, or they change all the time.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    for _ in 0..TRIES {
        if to.exists() {
            fs::remove_dir_all(to).map_err(failed("remove", to))?;
        }
        fs::create_dir(to).map_err(failed("make the directory", to))?;
        // A file that is gone has changed.
        let Ok(before) = stamps(from) else { continue };
        // What is written from here on has another time.
        std::thread::sleep(CLOCK_STEP);
        let copied = copy_once(from, to);
        if matches!(stamps(from), Ok(after) if after == before) {
            return copied;
        }
        tracing::warn!(from = %from.display(), "files have changed while they were copied, and are copied again");
    }
    Err(DriverError::Storage(format!("the driver that has {} does not stop to write: stop it", from.display())))
}

fn copy_once(from: &Path, to: &Path) -> Result<()> {
    for (name, path) in files(from)? {
        let target = to.join(name);
        // Where the file system can, the copy shares the blocks.
        fs::copy(&path, &target).map_err(failed("copy", &path))?;
        File::open(&target).and_then(|file| file.sync_all()).map_err(failed("write", &target))?;
    }
    sync_directory(to)
}

/// Moves the files back to `root`, if they are elsewhere and the driver that had them there has ended, which the lock
/// there tells: what the directory says then, and that lock. Begun once, it is finished by whoever comes next.
///
/// # Errors
/// The file system refuses.
pub fn move_home(
    root: &Path,
    content: Content,
    lock: impl FnOnce() -> Result<Held>,
) -> Result<Option<(Content, File)>> {
    if content.place.is_empty() {
        return Ok(None);
    }
    let Held::Ours(lock) = lock()? else { return Ok(None) };
    let place = root.join(&content.place);
    if !content.moving {
        for (_, stale) in files(root)? {
            fs::remove_file(&stale).map_err(failed("remove", &stale))?;
        }
        sync_directory(root)?;
    }
    let moving = Content { moving: true, ..content };
    moving.write(root)?;
    for (name, path) in files(&place)? {
        fs::rename(&path, root.join(name)).map_err(failed("move", &path))?;
    }
    sync_directory(root)?;
    let content = Content { place: String::new(), moving: false, ..moving };
    content.write(root)?;
    tracing::info!(from = %place.display(), to = %root.display(), "moved the databases back");
    Ok(Some((content, lock)))
}

/// Removes places that no driver is in any more, but for `current`.
///
/// # Errors
/// The file system refuses.
pub fn remove_places(root: &Path, current: &Path, lock: impl Fn(&Path) -> Result<Held>) -> Result<()> {
    for entry in fs::read_dir(root).map_err(failed("read the directory", root))? {
        let path = entry.map_err(failed("read the directory", root))?.path();
        let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(PLACE));
        let is_place = number.is_some_and(|number| number.parse::<u64>().is_ok()) && path.is_dir();
        if is_place && path != current && matches!(lock(&path)?, Held::Ours(_)) {
            fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::directory::Directory;
    use crate::lease::Lease;

    fn folder() -> PathBuf {
        let root = std::env::temp_dir().join(format!("duckherder-takeover-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&root).unwrap();
        fs::canonicalize(root).unwrap()
    }

    fn text(path: PathBuf) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn what_belongs_to_databases() {
        for name in ["a.duckdb", "a.duckdb.wal", "a.duckdb.wal.checkpoint", "a.duckdb.wal.recovery"] {
            assert!(is_of_database(name), "{name}");
        }
        for name in ["driver.lock", "a.duckdb.unfinished", "a.duckdb.dropped", "a.duckdb.tmp", "a.duckdb.wall"] {
            assert!(!is_of_database(name), "{name}");
        }
    }

    #[test]
    fn a_directory_is_wrested_and_goes_home() {
        let root = folder();
        let old = Directory::open(&root, "a:1").unwrap();
        fs::write(root.join("x.duckdb"), "x").unwrap();
        fs::write(root.join("x.duckdb.wal"), "log").unwrap();
        assert!(Directory::open_if_free(&root, "b:2").unwrap().is_none());
        assert!(matches!(Directory::open(&root, "b:2"), Err(DriverError::DirectoryInUse { .. })));

        let content = Content::read(&root).unwrap().unwrap();
        let new = Directory::wrest(&root, &content, "b:2").unwrap().unwrap();
        assert!(matches!(old.lease().check(), Err(DriverError::Fenced)));
        new.lease().check().unwrap();
        assert_eq!((new.path(), text(new.path().join("x.duckdb.wal"))), (root.join("epoch-2").as_path(), "log".into()));
        // Only what was seen can be taken.
        assert!(Directory::wrest(&root, &content, "c:3").unwrap().is_none());
        // What the old one still writes is not read by the new one.
        fs::write(root.join("x.duckdb"), "stale").unwrap();
        fs::write(new.path().join("x.duckdb"), "fresh").unwrap();
        drop(new);

        // As long as the old one is there, the files stay away from it.
        let third = Directory::open(&root, "c:3").unwrap();
        assert_eq!((third.path(), third.lease().epoch()), (root.join("epoch-2").as_path(), 3));
        drop(third);
        drop(old);
        let home = Directory::open(&root, "d:4").unwrap();
        assert_eq!((home.path(), text(root.join("x.duckdb"))), (root.as_path(), "fresh".to_string()));
        assert!(!root.join("epoch-2").exists());
        drop(home);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_takeover_that_was_not_finished_is_begun_anew() {
        let root = folder();
        let old = Directory::open(&root, "a:1").unwrap();
        fs::write(root.join("x.duckdb"), "x").unwrap();
        // What a standby has done that died while it copied.
        let content = Content::read(&root).unwrap().unwrap();
        content.next("b:2").write(&root).unwrap();
        fs::create_dir(root.join("epoch-2")).unwrap();
        fs::write(root.join("epoch-2/x.duckdb"), "half").unwrap();
        assert!(matches!(old.lease().check(), Err(DriverError::Fenced)));
        assert!(Directory::open_if_free(&root, "c:3").unwrap().is_none());
        let content = Content::read(&root).unwrap().unwrap();
        let third = Directory::wrest(&root, &content, "c:3").unwrap().unwrap();
        assert_eq!((third.lease().epoch(), text(third.path().join("x.duckdb"))), (3, "x".to_string()));
        drop((old, third));
        // Where nobody is left, the files are opened where they are.
        let home = Directory::open_if_free(&root, "d:4").unwrap().unwrap();
        assert_eq!((home.path(), text(root.join("x.duckdb"))), (root.as_path(), "x".to_string()));
        assert!(!root.join("epoch-2").exists() && !root.join("epoch-3").exists());
        drop(home);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_move_that_was_begun_is_finished() {
        let root = folder();
        let place = root.join("epoch-5");
        fs::create_dir(&place).unwrap();
        // One file has been moved, the other has not.
        fs::write(root.join("a.duckdb"), "a").unwrap();
        fs::write(place.join("b.duckdb"), "b").unwrap();
        let content = Content { epoch: 5, place: place_of(5), moving: true, ..Content::default() };
        content.write(&root).unwrap();
        let directory = Directory::open(&root, "a:1").unwrap();
        assert_eq!((text(root.join("a.duckdb")), text(root.join("b.duckdb"))), ("a".to_string(), "b".to_string()));
        assert_eq!(directory.lease().epoch(), 6);
        drop(directory);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn files_that_change_are_copied_again() {
        let (root, place) = (folder(), folder());
        fs::remove_dir(&place).unwrap();
        let file = root.join("x.duckdb");
        fs::write(&file, vec![0; 1 << 20]).unwrap();
        let writing = std::thread::spawn({
            let file = file.clone();
            move || {
                for round in 1..=20_u8 {
                    let mut written = fs::OpenOptions::new().write(true).open(&file).unwrap();
                    written.write_all(&vec![round; 1 << 20]).unwrap();
                    std::thread::sleep(Duration::from_millis(7));
                }
            }
        });
        copy(&root, &place).unwrap();
        writing.join().unwrap();
        let copied = fs::read(place.join("x.duckdb")).unwrap();
        assert!(copied.len() == 1 << 20 && copied.iter().all(|byte| *byte == copied[0]));
        fs::remove_dir_all(root).unwrap();
        fs::remove_dir_all(place).unwrap();
    }
}
