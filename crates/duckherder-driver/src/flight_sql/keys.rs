//! Primary and foreign keys.

use std::sync::Arc;

use arrow::array::{Int32Array, RecordBatch, StringArray, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys,
};
use tonic::metadata::MetadataMap;

use super::metadata::in_session;
use crate::error::Result;
use crate::rows::{each, query};
use crate::service::Shared;
use crate::sql::quote_text;

/// Flight SQL's columns of `GetPrimaryKeys`.
pub fn primary_key_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("key_name", DataType::Utf8, true),
    ]))
}

/// Flight SQL's columns of `GetExportedKeys`, `GetImportedKeys` and `GetCrossReference`.
pub fn foreign_key_schema() -> SchemaRef {
    let side = |prefix: &str| {
        [("catalog_name", true), ("db_schema_name", true), ("table_name", false), ("column_name", false)]
            .map(|(name, nullable)| Field::new(format!("{prefix}_{name}"), DataType::Utf8, nullable))
    };
    let mut fields = Vec::from(side("pk"));
    fields.extend(side("fk"));
    fields.push(Field::new("key_sequence", DataType::Int32, false));
    fields.push(Field::new("fk_key_name", DataType::Utf8, true));
    fields.push(Field::new("pk_key_name", DataType::Utf8, true));
    fields.push(Field::new("update_rule", DataType::UInt8, false));
    fields.push(Field::new("delete_rule", DataType::UInt8, false));
    Arc::new(Schema::new(fields))
}

/// The columns of a table's primary key, in order.
///
/// # Errors
/// DuckDB's.
pub async fn primary_keys(
    driver: &Shared,
    command: CommandGetPrimaryKeys,
    metadata: &MetadataMap,
) -> Result<RecordBatch> {
    let wanted = TableRef { catalog: command.catalog, schema: command.db_schema, table: command.table };
    let sql = format!(
        "SELECT database_name, schema_name, table_name, constraint_name, \
                unnest(constraint_column_names), generate_subscripts(constraint_column_names, 1)::BIGINT \
         FROM duckdb_constraints() c WHERE constraint_type = 'PRIMARY KEY'{} ORDER BY 6",
        wanted.condition("database_name", "schema_name", "table_name")
    );
    let found = in_session(driver, metadata, move |core| query(&core.connection, &sql)).await?;
    let mut texts: [Vec<String>; 5] = Default::default();
    let mut sequence = Vec::new();
    each(&found, |row| {
        for (at, column) in texts.iter_mut().enumerate() {
            column.push(row.text(at)?);
        }
        sequence.push(i32::try_from(row.integer(5)?).unwrap_or(i32::MAX));
        Ok(())
    })?;
    let [catalogs, schemas, tables, names, columns] = texts.map(|texts| Arc::new(StringArray::from(texts)));
    Ok(RecordBatch::try_new(
        primary_key_schema(),
        vec![catalogs, schemas, tables, columns, Arc::new(Int32Array::from(sequence)), names],
    )?)
}

/// A table as a client names it.
pub struct TableRef {
    catalog: Option<String>,
    schema: Option<String>,
    table: String,
}

impl TableRef {
    fn condition(&self, catalog: &str, schema: &str, table: &str) -> String {
        let mut sql = format!(" AND {table} = {}", quote_text(&self.table));
        for (column, value) in [(catalog, &self.catalog), (schema, &self.schema)] {
            if let Some(value) = value {
                sql.push_str(&format!(" AND {column} = {}", quote_text(value)));
            }
        }
        sql
    }
}

/// Which foreign keys a client asks for.
pub struct KeyFilter {
    primary: Option<TableRef>,
    foreign: Option<TableRef>,
}

impl KeyFilter {
    /// Those that point to a table.
    pub fn exported(command: CommandGetExportedKeys) -> Self {
        let table = TableRef { catalog: command.catalog, schema: command.db_schema, table: command.table };
        Self { primary: Some(table), foreign: None }
    }

    /// Those of a table.
    pub fn imported(command: CommandGetImportedKeys) -> Self {
        let table = TableRef { catalog: command.catalog, schema: command.db_schema, table: command.table };
        Self { primary: None, foreign: Some(table) }
    }

    /// Those of one table that point to another.
    pub fn cross(command: CommandGetCrossReference) -> Self {
        let primary = TableRef { catalog: command.pk_catalog, schema: command.pk_db_schema, table: command.pk_table };
        let foreign = TableRef { catalog: command.fk_catalog, schema: command.fk_db_schema, table: command.fk_table };
        Self { primary: Some(primary), foreign: Some(foreign) }
    }
}

/// Foreign keys, a row a column. (DuckDB's point to tables of the same schema.)
///
/// # Errors
/// DuckDB's.
pub async fn foreign_keys(driver: &Shared, keys: KeyFilter, metadata: &MetadataMap) -> Result<RecordBatch> {
    let mut sql = "SELECT database_name, schema_name, referenced_table, unnest(referenced_column_names), \
                          database_name, schema_name, table_name, unnest(constraint_column_names), constraint_name, \
                          generate_subscripts(constraint_column_names, 1)::BIGINT \
                   FROM duckdb_constraints() WHERE constraint_type = 'FOREIGN KEY'"
        .to_string();
    if let Some(table) = &keys.primary {
        sql.push_str(&table.condition("database_name", "schema_name", "referenced_table"));
    }
    if let Some(table) = &keys.foreign {
        sql.push_str(&table.condition("database_name", "schema_name", "table_name"));
    }
    sql.push_str(" ORDER BY 1, 2, 3, 7, 9, 10");
    let found = in_session(driver, metadata, move |core| query(&core.connection, &sql)).await?;
    let mut texts: [Vec<String>; 9] = Default::default();
    let mut sequence = Vec::new();
    each(&found, |row| {
        for (at, column) in texts.iter_mut().enumerate() {
            column.push(row.text(at)?);
        }
        sequence.push(i32::try_from(row.integer(9)?).unwrap_or(i32::MAX));
        Ok(())
    })?;
    let count = sequence.len();
    // JDBC's importedKeyNoAction: DuckDB has no other rule.
    let no_action = Arc::new(UInt8Array::from(vec![3; count]));
    let mut columns: Vec<arrow::array::ArrayRef> = Vec::new();
    let mut texts = texts.into_iter();
    columns.extend(texts.by_ref().take(8).map(|texts| Arc::new(StringArray::from(texts)) as _));
    columns.push(Arc::new(Int32Array::from(sequence)));
    columns.extend(texts.map(|texts| Arc::new(StringArray::from(texts)) as _));
    columns.push(Arc::new(StringArray::from(vec![None::<&str>; count])));
    columns.push(no_action.clone());
    columns.push(no_action);
    Ok(RecordBatch::try_new(foreign_key_schema(), columns)?)
}
