//! Small batches of a partition, put together: each batch costs something to hand over, to send and to read.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use duckherder_engine::EngineError;

/// A batch of so many bytes is not kept for company.
const WORTH_BYTES: usize = 64 << 10;

/// The rows that each partition has not been offered yet, at most [`WORTH_BYTES`] and one batch of them.
pub struct Collector {
    schema: SchemaRef,
    /// Whether Arrow can put batches of this schema together by copying.
    collects: bool,
    partitions: Vec<Collected>,
}

#[derive(Default)]
struct Collected {
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl Collector {
    pub fn new(schema: SchemaRef, partitions: usize) -> Self {
        let collects = schema.fields().iter().all(|field| is_plain(field.data_type()));
        let partitions = std::iter::repeat_with(Collected::default).take(partitions).collect();
        Self { schema, collects, partitions }
    }

    /// Takes rows of a partition; gives those that are worth a batch.
    ///
    /// # Errors
    /// Arrow can't put them together.
    pub fn add(&mut self, partition: usize, rows: RecordBatch) -> Result<Option<RecordBatch>, EngineError> {
        let collected = &mut self.partitions[partition];
        collected.bytes += rows.get_array_memory_size();
        collected.batches.push(rows);
        match collected.bytes >= WORTH_BYTES || !self.collects {
            true => self.take(partition),
            false => Ok(None),
        }
    }

    /// What is left of a partition.
    ///
    /// # Errors
    /// Arrow can't put it together.
    pub fn take(&mut self, partition: usize) -> Result<Option<RecordBatch>, EngineError> {
        let mut batches = std::mem::take(&mut self.partitions[partition]).batches;
        if batches.len() > 1 {
            return Ok(Some(concat_batches(&self.schema, &batches)?));
        }
        Ok(batches.pop())
    }
}

/// Neither a dictionary, whose keys may become too many, nor nested.
fn is_plain(data_type: &DataType) -> bool {
    data_type.is_primitive()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Binary
                | DataType::LargeBinary
                | DataType::FixedSizeBinary(_)
        )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, DictionaryArray, Int64Array};
    use arrow::datatypes::{Int32Type, Int64Type};

    use super::*;

    fn batch(rows: std::ops::Range<i64>) -> RecordBatch {
        RecordBatch::try_from_iter([("c0", Arc::new(Int64Array::from_iter_values(rows)) as ArrayRef)]).unwrap()
    }

    fn values(batch: &RecordBatch) -> Vec<i64> {
        batch.column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn small_batches_become_one_in_their_order() {
        let mut collector = Collector::new(batch(0..1).schema(), 2);
        assert!(collector.add(0, batch(0..10)).unwrap().is_none());
        assert!(collector.add(1, batch(50..60)).unwrap().is_none());
        let large = WORTH_BYTES as i64 / 8;
        let worth = collector.add(0, batch(10..large)).unwrap().unwrap();
        assert_eq!(values(&worth), (0..large).collect::<Vec<_>>());
        assert!(collector.take(0).unwrap().is_none());
        assert_eq!(values(&collector.take(1).unwrap().unwrap()), (50..60).collect::<Vec<_>>());
    }

    #[test]
    fn dictionaries_are_left_as_they_are() {
        let words: DictionaryArray<Int32Type> = ["a", "b"].into_iter().collect();
        let batch = RecordBatch::try_from_iter([("c0", Arc::new(words) as ArrayRef)]).unwrap();
        let mut collector = Collector::new(batch.schema(), 1);
        assert_eq!(collector.add(0, batch.clone()).unwrap(), Some(batch));
        assert!(collector.take(0).unwrap().is_none());
    }
}
