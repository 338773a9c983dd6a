//! Record batches as gRPC messages whose bytes stay where they are.
//!
//! ```text
//!   [ 5 bytes: length ] [ FlightData up to its body ] [ buffer ] [ buffer ] ...
//!     '---------- made here, one piece ----------'      '-- the arrays' own --'
//! ```

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamEncoder;
use arrow_flight::FlightData;
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::MAX_MESSAGE_BYTES;
use crate::encode::{BatchEncoder, slices};

/// The field of a `FlightData` that has the body; it comes last.
const BODY_FIELD: u32 = 1000;
/// What comes before each Arrow message in a stream: a marker and the length of its head.
const IPC_PREFIX_BYTES: usize = 8;
/// Before each gRPC message: whether it is compressed, and its length.
const GRPC_PREFIX_BYTES: usize = 5;
/// Buffers up to this size are copied: a piece of its own costs more.
const SMALL_BYTES: usize = 1 << 10;
/// Larger batches are cut.
const LARGE_BYTES: usize = 16 << 20;

/// Encodes one stream, as [`BatchEncoder`] does.
pub struct SegmentEncoder {
    plain: BatchEncoder,
    /// None if a column has a dictionary, which would be a message of its own.
    segments: Option<StreamEncoder>,
    rows: u64,
}

impl SegmentEncoder {
    /// An encoder for batches of `schema`, and the stream's first message, which describes it.
    ///
    /// # Errors
    /// Arrow can't encode batches of this schema.
    pub fn new(schema: SchemaRef) -> Result<(Self, FlightData), ArrowError> {
        let (plain, first) = BatchEncoder::new(SchemaRef::clone(&schema));
        let segments = match schema.fields().iter().any(|field| has_dictionary(field)) {
            true => None,
            false => {
                let mut encoder = StreamEncoder::try_new(&schema)?;
                // What it makes first has the schema, too.
                encoder.encode(&RecordBatch::new_empty(schema))?;
                Some(encoder)
            }
        };
        Ok((Self { plain, segments, rows: 0 }, first))
    }

    /// The messages of one batch, in pieces.
    ///
    /// # Errors
    /// Arrow can't encode the batch, or one row alone is larger than a message may be.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<Bytes>, ArrowError> {
        self.rows += batch.num_rows() as u64;
        if self.segments.is_none() {
            let mut messages = Vec::new();
            self.plain.encode(batch, &mut messages)?;
            return Ok(messages.into_iter().flat_map(message).collect());
        }
        let mut pieces = Vec::new();
        for slice in slices(batch, LARGE_BYTES)? {
            self.encode_slice(&slice, &mut pieces)?;
        }
        Ok(pieces)
    }

    /// One message, or several if it turns out to be large.
    fn encode_slice(&mut self, batch: &RecordBatch, out: &mut Vec<Bytes>) -> Result<(), ArrowError> {
        let Some(encoder) = &mut self.segments else { return Ok(()) };
        let rows = batch.num_rows();
        let pieces = encoder.encode(batch)?;
        if rows > 1 && pieces.iter().map(|piece| piece.as_slice().len()).sum::<usize>() > 2 * LARGE_BYTES {
            let half = rows / 2;
            self.encode_slice(&batch.slice(0, half), out)?;
            return self.encode_slice(&batch.slice(half, rows - half), out);
        }
        out.extend(in_pieces(pieces)?);
        Ok(())
    }

    /// The stream's last message, which carries the count of all rows.
    ///
    /// # Errors
    /// Arrow can't encode an empty batch of this schema.
    pub fn finish(&mut self) -> Result<Vec<Bytes>, ArrowError> {
        self.plain.finish_after(self.rows).map(message)
    }
}

fn has_dictionary(field: &Field) -> bool {
    match field.data_type() {
        DataType::Dictionary(..) => true,
        DataType::List(child)
        | DataType::LargeList(child)
        | DataType::ListView(child)
        | DataType::LargeListView(child)
        | DataType::FixedSizeList(child, _)
        | DataType::Map(child, _) => has_dictionary(child),
        DataType::Struct(children) => children.iter().any(|child| has_dictionary(child)),
        DataType::Union(children, _) => children.iter().any(|(_, child)| has_dictionary(child)),
        DataType::RunEndEncoded(_, values) => has_dictionary(values),
        _ => false,
    }
}

/// A message as it is sent, its body not copied.
pub fn message(data: FlightData) -> Vec<Bytes> {
    let body = data.data_body.clone();
    let head = FlightData { data_body: Bytes::new(), ..data };
    let first = head_of(&head, body.len());
    if body.is_empty() { vec![first] } else { vec![first, body] }
}

/// Everything of a message up to a body of `body_bytes`.
fn head_of(head: &FlightData, body_bytes: usize) -> Bytes {
    let body_head = match body_bytes {
        0 => 0,
        bytes => key_len(BODY_FIELD) + encoded_len_varint(bytes as u64),
    };
    let length = head.encoded_len() + body_head + body_bytes;
    let mut first = BytesMut::with_capacity(GRPC_PREFIX_BYTES + length - body_bytes);
    first.put_u8(0);
    // A message has at most MAX_MESSAGE_BYTES.
    first.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    head.encode_raw(&mut first);
    if body_bytes > 0 {
        encode_key(BODY_FIELD, WireType::LengthDelimited, &mut first);
        encode_varint(body_bytes as u64, &mut first);
    }
    first.freeze()
}

