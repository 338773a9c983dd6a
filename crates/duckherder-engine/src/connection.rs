//! A connection to an embedded DuckDB.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::database::Database;
use crate::error::{EngineError, Result};
use crate::ffi::{self, DhError};
use crate::seat::Seat;
use crate::source::{self, BatchSource};
use crate::statement::{ResultStream, Statement};

/// One connection: one transaction, one running statement at a time.
///
/// It may move between threads but is used by one at a time.
pub struct Connection {
    handle: *mut ffi::DhConnection,
    database: Database,
}

// SAFETY: DuckDB connections are not bound to a thread; `&mut`-free use from several threads at once is excluded
// because the type is not Sync.
unsafe impl Send for Connection {}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: made by dh_connection_open, closed once.
        unsafe { ffi::dh_connection_close(self.handle) }
    }
}

impl Connection {
    pub(crate) fn open(database: Database) -> Result<Self> {
        let mut error = DhError::none();
        // SAFETY: the database lives as long as `database`.
        let handle = unsafe { ffi::dh_connection_open(database.as_ptr(), &mut error) };
        error.into_result(Self { handle, database })
    }

    /// The database this is a connection to.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Runs a script of statements and throws their results away.
    ///
    /// # Errors
    /// The first statement's that fails; what came before it stays done.
    pub fn execute(&self, sql: &str) -> Result<()> {
        let mut error = DhError::none();
        // SAFETY: the handle is alive, the text outlives the call.
        unsafe { ffi::dh_connection_execute(self.handle, sql.into(), &mut error) };
        error.into_result(())
    }

    /// Opens the database file `path` as another database of the instance.
    ///
    /// # Errors
    /// What DuckDB says of the path or the name.
    pub fn attach(&self, path: &str, name: &str) -> Result<()> {
        let mut error = DhError::none();
        // SAFETY: the handle is alive, the texts outlive the call.
        unsafe { ffi::dh_connection_attach(self.handle, path.into(), name.into(), &mut error) };
        error.into_result(())
    }

    /// Prepares and starts one statement without parameters.
    ///
    /// # Errors
    /// What DuckDB says of the statement.
    pub fn query(&self, sql: &str) -> Result<ResultStream> {
        self.prepare(sql, None)?.execute(None)
    }

    /// Parses and binds one statement; nothing of it runs.
    ///
    /// `parameters`: one row with a column a parameter, named `1`, `2` or what follows the `$`. Without the values, a
    /// result column whose type depends on them is of type `"NULL"`.
    ///
    /// # Errors
    /// What DuckDB says of the statement.
    pub fn prepare(&self, sql: &str, parameters: Option<&RecordBatch>) -> Result<Statement> {
        Statement::prepare(self, sql, parameters)
    }

    /// Parses, binds and starts one statement, in one go. With `only_reading`, a statement that would change something
    /// is not started, and `None` the answer. `parameters` as in [`prepare`](Self::prepare).
    ///
    /// # Errors
    /// What DuckDB says of the statement; what fails later comes out of the stream.
    pub fn start(
        &self,
        sql: &str,
        parameters: Option<&RecordBatch>,
        only_reading: bool,
    ) -> Result<Option<ResultStream>> {
        ResultStream::start(self, sql, parameters, only_reading)
    }

    /// Parses, binds and starts one query that only reads, in one go; nothing of it is remembered.
    ///
    /// # Errors
    /// What DuckDB says of it, or it would change something; what fails later comes out of the stream.
    pub fn read(&self, sql: &str) -> Result<ResultStream> {
        ResultStream::read(self, sql)
    }

    /// All that it runs from now on are fragments, whose joins keep their order.
    ///
    /// # Errors
    /// Out of memory.
    pub fn run_tasks(&self) -> Result<()> {
        let mut error = DhError::none();
        // SAFETY: the handle is alive.
        unsafe { ffi::dh_connection_run_tasks(self.handle, &mut error) };
        error.into_result(())
    }

    /// What runs from now on is a task of the seat's query.
    pub fn sit(&self, seat: &Seat) {
        // SAFETY: both are alive.
        unsafe { ffi::dh_connection_sit(self.handle, seat.as_ptr()) }
    }

