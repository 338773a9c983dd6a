//! Running a prepared statement: its rows go from DuckDB through an [`Outlet`] to the client.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::ipc::reader::StreamReader;
use duckherder_engine::ResultStream;
use duckherder_proto::statement::ResultKind;
use tonic::Status;

use crate::distribute::ExecutionOutcome;
use crate::encode::BatchEncoder;
use crate::error::{DriverError, Result};
use crate::outlet::{Outlet, OutletStream, Sent};
use crate::session::{Prepared, SessionCore, SessionGuard};
use crate::spool::Spool;
use crate::statistics::{Statistics, Stopwatch};
use crate::sync::Execution;

/// Bytes of a spooled stream that stay in memory.
pub const SPOOL_MEMORY_BYTES: usize = 64 << 20;

/// One execution of a prepared statement.
pub struct Run {
    pub statement_id: u64,
    /// One row of parameter values; several rows run the statement once for each.
    pub parameters: Vec<RecordBatch>,
    pub in_transaction: bool,
    pub close_after: bool,
    /// In the user's words, if they differ from those at preparation.
    pub user_sql: String,
}

/// Starts a statement whose rows the returned stream carries. Dropping the stream stops the statement.
pub fn start(mut guard: SessionGuard, run: Run, statistics: Arc<Statistics>) -> OutletStream {
    let execution = Arc::clone(guard.execution());
    let (outlet, stream) = Outlet::new(Some(Arc::clone(&execution)));
    guard.stream_to(&outlet);
    tokio::task::spawn_blocking(move || {
        let mut pump = Pump { outlet: &outlet, execution, spool: None };
        let result = pump.run(&mut guard, run, &statistics);
        let spool = pump.spool.take();
        // The connection is free from here on.
        drop(guard);
        let result = result.and_then(|()| feed(&outlet, spool));
        outlet.end(result.map_err(Status::from));
    });
    stream
}

/// Sends what was spooled, at the client's pace.
fn feed(outlet: &Outlet, spool: Option<Spool>) -> Result<()> {
    let Some(spool) = spool else { return Ok(()) };
    for message in spool.into_messages().map_err(DriverError::Spool)? {
        if matches!(outlet.send(message.map_err(DriverError::Spool)?, true), Sent::Cancelled) {
            break;
        }
    }
    Ok(())
}

struct Pump<'a> {
    outlet: &'a Outlet,
    execution: Arc<Execution>,
    spool: Option<Spool>,
}

impl Pump<'_> {
    fn run(&mut self, core: &mut SessionCore, run: Run, statistics: &Statistics) -> Result<()> {
        core.join_transaction_to_run(run.in_transaction)?;
        let id = run.statement_id;
        let mut prepared = core.take(id)?;
        let sql = if run.user_sql.is_empty() { prepared.user_sql.clone() } else { run.user_sql.clone() };
        let result = core.measured(sql, statistics, |core| self.execute(core, &mut prepared, &run.parameters));
        if !run.close_after {
            core.put_back(id, prepared);
        }
        result
    }

    fn execute(&mut self, core: &SessionCore, prepared: &mut Prepared, parameters: &[RecordBatch]) -> Result<()> {
        let mut rows = parameter_rows(parameters).into_iter();
        let first = rows.next();
        let mut stream = prepared.start(core, first.as_ref())?;
        let (mut encoder, schema) = BatchEncoder::new(stream.schema());
        let mut messages = vec![schema];
        if prepared.statement.kind() != ResultKind::Query {
            // The one row is worth something only once the statement has committed.
            for batch in stream.collect::<Result<Vec<_>, _>>()? {
                encoder.encode(&batch, &mut messages)?;
            }
            messages.push(encoder.finish()?);
            return self.send(messages);
        }
        // The schema waits for the first rows: a statement that fails before them fails as a call.
        loop {
            for batch in stream.by_ref() {
                encoder.encode(&batch?, &mut messages)?;
                self.send(std::mem::take(&mut messages))?;
            }
            match rows.next() {
                Some(row) => stream = prepared.start(core, Some(&row))?,
                None => break,
            }
        }
        messages.push(encoder.finish()?);
        self.send(messages)
    }

    fn send(&mut self, messages: Vec<arrow_flight::FlightData>) -> Result<()> {
        for message in messages {
            if self.execution.is_cancelled() || self.outlet.is_cancelled() {
                return Err(duckherder_engine::EngineError::interrupted().into());
            }
            let left = match &self.spool {
                Some(_) => message,
                None => match self.outlet.send(message, false) {
                    Sent::Queued => continue,
                    Sent::Cancelled => return Err(duckherder_engine::EngineError::interrupted().into()),
                    Sent::Wanted(message) => message,
                },
            };
            self.spool.get_or_insert_with(|| Spool::new(SPOOL_MEMORY_BYTES)).push(left).map_err(DriverError::Spool)?;
        }
        Ok(())
    }
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
        if let Some(distributor) = &mut self.distributor {
            distributor.statement_starts(&sql);
        }
        let stopwatch = Stopwatch::start(sql);
        let result = work(self);
        let outcome = match &mut self.distributor {
            Some(distributor) => distributor.statement_ended(),
            None => ExecutionOutcome::local(),
        };
        if result.is_ok() {
            statistics.record(stopwatch, outcome);
        }
        result
    }
}
