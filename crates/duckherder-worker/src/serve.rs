//! Rows of a task for one task of the next stage, as a Flight stream.

use std::future::poll_fn;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_flight::FlightData;
use duckherder_engine::EngineError;
use duckherder_proto::encode::BatchEncoder;
use duckherder_proto::task::ReadPartition;
use futures::stream::{self, Stream, TryStreamExt};
use tonic::Status;

use crate::error::WorkerError;
use crate::shuffle::{PartitionReader, Rows, ShuffleStore};

/// Streams a partition, once its task has begun; dropping the stream says that nobody wants the rest.
pub fn partition(
    store: Arc<ShuffleStore>,
    wanted: ReadPartition,
) -> impl Stream<Item = Result<FlightData, Status>> + Send + 'static {
    stream::once(async move {
        let reader = store.read(&wanted).await.map_err(WorkerError::from)?;
        let (encoder, schema) = BatchEncoder::new(reader.schema());
        let first = stream::iter([Ok(schema)]);
        Ok::<_, Status>(stream::StreamExt::chain(first, rows(reader, encoder)))
    })
    .try_flatten()
}

/// The rows; the disk is read on a thread that may block.
async fn load(rows: Rows) -> Result<RecordBatch, EngineError> {
    match rows {
        Rows::Memory(batch) => Ok(batch),
        Rows::Disk(_) => tokio::task::spawn_blocking(|| rows.load())
            .await
            .unwrap_or_else(|_| Err(EngineError::internal("reading rows back panicked"))),
    }
}

fn rows(reader: PartitionReader, encoder: BatchEncoder) -> impl Stream<Item = Result<FlightData, Status>> + Send {
    let messages = stream::try_unfold(Some((reader, encoder)), |state| async move {
        let Some((mut reader, mut encoder)) = state else { return Ok::<_, Status>(None) };
        let mut messages = Vec::new();
        let next = poll_fn(|cx| reader.poll_next(cx)).await.transpose().map_err(WorkerError::from)?;
        let state = match next {
            Some(rows) => {
                let batch = load(rows).await.map_err(WorkerError::from)?;
                encoder.encode(&batch, &mut messages).map_err(WorkerError::from)?;
                Some((reader, encoder))
            }
            None => {
                encoder.finish(&mut messages).map_err(WorkerError::from)?;
                None
            }
        };
        Ok(Some((stream::iter(messages.into_iter().map(Ok)), state)))
    });
    messages.try_flatten()
}
