//! Rows that wait between two stages: what a task has made for each task of the next stage.
//!
//! ```text
//!   task of stage 0 --RowSplitter--> Partitions [ 0 | 1 | 2 ]   bounded queues, one a task of stage 1
//!                                               |   |   '----> PartitionReader, in this process or behind DoGet
//! ```
//!
//! A queue that is full holds its task up. What nobody reads any more is thrown away at once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef, UInt64Type};
use duckherder_engine::{EngineError, ResultStream};
use duckherder_proto::task::ReadPartition;
use tokio::sync::Notify;

/// Bytes of one task's rows that may wait, shared by the tasks of the next stage.
const TASK_BYTES: usize = 16 << 20;
/// Each of these may have at least so many.
const LEAST_QUEUE_BYTES: usize = 128 << 10;
/// Partitions that nobody wants of tasks that have not begun, as many as are remembered.
const ABANDONED_LIMIT: usize = 1 << 16;

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

/// The rows of one task.
pub struct Partitions {
    schema: SchemaRef,
    queue_bytes: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    queues: Vec<Queue>,
    failed: Option<EngineError>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(RecordBatch, usize)>,
    bytes: usize,
    sent_rows: u64,
    /// No more rows come.
    ended: bool,
    /// Whoever reads, or has read, the partition took it.
    taken: bool,
    /// Nobody wants the rest.
    done: bool,
    reader: Option<Waker>,
}

