//! Tasks on workers in other processes.

use std::net::{IpAddr, UdpSocket};
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use arrow_flight::Ticket;
use arrow_flight::flight_service_client::FlightServiceClient;
use duckherder_engine::EngineError;
use duckherder_engine::distribute::{Fragment, Snapshot, TaskOutput};
use duckherder_planner::Split;
use duckherder_proto::MAX_MESSAGE_BYTES;
use duckherder_proto::any::Command;
use duckherder_proto::decode::{BatchStream, Received};
use duckherder_proto::encode::schema_bytes;
use duckherder_proto::error::ErrorDetail;
use duckherder_proto::settings::SESSION_SETTINGS;
use duckherder_proto::statement::Setting;
use duckherder_proto::task::{ReadSplit, RunTask, TaskInput};
use tokio::sync::watch;

use super::Shared;
use super::exchange::{Run, TaskRows};
use super::splits::RunningSplits;
use crate::cluster::RemoteWorker;

/// What the remote tasks of a run share.
pub struct RemoteRun {
    query_id: u64,
    splits: Arc<RunningSplits>,
    fragment: String,
    split_schema: Vec<u8>,
    settings: Vec<Setting>,
    result_schema: OnceLock<SchemaRef>,
    stop: watch::Sender<bool>,
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
        fragment: &Fragment,
        snapshot: &Snapshot,
        splits: &[Split],
    ) -> Result<Self, EngineError> {
        let sql = splits.iter().map(|split| fragment.split_sql(*split)).collect::<Result<Vec<_>, _>>()?;
        let connection = shared.connections.enter(snapshot)?;
        let schema = match sql.first() {
            Some(sql) => connection.get()?.prepare(sql, None)?.schema(),
            None => return Err(EngineError::internal("a query without tasks")),
        };
        let settings = read_settings(connection.get()?)?;
        drop(connection);
        Ok(Self {
            query_id: shared.splits.add(snapshot.clone(), sql),
            splits: Arc::clone(&shared.splits),
            fragment: fragment.remote_sql()?,
            split_schema: schema_bytes(&schema)?.to_vec(),
            settings,
            result_schema: OnceLock::new(),
            stop: watch::Sender::new(false),
        })
    }

    /// The columns that workers send, once one has.
    pub fn result_schema(&self) -> Option<SchemaRef> {
        self.result_schema.get().cloned()
    }

    /// Drops the calls to the workers, which interrupts them.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        self.splits.remove(self.query_id);
    }

    fn ticket(&self, task: usize, location: String) -> Result<Ticket, EngineError> {
        let number = u32::try_from(task).map_err(|_| EngineError::internal("too many tasks"))?;
        let split = ReadSplit { query_id: self.query_id, stage: 0, task: number, input: 0 };
        let input = TaskInput {
            name: "split_0".to_string(),
            location,
            ticket: split.pack().to_vec(),
            schema: self.split_schema.clone(),
        };
        let run = RunTask {
            query_id: self.query_id,
            stage: 0,
            task: number,
            attempt: 0,
            fragment: self.fragment.clone(),
            inputs: vec![input],
            settings: self.settings.clone(),
        };
        Ok(Ticket::new(run.pack()))
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

/// Runs a task on a worker and passes its rows on.
///
/// # Errors
/// The worker's, with its name if it does not answer, or the stream was cut.
pub fn run_task(run: &Arc<Run>, task: usize, worker: &RemoteWorker) -> Result<TaskRows, EngineError> {
    let shared = run.shared();
    let remote = run.remote.as_ref().ok_or_else(|| EngineError::internal("the splits are not served"))?;
    let ticket = remote.ticket(task, driver_location(worker, shared.port)?)?;
    shared.runtime()?.block_on(async {
        let mut stopped = remote.stop.subscribe();
        tokio::select! {
            sent = receive(run, task, remote, worker, ticket) => sent,
            _ = stopped.wait_for(|stopped| *stopped) => Err(EngineError::interrupted()),
        }
    })
}

async fn receive(
    run: &Arc<Run>,
    task: usize,
    remote: &RemoteRun,
    worker: &RemoteWorker,
    ticket: Ticket,
) -> Result<TaskRows, EngineError> {
    let failed = |detail: ErrorDetail| name_worker(worker, detail);
    let mut client = FlightServiceClient::new(worker.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let answer = client.do_get(ticket).await.map_err(|status| failed(ErrorDetail::from_status(&status)))?;
    let mut stream = BatchStream::new(answer.into_inner());
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
            Received::Batch(batch) => {
                let bytes = batch.get_array_memory_size() as u64;
                sent.rows += batch.num_rows() as u64;
                sent.bytes += bytes;
                // Blocks this task's own thread only.
                if !run.push(task, TaskOutput::Batch(batch), bytes) {
                    return Err(EngineError::interrupted());
                }
            }
        }
    }
    Ok(sent)
}

/// Names the worker in errors that are not the query's own.
fn name_worker(worker: &RemoteWorker, detail: ErrorDetail) -> EngineError {
    let error = EngineError::from(detail);
    if error.exception_type != "IO" {
        return error;
    }
    EngineError::new("IO", format!("worker '{}' at {}: {}", worker.id, worker.location, error.message))
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
