//! Rows that wait between two stages: what a task has made for each task of the next stage.
//!
//! ```text
//!   task of stage 0 --RowSplitter, Collector--> Partitions [ 0 | 1 | 2 ]   queues, one a task of stage 1
//!                          |                     |  |          '----> PartitionReader, here or behind DoGet
//!                KeyFilter, KeyRanges           Room  Spill: more than a query may keep in memory, in a temporary file
//! ```
//!
//! A task waits for whoever reads its rows. It does not wait for who reads nothing: rows that have no place in memory
//! then go to disk, and who waits for another input first holds nobody up. What nobody wants any more is thrown away
//! at once.

mod collector;
mod filter;
mod partitions;
pub mod ranges;
mod room;
mod spill;
mod split;
mod store;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use duckherder_engine::{EngineError, ResultStream};
use duckherder_proto::task::{HeavyKey, KeyRange};

use collector::Collector;
pub use filter::KeyFilter;
pub use partitions::{PartitionReader, Partitions};
pub use ranges::KeyRanges;
pub use room::Room;
pub use spill::Rows;
pub use split::RowSplitter;
pub use store::ShuffleStore;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaskKey {
    pub query: u64,
    pub stage: u32,
    pub task: u32,
}

/// What a task has moved to others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    /// With those that a filter has left out.
    pub rows: u64,
    pub bytes: u64,
    /// That meet no row of the join's other side, and went nowhere.
    pub filtered_rows: u64,
    /// Bytes written to disk meanwhile.
    pub spilled_bytes: u64,
}

/// How the rows of a task are divided.
pub struct Division {
    /// Tasks that read them.
    pub partitions: usize,
    pub by: DivideBy,
}

/// Which of the tasks a row is for.
pub enum DivideBy {
    /// The one that has the hash in the row's last column.
    Hash(HashDivision),
    /// Every one; the least and the greatest value of these columns are collected.
    Everywhere(Vec<u32>),
}

/// How rows are divided by hash.
#[derive(Default)]
pub struct HashDivision {
    /// Keys with so many rows that they are not for one task alone.
    pub heavy: Vec<HeavyKey>,
    /// Rows of other keys are for nobody.
    pub filter: Option<Arc<KeyFilter>>,
    /// Collect the keys in a filter of so many bits; 0: don't.
    pub collect_bits: u64,
    /// Collect the least and the greatest value of these columns.
    pub collect_ranges: Vec<u32>,
}

/// What is known of the keys of all rows of a task.
#[derive(Default)]
pub struct CollectedKeys {
    /// If they are not too many.
    pub filter: Option<KeyFilter>,
    /// Of each column that was asked for; `None` if nothing is known.
    pub ranges: Option<Vec<KeyRange>>,
}

/// What a task says while it moves rows.
pub struct Notices<Stop, Check, Made> {
    /// Gets what to fail if the task is to end early; whether it may begin.
    pub stop: Stop,
    /// Says at the end of the rows whether they were the right ones.
    pub check: Check,
    /// Gets the keys that were collected once all rows are made.
    pub made: Made,
}

/// Divides the rows of a task and keeps them for others until they have read all they want.
///
/// # Errors
/// The task's, or what it was stopped with; readers see the same.
pub fn keep(
    store: &Arc<ShuffleStore>,
    room: Arc<Room>,
    key: TaskKey,
    rows: ResultStream,
    division: Division,
    notices: Notices<
        impl FnOnce(&Arc<Partitions>) -> Result<(), EngineError>,
        impl FnOnce() -> Result<(), EngineError>,
        impl FnOnce(CollectedKeys) -> Result<(), EngineError>,
    >,
) -> Result<Moved, EngineError> {
    let Notices { stop, check, made } = notices;
    let count = division.partitions;
    let splitter = RowSplitter::new(&rows.schema(), count, division.by);
    let offered = store.offer(key, Partitions::new(splitter.schema(), count, room))?;
    let partitions = &offered.partitions;
    let moved = stop(partitions).and_then(|()| move_rows(rows, splitter, partitions, check, made));
    if let Err(error) = &moved {
        partitions.fail(error.clone());
    }
    Ok(Moved { spilled_bytes: partitions.spilled_bytes(), ..moved? })
}

fn move_rows(
    rows: ResultStream,
    mut splitter: RowSplitter,
    to: &Partitions,
    check: impl FnOnce() -> Result<(), EngineError>,
    made: impl FnOnce(CollectedKeys) -> Result<(), EngineError>,
) -> Result<Moved, EngineError> {
    let count = splitter.partitions();
    let mut collector = Collector::new(splitter.schema(), count);
    let mut moved = Moved::default();
    for batch in rows {
        let batch = batch?;
        moved.rows += batch.num_rows() as u64;
        moved.bytes += batch.get_array_memory_size() as u64;
        let divided = splitter.split(&batch)?;
        let found: usize = divided.parts.iter().map(|(_, rows)| rows.num_rows()).sum();
        let wanted = batch.num_rows() + divided.everywhere * (count - 1);
        moved.filtered_rows += divided.filtered as u64;
        if found + divided.filtered != wanted {
            return Err(EngineError::internal(format!("{found} of {wanted} rows have a partition")));
        }
        for (partition, rows) in divided.parts {
            if let Some(rows) = collector.add(partition, rows)? {
                to.push(partition, rows)?;
            }
        }
        if !to.is_wanted() {
            // Not all keys: nobody may be held back by those there are.
            made(CollectedKeys::default())?;
            return Ok(moved);
        }
    }
    check()?;
    made(splitter.collected())?;
    for partition in 0..count {
        to.end(partition, collector.take(partition)?)?;
    }
    to.wait_until_read()?;
    Ok(moved)
}
