//! Reading small results of the driver's own questions to DuckDB.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use duckherder_engine::Connection;

use crate::error::{DriverError, Result};

/// All rows of a query of our own.
///
/// # Errors
/// DuckDB's.
pub fn query(connection: &Connection, sql: &str) -> Result<Vec<RecordBatch>> {
    Ok(connection.query(sql)?.collect::<Result<Vec<_>, _>>()?)
}

/// Calls `visit` with every row of the batches.
///
/// # Errors
/// The visitor's.
pub fn each(batches: &[RecordBatch], mut visit: impl FnMut(Row<'_>) -> Result<()>) -> Result<()> {
    for batch in batches {
        for row in 0..batch.num_rows() {
            visit(Row { batch, row })?;
        }
    }
    Ok(())
}

/// One row of a batch.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    batch: &'a RecordBatch,
    row: usize,
}

impl Row<'_> {
    fn column(&self, column: usize) -> Result<&ArrayRef> {
        let found = self.batch.columns().get(column);
        found.ok_or_else(|| DriverError::Task(format!("the catalog's answer has no column {column}")))
    }

    /// A VARCHAR, `None` if it is NULL.
    pub fn optional_text(&self, column: usize) -> Result<Option<String>> {
        let array = self.column(column)?;
        if array.is_null(self.row) {
            return Ok(None);
        }
        let text = match array.data_type() {
            DataType::Utf8 => array.as_string::<i32>().value(self.row),
            DataType::LargeUtf8 => array.as_string::<i64>().value(self.row),
            DataType::Utf8View => array.as_string_view().value(self.row),
            other => return Err(DriverError::Task(format!("column {column} of the catalog's answer is {other}"))),
        };
        Ok(Some(text.to_string()))
    }

    /// A VARCHAR, empty if it is NULL.
    pub fn text(&self, column: usize) -> Result<String> {
        Ok(self.optional_text(column)?.unwrap_or_default())
    }

    /// A BIGINT or INTEGER, 0 if it is NULL.
    pub fn integer(&self, column: usize) -> Result<i64> {
        let array = self.column(column)?;
        if array.is_null(self.row) {
            return Ok(0);
        }
        if let Some(values) = array.as_primitive_opt::<Int64Type>() {
            return Ok(values.value(self.row));
        }
        let values = array.as_primitive_opt::<Int32Type>();
        values
            .map(|values| i64::from(values.value(self.row)))
            .ok_or_else(|| DriverError::Task(format!("column {column} of the catalog's answer is no integer")))
    }
}