    /// As `SET SESSION`, without a statement.
    ///
    /// # Errors
    /// What DuckDB says of the name or the value.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        let mut error = DhError::none();
        // SAFETY: the handle is alive, the texts outlive the call.
        unsafe { ffi::dh_connection_set(self.handle, name.into(), value.into(), &mut error) };
        error.into_result(())
    }

    /// Makes these the session's variables, as the client's extension has written them; `None`: it has none.
    ///
    /// # Errors
    /// DuckDB can't read them.
    pub fn set_variables(&self, text: Option<&str>) -> Result<()> {
        let mut error = DhError::none();
        let (value, present) = (text.unwrap_or_default().into(), text.is_some());
        // SAFETY: the handle is alive, the text outlives the call.
        unsafe { ffi::dh_connection_set_variables(self.handle, value, present, &mut error) };
        error.into_result(())
    }

    /// The statements to come are of a client that has this connection's database attached, and have lost its name on
    /// their way: the first of two names is a schema. If the client's default database is `elsewhere`, DuckDB's own
    /// functions come before macros of this one.
    ///
    /// # Errors
    /// Out of memory.
    pub fn serve_attachment(&self, elsewhere: bool) -> Result<()> {
        let mut error = DhError::none();
        // SAFETY: the handle is alive.
        unsafe { ffi::dh_connection_serve_attachment(self.handle, elsewhere, &mut error) };
        error.into_result(())
    }

    /// What the client calls this connection's database; nothing: it calls it by no name of its own. The statements that
    /// `query()` and the tables that `query_table()` is given may have that name.
    ///
    /// # Errors
    /// Out of memory.
    pub fn call_database(&self, name: &str) -> Result<()> {
        let mut error = DhError::none();
        // SAFETY: the handle is alive, the text outlives the call.
        unsafe { ffi::dh_connection_call_database(self.handle, name.into(), &mut error) };
        error.into_result(())
    }

    /// Whether a transaction was begun and not ended.
    pub fn in_transaction(&self) -> bool {
        // SAFETY: the handle is alive.
        unsafe { ffi::dh_connection_in_transaction(self.handle) }
    }

    /// A number that rises with every change of the catalog that this connection sees.
    ///
    /// # Errors
    /// The transaction was aborted.
    pub fn catalog_version(&self) -> Result<u64> {
        let mut error = DhError::none();
        // SAFETY: the handle is alive.
        let version = unsafe { ffi::dh_connection_catalog_version(self.handle, &mut error) };
        error.into_result(version)
    }

    /// The value that was given to a setting, for this connection or for all; nothing if it has its default. A default
    /// that depends on the machine counts as given.
    ///
    /// # Errors
    /// Out of memory.
    pub fn given_setting(&self, name: &str) -> Result<Option<String>> {
        let mut error = DhError::none();
        let mut texts: Vec<String> = Vec::new();
        let sink = std::ptr::from_mut(&mut texts).cast();
        // SAFETY: the handle is alive; the sink is a `Vec<String>` that outlives the call.
        unsafe { ffi::dh_connection_given_setting(self.handle, name.into(), ffi::push_text, sink, &mut error) };
        error.into_result(texts.pop())
    }

    /// Where temporary files go, by DuckDB's setting; nothing if nowhere. (A database in memory has `.tmp`, wherever the
    /// process was started: that is nobody's choice, and the machine's directory for such files takes its place.)
    ///
    /// # Errors
    /// Out of memory.
    pub fn temp_directory(&self) -> Result<Option<PathBuf>> {
        let mut error = DhError::none();
        let mut texts: Vec<String> = Vec::new();
        let sink = std::ptr::from_mut(&mut texts).cast();
        // SAFETY: the handle is alive; the sink is a `Vec<String>` that outlives the call.
        unsafe { ffi::dh_connection_temp_directory(self.handle, ffi::push_text, sink, &mut error) };
        error.into_result(())?;
        let directory = texts.pop().map(PathBuf::from);
        Ok(directory.map(|chosen| if chosen == Path::new(".tmp") { std::env::temp_dir() } else { chosen }))
    }

    /// The setting `duckherder_exchange_memory`: bytes of a query's rows that may wait between stages.
    ///
    /// # Errors
    /// The value is none.
    pub fn exchange_memory_bytes(&self) -> Result<u64> {
        let mut error = DhError::none();
        // SAFETY: the handle is alive.
        let bytes = unsafe { ffi::dh_connection_exchange_memory(self.handle, &mut error) };
        error.into_result(bytes)
    }

    /// Loads an extension, by its name, and installs it before if that is needed. Indexes that have waited for it do what
    /// the log has done to them.
    ///
    /// # Errors
    /// What DuckDB says: of LOAD and of INSTALL, if that fails, too.
    pub fn load_extension(&self, name: &str) -> Result<()> {
        self.install_and_load(name)?;
        let mut error = DhError::none();
        // SAFETY: the handle is alive.
        unsafe { ffi::dh_connection_catch_up_indexes(self.handle, &mut error) };
        error.into_result(())
    }

    fn install_and_load(&self, name: &str) -> Result<()> {
        let quoted = format!("'{}'", name.replace('\'', "''"));
        let load = || self.execute(&format!("LOAD {quoted}")).map(drop);
        let Err(missing) = load() else { return Ok(()) };
        if let Err(refused) = self.execute(&format!("INSTALL {quoted}")) {
            let message = format!(
                "extension {quoted} can't be loaded ({}), nor installed ({})",
                missing.message.trim_end(),
                refused.message.trim_end()
            );
            return Err(EngineError { message, ..refused });
        }
        load()
    }

    /// Makes `source` the relation `name` in this connection's SQL, until [`unregister_input`](Self::unregister_input).
    ///
    /// A table or view of that name hides it. The source can be read once.
    ///
    /// # Errors
    /// Out of memory.
    pub fn register_input(&self, name: &str, source: Arc<dyn BatchSource>) -> Result<()> {
        let mut error = DhError::none();
        let (table, pointer) = source::into_raw(source);
        // SAFETY: the handle is alive; C++ takes over the source and releases it once.
        unsafe { ffi::dh_connection_register_input(self.handle, name.into(), table, pointer, &mut error) };
        error.into_result(())
    }

    /// Makes the rows of the query `sql` the relation `name` in this connection's SQL, until
    /// [`unregister_input`](Self::unregister_input). A table or view of that name hides it.
    ///
    /// # Errors
    /// The text is not one query.
    pub fn register_query(&self, name: &str, sql: &str) -> Result<()> {
        let mut error = DhError::none();
        // SAFETY: the handle is alive.
        unsafe { ffi::dh_connection_register_query(self.handle, name.into(), sql.into(), &mut error) };
        error.into_result(())
    }

    /// Forgets a relation; a statement that reads it keeps it until it ends.
    ///
    /// # Errors
    /// Out of memory.
    pub fn unregister_input(&self, name: &str) -> Result<()> {
        let mut error = DhError::none();
        // SAFETY: the handle is alive.
        unsafe { ffi::dh_connection_unregister_input(self.handle, name.into(), &mut error) };
        error.into_result(())
    }

    /// Whether DuckDB estimates how far the statements are that begin from now on; see [`Interrupter::progress`].
    pub fn watch(&self, watched: bool) {
        // SAFETY: the handle is alive, and no other thread uses the connection.
        unsafe { ffi::dh_connection_watch(self.handle, watched) }
    }

    /// A handle that stops what this connection runs, from any thread.
    pub fn interrupter(&self) -> Interrupter {
        // SAFETY: the handle is alive.
        Interrupter(Arc::new(InterrupterHandle(unsafe { ffi::dh_interrupter_new(self.handle) })))
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::DhConnection {
        self.handle
    }
}

