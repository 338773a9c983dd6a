//! Flight messages as record batches, and the check that none of them is missing.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use arrow_flight::decode::{DecodedFlightData, DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use arrow_flight::sql::Any;
use futures::{StreamExt, TryStreamExt};
use prost::Message;

use crate::any::Command;
use crate::error::{ErrorDetail, PEER_LOST};
use crate::task::{EndOfPartition, InputsHere};

/// The rows of a task or a split, as [`BatchEncoder`](crate::encode::BatchEncoder) encodes them.
pub struct BatchStream {
    decoder: FlightDataDecoder,
    rows: u64,
    end: Option<EndOfPartition>,
}

/// What comes out of a [`BatchStream`].
pub enum Received {
    /// The columns; comes first.
    Schema(SchemaRef),
    /// Rows, never none, and the bytes that they came in. (Each array's own size counts the whole message, which all are
    /// slices of.)
    Batch(RecordBatch, u64),
}

impl BatchStream {
    pub fn new(messages: impl futures::Stream<Item = Result<FlightData, tonic::Status>> + Send + 'static) -> Self {
        let decoder = FlightDataDecoder::new(messages.map_err(FlightError::from));
        Self { decoder, rows: 0, end: None }
    }

    /// What comes next, `None` once all rows are there.
    ///
    /// # Errors
    /// The sender's; or the stream ended early, or had another number of rows than its end says.
    pub async fn next(&mut self) -> Result<Option<Received>, ErrorDetail> {
        while let Some(next) = self.decoder.next().await {
            let DecodedFlightData { inner, payload } = next.map_err(|error| self.failed(error))?;
            let end = end_of_partition(&inner.app_metadata)?;
            let received = match payload {
                DecodedPayload::Schema(schema) => Some(Received::Schema(schema)),
                DecodedPayload::RecordBatch(batch) if batch.num_rows() > 0 => {
                    self.rows += batch.num_rows() as u64;
                    Some(Received::Batch(batch, (inner.data_header.len() + inner.data_body.len()) as u64))
                }
                _ => None,
            };
            if let Some(end) = end {
                if end.rows != self.rows {
                    let message = format!("{} of {} rows arrived", self.rows, end.rows);
                    return Err(ErrorDetail::new("IO", message));
                }
                self.end = Some(end);
            }
            if received.is_some() {
                return Ok(received);
            }
        }
        match self.end {
            Some(_) => Ok(None),
            None => Err(ErrorDetail::new(PEER_LOST, format!("the stream was cut after {} rows", self.rows))),
        }
    }

    /// The CPU time of a task that is analyzed, once all rows are there.
    pub fn cpu(&self) -> Option<Duration> {
        self.end.as_ref()?.cpu_ns.map(Duration::from_nanos)
    }

    /// Which of a task's inputs were there, once all rows are.
    pub fn inputs_here(&self) -> InputsHere {
        let here = |end: &EndOfPartition| InputsHere { cached: end.cached, from_storage: end.from_storage };
        self.end.as_ref().map_or_else(InputsHere::default, here)
    }

    fn failed(&self, error: FlightError) -> ErrorDetail {
        match error {
            FlightError::Tonic(status) => ErrorDetail::from_status(&status),
            other => ErrorDetail::new("IO", format!("the stream broke after {} rows: {other}", self.rows)),
        }
    }
}

fn end_of_partition(app_metadata: &[u8]) -> Result<Option<EndOfPartition>, ErrorDetail> {
    if app_metadata.is_empty() {
        return Ok(None);
    }
    Any::decode(app_metadata)
        .and_then(|any| EndOfPartition::from_any(&any))
        .map_err(|error| ErrorDetail::new("IO", format!("the stream carries broken metadata: {error}")))
}
