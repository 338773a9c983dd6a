//! Tasks on the driver's own instance.

use std::sync::{Arc, Mutex};

use duckherder_engine::distribute::{ChunkStream, FragmentInput, Snapshot, TaskOutput};
use duckherder_engine::{Connection, Database, EngineError};
use duckherder_proto::any::Command;
use duckherder_proto::task::{InputSource, ReadPartition};
use duckherder_worker::input::{Input, Source};
use duckherder_worker::shuffle::{self, Partitions, TaskKey};

use super::exchange::{Run, Stop, TaskId, TaskRows};
use super::query::Worker;
use super::stages::{RunningStage, exchange_schema};
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
/// DuckDB's, or another task's whose rows it reads.
pub fn run_task(run: &Arc<Run>, id: TaskId) -> Result<TaskRows, EngineError> {
    let stage = &run.stages[id.stage];
    let snapshot_connection = run.shared().connections.enter(&run.snapshot)?;
    let connection = snapshot_connection.get()?;
    for input in &stage.inputs {
        if let FragmentInput::Exchange { stage } = input {
            connection.register_input(&input.name(), exchange_input(run, id, *stage)?)?;
        }
    }
    let sent = run_fragment(run, id, stage, connection);
    run.unstoppable(id);
    for input in stage.inputs.iter().filter(|input| matches!(input, FragmentInput::Exchange { .. })) {
        connection.unregister_input(&input.name())?;
    }
    sent
}

fn run_fragment(
    run: &Arc<Run>,
    id: TaskId,
    stage: &RunningStage,
    connection: &Connection,
) -> Result<TaskRows, EngineError> {
    let splits = &stage.splits[id.task];
    if stage.reads_exchanges() {
        // Rows that were shuffled have no order, and keeping one would make readers of them wait for each other.
        connection.execute(UNORDERED)?;
    }
    // DuckDB forgets an interrupt that comes before the statement starts.
    let may_run = |stop: Stop| match run.stoppable(id, stop) {
        true => Ok(()),
        false => Err(EngineError::interrupted()),
    };
    if stage.partitions == 0 {
        let chunks = ChunkStream::open(connection, &stage.fragment, splits)?;
        may_run(Stop::Statement(connection.interrupter()))?;
        return send_chunks(run, id.task, chunks);
    }
    let rows = connection.query(&stage.fragment.task_sql(splits)?)?;
    may_run(Stop::Statement(connection.interrupter()))?;
    let key = TaskKey { query: run.query_id, stage: stage.number as u32, task: id.task as u32 };
    let stop = |partitions: &Arc<Partitions>| may_run(Stop::Rows(Arc::clone(partitions)));
    let moved = shuffle::keep(&run.shared().store, key, rows, stage.partitions, stop)?;
    Ok(TaskRows { rows: moved.rows, bytes: moved.bytes })
}

/// Session setting of tasks whose rows have no order.
pub const UNORDERED: &str = "SET SESSION preserve_insertion_order = false";

/// What the stage `number` has for this task, wherever its tasks run.
fn exchange_input(run: &Arc<Run>, id: TaskId, number: usize) -> Result<Arc<Input>, EngineError> {
    let schema = exchange_schema(&run.stages, number)?;
    let producer = run.stages.iter().find(|stage| stage.number == number);
    let producer = producer.ok_or_else(|| EngineError::internal(format!("stage {number} does not run")))?;
    let mut sources = Vec::new();
    for task in 0..producer.tasks() {
        let wanted = ReadPartition {
            query_id: run.query_id,
            stage: number as u32,
            task: task as u32,
            partition: id.task as u32,
        };
        sources.push(match producer.worker(task) {
            Worker::Local { .. } => Source::local(&run.shared().store, &wanted),
            Worker::Remote(worker) => {
                let source = InputSource { location: worker.location.clone(), ticket: wanted.pack().to_vec() };
                let runtime = run.shared().runtime()?;
                Source::remote(&source, &schema, &run.shared().peers, runtime.handle())
                    .map_err(|error| EngineError::new("IO", error.to_string()))?
            }
        });
    }
    Ok(Input::new(schema, sources))
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
