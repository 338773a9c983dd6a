//! Running a role until it is done, or the process is told to stop.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use duckherder_driver::command::{ask, greet};
use duckherder_driver::{Driver, DriverOptions, Standby, StorageOptions};
use duckherder_proto::actions::{BackUpDatabase, Empty, RestoreDatabase};
use duckherder_proto::herd::ListWorkers;
use duckherder_worker::{Join, Worker, WorkerOptions};

use crate::arguments::{Backup, Restore, Role, Status};
use crate::status::{print_status, standby_of};

/// How long a driver that has lost its databases still tells those who ask.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A server runs until SIGINT or SIGTERM. A worker that gets SIGTERM finishes what it has first; with another signal it
/// stops at once. Once it listens it says so on standard output: `listening on HOST:PORT`.
///
/// # Errors
/// The role can't start, or what a driver says.
pub fn run(role: Role) -> Result<()> {
    match role {
        Role::Driver(driver) => {
            let mut signals = Signals::catch()?;
            let cache_directory =
                driver.storage_cache_directory.or(driver.resources.temp_directory.as_ref().map(Into::into));
            let storage = driver.storage.map(|url| StorageOptions {
                url,
                cache_bytes: driver.storage_cache_bytes,
                cache_directory,
                keep: driver.storage_keep,
                timeout: driver.storage_timeout,
            });
            let standby = driver.standby;
            let options = DriverOptions {
                listen: driver.listen,
                local_workers: driver.workers,
                database: driver.database,
                data: driver.data,
                storage,
                takeover_after: driver.takeover_after,
                replace: driver.replace,
                worker_timeout: driver.worker_timeout,
                settings: driver.resources.settings(),
                ..DriverOptions::default()
            };
            if standby {
                let standby = Standby::start(options)?;
                announce(standby.address())?;
                signals.wait_or_end(standby.ended());
                standby.stop();
            } else {
                let arrived = signals.unless_asked(move || Driver::arrive(options))??;
                let driver = arrived.start()?;
                announce(driver.address())?;
                let (fenced, failed) = (driver.fenced(), driver.failure());
                signals.wait_or_end(async {
                    tokio::select! {
                        error = fenced => error.to_string(),
                        error = failed => error.to_string(),
                    }
                });
                driver.stop();
            }
        }
        Role::Worker(worker) => {
            let mut signals = Signals::catch()?;
            let default_id = if worker.join.is_empty() { "worker-1" } else { "" };
            let advertise = worker.advertise;
            let worker = Worker::start(WorkerOptions {
                listen: worker.listen,
                id: worker.id.unwrap_or_else(|| default_id.to_string()),
                join: worker.join.into_iter().map(|driver| Join { driver, advertise: advertise.clone() }).collect(),
                settings: worker.resources.settings(),
                cache_directory: worker.cache_directory,
                cache_bytes: worker.cache_bytes,
                storage_cache_bytes: worker.storage_cache_bytes,
            })?;
            announce(worker.address())?;
            if signals.wait() == Asked::ToEnd {
                tracing::info!("finishing what was begun; another signal stops at once");
                signals.wait_unless(worker.drain());
            }
            worker.stop();
        }
        Role::Backup(Backup { database, target, driver }) => {
            let _: Empty = ask(&driver, &BackUpDatabase { name: database, target: from_here(&target)? })?;
        }
        Role::Restore(Restore { database, source, driver }) => {
            let _: Empty = ask(&driver, &RestoreDatabase { name: database, source: from_here(&source)? })?;
        }
        Role::Status(Status { driver }) => match standby_of(&greet(&driver)?) {
            Some(text) => print_line(&text)?,
            None => print_status(&ask(&driver, &ListWorkers {})?)?,
        },
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
    print_line(&format!("listening on {address}"))
}

fn print_line(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}").and_then(|()| output.flush()).context("cannot write to standard output")
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

    fn wait(&mut self) -> Asked {
        let asked = self.runtime.block_on(async {
            tokio::select! {
                _ = self.interrupt.recv() => Asked::ToStop,
                _ = self.terminate.recv() => Asked::ToEnd,
            }
        });
        tracing::info!(signal = if asked == Asked::ToEnd { "SIGTERM" } else { "SIGINT" }, "stopping");
        asked
    }

    /// Does `work`, which may wait for long. If there is a signal meanwhile, the process ends: it has nothing yet.
    fn unless_asked<T: Send + 'static>(&mut self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let done = self.runtime.block_on(async {
            tokio::select! {
                done = tokio::task::spawn_blocking(work) => Some(done),
                _ = self.interrupt.recv() => None,
                _ = self.terminate.recv() => None,
            }
        });
        match done {
            Some(done) => done.context("starting has panicked"),
            None => {
                tracing::info!("stopping");
                std::process::exit(0);
            }
        }
    }

    /// Waits for a signal. If the driver `ended` for good first, the process ends here, without another look at databases
    /// that may be somebody else's.
    fn wait_or_end(&mut self, ended: impl Future<Output = String>) {
        let problem = self.runtime.block_on(async {
            tokio::select! {
                _ = self.interrupt.recv() => None,
                _ = self.terminate.recv() => None,
                problem = ended => {
                    // Those who wait for an answer hear of it.
                    tokio::time::sleep(LAST_WORDS).await;
                    Some(problem)
                }
            }
        });
        match problem {
            None => tracing::info!("stopping"),
            Some(problem) => {
                crate::complain(&problem);
                std::process::exit(1);
            }
        }
    }

    /// Waits until `done` is, or for another signal.
    fn wait_unless(&mut self, done: impl Future<Output = ()>) {
        self.runtime.block_on(async {
            tokio::select! {
                () = done => {}
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
        });
    }
}

/// What a signal means.
#[derive(Clone, Copy, PartialEq)]
enum Asked {
    /// SIGINT
    ToStop,
    /// SIGTERM
    ToEnd,
}
