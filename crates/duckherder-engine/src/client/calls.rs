//! What the functions that C++ calls have in common: texts and Arrow in, handles, errors out. No panic leaves.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ffi::FFI_ArrowSchema;
use duckherder_proto::DUCKDB_TYPE_METADATA;
use duckherder_proto::statement::Setting;

use super::ffi::{DhColumnTypes, DhStatementText};
use super::table::HERD;
use super::{Herd, RemoteDriver, RemoteIngest, RemoteSession, StatementText};
use crate::error::{EngineError, Result};
use crate::ffi::{DhError, DhSourceTable, DhText};
use crate::source::{self, BatchSource};

/// Runs `body`; an error or a panic is written to `error` and `fallback` returned.
pub(super) fn guard<T>(error: *mut DhError, fallback: T, body: impl FnOnce() -> Result<T>) -> T {
    let result = catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|_| Err(EngineError::internal("the extension panicked; this is a bug")));
    result.unwrap_or_else(|problem| {
        // SAFETY: `error` is an empty error of C++.
        unsafe { DhError::set(error, &problem.for_user()) };
        fallback
    })
}

pub(super) fn herd() -> Result<&'static Arc<dyn Herd>> {
    HERD.get().ok_or_else(|| EngineError::internal("the extension was not loaded"))
}

/// A handle for C++.
pub(super) fn into_handle<T>(value: T) -> *mut c_void {
    Box::into_raw(Box::new(value)).cast()
}

/// # Safety
/// `handle` was made by [`into_handle`] of a `T`, and not freed.
pub(super) unsafe fn borrow<'a, T>(handle: *mut c_void) -> &'a T {
    // SAFETY: as the caller says.
    unsafe { &*handle.cast::<T>() }
}

/// # Safety
/// As [`borrow`]; the handle is not used again.
pub(super) unsafe fn free<T>(handle: *mut c_void) {
    // SAFETY: as the caller says.
    let value = unsafe { Box::from_raw(handle.cast::<T>()) };
    // A panic in a destructor must not travel into C++; the value is gone either way.
    drop(catch_unwind(AssertUnwindSafe(move || drop(value))));
}

pub(super) type DriverHandle = Arc<dyn RemoteDriver>;
pub(super) type SessionHandle = Arc<dyn RemoteSession>;
/// One sink's threads take turns under C++'s lock, and one of them at a time.
pub(super) type IngestHandle = std::sync::Mutex<Box<dyn RemoteIngest>>;

/// # Safety
/// `text` is alive.
pub(super) unsafe fn read(text: DhText) -> String {
    // SAFETY: as the caller says.
    unsafe { text.to_string_lossy() }
}

/// # Safety
/// The statement and all that it points to are alive.
pub(super) unsafe fn read_statement(statement: *const DhStatementText) -> StatementText {
    // SAFETY: as the caller says.
    let statement = unsafe { &*statement };
    let settings = if statement.setting_count == 0 {
        &[]
    } else {
        // SAFETY: C++ made pointer and count from one vector.
        unsafe { std::slice::from_raw_parts(statement.settings, statement.setting_count) }
    };
    // SAFETY: the texts are alive as long as the statement.
    unsafe {
        StatementText {
            sql: read(statement.sql),
            user_sql: read(statement.user_sql),
            settings: settings
                .iter()
                .map(|setting| Setting {
                    name: read(setting.name),
                    value: setting.value.present.then(|| read(setting.value.text)),
                })
                .collect(),
            in_transaction: statement.in_transaction,
            watched: statement.watched,
        }
    }
}

/// The schema of columns that leave the client, each with its DuckDB type in the metadata.
///
/// # Safety
/// `columns` is alive; its schema is taken over.
pub(super) unsafe fn read_columns(columns: *const DhColumnTypes) -> Result<SchemaRef> {
    // SAFETY: as the caller says.
    let columns = unsafe { &*columns };
    // SAFETY: C++ filled the schema; `from_raw` leaves a released one behind.
    let raw = unsafe { FFI_ArrowSchema::from_raw(columns.schema) };
    let plain = Schema::try_from(&raw)?;
    let types = if columns.count == 0 {
        &[]
    } else {
        // SAFETY: C++ made pointer and count from one vector.
        unsafe { std::slice::from_raw_parts(columns.type_names, columns.count) }
    };
    let fields: Vec<Field> = plain
        .fields()
        .iter()
        .zip(types)
        .map(|(field, type_name)| {
            let mut metadata = field.metadata().clone();
            // SAFETY: the text is alive as long as the columns.
            metadata.insert(DUCKDB_TYPE_METADATA.to_string(), unsafe { read(*type_name) });
            field.as_ref().clone().with_metadata(metadata)
        })
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// Gives a source to C++.
///
/// # Safety
/// Both pointers are to unfilled variables of C++.
pub(super) unsafe fn give_source(source: Arc<dyn BatchSource>, table: *mut DhSourceTable, target: *mut *mut c_void) {
    let (functions, pointer) = source::into_raw(source);
    // SAFETY: as the caller says.
    unsafe {
        table.write(functions);
        target.write(pointer);
    }
}
