//! Tasks on the driver's own instance.

use std::sync::{Arc, Mutex};

use duckherder_engine::distribute::{ChunkStream, Snapshot, TaskOutput};
use duckherder_engine::{Connection, Database, EngineError};

use super::exchange::{Run, TaskRows};
use crate::sync::lock;

/// Idle connections that are kept.
const KEPT_CONNECTIONS: usize = 64;

/// Connections for tasks.
pub struct ConnectionPool {
    database: Database,
    idle: Mutex<Vec<Connection>>,
}

impl ConnectionPool {
    pub fn new(database: Database) -> Self {
        Self { database, idle: Mutex::default() }
    }

    /// A connection that reads `snapshot` until it is dropped.
    ///
    /// # Errors
    /// DuckDB refuses a connection.
    pub fn enter(self: &Arc<Self>, snapshot: &Snapshot) -> Result<SnapshotConnection, EngineError> {
        let idle = lock(&self.idle).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.database.connect()?,
        };
        snapshot.enter(&connection)?;
        Ok(SnapshotConnection { connection: Some(connection), pool: Arc::clone(self) })
    }
}

/// A connection inside a snapshot.
pub struct SnapshotConnection {
    /// Taken when dropped.
    connection: Option<Connection>,
    pool: Arc<ConnectionPool>,
}

impl SnapshotConnection {
    /// # Errors
    /// Never while it is alive.
    pub fn get(&self) -> Result<&Connection, EngineError> {
        self.connection.as_ref().ok_or_else(|| EngineError::internal("a task's connection is gone"))
    }
}

impl Drop for SnapshotConnection {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // A connection that can't end its transaction is not used again.
        if Snapshot::leave(&connection).is_ok() {
            let mut idle = lock(&self.pool.idle);
            if idle.len() < KEPT_CONNECTIONS {
                idle.push(connection);
            }
        }
    }
}

/// Runs a task to its end, or until nobody wants its rows.
///
/// # Errors
/// DuckDB's.
pub fn run_task(run: &Arc<Run>, task: usize) -> Result<TaskRows, EngineError> {
    let snapshot_connection = run.shared().connections.enter(&run.snapshot)?;
    let connection = snapshot_connection.get()?;
    let sql = run.fragment.task_sql(run.splits[task])?;
    let chunks = ChunkStream::open(connection, &sql)?;
    // DuckDB forgets an interrupt that comes before the statement starts.
    let may_run = run.interruptible(task, connection.interrupter());
    let sent = if may_run { send_chunks(run, task, chunks) } else { Err(EngineError::interrupted()) };
    run.uninterruptible(task);
    sent
}

fn send_chunks(run: &Arc<Run>, task: usize, chunks: ChunkStream) -> Result<TaskRows, EngineError> {
    let mut sent = TaskRows::default();
    for chunk in chunks {
        let chunk = chunk?;
        let (rows, bytes) = (chunk.rows(), chunk.bytes());
        sent.rows += rows;
        sent.bytes += bytes;
        if !run.push(task, TaskOutput::Chunk(chunk), bytes) {
            return Err(EngineError::interrupted());
        }
    }
    Ok(sent)
}
