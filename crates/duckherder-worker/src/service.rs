//! The worker's Flight service: tasks, and what the driver tells all workers.

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::Any;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use duckherder_engine::Database;
use duckherder_proto::actions::{self, LoadExtension};
use duckherder_proto::any::Command;
use duckherder_proto::task::RunTask;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use crate::error::{Result, WorkerError};
use crate::task;

pub struct WorkerService {
    pub id: String,
    pub database: Database,
}

type Answer<T> = std::result::Result<Response<T>, Status>;

fn decode<T: Command>(bytes: &[u8], what: &str) -> Result<T> {
    T::from_any(&Any::decode(bytes)?)?
        .ok_or_else(|| WorkerError::Malformed(format!("a worker {what} {}", T::TYPE_URL)))
}

/// Installs an extension if it is not there and loads it.
fn load_extension(database: &Database, name: &str) -> Result<()> {
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    let connection = database.connect()?;
    if connection.execute(&format!("LOAD {quoted}")).is_err() {
        connection.execute(&format!("INSTALL {quoted}"))?;
        connection.execute(&format!("LOAD {quoted}"))?;
    }
    Ok(())
}

#[tonic::async_trait]
impl FlightService for WorkerService {
    type HandshakeStream = BoxStream<'static, std::result::Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, std::result::Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, std::result::Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, std::result::Result<PutResult, Status>>;
    type DoActionStream = BoxStream<'static, std::result::Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, std::result::Result<ActionType, Status>>;
    type DoExchangeStream = BoxStream<'static, std::result::Result<FlightData, Status>>;

    async fn do_get(&self, request: Request<Ticket>) -> Answer<Self::DoGetStream> {
        let run: RunTask = decode(&request.into_inner().ticket, "serves only tickets of")?;
        tracing::debug!(worker = self.id, query = run.query_id, stage = run.stage, task = run.task, "task begins");
        let stream = task::start(&self.database, run)?.started().await?;
        Ok(Response::new(stream.boxed()))
    }

    async fn do_action(&self, request: Request<Action>) -> Answer<Self::DoActionStream> {
        let load: LoadExtension = decode(&request.into_inner().body, "takes only actions of")?;
        let database = self.database.clone();
        tokio::task::spawn_blocking(move || load_extension(&database, &load.name))
            .await
            .map_err(|error| WorkerError::Thread(error.to_string()))??;
        let done = arrow_flight::Result { body: actions::Empty {}.pack() };
        Ok(Response::new(stream::iter([Ok(done)]).boxed()))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<Self::ListActionsStream> {
        let load = ActionType {
            r#type: LoadExtension::TYPE_URL.to_string(),
            description: "installs if needed and loads a DuckDB extension".to_string(),
        };
        Ok(Response::new(stream::iter([Ok(load)]).boxed()))
    }

    async fn handshake(&self, _: Request<Streaming<HandshakeRequest>>) -> Answer<Self::HandshakeStream> {
        Err(not_here("Handshake"))
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        Err(not_here("ListFlights"))
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        Err(not_here("GetFlightInfo"))
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<PollInfo> {
        Err(not_here("PollFlightInfo"))
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        Err(not_here("GetSchema"))
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        Err(not_here("DoPut"))
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoExchangeStream> {
        Err(not_here("DoExchange"))
    }
}

fn not_here(call: &str) -> Status {
    Status::unimplemented(format!("a worker has no {call}: clients talk to the driver"))
}
