//! The rows of one task on their way to the driver's query: a bounded queue between two kinds of threads.
//!
//! The task's thread waits when the queue is full; the reader, a thread of DuckDB's pool, never waits: it leaves a
//! waker.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use duckherder_engine::EngineError;
use duckherder_engine::distribute::TaskOutput;

use crate::sync::lock;

/// Bytes of one task's rows that may wait.
const QUEUE_BYTES: u64 = 8 << 20;

#[derive(Default)]
pub struct TaskQueue {
    state: Mutex<State>,
    space: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(TaskOutput, u64)>,
    bytes: u64,
    reader: Option<Waker>,
    /// Somebody has rows, or the end, from it.
    taken: bool,
    closed: Option<Result<(), EngineError>>,
}

impl State {
    fn is_full(&self) -> bool {
        self.closed.is_none() && self.bytes >= QUEUE_BYTES
    }
}

impl TaskQueue {
    /// Adds rows of `bytes` bytes; waits for space, after telling `stalls`. Whether anybody still wants them.
    pub fn push(&self, output: TaskOutput, bytes: u64, stalls: impl FnOnce()) -> bool {
        let mut state = lock(&self.state);
        if state.is_full() {
            drop(state);
            stalls();
            state = lock(&self.state);
        }
        while state.is_full() {
            state = self.space.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed.is_some() {
            return false;
        }
        state.waiting.push_back((output, bytes));
        state.bytes += bytes;
        let reader = state.reader.take();
        drop(state);
        // Outside the lock: waking waits until the reader's thread is done with parking.
        if let Some(reader) = reader {
            reader.wake();
        }
        true
    }

    /// Nothing more comes: the query sees this error next, or, without one, the queue is abandoned. Rows that wait are
    /// thrown away.
    pub fn close(&self, error: Option<EngineError>) {
        let mut state = lock(&self.state);
        if state.closed.is_some() {
            return;
        }
        state.waiting.clear();
        state.closed = Some(error.map_or(Ok(()), Err));
        let reader = state.reader.take();
        drop(state);
        self.space.notify_all();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// The task begins anew: what it has sent is forgotten. Whether nobody has seen any of it.
    pub fn restart(&self) -> bool {
        let mut state = lock(&self.state);
        if state.taken || state.closed.is_some() {
            return false;
        }
        state.waiting.clear();
        state.bytes = 0;
        true
    }

    /// What comes next.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<TaskOutput, EngineError>> {
        let mut state = lock(&self.state);
        if let Some(closed) = &state.closed {
            let error = closed.clone().err().unwrap_or_else(EngineError::interrupted);
            return Poll::Ready(Err(error));
        }
        if let Some((output, bytes)) = state.waiting.pop_front() {
            state.bytes -= bytes;
            state.taken = true;
            drop(state);
            self.space.notify_one();
            return Poll::Ready(Ok(output));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_task_begins_anew_as_long_as_nobody_has_seen_any_of_it() {
        let queue = TaskQueue::default();
        let send = |rows| queue.push(TaskOutput::End { rows }, QUEUE_BYTES / 2, || ());
        let next = || match queue.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(TaskOutput::End { rows })) => Some(rows),
            _ => None,
        };
        assert!(send(1) && send(2));
        assert!(queue.restart());
        assert_eq!(next(), None);
        // There is room again.
        assert!(send(3) && send(4));
        assert_eq!(next(), Some(3));
        assert!(!queue.restart());
        assert_eq!(next(), Some(4));
    }
}
