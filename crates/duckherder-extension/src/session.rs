//! One session on a driver: its statements, its transaction, the catalog as it sees it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use arrow_flight::FlightDescriptor;
use duckherder_engine::client::{Patience, Prepared, RemoteIngest, RemoteSession, Start, StatementText};
use duckherder_engine::{BatchSource, EngineError, Result};
use duckherder_proto::actions::{
    Catalog, CloseStatement, DescribeCatalog, DrawStatement, Drawing, Empty, EndSession, EndTransaction,
};
use duckherder_proto::any::Command;
use duckherder_proto::database::encode_name;
use duckherder_proto::statement::{ExecuteStatement, PrepareStatement, PreparedStatement, ResultKind, RunStatement};
use uuid::Uuid;

use crate::again::{Again, begin, get};
use crate::call::{Header, Line, Place, in_place, malformed};
use crate::ingest::Ingest;
use crate::rows::Rows;
use crate::runtime::{runtime, wait, wait_at_most};
use crate::transaction::TransactionState;
use crate::watch::Watch;

/// Rolling back takes no longer than this, or the driver is lost and does it by itself.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(30);

/// A session; the driver makes it when it first hears its name.
pub struct Session {
    line: Line,
    name: Header,
    /// See [`Place::database`].
    database: Option<Header>,
    transaction: Arc<TransactionState>,
    statements: Mutex<Statements>,
    /// Statements that were run and watched.
    runs: AtomicU64,
}

/// Statements that were prepared and not executed, by our own numbers.
#[derive(Default)]
struct Statements {
    last: u64,
    known: HashMap<u64, Known>,
}

enum Known {
    /// The driver waits to be told to run it.
    Prepared {
        driver_id: u64,
        schema: SchemaRef,
        watched: bool,
        /// If it only reads.
        reading: Option<Box<PrepareStatement>>,
    },
    /// It runs, and its rows are on their way.
    Running(Arc<Rows>),
}

impl Session {
    /// A session with a name of its own, in a database.
    ///
    /// # Errors
    /// The names don't make headers; they always do.
    pub fn open(line: Line, database: Option<&str>) -> Result<Self> {
        let header = |text: String| Header::try_from(text).map_err(|error| malformed(&error));
        let name = header(Uuid::new_v4().to_string())?;
        let database = database.map(|database| header(encode_name(database))).transpose()?;
        Ok(Self {
            line,
            name,
            database,
            transaction: Arc::default(),
            statements: Mutex::default(),
            runs: AtomicU64::new(0),
        })
    }

    fn statements(&self) -> MutexGuard<'_, Statements> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, known: Known) -> u64 {
        let mut statements = self.statements();
        statements.last += 1;
        let number = statements.last;
        statements.known.insert(number, known);
        number
    }

    /// What a call belongs to.
    fn place(&self, in_transaction: bool) -> Place {
        let transaction =
            if in_transaction { Header::try_from(self.transaction.mark().to_string()).ok() } else { None };
        Place { session: self.name.clone(), database: self.database.clone(), transaction }
    }

    /// A number for a run that is watched, 0 for any other.
    fn next_run(&self, watched: bool) -> u64 {
        if watched { self.runs.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 }
    }

    /// The driver has answered a call.
    fn answered(&self, in_transaction: bool) {
        if in_transaction {
            self.transaction.answered();
        }
    }

    /// Tells the driver something whose answer nobody waits for.
    fn tell(&self, message: impl Command + 'static) {
        let told = self.line.action(Some(&self.place(false)), &message);
        if let Ok(runtime) = runtime() {
            runtime.spawn(async move {
                if let Err::<Empty, _>(error) = told.await {
                    tracing::debug!(%error, "a driver was told something and did not like it");
                }
            });
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.tell(EndSession {});
    }
}

/// What the driver tells of a statement, and its rows, if it runs.
type Told = (SchemaRef, PreparedStatement, Option<Rows>);

async fn prepare(line: Line, place: Place, message: PrepareStatement) -> Result<Told> {
    let descriptor = FlightDescriptor::new_cmd(message.pack());
    let answer = line.client().get_flight_info(in_place(descriptor, Some(&place))).await;
    let info = answer.map_err(|status| line.error(&status))?.into_inner();
    let told = line.unpack(info.app_metadata.clone())?;
    Ok((Arc::new(info.try_decode_schema()?), told, None))
}

async fn run_statement(line: Line, place: Place, message: RunStatement) -> Result<Told> {
    let watch = watch(&line, &place, message.run);
    let mut again = message.statement.as_ref().and_then(|statement| Again::of(&line, &place, statement, message.run));
    let (incoming, schema, told) = match (begin(&line, &place, &message).await, again.as_mut()) {
        (Err(error), Some(again)) if error.is_lost() && message.only_reading => again.begin(error).await?,
        (begun, _) => begun?,
    };
    let rows = match told.statement_id {
        0 => {
            let again = again.filter(|_| told.read_only);
            Some(Rows::receive(incoming, Arc::clone(&schema), watch, again)?)
        }
        _ => None,
    };
    Ok((schema, told, rows))
}

fn watch(line: &Line, place: &Place, run: u64) -> Option<Watch> {
    (run > 0).then(|| Watch::new(line.clone(), Place { transaction: None, ..place.clone() }, run))
}

