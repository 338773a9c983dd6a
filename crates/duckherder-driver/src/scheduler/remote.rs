//! Tasks on workers in other processes.

use std::net::{IpAddr, UdpSocket};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::Any;
use arrow_flight::{FlightData, Ticket};
use duckherder_engine::EngineError;
use duckherder_engine::distribute::{Fragment, FragmentInput, Snapshot, TaskOutput, TaskQuery};
use duckherder_planner::Split;
use duckherder_proto::MAX_MESSAGE_BYTES;
use duckherder_proto::any::Command;
use duckherder_proto::decode::{BatchStream, Received};
use duckherder_proto::encode::schema_bytes;
use duckherder_proto::error::{ErrorDetail, PEER_LOST};
use duckherder_proto::settings::SESSION_SETTINGS;
use duckherder_proto::statement::Setting;
use duckherder_proto::task::{
    InputSource, InputsHere, ReadPartition, ReadSplit, RunTask, TaskInput, TaskMade, TaskMoved, TaskProgress,
};
use duckherder_worker::shuffle::{CollectedKeys, HashDivision, KeyFilter};
use futures::StreamExt;
use prost::Message;
use tokio::sync::watch;

use super::Shared;
use super::caches::RowsRead;
use super::exchange::{Run, TaskId, TaskRows};
use super::filter::wanted_of;
use super::query::Worker;
use super::skew::heavy_keys_of;
use super::splits::{RunningSplits, SplitSql};
use super::stages::{RunningStage, exchange_schema};
use super::storage::InStorage;
use crate::cluster::RemoteWorker;

/// What the remote tasks of a run share.
pub struct RemoteRun {
    query_id: u64,
    splits: Arc<RunningSplits>,
    stages: Vec<RemoteStage>,
    settings: Vec<Setting>,
    /// What workers may read themselves.
    storage: Option<InStorage>,
    result_schema: OnceLock<SchemaRef>,
    stop: watch::Sender<bool>,
}

/// What a task elsewhere has read of a table.
pub struct ScanRead {
    pub scan: usize,
    /// Each of several tasks reads all of it.
    pub whole: bool,
    pub rows: RowsRead,
}

/// What the remote tasks of a stage run.
struct RemoteStage {
    /// By task.
    fragments: Vec<TaskQuery>,
    /// Of each input, IPC-encoded; empty where the tasks read files themselves.
    schemas: Vec<Vec<u8>>,
}

impl Drop for RemoteRun {
    fn drop(&mut self) {
        self.splits.remove(self.query_id);
    }
}

impl RemoteRun {
    /// Offers the run's splits to workers.
    ///
    /// # Errors
    /// DuckDB's.
    pub fn open(
        shared: &Shared,
        query_id: u64,
        snapshot: &Snapshot,
        stages: &[RunningStage],
    ) -> Result<Self, EngineError> {
        let snapshot_connection = shared.connections.enter(snapshot)?;
        let connection = snapshot_connection.get()?;
        let mut sql = SplitSql::new();
        let mut remote = Vec::new();
        for stage in stages {
            for (task, splits) in stage.splits.iter().enumerate() {
                for (input, split) in splits.iter().enumerate().filter(|(input, _)| stage.files[*input].is_none()) {
                    let key = (stage.number as u32, task as u32, input as u32);
                    sql.insert(key, stage.fragment.split_sql(input, split)?);
                }
            }
            let schema = |(number, input): (usize, &FragmentInput)| -> Result<Vec<u8>, EngineError> {
                let schema = match input {
                    FragmentInput::Split { .. } => {
                        connection.prepare(&stage.fragment.split_sql(number, &Split::WHOLE)?, None)?.schema()
                    }
                    FragmentInput::Exchange { stage } => exchange_schema(stages, *stage)?,
                    FragmentInput::Files { .. } => return Ok(Vec::new()),
                };
                Ok(schema_bytes(&schema)?.to_vec())
            };
            let schemas = stage.inputs.iter().enumerate().map(schema).collect::<Result<_, _>>()?;
            let fragments = stage.splits.iter().map(|splits| stage.fragment.remote_query(splits));
            remote.push(RemoteStage { fragments: fragments.collect::<Result<_, _>>()?, schemas });
        }
        let settings = read_settings(connection)?;
        drop(snapshot_connection);
        shared.splits.add(query_id, snapshot.clone(), sql);
        let storage = shared.storage.as_ref().and_then(|home| home.state_of(snapshot, shared.splits.driver()));
        Ok(Self {
            query_id,
            splits: Arc::clone(&shared.splits),
            stages: remote,
            settings,
            storage,
            result_schema: OnceLock::new(),
            stop: watch::Sender::new(false),
        })
    }

