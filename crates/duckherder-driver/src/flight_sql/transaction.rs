//! Transactions and cancelling. A transaction is a session of its own, its id the session's name.

use arrow_flight::FlightInfo;
use arrow_flight::sql::{
    ActionBeginTransactionResult, ActionCancelQueryRequest, ActionCancelQueryResult, ActionEndTransactionRequest, Any,
    Command, CommandPreparedStatementQuery, EndTransaction, TicketStatementQuery,
};
use prost::Message;
use tonic::metadata::MetadataMap;

use super::handle::StatementHandle;
use crate::error::{DriverError, Result};
use crate::service::Shared;

/// `ActionCancelQueryResult.CancelResult` in Flight SQL's protocol, which arrow-flight does not export.
const CANCELLED: i32 = 1;
const NOT_CANCELLABLE: i32 = 3;

/// Begins a transaction.
///
/// # Errors
/// There are too many sessions, or no database of the name.
pub async fn begin(driver: &Shared, metadata: &MetadataMap) -> Result<ActionBeginTransactionResult> {
    let session = driver.sessions.open_transaction(metadata).await?;
    session.run(|core| core.join_transaction(true)).await?;
    Ok(ActionBeginTransactionResult { transaction_id: session.id.clone().into_bytes().into() })
}

/// Commits or rolls back; the transaction's session ends with it.
///
/// # Errors
/// The transaction is unknown, or the commit fails.
pub async fn end(driver: &Shared, request: ActionEndTransactionRequest) -> Result<()> {
    let commit = match request.action() {
        EndTransaction::Commit => true,
        EndTransaction::Rollback => false,
        EndTransaction::Unspecified => {
            return Err(DriverError::Invalid("EndTransaction says neither commit nor rollback".to_string()));
        }
    };
    let id = String::from_utf8_lossy(&request.transaction_id).into_owned();
    let Some(session) = driver.sessions.get(&id) else {
        return Err(DriverError::Invalid(format!("transaction '{id}' is not open: it was ended, or it expired")));
    };
    let ended = session.run(move |core| core.end_transaction(commit)).await;
    driver.sessions.end(&id).await?;
    ended
}

/// Flight SQL's own way to cancel, with an encoded `FlightInfo`.
///
/// # Errors
/// It does not decode.
pub fn cancel_query(driver: &Shared, request: &ActionCancelQueryRequest) -> Result<ActionCancelQueryResult> {
    let info = FlightInfo::decode(request.info.clone())
        .map_err(|error| DriverError::Invalid(format!("malformed CancelQuery: {error}")))?;
    let result = if cancel_info(driver, &info) { CANCELLED } else { NOT_CANCELLABLE };
    Ok(ActionCancelQueryResult { result })
}

/// Stops the sessions that run what a `FlightInfo` announced; whether there was one.
pub fn cancel_info(driver: &Shared, info: &FlightInfo) -> bool {
    let handles = info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref()).filter_map(|ticket| {
        let any = Any::decode(ticket.ticket.clone()).ok()?;
        let handle = match Command::try_from(any).ok()? {
            Command::TicketStatementQuery(TicketStatementQuery { statement_handle }) => statement_handle,
            Command::CommandPreparedStatementQuery(CommandPreparedStatementQuery { prepared_statement_handle }) => {
                prepared_statement_handle
            }
            _ => return None,
        };
        StatementHandle::decode(&handle).ok()
    });
    let mut found = false;
    for handle in handles {
        if let Some(session) = driver.sessions.running(&handle.session) {
            session.interrupt();
            found = true;
        }
    }
    found
}
