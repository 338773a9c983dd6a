//! Rows on their way from other processes, or other tasks of this one, into DuckDB.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::Any;
use arrow_flight::{IpcMessage, Ticket};
use duckherder_engine::{BatchSource, EngineError};
use duckherder_proto::MAX_MESSAGE_BYTES;
use duckherder_proto::any::Command;
use duckherder_proto::decode::{BatchStream, Received};
use duckherder_proto::error::{ErrorDetail, PEER_LOST};
use duckherder_proto::task::{InputSource, ReadPartition, ReadStored, StoredGroup, TaskInput};
use futures::FutureExt;
use futures::future::BoxFuture;
use prost::Message;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::cache::ROW_ID;
use crate::error::{Result, WorkerError};
use crate::fan_in::FanIn;
use crate::peers::Peers;
use crate::shuffle::{PartitionReader, Rows, ShuffleStore};
use crate::task::Place;

/// Batches of one source that may wait: what comes after them waits where it was made.
const QUEUE_BATCHES: usize = 1;

/// A relation that arrives from several sources at once. One source keeps its order; the rows of several have none.
pub struct Input {
    schema: SchemaRef,
    /// What is expected of all sources together.
    rows: Option<u64>,
    /// What has come of that.
    given: AtomicU64,
    sources: Vec<Mutex<Source>>,
    fan_in: Arc<FanIn>,
    /// Whose turn it is: a source that always has something must not keep the others waiting.
    next: AtomicUsize,
}

/// Where a part of the rows comes from.
pub enum Source {
    /// Another process.
    Remote(mpsc::Receiver<Item>),
    /// A task of this process that may not have begun.
    Waiting(BoxFuture<'static, Result<PartitionReader, EngineError>>),
    Local(PartitionReader),
    Failed(EngineError),
    /// All rows were read: nobody waits for more.
    Ended,
}

pub enum Item {
    Batch(RecordBatch),
    End,
    Failed(EngineError),
}

impl Input {
    /// `rows`: how many are expected.
    pub fn new(schema: SchemaRef, rows: Option<u64>, sources: Vec<Source>) -> Arc<Self> {
        let sources = sources.into_iter().map(Mutex::new).collect();
        Arc::new(Self {
            schema,
            rows,
            given: AtomicU64::new(0),
            sources,
            fan_in: Arc::default(),
            next: AtomicUsize::new(0),
        })
    }

