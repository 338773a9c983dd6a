//! `cpp/client/api.hpp` as Rust sees it.

use std::ffi::{c_int, c_void};

use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use duckherder_proto::actions::SequenceState;

use super::Patience;
use crate::ffi::{DhError, DhSourceTable, DhText, DhTextSink};

/// `DhPatience`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct DhPatience {
    interrupted: Option<unsafe extern "C" fn(*mut c_void) -> bool>,
    context: *mut c_void,
}

impl From<DhPatience> for Patience {
    fn from(patience: DhPatience) -> Self {
        Self { interrupted: patience.interrupted, context: patience.context }
    }
}

/// `DhOptionalText`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct DhOptionalText {
    pub text: DhText,
    pub present: bool,
}

impl From<Option<&str>> for DhOptionalText {
    fn from(text: Option<&str>) -> Self {
        Self { text: text.unwrap_or_default().into(), present: text.is_some() }
    }
}

/// `DhSetting`.
#[repr(C)]
pub struct DhSetting {
    pub name: DhText,
    pub value: DhOptionalText,
}

/// `DhStatementText`.
#[repr(C)]
pub struct DhStatementText {
    pub sql: DhText,
    pub user_sql: DhText,
    pub settings: *const DhSetting,
    pub setting_count: usize,
    pub in_transaction: bool,
    pub watched: bool,
}

/// `DhColumnTypes`.
#[repr(C)]
pub struct DhColumnTypes {
    pub schema: *mut FFI_ArrowSchema,
    pub type_names: *const DhText,
    pub count: usize,
}

/// `DhPrepared`.
#[repr(C)]
pub struct DhPrepared {
    pub statement: u64,
    pub kind: c_int,
    pub read_only: bool,
}

/// `DhColumn`.
#[repr(C)]
pub struct DhColumn {
    pub name: DhText,
    pub type_name: DhText,
    pub not_null: bool,
    pub generated: bool,
    pub default_sql: DhOptionalText,
    pub comment: DhOptionalText,
}

/// `DhSequenceState`.
#[repr(C)]
#[derive(Default)]
pub struct DhSequenceState {
    pub uses: u64,
    pub next_value: i64,
    pub last_value: i64,
    pub has_last_value: bool,
}

impl From<SequenceState> for DhSequenceState {
    fn from(state: SequenceState) -> Self {
        Self {
            uses: state.uses,
            next_value: state.next_value,
            last_value: state.last_value.unwrap_or_default(),
            has_last_value: state.last_value.is_some(),
        }
    }
}

/// `DhCatalogEntry`.
#[repr(C)]
pub struct DhCatalogEntry {
    pub kind: c_int,
    pub schema: DhText,
    pub name: DhText,
    pub sql: DhText,
    pub table: DhText,
    pub estimated_rows: u64,
    pub comment: DhOptionalText,
    pub columns: *const DhColumn,
    pub column_count: usize,
    pub sequence: DhSequenceState,
}

/// `DhCatalogState`.
#[repr(C)]
pub struct DhCatalogState {
    pub version: u64,
    pub unchanged: bool,
}

/// `DhStatistic`.
#[repr(C)]
pub struct DhStatistic {
    pub sql: DhText,
    pub execution_mode: DhText,
    pub merge_strategy: DhText,
    pub duration_ms: i64,
    pub workers_used: i64,
    pub tasks: i64,
    pub started_us: i64,
}

pub type DhCatalogSink = unsafe extern "C" fn(*mut c_void, *const DhCatalogEntry);
/// `DhDatabaseEntry`.
#[repr(C)]
pub struct DhDatabaseEntry {
    pub name: DhText,
    pub is_default: bool,
    pub sessions: u64,
    /// Below 0: not known.
    pub bytes: i64,
}

/// `DhWorkerEntry`.
#[repr(C)]
pub struct DhWorkerEntry {
    pub id: DhText,
    pub location: DhOptionalText,
    pub state: DhText,
    pub version: DhText,
    pub threads: u64,
    pub memory_bytes: u64,
    pub memory_limit_bytes: u64,
    pub cached_bytes: u64,
    pub running_tasks: u64,
    pub unreachable: *const DhText,
    pub unreachable_count: usize,
    pub last_seen_us: i64,
}

