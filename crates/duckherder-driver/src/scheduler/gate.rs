//! Holding back the rows of tasks where the driver's query gives none before it has them all, as an aggregate does: as
//! long as no row was taken, a lost worker costs no more than its tasks' time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use crate::sync::lock;

/// Bytes of rows that are held back; with more of them, the driver begins to work.
const HELD_BYTES: u64 = 4 << 20;

/// Between the tasks' rows and their readers. Once open, it stays open.
pub struct Gate {
    is_open: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// Tasks that have not ended.
    missing: usize,
    bytes: u64,
    waiting: Vec<Waker>,
}

impl Gate {
    /// Before the rows of so many tasks; open from the start if nothing is to be held back.
    pub fn new(tasks: usize, holds: bool) -> Self {
        let state = State { missing: tasks, bytes: 0, waiting: Vec::new() };
        Self { is_open: AtomicBool::new(!holds), state: Mutex::new(state) }
    }

    /// Rows are about to come.
    pub fn come(&self, bytes: u64) {
        if !self.is_open.load(Ordering::Acquire) {
            let mut state = lock(&self.state);
            state.bytes += bytes;
            let full = state.bytes > HELD_BYTES;
            drop(state);
            if full {
                self.open();
            }
        }
    }

    /// A task has ended.
    pub fn task_ended(&self) {
        let mut state = lock(&self.state);
        state.missing = state.missing.saturating_sub(1);
        let all = state.missing == 0;
        drop(state);
        if all {
            self.open();
        }
    }

    /// Lets everybody through.
    pub fn open(&self) {
        let waiting = {
            let mut state = lock(&self.state);
            self.is_open.store(true, Ordering::Release);
            std::mem::take(&mut state.waiting)
        };
        // Outside the lock: waking waits until the reader's thread is done with parking.
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether rows may be taken; the waker is woken once they may.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_open.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        let mut state = lock(&self.state);
        if self.is_open.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        state.waiting.push(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_open(gate: &Gate) -> bool {
        gate.poll(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn it_opens_with_the_last_task_or_with_many_rows() {
        let gate = Gate::new(2, true);
        gate.come(HELD_BYTES);
        gate.task_ended();
        assert!(!is_open(&gate));
        gate.task_ended();
        assert!(is_open(&gate));

        let gate = Gate::new(2, true);
        gate.come(HELD_BYTES);
        gate.come(1);
        assert!(is_open(&gate));
        assert!(is_open(&Gate::new(2, false)));
    }
}