    /// The columns that workers send, once one has.
    pub fn result_schema(&self) -> Option<SchemaRef> {
        self.result_schema.get().cloned()
    }

    /// What each task of the run elsewhere has read of each table.
    pub fn reads(&self, run: &Run) -> Vec<ScanRead> {
        let mut sent = self.splits.sent(self.query_id);
        let mut reads = Vec::new();
        for stage in run.stages.iter() {
            for (number, input) in stage.inputs.iter().enumerate() {
                let FragmentInput::Split { scan } = input else { continue };
                let whole_each =
                    |task: usize| stage.tasks() > 1 && stage.splits[task].get(number) == Some(&Split::WHOLE);
                let elsewhere = |task: &usize| matches!(run.crew.worker(stage, *task), Worker::Remote(_));
                for task in (0..stage.tasks()).filter(elsewhere) {
                    let all = stage.rows_of_split(task, number).unwrap_or(0);
                    let whole = sent.splits.contains(&(stage.number as u32, task as u32, number as u32));
                    let rows = RowsRead { all, sent: if whole { all } else { 0 } };
                    reads.push(ScanRead { scan: *scan, whole: whole_each(task), rows });
                }
                // Of inputs that were here but for some rows: whose they are does not matter.
                let name = stage.stored.get(number).and_then(|stored| Some(stored.as_ref()?.name()));
                let rest = name.and_then(|name| sent.rows.remove(name)).unwrap_or(0);
                let rows = RowsRead { all: 0, sent: rest };
                reads.push(ScanRead { scan: *scan, whole: stage.tasks() > 0 && whole_each(0), rows });
            }
        }
        reads
    }

    /// Drops the calls to the workers, which interrupts them.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        self.splits.remove(self.query_id);
    }

    /// The rows of the task's splits are from now on those of the narrowed `fragment`; what the task runs.
    fn narrow(&self, stage: &RunningStage, task: usize, fragment: &Fragment) -> Result<TaskQuery, EngineError> {
        let splits = &stage.splits[task];
        for (input, split) in splits.iter().enumerate().filter(|(input, _)| stage.files[*input].is_none()) {
            let key = (stage.number as u32, task as u32, input as u32);
            self.splits.replace(self.query_id, key, fragment.split_sql(input, split)?);
        }
        fragment.remote_query(splits)
    }

    /// `driver`: where the worker finds the driver; `fragment`: with what its keys leave of its splits.
    fn task(
        &self,
        run: &Run,
        id: TaskId,
        worker: &RemoteWorker,
        driver: &str,
        fragment: &Fragment,
        division: HashDivision,
    ) -> RunTask {
        let (stage, remote) = (&run.stages[id.stage], &self.stages[id.stage]);
        let inputs = stage.inputs.iter().zip(&remote.schemas).enumerate().filter_map(|(number, (input, schema))| {
            let (sources, rows, stored) = match input {
                FragmentInput::Split { .. } => (
                    vec![self.split_source(stage, id, number, driver)],
                    stage.rows_of_split(id.task, number),
                    stage.stored_rows(id.task, number, self.splits.driver()),
                ),
                FragmentInput::Exchange { stage } => {
                    let (sources, rows) = self.exchange_sources(run, id, *stage, driver);
                    (sources, rows, Vec::new())
                }
                FragmentInput::Files { .. } => return None,
            };
            let storage_sql = match (input, &self.storage) {
                (FragmentInput::Split { .. }, Some(storage)) => {
                    storage.sql(fragment, number, &stage.splits[id.task][number]).unwrap_or_default()
                }
                _ => String::new(),
            };
            Some(TaskInput { name: input.name(), sources, schema: schema.clone(), rows, stored, storage_sql })
        });
        let mut settings = self.settings.clone();
        if stage.reads_exchanges() {
            // As for a task in the driver's process.
            settings.retain(|setting| setting.name != "preserve_insertion_order");
            settings.push(Setting { name: "preserve_insertion_order".into(), value: Some("false".into()) });
        }
        RunTask {
            query_id: self.query_id,
            stage: stage.number as u32,
            task: id.task as u32,
            attempt: run.attempt(id),
            fragment: remote.fragments[id.task].clone().into_bytes(),
            inputs: inputs.collect(),
            settings,
            partitions: stage.partitions as u32,
            files: stage.stamps(id.task),
            heavy: division.heavy,
            broadcast: stage.broadcast,
            analyzed: run.measures.cpu,
            collect_bits: division.collect_bits,
            collect_ranges: division.collect_ranges,
            filter: division.filter.map_or_else(Vec::new, |filter| filter.to_bytes()),
            repeated: run.plan.is_some() && stage.may_keep_plans(),
            watched: run.measures.progress,
            instance: worker.instance,
            storage: self.storage.as_ref().map(|storage| storage.state().clone()),
        }
    }

    fn split_source(&self, stage: &RunningStage, id: TaskId, input: usize, driver: &str) -> InputSource {
        let split = ReadSplit {
            query_id: self.query_id,
            stage: stage.number as u32,
            task: id.task as u32,
            input: input as u32,
        };
        InputSource { location: driver.to_string(), ticket: split.pack().to_vec() }
    }

    /// A source for each task of the stage `number`, and how many rows are expected of all.
    fn exchange_sources(&self, run: &Run, id: TaskId, number: usize, driver: &str) -> (Vec<InputSource>, Option<u64>) {
        let here = run.crew.worker(&run.stages[id.stage], id.task);
        let producer = run.stages.iter().find(|stage| stage.number == number);
        let reader = run.stages[id.stage].number;
        let parts = |stage| RunningStage::parts_for(stage, reader, id.task).into_iter().map(move |part| (stage, part));
        let tasks = producer.into_iter().flat_map(parts);
        let source = |(stage, (task, partition)): (&RunningStage, (usize, u32))| {
            let partition =
                ReadPartition { query_id: self.query_id, stage: number as u32, task: task as u32, partition };
            let location = match run.crew.worker(stage, task) {
                Worker::Local { .. } => driver.to_string(),
                Worker::Remote(worker) if here.is(worker) => String::new(),
                Worker::Remote(worker) => worker.location.clone(),
            };
            InputSource { location, ticket: partition.pack().to_vec() }
        };
        (tasks.map(source).collect(), producer.and_then(RunningStage::rows_for_a_task))
    }
}

