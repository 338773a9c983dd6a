//! Splits of running queries that workers in other processes ask for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use duckherder_engine::distribute::Snapshot;
use duckherder_engine::{EngineError, ResultStream};
use duckherder_proto::task::ReadSplit;

use super::local::{ConnectionPool, SnapshotConnection};
use crate::distribute::SplitRows;
use crate::sync::lock;

/// What can be asked for, by query.
pub struct RunningSplits {
    connections: Arc<ConnectionPool>,
    next_query: AtomicU64,
    queries: Mutex<HashMap<u64, QuerySplits>>,
}

#[derive(Clone)]
struct QuerySplits {
    snapshot: Snapshot,
    /// The SQL of each task's split.
    sql: Arc<Vec<String>>,
}

impl RunningSplits {
    pub fn new(connections: Arc<ConnectionPool>) -> Self {
        Self { connections, next_query: AtomicU64::new(1), queries: Mutex::default() }
    }

    /// Offers the splits of a query until it is [`remove`](Self::remove)d; the query's number.
    pub fn add(&self, snapshot: Snapshot, sql: Vec<String>) -> u64 {
        let query = self.next_query.fetch_add(1, Ordering::Relaxed);
        lock(&self.queries).insert(query, QuerySplits { snapshot, sql: Arc::new(sql) });
        query
    }

    pub fn remove(&self, query: u64) {
        lock(&self.queries).remove(&query);
    }

    /// The rows of a split.
    ///
    /// # Errors
    /// The query has ended, or there is no such task.
    pub fn read(&self, split: &ReadSplit) -> Result<SplitRows, EngineError> {
        let unknown = || EngineError::new("Invalid Input", format!("there is no split {split:?}: its query has ended"));
        let query = lock(&self.queries).get(&split.query_id).cloned().ok_or_else(unknown)?;
        let sql = query.sql.get(split.task as usize).ok_or_else(unknown)?;
        let connection = self.connections.enter(&query.snapshot)?;
        let stream = connection.get()?.query(sql)?;
        let schema = stream.schema();
        Ok(SplitRows { schema, batches: Box::new(SplitBatches { stream, _connection: connection }) })
    }
}

/// The rows of a split, and the connection that reads them. (Fields are dropped in this order.)
struct SplitBatches {
    stream: ResultStream,
    _connection: SnapshotConnection,
}

impl Iterator for SplitBatches {
    type Item = Result<RecordBatch, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.stream.next()
    }
}
