//! Which keys of a shuffled join are heavy: found in a sample of its sides before their rows move.
//!
//! The first task that moves rows to the join takes the sample; all tasks of both sides then have the same keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use duckherder_engine::distribute::FragmentInput;
use duckherder_engine::{Connection, EngineError};
use duckherder_planner::plan::JoinKind;
use duckherder_planner::skew::{self, Sample, heavy_keys, sampled_sides};
use duckherder_planner::{Exchange, RowGroup, Split, Stage};
use duckherder_proto::task::HeavyKey;

use super::exchange::{Run, Stop, TaskId};
use super::local::{UNORDERED, may_run};
use super::stages::RunningStage;
use crate::sync::lock;

/// Tables with fewer rows are not worth a sample.
const LEAST_ROWS: u64 = 100_000;
/// Rows to take at least, of which a filter may leave fewer.
const SAMPLE_ROWS: u64 = 16_384;
/// Rows in a piece. One row of a hundred here and there would need all the values of the columns that are filtered.
const BLOCK_ROWS: u64 = 256;
/// What a sample has at most: where a row becomes many, the first of them say enough.
const MOST_ROWS: u64 = 16 * SAMPLE_ROWS;

/// A stage as a side of the join that its rows are shuffled for.
pub struct JoinSide {
    kind: JoinKind,
    /// The join's operator.
    consumer: u64,
    /// 0: the left one.
    side: usize,
    sampled: Option<SampleSplits>,
}

/// The splits that a task reads which takes a sample.
struct SampleSplits {
    splits: Vec<Split>,
    /// Every second piece of these.
    half: Vec<Split>,
    one_of: u64,
}

impl JoinSide {
    /// `None` for a stage whose rows go elsewhere. `row_groups`: of each scan's table.
    pub fn of(stage: &Stage, inputs: &[FragmentInput], row_groups: &[Vec<RowGroup>]) -> Option<Self> {
        let (Exchange::Hash { consumer, side }, Some(kind)) = (stage.exchange, stage.join) else { return None };
        let (side, sampled) = (side as usize, sample_splits(stage, inputs, row_groups));
        Some(Self { kind, consumer, side, sampled })
    }
}

/// `None` where a sample would cost more than the table's row ids: other rows would have to move first, or more be read.
fn sample_splits(stage: &Stage, inputs: &[FragmentInput], row_groups: &[Vec<RowGroup>]) -> Option<SampleSplits> {
    let (mut divided, mut whole) = (0, 0);
    let mut parts = Vec::new();
    for input in inputs {
        let FragmentInput::Split { scan } = input else { return None };
        let rows: u64 = row_groups.get(*scan)?.iter().map(|group| group.rows).sum();
        let is_whole = stage.scans.iter().any(|planned| planned.scan == *scan && planned.whole);
        *(if is_whole { &mut whole } else { &mut divided }) += rows;
        parts.push(is_whole);
    }
    if divided < LEAST_ROWS || whole > divided {
        return None;
    }
    let every = block_distance(divided);
    let pieces = |every: u64| {
        let part = |is_whole: &bool| if *is_whole { Split::WHOLE } else { Split::Blocks { every, rows: BLOCK_ROWS } };
        parts.iter().map(part).collect()
    };
    Some(SampleSplits { splits: pieces(every), half: pieces(every * 2), one_of: every / BLOCK_ROWS })
}

/// From one piece of a sample to the next, a power of two.
fn block_distance(rows: u64) -> u64 {
    let blocks = SAMPLE_ROWS / BLOCK_ROWS;
    (rows / blocks).max(BLOCK_ROWS).checked_ilog2().map_or(BLOCK_ROWS, |exponent| 1 << exponent)
}

/// What is known of a run's joins, by their operators.
#[derive(Default)]
pub struct Skew {
    joins: HashMap<u64, Mutex<Option<Arc<[skew::HeavyKey]>>>>,
}

impl Skew {
    pub fn new(stages: &[RunningStage]) -> Self {
        let sides = stages.iter().filter_map(|stage| stage.side.as_ref());
        Self { joins: sides.map(|side| (side.consumer, Mutex::default())).collect() }
    }
}

