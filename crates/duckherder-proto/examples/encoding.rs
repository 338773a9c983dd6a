//! What Arrow's encoding costs: CPU time of a byte of BIGINT columns, encoded as tasks encode the rows that others fetch,
//! and decoded as these decode them. Prints nanoseconds: `encode 0.05 decode 0.03`. (`cargo xtask bench exchanges`)
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow_flight::FlightData;
use duckherder_proto::decode::BatchStream;
use duckherder_proto::encode::BatchEncoder;
use futures::executor::block_on;
use prost::Message;
use prost::bytes::Bytes;

/// Half of the rows of one of DuckDB's Arrow batches: what one of two tasks gets of it.
const ROWS: i64 = 16 * 1024;
const COLUMNS: usize = 4;
const BATCHES: usize = 2000;

/// CPU time of this thread.
fn cpu() -> Duration {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedule.split_whitespace().next().unwrap().parse().unwrap())
}

fn main() {
    let column = |number: i64| Arc::new(Int64Array::from_iter_values((0..ROWS).map(|row| row * number))) as ArrayRef;
    let columns = (0..COLUMNS).map(|number| (format!("c{number}"), column(number as i64 + 1)));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let (mut encoding, mut decoding) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..BATCHES / 20 {
        let (mut encoder, schema) = BatchEncoder::new(batch.schema());
        let mut messages = vec![schema];
        let before = cpu();
        for _ in 0..20 {
            encoder.encode(&batch, &mut messages).unwrap();
        }
        encoding += cpu() - before;
        encoder.finish(&mut messages).unwrap();
        // As they come out of a connection: somewhere in a larger piece of memory.
        let received = messages.into_iter().map(|message| {
            let mut bytes = vec![0; 5];
            message.encode(&mut bytes).unwrap();
            Ok(FlightData::decode(Bytes::from(bytes).slice(5..)).unwrap())
        });
        let received: Vec<_> = received.collect();
        let before = cpu();
        let mut stream = BatchStream::new(futures::stream::iter(received));
        while block_on(stream.next()).unwrap().is_some() {}
        decoding += cpu() - before;
    }
    let bytes = (BATCHES as i64 * ROWS * COLUMNS as i64 * 8) as f64;
    println!("encode {} decode {}", encoding.as_nanos() as f64 / bytes, decoding.as_nanos() as f64 / bytes);
}
