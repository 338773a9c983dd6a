//! Where the scheduler joins in: the driver knows sessions and streams, a [`Distributor`] knows plans and workers.

use std::net::SocketAddr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use duckherder_engine::{Connection, Database, EngineError};
use duckherder_planner::Graph;
use duckherder_proto::task::{ReadSplit, ReadStored};
use duckherder_worker::shuffle::ShuffleStore;

use crate::cluster::Cluster;
use crate::scheduler::StorageHome;

/// Puts queries on workers. One a driver.
pub trait Distributor: Send + Sync {
    /// Prepares a session's new connection, for example by installing a hook into its optimizer.
    ///
    /// # Errors
    /// The session can't be opened then.
    fn open_session(&self, connection: &Connection) -> Result<Box<dyn SessionDistributor>, EngineError>;

    /// The rows of one split of a running query, for a worker in another process; called on a blocking thread.
    ///
    /// # Errors
    /// There is no such query, stage, task or input.
    fn read_split(&self, split: &ReadSplit) -> Result<SplitRows, EngineError>;

    /// The rows of row groups that a worker in another process wants to keep; called on a blocking thread.
    ///
    /// # Errors
    /// They have changed.
    fn read_stored(&self, stored: &ReadStored) -> Result<SplitRows, EngineError>;

    /// Rows of tasks in this process that workers in others fetch.
    fn shuffle_store(&self) -> Arc<ShuffleStore>;
}

/// A split's columns and rows.
pub struct SplitRows {
    pub schema: SchemaRef,
    pub batches: Box<dyn Iterator<Item = Result<RecordBatch, EngineError>> + Send>,
}

/// What a distributor keeps for one session; used by one thread at a time.
pub trait SessionDistributor: Send {
    /// A statement of the user's is about to run on the session's connection.
    fn statement_starts(&mut self, sql: &str);

    /// The statement has ended: how it was run.
    fn statement_ended(&mut self) -> ExecutionOutcome;

    /// Whether the statement failed with this because a worker was lost, and nothing is wrong with it.
    fn lost_worker(&self, error: &EngineError) -> bool;

    /// Whether the statement failed with this because a task of it met an error of a value.
    fn failed_in_task(&self, error: &EngineError) -> bool;

    /// To ask, from any thread, how far the statement is.
    fn watch(&self) -> Arc<dyn TasksWatch>;

    /// How the statement would be run that EXPLAIN was just asked for.
    fn graph(&self) -> Graph;
}

/// How far the tasks of a session's statement are.
pub trait TasksWatch: Send + Sync {
    /// From 0 to 1; nothing while it has no tasks. Waits for nothing.
    fn done(&self) -> Option<f64>;
}

/// How a statement was run, in the words of the statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionOutcome {
    /// LOCAL, DELEGATED, NATURAL_PARTITION or ROW_GROUP_PARTITION.
    pub mode: String,
    /// CONCATENATE, AGGREGATE, GROUP_BY, DISTINCT, TOP_N, SORT_MERGE; empty when nothing is merged.
    pub merge_strategy: String,
    pub workers_used: i64,
    pub tasks: i64,
}

impl ExecutionOutcome {
    /// Run by the driver's own DuckDB alone.
    pub fn local() -> Self {
        Self { mode: "LOCAL".to_string(), merge_strategy: String::new(), workers_used: 0, tasks: 0 }
    }
}

/// Makes the distributor once the driver has its database, its list of workers, the address it listens on, and where its
/// databases are, if that is in object storage.
pub type DistributorFactory = Box<
    dyn FnOnce(&Database, &Arc<Cluster>, SocketAddr, Option<StorageHome>) -> Result<Arc<dyn Distributor>, EngineError>
        + Send,
>;