/// Stops a connection's statement from any thread; does nothing once the connection is gone.
#[derive(Clone)]
pub struct Interrupter(Arc<InterrupterHandle>);

struct InterrupterHandle(*mut ffi::DhInterrupter);

// SAFETY: the handle is a weak pointer to a client context whose interrupt flag is atomic.
unsafe impl Send for InterrupterHandle {}
// SAFETY: as above; locking a weak pointer is thread-safe.
unsafe impl Sync for InterrupterHandle {}

impl Drop for InterrupterHandle {
    fn drop(&mut self) {
        // SAFETY: made by dh_interrupter_new, freed once.
        unsafe { ffi::dh_interrupter_free(self.0) }
    }
}

impl Interrupter {
    /// The running statement ends with an `INTERRUPT` error.
    pub fn interrupt(&self) {
        // SAFETY: the handle is alive.
        unsafe { ffi::dh_interrupter_interrupt(self.0.0) }
    }

    /// How much of the running statement is done, from 0 to 1, by DuckDB's estimate; nothing if it has none, or the
    /// connection is not [watched](Connection::watch). Waits for nothing.
    pub fn progress(&self) -> Option<f64> {
        // SAFETY: the handle is alive.
        let percent = unsafe { ffi::dh_interrupter_progress(self.0.0) };
        (percent >= 0.0).then_some((percent / 100.0).min(1.0))
    }
}
