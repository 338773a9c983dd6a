//! Bulk ingest into a table that may have to be made first.

use arrow_flight::sql::server::PeekableFlightDataStream;
use arrow_flight::sql::{CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption};
use tonic::Request;

use super::handle::{call_session, end_if_own};
use crate::error::{DriverError, Result};
use crate::ingest::{self, INPUT, Incoming, Work};
use crate::service::Shared;
use crate::sql::quote_identifier;

/// Takes a client's rows into a table; how many.
///
/// # Errors
/// The table is there and must not be, or the other way round; the rows don't fit; not all arrived.
pub async fn run(
    driver: &Shared,
    command: CommandStatementIngest,
    request: Request<PeekableFlightDataStream>,
) -> Result<i64> {
    let call = call_session(driver, command.transaction_id.as_ref(), request.metadata()).await?;
    let in_transaction = command.transaction_id.as_ref().is_some_and(|id| !id.is_empty());
    let ingested = async {
        let incoming = Incoming::open(request.into_inner(), None).await?;
        let incoming = incoming.ok_or_else(|| DriverError::Invalid("the stream of rows has no schema".to_string()))?;
        let statements = statements(&command)?;
        let user_sql = statements.last().cloned().unwrap_or_default();
        let work = Work { statements, user_sql, settings: Vec::new(), in_transaction };
        ingest::ingest(&call.session, incoming, &driver.statistics, work).await
    }
    .await;
    end_if_own(driver, &call).await?;
    let ingested = ingested?;
    let (received, stored) = (ingested.rows, ingested.result.changed_rows);
    if u64::try_from(stored) != Ok(received) {
        return Err(DriverError::RowsLost { sent: received, received: u64::try_from(stored).unwrap_or_default() });
    }
    Ok(stored)
}

/// The statements that do what the options say.
fn statements(command: &CommandStatementIngest) -> Result<Vec<String>> {
    let parts = [command.catalog.as_deref(), command.schema.as_deref(), Some(command.table.as_str())];
    let parts: Vec<String> =
        parts.into_iter().flatten().filter(|part| !part.is_empty()).map(quote_identifier).collect();
    if command.table.is_empty() {
        return Err(DriverError::Invalid("the ingest names no table".to_string()));
    }
    let table = parts.join(".");
    let temporary = if command.temporary { "TEMPORARY " } else { "" };
    let options = command.table_definition_options.unwrap_or(TableDefinitionOptions {
        if_not_exist: TableNotExistOption::Fail.into(),
        if_exists: TableExistsOption::Append.into(),
    });
    let create = match options.if_not_exist() {
        TableNotExistOption::Create => true,
        TableNotExistOption::Fail | TableNotExistOption::Unspecified => false,
    };
    let append = format!("INSERT INTO {table} BY NAME SELECT * FROM {INPUT}");
    Ok(match (create, options.if_exists()) {
        (true, TableExistsOption::Replace) => {
            vec![format!("CREATE OR REPLACE {temporary}TABLE {table} AS SELECT * FROM {INPUT}")]
        }
        (true, TableExistsOption::Append) => {
            vec![format!("CREATE {temporary}TABLE IF NOT EXISTS {table} AS SELECT * FROM {INPUT} WITH NO DATA"), append]
        }
        (true, TableExistsOption::Fail | TableExistsOption::Unspecified) => {
            vec![format!("CREATE {temporary}TABLE {table} AS SELECT * FROM {INPUT}")]
        }
        (false, TableExistsOption::Append | TableExistsOption::Unspecified) => vec![append],
        (false, TableExistsOption::Replace) => vec![format!("TRUNCATE {table}"), append],
        (false, TableExistsOption::Fail) => {
            return Err(DriverError::Invalid(
                "an ingest that fails whether the table exists or not can't do anything".to_string(),
            ));
        }
    })
}
