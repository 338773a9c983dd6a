//! The rows of a running statement: received ahead of DuckDB by a bounded number of bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow_flight::FlightData;
use arrow_flight::decode::{DecodedFlightData, DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use duckherder_engine::{BatchSource, EngineError, Result};
use duckherder_proto::statement::PreparedStatement;
use duckherder_proto::task::EndOfPartition;
use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tonic::Streaming;

use crate::again::Again;
use crate::call::Line;
use crate::io_error;
use crate::route::Effect;
use crate::runtime::runtime;
use crate::watch::Watch;

/// Bytes of rows that wait for DuckDB before the driver is held back.
const WAITING_BYTES: usize = 32 << 20;

/// Rows on their way; dropping them stops the statement that makes them.
pub struct Rows {
    schema: SchemaRef,
    queue: Arc<Queue>,
    /// What still receives, if anything does.
    receiving: Option<AbortHandle>,
    watch: Option<Watch>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// Told when there is room again.
    room: Notify,
}

/// A batch and the bytes of the message that its arrays are slices of (each of which would count all of it).
type Received = (RecordBatch, usize);

#[derive(Default)]
struct State {
    batches: VecDeque<Result<Received>>,
    bytes: usize,
    ended: bool,
    /// The threads that found nothing and wait; one is woken for each batch, all of them at the end.
    wakers: Vec<Waker>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what came; whether it was the last.
    fn put(&self, next: Result<Option<Received>>) -> bool {
        let (wakers, ended) = {
            let mut state = self.state();
            state.ended = !matches!(next, Ok(Some(_)));
            if let Some(next) = next.transpose() {
                state.bytes += next.as_ref().map_or(0, |(_, bytes)| *bytes);
                state.batches.push_back(next);
            }
            let woken = if state.ended { 0 } else { state.wakers.len().saturating_sub(1) };
            (state.wakers.split_off(woken), state.ended)
        };
        wakers.into_iter().for_each(Waker::wake);
        ended
    }

    async fn has_room(&self) {
        while self.state().bytes > WAITING_BYTES {
            self.room.notified().await;
        }
    }
}

impl Rows {
    /// Goes on receiving. What has already come is taken at once; no thread is kept busy for what is complete. With
    /// `again`, the statement is run once more if the driver loses a worker, or is lost, before the first row has come.
    /// Without it, what the loss means is that of `effect`, where another driver may take over.
    ///
    /// # Errors
    /// There are no threads to do it.
    pub fn receive(
        mut incoming: Incoming,
        schema: SchemaRef,
        watch: Option<Watch>,
        mut again: Option<Again>,
        effect: Option<Effect>,
    ) -> Result<Self> {
        let told = move |error: EngineError| match effect {
            Some(effect) if error.is_of_driver() => effect.told(error),
            _ => error,
        };
        let queue = Arc::new(Queue::default());
        let mut lost = None;
        while let Some(next) = incoming.next(&schema).now_or_never() {
            let next = match next {
                Err(error) if again.as_ref().is_some_and(|again| again.may_follow(&error)) => {
                    lost = Some(error);
                    break;
                }
                next => next,
            };
            again = None;
            if queue.put(next.map_err(told)) {
                return Ok(Self { schema, queue, receiving: None, watch });
            }
            if queue.state().bytes > WAITING_BYTES {
                break;
            }
        }
        let (filled, expected) = (Arc::clone(&queue), Arc::clone(&schema));
        let receiving = runtime()?.spawn(async move {
            loop {
                let next = match lost.take() {
                    Some(error) => Err(error),
                    None => incoming.next(&expected).await,
                };
                let next = match (next, again.as_mut()) {
                    (Err(error), Some(again)) if again.may_follow(&error) => match again.begin(error).await {
                        Ok((begun, _, _)) => {
                            incoming = begun;
                            continue;
                        }
                        Err(error) => Err(error),
                    },
                    (next, _) => next,
                };
                again = None;
                if filled.put(next.map_err(told)) {
                    return;
                }
                filled.has_room().await;
            }
        });
        Ok(Self { schema, queue, receiving: Some(receiving.abort_handle()), watch })
    }
}

/// The messages of a statement's stream.
pub struct Incoming {
    line: Line,
    decoder: FlightDataDecoder,
    rows: u64,
    promised: Option<u64>,
}

impl Incoming {
    pub fn new(line: Line, stream: Streaming<FlightData>) -> Self {
        Self { line, decoder: FlightDataDecoder::new(stream.map_err(FlightError::from)), rows: 0, promised: None }
    }

    /// The columns, and what the driver says of the statement.
    ///
    /// # Errors
    /// What the driver says instead.
    pub async fn head(&mut self) -> Result<(SchemaRef, PreparedStatement)> {
        let first = self.decoder.next().await.transpose().map_err(|error| flight_error(&self.line, error))?;
        match first.map(|data| (data.payload, data.inner.app_metadata)) {
            Some((DecodedPayload::Schema(schema), said)) => Ok((schema, self.line.unpack(said)?)),
            _ => Err(io_error(format!("the driver at {} sent no columns", self.line.address))),
        }
    }

    async fn message(&mut self) -> Result<Option<DecodedFlightData>> {
        let (line, decoder) = (&self.line, &mut self.decoder);
        let next = async { decoder.next().await.transpose().map_err(|error| flight_error(line, error)) };
        line.unless_superseded(next).await
    }

    /// The next rows, which have the columns `expected`; `None` once all are there.
    async fn next(&mut self, expected: &SchemaRef) -> Result<Option<Received>> {
        while let Some(data) = self.message().await? {
            if !data.inner.app_metadata.is_empty() && !matches!(data.payload, DecodedPayload::Schema(_)) {
                self.promised = Some(self.line.unpack::<EndOfPartition>(data.inner.app_metadata)?.rows);
            }
            if let DecodedPayload::RecordBatch(batch) = data.payload {
                self.rows += batch.num_rows() as u64;
                if batch.num_rows() > 0 {
                    return Ok(Some((check(batch, expected)?, data.inner.data_body.len())));
                }
            }
        }
        let (rows, address) = (self.rows, &self.line.address);
        match self.promised {
            Some(sent) if sent == rows => Ok(None),
            Some(sent) => Err(io_error(format!("the driver at {address} sent {sent} rows, {rows} arrived"))),
            None => Err(io_error(format!("the rows from the driver at {address} were cut after {rows}"))),
        }
    }
}

/// The batch, if it has the columns that DuckDB was told of.
fn check(batch: RecordBatch, expected: &SchemaRef) -> Result<RecordBatch> {
    let schema = batch.schema();
    let same = schema.fields().len() == expected.fields().len()
        && schema.fields().iter().zip(expected.fields()).all(|(got, want)| got.data_type() == want.data_type());
    if same {
        return Ok(batch);
    }
    Err(io_error("the driver's rows have other columns than it said: the table has changed, run the statement again"))
}

fn flight_error(line: &Line, error: FlightError) -> EngineError {
    match error {
        FlightError::Tonic(status) => line.error(&status),
        other => io_error(format!("the rows from the driver at {} are malformed: {other}", line.address)),
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        if let Some(receiving) = &self.receiving {
            receiving.abort();
        }
    }
}

impl BatchSource for Rows {
    fn progress(&self) -> Option<f64> {
        self.watch.as_ref()?.done()
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn poll_next(&self, _partition: usize, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        let mut state = self.queue.state();
        if let Some(next) = state.batches.pop_front() {
            if let Ok((_, bytes)) = &next {
                state.bytes -= bytes;
            }
            drop(state);
            self.queue.room.notify_one();
            return Poll::Ready(Some(next.map(|(batch, _)| batch).map_err(EngineError::for_user)));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.wakers.push(cx.waker().clone());
        Poll::Pending
    }
}

/// Rows that came in one piece.
pub struct StoredRows {
    schema: SchemaRef,
    batches: Mutex<VecDeque<RecordBatch>>,
}

impl StoredRows {
    /// The rows of an Arrow IPC stream.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(stream: &[u8]) -> Result<Self> {
        let reader = StreamReader::try_new(stream, None)?;
        let schema = reader.schema();
        let batches = reader.collect::<std::result::Result<VecDeque<_>, _>>()?;
        Ok(Self { schema, batches: Mutex::new(batches) })
    }
}

impl BatchSource for StoredRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn poll_next(&self, _partition: usize, _cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        Poll::Ready(self.batches.lock().unwrap_or_else(PoisonError::into_inner).pop_front().map(Ok))
    }
}
