//! How far a running statement is, asked now and then while somebody looks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use duckherder_proto::actions::{RunProgress, WatchRun};

use crate::call::{Line, Place};
use crate::runtime::runtime;

/// The driver is asked no more often; a statement that is done by then never.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// How long an answer is waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// One run of a statement on a driver.
pub struct Watch {
    line: Line,
    place: Place,
    run: u64,
    state: Arc<Mutex<State>>,
}

struct State {
    asked: Instant,
    /// An answer is on its way.
    waiting: bool,
    /// The most that the driver has said.
    done: Option<f64>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// `run` begins now.
    pub fn new(line: Line, place: Place, run: u64) -> Self {
        let state = State { asked: Instant::now(), waiting: false, done: None };
        Self { line, place, run, state: Arc::new(Mutex::new(state)) }
    }

    /// What the driver has said so far, from 0 to 1, never less than before. Asks it if that was a while ago, and does
    /// not wait for the answer; a driver that gives none is asked no more.
    pub fn done(&self) -> Option<f64> {
        let mut state = lock(&self.state);
        if !state.waiting && state.asked.elapsed() >= ASK_EVERY {
            state.waiting = true;
            state.asked = Instant::now();
            self.ask();
        }
        state.done
    }

    fn ask(&self) {
        let asked = self.line.action::<RunProgress, _>(Some(&self.place), &WatchRun { run: self.run });
        let state = Arc::clone(&self.state);
        if let Ok(runtime) = runtime() {
            runtime.spawn(async move {
                match tokio::time::timeout(ANSWER_LIMIT, asked).await {
                    Ok(Ok(RunProgress { done })) => {
                        let mut state = lock(&state);
                        state.waiting = false;
                        if done > state.done {
                            state.done = done;
                        }
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "a driver does not say how far a statement is"),
                    Err(_) => tracing::debug!("a driver does not say in time how far a statement is"),
                }
            });
        }
    }
}
