//! The functions of `cpp/` as Rust sees them, and the two structs that cross.
//!
//! Mirrors `cpp/bridge.hpp`, `cpp/arrow_source.hpp` and the `extern "C"` functions beside them. Every pointer that a
//! function gives out is owned by the caller and ends with the matching `*_free` or `*_close`.

use std::ffi::{CStr, c_char, c_int, c_void};

use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};

use crate::error::EngineError;

macro_rules! opaque {
    ($($name:ident),+) => { $(#[repr(C)] pub struct $name { _private: [u8; 0] })+ };
}
opaque!(DhDatabase, DhConnection, DhStatement, DhResult, DhDescription, DhInterrupter, DhCpuMeter, DhSeat);

/// A borrowed text.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct DhText {
    pub data: *const c_char,
    pub length: usize,
}

impl From<&str> for DhText {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<&[u8]> for DhText {
    fn from(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr().cast(), length: bytes.len() }
    }
}

impl DhText {
    /// # Safety
    /// The text must still be alive.
    pub unsafe fn to_string_lossy(self) -> String {
        // SAFETY: as the caller says.
        String::from_utf8_lossy(unsafe { self.bytes() }).into_owned()
    }

    /// # Safety
    /// The text must be alive as long as the bytes are read.
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.length == 0 {
            return &[];
        }
        // SAFETY: the caller says the text is alive, and C++ made pointer and length from one string.
        unsafe { std::slice::from_raw_parts(self.data.cast::<u8>(), self.length) }
    }
}

/// An error made by C++ (or by [`dh_error_set`]).
#[repr(C)]
pub struct DhError {
    kind: *mut c_char,
    message: *mut c_char,
    trace: *mut c_char,
    details: *mut c_char,
}

impl DhError {
    pub const fn none() -> Self {
        let none = std::ptr::null_mut();
        Self { kind: none, message: none, trace: none, details: none }
    }

    /// The error, if there is one. Where DuckDB's own code failed is for the log alone.
    pub fn take(&mut self) -> Option<EngineError> {
        if self.kind.is_null() {
            return None;
        }
        // SAFETY: the texts were made by `Duplicate` in cpp/bridge.cpp: NUL-terminated, or null when out of memory.
        let text = |pointer: *mut c_char| unsafe {
            if pointer.is_null() {
                String::from("out of memory")
            } else {
                CStr::from_ptr(pointer).to_string_lossy().into_owned()
            }
        };
        let details = if self.details.is_null() { String::new() } else { text(self.details) };
        let error = EngineError { details, ..EngineError::new(text(self.kind), text(self.message)) };
        if !self.trace.is_null() {
            tracing::error!(error = error.message, trace = text(self.trace), "internal error in DuckDB");
        }
        // SAFETY: frees what `Duplicate` allocated and empties the struct.
        unsafe { dh_error_free(self) };
        Some(error)
    }

    /// Hands `problem` to C++.
    ///
    /// # Safety
    /// `target` must be an empty error of C++.
    pub unsafe fn set(target: *mut Self, problem: &EngineError) {
        let EngineError { exception_type, message, details } = problem;
        // SAFETY: the texts outlive the call; the rest is as the caller says.
        unsafe {
            dh_error_set(target, exception_type.as_str().into(), message.as_str().into(), details.as_str().into())
        };
    }

    /// `value` unless there is an error.
    ///
    /// # Errors
    /// The error that C++ set.
    pub fn into_result<T>(mut self, value: T) -> Result<T, EngineError> {
        match self.take() {
            Some(error) => Err(error),
            None => Ok(value),
        }
    }
}

/// The functions of a [`BatchSource`](crate::BatchSource) for C++; `DhSourceTable` in cpp/arrow_source.hpp.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct DhSourceTable {
    pub partitions: unsafe extern "C" fn(*mut c_void) -> u64,
    pub schema: unsafe extern "C" fn(*mut c_void, *mut FFI_ArrowSchema),
    pub poll: unsafe extern "C" fn(*mut c_void, u64, *mut c_void, *mut FFI_ArrowArray, *mut DhError) -> c_int,
    pub progress: unsafe extern "C" fn(*mut c_void) -> f64,
    pub estimated_rows: unsafe extern "C" fn(*mut c_void) -> i64,
    pub release: unsafe extern "C" fn(*mut c_void),
}