    /// Asks all sources of a task's input for their rows, which come as DuckDB reads them.
    ///
    /// # Errors
    /// The schema or a location is malformed.
    pub(crate) fn open(input: &TaskInput, place: &Place, runtime: &Handle) -> Result<Arc<Self>> {
        let schema: SchemaRef = Arc::new(Schema::try_from(IpcMessage(input.schema.clone().into()))?);
        let source = |source: &InputSource| match source.location.is_empty() {
            true => Ok(Source::local(&place.store, &own_partition(&source.ticket)?)),
            false => Source::remote(source, &schema, &place.peers, runtime),
        };
        let sources = input.sources.iter().map(source).collect::<Result<Vec<_>>>()?;
        Ok(Self::new(Arc::clone(&schema), input.rows, sources))
    }
}

impl Input {
    /// Asks the driver for some row groups of an input, as the query's snapshot has them: [`ROW_ID`], and its columns.
    ///
    /// # Errors
    /// The schema or the location is malformed, or the input is none of a table.
    pub(crate) fn open_rest(
        input: &TaskInput,
        groups: &[StoredGroup],
        query_id: u64,
        place: &Place,
        runtime: &Handle,
    ) -> Result<Arc<Self>> {
        let all = Schema::try_from(IpcMessage(input.schema.clone().into()))?;
        let (Some(stored), Some(source)) = (input.stored.first(), input.sources.first()) else {
            return Err(WorkerError::Invalid(format!("{} has no rows that could be missing", input.name)));
        };
        let columns: Vec<u32> = stored.columns.iter().map(|column| column.number).collect();
        let names = stored.columns.iter().map(|column| column.name.clone());
        let named = all.fields().iter().zip(names).map(|(field, name)| field.as_ref().clone().with_name(name));
        let fields: Vec<Field> =
            std::iter::once(Field::new(ROW_ID.trim_matches('"'), DataType::Int64, true)).chain(named).collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let read = ReadStored { table: stored.table.clone(), columns, groups: groups.to_vec(), query_id };
        let source = InputSource { location: source.location.clone(), ticket: read.pack().to_vec() };
        let rows = groups.iter().map(|group| group.visible).sum();
        let source = Source::remote(&source, &schema, &place.peers, runtime)?;
        Ok(Self::new(schema, Some(rows), vec![source]))
    }
}

/// The partition of a task of this process that a source names.
fn own_partition(ticket: &[u8]) -> Result<ReadPartition> {
    let malformed = |error| WorkerError::Invalid(format!("malformed ticket of an input: {error}"));
    let any = Any::decode(ticket).map_err(malformed)?;
    let wanted = ReadPartition::from_any(&any).map_err(malformed)?;
    wanted
        .ok_or_else(|| WorkerError::Invalid(format!("an input is {}, which no task of this worker has", any.type_url)))
}

impl Source {
    /// Asks another process for rows of `schema`.
    ///
    /// # Errors
    /// The location is malformed.
    pub fn remote(source: &InputSource, schema: &SchemaRef, peers: &Peers, runtime: &Handle) -> Result<Self> {
        let channel = {
            let _inside = runtime.enter();
            peers.channel(&source.location)?
        };
        let (sender, receiver) = mpsc::channel(QUEUE_BATCHES);
        let (ticket, location) = (Ticket::new(source.ticket.clone()), source.location.clone());
        let expected = Arc::clone(schema);
        let look_after = peers.look_after(&location);
        runtime.spawn(async move {
            let client = FlightServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
            let received = tokio::select! {
                received = receive(client, ticket, &expected, &sender) => received,
                // Nobody reads any more: the call is dropped, which the other side sees.
                () = sender.closed() => return,
            };
            let last = match received {
                Ok(()) => Item::End,
                Err(detail) => {
                    if detail.exception_type == PEER_LOST {
                        look_after.await;
                    }
                    Item::Failed(name_peer(&location, detail))
                }
            };
            // Nobody reads any more if this fails.
            let _ = sender.send(last).await;
        });
        Ok(Self::Remote(receiver))
    }

