//! The threads of tasks, counted: whoever takes a scheduler down waits until the last of them has let go of the
//! database. (A thread that is still closing it while the process exits meets destroyed globals of DuckDB.)

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use duckherder_engine::EngineError;

use crate::sync::lock;

#[derive(Default)]
pub struct TaskThreads {
    running: Mutex<usize>,
    one_ended: Condvar,
}

/// Counts a thread until it is dropped.
struct Running(Arc<TaskThreads>);

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&self.0.running) -= 1;
        self.0.one_ended.notify_all();
    }
}

impl TaskThreads {
    /// Runs `body` on a thread of its own.
    ///
    /// # Errors
    /// There are no threads left.
    pub fn spawn(self: &Arc<Self>, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), EngineError> {
        *lock(&self.running) += 1;
        let running = Running(Arc::clone(self));
        std::thread::Builder::new()
            .name(format!("task-{name}"))
            .spawn(move || {
                // Captured first: it goes last, also when there is no thread and when `body` panics.
                let _running = running;
                body();
            })
            .map(drop)
            .map_err(|error| EngineError::new("IO", format!("cannot start a thread for tasks: {error}")))
    }

    /// Waits until no thread is left, `at_most` so long. Whether that came about.
    pub fn wait(&self, at_most: Duration) -> bool {
        let running = lock(&self.running);
        let waited = self.one_ended.wait_timeout_while(running, at_most, |running| *running > 0);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn waiting_ends_with_the_last_thread() {
        let threads = Arc::new(TaskThreads::default());
        let (release, released) = mpsc::channel::<()>();
        threads.spawn("a", move || while released.recv().is_ok() {}).unwrap();
        threads.spawn("b", || ()).unwrap();
        assert!(!threads.wait(Duration::from_millis(20)));
        drop(release);
        assert!(threads.wait(Duration::from_secs(10)));
    }
}
