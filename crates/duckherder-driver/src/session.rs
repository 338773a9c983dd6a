//! A client's session: one DuckDB connection with its settings, its prepared statements and its transaction.
//!
//! The connection is used by one thread at a time, under a lock that a running statement's pump holds until its
//! last row has left DuckDB. Whoever else wants the connection makes the pump spool the rest.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use duckherder_engine::{Connection, Statement};
use duckherder_proto::settings::{ALIAS, BETWEEN_SCHEMAS, ELSEWHERE, POSITIONS, SCHEMA, SEARCH_PATH, SEED, VARIABLES};
use duckherder_proto::statement::Setting;
use duckherder_proto::transaction::TransactionMark;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::connections::Connections;
use crate::databases::DatabaseUse;
use crate::distribute::{Distributor, SessionDistributor, TasksWatch};
use crate::error::{DriverError, Result};
use crate::outlet::Outlet;
use crate::spool::Spool;
use crate::sql::{quote_identifier, quote_text};
use crate::sync::{CancelOnDrop, Execution, lock};

/// Prepared statements that a session may have at once.
const STATEMENT_LIMIT: usize = 10_000;

/// Rows that DuckDB may make ahead of the pump; its own bound is less than one of our Arrow batches.
const STREAM_BUFFER: &str = "SET SESSION streaming_buffer_size = '16MB'";

/// What a client sends was written out of a tree as deep as DuckDB's default allows; its parentheses count as much again.
const DEEP_EXPRESSIONS: &str = "SET SESSION max_expression_depth = 2100";

/// The client's own transaction decides which errors end it.
const LENIENT_TRANSACTIONS: &str =
    "SET SESSION default_transaction_invalidation_policy = 'SYNTACTIC_ERRORS_DO_NOT_INVALIDATE'";

/// Who a session lives and dies with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A client that names it in its calls.
    Client,
    /// A Flight SQL transaction.
    Transaction,
    /// A Flight SQL statement outside a transaction.
    Statement,
}

/// One client session, shared by its calls.
pub struct Session {
    pub id: String,
    pub owner: Owner,
    core: Arc<AsyncMutex<SessionCore>>,
    interrupter: duckherder_engine::Interrupter,
    /// How far the tasks of what runs are, if it has some.
    tasks: Option<Arc<dyn TasksWatch>>,
    /// The client's number for what runs; 0 if nobody asks how far it is.
    run: Arc<AtomicU64>,
    /// The stream whose pump holds `core`.
    live: Mutex<Option<Arc<Outlet>>>,
    /// What `core` is used for right now.
    running: Mutex<Option<Arc<Execution>>>,
    waiting: AtomicUsize,
    /// The client's number of the transaction that it is in, or was last.
    transaction: AtomicU64,
    born: Instant,
    used_ms: AtomicU64,
    /// The connection of its last call, by its number; 0: not known.
    connection: AtomicU64,
    /// When that was first seen to be closed, if it is; 0: it is not.
    left_ms: AtomicU64,
    /// DuckDB's `temp_directory`.
    temporary: Option<PathBuf>,
}

/// What belongs to the holder of the session's lock.
pub struct SessionCore {
    pub connection: Connection,
    pub database: DatabaseUse,
    /// As in [`Session`].
    run: Arc<AtomicU64>,
    pub distributor: Option<Box<dyn SessionDistributor>>,
    statements: HashMap<u64, Prepared>,
    /// Counts from anywhere: a client that goes on with another driver must not find its statement's number there.
    last_statement: u64,
    settings: HashMap<String, Option<String>>,
    closed: bool,
}

/// A statement with the words that the user wrote it in.
pub struct Prepared {
    pub statement: Statement,
    pub sql: String,
    pub user_sql: String,
    /// Rows of parameter values that a Flight SQL client has bound.
    pub bound: Vec<RecordBatch>,
    /// What it changed, if it has run before its result was fetched.
    pub changed_rows: Option<i64>,
}