/// One Arrow message, in the pieces that Arrow gives it in, as a Flight message.
fn in_pieces(pieces: Vec<Buffer>) -> Result<Vec<Bytes>, ArrowError> {
    let broken = || ArrowError::IpcError("an Arrow message begins otherwise than expected".to_string());
    let mut pieces = pieces.into_iter();
    let mut head = Vec::new();
    let mut head_bytes = None;
    while head_bytes.is_none_or(|bytes| head.len() < IPC_PREFIX_BYTES + bytes) {
        head.extend_from_slice(pieces.next().ok_or_else(broken)?.as_slice());
        if let Some(length) = head.get(4..IPC_PREFIX_BYTES) {
            let length = length.try_into().map_err(|_| broken())?;
            head_bytes = Some(u32::from_le_bytes(length) as usize);
        }
    }
    if head_bytes != Some(head.len() - IPC_PREFIX_BYTES) {
        return Err(broken());
    }
    let body: Vec<Buffer> = pieces.filter(|piece| !piece.is_empty()).collect();
    let body_bytes: usize = body.iter().map(Buffer::len).sum();
    if body_bytes + head.len() + 1024 > MAX_MESSAGE_BYTES {
        return Err(ArrowError::InvalidArgumentError(format!(
            "a row of {body_bytes} bytes is larger than the {MAX_MESSAGE_BYTES} bytes that a message may have"
        )));
    }
    let header = Bytes::from(head).slice(IPC_PREFIX_BYTES..);
    let first = head_of(&FlightData::new().with_data_header(header), body_bytes);
    let mut out = Vec::with_capacity(body.len() + 1);
    let mut small = BytesMut::from(first.as_ref());
    for piece in body {
        if piece.len() <= SMALL_BYTES {
            small.extend_from_slice(piece.as_slice());
            continue;
        }
        if !small.is_empty() {
            out.push(small.split().freeze());
        }
        out.push(Bytes::from_owner(piece));
    }
    if !small.is_empty() {
        out.push(small.freeze());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BooleanArray, DictionaryArray, Int64Array, ListArray, StringArray};
    use arrow::datatypes::{Int32Type, Schema};
    use futures::{StreamExt, TryStreamExt, executor::block_on};

    use super::*;
    use crate::decode::{BatchStream, Received};

    fn batches(with_dictionary: bool) -> Vec<RecordBatch> {
        let numbers = Int64Array::from_iter((0..5000).map(|number| (number % 7 != 0).then_some(number)));
        let texts = StringArray::from_iter((0..5000).map(|number| (number % 5 != 0).then(|| "x".repeat(number % 50))));
        let flags = BooleanArray::from_iter((0..5000).map(|number| Some(number % 3 == 0)));
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>((0..5000).map(|n| Some(vec![Some(n), None])));
        let moods =
            DictionaryArray::<Int32Type>::from_iter((0..5000).map(|n| Some(if n % 2 == 0 { "a" } else { "b" })));
        let mut columns: Vec<(&str, ArrayRef, bool)> = vec![
            ("n", Arc::new(numbers), true),
            ("t", Arc::new(texts), true),
            ("f", Arc::new(flags), true),
            ("l", Arc::new(lists), true),
        ];
        if with_dictionary {
            columns.push(("m", Arc::new(moods), true));
        }
        let whole = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        vec![whole.slice(0, 1), whole.slice(3, 0), whole.slice(13, 1000), whole]
    }

    /// As gRPC cuts a stream of bytes into messages.
    fn received(pieces: Vec<Bytes>) -> Vec<FlightData> {
        let mut bytes = Bytes::from(pieces.concat());
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
            messages.push(FlightData::decode(bytes.slice(5..5 + length)).unwrap());
            bytes = bytes.slice(5 + length..);
        }
        messages
    }

    #[test]
    fn what_is_sent_in_pieces_arrives_whole() {
        for with_dictionary in [false, true] {
            let sent = batches(with_dictionary);
            let (mut encoder, first) = SegmentEncoder::new(sent[0].schema()).unwrap();
            let mut pieces = message(first);
            for batch in &sent {
                pieces.extend(encoder.encode(batch).unwrap());
            }
            pieces.extend(encoder.finish().unwrap());
            let messages = futures::stream::iter(received(pieces)).map(Ok);
            let mut stream = BatchStream::new(messages.into_stream());
            let mut arrived = Vec::new();
            while let Some(next) = block_on(stream.next()).unwrap() {
                match next {
                    Received::Schema(schema) => assert_eq!(&schema, sent[0].schema_ref()),
                    Received::Batch(batch, _) => arrived.push(batch),
                }
            }
            let sent: Vec<_> = sent.into_iter().filter(|batch| batch.num_rows() > 0).collect();
            assert_eq!(arrived, sent, "with_dictionary {with_dictionary}");
        }
    }

    #[test]
    fn a_stream_without_columns_has_rows() {
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(3));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        let (mut encoder, _) = SegmentEncoder::new(batch.schema()).unwrap();
        let messages = received(encoder.encode(&batch).unwrap());
        assert_eq!(messages.len(), 1);
        assert!(messages[0].data_body.is_empty());
    }
}
