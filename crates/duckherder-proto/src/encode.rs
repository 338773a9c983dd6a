//! Record batches as Flight messages, made on the thread that pulls them out of DuckDB.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::FlightData;

use crate::MAX_MESSAGE_BYTES;
use crate::any::Command;
use crate::task::{EndOfPartition, InputsHere};

/// Messages are cut to about this size: other Flight clients take no more than 4 MiB unless told otherwise.
const TARGET_MESSAGE_BYTES: usize = 3 << 20;

/// Encodes one stream: its schema, its batches, and the word on how many rows there were.
pub struct BatchEncoder {
    schema: SchemaRef,
    generator: IpcDataGenerator,
    tracker: DictionaryTracker,
    options: IpcWriteOptions,
    context: IpcWriteContext,
    rows: u64,
}

impl BatchEncoder {
    /// An encoder for batches of `schema`, and the stream's first message, which describes it.
    pub fn new(schema: SchemaRef) -> (Self, FlightData) {
        let mut encoder = Self {
            schema,
            generator: IpcDataGenerator::default(),
            tracker: DictionaryTracker::new(false),
            options: IpcWriteOptions::default(),
            context: IpcWriteContext::default(),
            rows: 0,
        };
        let first = encoder.generator.schema_to_bytes_with_dictionary_tracker(
            &encoder.schema,
            &mut encoder.tracker,
            &encoder.options,
        );
        (encoder, message(first))
    }

    /// Appends the messages of one batch to `out`: dictionaries first, large batches in slices.
    ///
    /// # Errors
    /// Arrow can't encode the batch, or one row alone is larger than a message may be.
    pub fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<FlightData>) -> Result<(), ArrowError> {
        slices(batch, TARGET_MESSAGE_BYTES)?.try_for_each(|slice| self.encode_slice(&slice, out))
    }

    /// One message, or several if it turns out to be large: a few rows may have most of the bytes.
    fn encode_slice(&mut self, batch: &RecordBatch, out: &mut Vec<FlightData>) -> Result<(), ArrowError> {
        let rows = batch.num_rows();
        let (dictionaries, data) = self.generator.encode(batch, &mut self.tracker, &self.options, &mut self.context)?;
        let bytes = data.arrow_data.len();
        if rows > 1 && bytes > 2 * TARGET_MESSAGE_BYTES {
            // These are not made again.
            out.extend(dictionaries.into_iter().map(message));
            let half = rows / 2;
            self.encode_slice(&batch.slice(0, half), out)?;
            return self.encode_slice(&batch.slice(half, rows - half), out);
        }
        if bytes + data.ipc_message.len() + 1024 > MAX_MESSAGE_BYTES {
            return Err(ArrowError::InvalidArgumentError(format!(
                "a row of {bytes} bytes is larger than the {MAX_MESSAGE_BYTES} bytes that a message may have"
            )));
        }
        out.extend(dictionaries.into_iter().map(message));
        out.push(message(data));
        self.rows += rows as u64;
        Ok(())
    }

    /// Appends the stream's last message to `out`: an empty batch that carries the count of all rows before it. Where
    /// there were none, its dictionaries go before it: other Flight clients want those of every column.
    ///
    /// # Errors
    /// Arrow can't encode an empty batch of this schema.
    pub fn finish(&mut self, out: &mut Vec<FlightData>) -> Result<(), ArrowError> {
        if self.rows == 0 {
            let empty = RecordBatch::new_empty(Arc::clone(&self.schema));
            let (dictionaries, _) =
                self.generator.encode(&empty, &mut self.tracker, &self.options, &mut self.context)?;
            out.extend(dictionaries.into_iter().map(message));
        }
        out.push(self.finish_after(self.rows)?);
        Ok(())
    }

    /// The same for a task, which took so much CPU time if it was measured.
    ///
    /// # Errors
    /// As for [`finish`](Self::finish).
    pub fn finish_task(&mut self, cpu: Option<Duration>, here: InputsHere) -> Result<FlightData, ArrowError> {
        let InputsHere { cached, from_storage } = here;
        self.finish_with(EndOfPartition { rows: self.rows, cpu_ns: cpu.map(nanoseconds), cached, from_storage })
    }

    /// The last message of a stream of `rows` rows, wherever they were encoded.
    pub(crate) fn finish_after(&mut self, rows: u64) -> Result<FlightData, ArrowError> {
        self.finish_with(EndOfPartition { rows, ..EndOfPartition::default() })
    }

    fn finish_with(&mut self, end: EndOfPartition) -> Result<FlightData, ArrowError> {
        let empty = RecordBatch::new_empty(Arc::clone(&self.schema));
        let (_, data) = self.generator.encode(&empty, &mut self.tracker, &self.options, &mut self.context)?;
        Ok(message(data).with_app_metadata(end.pack()))
    }
}

