//! The Flight SQL service: dispatches calls, the driver's own and Flight SQL's, to the modules that do the work.

use std::pin::Pin;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{DoPutError, FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{Any, Command as FlightSqlCommand, SqlInfo};
use arrow_flight::{Action, ActionType, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::cluster::Cluster;
use crate::distribute::Distributor;
use crate::error::{DriverError, Result};
use crate::sessions::Sessions;
use crate::statistics::Statistics;
use crate::{own, own_actions};

/// What all calls share.
pub struct Shared {
    pub sessions: Arc<Sessions>,
    pub cluster: Arc<Cluster>,
    pub statistics: Arc<Statistics>,
    pub distributor: Option<Arc<dyn Distributor>>,
}

/// The service, one a driver.
#[derive(Clone)]
pub struct DriverService(pub Arc<Shared>);

/// A stream of rows on its way to a client.
pub type RowStream = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send + 'static>>;

type Rows = Result<Response<RowStream>, Status>;
type Info = Result<Response<FlightInfo>, Status>;

/// The answer to `GetFlightInfo` for rows of `schema` that `ticket` gets.
///
/// # Errors
/// Arrow can't encode the schema.
pub fn flight_info(
    schema: &arrow::datatypes::Schema,
    ticket: impl Into<bytes::Bytes>,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
    Ok(FlightInfo::new().try_with_schema(schema)?.with_endpoint(endpoint).with_descriptor(descriptor))
}

#[tonic::async_trait]
impl FlightSqlService for DriverService {
    type FlightService = Self;

    // The driver's own commands.

    async fn get_flight_info_fallback(&self, command: FlightSqlCommand, request: Request<FlightDescriptor>) -> Info {
        own::flight_info(&self.0, &command.into_any(), request).await
    }

    async fn do_get_fallback(&self, request: Request<Ticket>, message: Any) -> Rows {
        own::rows(&self.0, request.metadata(), &message).await.map(Response::new)
    }

    async fn do_put_fallback(
        &self,
        request: Request<PeekableFlightDataStream>,
        message: Any,
    ) -> Result<Response<<Self as FlightService>::DoPutStream>, Status> {
        let result = own::put(&self.0, request, &message).await?;
        Ok(Response::new(futures::stream::iter([Ok(result)]).boxed()))
    }

    async fn do_put_error_callback(
        &self,
        _request: Request<PeekableFlightDataStream>,
        error: DoPutError,
    ) -> Result<Response<<Self as FlightService>::DoPutStream>, Status> {
        Err(DriverError::Invalid(format!("DoPut says not what to do with its rows: {error}")).into())
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        let results = own_actions::run(&self.0, request).await?;
        Ok(Response::new(futures::stream::iter(results.into_iter().map(Ok)).boxed()))
    }

    async fn list_custom_actions(&self) -> Option<Vec<Result<ActionType, Status>>> {
        Some(own_actions::list().into_iter().map(Ok).collect())
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