pub type DhWorkerSink = unsafe extern "C" fn(*mut c_void, *const DhWorkerEntry);
pub type DhDatabaseSink = unsafe extern "C" fn(*mut c_void, *const DhDatabaseEntry);
pub type DhTableNameSink = unsafe extern "C" fn(*mut c_void, DhText, DhText);
pub type DhStatisticSink = unsafe extern "C" fn(*mut c_void, *const DhStatistic);

type Handle = *mut c_void;

/// `DhClientTable`, in its order.
#[repr(C)]
pub struct DhClientTable {
    pub driver_connect: unsafe extern "C" fn(DhText, u16, DhOptionalText, bool, DhPatience, *mut DhError) -> Handle,
    pub driver_free: unsafe extern "C" fn(Handle),
    pub driver_register_worker: unsafe extern "C" fn(Handle, DhText, DhText, DhPatience, *mut DhError) -> bool,
    pub driver_replace: unsafe extern "C" fn(Handle, DhText, DhText, DhPatience, *mut DhError) -> bool,
    pub driver_worker_count: unsafe extern "C" fn(Handle, *mut u64, DhPatience, *mut DhError) -> bool,
    pub driver_workers: unsafe extern "C" fn(Handle, DhWorkerSink, *mut c_void, DhPatience, *mut DhError) -> bool,
    pub driver_load_extension: unsafe extern "C" fn(Handle, DhText, DhPatience, *mut DhError) -> bool,
    pub driver_databases: unsafe extern "C" fn(Handle, DhDatabaseSink, *mut c_void, DhPatience, *mut DhError) -> bool,
    pub driver_drop_database: unsafe extern "C" fn(Handle, DhText, DhPatience, *mut DhError) -> bool,
    pub driver_name_table: unsafe extern "C" fn(Handle, DhText, DhOptionalText, DhPatience, *mut DhError) -> bool,
    pub driver_table_names:
        unsafe extern "C" fn(Handle, DhTableNameSink, *mut c_void, DhPatience, *mut DhError) -> bool,
    pub driver_statistics:
        unsafe extern "C" fn(Handle, bool, DhStatisticSink, *mut c_void, DhPatience, *mut DhError) -> bool,

    pub session_settings: unsafe extern "C" fn(DhTextSink, *mut c_void),
    pub session_open: unsafe extern "C" fn(Handle, *mut DhError) -> Handle,
    pub session_free: unsafe extern "C" fn(Handle),
    pub session_prepare: unsafe extern "C" fn(
        Handle,
        *const DhStatementText,
        *const DhColumnTypes,
        *mut FFI_ArrowArray,
        c_int,
        DhPatience,
        *mut DhPrepared,
        *mut FFI_ArrowSchema,
        *mut DhError,
    ) -> bool,
    pub session_close_statement: unsafe extern "C" fn(Handle, u64),
    pub session_execute: unsafe extern "C" fn(
        Handle,
        u64,
        bool,
        DhText,
        DhPatience,
        *mut DhSourceTable,
        *mut Handle,
        *mut DhError,
    ) -> bool,
    pub session_end_transaction: unsafe extern "C" fn(Handle, bool, DhPatience, *mut DhError) -> bool,
    pub session_describe: unsafe extern "C" fn(
        Handle,
        bool,
        u64,
        bool,
        DhCatalogSink,
        DhTextSink,
        *mut c_void,
        *mut DhCatalogState,
        DhPatience,
        *mut DhError,
    ) -> bool,

    pub session_draw:
        unsafe extern "C" fn(Handle, *const DhStatementText, DhTextSink, *mut c_void, DhPatience, *mut DhError) -> bool,

    pub ingest_begin:
        unsafe extern "C" fn(Handle, *const DhStatementText, *const DhColumnTypes, DhPatience, *mut DhError) -> Handle,
    pub ingest_write: unsafe extern "C" fn(Handle, *mut FFI_ArrowArray, DhPatience, *mut DhError) -> bool,
    pub ingest_finish:
        unsafe extern "C" fn(Handle, DhPatience, *mut i64, *mut DhSourceTable, *mut Handle, *mut DhError) -> bool,
    pub ingest_free: unsafe extern "C" fn(Handle),

    pub start_local_server: unsafe extern "C" fn(u16, u32, *mut DhError) -> bool,
    pub stop_local_server: unsafe extern "C" fn(*mut DhError) -> bool,
    pub start_standalone_worker: unsafe extern "C" fn(u16, *mut DhError) -> bool,
}

unsafe extern "C-unwind" {
    pub fn dh_client_load(loader: *mut c_void, table: *const DhClientTable);
}
