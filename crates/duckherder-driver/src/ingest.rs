//! Rows that a client sends, as the relation `duckherder_input` of the statement that takes them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use arrow_flight::FlightData;
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use arrow_flight::sql::Any;
use arrow_flight::sql::server::PeekableFlightDataStream;
use duckherder_engine::BatchSource;
use duckherder_proto::MAX_MESSAGE_BYTES;
use duckherder_proto::any::Command;
use duckherder_proto::statement::{IngestResult, ResultKind};
use duckherder_proto::task::EndOfPartition;
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message;
use tonic::Status;

use crate::error::{DriverError, Result};
use crate::execute::drain_count;
use crate::inlet::{Feeder, inlet};
use crate::session::{Session, SessionCore};
use crate::spool::Spool;
use crate::statistics::Statistics;

/// The name of a client's rows in the statement that takes them.
pub const INPUT: &str = "duckherder_input";

/// The rows of a `DoPut`, their schema already read.
pub struct Incoming {
    decoder: FlightDataDecoder,
    schema: SchemaRef,
}

impl Incoming {
    /// Reads up to the schema. `None`: the stream ends without one, there are no rows.
    ///
    /// With a `spool`, all rows wait there before the first is given on. A client's statement that also reads from the session
    /// needs that: its reads come while it writes, and must find the session's connection free.
    ///
    /// # Errors
    /// The stream is cut, or no Arrow.
    pub async fn open(stream: PeekableFlightDataStream, spool: Option<Spool>) -> Result<Option<Self>> {
        // A message with a descriptor and nothing else would not decode.
        let stream = stream.try_filter(|data| std::future::ready(!data.data_header.is_empty())).chain(still_called());
        let stream = match spool {
            Some(spool) => spooled(stream, spool).await?.boxed(),
            None => stream.map_err(FlightError::from).boxed(),
        };
        let mut decoder = FlightDataDecoder::new(stream);
        match decoder.next().await {
            None => Ok(None),
            Some(Ok(data)) => match data.payload {
                DecodedPayload::Schema(schema) => Ok(Some(Self { decoder, schema })),
                _ => Err(DriverError::Invalid("the stream of rows does not begin with its schema".to_string())),
            },
            Some(Err(error)) => Err(cut(0, &error)),
        }
    }

    /// All rows at once, for parameters.
    ///
    /// # Errors
    /// The stream is cut, or too large to be parameters.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>> {
        let (mut batches, mut bytes, mut rows) = (Vec::new(), 0, 0);
        while let Some(next) = self.decoder.next().await {
            let data = next.map_err(|error| cut(rows, &error))?;
            if let DecodedPayload::RecordBatch(batch) = data.payload {
                bytes += data.inner.data_body.len();
                rows += batch.num_rows() as u64;
                if bytes > MAX_MESSAGE_BYTES {
                    return Err(DriverError::Invalid(format!(
                        "parameters of more than {MAX_MESSAGE_BYTES} bytes: ingest the rows instead"
                    )));
                }
                batches.push(batch);
            }
        }
        Ok(batches)
    }
}

/// All messages of a stream, kept in memory or in a temporary file, as a stream that does not wait.
async fn spooled(
    stream: impl Stream<Item = Result<FlightData, Status>>,
    mut spool: Spool,
) -> Result<impl Stream<Item = Result<FlightData, FlightError>>> {
    tokio::pin!(stream);
    let mut ended = false;
    while let Some(message) = stream.next().await {
        let mut message = message.map_err(|status| cut(0, &status.into()))?;
        if ended {
            return Err(DriverError::Invalid("the stream of rows goes on after its end".to_string()));
        }
        ended = end_of_partition(&message.app_metadata).is_some();
        if !ended {
            message.app_metadata.clear();
        }
        tokio::task::block_in_place(|| spool.push(message)).map_err(DriverError::Spool)?;
    }
    let mut messages = spool.into_messages().map_err(DriverError::Spool)?;
    let next = move || tokio::task::block_in_place(|| messages.next());
    let replay = futures::stream::iter(std::iter::from_fn(next));
    Ok(replay.map_err(|error| FlightError::ExternalError(Box::new(error))))
}

/// Comes after the last message. To tonic a client's cancellation looks like the end of its rows; but a call that was
/// cancelled is dropped as soon as it waits, so whoever gets past this has all rows.
fn still_called<T>() -> impl Stream<Item = T> {
    futures::stream::once(tokio::task::yield_now()).filter_map(|()| std::future::ready(None))
}

