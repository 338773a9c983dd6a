//! The workers that a driver knows.
//!
//! ```text
//!   register (by hand), join (it calls) --> worker   its state, leases, tasks
//!   rejoin (was known, is missing) -----'     watch   asks it until it is removed, or has left
//! ```
//!
//! No lock is held while somebody waits for a worker.

mod address;
mod call;
mod reach;
mod watch;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use duckherder_planner::Capacity;
use duckherder_proto::herd::{JoinHerd, WorkerEntry, WorkerState};

pub use watch::Timing;
pub use worker::{Lease, RemoteWorker, RunningTask, Tasks, now_us};

use crate::error::{DriverError, Result};
use crate::sync::lock;

/// How long a worker may be silent, if nobody says otherwise.
pub const WORKER_TIMEOUT: Duration = Duration::from_secs(10);

/// All workers of a driver: threads in its process, and other processes.
pub struct Cluster {
    local: Vec<Tasks>,
    /// That the driver may use, read once: asking reads a dozen files of the system.
    cores: u64,
    timing: Timing,
    /// Of this driver, for its workers.
    number: u64,
    state: Mutex<State>,
    listener: OnceLock<Listener>,
}

/// What has happened to the workers.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// Others get tasks than before.
    Workers,
    /// The worker with this id has left for good.
    Left(&'a str),
}

