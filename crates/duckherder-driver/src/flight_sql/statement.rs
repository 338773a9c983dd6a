//! Statements that are run once: `CommandStatementQuery`, `CommandStatementUpdate`.

use std::sync::Arc;

use arrow_flight::sql::server::PeekableFlightDataStream;
use arrow_flight::sql::{CommandStatementQuery, CommandStatementUpdate, ProstMessageExt, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, FlightInfo};
use futures::StreamExt;
use prost::Message;
use tonic::{Request, Status};

use super::handle::{StatementHandle, call_session, end_if_own};
use super::update;
use crate::error::Result;
use crate::execute::{self, Run};
use crate::service::{RowStream, Shared, flight_info};

/// Prepares a query, which the ticket runs; a statement without rows runs at once.
///
/// # Errors
/// What DuckDB says of the query.
pub async fn info(
    driver: &Shared,
    query: CommandStatementQuery,
    request: Request<FlightDescriptor>,
) -> Result<FlightInfo> {
    let call = call_session(driver, query.transaction_id.as_ref(), request.metadata()).await?;
    let (sql, statistics) = (query.query, Arc::clone(&driver.statistics));
    let prepared = call
        .session
        .run(move |core| {
            let id = core.prepare(sql.clone(), sql, None)?;
            update::run_if_without_rows(core, id, &statistics)?;
            Ok((core.statement(id)?.statement.schema(), id))
        })
        .await;
    if prepared.is_err() {
        end_if_own(driver, &call).await?;
    }
    let (schema, statement_id) = prepared?;
    let handle = StatementHandle { session: call.session.id.clone(), statement_id };
    let ticket = TicketStatementQuery { statement_handle: handle.encode() };
    flight_info(&schema, ticket.as_any().encode_to_vec(), request.into_inner())
}

/// Runs a prepared statement with the parameters that were bound to it. `once`: the statement ends with its rows.
///
/// # Errors
/// The handle is unknown, or the statement fails before its first rows.
pub async fn rows(driver: &Arc<Shared>, handle: &[u8], once: bool) -> Result<RowStream, Status> {
    let handle = StatementHandle::decode(handle)?;
    let session = handle.session(driver)?;
    let mut guard = session.acquire().await?;
    let prepared = guard.statement(handle.statement_id)?;
    if let Some(changed_rows) = prepared.changed_rows.take() {
        let (schema, kind) = (prepared.statement.schema(), prepared.statement.kind());
        let messages = update::finished_rows(schema, kind, changed_rows)?;
        drop(guard);
        if once && session.own_of_statement() {
            driver.sessions.end(&session.id).await?;
        }
        return Ok(futures::stream::iter(messages.into_iter().map(Ok)).boxed());
    }
    let parameters = prepared.bound.clone();
    let in_transaction = guard.connection.in_transaction();
    let run = Run::Prepared {
        statement_id: handle.statement_id,
        parameters,
        in_transaction,
        close_after: once,
        user_sql: String::new(),
        run: 0,
    };
    let stream = execute::start(guard, run, Arc::clone(&driver.statistics));
    if once && session.own_of_statement() {
        // The stream keeps the session alive until it ends; no other call needs it.
        driver.sessions.forget(&session.id);
    }
    Ok(stream.started().await?.boxed())
}

/// Runs a statement for what it changes: the count of rows.
///
/// # Errors
/// What DuckDB says of the statement.
pub async fn update(
    driver: &Shared,
    command: CommandStatementUpdate,
    request: Request<PeekableFlightDataStream>,
) -> Result<i64> {
    let call = call_session(driver, command.transaction_id.as_ref(), request.metadata()).await?;
    let statistics = Arc::clone(&driver.statistics);
    let sql = command.query;
    let changed = call
        .session
        .run(move |core| {
            let id = core.prepare(sql.clone(), sql, None)?;
            let changed = update::run(core, id, &[], &statistics);
            core.close_statement(id);
            changed
        })
        .await;
    end_if_own(driver, &call).await?;
    changed
}
