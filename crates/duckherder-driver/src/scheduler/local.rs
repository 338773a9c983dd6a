//! Tasks on the driver's own instance.

use std::sync::{Arc, Mutex};

use arrow::datatypes::{FieldRef, Schema};
use duckherder_engine::distribute::{ChunkStream, Fragment, FragmentInput, Snapshot, TaskOutput, TaskPlan};
use duckherder_engine::{Connection, Database, EngineError};
use duckherder_planner::Split;
use duckherder_proto::any::Command;
use duckherder_proto::task::{InputSource, ReadPartition};
use duckherder_worker::files;
use duckherder_worker::input::{Input, Source};
use duckherder_worker::shuffle::{self, DivideBy, Division, HashDivision, Notices, Partitions, Room, TaskKey};

use super::exchange::{Run, Stop, TaskId, TaskRows};
use super::filter::{Wanted, wanted_of};
use super::query::Worker;
use super::skew::heavy_keys_of;
use super::stages::{RunningStage, exchange_schema};
use crate::sync::lock;

/// Idle connections that are kept.
const KEPT_CONNECTIONS: usize = 64;

/// Connections for tasks.
pub struct ConnectionPool {
    database: Database,
    idle: Mutex<Vec<TaskConnection>>,
}

/// A task of a query that runs again with the plan of the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanKey {
    /// See [`Run::plan`].
    pub plan: u64,
    pub stage: usize,
    pub task: usize,
    pub splits: Vec<Split>,
}

/// A connection, and the plan of a task that it ran; none, if the task can't have one. (Fields are dropped in this
/// order.)
struct TaskConnection {
    plan: Option<(PlanKey, Option<TaskPlan>)>,
    connection: Connection,
}

impl TaskConnection {
    fn has(&self, wanted: &PlanKey) -> bool {
        self.plan.as_ref().is_some_and(|(key, _)| key == wanted)
    }
}

impl ConnectionPool {
    pub fn new(database: Database) -> Self {
        Self { database, idle: Mutex::default() }
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// A connection that reads `snapshot` until it is dropped.
    ///
    /// # Errors
    /// DuckDB refuses a connection.
    pub fn enter(self: &Arc<Self>, snapshot: &Snapshot) -> Result<SnapshotConnection, EngineError> {
        self.enter_for(snapshot, None)
    }

    /// The same, with the task's plan if there is one.
    ///
    /// # Errors
    /// As for [`enter`](Self::enter).
    pub fn enter_for(
        self: &Arc<Self>,
        snapshot: &Snapshot,
        task: Option<&PlanKey>,
    ) -> Result<SnapshotConnection, EngineError> {
        let connection = match self.take_idle(task) {
            Some(connection) => connection,
            None => TaskConnection { plan: None, connection: self.database.connect()? },
        };
        snapshot.enter(&connection.connection)?;
        Ok(SnapshotConnection { connection: Some(connection), inputs: Vec::new(), pool: Arc::clone(self) })
    }

    /// The connection with the task's plan, or else one without a plan, or else the one that has been idle for longest.
    fn take_idle(&self, task: Option<&PlanKey>) -> Option<TaskConnection> {
        let mut idle = lock(&self.idle);
        let place = task
            .and_then(|task| idle.iter().position(|connection| connection.has(task)))
            .or_else(|| idle.iter().rposition(|connection| connection.plan.is_none()))
            .or_else(|| (!idle.is_empty()).then_some(0))?;
        Some(idle.remove(place))
    }
}

/// A connection inside a snapshot.
pub struct SnapshotConnection {
    /// Taken when dropped.
    connection: Option<TaskConnection>,
    /// What was registered with it, by name: nothing of that stays with a connection that waits for its next task.
    inputs: Vec<String>,
    pool: Arc<ConnectionPool>,
}

impl SnapshotConnection {
    /// # Errors
    /// Never while it is alive.
    pub fn get(&self) -> Result<&Connection, EngineError> {
        let connection = self.connection.as_ref().ok_or_else(gone)?;
        Ok(&connection.connection)
    }

    /// Makes `input` the relation `name`, as long as the connection is inside the snapshot.
    ///
    /// # Errors
    /// Out of memory.
    fn register(&mut self, name: String, input: Arc<Input>) -> Result<(), EngineError> {
        self.get()?.register_input(&name, input)?;
        self.inputs.push(name);
        Ok(())
    }

