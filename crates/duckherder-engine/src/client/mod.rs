//! The client's half: what a stock DuckDB becomes when it loads the extension.
//!
//! ```text
//!  DuckDB <--> cpp/client/ (catalog, scans, sinks, functions) <--[ffi]--> Herd, RemoteDriver, RemoteSession
//! ```
//!
//! C++ adapts DuckDB's catalog to the traits here; the extension implements them over the network.

mod calls;
mod drivers;
mod ffi;
mod ingests;
mod sessions;
mod table;

use std::ffi::c_void;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use duckherder_proto::actions::{Catalog, DatabaseEntry, QueryStatistic, TableName};
use duckherder_proto::herd::WorkerEntry;
use duckherder_proto::statement::{ResultKind, Setting};

use crate::error::Result;
use crate::source::BatchSource;

/// Whether the query that waits for an answer was interrupted.
#[derive(Clone, Copy)]
pub struct Patience {
    interrupted: Option<unsafe extern "C" fn(*mut c_void) -> bool>,
    context: *mut c_void,
}

impl Patience {
    /// Asks DuckDB; to be looked at every few milliseconds while waiting.
    pub fn interrupted(&self) -> bool {
        // SAFETY: C++ keeps `context` alive for the duration of the call that was given this.
        self.interrupted.is_some_and(|interrupted| unsafe { interrupted(self.context) })
    }
}

/// One statement on its way to a driver.
#[derive(Clone, Debug)]
pub struct StatementText {
    /// What the driver runs.
    pub sql: String,
    /// What the user wrote.
    pub user_sql: String,
    pub settings: Vec<Setting>,
    pub in_transaction: bool,
    /// Somebody asks how far it is, once it runs.
    pub watched: bool,
}

/// Whether preparing a statement also starts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Never,
    /// If it changes nothing: outside of a transaction no harm is done when it is then not executed.
    IfReading,
    /// The statement is certain to be executed, once.
    Always,
}

/// What a driver knows of a prepared statement.
pub struct Prepared {
    /// Its number in the session.
    pub statement: u64,
    pub kind: ResultKind,
    pub read_only: bool,
    /// The columns, each with its DuckDB type in the metadata.
    pub schema: SchemaRef,
}

/// Which of a driver's databases is meant.
#[derive(Clone, Debug, Default)]
pub struct DatabaseName {
    /// Nothing: the default one.
    pub name: Option<String>,
    pub create_if_missing: bool,
}

/// What the extension is to a DuckDB: the way to drivers, and servers of its own.
pub trait Herd: Send + Sync {
    /// Connects to a driver, for sessions in one of its databases. `host` may be several `host:port`, separated by
    /// commas: whichever is active.
    ///
    /// # Errors
    /// `IO` if nobody of our version answers there, naming the place; `Catalog` if it has no such database.
    fn connect(
        &self,
        host: &str,
        port: u16,
        database: &DatabaseName,
        patience: &Patience,
    ) -> Result<Arc<dyn RemoteDriver>>;

    /// Starts a driver in this process.
    ///
    /// # Errors
    /// `IO` if the port is in use.
    fn start_local_server(&self, port: u16, workers: u32) -> Result<()>;

    /// Stops every driver and worker that was started in this process; whether there was one.
    ///
    /// # Errors
    /// None of its own.
    fn stop_local_server(&self) -> Result<bool>;

    /// Starts a worker in this process.
    ///
    /// # Errors
    /// `IO` if the port is in use.
    fn start_standalone_worker(&self, port: u16) -> Result<()>;
}

/// One attached driver.
pub trait RemoteDriver: Send + Sync {
    /// A new session: one DuckDB connection on the driver, ended when dropped.
    ///
    /// # Errors
    /// None before it is used.
    fn open_session(&self) -> Result<Arc<dyn RemoteSession>>;

    /// Adds a worker in another process.
    ///
    /// # Errors
    /// The worker does not answer.
    fn register_worker(&self, worker_id: &str, location: &str, patience: &Patience) -> Result<()>;

    /// Goes on with the driver at another place; the workers registered here go along, and those of the driver before, if
    /// they, and it, answer.
    ///
    /// # Errors
    /// Nobody answers there; the old place stays.
    fn replace(&self, driver_id: &str, location: &str, patience: &Patience) -> Result<()>;

    /// How many workers the driver has.
    ///
    /// # Errors
    /// The driver does not answer.
    fn worker_count(&self, patience: &Patience) -> Result<u64>;

    /// The driver's workers: those in its process, and the others by their ids.
    ///
    /// # Errors
    /// The driver does not answer.
    fn workers(&self, patience: &Patience) -> Result<Vec<WorkerEntry>>;

