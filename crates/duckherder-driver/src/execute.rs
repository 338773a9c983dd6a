//! Running a statement: its rows go from DuckDB through an [`Outlet`] to the client.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::ipc::reader::StreamReader;
use arrow_flight::FlightData;
use duckherder_engine::{Description, EngineError, ResultStream, Waited};
use duckherder_proto::any::Command;
use duckherder_proto::statement::{PrepareStatement, PreparedStatement, ResultKind};
use tonic::Status;

use crate::alone::may_write_files;
use crate::distribute::ExecutionOutcome;
use crate::encode::BatchEncoder;
use crate::error::{DriverError, Result};
use crate::outlet::{Outlet, OutletStream, Sent};
use crate::session::{Prepared, SessionCore, SessionGuard};
use crate::spool::Spool;
use crate::statistics::{Statistics, Stopwatch};
use crate::sync::Execution;

/// How long rows wait for those after them, or the end, to travel with them; a slice of the query's work may exceed it.
const NEXT_ROWS: Duration = Duration::from_millis(1);

/// What is to run.
pub enum Run {
    /// A statement of the session's.
    Prepared {
        statement_id: u64,
        /// One row of parameter values; several rows run the statement once for each.
        parameters: Vec<RecordBatch>,
        in_transaction: bool,
        close_after: bool,
        /// In the user's words, if they differ from those at preparation.
        user_sql: String,
        /// The client's number for it; 0 if nobody asks how far it is.
        run: u64,
    },
    /// A new statement, described in its stream's first message; prepared only, if it is to only read and does not.
    New { statement: PrepareStatement, only_reading: bool, run: u64 },
}

/// Starts a statement whose rows the returned stream carries. Dropping the stream stops the statement.
pub fn start(mut guard: SessionGuard, run: Run, statistics: Arc<Statistics>) -> OutletStream {
    let execution = Arc::clone(guard.execution());
    let (outlet, stream) = Outlet::new(Some(Arc::clone(&execution)));
    guard.stream_to(&outlet);
    tokio::task::spawn_blocking(move || {
        let mut pump = Pump::new(&outlet, execution, guard.spool());
        // Without an end, or an error in its place, the client would wait for ever.
        let result = catch_unwind(AssertUnwindSafe(|| pump.run(&mut guard, run, &statistics)))
            .unwrap_or_else(|_| Err(DriverError::Task("it panicked".to_string())));
        let Pump { spool, last, .. } = pump;
        // The connection is free from here on.
        drop(guard);
        let result = result.and_then(|()| feed(&outlet, spool)).map(|()| last);
        outlet.end(result.map_err(Status::from));
    });
    stream
}

/// Sends what was spooled, at the client's pace.
fn feed(outlet: &Outlet, spool: Spool) -> Result<()> {
    for message in spool.into_messages().map_err(DriverError::Spool)? {
        if matches!(outlet.send([message.map_err(DriverError::Spool)?], true), Sent::Cancelled) {
            break;
        }
    }
    Ok(())
}

struct Pump<'a> {
    outlet: &'a Outlet,
    execution: Arc<Execution>,
    spool: Spool,
    /// What is sent once the connection is free.
    last: Vec<FlightData>,
    /// The client knows the columns.
    described: bool,
    /// Rows are on their way, or were sent.
    sent: Rc<Cell<bool>>,
}

impl<'a> Pump<'a> {
    fn new(outlet: &'a Outlet, execution: Arc<Execution>, spool: Spool) -> Self {
        Self { outlet, execution, spool, last: Vec::new(), described: false, sent: Rc::default() }
    }

    fn run(&mut self, core: &mut SessionCore, run: Run, statistics: &Statistics) -> Result<()> {
        match run {
            Run::Prepared { statement_id, parameters, in_transaction, close_after, user_sql, run } => {
                core.join_transaction_to_run(in_transaction)?;
                let mut prepared = core.take(statement_id)?;
                let user_sql = if user_sql.is_empty() { prepared.user_sql.clone() } else { user_sql };
                let result = core.measured(user_sql.clone(), statistics, |core| {
                    core.watch(run);
                    let (sent, execution) = (Rc::clone(&self.sent), Arc::clone(&self.execution));
                    // What one of several runs has done stays done.
                    let once = may_write_files(&prepared.sql)
                        || parameters.iter().map(RecordBatch::num_rows).sum::<usize>() > 1;
                    let is_unseen = || !once && !sent.get() && !execution.is_cancelled();
                    core.run_or_alone(in_transaction, is_unseen, |core| self.execute(core, &mut prepared, &parameters))
                });
                let result = result.map_err(|error| core.error_of(core.judged(error), &prepared.sql, &user_sql));
                if !close_after {
                    core.put_back(statement_id, prepared);
                }
                result
            }
            Run::New { mut statement, only_reading, run } => {
                if statement.user_sql.is_empty() {
                    statement.user_sql.clone_from(&statement.sql);
                }
                let (sql, user_sql) = (statement.sql.clone(), statement.user_sql.clone());
                let result = self.run_new(core, statement, only_reading, run, statistics);
                result.map_err(|error| core.error_of(core.judged(error), &sql, &user_sql))
            }
        }
    }

