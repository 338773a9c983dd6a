//! The rows of a query's tasks as the driver's query reads them: of one attempt or, when workers are lost before any row
//! was taken, of the next one, by those that are left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use duckherder_engine::EngineError;
use duckherder_engine::distribute::{Exchange, TaskOutput};

use super::Shared;
use super::crew::{Crew, Hiring};
use super::exchange::{Run, Work};
use super::remote::RemoteRun;
use super::session::Last;
use crate::alone::is_of_values;
use crate::sync::lock;

/// How often a query, or one task of it, is tried. (What ends every worker that runs it must not end them all.)
pub const MOST_ATTEMPTS: usize = 4;

/// The rows of a query's tasks; dropping it stops them.
pub struct TaskExchange {
    shared: Arc<Shared>,
    work: Work,
    hiring: Hiring,
    current: RwLock<Attempt>,
    session: Weak<Mutex<Last>>,
    /// Some of what the tasks gave was taken: from here on there is no other attempt. Set while `current` is held.
    taken: AtomicBool,
}

struct Attempt {
    run: Arc<Run>,
    number: usize,
}

impl TaskExchange {
    /// Starts the first attempt.
    ///
    /// # Errors
    /// There are no threads left, or the splits can't be served.
    pub fn start(
        shared: &Arc<Shared>,
        work: Work,
        hiring: Hiring,
        crew: Crew,
        session: Weak<Mutex<Last>>,
    ) -> Result<Self, EngineError> {
        let run = Run::start(shared, &work, crew)?;
        let current = RwLock::new(Attempt { run, number: 1 });
        Ok(Self { shared: Arc::clone(shared), work, hiring, current, session, taken: AtomicBool::new(false) })
    }

    fn current(&self) -> RwLockReadGuard<'_, Attempt> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error as the driver's query sees it. A worker that was lost is an IO error there, which undoes what a
    /// statement has changed so far; DuckDB takes one of a connection for one that comes before that. The session knows
    /// better what it was.
    fn told(&self, error: EngineError) -> EngineError {
        if let Some(last) = self.session.upgrade() {
            let mut last = lock(&last);
            if error.is_lost() {
                last.lost = Some(error.message.clone());
            } else if is_of_values(&error) {
                last.failed = Some(error.message.clone());
            }
        }
        error.for_user()
    }

    /// Another attempt, unless there is one already in the place of `failed`. It has other workers and a number of its
    /// own for the query, so that nothing of an earlier attempt is taken for its own, and the same splits.
    fn try_again(&self, failed: &Arc<Run>, error: EngineError) -> Result<(), EngineError> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&current.run, failed) {
            return Ok(());
        }
        if self.taken.load(Ordering::SeqCst) {
            return Err(error);
        }
        if current.number >= MOST_ATTEMPTS || self.work.is_given_up() {
            // Nor is the client to run it again: it may be the query that ends its workers.
            return Err(EngineError::new("IO", format!("{} (tried {MOST_ATTEMPTS} times)", error.message)));
        }
        tracing::warn!(%error, attempt = current.number + 1, "a query's tasks run once more, by the workers that are left");
        let run = Run::start(&self.shared, &self.work, self.hiring.hire_again(&self.shared))?;
        *current = Attempt { run, number: current.number + 1 };
        Ok(())
    }
}

impl Exchange for TaskExchange {
    fn partitions(&self) -> usize {
        self.current().run.partitions()
    }

    fn schema(&self) -> Result<SchemaRef, EngineError> {
        let run = Arc::clone(&self.current().run);
        run.remote
            .as_ref()
            .and_then(RemoteRun::result_schema)
            .ok_or_else(|| EngineError::internal("rows came as Arrow before any worker told their schema"))
    }

    fn poll(&self, partition: usize, cx: &mut Context<'_>) -> Poll<Result<TaskOutput, EngineError>> {
        self.poll_attempts(partition, cx).map_err(|error| self.told(error))
    }

    fn ended(&self, most: Duration) -> bool {
        // Not held while waiting: another attempt may have to take the place of this one.
        let run = Arc::clone(&self.current().run);
        run.wait_until_ended(most)
    }
}

impl TaskExchange {
    fn poll_attempts(&self, partition: usize, cx: &mut Context<'_>) -> Poll<Result<TaskOutput, EngineError>> {
        loop {
            let (failed, error) = {
                let current = self.current();
                match current.run.poll(partition, cx) {
                    Poll::Ready(Err(error)) if error.is_lost() && !self.taken.load(Ordering::SeqCst) => {
                        (Arc::clone(&current.run), error)
                    }
                    Poll::Ready(Ok(output)) => {
                        self.taken.store(true, Ordering::SeqCst);
                        return Poll::Ready(Ok(output));
                    }
                    other => return other,
                }
            };
            if let Err(error) = self.try_again(&failed, error) {
                return Poll::Ready(Err(error));
            }
        }
    }
}

impl Drop for TaskExchange {
    fn drop(&mut self) {
        self.current().run.stop();
    }
}
