//! Whether the driver's DuckDB can go on. One that fails in certain ways, as where a checkpoint finds no room on the disk,
//! refuses all statements from then on, until it is opened anew. Its driver ends then, so that whoever starts it again, or
//! its standby, opens what was made durable.
//!
//! ```text
//!   an answer is such an error --does DuckDB still answer?--no--> nothing is let in, the process ends
//! ```
//!
//! A driver that is told to end interrupts what takes too long, and workers do not reach it any more: that is told as the
//! loss of the driver that it is, after which a client goes on with the next one.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use duckherder_proto::error::{ErrorDetail, PEER_LOST};
use tokio::sync::watch;
use tonic::Status;

use crate::databases::Databases;
use crate::error::{DriverError, Result};

/// DuckDB's names for errors after which it may refuse everything, or all that concerns one of its databases. (A worker
/// may have such an error, too.)
const SUSPICIOUS: [&str; 2] = ["FATAL", "IO"];

/// Those that statements may have since the driver ends.
const OF_THE_END: [&str; 3] = ["INTERRUPT", "IO", PEER_LOST];

/// What is known of it.
pub struct Health {
    databases: Weak<Databases>,
    failure: watch::Sender<Option<String>>,
    ends: AtomicBool,
}

impl Health {
    pub fn of(databases: Weak<Databases>) -> Self {
        Self { databases, failure: watch::Sender::new(None), ends: AtomicBool::new(false) }
    }

    /// # Errors
    /// [`DriverError::Failed`], for ever.
    pub fn check(&self) -> Result<()> {
        match &*self.failure.borrow() {
            None => Ok(()),
            Some(reason) => Err(DriverError::Failed { reason: reason.clone() }),
        }
    }

    /// From now on, statements fail since the driver ends.
    pub fn end(&self) {
        self.ends.store(true, Ordering::SeqCst);
    }

    /// An answer as it goes out.
    pub fn pass<T>(&self, answer: Result<T, Status>) -> Result<T, Status> {
        let Err(status) = &answer else { return answer };
        if self.ends.load(Ordering::SeqCst) {
            let ErrorDetail { exception_type, message, .. } = ErrorDetail::from_status(status);
            return match OF_THE_END.contains(&exception_type.as_str()) {
                true => Err(DriverError::Ends { reason: message }.into()),
                false => answer,
            };
        }
        self.heard(status);
        answer
    }

    /// An error goes out. If it is an error after which DuckDB may refuse to work, it is asked.
    fn heard(&self, status: &Status) {
        let is_suspicious = |kind: &str| SUSPICIOUS.contains(&kind);
        if !is_suspicious(&ErrorDetail::from_status(status).exception_type) || self.check().is_err() {
            return;
        }
        let Some(databases) = self.databases.upgrade() else { return };
        if let Err(DriverError::Engine(error)) = databases.try_all()
            && is_suspicious(&error.exception_type)
        {
            tracing::error!(error = error.message, "DuckDB can't go on");
            self.failure.send_replace(Some(error.message));
        }
    }

    /// Waits until it can't go on.
    pub fn failed(&self) -> impl Future<Output = DriverError> + Send + use<> {
        let mut failure = self.failure.subscribe();
        async move {
            let reason = failure.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
            match reason {
                Some(reason) => DriverError::Failed { reason },
                // The driver is gone, and was well to the end.
                None => std::future::pending().await,
            }
        }
    }
}
