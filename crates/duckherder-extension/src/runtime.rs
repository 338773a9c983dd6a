//! The threads that do the network's work, and how DuckDB's threads wait for them.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use duckherder_engine::client::Patience;
use duckherder_engine::{EngineError, Result};
use tokio::runtime::Runtime;

use crate::io_error;

/// Threads for the network; rows are converted on DuckDB's own. One task reads a connection's frames: a second thread
/// would be woken with each call to find nothing to do.
const THREADS: usize = 1;
/// How often a waiting thread looks whether its query was interrupted.
const INTERRUPT_CHECK: Duration = Duration::from_millis(50);

static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();

/// The process's runtime.
///
/// # Errors
/// The system gives no threads.
pub fn runtime() -> Result<&'static Runtime> {
    let made = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(THREADS).thread_name("duckherder-net").enable_all().build().ok()
    });
    made.as_ref().ok_or_else(|| io_error("cannot start the threads for the network"))
}

/// Wakes the thread that waits for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs `future` on the calling thread, one of DuckDB's, as long as the query is not interrupted. (Handing it to the
/// network's threads would cost two more changes of threads a call; they carry only what comes and goes.)
///
/// # Errors
/// The future's, or `INTERRUPT`; the future is dropped then, which cancels what it does.
pub fn wait<T>(patience: &Patience, future: impl Future<Output = Result<T>>) -> Result<T> {
    // Timers and tasks that the future starts belong to the network's threads.
    let _inside = runtime()?.enter();
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
        thread::park_timeout(INTERRUPT_CHECK);
        if patience.interrupted() {
            return Err(EngineError::interrupted());
        }
    }
}

/// As [`wait`], for at most `limit`; `what` names the call.
///
/// # Errors
/// As [`wait`], or `IO` when the time is up.
pub fn wait_at_most<T>(
    limit: Duration,
    what: &str,
    patience: &Patience,
    future: impl Future<Output = Result<T>>,
) -> Result<T> {
    wait(patience, async move {
        tokio::time::timeout(limit, future)
            .await
            .unwrap_or_else(|_| Err(io_error(format!("{what} did not answer within {} s", limit.as_secs()))))
    })
}
