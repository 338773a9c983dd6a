//! The functions that C++ calls.

use std::sync::{Arc, OnceLock};

use super::Herd;
use super::calls::*;
use super::drivers::*;
use super::ffi::DhClientTable;
use super::ingests::*;
use super::sessions::*;
use crate::ffi::DhError;

/// What the process's extension is; set by the first load.
pub static HERD: OnceLock<Arc<dyn Herd>> = OnceLock::new();

/// What C++ gets.
pub static TABLE: DhClientTable = DhClientTable {
    driver_connect,
    driver_free,
    driver_register_worker,
    driver_replace,
    driver_worker_count,
    driver_workers,
    driver_load_extension,
    driver_databases,
    driver_drop_database,
    driver_name_table,
    driver_table_names,
    driver_statistics,
    session_settings,
    session_open,
    session_free,
    session_prepare,
    session_close_statement,
    session_execute,
    session_end_transaction,
    session_describe,
    session_draw,
    ingest_begin,
    ingest_write,
    ingest_finish,
    ingest_free,
    start_local_server,
    stop_local_server,
    start_standalone_worker,
};

unsafe extern "C" fn start_local_server(port: u16, workers: u32, error: *mut DhError) -> bool {
    guard(error, false, || herd()?.start_local_server(port, workers).map(|()| true))
}

unsafe extern "C" fn stop_local_server(error: *mut DhError) -> bool {
    guard(error, false, || herd()?.stop_local_server())
}

unsafe extern "C" fn start_standalone_worker(port: u16, error: *mut DhError) -> bool {
    guard(error, false, || herd()?.start_standalone_worker(port).map(|()| true))
}
