//! Dictionaries inside nested columns, written out.
//!
//! DuckDB 2.0 sends ENUMs as Arrow dictionaries but fails to read lists of them that are all empty
//! (`ArrowToDuckDBList` in arrow_conversion.cpp): such columns cross into it as plain values.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use crate::error::Result;

/// The schema without dictionaries inside of nested columns.
pub fn plain_schema(schema: &SchemaRef) -> SchemaRef {
    if schema.fields().iter().all(|field| plain_type(field.data_type(), false) == *field.data_type()) {
        return Arc::clone(schema);
    }
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_data_type(plain_type(field.data_type(), false)))
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The batch in [`plain_schema`].
///
/// # Errors
/// Arrow can't write out the dictionaries of a column.
pub fn plain_batch(batch: RecordBatch) -> Result<RecordBatch> {
    let before = batch.schema();
    let schema = plain_schema(&before);
    if Arc::ptr_eq(&schema, &before) {
        return Ok(batch);
    }
    let columns: Vec<ArrayRef> = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, field.data_type())
            }
        })
        .collect::<std::result::Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

fn plain_field(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(plain_type(field.data_type(), true)))
}

fn plain_type(data_type: &DataType, nested: bool) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) if nested => plain_type(values, true),
        DataType::List(field) => DataType::List(plain_field(field)),
        DataType::LargeList(field) => DataType::LargeList(plain_field(field)),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(plain_field(field), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        DataType::Map(field, sorted) => DataType::Map(plain_field(field), *sorted),
        other => other.clone(),
    }
}
