//! The rows of a query's tasks as the driver's query reads them: of one attempt or, when workers are lost before any row
//! was taken, of the next one, by those that are left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::task::{Context, Poll, Waker};
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
    /// Locked before `current`.
    next: Mutex<Option<Next>>,
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
        let (shared, next, taken) = (Arc::clone(shared), Mutex::default(), AtomicBool::new(false));
        Ok(Self { shared, work, hiring, current, next, session, taken })
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

    /// Has workers looked for that run the tasks once more, unless that is done already, or there is another attempt in
    /// the place of `failed`.
    fn prepare(&self, failed: &Arc<Run>, error: EngineError) -> Result<(), EngineError> {
        let mut next = lock(&self.next);
        let current = self.current();
        if next.is_some() || !Arc::ptr_eq(&current.run, failed) {
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
        *next = Some(Next { error, search: Search::start(&self.shared, &self.hiring)? });
        Ok(())
    }

    /// Starts the attempt that is prepared, if one is, once its workers are found. It has other workers and a number of its
    /// own for the query, so that nothing of an earlier attempt is taken for its own, and the same splits.
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<(), EngineError>> {
        let mut next = lock(&self.next);
        let Some(Next { search, .. }) = next.as_ref() else { return Poll::Ready(Ok(())) };
        let Poll::Ready(crew) = search.poll(cx) else { return Poll::Pending };
        let Some(Next { error, .. }) = next.take() else { return Poll::Ready(Ok(())) };
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if self.taken.load(Ordering::SeqCst) {
            return Poll::Ready(Err(error));
        }
        let run = Run::start(&self.shared, &self.work, crew.ok_or(error)?)?;
        *current = Attempt { run, number: current.number + 1 };
        Poll::Ready(Ok(()))
    }
}

/// An attempt that is prepared.
struct Next {
    /// Why the one before has failed.
    error: EngineError,
    search: Search,
}

/// The search for workers that are there: one that does not answer holds up the thread that asks it, which must be none of
/// DuckDB's.
struct Search(Arc<Mutex<Found>>);

#[derive(Default)]
struct Found {
    has_ended: bool,
    crew: Option<Crew>,
    wakers: Vec<Waker>,
}

impl Search {
    fn start(shared: &Arc<Shared>, hiring: &Hiring) -> Result<Self, EngineError> {
        let found = Arc::default();
        let (shared, hiring, end) = (Arc::clone(shared), hiring.clone(), End(Arc::clone(&found)));
        let search = move || {
            let end = end;
            let crew = hiring.hire_again(&shared);
            lock(&end.0).crew = Some(crew);
        };
        let started = std::thread::Builder::new().name("duckherder-hiring".to_string()).spawn(search);
        started.map_err(|error| EngineError::internal(format!("cannot start a thread: {error}")))?;
        Ok(Self(found))
    }

    /// Nothing, if it has failed.
    fn poll(&self, cx: &Context<'_>) -> Poll<Option<Crew>> {
        let mut found = lock(&self.0);
        if found.has_ended {
            return Poll::Ready(found.crew.take());
        }
        found.wakers.push(cx.waker().clone());
        Poll::Pending
    }
}

/// Tells those who wait, whatever happens.
struct End(Arc<Mutex<Found>>);

impl Drop for End {
    fn drop(&mut self) {
        let mut found = lock(&self.0);
        found.has_ended = true;
        let wakers = std::mem::take(&mut found.wakers);
        drop(found);
        wakers.into_iter().for_each(Waker::wake);
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
            match self.poll_next(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
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
            if let Err(error) = self.prepare(&failed, error) {
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
