//! From where to where the keys of some rows go, so that the other side of a join reads no rows beyond them.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{cast, max, min};
use arrow::datatypes::{DataType, Int64Type};
use duckherder_engine::EngineError;
use duckherder_proto::task::KeyRange;

/// No value.
const NOTHING: KeyRange = KeyRange { least: i64::MAX, greatest: i64::MIN };

/// The least and the greatest value, as a number, of some columns of all rows so far.
#[derive(Clone)]
pub struct KeyRanges {
    columns: Vec<u32>,
    found: Vec<KeyRange>,
}

impl KeyRanges {
    /// Of columns of whole numbers, dates or timestamps, by their places.
    pub fn new(columns: Vec<u32>) -> Self {
        let found = vec![NOTHING; columns.len()];
        Self { columns, found }
    }

    /// # Errors
    /// There is no such column, or it has no numbers.
    pub fn add(&mut self, rows: &RecordBatch) -> Result<(), EngineError> {
        for (column, range) in self.columns.iter().zip(&mut self.found) {
            let missing = || EngineError::internal(format!("rows to shuffle have no column {column}"));
            let values = rows.columns().get(*column as usize).ok_or_else(missing)?;
            let numbers = cast(values, &DataType::Int64)?;
            let numbers = numbers.as_primitive::<Int64Type>();
            if numbers.null_count() > values.null_count() {
                return Err(EngineError::internal(format!("keys of the type {} have no range", values.data_type())));
            }
            if let (Some(least), Some(greatest)) = (min(numbers), max(numbers)) {
                *range = united(*range, KeyRange { least, greatest });
            }
        }
        Ok(())
    }

    /// In the order of the columns.
    pub fn found(self) -> Vec<KeyRange> {
        self.found
    }
}

/// The range that has both.
pub fn united(one: KeyRange, other: KeyRange) -> KeyRange {
    KeyRange { least: one.least.min(other.least), greatest: one.greatest.max(other.greatest) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use arrow::array::{ArrayRef, Date32Array, Int8Array, TimestampMicrosecondArray, UInt32Array};

    use super::*;

    fn ranges_of(columns: [ArrayRef; 4]) -> Vec<(i64, i64)> {
        let [a, b, c, d] = columns;
        let rows = RecordBatch::try_from_iter([("a", a), ("b", b), ("c", c), ("d", d)]).unwrap();
        let mut ranges = KeyRanges::new(vec![3, 1, 0, 2]);
        ranges.add(&rows).unwrap();
        ranges.add(&rows.slice(0, 1)).unwrap();
        ranges.found().into_iter().map(|range| (range.least, range.greatest)).collect()
    }

    #[test]
    fn every_type_has_its_least_and_greatest_value() {
        let found = ranges_of([
            Arc::new(Int8Array::from(vec![None, Some(-128), Some(127)])),
            Arc::new(UInt32Array::from(vec![u32::MAX, 0, 7])),
            Arc::new(Date32Array::from(vec![Some(-5), None, Some(i32::MAX)])),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(i64::MIN), Some(3), None])),
        ]);
        assert_eq!(found, [(i64::MIN, 3), (0, i64::from(u32::MAX)), (-128, 127), (-5, i64::from(i32::MAX))]);
    }

    #[test]
    fn nulls_have_no_range() {
        let nothing: ArrayRef = Arc::new(Int8Array::from(vec![None, None, None]));
        let found = ranges_of([Arc::clone(&nothing), Arc::clone(&nothing), Arc::clone(&nothing), nothing]);
        assert!(found.iter().all(|(least, greatest)| least > greatest));
    }
}
