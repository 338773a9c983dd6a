//! The tasks of a process whose rows others fetch.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};

use duckherder_engine::{EngineError, Seat};
use duckherder_proto::task::ReadPartition;
use tokio::sync::Notify;

use super::partitions::{PartitionReader, Partitions};
use super::room::Room;
use super::{TaskKey, lock};

/// Partitions that nobody wants of tasks that have not begun, as many as are remembered.
const ABANDONED_LIMIT: usize = 1 << 16;

/// All tasks of a process whose rows others fetch.
#[derive(Default)]
pub struct ShuffleStore {
    state: Mutex<StoreState>,
    added: Notify,
}

#[derive(Default)]
struct StoreState {
    tasks: HashMap<TaskKey, Arc<Partitions>>,
    /// By query; those without a task are forgotten with the next.
    rooms: HashMap<u64, Weak<Room>>,
    /// The same.
    seats: HashMap<u64, Weak<Seat>>,
    /// Partitions of tasks that have not begun; the oldest are forgotten.
    abandoned: VecDeque<(TaskKey, usize)>,
}

/// A task in the store. Dropping it takes the task out; what is still read then fails.
pub struct Offered {
    store: Arc<ShuffleStore>,
    key: TaskKey,
    pub partitions: Arc<Partitions>,
}

impl Drop for Offered {
    fn drop(&mut self) {
        lock(&self.store.state).tasks.remove(&self.key);
        // Nothing if all was read.
        self.partitions.fail(EngineError::interrupted());
    }
}

impl ShuffleStore {
    /// What the query's tasks share while they run.
    pub fn seat(&self, query: u64) -> Arc<Seat> {
        let mut state = lock(&self.state);
        if let Some(seat) = state.seats.get(&query).and_then(Weak::upgrade) {
            return seat;
        }
        let seat = Arc::new(Seat::default());
        state.seats.retain(|_, seat| seat.strong_count() > 0);
        state.seats.insert(query, Arc::downgrade(&seat));
        seat
    }

    /// Where the rows of the query's tasks wait, as `make` says if none of them has begun.
    ///
    /// # Errors
    /// `make` fails.
    pub fn room(&self, query: u64, make: impl FnOnce() -> Result<Room, EngineError>) -> Result<Arc<Room>, EngineError> {
        let mut state = lock(&self.state);
        if let Some(room) = state.rooms.get(&query).and_then(Weak::upgrade) {
            return Ok(room);
        }
        let room = Arc::new(make()?);
        state.rooms.retain(|_, room| room.strong_count() > 0);
        state.rooms.insert(query, Arc::downgrade(&room));
        Ok(room)
    }

    /// Offers the rows of a task until the answer is dropped.
    ///
    /// # Errors
    /// The task is there already.
    pub fn offer(self: &Arc<Self>, key: TaskKey, partitions: Arc<Partitions>) -> Result<Offered, EngineError> {
        let mut state = lock(&self.state);
        if state.tasks.insert(key, Arc::clone(&partitions)).is_some() {
            return Err(EngineError::internal(format!("{key:?} runs twice")));
        }
        state.abandoned.retain(|(task, partition)| {
            if *task == key {
                partitions.abandon(*partition);
            }
            *task != key
        });
        drop(state);
        self.added.notify_waiters();
        Ok(Offered { store: Arc::clone(self), key, partitions })
    }

    /// The rows of one partition, once their task has begun. Whoever gives up by dropping the future, asked or not, is
    /// not waited for by the task.
    ///
    /// # Errors
    /// The partition was read before.
    pub fn read(
        self: &Arc<Self>,
        wanted: &ReadPartition,
    ) -> impl Future<Output = Result<PartitionReader, EngineError>> + Send + use<> {
        let key = TaskKey { query: wanted.query_id, stage: wanted.stage, task: wanted.task };
        let mut wish = Wish { store: Arc::clone(self), key, partition: wanted.partition as usize, granted: false };
        async move {
            loop {
                let store = Arc::clone(&wish.store);
                let added = store.added.notified();
                tokio::pin!(added);
                // From here on an addition is not missed.
                added.as_mut().enable();
                let found = lock(&store.state).tasks.get(&key).cloned();
                if let Some(partitions) = found {
                    wish.granted = true;
                    return partitions.read(wish.partition);
                }
                added.await;
            }
        }
    }

    /// Nobody will read the partition: its task is not to wait for that.
    fn abandon(&self, key: TaskKey, partition: usize) {
        let mut state = lock(&self.state);
        match state.tasks.get(&key) {
            Some(partitions) => partitions.abandon(partition),
            None => {
                if state.abandoned.len() == ABANDONED_LIMIT {
                    state.abandoned.pop_front();
                }
                state.abandoned.push_back((key, partition));
            }
        }
    }
}

/// Somebody waits for a partition; if they give up, its task must not wait for them.
struct Wish {
    store: Arc<ShuffleStore>,
    key: TaskKey,
    partition: usize,
    granted: bool,
}

impl Drop for Wish {
    fn drop(&mut self) {
        if !self.granted {
            self.store.abandon(self.key, self.partition);
        }
    }
}
