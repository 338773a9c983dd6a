//! Running a role until the process is told to stop.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use duckherder_driver::{Driver, DriverOptions};
use duckherder_worker::{Worker, WorkerOptions};

use crate::arguments::Role;

/// Serves until SIGINT or SIGTERM. Once it listens it says so on standard output: `listening on HOST:PORT`.
///
/// # Errors
/// The role can't start.
pub fn run(role: Role) -> Result<()> {
    let signals = Signals::catch()?;
    match role {
        Role::Driver(driver) => {
            let driver = Driver::start(DriverOptions {
                listen: driver.listen,
                local_workers: driver.workers,
                database: driver.database,
                data: driver.data,
                settings: driver.resources.settings(),
                ..DriverOptions::default()
            })?;
            announce(driver.address())?;
            signals.wait();
            driver.stop();
        }
        Role::Worker(worker) => {
            let worker = Worker::start(WorkerOptions {
                listen: worker.listen,
                id: worker.id,
                settings: worker.resources.settings(),
            })?;
            announce(worker.address())?;
            signals.wait();
            worker.stop();
        }
    }
    Ok(())
}

fn announce(address: SocketAddr) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "listening on {address}").and_then(|()| output.flush()).context("cannot write to standard output")
}

/// SIGINT and SIGTERM, caught from the start on so that none is missed.
struct Signals {
    runtime: tokio::runtime::Runtime,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn catch() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _inside = runtime.enter();
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        drop(_inside);
        Ok(Self { runtime, interrupt, terminate })
    }

    fn wait(mut self) {
        let name = self.runtime.block_on(async {
            tokio::select! {
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.terminate.recv() => "SIGTERM",
            }
        });
        tracing::info!(signal = name, "stopping");
    }
}
