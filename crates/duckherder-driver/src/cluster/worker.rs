//! One worker in another process: what it last said, and who counts on it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use duckherder_engine::EngineError;
use duckherder_proto::herd::{WorkerEntry, WorkerState, WorkerStatus};
use tokio::sync::{Notify, watch};
use tonic::transport::Channel;

use super::address::is_here;
use crate::silence::Silence;
use crate::sync::lock;

/// A worker in another process. Clones are the same worker, of one life of its process.
#[derive(Clone)]
pub struct RemoteWorker {
    pub id: String,
    /// `grpc://host:port`
    pub location: String,
    /// Shared by all calls to this worker; connects again by itself.
    pub channel: Channel,
    /// Threads of its DuckDB.
    pub threads: u64,
    /// See [`WorkerStatus::instance`].
    pub instance: u64,
    presence: Arc<Presence>,
}

struct Presence {
    said: Mutex<Said>,
    /// Runs that have, or will have, tasks for it.
    leases: AtomicUsize,
    tasks: Tasks,
    /// Why it is no worker of the driver any more.
    gone: watch::Sender<Option<String>>,
    /// There is a reason to ask it now.
    hurry: Notify,
}

struct Said {
    state: WorkerState,
    status: WorkerStatus,
    silence: Silence,
    at_us: i64,
}

/// How many tasks somebody runs.
#[derive(Clone, Default)]
pub struct Tasks(Arc<AtomicUsize>);

/// One of them; it ends when dropped.
pub struct RunningTask(Tasks);

impl Tasks {
    pub fn begin(&self) -> RunningTask {
        self.0.fetch_add(1, Ordering::Relaxed);
        RunningTask(self.clone())
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed) as u64
    }
}

impl Drop for RunningTask {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Somebody counts on the worker: it does not leave before this is dropped.
pub struct Lease(Arc<Presence>);

impl Drop for Lease {
    fn drop(&mut self) {
        if self.0.leases.fetch_sub(1, Ordering::SeqCst) == 1 && lock(&self.0.said).state == WorkerState::Draining {
            self.0.hurry.notify_one();
        }
    }
}

impl RemoteWorker {
    /// A worker that has just answered, and is asked once in `asked_within`.
    pub fn new(id: &str, location: &str, channel: Channel, status: WorkerStatus, asked_within: Duration) -> Self {
        let (threads, instance) = (status.threads.max(1), status.instance);
        let said = Said { state: WorkerState::Active, status, silence: Silence::new(asked_within), at_us: now_us() };
        let presence = Arc::new(Presence {
            said: Mutex::new(said),
            leases: AtomicUsize::new(0),
            tasks: Tasks::default(),
            gone: watch::Sender::new(None),
            hurry: Notify::new(),
        });
        Self { id: id.to_string(), location: location.to_string(), channel, threads, instance, presence }
    }

    /// Whether it runs on the driver's machine, as its address says.
    pub fn is_here(&self) -> bool {
        is_here(&self.location)
    }

    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.presence, &other.presence)
    }

    pub fn state(&self) -> WorkerState {
        lock(&self.presence.said).state
    }

    pub fn is_active(&self) -> bool {
        self.state() == WorkerState::Active
    }

    /// Counts on an active worker.
    pub fn lease(&self) -> Option<Lease> {
        let said = lock(&self.presence.said);
        (said.state == WorkerState::Active).then(|| {
            self.presence.leases.fetch_add(1, Ordering::SeqCst);
            Lease(Arc::clone(&self.presence))
        })
    }

    /// Whether it is to leave and nobody counts on it.
    pub fn may_leave(&self) -> bool {
        let said = lock(&self.presence.said);
        said.state == WorkerState::Draining && self.presence.leases.load(Ordering::SeqCst) == 0
    }

    /// The tasks that it runs for this driver.
    pub fn tasks(&self) -> &Tasks {
        &self.presence.tasks
    }

    /// It has answered. Whether it, or another one of which it speaks, now gets tasks, or no more.
    pub fn answered(&self, status: WorkerStatus) -> bool {
        let state = if status.draining { WorkerState::Draining } else { WorkerState::Active };
        let mut said = lock(&self.presence.said);
        let before = std::mem::replace(&mut said.state, state);
        let changed = before != state || said.status.unreachable != status.unreachable;
        (said.status, said.at_us) = (status, now_us());
        said.silence.goes_on(false);
        changed
    }

    /// The locations of other workers that it can't reach.
    pub fn unreachable(&self) -> Vec<String> {
        lock(&self.presence.said).status.unreachable.clone()
    }

    /// It has not answered. Whether it got tasks until now.
    pub fn suspect(&self) -> bool {
        let mut said = lock(&self.presence.said);
        let was_active = said.state == WorkerState::Active;
        if was_active {
            said.state = WorkerState::Suspected;
        }
        was_active
    }

    /// It wants no more tasks. Whether it had not said so before.
    pub fn drain(&self) -> bool {
        let before = std::mem::replace(&mut lock(&self.presence.said).state, WorkerState::Draining);
        self.presence.hurry.notify_one();
        before != WorkerState::Draining
    }

    /// How long it has been silent while it was asked.
    pub fn silent_for(&self) -> Duration {
        lock(&self.presence.said).silence.so_far()
    }

    /// It was asked, and has not answered; for how long it has been silent.
    pub fn missed(&self) -> Duration {
        lock(&self.presence.said).silence.goes_on(true)
    }

    /// Has it asked soon.
    pub fn hurry(&self) {
        self.presence.hurry.notify_one();
    }

    /// Until it is time to ask it.
    pub async fn rest(&self, at_most: Duration) {
        tokio::select! {
            () = tokio::time::sleep(at_most) => {}
            () = self.presence.hurry.notified() => {}
            _ = self.gone() => {}
        }
    }

    /// It is no worker of the driver any more: whoever waits for it fails.
    pub fn remove(&self, reason: String) {
        self.presence.gone.send_if_modified(|gone| {
            let first = gone.is_none();
            if first {
                *gone = Some(reason);
            }
            first
        });
    }

    pub fn is_gone(&self) -> bool {
        self.presence.gone.borrow().is_some()
    }

    /// Waits until it is no worker of the driver any more; why.
    pub async fn gone(&self) -> String {
        let mut gone = self.presence.gone.subscribe();
        let waited = gone.wait_for(Option::is_some).await;
        waited.ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }

    /// What tasks fail with that counted on it.
    pub fn lost(&self, reason: &str) -> EngineError {
        EngineError::lost(format!("worker '{}' at {}: {reason}", self.id, self.location))
    }

    /// As the list of workers shows it.
    pub fn entry(&self) -> WorkerEntry {
        let said = lock(&self.presence.said);
        WorkerEntry {
            worker_id: self.id.clone(),
            location: Some(self.location.clone()),
            state: said.state.into(),
            status: Some(said.status.clone()),
            running_tasks: self.tasks().count(),
            last_seen_us: said.at_us,
        }
    }
}

/// Microseconds since 1970.
pub fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