fn read_settings(connection: &duckherder_engine::Connection) -> Result<Vec<Setting>, EngineError> {
    let mut settings = Vec::new();
    for name in SESSION_SETTINGS {
        if let Some(value) = connection.given_setting(name)? {
            settings.push(Setting { name: name.to_string(), value: Some(value) });
        }
    }
    Ok(settings)
}

/// Runs a task on a worker and passes its rows on, or waits until others have fetched them.
///
/// # Errors
/// The worker's, with its name if it does not answer, or the stream was cut.
pub fn run_task(run: &Arc<Run>, id: TaskId, worker: &RemoteWorker) -> Result<TaskRows, EngineError> {
    let shared = run.shared();
    let remote = run.remote.as_ref().ok_or_else(|| EngineError::internal("the splits are not served"))?;
    let stage = &run.stages[id.stage];
    let wanted = wanted_of(run, id)?;
    let narrowed = wanted.narrow(&stage.fragment)?;
    let fragment = narrowed.as_ref().unwrap_or(&stage.fragment);
    let writing = stage.writing(fragment, run.query_id, id.task, run.attempt(id))?;
    let other = match (&narrowed, &writing) {
        (None, None) => None,
        (None, Some(writing)) => Some(writing.remote_query(&stage.splits[id.task])?),
        (Some(narrowed), writing) => Some(remote.narrow(stage, id.task, writing.as_ref().unwrap_or(narrowed))?),
    };
    let division = HashDivision {
        heavy: heavy_keys_of(run, id)?,
        filter: wanted.filter,
        collect_bits: run.filters.bits(stage),
        collect_ranges: run.filters.columns(stage),
    };
    let mut task = remote.task(run, id, worker, &driver_location(worker, shared.port)?, fragment, division);
    task.fragment = other.map_or(task.fragment, TaskQuery::into_bytes);
    let ticket = Ticket::new(task.pack());
    let keeps = stage.partitions > 0;
    shared.runtime()?.block_on(async {
        let mut stopped = remote.stop.subscribe();
        let work = async {
            match keeps {
                true => wait_for_others(run, id, worker, ticket).await,
                false => receive(run, id, remote, worker, ticket).await,
            }
        };
        tokio::select! {
            sent = work => sent,
            reason = worker.gone() => Err(worker.lost(&reason)),
            _ = stopped.wait_for(|stopped| *stopped) => Err(EngineError::interrupted()),
        }
    })
}

