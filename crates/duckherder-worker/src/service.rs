//! The calls that a worker answers.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::Any;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, Result as ActionResult, SchemaResult, Ticket,
};
use duckherder_engine::{Database, EngineError};
use duckherder_proto::actions::{Empty as Done, LoadExtension, ReachFile, SeeFiles, SeenFiles};
use duckherder_proto::any::{Command, unknown};
use duckherder_proto::hello::Hello;
use duckherder_proto::herd::AskWorker;
use duckherder_proto::task::{ReadPartition, RunTask};
use futures::{Stream, StreamExt, stream};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use crate::attendance::Attendance;
use crate::cache::SplitCache;
use crate::connections::TaskConnections;
use crate::error::{Result, WorkerError};
use crate::peers::Peers;
use crate::shuffle::ShuffleStore;
use crate::storage::{MountedFiles, StorageReads};
use crate::{files, serve, task};

type Rows<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The worker's database and its connections, those to other processes, and the rows that these fetch.
pub struct WorkerService {
    database: Database,
    attendance: Arc<Attendance>,
    connections: Arc<TaskConnections>,
    peers: Arc<Peers>,
    store: Arc<ShuffleStore>,
    cache: Option<Arc<SplitCache>>,
    storage: Arc<StorageReads>,
}

/// What a worker may keep.
pub struct Caches {
    /// Where the files are made.
    pub directory: PathBuf,
    /// Rows of the driver's tables.
    pub bytes: u64,
    /// Parts of the driver's object storage.
    pub storage_bytes: u64,
}

impl WorkerService {
    /// `files`: those that the database was opened with.
    ///
    /// # Errors
    /// The cache's file can't be made.
    pub fn new(
        database: Database,
        files: Arc<MountedFiles>,
        attendance: Arc<Attendance>,
        caches: Caches,
    ) -> Result<Self> {
        let connections = Arc::new(TaskConnections::new(database.clone()));
        let peers = Arc::default();
        let Caches { directory, bytes, storage_bytes } = caches;
        let cache = SplitCache::open(&database, &connections, &peers, &directory, bytes)?;
        let storage = StorageReads::new(database.clone(), files, Arc::clone(&connections), directory, storage_bytes);
        Ok(Self { database, attendance, connections, peers, store: Arc::default(), cache, storage })
    }

    /// What it keeps of the driver's tables.
    pub fn cache(&self) -> Option<Arc<SplitCache>> {
        self.cache.clone()
    }

    async fn load_extension(&self, name: String) -> Result<()> {
        let connection = self.database.connect()?;
        let asked = name.clone();
        let load = move || -> Result<()> { Ok(connection.load_extension(&asked)?) };
        let loaded = tokio::task::spawn_blocking(load).await;
        // Names in the plans that are kept may mean something else now.
        self.connections.forget();
        loaded.map_err(|error| WorkerError::Invalid(format!("loading {name} failed: {error}")))?
    }
}

fn not_here<T>(call: &str) -> Result<T, Status> {
    Err(Status::unimplemented(format!("a worker does not answer {call}")))
}

#[tonic::async_trait]
impl FlightService for WorkerService {
    type HandshakeStream = Rows<HandshakeResponse>;
    type ListFlightsStream = Rows<FlightInfo>;
    type DoGetStream = Rows<FlightData>;
    type DoPutStream = Rows<PutResult>;
    type DoActionStream = Rows<ActionResult>;
    type ListActionsStream = Rows<ActionType>;
    type DoExchangeStream = Rows<FlightData>;

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let malformed = |error| WorkerError::Invalid(format!("malformed ticket: {error}"));
        let any = Any::decode(request.into_inner().ticket).map_err(malformed)?;
        if let Some(wanted) = ReadPartition::from_any(&any).map_err(malformed)? {
            return Ok(Response::new(serve::partition(Arc::clone(&self.store), wanted).boxed()));
        }
        let Some(run) = RunTask::from_any(&any).map_err(malformed)? else {
            return Err(WorkerError::Invalid(unknown(&any.type_url, "worker")).into());
        };
        if run.instance != self.attendance.instance {
            return Err(WorkerError::from(EngineError::lost("it was started again")).into());
        }
        let place = task::Place {
            connections: Arc::clone(&self.connections),
            peers: Arc::clone(&self.peers),
            store: Arc::clone(&self.store),
            cache: self.cache.clone(),
            storage: Arc::clone(&self.storage),
        };
        Ok(Response::new(task::run(place, run).boxed()))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let malformed = |error| WorkerError::Invalid(format!("malformed action: {error}"));
        let any = Any::decode(request.into_inner().body).map_err(malformed)?;
        if Hello::from_any(&any).map_err(malformed)?.is_some() {
            let hello = Ok(ActionResult { body: Hello::from("worker").pack() });
            return Ok(Response::new(stream::iter([hello]).boxed()));
        }
        if let Some(see) = SeeFiles::from_any(&any).map_err(malformed)? {
            let look = tokio::task::spawn_blocking(move || files::first_difference(&see.files));
            let problem =
                look.await.map_err(|error| WorkerError::Invalid(format!("looking at files failed: {error}")))?;
            let seen = Ok(ActionResult { body: SeenFiles { problem }.pack() });
            return Ok(Response::new(stream::iter([seen]).boxed()));
        }
        if let Some(ReachFile { file: Some(file), answer }) = ReachFile::from_any(&any).map_err(malformed)? {
            let reach = tokio::task::spawn_blocking(move || files::reach(&file, &answer));
            let problem =
                reach.await.map_err(|error| WorkerError::Invalid(format!("writing a file failed: {error}")))?;
            let seen = Ok(ActionResult { body: SeenFiles { problem }.pack() });
            return Ok(Response::new(stream::iter([seen]).boxed()));
        }
        if let Some(question) = AskWorker::from_any(&any).map_err(malformed)? {
            let mut status = self.attendance.answer(&question)?;
            status.cached_bytes = self.cache.as_ref().map_or(0, |cache| cache.bytes()) + self.storage.cached_bytes();
            status.unreachable = self.peers.unreachable();
            let status = Ok(ActionResult { body: status.pack() });
            return Ok(Response::new(stream::iter([status]).boxed()));
        }
        let Some(load) = LoadExtension::from_any(&any).map_err(malformed)? else {
            return Err(WorkerError::Invalid(unknown(&any.type_url, "worker")).into());
        };
        self.load_extension(load.name).await?;
        let done = Ok(ActionResult { body: Done {}.pack() });
        Ok(Response::new(stream::iter([done]).boxed()))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        let load = ActionType {
            r#type: LoadExtension::TYPE_URL.to_string(),
            description: "Loads a DuckDB extension".to_string(),
        };
        let ask =
            ActionType { r#type: AskWorker::TYPE_URL.to_string(), description: "Says how the worker is".to_string() };
        let see = ActionType {
            r#type: SeeFiles::TYPE_URL.to_string(),
            description: "Says whether files are as the driver sees them".to_string(),
        };
        let reach = ActionType {
            r#type: ReachFile::TYPE_URL.to_string(),
            description: "Says whether it writes where the driver does".to_string(),
        };
        Ok(Response::new(stream::iter([Ok(load), Ok(see), Ok(reach), Ok(ask)]).boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        not_here("Handshake")
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        not_here("ListFlights")
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        not_here("GetFlightInfo")
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        not_here("PollFlightInfo")
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        not_here("GetSchema")
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        not_here("DoPut")
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        not_here("DoExchange")
    }
}
