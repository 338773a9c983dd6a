//! What a worker says of itself to its drivers, and whether they let it go.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use duckherder_engine::Database;
use duckherder_engine::database::Resources;
use duckherder_proto::herd::{AskWorker, WorkerStatus};
use tokio::sync::{Notify, watch};

use crate::error::Result;

/// A driver that asks nothing for so long has given the worker up.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);
/// How often a worker that wants to leave looks whether it was forgotten.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One life of a worker.
pub struct Attendance {
    /// See [`WorkerStatus::instance`].
    pub instance: u64,
    database: Database,
    draining: watch::Sender<bool>,
    drivers: Mutex<HashMap<u64, Driver>>,
    /// A driver has let it go.
    let_go: Notify,
}

/// A driver that has asked.
struct Driver {
    asked: Instant,
    may_leave: bool,
}

impl Attendance {
    pub fn new(database: Database) -> Self {
        Self {
            instance: uuid::Uuid::new_v4().as_u64_pair().0,
            database,
            draining: watch::Sender::new(false),
            drivers: Mutex::default(),
            let_go: Notify::new(),
        }
    }

    /// The drivers that have not given the worker up.
    fn drivers(&self) -> MutexGuard<'_, HashMap<u64, Driver>> {
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        drivers.retain(|_, driver| driver.asked.elapsed() < FORGOTTEN_AFTER);
        drivers
    }

    /// Answers a driver.
    ///
    /// # Errors
    /// DuckDB's.
    pub fn answer(&self, question: &AskWorker) -> Result<WorkerStatus> {
        self.drivers().insert(question.driver, Driver { asked: Instant::now(), may_leave: question.may_leave });
        if question.may_leave {
            self.let_go.notify_one();
        }
        let Resources { threads, memory_bytes, memory_limit_bytes } = self.database.resources()?;
        Ok(WorkerStatus {
            instance: self.instance,
            version: env!("CARGO_PKG_VERSION").to_string(),
            threads,
            memory_bytes,
            memory_limit_bytes,
            draining: self.is_draining(),
            ..WorkerStatus::default()
        })
    }

    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until the worker wants to leave.
    pub async fn drains(&self) {
        // The sender is here: it is not gone.
        let _ = self.draining.subscribe().wait_for(|draining| *draining).await;
    }

    /// Wants to leave; waits until all drivers have let the worker go, or given it up.
    pub async fn drain(&self) {
        self.draining.send_replace(true);
        while self.drivers().values().any(|driver| !driver.may_leave) {
            tokio::select! {
                () = self.let_go.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}
