//! The driver's own commands in `GetFlightInfo`, `DoGet` and `DoPut`: prepare, run, execute, ingest, read a split.

use std::sync::Arc;

use arrow_flight::sql::Any;
use arrow_flight::sql::server::PeekableFlightDataStream;
use arrow_flight::{FlightDescriptor, FlightInfo, PutResult};
use duckherder_proto::any::Command;
use duckherder_proto::statement::{ExecuteStatement, IngestRows, PrepareStatement, PreparedStatement, RunStatement};
use duckherder_proto::task::{ReadPartition, ReadSplit, ReadStored};
use futures::StreamExt;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::error::{DriverError, Result};
use crate::execute::{self, Run, decode_parameters};
use crate::ingest::{self, Incoming, Work};
use crate::service::{RowStream, Shared, flight_info as info_of};
use crate::session::Session;
use crate::split;

/// The message of type `T` in `any`, if it is one.
///
/// # Errors
/// The bytes are not what their type says.
pub fn decode<T: Command>(any: &Any) -> Result<Option<T>> {
    T::from_any(any).map_err(|error| DriverError::Invalid(format!("malformed {}: {error}", T::TYPE_URL)))
}

fn unknown(any: &Any, place: &str) -> Status {
    let problem = duckherder_proto::any::unknown(&any.type_url, "driver");
    duckherder_proto::error::ErrorDetail::new("Not implemented", format!("{place}: {problem}")).into_status()
}

/// The session of a call that belongs to one, in the transaction that the call counts on.
///
/// # Errors
/// The call has no session header, or its transaction is gone.
pub async fn session(driver: &Shared, metadata: &MetadataMap, in_transaction: bool) -> Result<Arc<Session>> {
    let Some(session) = driver.sessions.of_call(metadata).await? else {
        return Err(DriverError::Invalid(format!("this command needs a {} header", duckherder_proto::SESSION_HEADER)));
    };
    if in_transaction && let Some(value) = metadata.get(duckherder_proto::TRANSACTION_HEADER) {
        let mark = value.to_str().map_err(|error| error.to_string()).and_then(str::parse);
        session.enter_transaction(mark.map_err(DriverError::Invalid)?).await?;
    }
    Ok(session)
}

/// `GetFlightInfo`.
pub async fn flight_info(
    driver: &Shared,
    command: &Any,
    request: Request<FlightDescriptor>,
) -> Result<Response<FlightInfo>, Status> {
    let Some(prepare) = decode::<PrepareStatement>(command)? else {
        return Err(unknown(command, "GetFlightInfo"));
    };
    let session = session(driver, request.metadata(), prepare.in_transaction).await?;
    let parameters = decode_parameters(&prepare.parameters)?.into_iter().next();
    let (schema, prepared) = session
        .run(move |core| {
            core.apply_settings(&prepare.settings)?;
            core.join_transaction(prepare.in_transaction)?;
            let user_sql = if prepare.user_sql.is_empty() { prepare.sql.clone() } else { prepare.user_sql };
            let statement_id = core.prepare(prepare.sql, user_sql, parameters.as_ref())?;
            let statement = &core.statement(statement_id)?.statement;
            let prepared = execute::prepared_message(statement_id, statement.description());
            Ok((statement.schema(), PreparedStatement { parameters: statement.parameters().to_vec(), ..prepared }))
        })
        .await?;
    let ticket = ExecuteStatement { statement_id: prepared.statement_id, ..Default::default() };
    let info = info_of(&schema, ticket.pack(), request.into_inner())?.with_app_metadata(prepared.pack());
    Ok(Response::new(info))
}

/// `DoGet`.
pub async fn rows(driver: &Shared, metadata: &MetadataMap, ticket: &Any) -> Result<RowStream, Status> {
    if let Some(RunStatement { statement: Some(statement), only_reading, run }) = decode(ticket)? {
        let session = session(driver, metadata, statement.in_transaction).await?;
        return start(driver, &session, Run::New { statement, only_reading, run }).await;
    }
    if let Some(execute) = decode::<ExecuteStatement>(ticket)? {
        let session = session(driver, metadata, execute.in_transaction).await?;
        let run = Run::Prepared {
            statement_id: execute.statement_id,
            parameters: decode_parameters(&execute.parameters)?,
            in_transaction: execute.in_transaction,
            close_after: execute.close_after,
            user_sql: execute.user_sql,
            run: execute.run,
        };
        return start(driver, &session, run).await;
    }
    if let Some(split) = decode::<ReadSplit>(ticket)? {
        return Ok(split::rows(driver, split).await?.boxed());
    }
    if let Some(stored) = decode::<ReadStored>(ticket)? {
        return Ok(split::stored(driver, stored).await?.boxed());
    }
    if let Some(wanted) = decode::<ReadPartition>(ticket)? {
        let distributor = split::distributor(driver)?;
        return Ok(duckherder_worker::serve::partition(distributor.shuffle_store(), wanted).boxed());
    }
    Err(unknown(ticket, "DoGet"))
}

async fn start(driver: &Shared, session: &Arc<Session>, run: Run) -> Result<RowStream, Status> {
    let guard = session.acquire().await?;
    let stream = execute::start(guard, run, Arc::clone(&driver.statistics));
    Ok(stream.started().await?.boxed())
}

/// `DoPut`.
pub async fn put(
    driver: &Shared,
    request: Request<PeekableFlightDataStream>,
    command: &Any,
) -> Result<PutResult, Status> {
    let Some(rows) = decode::<IngestRows>(command)? else {
        return Err(unknown(command, "DoPut"));
    };
    let session = session(driver, request.metadata(), rows.in_transaction).await?;
    let spool = rows.in_transaction.then(|| session.spool());
    let Some(incoming) = Incoming::open(request.into_inner(), spool).await? else {
        return Err(DriverError::Invalid("the stream of rows has no schema".to_string()).into());
    };
    let user_sql = if rows.user_sql.is_empty() { rows.sql.clone() } else { rows.user_sql };
    let work =
        Work { statements: vec![rows.sql], user_sql, settings: rows.settings, in_transaction: rows.in_transaction };
    let ingested = ingest::ingest(&session, incoming, &driver.statistics, work).await?;
    Ok(PutResult { app_metadata: ingested.result.pack() })
}
