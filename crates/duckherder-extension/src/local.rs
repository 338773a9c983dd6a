//! Drivers and workers that run inside the client's process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use duckherder_driver::{Driver, DriverOptions};
use duckherder_engine::Result;
use duckherder_worker::{Worker, WorkerOptions};

use crate::io_error;

/// The servers of this process, by port.
#[derive(Default)]
pub struct LocalServers {
    drivers: Mutex<BTreeMap<u16, Driver>>,
    workers: Mutex<BTreeMap<u16, Worker>>,
}

impl LocalServers {
    fn drivers(&self) -> MutexGuard<'_, BTreeMap<u16, Driver>> {
        self.drivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a driver.
    ///
    /// # Errors
    /// `IO` if the port is in use.
    pub fn start_driver(&self, port: u16, workers: u32) -> Result<()> {
        let mut drivers = self.drivers();
        if drivers.contains_key(&port) {
            return Err(io_error(format!("a local server runs on port {port} already")));
        }
        let options = DriverOptions {
            listen: format!("127.0.0.1:{port}"),
            local_workers: workers as usize,
            ..DriverOptions::default()
        };
        let driver = Driver::start(options)
            .map_err(|error| io_error(format!("cannot start a local server on port {port}: {error}")))?;
        drivers.insert(port, driver);
        Ok(())
    }

    /// Stops all of them; whether there was one.
    ///
    /// # Errors
    /// None of its own.
    pub fn stop(&self) -> Result<bool> {
        let stopped = std::mem::take(&mut *self.drivers());
        for driver in stopped.values() {
            driver.stop();
        }
        Ok(!stopped.is_empty())
    }

    /// Starts a worker.
    ///
    /// # Errors
    /// `IO` if the port is in use.
    pub fn start_worker(&self, port: u16) -> Result<()> {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if workers.contains_key(&port) {
            return Err(io_error(format!("a worker runs on port {port} already")));
        }
        let options = WorkerOptions {
            listen: format!("127.0.0.1:{port}"),
            id: format!("standalone-{port}"),
            ..WorkerOptions::default()
        };
        let worker = Worker::start(options)
            .map_err(|error| io_error(format!("cannot start a worker on port {port}: {error}")))?;
        workers.insert(port, worker);
        Ok(())
    }
}
