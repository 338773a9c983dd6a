//! The calls that a worker answers.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::Any;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, Result as ActionResult, SchemaResult, Ticket,
};
use duckherder_engine::Database;
use duckherder_proto::MAX_FRAME_BYTES;
use duckherder_proto::actions::{Empty as Done, LoadExtension};
use duckherder_proto::any::Command;
use duckherder_proto::task::RunTask;
use futures::{Stream, StreamExt, stream};
use prost::Message;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use crate::error::{Result, WorkerError};
use crate::server::{CONNECTION_WINDOW_BYTES, KEEP_ALIVE_INTERVAL, STREAM_WINDOW_BYTES};
use crate::task;

type Rows<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The worker's database and its connections to drivers.
pub struct WorkerService {
    database: Database,
    drivers: Arc<Drivers>,
}

/// Connections to drivers, one a location.
#[derive(Default)]
pub struct Drivers {
    channels: Mutex<HashMap<String, Channel>>,
}

impl Drivers {
    /// A connection to `grpc://host:port`, made when it is first used.
    ///
    /// # Errors
    /// The location is malformed.
    pub fn channel(&self, location: &str) -> Result<Channel> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(location) {
            return Ok(channel.clone());
        }
        let malformed = || WorkerError::Invalid(format!("'{location}' is not of the form grpc://host:port"));
        let authority = location.strip_prefix("grpc://").ok_or_else(malformed)?;
        let endpoint = Endpoint::from_shared(format!("http://{authority}")).map_err(|_| malformed())?;
        let channel = endpoint
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(MAX_FRAME_BYTES)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .connect_lazy();
        channels.insert(location.to_string(), channel.clone());
        Ok(channel)
    }
}

impl WorkerService {
    pub fn new(database: Database) -> Self {
        Self { database, drivers: Arc::default() }
    }

    async fn load_extension(&self, name: String) -> Result<()> {
        let connection = self.database.connect()?;
        let quoted = format!("'{}'", name.replace('\'', "''"));
        let load = move || -> Result<()> {
            if connection.execute(&format!("LOAD {quoted}")).is_err() {
                connection.execute(&format!("INSTALL {quoted}"))?;
                connection.execute(&format!("LOAD {quoted}"))?;
            }
            Ok(())
        };
        tokio::task::spawn_blocking(load)
            .await
            .map_err(|error| WorkerError::Invalid(format!("loading {name} failed: {error}")))?
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
        let Some(run) = RunTask::from_any(&any).map_err(malformed)? else {
            return Err(WorkerError::Invalid(format!("a worker runs tasks, not {}", any.type_url)).into());
        };
        let rows = task::run(self.database.clone(), Arc::clone(&self.drivers), run);
        Ok(Response::new(rows.boxed()))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let malformed = |error| WorkerError::Invalid(format!("malformed action: {error}"));
        let any = Any::decode(request.into_inner().body).map_err(malformed)?;
        let Some(load) = LoadExtension::from_any(&any).map_err(malformed)? else {
            return Err(WorkerError::Invalid(format!("a worker does not know the action {}", any.type_url)).into());
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
        Ok(Response::new(stream::iter([Ok(load)]).boxed()))
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