    /// The rows of a task of this process.
    pub fn local(store: &Arc<ShuffleStore>, wanted: &ReadPartition) -> Self {
        Self::Waiting(store.read(wanted).boxed())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Rows, EngineError>>> {
        loop {
            let polled = match self {
                Self::Remote(batches) => batches.poll_recv(cx).map(|item| match item {
                    Some(Item::Batch(batch)) => Some(Ok(Rows::Memory(batch))),
                    Some(Item::End) => None,
                    Some(Item::Failed(error)) => Some(Err(error)),
                    None => Some(Err(EngineError::lost("the rows of an input ended without an end"))),
                }),
                Self::Waiting(reader) => match reader.poll_unpin(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(found) => {
                        *self = found.map_or_else(Self::Failed, Self::Local);
                        continue;
                    }
                },
                Self::Local(reader) => reader.poll_next(cx),
                Self::Failed(error) => Poll::Ready(Some(Err(error.clone()))),
                Self::Ended => Poll::Ready(None),
            };
            if let Poll::Ready(None) = polled {
                *self = Self::Ended;
            }
            return polled;
        }
    }
}

async fn receive(
    mut client: FlightServiceClient<tonic::transport::Channel>,
    ticket: Ticket,
    expected: &SchemaRef,
    sender: &mpsc::Sender<Item>,
) -> Result<(), ErrorDetail> {
    let answer = client.do_get(ticket).await.map_err(|status| ErrorDetail::from_status(&status))?;
    let mut stream = BatchStream::new(answer.into_inner());
    while let Some(received) = stream.next().await? {
        match received {
            Received::Schema(schema) => {
                let types = |schema: &SchemaRef| -> Vec<_> {
                    schema.fields().iter().map(|field| field.data_type().clone()).collect()
                };
                if types(&schema) != types(expected) {
                    return Err(ErrorDetail::new("IO", "an input has other columns than the driver announced"));
                }
            }
            Received::Batch(batch, _) => {
                if sender.send(Item::Batch(batch)).await.is_err() {
                    // The fragment has all that it wants.
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Names the other side in errors that are not the query's own.
fn name_peer(location: &str, detail: ErrorDetail) -> EngineError {
    let error = EngineError::from(detail);
    match error.exception_type.as_str() {
        // Somebody else's task that nobody needs any more is stopped with its readers: this one's process ends.
        "INTERRUPT" => EngineError::lost(format!("reading rows from {location}: its task was stopped")),
        _ if error.is_lost() => EngineError::lost(format!("reading rows from {location}: {}", error.message)),
        "IO" => EngineError::new("IO", format!("reading rows from {location}: {}", error.message)),
        _ => error,
    }
}

impl BatchSource for Input {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn partitions(&self) -> usize {
        self.sources.len()
    }

    fn estimated_rows(&self) -> Option<u64> {
        self.rows
    }

    /// Every partition is a reader of all sources.
    fn poll_next(&self, _partition: usize, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, EngineError>>> {
        // What is on disk is read when no source is locked any more.
        let polled = self.poll_sources(cx).map(|found| found.map(|rows| rows.and_then(Rows::load)));
        if let Poll::Ready(Some(Ok(batch))) = &polled {
            self.given.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        }
        polled
    }

    fn progress(&self) -> Option<f64> {
        let given = self.given.load(Ordering::Relaxed);
        self.rows.map(|rows| (given as f64 / rows.max(1) as f64).min(1.0))
    }
}

impl Input {
    fn poll_sources(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Rows, EngineError>>> {
        let count = self.sources.len();
        self.fan_in.poll(cx, |shared| {
            let mut ended = 0;
            let first = self.next.fetch_add(1, Ordering::Relaxed);
            for offset in 0..count {
                let mut source =
                    self.sources[first.wrapping_add(offset) % count].lock().unwrap_or_else(PoisonError::into_inner);
                if matches!(*source, Source::Ended) {
                    ended += 1;
                    continue;
                }
                match source.poll_next(shared) {
                    Poll::Ready(Some(found)) => return Poll::Ready(Some(found)),
                    Poll::Ready(None) => {
                        drop(source);
                        ended += 1;
                        self.fan_in.source_ended();
                    }
                    Poll::Pending => {}
                }
            }
            if ended == count { Poll::Ready(None) } else { Poll::Pending }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::shuffle::{Partitions, Room, TaskKey};
    use arrow::array::{ArrayRef, Int64Array};

    const TASK: TaskKey = TaskKey { query: 7, stage: 0, task: 0 };
    const WANTED: ReadPartition = ReadPartition { query_id: 7, stage: 0, task: 0, partition: 0 };

    /// More rows than may wait.
    fn fill(partitions: &Partitions, batch: &RecordBatch) {
        for _ in 0..100 {
            partitions.push(0, batch.clone()).unwrap();
        }
        partitions.end(0, None).unwrap();
        partitions.wait_until_read().unwrap();
    }

    /// A join whose other side is empty ends before it has looked at all of its sources.
    #[test]
    fn a_partition_that_nobody_asks_for_holds_nobody_up() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1; 1 << 16]));
        let batch = RecordBatch::try_from_iter([("c0", column)]).unwrap();
        for asked in [false, true] {
            for begun_before in [false, true] {
                let store = Arc::new(ShuffleStore::default());
                let room = Arc::new(Room::new(16 << 20, Some(std::env::temp_dir())));
                let offer = || store.offer(TASK, Partitions::new(batch.schema(), 1, Arc::clone(&room))).unwrap();
                let before = begun_before.then(offer);
                let mut source = Source::local(&store, &WANTED);
                if asked {
                    let _ = source.poll_next(&mut Context::from_waker(std::task::Waker::noop()));
                }
                drop(source);
                fill(&before.unwrap_or_else(offer).partitions, &batch);
            }
        }
    }
}
