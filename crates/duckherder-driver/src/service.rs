//! The Flight SQL service: dispatches calls, the driver's own and Flight SQL's, to the modules that do the work.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{DoPutError, FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionBeginTransactionRequest, ActionBeginTransactionResult, ActionCancelQueryRequest, ActionCancelQueryResult,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    ActionEndTransactionRequest, Any, Command as FlightSqlCommand, CommandGetCatalogs, CommandGetCrossReference,
    CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo,
    CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo, CommandPreparedStatementQuery,
    CommandPreparedStatementUpdate, CommandStatementIngest, CommandStatementQuery, CommandStatementUpdate,
    DoPutPreparedStatementResult, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{Action, ActionType, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message;
use tonic::{Request, Response, Status};

use crate::cluster::Cluster;
use crate::databases::Databases;
use crate::distribute::Distributor;
use crate::error::{DriverError, Result};
use crate::flight_sql;
use crate::sessions::Sessions;
use crate::statistics::Statistics;
use crate::{own, own_actions};

/// What all calls share.
pub struct Shared {
    pub sessions: Arc<Sessions>,
    pub databases: Arc<Databases>,
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

/// The answer to a metadata command: its own bytes are its ticket.
fn command_info(schema: SchemaRef, command: &impl ProstMessageExt, request: Request<FlightDescriptor>) -> Info {
    let ticket = command.as_any().encode_to_vec();
    Ok(Response::new(flight_info(&schema, ticket, request.into_inner())?))
}

/// One batch as a stream.
fn one_batch(batch: Result<RecordBatch>) -> Rows {
    let batch = batch?;
    let encoder = FlightDataEncoderBuilder::new().with_schema(batch.schema());
    let stream = encoder.build(futures::stream::once(std::future::ready(Ok(batch))));
    Ok(Response::new(stream.map_err(Status::from).boxed()))
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

    // Statements.

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Info {
        let info = flight_sql::statement::info(&self.0, query, request).await?;
        Ok(Response::new(info))
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, _request: Request<Ticket>) -> Rows {
        flight_sql::statement::rows(&self.0, &ticket.statement_handle, true).await.map(Response::new)
    }

    async fn do_put_statement_update(
        &self,
        command: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Ok(flight_sql::statement::update(&self.0, command, request).await?)
    }

    async fn do_put_statement_ingest(
        &self,
        command: CommandStatementIngest,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Ok(flight_sql::ingest::run(&self.0, command, request).await?)
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        _request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        Ok(flight_sql::transaction::cancel_query(&self.0, &query)?)
    }

    // Prepared statements.

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        Ok(flight_sql::prepared::create(&self.0, query, request.metadata()).await?)
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        Ok(flight_sql::prepared::close(&self.0, &query.prepared_statement_handle).await?)
    }

    async fn get_flight_info_prepared_statement(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Info {
        let info = flight_sql::prepared::info(&self.0, command, request).await?;
        Ok(Response::new(info))
    }

    async fn do_get_prepared_statement(&self, query: CommandPreparedStatementQuery, _request: Request<Ticket>) -> Rows {
        flight_sql::statement::rows(&self.0, &query.prepared_statement_handle, false).await.map(Response::new)
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        flight_sql::prepared::bind(&self.0, &query.prepared_statement_handle, request.into_inner()).await?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(query.prepared_statement_handle) })
    }

    async fn do_put_prepared_statement_update(
        &self,
        query: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Ok(flight_sql::prepared::update(&self.0, &query.prepared_statement_handle, request.into_inner()).await?)
    }

    // Transactions.

    async fn do_action_begin_transaction(
        &self,
        _query: ActionBeginTransactionRequest,
        request: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        Ok(flight_sql::transaction::begin(&self.0, request.metadata()).await?)
    }

    async fn do_action_end_transaction(
        &self,
        query: ActionEndTransactionRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        Ok(flight_sql::transaction::end(&self.0, query).await?)
    }

    // Metadata.

    async fn get_flight_info_catalogs(&self, query: CommandGetCatalogs, request: Request<FlightDescriptor>) -> Info {
        command_info(query.into_builder().schema(), &query, request)
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, request: Request<Ticket>) -> Rows {
        one_batch(flight_sql::metadata::catalogs(&self.0, query, request.metadata()).await)
    }

    async fn get_flight_info_schemas(&self, query: CommandGetDbSchemas, request: Request<FlightDescriptor>) -> Info {
        command_info(query.clone().into_builder().schema(), &query, request)
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, request: Request<Ticket>) -> Rows {
        one_batch(flight_sql::metadata::schemas(&self.0, query, request.metadata()).await)
    }

    async fn get_flight_info_tables(&self, query: CommandGetTables, request: Request<FlightDescriptor>) -> Info {
        command_info(query.clone().into_builder().schema(), &query, request)
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> Rows {
        one_batch(flight_sql::metadata::tables(&self.0, query, request.metadata()).await)
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Info {
        command_info(query.into_builder().schema(), &query, request)
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, _request: Request<Ticket>) -> Rows {
        one_batch(flight_sql::metadata::table_types(query))
    }

    async fn get_flight_info_sql_info(&self, query: CommandGetSqlInfo, request: Request<FlightDescriptor>) -> Info {
        command_info(flight_sql::info::sql_info()?.schema(), &query, request)
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, _request: Request<Ticket>) -> Rows {
        let data = flight_sql::info::sql_info()?;
        one_batch(query.into_builder(&data).build().map_err(flight_sql::arrow_error))
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Info {
        command_info(flight_sql::info::type_info()?.schema(), &query, request)
    }

    async fn do_get_xdbc_type_info(&self, query: CommandGetXdbcTypeInfo, _request: Request<Ticket>) -> Rows {
        let data = flight_sql::info::type_info()?;
        one_batch(query.into_builder(&data).build().map_err(flight_sql::arrow_error))
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Info {
        command_info(flight_sql::keys::primary_key_schema(), &query, request)
    }

    async fn do_get_primary_keys(&self, query: CommandGetPrimaryKeys, request: Request<Ticket>) -> Rows {
        one_batch(flight_sql::keys::primary_keys(&self.0, query, request.metadata()).await)
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Info {
        command_info(flight_sql::keys::foreign_key_schema(), &query, request)
    }

    async fn do_get_exported_keys(&self, query: CommandGetExportedKeys, request: Request<Ticket>) -> Rows {
        let keys = flight_sql::keys::KeyFilter::exported(query);
        one_batch(flight_sql::keys::foreign_keys(&self.0, keys, request.metadata()).await)
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Info {
        command_info(flight_sql::keys::foreign_key_schema(), &query, request)
    }

    async fn do_get_imported_keys(&self, query: CommandGetImportedKeys, request: Request<Ticket>) -> Rows {
        let keys = flight_sql::keys::KeyFilter::imported(query);
        one_batch(flight_sql::keys::foreign_keys(&self.0, keys, request.metadata()).await)
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Info {
        command_info(flight_sql::keys::foreign_key_schema(), &query, request)
    }

    async fn do_get_cross_reference(&self, query: CommandGetCrossReference, request: Request<Ticket>) -> Rows {
        let keys = flight_sql::keys::KeyFilter::cross(query);
        one_batch(flight_sql::keys::foreign_keys(&self.0, keys, request.metadata()).await)
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
