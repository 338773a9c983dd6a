//! `duckherder.duckdb_extension`: what a stock DuckDB loads to work with drivers.
//!
//! ```text
//!  DuckDB --C++ (duckherder-engine)--> driver --> session --Arrow Flight--> driver process
//!                                        |           |--> route: where the driver is; again: what is run once more
//!                                        |           '--> rows in, rows out
//!                                        '--> local: drivers and workers inside this process
//! ```

mod again;
mod call;
mod driver;
mod ingest;
mod local;
mod lookout;
mod put;
mod route;
mod rows;
mod runtime;
mod session;
mod transaction;
mod watch;

use std::ffi::c_void;
use std::sync::Arc;

use duckherder_engine::client::{self, DatabaseName, Herd, Patience, RemoteDriver};
use duckherder_engine::{EngineError, Result};

/// What the extension is to every DuckDB of the process.
#[derive(Default)]
struct Extension {
    local: local::LocalServers,
}

impl Herd for Extension {
    fn connect(
        &self,
        host: &str,
        port: u16,
        database: &DatabaseName,
        patience: &Patience,
    ) -> Result<Arc<dyn RemoteDriver>> {
        Ok(Arc::new(driver::Driver::connect(host, port, database, patience)?))
    }

    fn start_local_server(&self, port: u16, workers: u32) -> Result<()> {
        self.local.start_driver(port, workers)
    }

    fn stop_local_server(&self) -> Result<bool> {
        self.local.stop()
    }

    fn start_standalone_worker(&self, port: u16) -> Result<()> {
        self.local.start_worker(port)
    }
}

/// DuckDB's way in: `<file>_duckdb_cpp_init(duckdb::ExtensionLoader &)`.
///
/// # Safety
/// Called by DuckDB 2.0.0 only, with its loader.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn duckherder_duckdb_cpp_init(loader: *mut c_void) {
    // SAFETY: as this function's caller promises.
    unsafe { client::load(loader, Arc::new(Extension::default())) }
}

/// An error that has no DuckDB exception of its own.
fn io_error(message: impl Into<String>) -> EngineError {
    EngineError::new("IO", message)
}
