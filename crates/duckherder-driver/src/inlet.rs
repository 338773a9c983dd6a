//! A client's rows between the network and DuckDB's threads.
//!
//! ```text
//!                         group 0 --> a thread
//!  Feeder --[ budget ]--> group 1 --> a thread     a group is a partition of the source
//!                         group 2 ...
//! ```
//!
//! A group has as many rows as a row group of DuckDB's: the threads that insert them fill row groups, each its own, and
//! the groups' order is that of the rows. They insert all rows of a group: DuckDB keeps back row groups that are not full
//! until all before them are done, and a thread that waits for its next group counts as still at its last one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use duckherder_engine::{BatchSource, EngineError};
use duckherder_planner::split::ROW_GROUP_ROWS;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::DriverError;
use crate::sync::lock;

/// KiB of rows that wait for DuckDB before the client is held back.
const WAITING_KIB: u32 = 32 << 10;
/// What the smallest batch counts for: many of them are bounded by their number.
const LEAST_KIB: u32 = 128;

/// Gives the rows to DuckDB.
pub struct Inlet {
    schema: SchemaRef,
    shared: Arc<Shared>,
}

/// Takes the rows from the network. Dropped before its [`end`](Self::end), it says that the rows were cut.
pub struct Feeder {
    shared: Arc<Shared>,
    budget: Arc<Semaphore>,
}

struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// The group that rows are added to now, and how many it has.
    group: usize,
    group_rows: usize,
    /// How many rows came.
    rows: u64,
    end: Option<Result<(), EngineError>>,
    /// Who waits for rows of which group.
    readers: Vec<(usize, Waker)>,
}

struct Waiting {
    group: usize,
    batch: RecordBatch,
    /// Shared by the parts of one message.
    _permit: Arc<OwnedSemaphorePermit>,
}

impl State {
    /// Adds rows to the group, and begins the next one when it is full.
    fn add(&mut self, batch: &RecordBatch, permit: &Arc<OwnedSemaphorePermit>) {
        self.rows += batch.num_rows() as u64;
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = (batch.num_rows() - from).min(ROW_GROUP_ROWS as usize - self.group_rows);
            let (group, batch) = (self.group, batch.slice(from, rows));
            self.waiting.push_back(Waiting { group, batch, _permit: Arc::clone(permit) });
            from += rows;
            self.group_rows += rows;
            if self.group_rows == ROW_GROUP_ROWS as usize {
                (self.group, self.group_rows) = (self.group + 1, 0);
            }
        }
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        let reached = if state.end.is_some() { usize::MAX } else { state.group };
        let ready: Vec<_> = state.readers.extract_if(.., |(group, _)| *group <= reached).collect();
        drop(state);
        // Outside the lock: waking waits until a reader's thread is done with parking.
        ready.into_iter().for_each(|(_, reader)| reader.wake());
    }
}

impl Inlet {
    /// How many rows came.
    pub fn rows(&self) -> u64 {
        lock(&self.shared.state).rows
    }
}

/// Both ends of a stream of rows.
pub fn inlet(schema: SchemaRef) -> (Feeder, Inlet) {
    let shared = Arc::new(Shared { state: Mutex::default() });
    let budget = Arc::new(Semaphore::new(WAITING_KIB as usize));
    (Feeder { shared: Arc::clone(&shared), budget }, Inlet { schema, shared })
}

impl Feeder {
    /// Adds a batch of `bytes` bytes, once there is room.
    pub async fn push(&self, batch: &RecordBatch, bytes: usize) {
        let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).clamp(LEAST_KIB, WAITING_KIB);
        // The budget is never closed.
        let Ok(permit) = Arc::clone(&self.budget).acquire_many_owned(kib).await else { return };
        let permit = Arc::new(permit);
        self.shared.change(|state| state.add(batch, &permit));
    }

    /// How many rows came.
    pub fn rows(&self) -> u64 {
        lock(&self.shared.state).rows
    }

    /// All rows have come, or none will any more.
    pub fn end(self, end: Result<(), EngineError>) {
        self.shared.change(|state| state.end = Some(end));
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.shared.change(|state| {
            if state.end.is_none() {
                // The call was dropped: the rows that came are not all rows.
                let cut = DriverError::CutStream { rows: state.rows, reason: "the client is gone".to_string() };
                state.end = Some(Err(cut.into_engine()));
            }
        });
    }
}

impl BatchSource for Inlet {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Without a bound, as long as more rows may come.
    fn partitions(&self) -> usize {
        let state = lock(&self.shared.state);
        state.end.as_ref().map_or(usize::MAX, |_| state.group + 1)
    }

    fn poll_next(&self, partition: usize, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, EngineError>>> {
        let mut state = lock(&self.shared.state);
        if let Some(Err(error)) = &state.end {
            return Poll::Ready(Some(Err(error.clone())));
        }
        let found = state.waiting.iter().position(|waiting| waiting.group == partition);
        if let Some(waiting) = found.and_then(|place| state.waiting.remove(place)) {
            return Poll::Ready(Some(Ok(waiting.batch)));
        }
        if state.end.is_some() || partition < state.group {
            return Poll::Ready(None);
        }
        state.readers.push((partition, cx.waker().clone()));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn batch(rows: std::ops::Range<i64>) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("i", DataType::Int64, false)]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from_iter_values(rows))]).unwrap()
    }

    /// The numbers of rows that a partition has now; `Err` with them if more may come.
    fn drain(inlet: &Inlet, partition: usize) -> Result<Vec<usize>, Vec<usize>> {
        let mut rows = Vec::new();
        loop {
            match inlet.poll_next(partition, &mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(batch)) => rows.push(batch.unwrap().num_rows()),
                Poll::Ready(None) => return Ok(rows),
                Poll::Pending => return Err(rows),
            }
        }
    }

    #[tokio::test]
    async fn groups_are_filled_in_order_and_read_side_by_side() {
        let (feeder, inlet) = inlet(batch(0..1).schema());
        assert_eq!(drain(&inlet, 0), Err(vec![]));
        feeder.push(&batch(0..100_000), 800_000).await;
        feeder.push(&batch(100_000..200_000), 800_000).await;
        assert_eq!(drain(&inlet, 1), Err(vec![77_120]));
        assert_eq!(drain(&inlet, 0), Ok(vec![100_000, 22_880]));
        assert_eq!(inlet.partitions(), usize::MAX);
        feeder.end(Ok(()));
        assert_eq!(inlet.partitions(), 2);
        assert_eq!(drain(&inlet, 1), Ok(vec![]));
    }

    #[tokio::test]
    async fn a_feeder_that_is_dropped_has_cut_the_rows() {
        let (feeder, inlet) = inlet(batch(0..1).schema());
        feeder.push(&batch(0..10), 80).await;
        drop(feeder);
        let next = inlet.poll_next(0, &mut Context::from_waker(Waker::noop()));
        assert!(matches!(next, Poll::Ready(Some(Err(error))) if error.message.contains("after 10 rows")), "cut");
    }

    #[tokio::test]
    async fn a_client_is_held_back_until_rows_are_read() {
        let (feeder, inlet) = inlet(batch(0..1).schema());
        let half = (WAITING_KIB as usize) << 9;
        feeder.push(&batch(0..10), half).await;
        feeder.push(&batch(0..10), half).await;
        let third = batch(0..10);
        let mut waits = std::pin::pin!(feeder.push(&third, half));
        assert!(futures::poll!(waits.as_mut()).is_pending());
        assert_eq!(drain(&inlet, 0), Err(vec![10, 10]));
        assert!(futures::poll!(waits).is_ready());
    }
}
