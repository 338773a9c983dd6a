//! The rows of a running statement: received ahead of DuckDB by a bounded number of bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow_flight::FlightData;
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use arrow_flight::sql::Any;
use duckherder_engine::{BatchSource, EngineError, Result};
use duckherder_proto::any::Command;
use duckherder_proto::task::EndOfPartition;
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tonic::Streaming;

use crate::call::Line;
use crate::io_error;
use crate::runtime::runtime;

/// Bytes of rows that wait for DuckDB before the driver is held back.
const WAITING_BYTES: usize = 32 << 20;

/// Rows on their way; dropping them stops the statement that makes them.
pub struct Rows {
    schema: SchemaRef,
    queue: Arc<Queue>,
    receiving: AbortHandle,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// Told when there is room again.
    room: Notify,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Result<RecordBatch>>,
    bytes: usize,
    ended: bool,
    /// All threads that found nothing: any of them may be the next to ask.
    wakers: Vec<Waker>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let wakers = {
            let mut state = self.state();
            change(&mut state);
            std::mem::take(&mut state.wakers)
        };
        for waker in wakers {
            waker.wake();
        }
    }
}

impl Rows {
    /// Begins to receive.
    ///
    /// # Errors
    /// There are no threads to do it.
    pub fn receive(line: Line, schema: SchemaRef, stream: Streaming<FlightData>) -> Result<Self> {
        let queue = Arc::new(Queue::default());
        let filled = Arc::clone(&queue);
        let expected = Arc::clone(&schema);
        let receiving = runtime()?.spawn(async move {
            let last = fill(&line, &expected, stream, &filled).await;
            filled.change(|state| {
                if let Err(error) = last {
                    state.batches.push_back(Err(error));
                }
                state.ended = true;
            });
        });
        Ok(Self { schema, queue, receiving: receiving.abort_handle() })
    }
}

async fn fill(line: &Line, expected: &SchemaRef, stream: Streaming<FlightData>, queue: &Queue) -> Result<()> {
    let mut decoder = FlightDataDecoder::new(stream.map_err(FlightError::from));
    let (mut rows, mut promised) = (0_u64, None);
    while let Some(next) = decoder.next().await {
        let data = next.map_err(|error| flight_error(line, error))?;
        match data.payload {
            DecodedPayload::RecordBatch(batch) => {
                rows += batch.num_rows() as u64;
                if batch.num_rows() > 0 {
                    push(queue, check(batch, expected)?).await;
                }
            }
            DecodedPayload::Schema(_) | DecodedPayload::None => {}
        }
        if !data.inner.app_metadata.is_empty() {
            let any = Any::decode(data.inner.app_metadata).map_err(|error| crate::call::malformed(&error))?;
            let end = EndOfPartition::from_any(&any).map_err(|error| crate::call::malformed(&error))?;
            promised = end.map(|end| end.rows);
        }
    }
    match promised {
        Some(sent) if sent == rows => Ok(()),
        Some(sent) => Err(io_error(format!("the driver at {} sent {sent} rows, {rows} arrived", line.address))),
        None => Err(io_error(format!("the rows from the driver at {} were cut after {rows}", line.address))),
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

async fn push(queue: &Queue, batch: RecordBatch) {
    let bytes = batch.get_array_memory_size();
    while queue.state().bytes > WAITING_BYTES {
        queue.room.notified().await;
    }
    queue.change(|state| {
        state.bytes += bytes;
        state.batches.push_back(Ok(batch));
    });
}

fn flight_error(line: &Line, error: FlightError) -> EngineError {
    match error {
        FlightError::Tonic(status) => line.error(&status),
        other => io_error(format!("the rows from the driver at {} are malformed: {other}", line.address)),
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.receiving.abort();
    }
}

impl BatchSource for Rows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn poll_next(&self, _partition: usize, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        let mut state = self.queue.state();
        if let Some(next) = state.batches.pop_front() {
            if let Ok(batch) = &next {
                state.bytes -= batch.get_array_memory_size();
            }
            drop(state);
            self.queue.room.notify_one();
            return Poll::Ready(Some(next));
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
