//! A driver that waits to take the place of another one with the same directory, or the same place in object storage.
//!
//! ```text
//!   DIR   the other one's lock is free (it has ended)   -->  open its files where they are
//!         its heartbeat is silent, the lock is not free -->  fence it, copy its files, open the copies
//!   URL   its sign says that it has left, or is silent  -->  create the log object that would be its next, open its files
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::error::{DriverError, Result};
use crate::gate::Gate;
use crate::home::Home;
use crate::server::{DriverOptions, Serving, call_workers_back, fenced, listen, share, threads, work};
use crate::sync::lock;
use crate::vigil::{self, Vigil};

/// How long a driver may be silent before another one takes its place, if nobody says otherwise.
pub const TAKEOVER_AFTER: Duration = Duration::from_secs(8);
/// How long a standby that is to stop goes on waiting.
const STOP_WITHIN: Duration = Duration::from_millis(100);

/// A standby, or the driver that it has become. Dropping it stops it.
pub struct Standby {
    gate: Arc<Gate>,
    serving: Serving,
    waiting: Waiting,
}

/// The thread that waits for its turn.
struct Waiting {
    stop: Arc<AtomicBool>,
    /// How it ended, once it has.
    outcome: watch::Receiver<Outcome>,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Waiting,
    Active,
    Failed(String),
}

impl Standby {
    /// Listens, and waits to become the driver of `options.storage`, or of the directory `options.data`, once the one that
    /// has it says nothing for `options.takeover_after`.
    ///
    /// # Errors
    /// The port is in use; no driver of this version has been there.
    pub fn start(options: DriverOptions) -> Result<Self> {
        let listener = listen(&options.listen)?;
        let address = listener.local_addr().map_err(DriverError::Runtime)?;
        let mut vigil = vigil::of(&options, &address.to_string())?;
        let gate = Arc::new(Gate::default());
        let runtime = threads()?;
        let (stop, tell) = (Arc::new(AtomicBool::new(false)), watch::Sender::new(Outcome::Waiting));
        let waiting =
            Waiting { stop: Arc::clone(&stop), outcome: tell.subscribe(), thread: std::sync::Mutex::default() };
        let (opened, handle) = (Arc::clone(&gate), runtime.handle().clone());
        let thread = std::thread::Builder::new().name("duckherder-standby".to_string()).spawn(move || {
            let Some(home) = wait(vigil.as_mut(), &opened, &stop) else { return };
            drop(vigil);
            let became = become_active(options, home, address, &opened, &handle);
            if let Err(error) = &became {
                tracing::error!(%error, "can't take over");
            }
            tell.send_replace(became.map_or_else(|error| Outcome::Failed(error.to_string()), |()| Outcome::Active));
        });
        *lock(&waiting.thread) = Some(thread.map_err(DriverError::Runtime)?);
        let serving = Serving::start(runtime, listener, Arc::clone(&gate))?;
        Ok(Self { gate, serving, waiting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.serving.address
    }

    /// Ends once it can go on no longer: it could not open the databases of which it is the driver now, or another driver
    /// has taken them over (see [`Driver::fenced`](crate::Driver::fenced)). What is wrong.
    pub fn ended(&self) -> impl Future<Output = String> + Send + use<> {
        let (mut outcome, gate) = (self.waiting.outcome.clone(), Arc::clone(&self.gate));
        async move {
            let known = outcome.wait_for(|outcome| *outcome != Outcome::Waiting).await.map(|outcome| outcome.clone());
            match known {
                Ok(Outcome::Failed(error)) => error,
                Ok(Outcome::Active) => {
                    let error = tokio::select! {
                        error = fenced(gate.shared().cloned()) => error,
                        error = gate.failed() => error,
                    };
                    error.to_string()
                }
                // It was stopped.
                Ok(Outcome::Waiting) | Err(_) => std::future::pending().await,
            }
        }
    }

    /// See [`Driver::stop`](crate::Driver::stop).
    pub fn stop(&self) {
        self.waiting.stop.store(true, Ordering::Release);
        let thread = lock(&self.waiting.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that waits has panicked");
        }
        self.serving.stop();
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits for its turn; nothing, if that is to stop.
fn wait(vigil: &mut dyn Vigil, gate: &Gate, stop: &AtomicBool) -> Option<Home> {
    let mut problem = None;
    while !stop.load(Ordering::Acquire) {
        let looked_at = Instant::now();
        match vigil.look(gate) {
            Ok(Some(home)) => return Some(home),
            Ok(None) => problem = None,
            Err(error) => {
                let text = error.to_string();
                if problem.as_ref() != Some(&text) {
                    tracing::error!(%error, "can't look whether the driver is there");
                    problem = Some(text);
                }
            }
        }
        while looked_at.elapsed() < vigil.every() && !stop.load(Ordering::Acquire) {
            std::thread::sleep(STOP_WITHIN.min(vigil.every().saturating_sub(looked_at.elapsed())));
        }
    }
    None
}

/// From a standby to the driver of `home`.
fn become_active(options: DriverOptions, home: Home, address: SocketAddr, gate: &Gate, runtime: &Handle) -> Result<()> {
    let shared = share(options, Some(home), address)?;
    work(&shared, runtime);
    gate.open(Arc::clone(&shared));
    // Clients need not wait for workers.
    call_workers_back(&shared, runtime, Duration::ZERO);
    tracing::warn!(%address, "this standby is the driver now");
    Ok(())
}
