//! Puts queries on workers.
//!
//! ```text
//!   SessionScheduler   decides about the plans of one connection, remembers how they ran
//!     files            whether workers see the files that a plan reads
//!     target           whether workers can write where a plan writes files
//!     caches           what workers keep of tables, and when it pays to send them
//!     feedback         what plans have taken before, here and on workers
//!     ownership        which part of all tables each worker keeps
//!   ScheduledQuery     a plan that was cut; each run of it is a
//!   TaskExchange       rows of the last stage's tasks, read by the driver's query; once more, if workers are lost
//!     crew             the workers of an attempt
//!     exchange         the tasks of an attempt and their threads, and the rows, in bounded queues
//!     stages           what the tasks of each stage read, and who runs them
//!     gate             rows that the driver does not need before it has them all
//!     skew             the keys of a join that are too many for one task
//!     filter           the keys of one side of a join, for the other
//!     local            a task on the driver's instance, at the query's snapshot
//!     remote           a task in another process, its split read back from the driver
//!     storage          or read where the driver's databases are kept
//!   RunReport          what the tasks of a run did
//!     unevenness       how evenly they shared it
//! ```

mod attempts;
mod caches;
mod crew;
mod exchange;
mod feedback;
mod files;
mod filter;
mod gate;
mod local;
mod ownership;
mod query;
mod queue;
mod remote;
mod report;
mod session;
mod skew;
mod splits;
mod stages;
mod storage;
mod target;
mod threads;
mod unevenness;
mod unordered;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use duckherder_engine::{Connection, Database, EngineError};
use duckherder_proto::task::{ReadSplit, ReadStored};
use duckherder_worker::peers::Peers;
use duckherder_worker::shuffle::ShuffleStore;

use crate::cluster::Cluster;
use crate::distribute::{Distributor, DistributorFactory, SessionDistributor, SplitRows};
use crate::sync::lock;
use caches::Caches;
use feedback::Feedback;
use local::ConnectionPool;
use ownership::Ownership;
use session::SessionScheduler;
use splits::RunningSplits;
pub use storage::StorageHome;
use threads::TaskThreads;

/// How long the threads of tasks may take to end after their queries have.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The distributor of a driver.
pub struct Scheduler {
    shared: Arc<Shared>,
}

/// What all queries of a driver share.
pub struct Shared {
    cluster: Arc<Cluster>,
    connections: Arc<ConnectionPool>,
    splits: Arc<RunningSplits>,
    /// Where workers in other processes find the driver.
    port: u16,
    /// Where they find its databases.
    storage: Option<StorageHome>,
    /// Threads of the calls to workers in other processes; made with the first of them.
    runtime: Mutex<Option<Arc<tokio::runtime::Runtime>>>,
    next_worker: AtomicUsize,
    plans: AtomicU64,
    threads: Arc<TaskThreads>,
    /// Rows of the tasks in this process that wait for the next stage's.
    store: Arc<ShuffleStore>,
    /// Connections to workers in other processes, for the rows of theirs.
    peers: Peers,
    caches: Caches,
    ownership: Ownership,
    feedback: Feedback,
}

impl Scheduler {
    /// A factory for [`DriverOptions`](crate::DriverOptions).
    pub fn factory() -> DistributorFactory {
        Box::new(|database, cluster, address, storage| {
            Ok(Arc::new(Self::new(database.clone(), Arc::clone(cluster), address.port(), storage)?))
        })
    }

    /// # Errors
    /// DuckDB refuses the hook.
    pub fn new(
        database: Database,
        cluster: Arc<Cluster>,
        port: u16,
        storage: Option<StorageHome>,
    ) -> Result<Self, EngineError> {
        database.allow_distribution()?;
        let connections = Arc::new(ConnectionPool::new(database));
        let splits = Arc::new(RunningSplits::new(Arc::clone(&connections)));
        let shared = Shared {
            cluster,
            connections,
            splits,
            port,
            storage,
            runtime: Mutex::new(None),
            next_worker: AtomicUsize::new(0),
            plans: AtomicU64::new(0),
            threads: Arc::default(),
            store: Arc::default(),
            peers: Peers::default(),
            caches: Caches::default(),
            ownership: Ownership::default(),
            feedback: Feedback::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        if !self.shared.threads.close(STOP_GRACE) {
            tracing::warn!("tasks still run after their scheduler has gone");
        }
    }
}

impl Shared {
    /// The worker that begins, so that queries of one task don't all go to the same.
    fn first_worker(&self, workers: usize) -> usize {
        self.next_worker.fetch_add(1, Ordering::Relaxed) % workers.max(1)
    }

    /// A number for a new plan.
    fn next_plan(&self) -> u64 {
        self.plans.fetch_add(1, Ordering::Relaxed)
    }

    fn runtime(&self) -> Result<Arc<tokio::runtime::Runtime>, EngineError> {
        let mut runtime = lock(&self.runtime);
        if let Some(runtime) = runtime.as_ref() {
            return Ok(Arc::clone(runtime));
        }
        let made = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("duckherder-tasks")
            .enable_all()
            .build()
            .map_err(|error| EngineError::new("IO", format!("cannot start threads for tasks: {error}")))?;
        Ok(Arc::clone(runtime.insert(Arc::new(made))))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = lock(&self.runtime).take().and_then(Arc::into_inner) {
            // Dropping it would block, which an asynchronous caller may not.
            runtime.shutdown_background();
        }
    }
}

impl Distributor for Scheduler {
    fn open_session(&self, connection: &Connection) -> Result<Box<dyn SessionDistributor>, EngineError> {
        let session = Arc::new(SessionScheduler::new(Arc::clone(&self.shared)));
        connection.distribute(session.clone())?;
        Ok(Box::new(session))
    }

    fn read_split(&self, split: &ReadSplit) -> Result<SplitRows, EngineError> {
        self.shared.splits.read(split)
    }

    fn read_stored(&self, stored: &ReadStored) -> Result<SplitRows, EngineError> {
        let SplitRows { schema, batches } = self.shared.splits.read_stored(stored)?;
        if stored.query_id != 0 {
            return Ok(SplitRows { schema, batches });
        }
        let (shared, table) = (Arc::clone(&self.shared), stored.table.clone());
        let rows = stored.groups.iter().map(|group| group.visible).sum();
        // Once all of them have gone.
        let fetched = std::iter::once_with(move || shared.caches.note_fetched(&table, rows)).flat_map(|()| None);
        Ok(SplitRows { schema, batches: Box::new(batches.chain(fetched)) })
    }

    fn shuffle_store(&self) -> Arc<ShuffleStore> {
        Arc::clone(&self.shared.store)
    }
}
