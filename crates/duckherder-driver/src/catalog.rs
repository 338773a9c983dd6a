//! Describing what the database holds, as one session sees it, for the client's catalog.

use std::collections::HashMap;

use duckherder_engine::Connection;
use duckherder_proto::actions::{Catalog, CatalogEntry, Column, EntryKind};

use crate::error::Result;
use crate::rows::{each, query};
use crate::session::SessionCore;
use crate::sql::quote_identifier;

/// The user's columns of all tables and views, in order. DuckDB writes types of the user's own out by itself.
const COLUMNS: &str = "\
    SELECT schema_name, table_name, column_name, data_type, NOT is_nullable, \
           CASE WHEN is_generated THEN generation_expression ELSE column_default END, comment, is_generated \
    FROM duckdb_columns() WHERE database_name = current_database() AND NOT internal \
    ORDER BY table_oid ASC, column_index ASC";

/// One query for each kind of entry: schema, name, sql, table, estimated rows, comment.
const ENTRIES: [(EntryKind, &str); 8] = [
    (
        EntryKind::Schema,
        "SELECT schema_name, schema_name, '', NULL::VARCHAR, 0::BIGINT, comment \
         FROM duckdb_schemas() WHERE database_name = current_database() AND NOT internal ORDER BY oid ASC",
    ),
    (
        EntryKind::Type,
        "SELECT schema_name, type_name, '', NULL::VARCHAR, 0::BIGINT, comment \
         FROM duckdb_types() WHERE database_name = current_database() AND NOT internal ORDER BY type_oid ASC",
    ),
    (
        EntryKind::Sequence,
        "SELECT schema_name, sequence_name, '', NULL::VARCHAR, 0::BIGINT, comment \
         FROM duckdb_sequences() WHERE database_name = current_database() AND NOT temporary ORDER BY sequence_oid ASC",
    ),
    (
        EntryKind::Table,
        "SELECT schema_name, table_name, sql, NULL::VARCHAR, estimated_size::BIGINT, comment \
         FROM duckdb_tables() WHERE database_name = current_database() AND NOT internal AND NOT temporary \
         ORDER BY table_oid ASC",
    ),
    (
        EntryKind::View,
        "SELECT schema_name, view_name, sql, NULL::VARCHAR, 0::BIGINT, comment \
         FROM duckdb_views() WHERE database_name = current_database() AND NOT internal AND NOT temporary \
         ORDER BY view_oid ASC",
    ),
    (
        EntryKind::Index,
        "SELECT schema_name, index_name, sql, table_name, 0::BIGINT, comment \
         FROM duckdb_indexes() WHERE database_name = current_database() ORDER BY index_oid ASC",
    ),
    (
        EntryKind::ScalarMacro,
        "SELECT schema_name, function_name, '', NULL::VARCHAR, 0::BIGINT, comment \
         FROM duckdb_functions() WHERE database_name = current_database() AND NOT internal \
         AND function_type = 'macro' ORDER BY function_oid ASC",
    ),
    (
        EntryKind::TableMacro,
        "SELECT schema_name, function_name, '', NULL::VARCHAR, 0::BIGINT, comment \
         FROM duckdb_functions() WHERE database_name = current_database() AND NOT internal \
         AND function_type = 'table_macro' ORDER BY function_oid ASC",
    ),
];

/// The session's catalog, or just its version if the client has that one already.
///
/// # Errors
/// DuckDB's, for example because the transaction was aborted.
pub fn describe(core: &SessionCore, known_version: Option<u64>) -> Result<Catalog> {
    let connection = &core.connection;
    let version = core.database.catalog_version(connection.catalog_version()?);
    if known_version == Some(version) {
        return Ok(Catalog { version, unchanged: true, ..Catalog::default() });
    }
    let mut columns = read_columns(connection)?;
    let definitions: HashMap<_, _> = connection
        .definitions()?
        .into_iter()
        .map(|known| ((known.kind, known.schema, known.name), (known.sql, known.sequence)))
        .collect();
    let mut entries = Vec::new();
    for (kind, sql) in ENTRIES {
        let mut seen = std::collections::HashSet::new();
        each(&query(connection, sql)?, |row| {
            let (schema, name) = (row.text(0)?, row.text(1)?);
            // A macro has a row for each of its overloads.
            if !seen.insert((schema.clone(), name.clone())) {
                return Ok(());
            }
            let columns = match kind {
                EntryKind::Table | EntryKind::View => columns.remove(&(schema.clone(), name.clone())),
                _ => None,
            };
            let defined = |kind: &str| {
                definitions.get(&(kind.to_string(), schema.clone(), name.clone())).cloned().unwrap_or_default()
            };
            let mut sequence = None;
            let sql = match kind {
                EntryKind::Schema => format!("CREATE SCHEMA {};", quote_identifier(&name)),
                EntryKind::Type => defined("Type").0,
                EntryKind::Sequence => {
                    let (sql, state) = defined("Sequence");
                    sequence = state;
                    sql
                }
                EntryKind::ScalarMacro => defined("Macro Function").0,
                EntryKind::TableMacro => defined("Table Macro Function").0,
                _ => row.text(2)?,
            };
            entries.push(CatalogEntry {
                kind: kind.into(),
                sql,
                table: row.text(3)?,
                estimated_rows: u64::try_from(row.integer(4)?).unwrap_or_default(),
                comment: row.optional_text(5)?,
                columns: columns.unwrap_or_default(),
                sequence,
                schema,
                name,
            });
            Ok(())
        })?;
    }
    let mut database = String::new();
    each(&query(connection, "SELECT current_database()")?, |row| {
        database = row.text(0)?;
        Ok(())
    })?;
    Ok(Catalog { version, unchanged: false, entries, database })
}

fn read_columns(connection: &Connection) -> Result<HashMap<(String, String), Vec<Column>>> {
    let mut columns: HashMap<(String, String), Vec<Column>> = HashMap::new();
    let rows = query(connection, COLUMNS)?;
    let collated = connection.collated_columns()?;
    each(&rows, |row| {
        let (schema, table, name) = (row.text(0)?, row.text(1)?, row.text(2)?);
        let place = [schema, table, name];
        let type_name = collated.get(&place).cloned().map_or_else(|| row.text(3), Ok)?;
        let [schema, table, name] = place;
        columns.entry((schema, table)).or_default().push(Column {
            name,
            type_name,
            not_null: row.boolean(4)?,
            default_sql: row.optional_text(5)?,
            comment: row.optional_text(6)?,
            generated: row.boolean(7)?,
        });
        Ok(())
    })?;
    Ok(columns)
}
