//! Which tasks of the next stage a row is for.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef, UInt64Type};
use duckherder_engine::EngineError;
use duckherder_proto::task::HeavyKey;

use super::{CollectedKeys, DivideBy, HashDivision, KeyFilter, KeyRanges};

/// Rows that a task gets before it is the next one's turn: each in a batch of its own would cost more to send.
const TURN_ROWS: usize = 1024;

/// Divides rows by the hash in their last column, which goes no further, or gives all of them to everyone.
///
/// | hash | goes to |
/// |---|---|
/// | of a key | the one task that has it |
/// | of a heavy key | each task in turn, or every task |
/// | NULL: the row meets no other | each task in turn |
/// | not in the filter, or NULL where there is one | no task |
pub struct RowSplitter {
    schema: SchemaRef,
    partitions: usize,
    /// Every row is for every partition: there is no hash.
    everywhere: bool,
    /// By hash.
    heavy: Vec<HeavyKey>,
    filter: Option<Arc<KeyFilter>>,
    /// The keys of all rows, as long as that is of use.
    collected: Option<KeyFilter>,
    ranges: KeyRanges,
    /// Rows that went to tasks in turn.
    dealt: usize,
}

/// The rows of a batch, divided.
#[derive(Default)]
pub struct Divided {
    /// The rows of each partition that has some.
    pub parts: Vec<(usize, RecordBatch)>,
    /// Rows that are in every partition.
    pub everywhere: usize,
    /// Rows that are in none.
    pub filtered: usize,
}

impl RowSplitter {
    /// For rows of `schema`, whose last column is a `UInt64` if they are divided by it.
    pub fn new(schema: &SchemaRef, partitions: usize, by: DivideBy) -> Self {
        let (schema, everywhere, division) = match by {
            DivideBy::Everywhere(collect_ranges) => {
                (Arc::clone(schema), true, HashDivision { collect_ranges, ..HashDivision::default() })
            }
            DivideBy::Hash(division) => {
                let fields = schema.fields();
                let kept = fields[..fields.len().saturating_sub(1)].to_vec();
                (Arc::new(Schema::new(kept)), false, division)
            }
        };
        let HashDivision { mut heavy, filter, collect_bits, collect_ranges } = division;
        heavy.sort_unstable_by_key(|key| key.hash);
        let collected = (collect_bits > 0).then(|| KeyFilter::new(collect_bits));
        let ranges = KeyRanges::new(collect_ranges);
        Self { schema, partitions, everywhere, heavy, filter, collected, ranges, dealt: 0 }
    }

    /// The columns of what comes out.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// What of the keys of all rows was to be collected, but for what is too much for a filter.
    pub fn collected(self) -> CollectedKeys {
        CollectedKeys { filter: self.collected, ranges: Some(self.ranges.found()) }
    }

