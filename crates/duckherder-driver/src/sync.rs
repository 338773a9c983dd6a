//! Small helpers around threads and locks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use duckherder_engine::Interrupter;

/// Locks a mutex whose data stays meaningful if a holder panicked.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a cancelled statement is interrupted again until it has ended: DuckDB forgets an interrupt that comes
/// before the statement starts.
const INTERRUPT_EVERY: Duration = Duration::from_millis(20);

/// One use of a session's connection that can be cancelled, from before it starts until it has ended.
///
/// An interrupt reaches only this use of the connection, never the next one.
pub struct Execution {
    state: Mutex<State>,
}

struct State {
    interrupter: Option<Interrupter>,
    cancelled: bool,
}

impl Execution {
    pub fn new(interrupter: Interrupter) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { interrupter: Some(interrupter), cancelled: false }) })
    }

    /// The connection is about to be used by another: no interrupt from here on.
    pub fn finish(&self) {
        lock(&self.state).interrupter = None;
    }

    pub fn is_cancelled(&self) -> bool {
        lock(&self.state).cancelled
    }

    /// Stops the execution if it has not ended: interrupts it until it has. To be called inside the runtime.
    pub fn cancel(self: &Arc<Self>) {
        {
            let mut state = lock(&self.state);
            if state.cancelled || state.interrupter.is_none() {
                return;
            }
            state.cancelled = true;
        }
        if !self.interrupt() {
            return;
        }
        let execution = Arc::clone(self);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                while execution.interrupt() {
                    tokio::time::sleep(INTERRUPT_EVERY).await;
                }
            });
        }
    }

    /// Interrupts once; whether the execution still runs.
    fn interrupt(&self) -> bool {
        match &lock(&self.state).interrupter {
            Some(interrupter) => {
                interrupter.interrupt();
                true
            }
            None => false,
        }
    }
}

/// Cancels its execution when dropped; once the execution has ended that does nothing.
pub struct CancelOnDrop(pub Arc<Execution>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
