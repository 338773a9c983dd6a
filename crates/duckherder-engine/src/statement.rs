//! A prepared statement and the rows of a running one.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, RecordBatch, RecordBatchOptions, StructArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use duckherder_proto::DUCKDB_TYPE_METADATA;
use duckherder_proto::statement::ResultKind;

use crate::connection::Connection;
use crate::error::{EngineError, Result};
use crate::ffi::{self, DhError};

/// What a statement gives back, known before it runs.
#[derive(Clone)]
pub struct Description {
    /// The columns of the rows; each field's metadata has the DuckDB type ([`DUCKDB_TYPE_METADATA`]).
    pub schema: SchemaRef,
    pub kind: ResultKind,
    /// Whether the statement changes nothing.
    pub read_only: bool,
}

impl Description {
    /// # Safety
    /// `raw` is alive and its schema was not taken yet.
    pub(crate) unsafe fn take(raw: *mut ffi::DhDescription) -> Result<Self> {
        let mut schema = FFI_ArrowSchema::empty();
        let mut types: Vec<String> = Vec::new();
        let sink = std::ptr::from_mut(&mut types).cast::<c_void>();
        let mut error = DhError::none();
        // SAFETY: as the caller says; the sink is a `Vec<String>` that outlives the call.
        let (kind, read_only) = unsafe {
            ffi::dh_description_schema(raw, &mut schema);
            ffi::dh_description_types(raw, ffi::push_text, sink, &mut error);
            (ffi::dh_description_kind(raw), ffi::dh_description_read_only(raw))
        };
        error.into_result(())?;
        let plain = Schema::try_from(&schema)?;
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
        let kind = match kind {
            0 => ResultKind::Query,
            1 => ResultKind::ChangedRows,
            _ => ResultKind::Nothing,
        };
        Ok(Self { schema: Arc::new(Schema::new(fields)), kind, read_only })
    }
}

/// One statement, parsed and bound.
pub struct Statement {
    handle: *mut ffi::DhStatement,
    description: Description,
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
        let nothing = Description { schema: Arc::new(Schema::empty()), kind: ResultKind::Nothing, read_only: false };
        // From here on the handle is freed whatever happens.
        let mut statement = Self { handle, description: nothing, parameters: Vec::new() };
        let sink = std::ptr::from_mut(&mut statement.parameters).cast::<c_void>();
        // SAFETY: the handle is alive, its description was not taken; the sink is a `Vec<String>`.
        unsafe {
            ffi::dh_statement_parameters(handle, ffi::push_text, sink);
            statement.description = Description::take(ffi::dh_statement_description(handle))?;
        }
        Ok(statement)
    }

    /// What running it gives back.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The columns of the rows; each field's metadata has the DuckDB type ([`DUCKDB_TYPE_METADATA`]).
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.description.schema)
    }

    /// What running it gives back.
    pub fn kind(&self) -> ResultKind {
        self.description.kind
    }

    /// Whether it changes nothing.
    pub fn read_only(&self) -> bool {
        self.description.read_only
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
        let handle = unsafe { ffi::dh_statement_execute(self.handle, schema, array, &mut error) };
        error.into_result(())?;
        Ok(ResultStream { handle, description: self.description.clone(), done: false })
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
    description: Description,
    done: bool,
}

// SAFETY: the handle is a query result, used by one thread at a time.
unsafe impl Send for ResultStream {}

impl Drop for ResultStream {
    fn drop(&mut self) {
        // SAFETY: made by dh_statement_execute or dh_statement_start, freed once.
        unsafe { ffi::dh_result_free(self.handle) }
    }
}

/// What a wait for the next rows came to.
pub enum Waited {
    Batch(RecordBatch),
    End,
    /// The time was up.
    NotYet,
}

impl ResultStream {
    /// Parses, binds and starts a statement in one go; `None`, with nothing done, if it was to only read and does not.
    pub(crate) fn start(
        connection: &Connection,
        sql: &str,
        parameters: Option<&RecordBatch>,
        only_reading: bool,
    ) -> Result<Option<Self>> {
        let mut error = DhError::none();
        let mut values = Values::new(parameters)?;
        let (schema, array) = values.as_ptrs();
        // SAFETY: as in `Statement::prepare`.
        let handle = unsafe {
            ffi::dh_statement_start(connection.as_ptr(), sql.into(), schema, array, only_reading, &mut error)
        };
        error.into_result(())?;
        if handle.is_null() {
            return Ok(None);
        }
        // SAFETY: the handle is a new result's, which describes itself.
        unsafe { Self::described(handle).map(Some) }
    }

    /// Starts a query in one go, which only reads.
    pub(crate) fn read(connection: &Connection, sql: &str) -> Result<Self> {
        let mut error = DhError::none();
        // SAFETY: the connection is alive, the text outlives the call.
        let handle = unsafe { ffi::dh_connection_read(connection.as_ptr(), sql.into(), &mut error) };
        error.into_result(())?;
        // SAFETY: the handle is a new result's, which describes itself.
        unsafe { Self::described(handle) }
    }

    /// # Safety
    /// `handle` is a result that has a description, which was not taken; it becomes ours.
    pub(crate) unsafe fn described(handle: *mut ffi::DhResult) -> Result<Self> {
        let nothing = Description { schema: Arc::new(Schema::empty()), kind: ResultKind::Nothing, read_only: false };
        // From here on the handle is freed whatever happens.
        let mut stream = Self { handle, description: nothing, done: false };
        // SAFETY: as the caller says.
        stream.description = unsafe { Description::take(ffi::dh_result_description(handle))? };
        Ok(stream)
    }

    /// What the statement gives back.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// As [`Statement::schema`].
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.description.schema)
    }

    /// Waits for rows for about `limit`, without one until there are some; the calling thread takes part in running
    /// the statement.
    ///
    /// # Errors
    /// What DuckDB says; nothing comes after it.
    pub fn wait(&mut self, limit: Option<Duration>) -> Result<Waited> {
        if self.done {
            return Ok(Waited::End);
        }
        let waited = self.fetch(limit);
        self.done = matches!(waited, Err(_) | Ok(Waited::End));
        waited
    }

    fn fetch(&mut self, limit: Option<Duration>) -> Result<Waited> {
        let mut error = DhError::none();
        let mut array = FFI_ArrowArray::empty();
        let limit_ms = limit.map_or(-1, |limit| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX));
        // SAFETY: the handle is alive; on 1 the array is ours.
        let found = unsafe { ffi::dh_result_next(self.handle, limit_ms, &mut array, &mut error) };
        error.into_result(())?;
        match found {
            0 => Ok(Waited::End),
            1 => import_batch(array, &self.description.schema).map(Waited::Batch),
            2 => Ok(Waited::NotYet),
            other => Err(EngineError::internal(format!("dh_result_next answered {other}"))),
        }
    }
}

impl Iterator for ResultStream {
    type Item = Result<RecordBatch>;

    /// Blocks until a batch is there; the calling thread takes part in running the statement.
    fn next(&mut self) -> Option<Self::Item> {
        match self.wait(None) {
            Ok(Waited::Batch(batch)) => Some(Ok(batch)),
            Ok(Waited::End | Waited::NotYet) => None,
            Err(error) => Some(Err(error)),
        }
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
