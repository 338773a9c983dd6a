//! Splits of running queries that workers in other processes ask for.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use duckherder_engine::distribute::{Snapshot, StoredGroup, read_stored};
use duckherder_engine::{EngineError, ResultStream};
use duckherder_proto::task::{ReadSplit, ReadStored};

use super::local::ConnectionPool;
use crate::distribute::SplitRows;
use crate::sync::lock;

/// What can be asked for, by query.
pub struct RunningSplits {
    connections: Arc<ConnectionPool>,
    /// What tells this driver from all others, but for chance.
    driver: u64,
    next_query: AtomicU64,
    queries: Mutex<HashMap<u64, QuerySplits>>,
}

#[derive(Clone)]
struct QuerySplits {
    snapshot: Snapshot,
    sql: Arc<SplitSql>,
    sent: Arc<Mutex<Sent>>,
}

/// What workers have asked for in one query.
#[derive(Clone, Default)]
pub struct Sent {
    /// Stage, task and input of each split.
    pub splits: HashSet<(u32, u32, u32)>,
    /// Rows beside those, by the qualified name of their table.
    pub rows: HashMap<String, u64>,
}

/// The SQL of each split, by stage, task and input.
pub type SplitSql = HashMap<(u32, u32, u32), String>;

impl RunningSplits {
    pub fn new(connections: Arc<ConnectionPool>) -> Self {
        // Drivers that share a worker must not meet there; the low bits count.
        let first = (u64::from(RandomState::new().hash_one(0_u64) as u32) << 32) | 1;
        let driver = RandomState::new().hash_one(1_u64);
        Self { connections, driver, next_query: AtomicU64::new(first), queries: Mutex::default() }
    }

    /// What tells this driver's rows from those of others.
    pub fn driver(&self) -> u64 {
        self.driver
    }

    /// A number for a new query.
    pub fn next_query(&self) -> u64 {
        self.next_query.fetch_add(1, Ordering::Relaxed)
    }

    /// Offers the splits of a query until it is [`remove`](Self::remove)d.
    pub fn add(&self, query: u64, snapshot: Snapshot, sql: SplitSql) {
        lock(&self.queries).insert(query, QuerySplits { snapshot, sql: Arc::new(sql), sent: Arc::default() });
    }

    /// Offers other rows in the place of a split's, to who asks for it from now on.
    pub fn replace(&self, query: u64, split: (u32, u32, u32), sql: String) {
        if let Some(offered) = lock(&self.queries).get_mut(&query) {
            Arc::make_mut(&mut offered.sql).insert(split, sql);
        }
    }

    /// What was sent so far.
    pub fn sent(&self, query: u64) -> Sent {
        lock(&self.queries).get(&query).map(|offered| lock(&offered.sent).clone()).unwrap_or_default()
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
        let place = (split.stage, split.task, split.input);
        let sql = query.sql.get(&place).ok_or_else(unknown)?;
        lock(&query.sent).splits.insert(place);
        tracing::debug!(query = split.query_id, stage = split.stage, task = split.task, "rows of a split are sent");
        let connection = self.connections.enter(&query.snapshot)?;
        let stream = connection.get()?.read(sql)?;
        let schema = stream.schema();
        Ok(SplitRows { schema, batches: Box::new(HeldRows { stream, _held: connection }) })
    }

    /// The rows of row groups, for a worker that keeps them.
    ///
    /// # Errors
    /// They have changed, or the table is gone.
    pub fn read_stored(&self, stored: &ReadStored) -> Result<SplitRows, EngineError> {
        let connection = self.connections.database().connect()?;
        match stored.query_id {
            0 => {
                connection.run_tasks()?;
                connection.execute("BEGIN TRANSACTION READ ONLY")?;
            }
            query => {
                let ended = || EngineError::new("Invalid Input", format!("query {query} has ended"));
                let query = lock(&self.queries).get(&query).cloned().ok_or_else(ended)?;
                query.snapshot.enter(&connection)?;
                let rows: u64 = stored.groups.iter().map(|group| group.visible).sum();
                *lock(&query.sent).rows.entry(stored.table.clone()).or_default() += rows;
            }
        }
        tracing::debug!(table = stored.table, "rows are sent to be kept");
        let columns: Vec<u64> = stored.columns.iter().copied().map(u64::from).collect();
        let groups: Vec<StoredGroup> = stored.groups.iter().map(stored_group).collect();
        let (snapshot, sql) = read_stored(&connection, &stored.table, &columns, &groups)?;
        let stream = connection.read(&sql)?;
        let schema = stream.schema();
        // The snapshot keeps the row ids, the connection the transaction that reads them.
        Ok(SplitRows { schema, batches: Box::new(HeldRows { stream, _held: (snapshot, connection) }) })
    }
}

fn stored_group(group: &duckherder_proto::task::StoredGroup) -> StoredGroup {
    let duckherder_proto::task::StoredGroup { first, number, inserted, visible } = *group;
    StoredGroup { first, number, inserted, visible }
}

/// Rows, and what has to stay as long as they are read. (Fields are dropped in this order.)
struct HeldRows<H> {
    stream: ResultStream,
    _held: H,
}

impl<H> Iterator for HeldRows<H> {
    type Item = Result<RecordBatch, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.stream.next()
    }
}