/// The functions of [`StoredFiles`](crate::StoredFiles) for C++; `DhFilesTable` in cpp/stored_files.hpp.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct DhFilesTable {
    pub open: unsafe extern "C" fn(*mut c_void, DhText, bool, bool, *mut DhError) -> *mut c_void,
    pub exists: unsafe extern "C" fn(*mut c_void, DhText, *mut DhError) -> c_int,
    pub remove: unsafe extern "C" fn(*mut c_void, DhText, *mut DhError) -> c_int,
    pub rename: unsafe extern "C" fn(*mut c_void, DhText, DhText, *mut DhError) -> c_int,
    pub position: unsafe extern "C" fn(*mut c_void) -> u64,
    pub wait_durable: unsafe extern "C" fn(*mut c_void, u64, *mut DhError) -> c_int,
    pub changed: unsafe extern "C" fn(*mut c_void, DhText) -> u64,
    pub release: unsafe extern "C" fn(*mut c_void),

    pub length: unsafe extern "C" fn(*mut c_void, *mut DhError) -> i64,
    pub read: unsafe extern "C" fn(*mut c_void, u64, *mut u8, u64, *mut DhError) -> i64,
    pub write: unsafe extern "C" fn(*mut c_void, u64, *const u8, u64, *mut DhError) -> c_int,
    pub trim: unsafe extern "C" fn(*mut c_void, u64, u64, *mut DhError) -> c_int,
    pub truncate: unsafe extern "C" fn(*mut c_void, u64, *mut DhError) -> c_int,
    pub sync: unsafe extern "C" fn(*mut c_void, *mut DhError) -> c_int,
    pub close: unsafe extern "C" fn(*mut c_void),
}

pub type DhTextSink = unsafe extern "C" fn(*mut c_void, DhText);

