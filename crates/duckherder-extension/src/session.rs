//! One session on a driver: its statements, its transaction, the catalog as it sees it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use arrow_flight::FlightDescriptor;
use bytes::Bytes;
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
use crate::io_error;
use crate::route::{Effect, Route};
use crate::rows::Rows;
use crate::runtime::{runtime, wait, wait_at_most};
use crate::transaction::TransactionState;
use crate::watch::Watch;

/// Rolling back takes no longer than this, or the driver is lost and does it by itself.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(30);

/// A session; the driver makes it when it first hears its name.
pub struct Session {
    route: Arc<Route>,
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
    Prepared(Box<Waiting>),
    /// It runs, and its rows are on their way.
    Running(Arc<Rows>),
}

/// A statement that the driver waits to be told to run.
struct Waiting {
    /// Where it was prepared: no other driver knows it.
    line: Line,
    driver_id: u64,
    schema: SchemaRef,
    watched: bool,
    read_only: bool,
    /// To begin anew, if that may be needed.
    message: Option<PrepareStatement>,
}

impl Session {
    /// A session with a name of its own, in a database.
    ///
    /// # Errors
    /// The names don't make headers; they always do.
    pub fn open(route: Arc<Route>, database: Option<&str>) -> Result<Self> {
        let header = |text: String| Header::try_from(text).map_err(|error| malformed(&error));
        let name = header(Uuid::new_v4().to_string())?;
        let database = database.map(|database| header(encode_name(database))).transpose()?;
        Ok(Self {
            route,
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

    /// What a call may do.
    fn effect(&self, in_transaction: bool, reads: bool) -> Effect {
        Effect { reads, transaction: in_transaction.then(|| self.transaction.mark().begun) }
    }

    /// [`effect`](Self::effect), where another driver may take over.
    fn effect_of_loss(&self, in_transaction: bool, reads: bool) -> Option<Effect> {
        self.route.several().then(|| self.effect(in_transaction, reads))
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
        let told = self.route.line().action(Some(&self.place(false)), &message);
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

/// What the driver tells of a statement.
type Told = (SchemaRef, PreparedStatement);

async fn prepare(line: &Line, place: &Place, message: Bytes) -> Result<Told> {
    let descriptor = FlightDescriptor::new_cmd(message);
    let answer = line.client().get_flight_info(in_place(descriptor, Some(place))).await;
    let info = answer.map_err(|status| line.error(&status))?.into_inner();
    let told = line.unpack(info.app_metadata.clone())?;
    Ok((Arc::new(info.try_decode_schema()?), told))
}

/// Runs a statement; it was only prepared, at the end of that line, if there are no rows.
async fn run_statement(
    route: &Arc<Route>,
    place: &Place,
    message: RunStatement,
    effect: Effect,
) -> Result<(Line, Told, Option<Rows>)> {
    let packed = message.pack();
    let (line, begun) = route
        .call(effect, async |line| match begin(&line, place, packed.clone()).await {
            // Another worker is tried below.
            Err(error) if error.is_lost() => Ok((line, Err(error))),
            begun => begun.map(|begun| (line, Ok(begun))),
        })
        .await?;
    let watch = watch(&line, place, message.run);
    let mut again =
        message.statement.as_ref().and_then(|statement| Again::of(route, &line, place, statement, message.run));
    let (incoming, schema, told) = match (begun, again.as_mut()) {
        (Err(error), Some(again)) if message.only_reading => again.begin(error).await?,
        (begun, _) => begun?,
    };
    let rows = match told.statement_id {
        0 => {
            let again = again.filter(|_| told.read_only);
            let effect = route.several().then_some(Effect { reads: told.read_only, ..effect });
            Some(Rows::receive(incoming, Arc::clone(&schema), watch, again, effect)?)
        }
        _ => None,
    };
    Ok((line, (schema, told), rows))
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

impl Session {
    /// Runs a statement where it was prepared; anew, if that is not the active driver any more.
    async fn execute_waiting(
        &self,
        waiting: Waiting,
        in_transaction: bool,
        user_sql: &str,
        place: &Place,
    ) -> Result<Rows> {
        let Waiting { line, driver_id, schema, watched, read_only, message } = waiting;
        let effect = self.effect(in_transaction, read_only);
        let run = self.next_run(watched);
        let execute = ExecuteStatement {
            statement_id: driver_id,
            parameters: Vec::new(),
            in_transaction,
            close_after: true,
            user_sql: user_sql.to_string(),
            run,
        };
        let reading = message.as_ref().filter(|_| read_only && !in_transaction);
        let mut again = reading.and_then(|statement| Again::of(&self.route, &line, place, statement, run));
        let elsewhere = !in_transaction && self.route.usable().await?.number != line.number;
        let answer = match elsewhere {
            true => {
                Err(EngineError::driver_elsewhere(format!("the driver at {} is not active any more", line.address)))
            }
            false => line.unless_superseded(get(&line, place, execute.pack())).await,
        };
        let error = match (answer, again.as_mut()) {
            (Ok(incoming), _) => {
                let loss = self.effect_of_loss(in_transaction, read_only);
                return Rows::receive(incoming, schema, watch(&line, place, run), again, loss);
            }
            (Err(error), Some(again)) if again.may_follow(&error) => {
                let incoming = again.begin(error).await?.0;
                return Rows::receive(incoming, schema, watch(&line, place, run), None, None);
            }
            (Err(error), _) => error,
        };
        if !self.route.leads_on(&error) {
            return Err(error);
        }
        self.route.breaks(&line);
        effect.once_more(error)?;
        // What was only bound there is begun here.
        let statement = message.map(|message| PrepareStatement { user_sql: user_sql.to_string(), ..message });
        let message = RunStatement { statement, only_reading: false, run };
        let (line, (now, _), rows) = run_statement(&self.route, place, message, effect).await?;
        if now != schema {
            return Err(io_error("the statement has other columns than before: the table has changed, run it again"));
        }
        rows.ok_or_else(|| io_error(format!("the driver at {} did not run the statement", line.address)))
    }
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
        let (place, watched) = (self.place(statement.in_transaction), statement.watched);
        let keeps = matches!(start, Start::Never) || self.route.several();
        let kept = keeps.then(|| message.clone());
        let (line, (schema, told), rows) = match start {
            Start::Never => {
                // To bind changes nothing.
                let (effect, packed) = (self.effect(statement.in_transaction, true), message.pack());
                let prepared = self.route.call(effect, async |line| {
                    let told = prepare(&line, &place, packed.clone()).await?;
                    Ok((line, told, None))
                });
                wait(patience, prepared)?
            }
            Start::IfReading | Start::Always => {
                let only_reading = matches!(start, Start::IfReading);
                let effect = self.effect(statement.in_transaction, only_reading);
                let run = RunStatement { statement: Some(message), only_reading, run: self.next_run(watched) };
                wait(patience, run_statement(&self.route, &place, run, effect))?
            }
        };
        self.answered(statement.in_transaction);
        let statement = match rows {
            Some(rows) => self.remember(Known::Running(Arc::new(rows))),
            None => self.remember(Known::Prepared(Box::new(Waiting {
                line,
                driver_id: told.statement_id,
                schema: Arc::clone(&schema),
                watched,
                read_only: told.read_only,
                message: kept.filter(|_| told.read_only || self.route.several()),
            }))),
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
        if let Some(Known::Prepared(waiting)) = known {
            self.tell(CloseStatement { statement_id: waiting.driver_id });
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
        let waiting = match known {
            Some(Known::Running(rows)) => return Ok(rows),
            Some(Known::Prepared(waiting)) => waiting,
            None => return Err(EngineError::internal(format!("statement {statement} was not prepared"))),
        };
        let place = self.place(in_transaction);
        let rows = wait(patience, self.execute_waiting(*waiting, in_transaction, user_sql, &place))?;
        self.answered(in_transaction);
        Ok(Arc::new(rows))
    }

    fn end_transaction(&self, commit: bool, patience: &Patience) -> Result<()> {
        let (place, in_it) = (self.place(true), self.effect(true, false));
        self.transaction.ends();
        let line = self.route.line();
        let ended = line.unless_superseded(line.action(Some(&place), &EndTransaction { commit }));
        let ended = async {
            ended.await.map_err(|error| {
                if !self.route.leads_on(&error) {
                    return error;
                }
                self.route.breaks(&line);
                let effect = if error.is_elsewhere() { in_it } else { Effect::WRITES };
                effect.told(error)
            })
        };
        let Empty {} = if commit {
            wait(patience, ended)?
        } else {
            let what = format!("the driver at {}", line.address);
            wait_at_most(ROLLBACK_LIMIT, &what, patience, ended)?
        };
        Ok(())
    }

    fn describe(&self, known_version: Option<u64>, in_transaction: bool, patience: &Patience) -> Result<Catalog> {
        let place = self.place(in_transaction);
        let message = DescribeCatalog { known_version, in_transaction };
        let effect = self.effect(in_transaction, true);
        let described = self.route.call(effect, async |line| line.action(Some(&place), &message).await);
        let described = wait(patience, described)?;
        self.answered(in_transaction);
        Ok(described)
    }

    fn draw(&self, explain: &StatementText, patience: &Patience) -> Result<String> {
        let place = self.place(explain.in_transaction);
        let message = DrawStatement { statement: Some(message_of(explain, Vec::new())) };
        let effect = self.effect(explain.in_transaction, true);
        let drawn = self.route.call(effect, async |line| line.action(Some(&place), &message).await);
        let Drawing { mermaid } = wait(patience, drawn)?;
        self.answered(explain.in_transaction);
        Ok(mermaid)
    }

    fn ingest(
        &self,
        statement: &StatementText,
        schema: SchemaRef,
        patience: &Patience,
    ) -> Result<Box<dyn RemoteIngest>> {
        let place = self.place(statement.in_transaction);
        let effect = self.effect(statement.in_transaction, false);
        let line = wait(patience, self.route.ready(effect))?;
        let loss = self.effect_of_loss(statement.in_transaction, false);
        Ok(Box::new(Ingest::begin(line, loss, place, Arc::clone(&self.transaction), statement, schema)?))
    }
}
