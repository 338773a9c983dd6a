//! Several readers of several sources: whoever is free takes what is there.
//!
//! DuckDB may read a relation with fewer threads than it has sources. If each thread kept to one source until its end,
//! the others' tasks would stand still, and with them whoever else waits for their rows.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Wakes everybody who waits for any of the sources.
#[derive(Default)]
pub struct FanIn {
    waiting: Mutex<Vec<Waker>>,
}

impl Wake for FanIn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl FanIn {
    /// What `attempt` finds in the sources, which it polls with the context that it is given. If that is nothing, the
    /// reader of `cx` is woken with all others once it may be more.
    pub fn poll<T>(
        self: &Arc<Self>,
        cx: &Context<'_>,
        mut attempt: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let everybody = Waker::from(Arc::clone(self));
        let mut shared = Context::from_waker(&everybody);
        if let Poll::Ready(found) = attempt(&mut shared) {
            return Poll::Ready(found);
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(cx.waker().clone());
        // What came before this reader was on the list woke the others only.
        attempt(&mut shared)
    }

    /// A source has ended: it wakes nobody any more, and may have been the last.
    pub fn source_ended(self: &Arc<Self>) {
        self.wake_by_ref();
    }
}
