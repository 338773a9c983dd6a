//! A place in object storage, and whether this worker can read it.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use duckherder_storage::{Follower, Location, Mark, Options, Reader, Requests, StorageError};

use super::lock;

/// How long a request is tried: the driver has the rows, too.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a place is left alone that could not be read, at first and at most: longer than all tries of a task together,
/// each on another worker.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

pub struct Place {
    follower: Follower,
    health: Mutex<Health>,
}

#[derive(Default)]
struct Health {
    broken_until: Option<Instant>,
    pause: Duration,
}

impl Place {
    /// Sends nothing yet.
    pub fn new(url: &str, cache_directory: &Path, cache_bytes: u64) -> Result<Self, StorageError> {
        let location = Location::parse_for_reading(url, PATIENCE)?;
        let cache_directory = cache_directory.to_path_buf();
        let options = Options { cache_directory, cache_bytes, patience: PATIENCE, ..Options::default() };
        Ok(Self { follower: Follower::new(location, options)?, health: Mutex::default() })
    }

    /// For people.
    pub fn shown(&self) -> &str {
        self.follower.shown()
    }

    pub fn cached_bytes(&self) -> u64 {
        self.follower.cached_bytes()
    }

    pub fn requests(&self) -> Requests {
        self.follower.requests()
    }

    /// The files at a mark. Blocks.
    pub fn reader(&self, mark: &Mark) -> Result<Reader, StorageError> {
        self.follower.reader(mark)
    }

    /// Whether it could not be read a moment ago.
    pub fn is_broken(&self) -> bool {
        lock(&self.health).broken_until.is_some_and(|until| Instant::now() < until)
    }

    /// It can't be read for now. That is said once, until it works again.
    pub fn broke(&self, reason: &str) {
        let mut health = lock(&self.health);
        let now = Instant::now();
        if health.broken_until.is_some_and(|until| now < until) {
            return;
        }
        if health.pause.is_zero() {
            tracing::warn!(place = self.shown(), reason, "this worker can't read here: the driver sends the rows");
        }
        health.pause = (health.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        health.broken_until = Some(now + health.pause);
    }

    pub fn works(&self) {
        let mut health = lock(&self.health);
        if !health.pause.is_zero() {
            tracing::info!(place = self.shown(), "this worker reads here again");
            *health = Health::default();
        }
    }
}