type Listener = Box<dyn Fn(Change<'_>) + Send + Sync>;

#[derive(Default)]
struct State {
    remote: BTreeMap<String, RemoteWorker>,
    /// Those that somebody registered, by id: they do not call, and are called while they are missing.
    registered: BTreeMap<String, String>,
    /// Ids of workers that are about to join.
    joining: BTreeSet<String>,
    extensions: BTreeSet<String>,
}

impl Cluster {
    /// A cluster with workers in the driver's own process only.
    pub fn new(local_workers: usize) -> Self {
        Self::with_timeout(local_workers, WORKER_TIMEOUT)
    }

    /// The same; another worker that says nothing for `silence` is removed.
    pub fn with_timeout(local_workers: usize, silence: Duration) -> Self {
        Self {
            local: std::iter::repeat_with(Tasks::default).take(local_workers).collect(),
            cores: std::thread::available_parallelism().map_or(u64::MAX, |cores| cores.get() as u64),
            timing: Timing::new(silence),
            number: uuid::Uuid::new_v4().as_u64_pair().0,
            state: Mutex::default(),
            listener: OnceLock::new(),
        }
    }

    /// `listener` hears of all that happens to the workers; only the first one does.
    pub fn listen(&self, listener: impl Fn(Change<'_>) + Send + Sync + 'static) {
        drop(self.listener.set(Box::new(listener)));
    }

    fn changed(&self) {
        self.tell(Change::Workers);
    }

    fn tell(&self, change: Change<'_>) {
        if let Some(listener) = self.listener.get() {
            listener(change);
        }
    }

    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Of each worker in the driver's process, the tasks that it runs.
    pub fn local_workers(&self) -> &[Tasks] {
        &self.local
    }

    /// Workers in other processes that get tasks, in order of their ids: they answer, and reach each other.
    pub fn remote_workers(&self) -> Vec<RemoteWorker> {
        let mut workers = self.known_workers();
        workers.retain(RemoteWorker::is_active);
        reach::together(workers, |worker| &worker.location, RemoteWorker::unreachable)
    }

    /// Whether there are any, reachable or not.
    pub fn knows_remote_workers(&self) -> bool {
        !lock(&self.state).remote.is_empty()
    }

    fn known_workers(&self) -> Vec<RemoteWorker> {
        lock(&self.state).remote.values().cloned().collect()
    }

    /// Ids of the workers in other processes, in order, but for those that are about to leave: one that does not answer may
    /// come back.
    pub fn staying(&self) -> Vec<String> {
        let workers = self.known_workers();
        workers.into_iter().filter(|worker| worker.state() != WorkerState::Draining).map(|worker| worker.id).collect()
    }

    /// How many workers there are that get tasks, by kind.
    pub fn workers(&self) -> duckherder_planner::Workers {
        let remote = self.remote_workers().len() as u64;
        duckherder_planner::Workers { local: self.local.len() as u64, remote }
    }

    /// The workers with their threads. Those on the driver's machine have no more of them than it has cores.
    pub fn capacity(&self) -> Capacity {
        let remote = self.remote_workers();
        let threads = |here: bool| -> u64 {
            remote.iter().filter(|worker| worker.is_here() == here).map(|worker| worker.threads).sum()
        };
        let remote_threads = threads(false) + threads(true).min(self.cores);
        let workers = duckherder_planner::Workers { local: self.local.len() as u64, remote: remote.len() as u64 };
        Capacity { workers, remote_threads }
    }

    /// All workers, whatever their states.
    pub fn count(&self) -> usize {
        self.local.len() + lock(&self.state).remote.len()
    }

    /// The workers in other processes, as the list of workers shows them.
    pub fn entries(&self) -> Vec<WorkerEntry> {
        self.known_workers().iter().map(RemoteWorker::entry).collect()
    }

    /// Adds a worker, or gives a known id a new location. The worker must answer and gets the extensions that were
    /// loaded so far. When it is lost, it is called until it is there again.
    ///
    /// # Errors
    /// The location is malformed, or no worker of this driver's version answers there.
    pub async fn register(self: &Arc<Self>, id: &str, location: &str) -> Result<()> {
        if id.is_empty() {
            return Err(DriverError::Invalid("a worker needs an id that is not empty".to_string()));
        }
        self.admit(id, location).await?;
        self.expect(id, location);
        Ok(())
    }

    /// A worker was registered before: it is called until it is there.
    pub fn expect(&self, id: &str, location: &str) {
        lock(&self.state).registered.insert(id.to_string(), location.to_string());
    }

    /// The workers, ids and locations, that were registered and are missing.
    pub fn missing(&self) -> Vec<(String, String)> {
        let state = lock(&self.state);
        let missing = state.registered.iter().filter(|(id, _)| !state.remote.contains_key(*id));
        missing.map(|(id, location)| (id.clone(), location.clone())).collect()
    }

    /// Calls a missing worker.
    ///
    /// # Errors
    /// As for [`register`](Self::register).
    pub async fn call_back(self: &Arc<Self>, id: &str, location: &str) -> Result<()> {
        self.admit(id, location).await
    }

    /// A worker says that it is there, or wants to leave; `peer`: where the call comes from.
    ///
    /// # Errors
    /// Another worker has its id, or as for [`register`](Self::register).
    pub async fn join(self: &Arc<Self>, call: JoinHerd, peer: Option<IpAddr>) -> Result<()> {
        let location = match (call.location.is_empty(), peer, u16::try_from(call.port)) {
            (false, _, _) => call.location,
            (true, Some(peer), Ok(port)) => address::of_peer(peer, port),
            _ => return Err(DriverError::Invalid("a worker that joins does not say where it is".to_string())),
        };
        let id = match call.worker_id.is_empty() {
            true => address::authority("", &location)?.to_string(),
            false => call.worker_id,
        };
        let known = {
            let state = lock(&self.state);
            // Somebody may have registered it under another name.
            let same = state.remote.values().find(|known| known.instance == call.instance);
            same.or_else(|| state.remote.get(&id)).cloned()
        };
        if let Some(known) = known {
            if known.instance == call.instance {
                if call.draining && known.drain() {
                    tracing::info!(worker = known.id, location, "worker leaves");
                    self.changed();
                }
                return Ok(());
            }
            if known.is_active() && known.location != location {
                return Err(DriverError::Invalid(format!(
                    "there is a worker '{id}' already, at {}: give the one at {location} another --id",
                    known.location
                )));
            }
        }
        if call.draining || !lock(&self.state).joining.insert(id.clone()) {
            return Ok(());
        }
        let joining = Joining { cluster: self, id: &id };
        let joined = self.admit(&id, &location).await;
        drop(joining);
        joined
    }

    async fn admit(self: &Arc<Self>, id: &str, location: &str) -> Result<()> {
        let worker = call::meet(self.number, id, location, self.timing.round()).await?;
        let extensions: Vec<String> = lock(&self.state).extensions.iter().cloned().collect();
        for name in extensions {
            call::load_extension(&worker, &name).await?;
        }
        let before = {
            let mut state = lock(&self.state);
            let before = state.remote.get(id).cloned();
            if before.as_ref().is_some_and(|known| known.instance == worker.instance && known.location == location) {
                // What it runs goes on.
                return Ok(());
            }
            state.remote.insert(id.to_string(), worker.clone());
            before
        };
        tracing::info!(worker = id, location, "worker registered");
        if let Some(before) = before {
            before.remove("another has taken its place".to_string());
        }
        tokio::spawn(watch::watch(Arc::downgrade(self), worker));
        self.changed();
        Ok(())
    }

    /// The worker has not answered: it gets no new tasks until it does.
    pub fn suspect(&self, worker: &RemoteWorker) {
        if worker.suspect() {
            tracing::warn!(worker = worker.id, location = worker.location, "a worker does not answer");
            worker.hurry();
            self.changed();
        }
    }

    /// The worker is lost: its tasks fail at once. One that was registered is called until it is there again.
    fn remove(&self, worker: &RemoteWorker, reason: &str) {
        tracing::warn!(worker = worker.id, location = worker.location, reason, "a worker is removed");
        self.take_out(worker, reason);
    }

    /// The worker has left, as it said it would.
    fn left(&self, worker: &RemoteWorker) {
        tracing::info!(worker = worker.id, location = worker.location, "worker has left");
        lock(&self.state).registered.remove(&worker.id);
        self.take_out(worker, "it has left");
        self.tell(Change::Left(&worker.id));
    }

    fn take_out(&self, worker: &RemoteWorker, reason: &str) {
        {
            let mut state = lock(&self.state);
            if state.remote.get(&worker.id).is_some_and(|known| known.is(worker)) {
                state.remote.remove(&worker.id);
            }
        }
        worker.remove(reason.to_string());
        self.changed();
    }

    /// Loads an extension on every worker in another process, now and when one joins later. (Workers in the driver's
    /// process share its DuckDB.)
    ///
    /// # Errors
    /// A worker does not answer or can't load it.
    pub async fn load_extension(&self, name: &str) -> Result<()> {
        for worker in self.known_workers() {
            match call::load_extension(&worker, name).await {
                Err(error) if worker.is_active() => return Err(error),
                // It has all extensions when it joins again.
                Err(_) => self.remove(&worker, "it does not answer"),
                Ok(()) => {}
            }
        }
        self.needs_extension(name);
        Ok(())
    }

    /// The driver has loaded an extension: workers that join get it, too.
    pub fn needs_extension(&self, name: &str) {
        lock(&self.state).extensions.insert(name.to_string());
    }
}

/// What a worker in the driver's process is called.
pub fn local_id(number: usize) -> String {
    format!("local-{number}")
}

/// A worker is about to join; nobody else of its id does meanwhile.
struct Joining<'a> {
    cluster: &'a Cluster,
    id: &'a str,
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        lock(&self.cluster.state).joining.remove(self.id);
    }
}