unsafe extern "C" {
    pub fn dh_error_free(error: *mut DhError);
    pub fn dh_error_set(error: *mut DhError, kind: DhText, message: DhText, details: DhText);

    pub fn dh_database_open(
        path: DhText,
        names: *const DhText,
        values: *const DhText,
        count: usize,
        table: *const DhFilesTable,
        files: *mut c_void,
        error: *mut DhError,
    ) -> *mut DhDatabase;
    pub fn dh_database_close(database: *mut DhDatabase);
    pub fn dh_database_forget_plans(database: *mut DhDatabase);
    pub fn dh_database_resources(
        database: *mut DhDatabase,
        threads: *mut u64,
        used_bytes: *mut u64,
        limit_bytes: *mut u64,
        error: *mut DhError,
    ) -> bool;

    pub fn dh_connection_open(database: *mut DhDatabase, error: *mut DhError) -> *mut DhConnection;
    pub fn dh_connection_close(connection: *mut DhConnection);
    pub fn dh_connection_execute(connection: *mut DhConnection, sql: DhText, error: *mut DhError) -> bool;
    pub fn dh_connection_attach(connection: *mut DhConnection, path: DhText, name: DhText, error: *mut DhError)
    -> bool;
    pub fn dh_connection_catch_up_indexes(connection: *mut DhConnection, error: *mut DhError) -> bool;
    pub fn dh_connection_in_transaction(connection: *mut DhConnection) -> bool;
    pub fn dh_connection_catalog_version(connection: *mut DhConnection, error: *mut DhError) -> u64;
    pub fn dh_connection_register_input(
        connection: *mut DhConnection,
        name: DhText,
        table: DhSourceTable,
        source: *mut c_void,
        error: *mut DhError,
    ) -> bool;
    pub fn dh_connection_register_query(
        connection: *mut DhConnection,
        name: DhText,
        sql: DhText,
        error: *mut DhError,
    ) -> bool;
    pub fn dh_connection_unregister_input(connection: *mut DhConnection, name: DhText, error: *mut DhError) -> bool;

    pub fn dh_connection_watch(connection: *mut DhConnection, watched: bool);
    pub fn dh_interrupter_new(connection: *mut DhConnection) -> *mut DhInterrupter;
    pub fn dh_interrupter_interrupt(interrupter: *mut DhInterrupter);
    pub fn dh_interrupter_progress(interrupter: *mut DhInterrupter) -> f64;
    pub fn dh_interrupter_free(interrupter: *mut DhInterrupter);

    pub fn dh_cpu_meter_new(connection: *mut DhConnection, error: *mut DhError) -> *mut DhCpuMeter;
    pub fn dh_cpu_meter_total(meter: *mut DhCpuMeter, error: *mut DhError) -> i64;
    pub fn dh_cpu_meter_free(meter: *mut DhCpuMeter);

    pub fn dh_statement_prepare(
        connection: *mut DhConnection,
        sql: DhText,
        schema: *mut FFI_ArrowSchema,
        values: *mut FFI_ArrowArray,
        error: *mut DhError,
    ) -> *mut DhStatement;
    pub fn dh_statement_start(
        connection: *mut DhConnection,
        sql: DhText,
        schema: *mut FFI_ArrowSchema,
        values: *mut FFI_ArrowArray,
        only_reading: bool,
        error: *mut DhError,
    ) -> *mut DhResult;
    pub fn dh_connection_read(connection: *mut DhConnection, sql: DhText, error: *mut DhError) -> *mut DhResult;
    pub fn dh_connection_read_query(connection: *mut DhConnection, query: DhText, error: *mut DhError)
    -> *mut DhResult;
    pub fn dh_statement_free(statement: *mut DhStatement);
    pub fn dh_statement_parameters(statement: *mut DhStatement, sink: DhTextSink, target: *mut c_void);
    pub fn dh_statement_execute(
        statement: *mut DhStatement,
        schema: *mut FFI_ArrowSchema,
        values: *mut FFI_ArrowArray,
        error: *mut DhError,
    ) -> *mut DhResult;
    pub fn dh_statement_description(statement: *mut DhStatement) -> *mut DhDescription;
    pub fn dh_result_description(result: *mut DhResult) -> *mut DhDescription;
    pub fn dh_description_schema(description: *mut DhDescription, schema: *mut FFI_ArrowSchema);
    pub fn dh_description_types(
        description: *mut DhDescription,
        sink: DhTextSink,
        target: *mut c_void,
        error: *mut DhError,
    ) -> bool;
    pub fn dh_description_free(description: *mut DhDescription);
    pub fn dh_description_kind(description: *mut DhDescription) -> c_int;
    pub fn dh_description_read_only(description: *mut DhDescription) -> bool;
    pub fn dh_result_next(
        result: *mut DhResult,
        limit_ms: i64,
        array: *mut FFI_ArrowArray,
        error: *mut DhError,
    ) -> c_int;
    pub fn dh_result_free(result: *mut DhResult);

    pub fn dh_seat_new() -> *mut DhSeat;
    pub fn dh_seat_free(seat: *mut DhSeat);
    pub fn dh_connection_sit(connection: *mut DhConnection, seat: *const DhSeat);
    pub fn dh_connection_run_tasks(connection: *mut DhConnection, error: *mut DhError) -> bool;
    pub fn dh_connection_set_variables(
        connection: *mut DhConnection,
        text: DhText,
        present: bool,
        error: *mut DhError,
    ) -> bool;
    pub fn dh_connection_serve_attachment(connection: *mut DhConnection, elsewhere: bool, error: *mut DhError) -> bool;
    pub fn dh_connection_call_database(connection: *mut DhConnection, name: DhText, error: *mut DhError) -> bool;
    pub fn dh_connection_set(connection: *mut DhConnection, name: DhText, value: DhText, error: *mut DhError) -> bool;
    pub fn dh_connection_given_setting(
        connection: *mut DhConnection,
        name: DhText,
        sink: DhTextSink,
        target: *mut c_void,
        error: *mut DhError,
    ) -> bool;
    pub fn dh_connection_temp_directory(
        connection: *mut DhConnection,
        sink: DhTextSink,
        target: *mut c_void,
        error: *mut DhError,
    ) -> bool;
    pub fn dh_connection_exchange_memory(connection: *mut DhConnection, error: *mut DhError) -> u64;
    pub fn dh_connection_describe(
        connection: *mut DhConnection,
        sink: DhTextSink,
        target: *mut c_void,
        error: *mut DhError,
    ) -> bool;

    pub fn dh_error_place(
        message: DhText,
        pointing: DhText,
        sql: DhText,
        user_sql: DhText,
        sink: DhTextSink,
        target: *mut c_void,
        error: *mut DhError,
    ) -> bool;

    pub fn dh_error_position(
        message: DhText,
        pointing: DhText,
        details: DhText,
        sql: DhText,
        shift: u32,
        sink: DhTextSink,
        target: *mut c_void,
        error: *mut DhError,
    ) -> bool;

    pub fn dh_waker_wake(waker: *mut c_void);
    pub fn dh_waker_free(waker: *mut c_void);
}

/// A [`DhTextSink`] that pushes to the `Vec<String>` behind `target`.
///
/// # Safety
/// `target` must be a `*mut Vec<String>`, `text` alive.
pub unsafe extern "C" fn push_text(target: *mut c_void, text: DhText) {
    // SAFETY: as the caller says.
    unsafe { (*target.cast::<Vec<String>>()).push(text.to_string_lossy()) };
}

/// Collects bytes into a `Vec<u8>`.
///
/// # Safety
/// To be called with such a vector, and bytes that are alive.
pub unsafe extern "C" fn push_bytes(target: *mut c_void, bytes: DhText) {
    // SAFETY: as the caller says.
    unsafe { (*target.cast::<Vec<u8>>()).extend_from_slice(bytes.bytes()) };
}
