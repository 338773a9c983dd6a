//! Who may answer for databases that several drivers can reach: one driver at a time, and whoever is not it any more
//! finds out before it answers.
//!
//! ```text
//!   driver 7:  write, fsync -------------> is the epoch still 7? --> answer the client
//!   driver 8:      the epoch is 8 (fsync) --> read all that 7 has written --> open it
//! ```
//!
//! A driver asks after it has made something durable and before it tells; its successor says that it is there before it
//! reads. So what was told is what the successor has read.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use duckherder_proto::any::PROTOCOL_VERSION;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::directory::{failed, finish, unfinished};
use crate::error::{DriverError, Result};

/// The right to answer for databases.
pub trait Lease: Send + Sync {
    /// Makes sure that it is ours, now. Said before each answer, so it takes microseconds, unless this process stood still.
    ///
    /// # Errors
    /// [`DriverError::Fenced`] or [`DriverError::StorageLost`] if it is not, for ever; or it can't be found out.
    fn check(&self) -> Result<()>;

    /// The same, sooner, if it may take a driver that lost it a moment ago for its owner. Said before work that would be
    /// in vain.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    fn glance(&self) -> Result<()> {
        self.check()
    }

    /// The number of this driver's life among those of all drivers of the databases.
    fn epoch(&self) -> u64;

    /// Says which databases they are, whatever driver has them.
    fn databases(&self) -> &str;

    /// Ends once the lease is lost, with what [`check`](Self::check) says from then on.
    fn lost(&self) -> BoxFuture<'static, DriverError>;
}

const FILE: &str = "driver.lease";
const HEARTBEAT: &str = "driver.heartbeat";
/// How often a driver shows that it is there.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// Whose epoch it is; goes up by one with every driver.
    pub epoch: u64,
    /// Drawn when the directory is made: whatever driver has it, its databases are the same.
    pub databases: String,
    /// Where in the directory the files are: in itself, or in the one of this name in it.
    pub place: String,
    /// The files are on their way from `place` to the directory itself.
    #[serde(default)]
    pub moving: bool,
    /// Where that driver listens, for people.
    pub address: String,
    /// For people.
    pub process: u32,
    pub protocol: u32,
    /// The version of Duckherder, for people.
    pub version: String,
}

impl Content {
    /// What the directory says; nothing if no driver has been there.
    ///
    /// # Errors
    /// The file can't be read, or is no driver's.
    pub fn read(root: &Path) -> Result<Option<Self>> {
        let file = root.join(FILE);
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &file)(error)),
        };
        let content = serde_json::from_slice(&bytes).map_err(|error| {
            DriverError::Storage(format!("{} is not what a driver has written ({error}): repair it", file.display()))
        })?;
        Ok(Some(content))
    }

    /// That of the next driver, which listens at `address`.
    #[must_use]
    pub fn next(&self, address: &str) -> Self {
        let databases = match self.databases.as_str() {
            "" => uuid::Uuid::new_v4().to_string(),
            known => known.to_string(),
        };
        Self {
            epoch: self.epoch + 1,
            databases,
            address: address.to_string(),
            process: std::process::id(),
            protocol: PROTOCOL_VERSION,
            version: env!("CARGO_PKG_VERSION").to_string(),
            ..self.clone()
        }
    }

    /// Writes it, at once and for good.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn write(&self, root: &Path) -> Result<()> {
        let file = root.join(FILE);
        let bytes = serde_json::to_vec(self)
            .map_err(|error| DriverError::Task(format!("{} can't be written: {error}", file.display())))?;
        let written = unfinished(&file);
        fs::write(&written, &bytes).map_err(failed("write", &written))?;
        finish(&written, &file)
    }
}

/// The lease of a directory: its file is the one that we wrote.
pub struct DirectoryLease {
    file: PathBuf,
    epoch: u64,
    databases: String,
    /// The file as it is while the lease is ours. As long as this is open, no other has its number.
    _ours: File,
    number: (u64, u64),
    lost: watch::Sender<bool>,
}

