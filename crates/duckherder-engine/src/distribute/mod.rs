//! Queries whose work is done by tasks: the plan out, the decision in, rows back.
//!
//! ```text
//!   DuckDB's optimizer --Plan--> Distributor::decide        (planning)
//!   first row wanted ----------> DistributedQuery::start    (Fragment, Snapshot, row groups)
//!   DuckDB's threads ----------> Exchange::poll             (rows of the tasks, in order)
//! ```
//!
//! The C++ half is `cpp/distribute/`; it carries out decisions and makes none.

mod callbacks;
mod ffi;
mod fragment;
mod stored;
mod task;
mod zones;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use duckherder_planner::{Distribution, Plan, RowGroup};

pub use fragment::{Fragment, FragmentInput, ScanRange, Snapshot, TaskQuery};
pub use stored::{StoredDatabase, StoredDatabases, StoredGroup, StoredTable, read_stored};
pub use task::{Chunk, ChunkStream, TaskPlan};
pub use zones::RowGroupValues;

use crate::connection::Connection;
use crate::database::Database;
use crate::error::Result;
use crate::ffi::DhError;

/// Decides about the plans of one connection.
pub trait Distributor: Send + Sync {
    /// What to cut from a plan, and who will run it; `None` leaves it as it is.
    fn decide(&self, plan: &Plan) -> Option<(Distribution, Arc<dyn DistributedQuery>)>;

    /// What was decided can't be carried out: the plan stays on the driver, for this reason.
    fn stay(&self, reason: &str);

    /// Why the last plan stays on the driver, if it does.
    fn reason(&self) -> Option<String>;

    /// Whether the same plan may be decided about differently the next time, though nothing has changed.
    fn is_provisional(&self) -> bool;
}

/// A query that was cut; it may run several times, or never.
pub trait DistributedQuery: Send + Sync {
    /// What EXPLAIN shows of the stage `top` and of those that it reads, in order; after a run also what the tasks did.
    /// `fragments` has one a stage of the query.
    fn describe(&self, top: usize, fragments: &[String]) -> Vec<(String, String)>;

    /// Whether a worker may keep what it reads of tables: a run is told of their row groups what that takes.
    fn may_be_kept(&self) -> bool;

    /// Starts the tasks of the stage `top`, and of those that it reads.
    ///
    /// # Errors
    /// Become the query's.
    fn start(&self, top: usize, run: QueryRun) -> Result<Arc<dyn Exchange>>;
}

/// What one run of a query works on.
pub struct QueryRun {
    /// One a stage of the query.
    pub fragments: Vec<Fragment>,
    pub snapshot: Snapshot,
    /// Of each scan's table, in order, at the snapshot.
    pub row_groups: Vec<Vec<RowGroup>>,
    /// The same row groups, by what tells their rows from others.
    pub stored: Vec<Vec<StoredGroup>>,
    /// For EXPLAIN ANALYZE: what costs something to measure is measured.
    pub analyzed: bool,
    /// Somebody asks how far it is.
    pub watched: bool,
    /// Where the tasks of the stage put the files that they write, if they do.
    pub directory: Option<String>,
}

/// The rows of a query's tasks: a partition a task. Dropping it stops the tasks.
pub trait Exchange: Send + Sync {
    fn partitions(&self) -> usize;

    /// The columns of [`TaskOutput::Batch`]es.
    ///
    /// # Errors
    /// No task sends batches.
    fn schema(&self) -> Result<SchemaRef>;

    /// What a task has next. While there is nothing, the waker is kept and woken once there is.
    ///
    /// # Errors
    /// The task's; become the query's.
    fn poll(&self, partition: usize, cx: &mut Context<'_>) -> Poll<Result<TaskOutput>>;

    /// Waits until all tasks have ended and said what they did, or for `most`: the rows of a task can be read before it
    /// has ended, if they go to others. Whether that is so, or the tasks were stopped.
    fn ended(&self, most: Duration) -> bool;
}

/// Rows of a task.
pub enum TaskOutput {
    /// From a task in this process.
    Chunk(Chunk),
    /// From a task elsewhere.
    Batch(RecordBatch),
    /// There are no more; there were this many.
    End { rows: u64 },
}

impl TaskOutput {
    /// How many rows these are.
    pub fn rows(&self) -> u64 {
        match self {
            Self::Chunk(chunk) => chunk.rows(),
            Self::Batch(batch) => batch.num_rows() as u64,
            Self::End { .. } => 0,
        }
    }
}

impl Database {
    /// Lets [`Connection::distribute`] take effect; once a database.
    ///
    /// # Errors
    /// Out of memory.
    pub fn allow_distribution(&self) -> Result<()> {
        let mut error = DhError::none();
        // SAFETY: the database is alive.
        unsafe { ffi::dh_database_allow_distribution(self.as_ptr(), &mut error) };
        error.into_result(())
    }
}

impl Connection {
    /// From now on `distributor` decides about this connection's plans.
    ///
    /// # Errors
    /// Out of memory.
    pub fn distribute(&self, distributor: Arc<dyn Distributor>) -> Result<()> {
        let mut error = DhError::none();
        let pointer = callbacks::into_raw(distributor);
        // SAFETY: the connection is alive; C++ takes over the distributor and releases it once.
        unsafe { ffi::dh_connection_distribute(self.as_ptr(), &callbacks::TABLE, pointer, &mut error) };
        error.into_result(())
    }
}