    fn execute(&mut self, core: &SessionCore, prepared: &mut Prepared, parameters: &[RecordBatch]) -> Result<()> {
        let mut rows = parameter_rows(parameters).into_iter();
        let first = rows.next();
        let mut stream = prepared.start(core, first.as_ref())?;
        let (mut encoder, schema) = BatchEncoder::new(stream.schema());
        let mut messages = vec![schema];
        // The client knows the columns: they wait for the first rows, so that what fails before them fails as a call.
        if let Waited::Batch(batch) = stream.wait(None)? {
            encoder.encode(&batch, &mut messages)?;
        }
        loop {
            messages = self.send_rows(stream, &mut encoder, messages)?;
            match rows.next() {
                Some(row) => stream = prepared.start(core, Some(&row))?,
                None => break,
            }
        }
        encoder.finish(&mut messages)?;
        self.last = messages;
        Ok(())
    }

    fn run_new(
        &mut self,
        core: &mut SessionCore,
        statement: PrepareStatement,
        only_reading: bool,
        run: u64,
        statistics: &Statistics,
    ) -> Result<()> {
        core.apply_settings(&statement.settings)?;
        core.join_transaction_to_run(statement.in_transaction)?;
        let parameters = decode_parameters(&statement.parameters)?.into_iter().next();
        let PrepareStatement { sql, user_sql, in_transaction, .. } = statement;
        let stopwatch = core.statement_starts(user_sql.clone());
        core.watch(run);
        let (sent, execution) = (Rc::clone(&self.sent), Arc::clone(&self.execution));
        let run = |core: &mut SessionCore| {
            // A refusal would abort the client's transaction: there, binding comes first.
            let at_once = match only_reading && in_transaction {
                true => None,
                false => core.connection.start(&sql, parameters.as_ref(), only_reading)?,
            };
            if let Some(stream) = at_once {
                return self.stream_new(stream).map(|()| true);
            }
            let id = core.prepare(sql.clone(), user_sql.clone(), parameters.as_ref())?;
            let mut prepared = core.take(id)?;
            if prepared.statement.read_only() {
                return self.stream_new(prepared.statement.execute(None)?).map(|()| true);
            }
            self.last = described(id, prepared.statement.description())?;
            core.put_back(id, prepared);
            Ok(false)
        };
        let is_unseen = || !may_write_files(&sql) && !sent.get() && !execution.is_cancelled();
        if core.run_or_alone(in_transaction, is_unseen, run)? {
            core.statement_ended(stopwatch, statistics);
        }
        Ok(())
    }

    fn stream_new(&mut self, stream: ResultStream) -> Result<()> {
        let description = stream.description().clone();
        let (mut encoder, schema) = BatchEncoder::new(Arc::clone(&description.schema));
        if !std::mem::replace(&mut self.described, true) {
            self.outlet.hold(schema.with_app_metadata(prepared_message(0, &description).pack()));
        }
        let mut messages = self.send_rows(stream, &mut encoder, Vec::new())?;
        encoder.finish(&mut messages)?;
        self.last = messages;
        Ok(())
    }

    /// Sends what waits and a statement's rows to their end. What is left to send: a query's last rows, or all those
    /// whose worth depends on the statement's commit.
    fn send_rows(
        &mut self,
        mut stream: ResultStream,
        encoder: &mut BatchEncoder,
        mut messages: Vec<FlightData>,
    ) -> Result<Vec<FlightData>> {
        let holds = stream.description().kind != ResultKind::Query;
        loop {
            let limit = (!holds && !messages.is_empty()).then_some(NEXT_ROWS);
            let waited = stream.wait(limit)?;
            if !holds && !matches!(waited, Waited::End) {
                self.send(std::mem::take(&mut messages))?;
            }
            match waited {
                Waited::Batch(batch) => encoder.encode(&batch, &mut messages)?,
                Waited::NotYet => {}
                Waited::End => return Ok(messages),
            }
        }
    }

    fn send(&mut self, messages: Vec<FlightData>) -> Result<()> {
        let interrupted = || Err(EngineError::interrupted().into());
        if messages.is_empty() {
            return Ok(());
        }
        if self.execution.is_cancelled() || self.outlet.is_cancelled() {
            return interrupted();
        }
        self.sent.set(true);
        let left = match self.spool.is_empty() {
            false => VecDeque::from(messages),
            true => match self.outlet.send(messages, false) {
                Sent::Queued => return Ok(()),
                Sent::Cancelled => return interrupted(),
                Sent::Wanted(left) => left,
            },
        };
        left.into_iter().try_for_each(|message| self.spool.push(message)).map_err(DriverError::Spool)
    }
}

