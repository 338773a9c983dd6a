//! The rows of a split on their way from the driver into DuckDB.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{IpcMessage, Ticket};
use duckherder_engine::{BatchSource, EngineError};
use duckherder_proto::MAX_MESSAGE_BYTES;
use duckherder_proto::decode::{BatchStream, Received};
use duckherder_proto::error::ErrorDetail;
use duckherder_proto::task::TaskInput;
use tokio::sync::mpsc;
use tonic::transport::Channel;

use crate::error::Result;
use crate::service::Drivers;

/// Batches that may wait.
const QUEUE_BATCHES: usize = 4;

/// A split that arrives.
pub struct RemoteInput {
    schema: SchemaRef,
    batches: Mutex<mpsc::Receiver<Item>>,
}

enum Item {
    Batch(RecordBatch),
    End,
    Failed(EngineError),
}

impl RemoteInput {
    /// Asks the driver for the split; its rows come as DuckDB reads them.
    ///
    /// # Errors
    /// The schema or the location is malformed.
    pub fn open(input: &TaskInput, drivers: &Drivers, runtime: &tokio::runtime::Handle) -> Result<Arc<Self>> {
        let schema = arrow::datatypes::Schema::try_from(IpcMessage(input.schema.clone().into()))?;
        let schema: SchemaRef = Arc::new(schema);
        let channel = {
            let _inside = runtime.enter();
            drivers.channel(&input.location)?
        };
        let (sender, receiver) = mpsc::channel(QUEUE_BATCHES);
        let (ticket, location) = (Ticket::new(input.ticket.clone()), input.location.clone());
        let expected = Arc::clone(&schema);
        runtime.spawn(async move {
            let last = match receive(channel, ticket, &expected, &sender).await {
                Ok(()) => Item::End,
                Err(detail) => Item::Failed(name_driver(&location, detail)),
            };
            // Nobody reads any more if this fails.
            let _ = sender.send(last).await;
        });
        Ok(Arc::new(Self { schema, batches: Mutex::new(receiver) }))
    }
}

async fn receive(
    channel: Channel,
    ticket: Ticket,
    expected: &SchemaRef,
    sender: &mpsc::Sender<Item>,
) -> Result<(), ErrorDetail> {
    let mut client = FlightServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let answer = client.do_get(ticket).await.map_err(|status| ErrorDetail::from_status(&status))?;
    let mut stream = BatchStream::new(answer.into_inner());
    while let Some(received) = stream.next().await? {
        match received {
            Received::Schema(schema) => {
                let types = |schema: &SchemaRef| -> Vec<_> {
                    schema.fields().iter().map(|field| field.data_type().clone()).collect()
                };
                if types(&schema) != types(expected) {
                    return Err(ErrorDetail::new("IO", "a split has other columns than the driver announced"));
                }
            }
            Received::Batch(batch) => {
                if sender.send(Item::Batch(batch)).await.is_err() {
                    // The fragment has all that it wants.
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Names the driver in errors that are not the query's own.
fn name_driver(location: &str, detail: ErrorDetail) -> EngineError {
    let error = EngineError::from(detail);
    if error.exception_type != "IO" {
        return error;
    }
    EngineError::new("IO", format!("reading a split from the driver at {location}: {}", error.message))
}

impl BatchSource for RemoteInput {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn poll_next(&self, _partition: usize, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, EngineError>>> {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.poll_recv(cx).map(|item| match item {
            Some(Item::Batch(batch)) => Some(Ok(batch)),
            Some(Item::End) => None,
            Some(Item::Failed(error)) => Some(Err(error)),
            None => Some(Err(EngineError::new("IO", "the rows of a split ended without an end"))),
        })
    }
}
