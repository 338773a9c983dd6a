//! A prepared statement and the rows of a running one.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, RecordBatchOptions, StructArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use duckherder_proto::DUCKDB_TYPE_METADATA;
use duckherder_proto::statement::ResultKind;

use crate::connection::Connection;
use crate::error::{EngineError, Result};
use crate::ffi::{self, DhError};

/// One statement, parsed and bound.
pub struct Statement {
    handle: *mut ffi::DhStatement,
    schema: SchemaRef,
    kind: ResultKind,
    read_only: bool,
    parameters: Vec<String>,
}

// SAFETY: holds a client context and syntax trees, none of them bound to a thread.
unsafe impl Send for Statement {}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: made by dh_statement_prepare, freed once.
        unsafe { ffi::dh_statement_free(self.handle) }
    }
}

impl Statement {
    pub(crate) fn prepare(connection: &Connection, sql: &str, parameters: Option<&RecordBatch>) -> Result<Self> {
        let mut error = DhError::none();
        let mut values = Values::new(parameters)?;
        let (schema, array) = values.as_ptrs();
        // SAFETY: the connection is alive; C++ takes over schema and array, or leaves them to be dropped here.
        let handle = unsafe { ffi::dh_statement_prepare(connection.as_ptr(), sql.into(), schema, array, &mut error) };
        error.into_result(())?;
        let mut statement = Self {
            handle,
            schema: Arc::new(Schema::empty()),
            kind: ResultKind::Query,
            read_only: false,
            parameters: Vec::new(),
        };
        statement.describe()?;
        Ok(statement)
    }

    fn describe(&mut self) -> Result<()> {
        let mut raw = FFI_ArrowSchema::empty();
        let mut types: Vec<String> = Vec::new();
        let sink = |list: &mut Vec<String>| std::ptr::from_mut(list).cast::<c_void>();
        let mut error = DhError::none();
        // SAFETY: the handle is alive; the sinks are `Vec<String>`s that outlive the calls.
        unsafe {
            ffi::dh_statement_schema(self.handle, &mut raw);
            ffi::dh_statement_types(self.handle, ffi::push_text, sink(&mut types), &mut error);
            ffi::dh_statement_parameters(self.handle, ffi::push_text, sink(&mut self.parameters));
            self.kind = match ffi::dh_statement_kind(self.handle) {
                0 => ResultKind::Query,
                1 => ResultKind::ChangedRows,
                _ => ResultKind::Nothing,
            };
            self.read_only = ffi::dh_statement_read_only(self.handle);
        }
        error.into_result(())?;
        let plain = Schema::try_from(&raw)?;
        let fields: Vec<Field> = plain
            .fields()
            .iter()
            .zip(types)
            .map(|(field, duckdb_type)| {
                let mut metadata: HashMap<String, String> = field.metadata().clone().into();
                metadata.insert(DUCKDB_TYPE_METADATA.to_string(), duckdb_type);
                field.as_ref().clone().with_metadata(metadata)
            })
            .collect();
        self.schema = Arc::new(Schema::new(fields));
        Ok(())
    }

    /// The columns of the rows; each field's metadata has the DuckDB type ([`DUCKDB_TYPE_METADATA`]).
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// What running it gives back.
    pub fn kind(&self) -> ResultKind {
        self.kind
    }

    /// Whether it changes nothing.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// The names of its parameters in order.
    pub fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// Starts the statement. `parameters` as in [`Connection::prepare`]; `None` keeps the values given there.
    ///
    /// # Errors
    /// What DuckDB says; what fails later comes out of the stream.
    pub fn execute(&mut self, parameters: Option<&RecordBatch>) -> Result<ResultStream> {
        let mut error = DhError::none();
        let mut values = Values::new(parameters)?;
        let (schema, array) = values.as_ptrs();
        // SAFETY: as in `prepare`.
        let result = unsafe { ffi::dh_statement_execute(self.handle, schema, array, &mut error) };
        error.into_result(())?;
        Ok(ResultStream { handle: result, schema: self.schema.clone(), done: false })
    }
}

/// A row of parameter values on its way to C++.
struct Values(Option<(FFI_ArrowSchema, FFI_ArrowArray)>);

impl Values {
    fn new(batch: Option<&RecordBatch>) -> Result<Self> {
        let Some(batch) = batch.filter(|batch| batch.num_columns() > 0) else { return Ok(Self(None)) };
        let schema = FFI_ArrowSchema::try_from(batch.schema().as_ref())?;
        let array = FFI_ArrowArray::new(&StructArray::from(batch.clone()).to_data());
        Ok(Self(Some((schema, array))))
    }

    fn as_ptrs(&mut self) -> (*mut FFI_ArrowSchema, *mut FFI_ArrowArray) {
        match &mut self.0 {
            Some((schema, array)) => (schema, array),
            None => (std::ptr::null_mut(), std::ptr::null_mut()),
        }
    }
}

/// The rows of a running statement, batch by batch, in order; dropping it stops the statement.
pub struct ResultStream {
    handle: *mut ffi::DhResult,
    schema: SchemaRef,
    done: bool,
}

// SAFETY: the handle is a query result, used by one thread at a time.
unsafe impl Send for ResultStream {}

impl Drop for ResultStream {
    fn drop(&mut self) {
        // SAFETY: made by dh_statement_execute, freed once.
        unsafe { ffi::dh_result_free(self.handle) }
    }
}

impl ResultStream {
    /// As [`Statement::schema`].
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn fetch(&mut self) -> Result<Option<RecordBatch>> {
        let mut error = DhError::none();
        let mut array = FFI_ArrowArray::empty();
        // SAFETY: the handle is alive; on 1 the array is ours.
        let found = unsafe { ffi::dh_result_next(self.handle, &mut array, &mut error) };
        error.into_result(())?;
        match found {
            0 => Ok(None),
            1 => import_batch(array, &self.schema).map(Some),
            other => Err(EngineError::internal(format!("dh_result_next answered {other}"))),
        }
    }
}

impl Iterator for ResultStream {
    type Item = Result<RecordBatch>;

    /// Blocks until a batch is there; the calling thread takes part in running the statement.
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.fetch().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

/// An array made by DuckDB as a batch of `schema`, without copying.
pub(crate) fn import_batch(array: FFI_ArrowArray, schema: &SchemaRef) -> Result<RecordBatch> {
    let data_type = arrow::datatypes::DataType::Struct(schema.fields().clone());
    // SAFETY: DuckDB made the array for this schema (ArrowFormat), and it is owned by us.
    let data = unsafe { from_ffi_and_data_type(array, data_type) }?;
    let (_, columns, _) = StructArray::from(data).into_parts();
    let rows = columns.first().map_or(0, |column| column.len());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}