/// What the client is told of a statement.
pub fn prepared_message(statement_id: u64, description: &Description) -> PreparedStatement {
    PreparedStatement {
        statement_id,
        kind: description.kind.into(),
        read_only: description.read_only,
        parameters: Vec::new(),
    }
}

/// A stream that says only what a prepared statement is.
fn described(statement_id: u64, description: &Description) -> Result<Vec<FlightData>> {
    let (mut encoder, schema) = BatchEncoder::new(Arc::clone(&description.schema));
    let schema = schema.with_app_metadata(prepared_message(statement_id, description).pack());
    let mut messages = vec![schema];
    encoder.finish(&mut messages)?;
    Ok(messages)
}

impl Prepared {
    /// Starts the statement with one row of parameter values.
    fn start(&mut self, core: &SessionCore, parameters: Option<&RecordBatch>) -> Result<ResultStream> {
        if let Some(parameters) = parameters {
            self.settle_types(core, parameters)?;
        }
        Ok(self.statement.execute(parameters)?)
    }

    /// Binds the statement again if types of its columns wait for the parameters' values.
    ///
    /// # Errors
    /// What DuckDB says of the values.
    pub fn settle_types(&mut self, core: &SessionCore, parameters: &RecordBatch) -> Result<()> {
        if self.open_types() {
            self.statement = core.connection.prepare(&self.sql, Some(parameters))?;
        }
        Ok(())
    }

    /// Whether a column's type was not known without the parameters' values.
    fn open_types(&self) -> bool {
        let schema = self.statement.schema();
        !self.statement.parameters().is_empty()
            && schema.fields().iter().any(|field| {
                field.metadata().get(duckherder_proto::DUCKDB_TYPE_METADATA).is_some_and(|name| name.contains("NULL"))
            })
    }

    /// Runs the statement once for each row of parameter values and adds up the rows it changed.
    ///
    /// # Errors
    /// The first run's that fails.
    pub fn count_changes(&mut self, core: &SessionCore, parameters: &[RecordBatch]) -> Result<i64> {
        let mut rows = parameter_rows(parameters).into_iter().map(Some).collect::<Vec<_>>();
        if rows.is_empty() {
            rows.push(None);
        }
        let mut changed = 0;
        for row in rows {
            let stream = self.start(core, row.as_ref())?;
            changed += drain_count(stream, self.statement.kind())?;
        }
        Ok(changed)
    }
}

/// Runs a stream to its end: the rows it says were changed, or that it returned.
///
/// # Errors
/// The statement fails.
pub fn drain_count(stream: ResultStream, kind: ResultKind) -> Result<i64> {
    let mut changed = 0;
    for batch in stream {
        let batch = batch?;
        match (kind, batch.columns().first()) {
            (ResultKind::ChangedRows, Some(counts)) => {
                if let Some(counts) = counts.as_primitive_opt::<Int64Type>() {
                    changed += counts.values().iter().sum::<i64>();
                }
            }
            _ => changed += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX),
        }
    }
    Ok(changed)
}

fn parameter_rows(batches: &[RecordBatch]) -> Vec<RecordBatch> {
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| batch.slice(row, 1))).collect()
}

/// Parameter values as they travel in our own messages.
///
/// # Errors
/// The bytes are no Arrow IPC stream.
pub fn decode_parameters(bytes: &[u8]) -> Result<Vec<RecordBatch>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let reader = StreamReader::try_new(Cursor::new(bytes), None);
    let batches = reader.and_then(Iterator::collect);
    batches.map_err(|error| DriverError::Invalid(format!("the parameters are no Arrow IPC stream: {error}")))
}

impl SessionCore {
    /// Runs `work` as the user's statement `sql`: told to the distributor, remembered in the statistics if it
    /// succeeds.
    ///
    /// # Errors
    /// What the work says.
    pub fn measured<T>(
        &mut self,
        sql: String,
        statistics: &Statistics,
        work: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let stopwatch = self.statement_starts(sql);
        let result = work(self)?;
        self.statement_ended(stopwatch, statistics);
        Ok(result)
    }

    /// What a statement has failed with; where a worker was lost, as such.
    fn judged(&self, error: DriverError) -> DriverError {
        match (error, &self.distributor) {
            (DriverError::Engine(error), Some(distributor)) if distributor.lost_worker(&error) => {
                DriverError::Engine(EngineError::lost(error.message))
            }
            (error, _) => error,
        }
    }

    /// The user's statement `sql` is about to run; the distributor is told.
    fn statement_starts(&mut self, sql: String) -> Stopwatch {
        if let Some(distributor) = &mut self.distributor {
            distributor.statement_starts(&sql);
        }
        Stopwatch::start(sql)
    }

    /// The statement has succeeded and is remembered.
    fn statement_ended(&mut self, stopwatch: Stopwatch, statistics: &Statistics) {
        let outcome = match &mut self.distributor {
            Some(distributor) => distributor.statement_ended(),
            None => ExecutionOutcome::local(),
        };
        statistics.record(stopwatch, outcome);
    }
}
