//! The workers that a driver knows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::Any;
use arrow_flight::{Action, Result as Answer};
use duckherder_planner::Capacity;
use duckherder_proto::MAX_MESSAGE_BYTES;
use duckherder_proto::actions::{LoadExtension, SeeFiles, SeenFiles};
use duckherder_proto::any::Command;
use duckherder_proto::hello::Hello;
use futures::TryStreamExt;
use prost::Message;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::error::{DriverError, Result};
use crate::sync::lock;

/// How long a worker may take to answer when it is registered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a worker may take to install and load an extension.
const LOAD_TIMEOUT: Duration = Duration::from_secs(120);

/// A worker in another process.
#[derive(Clone)]
pub struct RemoteWorker {
    pub id: String,
    /// `grpc://host:port`
    pub location: String,
    /// Shared by all calls to this worker; connects again by itself.
    pub channel: Channel,
    /// Threads of its DuckDB.
    pub threads: u64,
}

impl RemoteWorker {
    /// Whether it runs on the driver's machine, as its address says.
    fn is_here(&self) -> bool {
        let authority = self.location.rsplit_once("//").map_or(self.location.as_str(), |(_, authority)| authority);
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    fn silent(&self, reason: String) -> DriverError {
        DriverError::WorkerSilent { id: self.id.clone(), location: self.location.clone(), reason }
    }
}

/// All workers of a driver: threads in its process, and other processes.
pub struct Cluster {
    local_workers: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    remote: BTreeMap<String, RemoteWorker>,
    extensions: BTreeSet<String>,
}

impl Cluster {
    /// A cluster with workers in the driver's own process only.
    pub fn new(local_workers: usize) -> Self {
        Self { local_workers, state: Mutex::default() }
    }

    /// Workers in the driver's process.
    pub fn local_workers(&self) -> usize {
        self.local_workers
    }

    /// Workers in other processes, in order of their ids.
    pub fn remote_workers(&self) -> Vec<RemoteWorker> {
        lock(&self.state).remote.values().cloned().collect()
    }

    /// How many workers there are, by kind.
    pub fn workers(&self) -> duckherder_planner::Workers {
        let remote = lock(&self.state).remote.len() as u64;
        duckherder_planner::Workers { local: self.local_workers as u64, remote }
    }

    /// The workers with their threads. Those on the driver's machine have no more of them than it has cores.
    pub fn capacity(&self) -> Capacity {
        let remote = self.remote_workers();
        let threads = |here: bool| -> u64 {
            remote.iter().filter(|worker| worker.is_here() == here).map(|worker| worker.threads).sum()
        };
        let cores = std::thread::available_parallelism().map_or(u64::MAX, |cores| cores.get() as u64);
        let remote_threads = threads(false) + threads(true).min(cores);
        Capacity { workers: self.workers(), remote_threads }
    }

    /// All workers.
    pub fn count(&self) -> usize {
        self.local_workers + lock(&self.state).remote.len()
    }

    /// Adds a worker, or gives a known id a new location. The worker must answer and gets the extensions that were
    /// loaded so far.
    ///
    /// # Errors
    /// The location is malformed, or no worker of this driver's version answers there.
    pub async fn register(&self, id: &str, location: &str) -> Result<()> {
        if id.is_empty() {
            return Err(DriverError::Invalid("a worker needs an id that is not empty".to_string()));
        }
        let channel = connect(id, location).await?;
        let mut worker = RemoteWorker { id: id.to_string(), location: location.to_string(), channel, threads: 1 };
        worker.threads = greet(&worker).await?.max(1);
        let extensions: Vec<String> = lock(&self.state).extensions.iter().cloned().collect();
        for name in extensions {
            load_on_worker(&worker, &name).await?;
        }
        tracing::info!(worker = id, location, "worker registered");
        lock(&self.state).remote.insert(id.to_string(), worker);
        Ok(())
    }

    /// Loads an extension on every worker in another process, now and when one joins later. (Workers in the driver's
    /// process share its DuckDB.)
    ///
    /// # Errors
    /// A worker does not answer or can't load it.
    pub async fn load_extension(&self, name: &str) -> Result<()> {
        for worker in self.remote_workers() {
            load_on_worker(&worker, name).await?;
        }
        self.needs_extension(name);
        Ok(())
    }

