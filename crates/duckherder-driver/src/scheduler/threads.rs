//! The threads of tasks. One that has run a task waits a while for the next: making a thread costs as much as a small
//! task.
//!
//! Whoever takes a scheduler down waits until the last of them has let go of the database. (A thread that is still
//! closing it while the process exits meets destroyed globals of DuckDB.)

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use duckherder_engine::{EngineError, STACK_BYTES};

use crate::sync::lock;

/// How long a thread waits for another task.
const IDLE: Duration = Duration::from_secs(5);

type Task = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub struct TaskThreads {
    state: Mutex<State>,
    /// A task came, or none will come any more.
    called: Condvar,
    one_ended: Condvar,
}

#[derive(Default)]
struct State {
    threads: usize,
    /// Those that wait for a task.
    idle: usize,
    /// Tasks that idle threads will take: never more than there are of those.
    tasks: VecDeque<Task>,
    /// No thread waits for a task any more.
    closed: bool,
    /// All that may still be there, if only to end.
    made: Vec<JoinHandle<()>>,
}

impl TaskThreads {
    /// Runs each of `tasks` on a thread that runs nothing else meanwhile. (Were they called one by one, the first of the
    /// threads could take the caller's processor before it has called the others.)
    ///
    /// # Errors
    /// There are no threads left; some of the tasks may run.
    pub fn spawn(
        self: &Arc<Self>,
        tasks: impl Iterator<Item = impl FnOnce() + Send + 'static>,
    ) -> Result<(), EngineError> {
        let mut tasks = tasks.map(|task| Box::new(task) as Task);
        let mut state = lock(&self.state);
        let idle = state.idle.saturating_sub(state.tasks.len());
        state.tasks.extend(tasks.by_ref().take(idle));
        let waiting = state.tasks.len();
        drop(state);
        match waiting {
            0 => (),
            1 => self.called.notify_one(),
            _ => self.called.notify_all(),
        }
        tasks.try_for_each(|task| self.make(task))
    }

    /// A new thread that begins with `task`.
    fn make(self: &Arc<Self>, task: Task) -> Result<(), EngineError> {
        lock(&self.state).threads += 1;
        let threads = Arc::clone(self);
        let made = std::thread::Builder::new()
            .name("task-thread".to_string())
            .stack_size(STACK_BYTES)
            .spawn(move || threads.run(task));
        match made {
            Ok(made) => {
                let mut state = lock(&self.state);
                state.made.retain(|thread| !thread.is_finished());
                state.made.push(made);
                Ok(())
            }
            Err(error) => {
                self.ended();
                Err(EngineError::new("IO", format!("cannot start a thread for tasks: {error}")))
            }
        }
    }

    fn run(&self, first: Task) {
        let mut next = Some(first);
        while let Some(task) = next {
            // It tells of its own panics; the thread is as good as before.
            drop(catch_unwind(AssertUnwindSafe(task)));
            next = self.next();
        }
        self.ended();
    }

    /// Another task, if one comes in time.
    fn next(&self) -> Option<Task> {
        let mut state = lock(&self.state);
        state.idle += 1;
        if state.tasks.is_empty() && !state.closed {
            let none = |state: &mut State| state.tasks.is_empty() && !state.closed;
            let waited = self.called.wait_timeout_while(state, IDLE, none);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.idle -= 1;
        state.tasks.pop_front()
    }

    fn ended(&self) {
        lock(&self.state).threads -= 1;
        self.one_ended.notify_all();
    }

    /// Waits until no thread is left, `at_most` so long. Whether that came about.
    pub fn close(&self, at_most: Duration) -> bool {
        let mut state = lock(&self.state);
        state.closed = true;
        self.called.notify_all();
        let waited = self.one_ended.wait_timeout_while(state, at_most, |state| state.threads > 0);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return false;
        }
        let made = std::mem::take(&mut state.made);
        drop(state);
        // They have said that they end, which takes no time now; none of them panics.
        made.into_iter().for_each(|thread| drop(thread.join()));
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::iter::once;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn waiting_ends_with_the_last_thread() {
        let threads = Arc::new(TaskThreads::default());
        let (release, released) = mpsc::channel::<()>();
        threads.spawn(once(move || while released.recv().is_ok() {})).unwrap();
        threads.spawn(once(|| ())).unwrap();
        assert!(!threads.close(Duration::from_millis(20)));
        drop(release);
        assert!(threads.close(Duration::from_secs(10)));
    }

    #[test]
    fn a_thread_is_used_again_but_by_one_task_at_a_time() {
        let threads = Arc::new(TaskThreads::default());
        let run = |tasks: usize| {
            let (told, tell) = mpsc::channel();
            let together = Arc::new(std::sync::Barrier::new(tasks));
            for _ in 0..tasks {
                let (told, together) = (told.clone(), Arc::clone(&together));
                threads
                    .spawn(once(move || {
                        together.wait();
                        told.send(thread::current().id()).unwrap();
                    }))
                    .unwrap();
            }
            drop(told);
            tell.iter().collect::<Vec<_>>()
        };
        let first = run(2);
        while lock(&threads.state).idle < 2 {
            thread::yield_now();
        }
        let again = run(3);
        assert_eq!(again.iter().filter(|thread| first.contains(thread)).count(), 2);
        assert!(threads.close(Duration::from_secs(10)));
    }
}
