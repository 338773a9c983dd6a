//! A task's input: rows of a split on their way from the driver into DuckDB.

use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{IpcMessage, Ticket};
use duckherder_engine::{BatchSource, EngineError};
use duckherder_proto::MAX_MESSAGE_BYTES;
use duckherder_proto::decode::{BatchStream, Received};
use duckherder_proto::error::ErrorDetail;
use duckherder_proto::task::TaskInput;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tonic::transport::{Channel, Endpoint};

use crate::error::{Result, WorkerError};
use crate::server::{CONNECTION_WINDOW_BYTES, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, STREAM_WINDOW_BYTES};

/// Batches (of about 3 MiB) that may wait for DuckDB.
const QUEUED_BATCHES: usize = 8;
/// How long the driver may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The rows of one input; read once.
pub struct SplitInput {
    schema: SchemaRef,
    arriving: Mutex<Arriving>,
}

struct Arriving {
    events: mpsc::Receiver<Event>,
    ended: bool,
}

enum Event {
    Batch(RecordBatch),
    Failed(ErrorDetail),
    /// All rows were there, and their number was right.
    End,
}

impl SplitInput {
    /// Starts to fetch an input, inside the runtime. Aborting the handle fails the statement that reads it.
    ///
    /// # Errors
    /// The description is malformed.
    pub fn fetch(input: TaskInput) -> Result<(Self, AbortHandle)> {
        let schema = Schema::try_from(IpcMessage(input.schema.clone().into()))?;
        let endpoint = endpoint(&input.location)?;
        let (sender, events) = mpsc::channel(QUEUED_BATCHES);
        let feeder = tokio::spawn(async move {
            let last = match feed(endpoint, input, &sender).await {
                Ok(()) => Event::End,
                Err(detail) => Event::Failed(detail),
            };
            // A reader that is gone needs no last word.
            let _ = sender.send(last).await;
        });
        let arriving = Mutex::new(Arriving { events, ended: false });
        Ok((Self { schema: schema.into(), arriving }, feeder.abort_handle()))
    }
}

fn endpoint(location: &str) -> Result<Endpoint> {
    let endpoint = location
        .strip_prefix("grpc://")
        .and_then(|authority| Endpoint::from_shared(format!("http://{authority}")).ok())
        .ok_or_else(|| WorkerError::Malformed(format!("location '{location}' is not of the form grpc://host:port")))?;
    Ok(endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT))
}

async fn feed(
    endpoint: Endpoint,
    input: TaskInput,
    sender: &mpsc::Sender<Event>,
) -> std::result::Result<(), ErrorDetail> {
    let unreachable = |error: tonic::transport::Error| {
        ErrorDetail::new("IO", format!("cannot fetch {} from the driver at {}: {error}", input.name, input.location))
    };
    let channel: Channel = endpoint.connect().await.map_err(unreachable)?;
    let mut client = FlightServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let answer =
        client.do_get(Ticket::new(input.ticket)).await.map_err(|status| ErrorDetail::from_status(&status))?;
    let mut stream = BatchStream::new(answer.into_inner());
    while let Some(received) = stream.next().await? {
        if let Received::Batch(batch) = received
            && sender.send(Event::Batch(batch)).await.is_err()
        {
            break;
        }
    }
    Ok(())
}

impl BatchSource for SplitInput {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn poll_next(
        &self,
        _partition: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<RecordBatch, EngineError>>> {
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        if arriving.ended {
            return Poll::Ready(None);
        }
        let event = ready!(arriving.events.poll_recv(cx));
        arriving.ended = !matches!(event, Some(Event::Batch(_)));
        Poll::Ready(match event {
            Some(Event::Batch(batch)) => Some(Ok(batch)),
            Some(Event::Failed(detail)) => Some(Err(detail.into())),
            Some(Event::End) => None,
            None => Some(Err(EngineError::interrupted())),
        })
    }
}