impl Partitions {
    /// `count` empty partitions of rows of `schema`.
    pub fn new(schema: SchemaRef, count: usize) -> Arc<Self> {
        let queues = std::iter::repeat_with(Queue::default).take(count).collect();
        Arc::new(Self {
            schema,
            queue_bytes: (TASK_BYTES / count.max(1)).max(LEAST_QUEUE_BYTES),
            state: Mutex::new(State { queues, failed: None }),
            changed: Condvar::new(),
        })
    }

    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Adds rows; waits while too many are there.
    ///
    /// # Errors
    /// The task is to stop.
    pub fn push(&self, partition: usize, batch: RecordBatch) -> Result<(), EngineError> {
        let mut state = lock(&self.state);
        loop {
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            let queue = &mut state.queues[partition];
            if queue.done {
                return Ok(());
            }
            if queue.bytes < self.queue_bytes {
                break;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let queue = &mut state.queues[partition];
        let bytes = batch.get_array_memory_size();
        queue.bytes += bytes;
        queue.sent_rows += batch.num_rows() as u64;
        queue.waiting.push_back((batch, bytes));
        let reader = queue.reader.take();
        drop(state);
        wake(reader);
        Ok(())
    }

    /// There are no more rows.
    pub fn end(&self) {
        let mut state = lock(&self.state);
        state.queues.iter_mut().for_each(|queue| queue.ended = true);
        let readers: Vec<_> = state.queues.iter_mut().map(|queue| queue.reader.take()).collect();
        drop(state);
        readers.into_iter().for_each(wake);
    }

    /// Whoever reads or writes the rows sees this error next; those that wait are thrown away.
    pub fn fail(&self, error: EngineError) {
        let mut state = lock(&self.state);
        if state.failed.is_some() {
            return;
        }
        state.failed = Some(error);
        let readers: Vec<_> = state.queues.iter_mut().map(|queue| queue.reader.take()).collect();
        for queue in &mut state.queues {
            queue.waiting.clear();
            queue.bytes = 0;
        }
        drop(state);
        self.changed.notify_all();
        readers.into_iter().for_each(wake);
    }

    /// Waits until all rows were read, or nobody wants the rest.
    ///
    /// # Errors
    /// The task was stopped.
    pub fn wait_until_read(&self) -> Result<(), EngineError> {
        let mut state = lock(&self.state);
        loop {
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            if state.queues.iter().all(|queue| queue.done) {
                return Ok(());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether anybody wants more rows.
    fn is_wanted(&self) -> bool {
        lock(&self.state).queues.iter().any(|queue| !queue.done)
    }

    /// Nobody will read the partition.
    fn abandon(&self, partition: usize) {
        if let Some(queue) = lock(&self.state).queues.get_mut(partition).filter(|queue| !queue.taken) {
            queue.done = true;
            queue.waiting.clear();
            queue.bytes = 0;
        }
        self.changed.notify_all();
    }

    fn read(self: &Arc<Self>, partition: usize) -> Result<PartitionReader, EngineError> {
        let mut state = lock(&self.state);
        match state.queues.get_mut(partition) {
            Some(queue) if !queue.taken => queue.taken = true,
            Some(_) => return Err(EngineError::internal(format!("partition {partition} is read twice"))),
            None => return Err(EngineError::internal(format!("there is no partition {partition}"))),
        }
        Ok(PartitionReader { partitions: Arc::clone(self), partition, rows: 0 })
    }
}

fn wake(reader: Option<Waker>) {
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// One partition, read once. Dropping it says that nobody wants the rest.
pub struct PartitionReader {
    partitions: Arc<Partitions>,
    partition: usize,
    rows: u64,
}

impl PartitionReader {
    pub fn schema(&self) -> SchemaRef {
        self.partitions.schema()
    }

    /// The next rows, `None` once all have been read.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, EngineError>>> {
        let mut state = lock(&self.partitions.state);
        if let Some(error) = &state.failed {
            return Poll::Ready(Some(Err(error.clone())));
        }
        let queue = &mut state.queues[self.partition];
        if let Some((batch, bytes)) = queue.waiting.pop_front() {
            queue.bytes -= bytes;
            drop(state);
            self.rows += batch.num_rows() as u64;
            self.partitions.changed.notify_all();
            return Poll::Ready(Some(Ok(batch)));
        }
        if queue.ended {
            if queue.sent_rows != self.rows {
                let message = format!("{} of {} rows of a partition arrived", self.rows, queue.sent_rows);
                return Poll::Ready(Some(Err(EngineError::new("IO", message))));
            }
            return Poll::Ready(None);
        }
        queue.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        let mut state = lock(&self.partitions.state);
        let queue = &mut state.queues[self.partition];
        queue.done = true;
        queue.waiting.clear();
        queue.bytes = 0;
        drop(state);
        self.partitions.changed.notify_all();
    }
}

/// Divides rows by the hash in their last column, which goes no further.
pub struct RowSplitter {
    schema: SchemaRef,
    partitions: usize,
}

impl RowSplitter {
    /// For rows of `schema`, whose last column is a `UInt64` without NULLs.
    pub fn new(schema: &Schema, partitions: usize) -> Self {
        let fields = schema.fields();
        let kept = fields[..fields.len().saturating_sub(1)].to_vec();
        Self { schema: Arc::new(Schema::new(kept)), partitions }
    }

    /// The columns of what comes out.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The rows of each partition that has some.
    ///
    /// # Errors
    /// There is no hash column, or Arrow can't take rows of a column.
    pub fn split(&self, batch: &RecordBatch) -> Result<Vec<(usize, RecordBatch)>, EngineError> {
        let columns = batch.columns();
        let (Some(hashes), kept) = (columns.last(), &columns[..columns.len().saturating_sub(1)]) else {
            return Err(EngineError::internal("rows to shuffle have no column"));
        };
        let hashes = hashes
            .as_primitive_opt::<UInt64Type>()
            .ok_or_else(|| EngineError::internal("the last column of rows to shuffle is no hash"))?;
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.partitions];
        for (row, hash) in hashes.values().iter().enumerate() {
            rows[(hash % self.partitions as u64) as usize].push(row as u32);
        }
        let mut parts = Vec::new();
        for (partition, rows) in rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let count = rows.len();
            let rows = UInt32Array::from(rows);
            let columns = kept.iter().map(|column| take(column, &rows, None)).collect::<Result<Vec<_>, _>>()?;
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(count));
            parts.push((partition, RecordBatch::try_new_with_options(self.schema(), columns, &options)?));
        }
        Ok(parts)
    }
}

/// What a task has moved to others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    pub rows: u64,
    pub bytes: u64,
}

/// Divides the rows of a task and keeps them for others until they have read all they want. `stop` is told what to
/// fail if the task is to end before.
///
/// # Errors
/// The task's, or what it was stopped with; readers see the same.
pub fn keep(
    store: &Arc<ShuffleStore>,
    key: TaskKey,
    rows: ResultStream,
    count: usize,
    stop: impl FnOnce(&Arc<Partitions>) -> Result<(), EngineError>,
) -> Result<Moved, EngineError> {
    let splitter = RowSplitter::new(&rows.schema(), count);
    let offered = store.offer(key, Partitions::new(splitter.schema(), count))?;
    let partitions = &offered.partitions;
    let moved = stop(partitions).and_then(|()| move_rows(rows, &splitter, partitions));
    if let Err(error) = &moved {
        partitions.fail(error.clone());
    }
    moved
}

fn move_rows(rows: ResultStream, splitter: &RowSplitter, to: &Partitions) -> Result<Moved, EngineError> {
    let mut moved = Moved::default();
    for batch in rows {
        let batch = batch?;
        moved.rows += batch.num_rows() as u64;
        moved.bytes += batch.get_array_memory_size() as u64;
        let parts = splitter.split(&batch)?;
        let divided: usize = parts.iter().map(|(_, rows)| rows.num_rows()).sum();
        if divided != batch.num_rows() {
            let message = format!("{divided} of {} rows have a partition", batch.num_rows());
            return Err(EngineError::internal(message));
        }
        for (partition, rows) in parts {
            to.push(partition, rows)?;
        }
        if !to.is_wanted() {
            return Ok(moved);
        }
    }
    to.end();
    to.wait_until_read()?;
    Ok(moved)
}

/// All tasks of a process whose rows others fetch.
#[derive(Default)]
pub struct ShuffleStore {
    state: Mutex<StoreState>,
    added: Notify,
}

#[derive(Default)]
struct StoreState {
    tasks: HashMap<TaskKey, Arc<Partitions>>,
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