/// The keys whose rows the task `id` does not send by their hash alone.
///
/// # Errors
/// The run was stopped.
pub fn heavy_keys_of(run: &Run, id: TaskId) -> Result<Vec<HeavyKey>, EngineError> {
    let stage = &run.stages[id.stage];
    let Some((side, join)) = stage.side.as_ref().and_then(|side| Some((side, run.skew.joins.get(&side.consumer)?)))
    else {
        return Ok(Vec::new());
    };
    let mut known = lock(join);
    // Another task's sample may have been stopped.
    if run.is_stopped() {
        return Err(EngineError::interrupted());
    }
    let keys = match known.as_ref() {
        Some(keys) => keys,
        None => known.insert(find(run, id, side, stage.partitions)?),
    };
    let proto = |key: &skew::HeavyKey| HeavyKey { hash: key.hash, everywhere: key.spread != side.side as u64 };
    Ok(keys.iter().map(proto).collect())
}

fn find(run: &Run, id: TaskId, join: &JoinSide, tasks: usize) -> Result<Arc<[skew::HeavyKey]>, EngineError> {
    let mut samples = [None, None];
    let sides = || run.stages.iter().filter_map(|stage| Some((stage, stage.side.as_ref()?)));
    for (stage, side) in sides().filter(|(_, side)| side.consumer == join.consumer) {
        if sampled_sides(join.kind)[side.side]
            && let Some(splits) = &side.sampled
        {
            samples[side.side] = take_sample(run, id, stage, splits, tasks as u64)?;
        }
    }
    let [left, right] = &samples;
    let keys = heavy_keys(join.kind, tasks as u64, [left.as_ref(), right.as_ref()]);
    for (stage, side) in sides().filter(|(_, side)| side.consumer == join.consumer) {
        let spread = keys.iter().filter(|key| key.spread == side.side as u64).count();
        run.tell(|report| report.heavy_keys(stage.number, spread, keys.len() - spread));
    }
    Ok(keys.into())
}

/// Some of the rows that the stage's tasks make, by the hash of their keys; `None` if there is an error among them,
/// which is the tasks' to meet.
fn take_sample(
    run: &Run,
    id: TaskId,
    stage: &RunningStage,
    part: &SampleSplits,
    tasks: u64,
) -> Result<Option<Sample>, EngineError> {
    let snapshot_connection = run.shared().connections.enter(&run.snapshot)?;
    let connection = snapshot_connection.get()?;
    connection.set(UNORDERED.0, UNORDERED.1)?;
    let take = || -> Result<Sample, EngineError> {
        let hashes = count_hashes(run, id, stage, connection, &part.splits)?;
        let mut sample = Sample { hashes, one_of: part.one_of, ..Sample::default() };
        let heavy: Vec<u64> = sample.heavy(tasks).collect();
        // Where a row becomes many, these are not all of the pieces'.
        if !heavy.is_empty() && sample.rows() <= MOST_ROWS {
            // Of keys that lie side by side, a piece has no other, and yet each has few rows.
            let half = count_hashes(run, id, stage, connection, &part.half)?;
            let in_half = |hash: &u64| half.get(hash).copied().unwrap_or(0);
            let together = |hash: &u64| [0, sample.hashes[hash]].contains(&in_half(hash));
            sample.together = heavy.into_iter().filter(together).collect();
        }
        Ok(sample)
    };
    let taken = take();
    run.unstoppable(id);
    match taken {
        _ if run.is_stopped() => Err(EngineError::interrupted()),
        Ok(sample) => Ok(Some(sample)),
        Err(error) => {
            tracing::debug!(stage = stage.number, %error, "no sample");
            Ok(None)
        }
    }
}

/// By the hash of their keys, how many rows the task has that reads these splits; a few more than [`MOST_ROWS`] in all.
fn count_hashes(
    run: &Run,
    id: TaskId,
    stage: &RunningStage,
    connection: &Connection,
    splits: &[Split],
) -> Result<HashMap<u64, u64>, EngineError> {
    let rows = stage.fragment.last_column_query(splits)?.read(connection)?;
    may_run(run, id, Stop::Sample(connection.interrupter()))?;
    let mut counts: HashMap<u64, u64> = HashMap::new();
    let mut taken = 0;
    for batch in rows {
        let batch = batch?;
        let hashes = batch.columns().first().and_then(|hashes| hashes.as_primitive_opt::<UInt64Type>());
        let hashes = hashes.ok_or_else(|| EngineError::internal("a sample has no hash"))?;
        hashes.iter().flatten().for_each(|hash| *counts.entry(hash).or_default() += 1);
        taken += hashes.len() as u64;
        if taken > MOST_ROWS {
            break;
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_of_64_pieces_at_least() {
        let found: Vec<u64> = [0, 100_000, 131_072, 1_920_800, 6_000_000].into_iter().map(block_distance).collect();
        assert_eq!(found, [256, 1024, 2048, 16_384, 65_536]);
    }
}
