//! Catalogs, schemas, tables and their types.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::sql::{CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables};
use tonic::metadata::MetadataMap;

use super::arrow_error;
use super::handle::{call_session, end_if_own};
use crate::error::Result;
use crate::rows::{each, query};
use crate::service::Shared;
use crate::session::SessionCore;
use crate::sql::quote_identifier;

/// Runs `work` in the call's session, or in one made for it.
///
/// # Errors
/// What the work says.
pub async fn in_session<T: Send + 'static>(
    driver: &Shared,
    metadata: &MetadataMap,
    work: impl FnOnce(&mut SessionCore) -> Result<T> + Send + 'static,
) -> Result<T> {
    let call = call_session(driver, None, metadata).await?;
    let result = call.session.run(work).await;
    end_if_own(driver, &call).await?;
    result
}

/// The database's catalogs.
///
/// # Errors
/// DuckDB's.
pub async fn catalogs(driver: &Shared, command: CommandGetCatalogs, metadata: &MetadataMap) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    let sql = "SELECT database_name FROM duckdb_databases() WHERE NOT internal ORDER BY 1";
    let found = in_session(driver, metadata, move |core| query(&core.connection, sql)).await?;
    each(&found, |row| {
        builder.append(row.text(0)?);
        Ok(())
    })?;
    builder.build().map_err(arrow_error)
}

/// The schemas that match the command's filters.
///
/// # Errors
/// DuckDB's.
pub async fn schemas(driver: &Shared, command: CommandGetDbSchemas, metadata: &MetadataMap) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    let sql = "SELECT s.database_name, s.schema_name FROM duckdb_schemas() s \
               JOIN duckdb_databases() d USING (database_oid) \
               WHERE NOT d.internal AND (NOT s.internal OR s.schema_name = 'main') ORDER BY ALL";
    let found = in_session(driver, metadata, move |core| query(&core.connection, sql)).await?;
    each(&found, |row| {
        builder.append(row.text(0)?, row.text(1)?);
        Ok(())
    })?;
    builder.build().map_err(arrow_error)
}

/// The kinds of tables there are.
///
/// # Errors
/// Arrow's.
pub fn table_types(command: CommandGetTableTypes) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    ["BASE TABLE", "LOCAL TEMPORARY", "VIEW"].into_iter().for_each(|name| builder.append(name));
    builder.build().map_err(arrow_error)
}

/// The tables and views that match the command's filters, with their columns if it asks for them.
///
/// # Errors
/// DuckDB's.
pub async fn tables(driver: &Shared, command: CommandGetTables, metadata: &MetadataMap) -> Result<RecordBatch> {
    let with_schema = command.include_schema;
    let mut builder = command.into_builder();
    let (found, schemas) = in_session(driver, metadata, move |core| {
        let sql = "SELECT t.table_catalog, t.table_schema, t.table_name, t.table_type \
                   FROM information_schema.tables t JOIN duckdb_databases() d ON d.database_name = t.table_catalog \
                   WHERE NOT d.internal OR t.table_type = 'LOCAL TEMPORARY' ORDER BY ALL";
        let found = query(&core.connection, sql)?;
        let schemas = if with_schema { table_schemas(core, &found)? } else { HashMap::new() };
        Ok((found, schemas))
    })
    .await?;
    let unknown = Schema::empty();
    each(&found, |row| {
        let names = (row.text(0)?, row.text(1)?, row.text(2)?);
        let schema = schemas.get(&names).map_or(&unknown, |schema| schema.as_ref());
        builder.append(&names.0, &names.1, &names.2, row.text(3)?, schema).map_err(arrow_error)
    })?;
    builder.build().map_err(arrow_error)
}

type TableName = (String, String, String);

/// The columns of all tables. A view that no longer binds has none.
fn table_schemas(core: &SessionCore, tables: &[RecordBatch]) -> Result<HashMap<TableName, SchemaRef>> {
    let mut schemas = HashMap::new();
    each(tables, |row| {
        let names = (row.text(0)?, row.text(1)?, row.text(2)?);
        let [catalog, schema, table] = [&names.0, &names.1, &names.2].map(|name| quote_identifier(name));
        if let Ok(statement) = core.connection.prepare(&format!("FROM {catalog}.{schema}.{table}"), None) {
            schemas.insert(names, statement.schema());
        }
        Ok(())
    })?;
    Ok(schemas)
}