    /// # Errors
    /// There is no hash column, a column has no range, or Arrow can't take rows of one.
    pub fn split(&mut self, batch: &RecordBatch) -> Result<Divided, EngineError> {
        self.ranges.add(batch)?;
        if self.everywhere {
            let parts = (0..self.partitions).map(|partition| (partition, batch.clone())).collect();
            return Ok(Divided { parts, everywhere: batch.num_rows(), filtered: 0 });
        }
        let columns = batch.columns();
        let (Some(hashes), kept) = (columns.last(), &columns[..columns.len().saturating_sub(1)]) else {
            return Err(EngineError::internal("rows to shuffle have no column"));
        };
        let hashes = hashes
            .as_primitive_opt::<UInt64Type>()
            .ok_or_else(|| EngineError::internal("the last column of rows to shuffle is no hash"))?;
        if let Some(keys) = &mut self.collected {
            hashes.iter().flatten().for_each(|hash| keys.insert(hash));
        }
        self.collected = self.collected.take().filter(KeyFilter::is_useful);
        let mut divided = Divided::default();
        for (partition, rows) in self.rows(hashes, &mut divided).into_iter().enumerate() {
            if rows.is_empty() {
                continue;
            }
            let count = rows.len();
            let rows = UInt32Array::from(rows);
            let columns = kept.iter().map(|column| take(column, &rows, None)).collect::<Result<Vec<_>, _>>()?;
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(count));
            divided.parts.push((partition, RecordBatch::try_new_with_options(self.schema(), columns, &options)?));
        }
        Ok(divided)
    }

    /// By partition: which rows it gets.
    fn rows(&mut self, hashes: &UInt64Array, divided: &mut Divided) -> Vec<Vec<u32>> {
        let count = self.partitions as u64;
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.partitions];
        if self.heavy.is_empty() && self.filter.is_none() && hashes.null_count() == 0 {
            for (row, hash) in hashes.values().iter().enumerate() {
                rows[(hash % count) as usize].push(row as u32);
            }
            return rows;
        }
        for (row, hash) in hashes.iter().enumerate() {
            if let Some(filter) = &self.filter
                && !hash.is_some_and(|hash| filter.may_have(hash))
            {
                divided.filtered += 1;
                continue;
            }
            let heavy = |hash| self.heavy.binary_search_by_key(&hash, |key| key.hash).ok().map(|at| self.heavy[at]);
            match hash.map(|hash| (hash, heavy(hash))) {
                Some((hash, None)) => rows[(hash % count) as usize].push(row as u32),
                Some((_, Some(HeavyKey { everywhere: true, .. }))) => {
                    divided.everywhere += 1;
                    rows.iter_mut().for_each(|rows| rows.push(row as u32));
                }
                Some((_, Some(_))) | None => {
                    rows[self.dealt / TURN_ROWS % self.partitions].push(row as u32);
                    self.dealt = self.dealt.wrapping_add(1);
                }
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::DataType::{Int64, UInt64};
    use arrow::datatypes::{Field, Int64Type};

    use super::*;

    /// The rows' numbers, by partition.
    fn split(splitter: &mut RowSplitter, hashes: Vec<Option<u64>>) -> (Vec<Vec<i64>>, usize) {
        let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(0..hashes.len() as i64));
        let hashes: ArrayRef = Arc::new(UInt64Array::from(hashes));
        let batch = RecordBatch::try_from_iter_with_nullable([("row", rows, false), ("hash", hashes, true)]).unwrap();
        let divided = splitter.split(&batch).unwrap();
        let mut found = vec![Vec::new(); splitter.partitions];
        for (partition, rows) in divided.parts {
            found[partition] = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        }
        (found, divided.everywhere)
    }

    fn splitter(heavy: Vec<HeavyKey>) -> RowSplitter {
        splitter_of(HashDivision { heavy, ..HashDivision::default() })
    }

    fn splitter_of(division: HashDivision) -> RowSplitter {
        let fields = vec![Field::new("row", Int64, false), Field::new("hash", UInt64, true)];
        RowSplitter::new(&Arc::new(Schema::new(fields)), 3, DivideBy::Hash(division))
    }

    #[test]
    fn what_is_broadcast_is_everywhere() {
        let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5));
        let batch = RecordBatch::try_from_iter([("row", rows)]).unwrap();
        let divided = RowSplitter::new(&batch.schema(), 3, DivideBy::Everywhere(Vec::new())).split(&batch).unwrap();
        assert_eq!(divided.everywhere, 5);
        assert_eq!(divided.parts, vec![(0, batch.clone()), (1, batch.clone()), (2, batch)]);
    }

    #[test]
    fn a_hash_has_one_partition() {
        let (parts, everywhere) = split(&mut splitter(Vec::new()), [3, 4, 5, 3, 5].map(Some).to_vec());
        assert_eq!((parts, everywhere), (vec![vec![0, 3], vec![1], vec![2, 4]], 0));
    }

    #[test]
    fn what_no_key_of_the_other_side_meets_goes_nowhere() {
        let mut other = splitter_of(HashDivision { collect_bits: 1 << 12, ..HashDivision::default() });
        split(&mut other, vec![Some(4), None, Some(1 << 40)]);
        let filter = other.collected().filter.map(Arc::new);
        let heavy = vec![HeavyKey { hash: 1 << 40, everywhere: true }];
        let mut filtered = splitter_of(HashDivision { heavy, filter, ..HashDivision::default() });
        let (parts, everywhere) = split(&mut filtered, vec![Some(4), None, Some(7 << 50), Some(1 << 40), Some(4)]);
        assert_eq!((parts, everywhere), (vec![vec![3], vec![0, 3, 4], vec![3]], 1));
    }

    #[test]
    fn heavy_rows_take_turns_or_are_everywhere() {
        let mut splitter =
            splitter(vec![HeavyKey { hash: 9, everywhere: false }, HeavyKey { hash: 6, everywhere: true }]);
        let (parts, everywhere) = split(&mut splitter, vec![Some(9), None, Some(6), Some(1), Some(6)]);
        assert_eq!((parts, everywhere), (vec![vec![0, 1, 2, 4], vec![2, 3, 4], vec![2, 4]], 2));
        // Turns go on from batch to batch, and after the last comes the first.
        let (parts, _) = split(&mut splitter, vec![Some(9); TURN_ROWS]);
        assert_eq!((parts[0].len(), parts[1].len(), parts[2].len()), (TURN_ROWS - 2, 2, 0));
        let (parts, _) = split(&mut splitter, vec![None; 2 * TURN_ROWS]);
        assert_eq!((parts[0].len(), parts[1].len(), parts[2].len()), (2, TURN_ROWS - 2, TURN_ROWS));
    }
}