/// Runs a task whose rows go to other tasks.
async fn wait_for_others(
    run: &Run,
    id: TaskId,
    worker: &RemoteWorker,
    ticket: Ticket,
) -> Result<TaskRows, EngineError> {
    let failed = |status: tonic::Status| name_worker(worker, ErrorDetail::from_status(&status));
    let mut client = FlightServiceClient::new(worker.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let mut messages = client.do_get(ticket).await.map_err(failed)?.into_inner();
    let mut moved = None;
    while let Some(message) = messages.message().await.map_err(failed)? {
        if !message.app_metadata.is_empty() {
            let broken = |error| EngineError::new("IO", format!("a worker sends broken metadata: {error}"));
            if is_progress(run, id, &message) {
                continue;
            }
            let any = Any::decode(message.app_metadata).map_err(broken)?;
            if let Some(TaskMade { keys, ranges }) = TaskMade::from_any(&any).map_err(broken)? {
                let made = CollectedKeys { filter: KeyFilter::from_bytes(&keys), ranges: Some(ranges) };
                run.filters.made(&run.stages[id.stage], id.task, made);
            }
            moved = TaskMoved::from_any(&any).map_err(broken)?.or(moved);
        }
    }
    match moved {
        Some(TaskMoved { rows, bytes, filtered_rows, spilled_bytes, cpu_ns, cached, from_storage }) => {
            let (cpu, here) = (cpu_ns.map(Duration::from_nanos), InputsHere { cached, from_storage });
            Ok(TaskRows { rows, bytes, filtered_rows, spilled_bytes, cpu, here })
        }
        None => {
            let cut = ErrorDetail::new(PEER_LOST, "its answer was cut before the task had ended");
            Err(name_worker(worker, cut))
        }
    }
}

/// Takes note of a message that says how far the task is, and has nothing else.
fn is_progress(run: &Run, id: TaskId, message: &FlightData) -> bool {
    if !message.data_header.is_empty() || message.app_metadata.is_empty() {
        return false;
    }
    let told = Any::decode(message.app_metadata.clone()).ok().and_then(|any| TaskProgress::from_any(&any).ok()?);
    if let Some(TaskProgress { done }) = &told {
        run.tell(|report| report.told(run.stages[id.stage].number, id.task, *done));
    }
    told.is_some()
}

async fn receive(
    run: &Arc<Run>,
    id: TaskId,
    remote: &RemoteRun,
    worker: &RemoteWorker,
    ticket: Ticket,
) -> Result<TaskRows, EngineError> {
    let failed = |detail: ErrorDetail| name_worker(worker, detail);
    let mut client = FlightServiceClient::new(worker.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let answer = client.do_get(ticket).await.map_err(|status| failed(ErrorDetail::from_status(&status)))?;
    let watching = Arc::clone(run);
    let is_progress = move |message: &Result<FlightData, tonic::Status>| {
        message.as_ref().is_ok_and(|message| is_progress(&watching, id, message))
    };
    let rows = answer.into_inner().filter(move |message| std::future::ready(!is_progress(message)));
    let mut stream = BatchStream::new(rows);
    let mut sent = TaskRows::default();
    while let Some(received) = stream.next().await.map_err(failed)? {
        match received {
            Received::Schema(schema) => {
                let known = remote.result_schema.get_or_init(|| schema.clone());
                if known
                    .fields()
                    .iter()
                    .map(|field| field.data_type())
                    .ne(schema.fields().iter().map(|f| f.data_type()))
                {
                    let message = format!("worker '{}' sends other columns than the others", worker.id);
                    return Err(EngineError::new("IO", message));
                }
            }
            Received::Batch(batch, bytes) => {
                sent.rows += batch.num_rows() as u64;
                sent.bytes += bytes;
                // Blocks this task's own thread only.
                if !run.push(id.task, TaskOutput::Batch(batch), bytes) {
                    return Err(EngineError::interrupted());
                }
            }
        }
    }
    sent.cpu = stream.cpu();
    sent.here = stream.inputs_here();
    Ok(sent)
}

/// Names the worker in errors that are not the query's own.
fn name_worker(worker: &RemoteWorker, detail: ErrorDetail) -> EngineError {
    let error = EngineError::from(detail);
    match error.exception_type.as_str() {
        // A task that nobody has stopped here was stopped there: its worker ends.
        // DuckDB has other words for what took longer than `max_execution_time`, which is the query's own error.
        "INTERRUPT" if error.message == EngineError::interrupted().message => worker.lost("it has stopped"),
        _ if error.is_lost() => worker.lost(&error.message),
        "IO" => EngineError::new("IO", format!("worker '{}' at {}: {}", worker.id, worker.location, error.message)),
        _ => error,
    }
}

/// How `worker` reaches the driver: the address of ours that faces it.
fn driver_location(worker: &RemoteWorker, port: u16) -> Result<String, EngineError> {
    let authority = worker.location.split("://").nth(1).unwrap_or(&worker.location);
    let facing = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        // Sends nothing: it only asks for the route.
        socket.connect(authority)?;
        Ok(socket.local_addr()?.ip())
    };
    let address = facing().map_err(|error| {
        EngineError::new("IO", format!("worker '{}' at {}: no route to it: {error}", worker.id, worker.location))
    })?;
    Ok(format!("grpc://{address}:{port}"))
}
