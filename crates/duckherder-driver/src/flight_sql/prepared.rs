//! Prepared statements with parameters.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::sql::server::PeekableFlightDataStream;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, CommandPreparedStatementQuery,
    ProstMessageExt,
};
use arrow_flight::{FlightDescriptor, FlightInfo};
use duckherder_proto::statement::ResultKind;
use prost::Message;
use tonic::Request;
use tonic::metadata::MetadataMap;

use super::handle::{StatementHandle, call_session, end_if_own};
use super::update;
use crate::encode::schema_bytes;
use crate::error::{DriverError, Result};
use crate::ingest::Incoming;
use crate::service::{Shared, flight_info};

/// Prepares a statement; the handle, the columns of its rows, and its parameters (whose types follow from values).
///
/// # Errors
/// What DuckDB says of the statement.
pub async fn create(
    driver: &Shared,
    query: ActionCreatePreparedStatementRequest,
    metadata: &MetadataMap,
) -> Result<ActionCreatePreparedStatementResult> {
    let call = call_session(driver, query.transaction_id.as_ref(), metadata).await?;
    let sql = query.query;
    let prepared = call
        .session
        .run(move |core| {
            let id = core.prepare(sql.clone(), sql, None)?;
            let statement = &core.statement(id)?.statement;
            let parameters: Vec<Field> =
                statement.parameters().iter().map(|name| Field::new(name, DataType::Null, true)).collect();
            // No columns: that is how a client knows that it is an update.
            let columns = match statement.kind() {
                ResultKind::Query => statement.schema(),
                ResultKind::ChangedRows | ResultKind::Nothing => Arc::new(Schema::empty()),
            };
            Ok((id, columns, Schema::new(parameters)))
        })
        .await;
    if prepared.is_err() {
        end_if_own(driver, &call).await?;
    }
    let (statement_id, columns, parameters) = prepared?;
    let handle = StatementHandle { session: call.session.id.clone(), statement_id };
    Ok(ActionCreatePreparedStatementResult {
        prepared_statement_handle: handle.encode(),
        dataset_schema: schema_bytes(&columns)?,
        parameter_schema: schema_bytes(&parameters)?,
    })
}

/// Forgets a prepared statement, and the session that was made for it.
///
/// # Errors
/// No handle of ours.
pub async fn close(driver: &Shared, handle: &[u8]) -> Result<()> {
    let handle = StatementHandle::decode(handle)?;
    let Some(session) = driver.sessions.get(&handle.session) else { return Ok(()) };
    let empty = session.run(move |core| Ok(core.close_statement(handle.statement_id))).await?;
    if empty && session.own_of_statement() {
        driver.sessions.end(&session.id).await?;
    }
    Ok(())
}

/// What `GetFlightInfo` says of a prepared statement; its own bytes are the ticket. One without rows runs at once.
///
/// # Errors
/// The handle is unknown.
pub async fn info(
    driver: &Shared,
    command: CommandPreparedStatementQuery,
    request: Request<FlightDescriptor>,
) -> Result<FlightInfo> {
    let handle = StatementHandle::decode(&command.prepared_statement_handle)?;
    let session = handle.session(driver)?;
    let statistics = Arc::clone(&driver.statistics);
    let schema = session
        .run(move |core| {
            let bound = core.statement(handle.statement_id)?.bound.first().map(|batch| batch.slice(0, 1));
            if let Some(parameters) = bound {
                core.settle_types(handle.statement_id, &parameters)?;
            }
            update::run_if_without_rows(core, handle.statement_id, &statistics)?;
            Ok(core.statement(handle.statement_id)?.statement.schema())
        })
        .await?;
    flight_info(&schema, command.as_any().encode_to_vec(), request.into_inner())
}

/// Binds rows of parameter values for the runs to come.
///
/// # Errors
/// The handle is unknown, or the rows are cut or of a wrong width.
pub async fn bind(driver: &Shared, handle: &[u8], stream: PeekableFlightDataStream) -> Result<()> {
    let handle = StatementHandle::decode(handle)?;
    let session = handle.session(driver)?;
    let rows = read_parameters(stream).await?;
    session
        .run(move |core| {
            let prepared = core.statement(handle.statement_id)?;
            prepared.bound = name_parameters(prepared.statement.parameters(), rows)?;
            Ok(())
        })
        .await
}

/// Runs a prepared statement for what it changes, once for each row of parameter values; all of them or none.
///
/// # Errors
/// What DuckDB says of the statement.
pub async fn update(driver: &Shared, handle: &[u8], stream: PeekableFlightDataStream) -> Result<i64> {
    let handle = StatementHandle::decode(handle)?;
    let session = handle.session(driver)?;
    let rows = read_parameters(stream).await?;
    let statistics = Arc::clone(&driver.statistics);
    session
        .run(move |core| {
            let prepared = core.statement(handle.statement_id)?;
            let mut rows = name_parameters(prepared.statement.parameters(), rows)?;
            if rows.is_empty() {
                rows = prepared.bound.clone();
            }
            update::run(core, handle.statement_id, &rows, &statistics)
        })
        .await
}

async fn read_parameters(stream: PeekableFlightDataStream) -> Result<Vec<RecordBatch>> {
    match Incoming::open(stream, None).await? {
        Some(incoming) => incoming.collect().await,
        None => Ok(Vec::new()),
    }
}

/// Clients bind by position; DuckDB's parameters have names.
fn name_parameters(names: &[String], batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    let rename = |batch: RecordBatch| {
        if batch.num_columns() != names.len() {
            return Err(DriverError::Invalid(format!(
                "the statement has {} parameters, the row of values has {} columns",
                names.len(),
                batch.num_columns()
            )));
        }
        let schema = batch.schema();
        let by_name = names.iter().all(|name| schema.column_with_name(name).is_some());
        if by_name {
            return Ok(batch);
        }
        let fields: Vec<Field> =
            schema.fields().iter().zip(names).map(|(field, name)| field.as_ref().clone().with_name(name)).collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), batch.columns().to_vec())?)
    };
    batches.into_iter().filter(|batch| batch.num_rows() > 0 && batch.num_columns() > 0).map(rename).collect()
}