    /// The connection, and the plan of `task`: that of the last time, or one that is made now. `None` if it can't have
    /// one, or there is no such task.
    ///
    /// # Errors
    /// DuckDB's.
    fn planned(
        &mut self,
        task: Option<PlanKey>,
        fragment: &Fragment,
    ) -> Result<(&Connection, Option<&TaskPlan>), EngineError> {
        let TaskConnection { plan, connection } = self.connection.as_mut().ok_or_else(gone)?;
        let Some(task) = task else { return Ok((connection, None)) };
        if plan.as_ref().is_none_or(|(key, _)| *key != task) {
            *plan = None;
            let made = TaskPlan::make(connection, fragment, &task.splits)?;
            *plan = Some((task, made));
        }
        Ok((connection, plan.as_ref().and_then(|(_, plan)| plan.as_ref())))
    }
}

fn gone() -> EngineError {
    EngineError::internal("a task's connection is gone")
}

impl Drop for SnapshotConnection {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let forgotten = self.inputs.iter().try_for_each(|name| connection.connection.unregister_input(name));
        if let Some((_, Some(plan))) = &mut connection.plan {
            plan.rest();
        }
        // A connection that can't end its transaction, or keeps another task's rows, is not used again.
        if Snapshot::leave(&connection.connection).is_ok() && forgotten.is_ok() {
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
    let planned = planned(run, id, stage);
    let mut connection = run.shared().connections.enter_for(&run.snapshot, planned.as_ref())?;
    connection.get()?.watch(run.measures.progress);
    let meter = run.measures.cpu.then(|| connection.get()?.measure_cpu()).transpose()?;
    for input in &stage.inputs {
        if let FragmentInput::Exchange { stage } = input {
            connection.register(input.name(), exchange_input(run, id, *stage)?)?;
        }
    }
    let sent = run_fragment(run, id, stage, planned, &mut connection);
    run.unstoppable(id);
    Ok(TaskRows { cpu: meter.map(|meter| meter.total()).transpose()?, ..sent? })
}

/// Runs a task with the plan that there may be, or without one.
fn run_fragment(
    run: &Arc<Run>,
    id: TaskId,
    stage: &RunningStage,
    planned: Option<PlanKey>,
    snapshot_connection: &mut SnapshotConnection,
) -> Result<TaskRows, EngineError> {
    let splits = &stage.splits[id.task];
    let stamps = stage.stamps(id.task);
    files::check(&stamps)?;
    if stage.reads_exchanges() {
        // Rows that were shuffled have no order, and keeping one would make readers of them wait for each other.
        snapshot_connection.get()?.set(UNORDERED.0, UNORDERED.1)?;
    }
    let (connection, plan) = snapshot_connection.planned(planned, &stage.fragment)?;
    if stage.partitions == 0 {
        let writing = stage.writing(&stage.fragment, run.query_id, id.task, run.attempt(id))?;
        let chunks = match plan {
            Some(plan) => plan.open(connection)?,
            None => ChunkStream::open(connection, writing.as_ref().unwrap_or(&stage.fragment), splits)?,
        };
        let sent = send_chunks(run, id, chunks, connection)?;
        files::check(&stamps)?;
        return Ok(sent);
    }
    // What is broadcast DuckDB itself compares tables of this process with.
    let is_filtered = stage.filter.as_ref().is_some_and(|filter| filter.bits > 0);
    let wanted = if is_filtered { wanted_of(run, id)? } else { Wanted::default() };
    let narrowed = wanted.narrow(&stage.fragment)?;
    let by = match stage.broadcast {
        true => DivideBy::Everywhere(run.filters.columns(stage)),
        false => DivideBy::Hash(HashDivision {
            heavy: heavy_keys_of(run, id)?,
            filter: wanted.filter,
            collect_bits: run.filters.bits(stage),
            collect_ranges: run.filters.columns(stage),
        }),
    };
    let division = Division { partitions: stage.partitions, by };
    let rows = match plan {
        Some(plan) => plan.read(connection)?,
        None => narrowed.as_ref().unwrap_or(&stage.fragment).task_query(splits)?.read(connection)?,
    };
    may_run(run, id, Stop::Statement(connection.interrupter()))?;
    check_columns(stage, &rows.schema())?;
    let key = TaskKey { query: run.query_id, stage: stage.number as u32, task: id.task as u32 };
    let stop = |partitions: &Arc<Partitions>| may_run(run, id, Stop::Rows(Arc::clone(partitions)));
    let store = &run.shared().store;
    let room = store.room(run.query_id, || Room::of(connection))?;
    let check = || files::check(&stamps);
    let made = |keys| {
        run.filters.made(stage, id.task, keys);
        Ok(())
    };
    let moved = shuffle::keep(store, room, key, rows, division, Notices { stop, check, made })?;
    Ok(TaskRows {
        rows: moved.rows,
        bytes: moved.bytes,
        filtered_rows: moved.filtered_rows,
        spilled_bytes: moved.spilled_bytes,
        ..TaskRows::default()
    })
}

/// Whoever reads the rows was told their columns when the plan was cut.
fn check_columns(stage: &RunningStage, schema: &Schema) -> Result<(), EngineError> {
    let announced = stage.schema.as_ref().map_or(&[][..], |schema| schema.fields());
    let same =
        |given: &[FieldRef]| announced.iter().zip(given).all(|(one, other)| one.data_type() == other.data_type());
    match schema.fields().get(..announced.len()).is_some_and(same) {
        true => Ok(()),
        false => Err(EngineError::internal(format!("stage {} gives other columns than it was cut for", stage.number))),
    }
}

/// What the task's plan is known by, if it may be used again: by a query that has run before and whose plan was kept.
fn planned(run: &Run, id: TaskId, stage: &RunningStage) -> Option<PlanKey> {
    let plan = run.plan.filter(|_| stage.may_keep_plans())?;
    Some(PlanKey { plan, stage: stage.number, task: id.task, splits: stage.splits[id.task].clone() })
}

/// DuckDB forgets an interrupt that comes before the statement starts: this comes after.
///
/// # Errors
/// The run was stopped.
pub fn may_run(run: &Run, id: TaskId, stop: Stop) -> Result<(), EngineError> {
    match run.stoppable(id, stop) {
        true => Ok(()),
        false => Err(EngineError::interrupted()),
    }
}

/// Session setting of tasks whose rows have no order.
pub const UNORDERED: (&str, &str) = ("preserve_insertion_order", "false");

/// What the stage `number` has for this task, wherever its tasks run.
fn exchange_input(run: &Arc<Run>, id: TaskId, number: usize) -> Result<Arc<Input>, EngineError> {
    let schema = exchange_schema(&run.stages, number)?;
    let producer = run.stages.iter().find(|stage| stage.number == number);
    let producer = producer.ok_or_else(|| EngineError::internal(format!("stage {number} does not run")))?;
    let mut sources = Vec::new();
    for (task, partition) in producer.parts_for(run.stages[id.stage].number, id.task) {
        let wanted = ReadPartition { query_id: run.query_id, stage: number as u32, task: task as u32, partition };
        sources.push(match run.crew.worker(producer, task) {
            Worker::Local { .. } => Source::local(&run.shared().store, &wanted),
            Worker::Remote(worker) => {
                let source = InputSource { location: worker.location.clone(), ticket: wanted.pack().to_vec() };
                let runtime = run.shared().runtime()?;
                Source::remote(&source, &schema, &run.shared().peers, runtime.handle())
                    .map_err(|error| EngineError::new("IO", error.to_string()))?
            }
        });
    }
    Ok(Input::new(schema, producer.rows_for_a_task(), sources))
}

fn send_chunks(
    run: &Arc<Run>,
    id: TaskId,
    chunks: ChunkStream,
    connection: &Connection,
) -> Result<TaskRows, EngineError> {
    may_run(run, id, Stop::Statement(connection.interrupter()))?;
    let mut sent = TaskRows::default();
    for chunk in chunks {
        let chunk = chunk?;
        let (rows, bytes) = (chunk.rows(), chunk.bytes());
        sent.rows += rows;
        sent.bytes += bytes;
        if !run.push(id.task, TaskOutput::Chunk(chunk), bytes) {
            return Err(EngineError::interrupted());
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// As after a task that failed once it had some of its inputs.
    #[test]
    fn a_connection_that_waits_keeps_no_inputs() {
        let pool = Arc::new(ConnectionPool::new(Database::open(":memory:", &[]).unwrap()));
        let connection = TaskConnection { plan: None, connection: pool.database().connect().unwrap() };
        connection.connection.execute("BEGIN").unwrap();
        let mut inside =
            SnapshotConnection { connection: Some(connection), inputs: Vec::new(), pool: Arc::clone(&pool) };
        let input = Input::new(Arc::new(Schema::empty()), None, Vec::new());
        inside.register("exchange_0".to_string(), Arc::clone(&input)).unwrap();
        assert_eq!(Arc::strong_count(&input), 2);
        drop(inside);
        assert_eq!(lock(&pool.idle).len(), 1);
        assert_eq!(Arc::strong_count(&input), 1);
    }
}
