//! The threads that do the network's work, and how DuckDB's threads wait for them.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use duckherder_engine::client::Patience;
use duckherder_engine::{EngineError, Result};
use tokio::runtime::Runtime;

use crate::io_error;

/// Threads for the network; rows are converted on DuckDB's own.
const THREADS: usize = 2;
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

/// Runs `future` on the network's threads and waits for it on one of DuckDB's, as long as the query is not interrupted.
///
/// # Errors
/// The future's, or `INTERRUPT`; the future is dropped then, which cancels what it does.
pub fn wait<T: Send + 'static>(
    patience: &Patience,
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let task = runtime()?.spawn(async move {
        // Nobody waits any more if this fails.
        let _ = sender.send(future.await);
    });
    loop {
        match receiver.recv_timeout(INTERRUPT_CHECK) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) if patience.interrupted() => {
                task.abort();
                return Err(EngineError::interrupted());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(io_error("a thread of the network's has failed")),
        }
    }
}

/// As [`wait`], for at most `limit`; `what` names the call.
///
/// # Errors
/// As [`wait`], or `IO` when the time is up.
pub fn wait_at_most<T: Send + 'static>(
    limit: Duration,
    what: &str,
    patience: &Patience,
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let what = what.to_string();
    wait(patience, async move {
        tokio::time::timeout(limit, future)
            .await
            .unwrap_or_else(|_| Err(io_error(format!("{what} did not answer within {} s", limit.as_secs()))))
    })
}
