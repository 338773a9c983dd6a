//! Which task of the next stage a row is for.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef, UInt64Type};
use duckherder_engine::EngineError;

/// Divides rows by the hash in their last column, which goes no further.
pub struct RowSplitter {
    schema: SchemaRef,
    partitions: usize,
}

impl RowSplitter {
    /// For rows of `schema`, whose last column is a `UInt64` without NULLs.
    pub fn new(schema: &Schema, partitions: usize) -> Self {
        let fields = schema.fields();
        let kept = fields[..fields.len().saturating_sub(1)].to_vec();
        Self { schema: Arc::new(Schema::new(kept)), partitions }
    }

    /// The columns of what comes out.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The rows of each partition that has some.
    ///
    /// # Errors
    /// There is no hash column, or Arrow can't take rows of a column.
    pub fn split(&self, batch: &RecordBatch) -> Result<Vec<(usize, RecordBatch)>, EngineError> {
        let columns = batch.columns();
        let (Some(hashes), kept) = (columns.last(), &columns[..columns.len().saturating_sub(1)]) else {
            return Err(EngineError::internal("rows to shuffle have no column"));
        };
        let hashes = hashes
            .as_primitive_opt::<UInt64Type>()
            .ok_or_else(|| EngineError::internal("the last column of rows to shuffle is no hash"))?;
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.partitions];
        for (row, hash) in hashes.values().iter().enumerate() {
            rows[(hash % self.partitions as u64) as usize].push(row as u32);
        }
        let mut parts = Vec::new();
        for (partition, rows) in rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let count = rows.len();
            let rows = UInt32Array::from(rows);
            let columns = kept.iter().map(|column| take(column, &rows, None)).collect::<Result<Vec<_>, _>>()?;
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(count));
            parts.push((partition, RecordBatch::try_new_with_options(self.schema(), columns, &options)?));
        }
        Ok(parts)
    }
}