fn message_of(statement: &StatementText, parameters: Vec<u8>) -> PrepareStatement {
    PrepareStatement {
        sql: statement.sql.clone(),
        user_sql: statement.user_sql.clone(),
        settings: statement.settings.clone(),
        in_transaction: statement.in_transaction,
        parameters,
    }
}

/// One row of parameters as an Arrow IPC stream.
fn encode_parameters(parameters: Option<&RecordBatch>) -> Result<Vec<u8>> {
    let Some(batch) = parameters else { return Ok(Vec::new()) };
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    Ok(writer.into_inner()?)
}

impl RemoteSession for Session {
    fn prepare(
        &self,
        statement: &StatementText,
        parameters: Option<&RecordBatch>,
        start: Start,
        patience: &Patience,
    ) -> Result<Prepared> {
        let message = message_of(statement, encode_parameters(parameters)?);
        let (line, place, watched) = (self.line.clone(), self.place(statement.in_transaction), statement.watched);
        let prepared = matches!(start, Start::Never).then(|| Box::new(message.clone()));
        let (schema, told, rows) = match start {
            Start::Never => wait(patience, prepare(line, place, message))?,
            Start::IfReading | Start::Always => {
                let only_reading = matches!(start, Start::IfReading);
                let run = RunStatement { statement: Some(message), only_reading, run: self.next_run(watched) };
                wait(patience, run_statement(line, place, run))?
            }
        };
        self.answered(statement.in_transaction);
        let statement = match rows {
            Some(rows) => self.remember(Known::Running(Arc::new(rows))),
            None => {
                let schema = Arc::clone(&schema);
                let reading = prepared.filter(|_| told.read_only);
                self.remember(Known::Prepared { driver_id: told.statement_id, schema, watched, reading })
            }
        };
        Ok(Prepared {
            statement,
            kind: ResultKind::try_from(told.kind).map_err(|error| malformed(&error))?,
            read_only: told.read_only,
            schema,
        })
    }

    fn close_statement(&self, statement: u64) {
        // Rows that nobody wants are dropped, which stops the statement.
        let known = self.statements().known.remove(&statement);
        if let Some(Known::Prepared { driver_id, .. }) = known {
            self.tell(CloseStatement { statement_id: driver_id });
        }
    }

    fn execute(
        &self,
        statement: u64,
        in_transaction: bool,
        user_sql: &str,
        patience: &Patience,
    ) -> Result<Arc<dyn BatchSource>> {
        let known = self.statements().known.remove(&statement);
        let (statement_id, schema, watched, reading) = match known {
            Some(Known::Running(rows)) => return Ok(rows),
            Some(Known::Prepared { driver_id, schema, watched, reading }) => (driver_id, schema, watched, reading),
            None => return Err(EngineError::internal(format!("statement {statement} was not prepared"))),
        };
        let message = ExecuteStatement {
            statement_id,
            parameters: Vec::new(),
            in_transaction,
            close_after: true,
            user_sql: user_sql.to_string(),
            run: self.next_run(watched),
        };
        let (line, place) = (self.line.clone(), self.place(in_transaction));
        let watch = watch(&line, &place, message.run);
        let again = reading.filter(|_| !in_transaction);
        let mut again = again.and_then(|statement| Again::of(&line, &place, &statement, message.run));
        let rows = wait(patience, async move {
            let incoming = match (get(&line, &place, &message).await, again.as_mut()) {
                (Err(error), Some(again)) if error.is_lost() => again.begin(error).await?.0,
                (incoming, _) => incoming?,
            };
            Rows::receive(incoming, schema, watch, again)
        })?;
        self.answered(in_transaction);
        Ok(Arc::new(rows))
    }

    fn end_transaction(&self, commit: bool, patience: &Patience) -> Result<()> {
        let place = self.place(true);
        self.transaction.ends();
        let ended = self.line.action(Some(&place), &EndTransaction { commit });
        let Empty {} = if commit {
            wait(patience, ended)?
        } else {
            let what = format!("the driver at {}", self.line.address);
            wait_at_most(ROLLBACK_LIMIT, &what, patience, ended)?
        };
        Ok(())
    }

    fn describe(&self, known_version: Option<u64>, in_transaction: bool, patience: &Patience) -> Result<Catalog> {
        let place = self.place(in_transaction);
        let described =
            wait(patience, self.line.action(Some(&place), &DescribeCatalog { known_version, in_transaction }))?;
        self.answered(in_transaction);
        Ok(described)
    }

    fn draw(&self, explain: &StatementText, patience: &Patience) -> Result<String> {
        let place = self.place(explain.in_transaction);
        let message = DrawStatement { statement: Some(message_of(explain, Vec::new())) };
        let Drawing { mermaid } = wait(patience, self.line.action(Some(&place), &message))?;
        self.answered(explain.in_transaction);
        Ok(mermaid)
    }

    fn ingest(
        &self,
        statement: &StatementText,
        schema: SchemaRef,
        _patience: &Patience,
    ) -> Result<Box<dyn RemoteIngest>> {
        let place = self.place(statement.in_transaction);
        Ok(Box::new(Ingest::begin(self.line.clone(), place, Arc::clone(&self.transaction), statement, schema)?))
    }
}
