//! The rows of one task, divided: a queue for each task that reads some.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use duckherder_engine::EngineError;

use super::lock;
use super::room::Room;
use super::spill::{Rows, Spill};

/// Bytes of one task's rows that may wait while they are read, shared by the tasks of the next stage.
const TASK_BYTES: usize = 16 << 20;
/// Each of these has at least so many.
const LEAST_QUEUE_BYTES: usize = 128 << 10;
/// Who has not asked for rows for so long is busy with something else, perhaps with what waits for this very task: rows
/// wait for it in memory, as long as there is some.
const BUSY: Duration = Duration::from_millis(2);
/// Who has not asked for so long is away: rows wait for it on disk.
const AWAY: Duration = Duration::from_millis(100);

/// The rows of one task. One thread adds them.
pub struct Partitions {
    schema: SchemaRef,
    room: Arc<Room>,
    /// What may wait in a queue while it is read.
    queue_bytes: usize,
    spill: Mutex<Spill>,
    state: Mutex<State>,
    /// A reader took something, or asked for more, or the end has come.
    changed: Condvar,
}

struct State {
    queues: Vec<Queue>,
    failed: Option<EngineError>,
}

struct Queue {
    /// With the bytes of memory that they take.
    waiting: VecDeque<(Rows, usize)>,
    memory_bytes: usize,
    sent_rows: u64,
    /// No more rows come.
    ended: bool,
    /// Whoever reads, or has read, the partition took it.
    taken: bool,
    /// Nobody wants the rest.
    done: bool,
    reader: Option<Waker>,
    /// When the reader last asked for rows, or stopped waiting for some.
    asked: Instant,
}

impl Queue {
    fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            memory_bytes: 0,
            sent_rows: 0,
            ended: false,
            taken: false,
            done: false,
            reader: None,
            asked: Instant::now(),
        }
    }

    fn clear(&mut self, room: &Room) {
        room.give_back(self.memory_bytes);
        self.waiting.clear();
        self.memory_bytes = 0;
    }
}

/// Where rows are to wait.
enum Place {
    Memory,
    Disk,
    /// Nobody wants them.
    Nowhere,
}

impl Partitions {
    /// `count` empty partitions of rows of `schema`, which wait in `room`.
    pub fn new(schema: SchemaRef, count: usize, room: Arc<Room>) -> Arc<Self> {
        Arc::new(Self {
            schema,
            queue_bytes: (TASK_BYTES / count.max(1)).max(LEAST_QUEUE_BYTES),
            spill: Mutex::new(Spill::new(room.directory.clone())),
            room,
            state: Mutex::new(State { queues: std::iter::repeat_with(Queue::new).take(count).collect(), failed: None }),
            changed: Condvar::new(),
        })
    }

    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Bytes that went to disk.
    pub fn spilled_bytes(&self) -> u64 {
        lock(&self.spill).written_bytes
    }

    /// Adds rows; waits while there are too many and somebody reads them.
    ///
    /// # Errors
    /// The task is to stop, or there is no space on disk.
    pub fn push(&self, partition: usize, batch: RecordBatch) -> Result<(), EngineError> {
        self.add(partition, batch, false)
    }