impl Session {
    /// Opens a session; blocks on DuckDB.
    ///
    /// # Errors
    /// DuckDB refuses the connection.
    pub fn open(
        id: String,
        owner: Owner,
        database: DatabaseUse,
        distributor: Option<&dyn Distributor>,
    ) -> Result<Self> {
        let connection = database.connect()?;
        connection.execute(STREAM_BUFFER)?;
        if owner == Owner::Client {
            connection.execute(LENIENT_TRANSACTIONS)?;
            connection.execute(DEEP_EXPRESSIONS)?;
        } else {
            // Other clients know plain Arrow types, not DuckDB's extension types.
            connection.execute("SET SESSION arrow_lossless_conversion = false")?;
        }
        let distributor = distributor.map(|distributor| distributor.open_session(&connection)).transpose()?;
        let interrupter = connection.interrupter();
        let temporary = connection.temp_directory()?;
        let tasks = distributor.as_ref().map(|distributor| distributor.watch());
        let run = Arc::new(AtomicU64::new(0));
        let core = SessionCore {
            connection,
            database,
            run: Arc::clone(&run),
            distributor,
            statements: HashMap::new(),
            last_statement: uuid::Uuid::new_v4().as_u64_pair().0 >> 16,
            settings: HashMap::new(),
            closed: false,
        };
        Ok(Self {
            id,
            owner,
            core: Arc::new(AsyncMutex::new(core)),
            interrupter,
            tasks,
            run,
            live: Mutex::new(None),
            running: Mutex::new(None),
            waiting: AtomicUsize::new(0),
            transaction: AtomicU64::new(0),
            born: Instant::now(),
            used_ms: AtomicU64::new(0),
            connection: AtomicU64::new(0),
            left_ms: AtomicU64::new(0),
            temporary,
        })
    }

    /// Takes the connection, once the statement that holds it has ended or its rows are spooled.
    ///
    /// # Errors
    /// The session was closed in the meantime.
    pub async fn acquire(self: &Arc<Self>) -> Result<SessionGuard> {
        let waiting = Waiting::new(self);
        if let Some(outlet) = lock(&self.live).as_ref() {
            outlet.want_connection();
        }
        let core = Arc::clone(&self.core).lock_owned().await;
        drop(waiting);
        self.touch();
        if core.closed {
            return Err(DriverError::SessionClosed);
        }
        let execution = Execution::new(self.interrupter.clone());
        *lock(&self.running) = Some(Arc::clone(&execution));
        Ok(SessionGuard { core, session: Arc::clone(self), execution })
    }

    /// Does `work` with the connection on a blocking thread. If the caller goes away, the work is interrupted.
    ///
    /// # Errors
    /// What the work says.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut SessionCore) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut guard = self.acquire().await?;
        let _cancel = CancelOnDrop(Arc::clone(guard.execution()));
        blocking(move || work(&mut guard)).await
    }

    /// Where rows wait that can't go on.
    pub fn spool(&self) -> Spool {
        Spool::new(self.temporary.clone())
    }

    /// Stops what the session runs now.
    pub fn interrupt(&self) {
        let running = lock(&self.running).clone();
        if let Some(execution) = running {
            execution.cancel();
        }
    }

    /// How much of the client's statement `run` is done, from 0 to 1; nothing if it does not run, or that is not known.
    /// Waits for nothing.
    pub fn done(&self, run: u64) -> Option<f64> {
        if run == 0 || self.run.load(Ordering::Acquire) != run {
            return None;
        }
        let tasks = self.tasks.as_ref().and_then(|tasks| tasks.done());
        tasks.or_else(|| self.interrupter.progress())
    }

    /// Interrupts, rolls back and frees all that the session holds.
    pub async fn close(self: &Arc<Self>) -> Result<()> {
        self.interrupt();
        self.run(|core| {
            core.closed = true;
            core.statements.clear();
            if core.connection.in_transaction() { core.end_transaction(false) } else { Ok(()) }
        })
        .await
    }

    /// Whether the session was made for one statement and ends with it.
    pub fn own_of_statement(&self) -> bool {
        self.owner == Owner::Statement
    }

    /// How long nobody has used the session.
    pub fn idle(&self) -> Duration {
        self.born.elapsed().saturating_sub(Duration::from_millis(self.used_ms.load(Ordering::Relaxed)))
    }

    /// A call came through this connection.
    pub fn came_through(&self, connection: u64) {
        self.connection.store(connection, Ordering::Relaxed);
        self.left_ms.store(0, Ordering::Relaxed);
    }

    /// For how long, as far as was looked, the client has not been there: the connection of its last call is closed.
    pub fn left(&self, connections: &Connections) -> Duration {
        let connection = self.connection.load(Ordering::Relaxed);
        if connection == 0 || connections.is_open(connection) {
            return Duration::ZERO;
        }
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let first =
            self.left_ms.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed).unwrap_or_else(|first| first);
        Duration::from_millis(now.saturating_sub(if first == 0 { now } else { first }))
    }

    /// Makes the client's transaction `mark` the one that its calls are in. What is left of an earlier one, whose
    /// end was never heard, is rolled back.
    ///
    /// # Errors
    /// The driver should know the transaction and does not.
    pub async fn enter_transaction(self: &Arc<Self>, mark: TransactionMark) -> Result<()> {
        if self.transaction.load(Ordering::Acquire) == mark.number {
            return Ok(());
        }
        if mark.begun {
            return Err(DriverError::TransactionLost);
        }
        let session = Arc::clone(self);
        self.run(move |core| {
            // Two first calls may come at once: the later one finds the number, and the transaction, here.
            if session.transaction.load(Ordering::Acquire) != mark.number {
                core.end_transaction(false)?;
                session.transaction.store(mark.number, Ordering::Release);
            }
            Ok(())
        })
        .await
    }

    fn touch(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used_ms.store(now, Ordering::Relaxed);
    }
}