    /// The driver has loaded an extension: workers that join get it, too.
    pub fn needs_extension(&self, name: &str) {
        lock(&self.state).extensions.insert(name.to_string());
    }
}

async fn connect(id: &str, location: &str) -> Result<Channel> {
    let authority = location.strip_prefix("grpc://").or_else(|| location.strip_prefix("grpc+tcp://"));
    let endpoint = authority
        .filter(|authority| authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()))
        .and_then(|authority| Endpoint::from_shared(format!("http://{authority}")).ok())
        .ok_or_else(|| {
            DriverError::Invalid(format!("worker '{id}': location '{location}' is not of the form grpc://host:port"))
        })?;
    let endpoint = endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(crate::server::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(duckherder_proto::CONNECTION_WINDOW_BYTES)
        .max_frame_size(duckherder_proto::MAX_FRAME_BYTES)
        .http2_keep_alive_interval(crate::server::KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(crate::server::KEEP_ALIVE_TIMEOUT);
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect()).await;
    let reason = match connected {
        Ok(Ok(channel)) => return Ok(channel),
        Ok(Err(error)) => match std::error::Error::source(&error) {
            Some(source) => source.to_string(),
            None => error.to_string(),
        },
        Err(_) => format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
    };
    Err(DriverError::WorkerSilent { id: id.to_string(), location: location.to_string(), reason })
}

/// Makes sure that what answers there is a worker that knows our messages; its threads.
async fn greet(worker: &RemoteWorker) -> Result<u64> {
    let own = Hello::from("driver");
    let no_worker = |reason: String| {
        DriverError::Invalid(format!(
            "worker '{}': what answers at {} is no worker of this driver's version: {reason}",
            worker.id, worker.location
        ))
    };
    let answered: Option<Hello> = ask(worker, &own).await.map_err(|status| match status.code() {
        Code::InvalidArgument | Code::Unimplemented | Code::NotFound => no_worker(own.not_understood("worker")),
        _ => worker.silent(status.message().to_string()),
    })?;
    let hello = answered.ok_or_else(|| no_worker(own.not_understood("worker")))?;
    hello.check(&own, "worker").map_err(no_worker)?;
    let seen = ask(worker, &SeeFiles::default()).await.map_err(|status| worker.silent(status.message().to_string()))?;
    Ok(seen.map_or(0, |seen: SeenFiles| seen.threads))
}

/// The worker's answer to a short question, if it is the one expected.
async fn ask<A: Command>(worker: &RemoteWorker, question: &impl Command) -> std::result::Result<Option<A>, Status> {
    let action = Action::new(type_of(question), question.pack());
    let answers = act(worker, action, CONNECT_TIMEOUT).await?;
    let any = answers.first().and_then(|answer| Any::decode(answer.body.clone()).ok());
    Ok(any.and_then(|any| A::from_any(&any).ok().flatten()))
}

fn type_of<M: Command>(_: &M) -> &'static str {
    M::TYPE_URL
}

async fn load_on_worker(worker: &RemoteWorker, name: &str) -> Result<()> {
    let action = Action::new(LoadExtension::TYPE_URL, LoadExtension { name: name.to_string() }.pack());
    let failed = |status: Status| worker.silent(format!("cannot load extension '{name}': {}", status.message()));
    act(worker, action, LOAD_TIMEOUT).await.map(|_| ()).map_err(failed)
}

/// Has the worker do something, within `limit`; its answers.
async fn act(worker: &RemoteWorker, action: Action, limit: Duration) -> std::result::Result<Vec<Answer>, Status> {
    let mut client = FlightServiceClient::new(worker.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let call = async {
        let answers = client.do_action(action).await?.into_inner();
        answers.try_collect::<Vec<_>>().await
    };
    let late = |_| Status::deadline_exceeded(format!("no answer within {} s", limit.as_secs()));
    tokio::time::timeout(limit, call).await.map_err(late)?
}