/// The schema alone, as `CreatePreparedStatement` and `GetTables` answer it: an encapsulated IPC message.
///
/// # Errors
/// Arrow can't encode the schema.
pub fn schema_bytes(schema: &Schema) -> Result<prost::bytes::Bytes, ArrowError> {
    let options = IpcWriteOptions::default();
    let message: arrow_flight::IpcMessage = arrow_flight::SchemaAsIpc::new(schema, &options).try_into()?;
    Ok(message.0)
}

/// A duration as it travels.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn message(data: EncodedData) -> FlightData {
    FlightData::new().with_data_header(data.ipc_message).with_data_body(data.arrow_data)
}

/// Slices of about so many bytes if the rows are alike. (Of a slice nobody knows what its lists have: they count whole.)
///
/// # Errors
/// Never of types that DuckDB sends.
pub(crate) fn slices(
    batch: &RecordBatch,
    bytes: usize,
) -> Result<impl Iterator<Item = RecordBatch> + use<'_>, ArrowError> {
    let rows = batch.num_rows();
    let count = slice_bytes(batch)?.div_ceil(bytes).clamp(1, rows.max(1));
    Ok((0..count).map(move |slice| {
        let (first, end) = (rows * slice / count, rows * (slice + 1) / count);
        batch.slice(first, end - first)
    }))
}

/// What the rows have of buffers that they may share.
///
/// # Errors
/// Never of types that DuckDB sends.
pub fn slice_bytes(batch: &RecordBatch) -> Result<usize, ArrowError> {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size()).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use arrow::array::{ArrayRef, Int64Array, ListArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{DataType, Field};
    use arrow::ipc::{MessageHeader, root_as_message};

    /// Readers of Go's Arrow take no batch before the dictionaries of all columns.
    #[test]
    fn a_stream_without_rows_has_its_dictionaries() {
        let letters = DataType::Dictionary(Box::new(DataType::UInt8), Box::new(DataType::Utf8));
        let fields = vec![Field::new("letter", letters, true), Field::new("number", DataType::Int64, true)];
        let (mut encoder, first) = BatchEncoder::new(Arc::new(Schema::new(fields)));
        let mut messages = vec![first];
        encoder.finish(&mut messages).unwrap();
        let header = |message: &FlightData| root_as_message(&message.data_header).unwrap().header_type();
        let headers: Vec<_> = messages.iter().map(header).collect();
        assert_eq!(headers, [MessageHeader::Schema, MessageHeader::DictionaryBatch, MessageHeader::RecordBatch]);
    }

    /// Lists count whole in each slice of a batch: rows went one by one.
    #[test]
    fn a_large_batch_of_lists_has_few_messages() {
        let field = Arc::new(Field::new("item", DataType::Int64, true));
        let values: ArrayRef = Arc::new(Int64Array::from(vec![7; 3 << 20]));
        let lists = ListArray::new(field, OffsetBuffer::from_lengths(vec![3; 1 << 20]), values, None);
        let batch = RecordBatch::try_from_iter([("c0", Arc::new(lists) as ArrayRef)]).unwrap();
        let (mut encoder, _) = BatchEncoder::new(batch.schema());
        let mut messages = Vec::new();
        encoder.encode(&batch, &mut messages).unwrap();
        assert!((9..=18).contains(&messages.len()), "{} messages", messages.len());
        assert_eq!(encoder.rows, 1 << 20);
    }

    /// The rows that have most of the bytes are apart.
    #[test]
    fn rows_of_different_sizes_are_sent_in_small_messages() {
        let lengths = (0..1000).map(|row| if row < 990 { 1 } else { 200_000 });
        let lengths: Vec<usize> = lengths.collect();
        let field = Arc::new(Field::new("item", DataType::Int64, true));
        let values: ArrayRef = Arc::new(Int64Array::from(vec![7; lengths.iter().sum()]));
        let lists = ListArray::new(field, OffsetBuffer::from_lengths(lengths), values, None);
        let batch = RecordBatch::try_from_iter([("c0", Arc::new(lists) as ArrayRef)]).unwrap();
        let (mut encoder, _) = BatchEncoder::new(batch.schema());
        let mut messages = Vec::new();
        encoder.encode(&batch, &mut messages).unwrap();
        assert!(messages.iter().all(|message| message.data_body.len() <= 2 * TARGET_MESSAGE_BYTES));
        assert_eq!(encoder.rows, 1000);
    }
}