/// Counts who waits for a session's connection.
struct Waiting<'a>(&'a Session);

impl<'a> Waiting<'a> {
    fn new(session: &'a Session) -> Self {
        session.waiting.fetch_add(1, Ordering::SeqCst);
        Self(session)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The use of a session's connection; other uses wait until it is dropped.
pub struct SessionGuard {
    core: OwnedMutexGuard<SessionCore>,
    session: Arc<Session>,
    execution: Arc<Execution>,
}

impl SessionGuard {
    /// This use of the connection, to cancel it.
    pub fn execution(&self) -> &Arc<Execution> {
        &self.execution
    }

    /// See [`Session::spool`].
    pub fn spool(&self) -> Spool {
        self.session.spool()
    }

    /// From here on the connection's rows go to `outlet`, which is told when somebody else wants the connection.
    pub fn stream_to(&self, outlet: &Arc<Outlet>) {
        *lock(&self.session.live) = Some(Arc::clone(outlet));
        if self.session.waiting.load(Ordering::SeqCst) > 0 {
            outlet.want_connection();
        }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.execution.finish();
        self.core.run.store(0, Ordering::Release);
        *lock(&self.session.live) = None;
        *lock(&self.session.running) = None;
        self.session.touch();
    }
}

impl Deref for SessionGuard {
    type Target = SessionCore;

    fn deref(&self) -> &SessionCore {
        &self.core
    }
}

impl DerefMut for SessionGuard {
    fn deref_mut(&mut self) -> &mut SessionCore {
        &mut self.core
    }
}

impl SessionCore {
    /// The statement that starts now is the client's `run`, or, with 0, one that nobody watches.
    pub fn watch(&mut self, run: u64) {
        self.connection.watch(run > 0);
        self.run.store(run, Ordering::Release);
    }

    /// Makes the client's settings hold on the connection; those that do already cost nothing.
    ///
    /// # Errors
    /// A name is no identifier, or DuckDB refuses name or value.
    pub fn apply_settings(&mut self, settings: &[Setting]) -> Result<()> {
        for Setting { name, value } in settings {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(DriverError::Invalid(format!("'{name}' is not the name of a setting")));
            }
            // What nobody has set yet has its default.
            if self.settings.get(name).and_then(Option::as_ref) == value.as_ref() {
                continue;
            }
            let name_sql = quote_identifier(name);
            match (name.as_str(), value) {
                (VARIABLES, text) => self.connection.set_variables(text.as_deref())?,
                (ALIAS, name) => self.connection.call_database(name.as_deref().unwrap_or_default())?,
                (SEED, Some(seed)) => self.connection.execute(&seeding(seed)?)?,
                // What is told of an error is made of it here.
                (SEED, None) | (POSITIONS, _) => {}
                (ELSEWHERE, given) => self.connection.serve_attachment(given.as_deref() == Some("true"))?,
                // The first one is the only one again.
                (SEARCH_PATH, None) => {
                    let schema = self.settings.get(SCHEMA).and_then(Option::as_deref).unwrap_or("main");
                    let sql = format!("SET SESSION {SCHEMA} = {}", quote_text(&self.schema_here(schema)));
                    self.connection.execute(&sql)?;
                }
                (_, Some(value)) => {
                    let value = match name.as_str() {
                        SCHEMA => self.schema_here(value),
                        SEARCH_PATH => {
                            let schemas = value.split(BETWEEN_SCHEMAS).map(|schema| self.schema_here(schema));
                            schemas.collect::<Vec<_>>().join(",")
                        }
                        _ => value.clone(),
                    };
                    let sql = format!("SET SESSION {name_sql} = {}", quote_text(&value));
                    self.connection.execute(&sql)?;
                }
                (_, None) => self.connection.execute(&format!("RESET SESSION {name_sql}"))?,
            }
            self.settings.insert(name.clone(), value.clone());
        }
        Ok(())
    }

    /// [`of_statement`](DriverError::of_statement), with the place among the details where the client wants it there.
    pub fn error_of(&self, error: DriverError, sql: &str, user_sql: &str) -> DriverError {
        let shift = self.settings.get(POSITIONS).and_then(Option::as_deref).and_then(|shift| shift.parse().ok());
        match (error.of_statement(sql, user_sql), shift) {
            (DriverError::Engine(error), Some(shift)) => DriverError::Engine(error.with_position(user_sql, shift)),
            (error, _) => error,
        }
    }

    /// A schema of the session's database, as a setting: its name alone may be another database's.
    fn schema_here(&self, schema: &str) -> String {
        format!("{}.{}", quote_identifier(self.database.name()), quote_identifier(schema))
    }

    /// Begins a transaction if the client is in one and the connection is not.
    ///
    /// # Errors
    /// DuckDB can't begin one.
    pub fn join_transaction(&mut self, in_transaction: bool) -> Result<()> {
        if in_transaction && !self.connection.in_transaction() {
            self.connection.execute("BEGIN TRANSACTION")?;
        }
        Ok(())
    }

    /// [`join_transaction`](Self::join_transaction) for a statement that is about to run: one that commits by itself
    /// must not become part of an open transaction.
    ///
    /// # Errors
    /// An autocommit statement while a transaction is open.
    pub fn join_transaction_to_run(&mut self, in_transaction: bool) -> Result<()> {
        if !in_transaction && self.connection.in_transaction() {
            return Err(DriverError::TransactionOpen);
        }
        self.join_transaction(in_transaction)
    }

    /// Ends the transaction. Rolling back where there is none is no error.
    ///
    /// # Errors
    /// The commit fails, or there is nothing to commit.
    pub fn end_transaction(&mut self, commit: bool) -> Result<()> {
        match (self.connection.in_transaction(), commit) {
            (true, true) => Ok(self.connection.execute("COMMIT")?),
            (true, false) => Ok(self.connection.execute("ROLLBACK")?),
            (false, true) => Err(DriverError::NoTransaction),
            (false, false) => Ok(()),
        }
    }

    /// Binds a statement and keeps it; its number in the session.
    ///
    /// # Errors
    /// What DuckDB says of the statement, or there are too many.
    pub fn prepare(&mut self, sql: String, user_sql: String, parameters: Option<&RecordBatch>) -> Result<u64> {
        if self.statements.len() >= STATEMENT_LIMIT {
            return Err(DriverError::TooManyStatements { limit: STATEMENT_LIMIT });
        }
        let prepared = self.connection.prepare(&sql, parameters);
        let statement = prepared.map_err(|error| self.error_of(error.into(), &sql, &user_sql))?;
        self.last_statement += 1;
        self.statements
            .insert(self.last_statement, Prepared { statement, sql, user_sql, bound: Vec::new(), changed_rows: None });
        Ok(self.last_statement)
    }

    /// A prepared statement.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn statement(&mut self, id: u64) -> Result<&mut Prepared> {
        self.statements.get_mut(&id).ok_or(DriverError::UnknownStatement(id))
    }