    /// Loads a DuckDB extension on the driver and every worker.
    ///
    /// # Errors
    /// It can't be installed or loaded.
    fn load_extension(&self, name: &str, patience: &Patience) -> Result<()>;

    /// The driver's databases, by name.
    ///
    /// # Errors
    /// The driver does not answer.
    fn databases(&self, patience: &Patience) -> Result<Vec<DatabaseEntry>>;

    /// Drops a database.
    ///
    /// # Errors
    /// There is none of the name, or it is in use.
    fn drop_database(&self, name: &str, patience: &Patience) -> Result<()>;

    /// Gives a table another name, for every client that attaches the database; without `table`, takes it back.
    ///
    /// # Errors
    /// `Invalid Input` if another table has the name, or none has.
    fn name_table(&self, name: &str, table: Option<&str>, patience: &Patience) -> Result<()>;

    /// Other names of the database's tables, and the tables.
    ///
    /// # Errors
    /// The driver does not answer.
    fn table_names(&self, patience: &Patience) -> Result<Vec<TableName>>;

    /// The statistics of the last queries, oldest first.
    ///
    /// # Errors
    /// The driver does not answer.
    fn statistics(&self, clear: bool, patience: &Patience) -> Result<Vec<QueryStatistic>>;
}

/// One session on a driver.
pub trait RemoteSession: Send + Sync {
    /// Parses and binds a statement, and starts it if `start` says so. `parameters`: one row, columns named after the
    /// parameters.
    ///
    /// # Errors
    /// What DuckDB says of the statement.
    fn prepare(
        &self,
        statement: &StatementText,
        parameters: Option<&RecordBatch>,
        start: Start,
        patience: &Patience,
    ) -> Result<Prepared>;

    /// Forgets a statement that was not executed, and stops it if it runs; does not wait.
    fn close_statement(&self, statement: u64);

    /// Starts a prepared statement, if it does not run yet, which the driver forgets once it has run. Dropping the rows
    /// stops it.
    ///
    /// # Errors
    /// What DuckDB says; what fails later comes out of the rows.
    fn execute(
        &self,
        statement: u64,
        in_transaction: bool,
        user_sql: &str,
        patience: &Patience,
    ) -> Result<Arc<dyn BatchSource>>;

    /// Ends the session's transaction.
    ///
    /// # Errors
    /// What DuckDB says of the commit.
    fn end_transaction(&self, commit: bool, patience: &Patience) -> Result<()>;

    /// What the database holds; nothing listed if `known_version` is current.
    ///
    /// # Errors
    /// The driver does not answer.
    fn describe(&self, known_version: Option<u64>, in_transaction: bool, patience: &Patience) -> Result<Catalog>;

    /// How a statement would be run, as a Mermaid flowchart; `explain` is the EXPLAIN of it.
    ///
    /// # Errors
    /// What DuckDB says of the statement.
    fn draw(&self, explain: &StatementText, patience: &Patience) -> Result<String>;

    /// Starts sending rows to the relation `duckherder_input` of a statement.
    ///
    /// # Errors
    /// What DuckDB says of the statement, here or later.
    fn ingest(
        &self,
        statement: &StatementText,
        schema: SchemaRef,
        patience: &Patience,
    ) -> Result<Box<dyn RemoteIngest>>;
}

/// Rows on their way to a driver; dropping it before it has finished cancels the statement.
pub trait RemoteIngest: Send {
    fn schema(&self) -> SchemaRef;

    /// Sends a batch; waits while the driver is behind.
    ///
    /// # Errors
    /// What the statement says.
    fn write(&mut self, batch: RecordBatch, patience: &Patience) -> Result<()>;

    /// Ends the rows: how many the statement has changed, and what it returns if it does.
    ///
    /// # Errors
    /// What the statement says.
    fn finish(&mut self, patience: &Patience) -> Result<(i64, Option<Arc<dyn BatchSource>>)>;
}

/// Registers everything with the DuckDB that loads the extension.
///
/// A C++ exception leaves through here into that DuckDB, which reports it.
///
/// # Safety
/// `loader` is the `duckdb::ExtensionLoader` that DuckDB gave to the extension's entry point, which runs now.
pub unsafe fn load(loader: *mut c_void, herd: Arc<dyn Herd>) {
    // A second DuckDB in the process finds the same herd.
    drop(table::HERD.set(herd));
    // SAFETY: as the caller says; the table lives for ever.
    unsafe { ffi::dh_client_load(loader, &table::TABLE) }
}