fn cut(rows: u64, error: &FlightError) -> DriverError {
    DriverError::CutStream { rows, reason: error.to_string() }
}

/// Reads the client's rows until they end.
async fn feed(mut decoder: FlightDataDecoder, feeder: Feeder) {
    let mut promised = None;
    let end = loop {
        let data = match decoder.next().await {
            None => break Ok(()),
            Some(Err(error)) => break Err(cut(feeder.rows(), &error).into_engine()),
            Some(Ok(data)) => data,
        };
        let FlightData { app_metadata: metadata, data_body, .. } = data.inner;
        if let DecodedPayload::RecordBatch(batch) = data.payload {
            // Not the arrays' own size: each of them counts the whole message that all are slices of.
            let bytes = data_body.len();
            drop(data_body);
            feeder.push(&batch, bytes).await;
        }
        if let Some(end) = end_of_partition(&metadata) {
            promised = Some(end.rows);
        }
    };
    let received = feeder.rows();
    let end = match promised {
        Some(sent) if end.is_ok() && sent != received => Err(DriverError::RowsLost { sent, received }.into_engine()),
        _ => end,
    };
    feeder.end(end);
}

fn end_of_partition(metadata: &[u8]) -> Option<EndOfPartition> {
    if metadata.is_empty() {
        return None;
    }
    EndOfPartition::from_any(&Any::decode(metadata).ok()?).ok()?
}

/// What an ingest did.
pub struct Ingested {
    pub result: IngestResult,
    /// Rows that the client sent.
    pub rows: u64,
}

/// Runs `statements` over the rows in `session`; the last one's result counts. Several statements are one
/// transaction. If the caller goes away, the statement fails and is rolled back.
///
/// # Errors
/// The statement's, or the rows were cut.
pub async fn ingest(
    session: &Arc<Session>,
    incoming: Incoming,
    statistics: &Arc<Statistics>,
    work: Work,
) -> Result<Ingested> {
    let (feeder, inlet) = inlet(incoming.schema);
    let inlet = Arc::new(inlet);
    let rows = Arc::clone(&inlet);
    let statistics = Arc::clone(statistics);
    let statement = session.run(move |core| work.run(core, inlet, &statistics));
    let feeding = feed(incoming.decoder, feeder);
    tokio::pin!(statement, feeding);
    let result = tokio::select! {
        biased;
        result = &mut statement => result?,
        () = &mut feeding => statement.await?,
    };
    Ok(Ingested { result, rows: rows.rows() })
}

/// What to do with the rows.
pub struct Work {
    pub statements: Vec<String>,
    pub user_sql: String,
    pub settings: Vec<duckherder_proto::statement::Setting>,
    pub in_transaction: bool,
}

impl Work {
    fn run(self, core: &mut SessionCore, inlet: Arc<dyn BatchSource>, statistics: &Statistics) -> Result<IngestResult> {
        core.apply_settings(&self.settings)?;
        core.join_transaction_to_run(self.in_transaction)?;
        let own_transaction = !self.in_transaction && self.statements.len() > 1;
        if own_transaction {
            core.join_transaction(true)?;
        }
        core.connection.register_input(INPUT, inlet)?;
        let result = core.measured(self.user_sql.clone(), statistics, |core| {
            let mut result = IngestResult::default();
            for sql in &self.statements {
                result = run_statement(core, sql).map_err(|error| core.error_of(error, sql, &self.user_sql))?;
            }
            Ok(result)
        });
        core.connection.unregister_input(INPUT)?;
        if own_transaction {
            core.end_transaction(result.is_ok())?;
        }
        result
    }
}

fn run_statement(core: &SessionCore, sql: &str) -> Result<IngestResult> {
    let mut statement = core.connection.prepare(sql, None)?;
    let kind = statement.kind();
    let stream = statement.execute(None)?;
    if kind != ResultKind::Query {
        return Ok(IngestResult { changed_rows: drain_count(stream, kind)?, returned: Vec::new() });
    }
    let mut writer = StreamWriter::try_new(Vec::new(), &stream.schema())?;
    let mut changed_rows = 0;
    for batch in stream {
        let batch = batch?;
        writer.write(&batch)?;
        changed_rows += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
        if writer.get_ref().len() > MAX_MESSAGE_BYTES / 2 {
            return Err(DriverError::Invalid(format!(
                "RETURNING gives more than {} bytes here: insert in smaller parts",
                MAX_MESSAGE_BYTES / 2
            )));
        }
    }
    Ok(IngestResult { changed_rows, returned: writer.into_inner()? })
}