    /// Binds a statement again if types of its columns wait for values of its parameters.
    ///
    /// # Errors
    /// There is none of that number, or what DuckDB says of the values.
    pub fn settle_types(&mut self, id: u64, parameters: &RecordBatch) -> Result<()> {
        let mut prepared = self.take(id)?;
        let settled = prepared.settle_types(self, parameters);
        self.put_back(id, prepared);
        settled
    }

    /// Takes a statement out, to run it; [`put_back`](Self::put_back) keeps it.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn take(&mut self, id: u64) -> Result<Prepared> {
        self.statements.remove(&id).ok_or(DriverError::UnknownStatement(id))
    }

    pub fn put_back(&mut self, id: u64, prepared: Prepared) {
        self.statements.insert(id, prepared);
    }

    /// Forgets a statement; whether it was the last one.
    pub fn close_statement(&mut self, id: u64) -> bool {
        self.statements.remove(&id);
        self.statements.is_empty()
    }
}

/// The statement that has random numbers begin where they do in the client, after its last `setseed()`.
fn seeding(seed: &str) -> Result<String> {
    let value = seed.split_once(':').and_then(|(_, value)| value.parse::<f64>().ok());
    let value = value.ok_or_else(|| DriverError::Invalid(format!("'{seed}' is no seed of a session")))?;
    Ok(format!("SELECT system.main.setseed({value:e}::DOUBLE)"))
}

/// Runs `work` on a thread that may block.
///
/// # Errors
/// What the work says; a panic becomes an error.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(DriverError::Task(error.to_string())),
    }
}