impl DirectoryLease {
    /// Takes the directory `root`, whose files are in `place`, and goes on showing that somebody is there. What keeps
    /// others from doing the same at once is the caller's.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn take(root: &Path, content: &Content, place: &Path) -> Result<Arc<Self>> {
        let file = root.join(FILE);
        let beat = place.join(HEARTBEAT);
        let heartbeat = File::create(&beat).map_err(failed("write", &beat))?;
        content.write(root)?;
        let ours = File::open(&file).map_err(failed("read", &file))?;
        let number = ours.metadata().map(|metadata| number(&metadata)).map_err(failed("read", &file))?;
        let lease = Arc::new(Self {
            file,
            epoch: content.epoch,
            databases: content.databases.clone(),
            _ours: ours,
            number,
            lost: watch::Sender::new(false),
        });
        let beating = Arc::downgrade(&lease);
        std::thread::Builder::new()
            .name("duckherder-beat".to_string())
            .spawn(move || {
                let mut count = 0_u64;
                while let Some(lease) = beating.upgrade() {
                    match lease.check() {
                        Err(DriverError::Fenced) => return,
                        Err(error) => tracing::error!(%error, "can't say whether the directory is still this driver's"),
                        Ok(()) => {
                            count += 1;
                            if let Err(error) = show(&heartbeat, count) {
                                tracing::error!(%error, file = %beat.display(), "a standby may take this driver for dead");
                            }
                        }
                    }
                    drop(lease);
                    std::thread::sleep(BEAT_EVERY);
                }
            })
            .map_err(DriverError::Runtime)?;
        Ok(lease)
    }
}

/// What tells a file from all others that there are.
fn number(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// All in one write, in the place of what was there.
fn show(heartbeat: &File, count: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    heartbeat.write_all_at(format!("{count:020}\n").as_bytes(), 0)
}

impl DirectoryLease {
    /// Whether the file that is found is ours.
    fn compare(&self, find: impl FnOnce() -> io::Result<Metadata>) -> Result<()> {
        if *self.lost.borrow() {
            return Err(DriverError::Fenced);
        }
        match find() {
            Ok(metadata) if number(&metadata) == self.number => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("read", &self.file)(error)),
            Ok(_) | Err(_) => {
                if !self.lost.send_replace(true) {
                    tracing::error!(lease = %self.file.display(), epoch = self.epoch, "another driver has taken over");
                }
                Err(DriverError::Fenced)
            }
        }
    }
}

impl Lease for DirectoryLease {
    fn check(&self) -> Result<()> {
        // Opened anew each time: file systems of several machines look then which file it is.
        self.compare(|| File::open(&self.file)?.metadata())
    }

    fn glance(&self) -> Result<()> {
        self.compare(|| fs::metadata(&self.file))
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn databases(&self) -> &str {
        &self.databases
    }

    fn lost(&self) -> BoxFuture<'static, DriverError> {
        let mut lost = self.lost.subscribe();
        async move {
            if lost.wait_for(|lost| *lost).await.is_err() {
                // The lease is gone with the driver, and was its to the end.
                std::future::pending::<()>().await;
            }
            DriverError::Fenced
        }
        .boxed()
    }
}

/// What a driver shows of itself: who it is, and a number that changes while it is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sign {
    pub content: Content,
    beat: Vec<u8>,
}

impl Sign {
    /// What is there now; a directory where no driver has been shows none.
    ///
    /// # Errors
    /// As [`Content::read`].
    pub fn read(root: &Path) -> Result<Option<Self>> {
        let Some(content) = Content::read(root)? else { return Ok(None) };
        // One that was never written does not change either.
        let beat = fs::read(root.join(&content.place).join(HEARTBEAT)).unwrap_or_default();
        Ok(Some(Self { content, beat }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_lost_once_there_is_another_epoch() {
        let root = std::env::temp_dir().join(format!("duckherder-lease-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&root).unwrap();
        assert_eq!(Content::read(&root).unwrap(), None);
        let first = Content::default().next("a:1");
        let lease = DirectoryLease::take(&root, &first, &root).unwrap();
        assert_eq!((lease.epoch(), Content::read(&root).unwrap()), (1, Some(first.clone())));
        lease.check().unwrap();

        let second = first.next("b:2");
        let other = DirectoryLease::take(&root, &second, &root).unwrap();
        other.check().unwrap();
        assert!(matches!(lease.check(), Err(DriverError::Fenced)));
        assert!(matches!(lease.lost().now_or_never(), Some(DriverError::Fenced)));
        // For ever, whatever comes later.
        first.write(&root).unwrap();
        assert!(matches!(lease.check(), Err(DriverError::Fenced)));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_driver_shows_that_it_is_there() {
        let root = std::env::temp_dir().join(format!("duckherder-beat-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&root).unwrap();
        assert_eq!(Sign::read(&root).unwrap(), None);
        let lease = DirectoryLease::take(&root, &Content::default().next("a:1"), &root).unwrap();
        let begun = std::time::Instant::now();
        let first = Sign::read(&root).unwrap().unwrap();
        while Sign::read(&root).unwrap().unwrap() == first {
            assert!(begun.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(lease);
        fs::remove_dir_all(root).unwrap();
    }
}