    /// There are no more rows for the partition but these, if any.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    pub fn end(&self, partition: usize, rest: Option<RecordBatch>) -> Result<(), EngineError> {
        if let Some(rest) = rest {
            return self.add(partition, rest, true);
        }
        let mut state = lock(&self.state);
        let queue = &mut state.queues[partition];
        queue.ended = true;
        let reader = queue.reader.take();
        drop(state);
        wake(reader);
        Ok(())
    }

    /// Adds rows, the `last` ones of the partition or not: their reader is woken once for both.
    fn add(&self, partition: usize, batch: RecordBatch, last: bool) -> Result<(), EngineError> {
        let bytes = batch.get_array_memory_size();
        let (rows, memory_bytes) = match self.find_place(partition, bytes)? {
            Place::Memory => (Rows::Memory(batch), bytes),
            // Outside the readers' lock: one thread alone adds rows, so they stay in order.
            Place::Disk => (Rows::Disk(lock(&self.spill).write(&batch)?), 0),
            Place::Nowhere => return Ok(()),
        };
        let mut state = lock(&self.state);
        let gone = state.failed.is_some();
        let queue = &mut state.queues[partition];
        if gone || queue.done {
            self.room.give_back(memory_bytes);
            return Ok(());
        }
        queue.memory_bytes += memory_bytes;
        queue.sent_rows += rows.count();
        queue.waiting.push_back((rows, memory_bytes));
        queue.ended = last;
        let reader = queue.reader.take();
        if reader.is_some() {
            queue.asked = Instant::now();
        }
        drop(state);
        wake(reader);
        Ok(())
    }

    /// Where rows of `bytes` bytes go; memory is then taken.
    fn find_place(&self, partition: usize, bytes: usize) -> Result<Place, EngineError> {
        let mut state = lock(&self.state);
        loop {
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            let queue = &state.queues[partition];
            if queue.done {
                return Ok(Place::Nowhere);
            }
            if queue.memory_bytes < self.queue_bytes && self.room.try_take(bytes) {
                return Ok(Place::Memory);
            }
            if queue.reader.is_some() && queue.waiting.is_empty() {
                self.room.take(bytes);
                return Ok(Place::Memory);
            }
            let silence = queue.asked.elapsed();
            if silence >= BUSY && self.room.try_take_for_later(bytes) {
                return Ok(Place::Memory);
            }
            if silence >= AWAY {
                return Ok(Place::Disk);
            }
            let patience = if silence < BUSY { BUSY } else { AWAY } - silence;
            state = self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whoever reads or writes the rows sees this error next; those that wait are thrown away.
    pub fn fail(&self, error: EngineError) {
        let mut state = lock(&self.state);
        if state.failed.is_some() {
            return;
        }
        state.failed = Some(error);
        let readers: Vec<_> = state.queues.iter_mut().map(|queue| queue.reader.take()).collect();
        state.queues.iter_mut().for_each(|queue| queue.clear(&self.room));
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
    pub(super) fn is_wanted(&self) -> bool {
        lock(&self.state).queues.iter().any(|queue| !queue.done)
    }

    /// Nobody will read the partition.
    pub(super) fn abandon(&self, partition: usize) {
        if let Some(queue) = lock(&self.state).queues.get_mut(partition).filter(|queue| !queue.taken) {
            queue.done = true;
            queue.clear(&self.room);
        }
        self.changed.notify_all();
    }

    pub(super) fn read(self: &Arc<Self>, partition: usize) -> Result<PartitionReader, EngineError> {
        let mut state = lock(&self.state);
        match state.queues.get_mut(partition) {
            Some(queue) if !queue.taken => queue.taken = true,
            Some(_) => return Err(EngineError::internal(format!("partition {partition} is read twice"))),
            None => return Err(EngineError::internal(format!("there is no partition {partition}"))),
        }
        Ok(PartitionReader { partitions: Arc::clone(self), partition, rows: 0 })
    }
}

impl Drop for Partitions {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.queues.iter_mut().for_each(|queue| queue.clear(&self.room));
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
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Rows, EngineError>>> {
        let mut state = lock(&self.partitions.state);
        if let Some(error) = &state.failed {
            return Poll::Ready(Some(Err(error.clone())));
        }
        let queue = &mut state.queues[self.partition];
        queue.asked = Instant::now();
        let polled = if let Some((rows, bytes)) = queue.waiting.pop_front() {
            queue.memory_bytes -= bytes;
            self.partitions.room.give_back(bytes);
            self.rows += rows.count();
            Poll::Ready(Some(Ok(rows)))
        } else if !queue.ended {
            queue.reader = Some(cx.waker().clone());
            Poll::Pending
        } else if queue.sent_rows == self.rows {
            Poll::Ready(None)
        } else {
            let message = format!("{} of {} rows of a partition arrived", self.rows, queue.sent_rows);
            Poll::Ready(Some(Err(EngineError::new("IO", message))))
        };
        drop(state);
        self.partitions.changed.notify_all();
        polled
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        let mut state = lock(&self.partitions.state);
        let queue = &mut state.queues[self.partition];
        queue.done = true;
        queue.clear(&self.partitions.room);
        drop(state);
        self.partitions.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    const ROWS: i64 = 1 << 12;

    fn batch(number: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(number * ROWS..(number + 1) * ROWS));
        RecordBatch::try_from_iter([("c0", column)]).unwrap()
    }

    /// One partition for which there is memory for four batches.
    fn partitions(count: usize) -> Arc<Partitions> {
        let room = Arc::new(Room::new(4 * batch(0).get_array_memory_size(), Some(std::env::temp_dir())));
        Partitions::new(batch(0).schema(), count, room)
    }

    /// The first value of the next batch.
    fn next(reader: &mut PartitionReader) -> Option<i64> {
        match reader.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(found) => {
                let batch = found?.unwrap().load().unwrap();
                assert_eq!(batch.num_rows() as i64, ROWS);
                Some(batch.column(0).as_primitive::<Int64Type>().value(0) / ROWS)
            }
            Poll::Pending => Some(-1),
        }
    }

    #[test]
    fn what_nobody_reads_goes_to_disk_and_comes_back_in_order() {
        let partitions = partitions(2);
        (0..100).for_each(|number| partitions.push((number % 2) as usize, batch(number)).unwrap());
        (0..2).for_each(|partition| partitions.end(partition, None).unwrap());
        assert!(partitions.spilled_bytes() > 0);
        for start in [0, 1] {
            let mut reader = partitions.read(start as usize).unwrap();
            let found: Vec<i64> = std::iter::from_fn(|| next(&mut reader)).collect();
            assert_eq!(found, (start..100).step_by(2).collect::<Vec<_>>());
        }
        partitions.wait_until_read().unwrap();
        assert!(partitions.room.try_take(4 * batch(0).get_array_memory_size()), "the memory is free again");
    }

    #[test]
    fn whoever_reads_is_waited_for() {
        // A reader that does not get to run for a tenth of a second is taken for one that is away.
        assert!((0..5).any(|_| bytes_spilled_while_read() == 0));
    }

    fn bytes_spilled_while_read() -> u64 {
        let partitions = partitions(1);
        let mut reader = partitions.read(0).unwrap();
        let writer = Arc::clone(&partitions);
        let writing = std::thread::spawn(move || {
            (0..200).for_each(|number| writer.push(0, batch(number)).unwrap());
            writer.end(0, None).unwrap();
        });
        let mut expected = 0;
        while let Some(found) = next(&mut reader) {
            std::thread::sleep(Duration::from_millis(1));
            if found >= 0 {
                assert_eq!(found, expected);
                expected += 1;
            }
        }
        writing.join().unwrap();
        assert_eq!(expected, 200);
        partitions.spilled_bytes()
    }

    /// One reader waits for the other's rows: the task writes on.
    #[test]
    fn a_reader_that_is_away_holds_no_other_up() {
        let partitions = partitions(2);
        let mut read = partitions.read(1).unwrap();
        let _away = partitions.read(0).unwrap();
        for number in 0..50 {
            partitions.push(0, batch(number)).unwrap();
            partitions.push(1, batch(number)).unwrap();
            assert_eq!(next(&mut read), Some(number));
        }
        assert!(partitions.spilled_bytes() > 0);
    }

    #[test]
    fn a_directory_that_is_none_fails_the_task() {
        let file = std::env::current_exe().unwrap();
        let room = Arc::new(Room::new(0, Some(file.join("below"))));
        let partitions = Partitions::new(batch(0).schema(), 1, room);
        let error = partitions.push(0, batch(0)).unwrap_err();
        assert_eq!(error.exception_type, "IO");
        assert!(error.message.contains("temp_directory"), "{error}");
    }
}
