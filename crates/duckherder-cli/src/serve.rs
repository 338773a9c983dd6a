//! Running a role until it is done, or the process is told to stop.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow};
use duckherder_driver::command::tell;
use duckherder_driver::{Driver, DriverOptions};
use duckherder_proto::actions::{BackUpDatabase, RestoreDatabase};
use duckherder_worker::{Worker, WorkerOptions};

use crate::arguments::{Backup, Restore, Role};

/// A server runs until SIGINT or SIGTERM. Once it listens it says so on standard output: `listening on HOST:PORT`.
///
/// # Errors
/// The role can't start, or what a driver says.
pub fn run(role: Role) -> Result<()> {
    match role {
        Role::Driver(driver) => {
            let signals = Signals::catch()?;
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
            let signals = Signals::catch()?;
            let worker = Worker::start(WorkerOptions {
                listen: worker.listen,
                id: worker.id,
                settings: worker.resources.settings(),
                cache_directory: worker.cache_directory,
                cache_bytes: worker.cache_bytes,
            })?;
            announce(worker.address())?;
            signals.wait();
            worker.stop();
        }
        Role::Backup(Backup { database, target, driver }) => {
            tell(&driver, &BackUpDatabase { name: database, target: from_here(&target)? })?;
        }
        Role::Restore(Restore { database, source, driver }) => {
            tell(&driver, &RestoreDatabase { name: database, source: from_here(&source)? })?;
        }
    }
    Ok(())
}

/// A path as it is meant here; the driver may have another working directory.
fn from_here(place: &str) -> Result<String> {
    if place.contains("://") {
        return Ok(place.to_string());
    }
    let path = std::path::absolute(place).with_context(|| format!("{place} is no path"))?;
    path.into_os_string().into_string().map_err(|path| anyhow!("{} is no text", path.display()))
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
