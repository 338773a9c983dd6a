//! Rows that stay in DuckDB's own form between two connections of one database.

use duckherder_planner::Split;

use super::ffi::{self, DhChunk, DhChunkStream, DhTaskPlan};
use super::fragment::{Fragment, PlainSplit};
use crate::connection::Connection;
use crate::error::{EngineError, Result};
use crate::ffi::DhError;
use crate::statement::ResultStream;

/// Up to 2,048 rows.
pub struct Chunk {
    handle: *mut DhChunk,
    rows: u64,
    bytes: u64,
}

// SAFETY: a chunk owns its vectors and is used by one thread at a time.
unsafe impl Send for Chunk {}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: made by dh_chunks_next, freed once.
        unsafe { ffi::dh_chunk_free(self.handle) }
    }
}

impl Chunk {
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Memory that it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The chunk, now the caller's.
    pub(super) fn into_raw(self) -> *mut DhChunk {
        let handle = self.handle;
        std::mem::forget(self);
        handle
    }
}

/// A task that was planned for several runs on one connection.
pub struct TaskPlan(*mut DhTaskPlan);

// SAFETY: a plan, used by one thread at a time.
unsafe impl Send for TaskPlan {}

impl Drop for TaskPlan {
    fn drop(&mut self) {
        // SAFETY: made by dh_task_plan, freed once.
        unsafe { ffi::dh_task_plan_free(self.0) }
    }
}

impl TaskPlan {
    /// Plans one task of `fragment` where the tables themselves can be read: a split a split input. The plan holds as
    /// long as the tables' rows and the connection's settings are what they are now; what the connection is given for
    /// its exchanges may be something else in every run. `None` if it can't run several times.
    ///
    /// # Errors
    /// What DuckDB says of it, or there are fewer splits than inputs.
    pub fn make(connection: &Connection, fragment: &Fragment, splits: &[Split]) -> Result<Option<Self>> {
        let plain = PlainSplit::all(splits);
        let splits: Vec<_> = plain.iter().map(PlainSplit::get).collect();
        let mut error = DhError::none();
        // SAFETY: the connection and the fragment are alive, the splits outlive the call.
        let plan = unsafe {
            let (connection, count) = (connection.as_ptr(), splits.len() as u64);
            ffi::dh_task_plan(connection, fragment.as_ptr(), splits.as_ptr(), count, &mut error)
        };
        error.into_result(())?;
        Ok((!plan.is_null()).then_some(Self(plan)))
    }

    /// The same for a task's query.
    pub(super) fn of_query(connection: &Connection, query: &[u8]) -> Result<Option<Self>> {
        let mut error = DhError::none();
        // SAFETY: the connection is alive, the bytes outlive the call.
        let plan = unsafe { ffi::dh_task_plan_query(connection.as_ptr(), query.into(), &mut error) };
        error.into_result(())?;
        Ok((!plan.is_null()).then_some(Self(plan)))
    }

    /// Starts the task on the connection that its plan was made on.
    ///
    /// # Errors
    /// What DuckDB says of it.
    pub fn open(&self, connection: &Connection) -> Result<ChunkStream> {
        let mut error = DhError::none();
        // SAFETY: plan and connection are alive.
        let handle = unsafe { ffi::dh_task_plan_open(connection.as_ptr(), self.0, &mut error) };
        error.into_result(())?;
        Ok(ChunkStream { handle, done: false })
    }

    /// The same for rows that go to other tasks.
    ///
    /// # Errors
    /// What DuckDB says of it.
    pub fn read(&self, connection: &Connection) -> Result<ResultStream> {
        let mut error = DhError::none();
        // SAFETY: plan and connection are alive.
        let handle = unsafe { ffi::dh_task_plan_read(connection.as_ptr(), self.0, &mut error) };
        error.into_result(())?;
        // SAFETY: the handle is a new result's, which describes itself.
        unsafe { ResultStream::described(handle) }
    }

    /// Lets go of what a run has left in memory, once it has ended.
    pub fn rest(&mut self) {
        // SAFETY: the plan is alive, and nobody runs it.
        unsafe { ffi::dh_task_plan_rest(self.0) }
    }
}

/// The rows of a running query, chunk by chunk, in order; dropping it stops the query.
pub struct ChunkStream {
    handle: *mut DhChunkStream,
    done: bool,
}

// SAFETY: a query result, used by one thread at a time.
unsafe impl Send for ChunkStream {}

impl Drop for ChunkStream {
    fn drop(&mut self) {
        // SAFETY: made by dh_chunks_open, closed once.
        unsafe { ffi::dh_chunks_close(self.handle) }
    }
}

impl ChunkStream {
    /// Starts one task of `fragment` where the tables themselves can be read: a split a split input.
    ///
    /// # Errors
    /// What DuckDB says of it, or there are fewer splits than inputs.
    pub fn open(connection: &Connection, fragment: &Fragment, splits: &[Split]) -> Result<Self> {
        let plain = PlainSplit::all(splits);
        let splits: Vec<_> = plain.iter().map(PlainSplit::get).collect();
        let mut error = DhError::none();
        // SAFETY: the connection and the fragment are alive, the splits outlive the call.
        let handle = unsafe {
            let (connection, count) = (connection.as_ptr(), splits.len() as u64);
            ffi::dh_chunks_open(connection, fragment.as_ptr(), splits.as_ptr(), count, &mut error)
        };
        error.into_result(())?;
        Ok(Self { handle, done: false })
    }

    fn fetch(&mut self) -> Result<Option<Chunk>> {
        let mut error = DhError::none();
        let (mut handle, mut rows, mut bytes) = (std::ptr::null_mut(), 0, 0);
        // SAFETY: the stream is alive; on 1 the chunk is ours.
        let found = unsafe { ffi::dh_chunks_next(self.handle, &mut handle, &mut rows, &mut bytes, &mut error) };
        error.into_result(())?;
        match found {
            0 => Ok(None),
            1 => Ok(Some(Chunk { handle, rows, bytes })),
            other => Err(EngineError::internal(format!("dh_chunks_next answered {other}"))),
        }
    }
}

impl Iterator for ChunkStream {
    type Item = Result<Chunk>;

    /// Blocks until rows are there; the calling thread takes part in running the query.
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.fetch().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}
