//! Asking a worker, again and again, whether it is there: who misses an answer gets no new tasks, and who stays silent
//! is removed, so that what waits for it goes on elsewhere or ends.
//!
//! ```text
//!   ACTIVE <---answers---misses---> SUSPECTED --silent too long--> removed
//!      '--wants to leave--> DRAINING --nobody counts on it--> told that it may leave, removed
//! ```

use std::sync::Weak;
use std::time::Duration;

use duckherder_proto::herd::{AskWorker, WorkerStatus};
use futures::future::join_all;
use tonic::Status;

use super::Cluster;
use super::call::ask;
use super::worker::RemoteWorker;

/// A worker is asked no less often.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// When workers are asked, and when a silent one is given up.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    silence: Duration,
}

impl Timing {
    /// A worker that says nothing for `silence` is removed.
    pub fn new(silence: Duration) -> Self {
        Self { silence }
    }

    /// How often workers are asked, and have to join again.
    pub fn every(self) -> Duration {
        ASK_EVERY.min(self.silence / 4)
    }

    /// How long it takes at most from one question to the end of the next, unless the driver itself stands still: that
    /// says nothing of its workers.
    pub fn round(self) -> Duration {
        self.every() * 2
    }

    /// How long the worker may take for an answer: it is asked again before it is given up.
    fn limit(self, worker: &RemoteWorker) -> Duration {
        let left = self.silence.saturating_sub(worker.silent_for());
        self.every().min(left).max(Duration::from_millis(10))
    }
}

/// Watches a worker until it is removed.
pub async fn watch(cluster: Weak<Cluster>, worker: RemoteWorker) {
    let here = || cluster.upgrade().filter(|_| !worker.is_gone());
    while let Some(timing) = here().map(|cluster| cluster.timing) {
        worker.rest(timing.limit(&worker)).await;
        let Some(driver) = here().map(|cluster| cluster.number) else { return };
        let question = AskWorker { driver, may_leave: worker.may_leave() };
        let answer = ask(&worker.channel, &question, timing.limit(&worker)).await;
        if let Some(cluster) = here() {
            cluster.heard(&worker, answer, question.may_leave);
        }
    }
}

/// How long a worker may take to show that it is there where somebody waits for that.
const AT_ONCE: Duration = Duration::from_secs(1);

impl Cluster {
    /// Asks these workers now; those that do not answer at once are suspected.
    pub async fn call_all(&self, workers: &[RemoteWorker]) {
        let call = |worker: &RemoteWorker| {
            let (worker, driver) = (worker.clone(), self.number);
            async move {
                let question = AskWorker { driver, may_leave: false };
                let answer = ask::<WorkerStatus>(&worker.channel, &question, AT_ONCE).await;
                self.heard(&worker, answer, false);
            }
        };
        join_all(workers.iter().map(call)).await;
    }

    /// What a worker has said, or has not; `may_leave`: what it was told.
    fn heard(&self, worker: &RemoteWorker, answer: Result<Option<WorkerStatus>, Status>, may_leave: bool) {
        match answer {
            Ok(Some(status)) if status.instance != worker.instance => {
                self.remove(worker, "it was started again");
            }
            Ok(Some(status)) => {
                let changed = worker.answered(status);
                if may_leave {
                    self.left(worker);
                } else if changed {
                    if worker.may_leave() {
                        worker.hurry();
                    }
                    self.changed();
                }
            }
            // One that was told it may leave has, perhaps before it could answer.
            Ok(None) | Err(_) if may_leave => self.left(worker),
            Ok(None) | Err(_) => {
                if worker.missed() >= self.timing.silence {
                    self.remove(worker, &format!("no answer for {} s", self.timing.silence.as_secs_f64()));
                } else {
                    self.suspect(worker);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use duckherder_proto::herd::WorkerState;
    use tonic::transport::Endpoint;

    use super::*;

    #[tokio::test]
    async fn a_driver_that_stood_still_removes_nobody() {
        let silence = Duration::from_millis(200);
        let cluster = Arc::new(Cluster::with_timeout(0, silence));
        let channel = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let worker =
            RemoteWorker::new("w", "grpc://127.0.0.1:1", channel, WorkerStatus::default(), cluster.timing.round());
        let miss = || cluster.heard(&worker, Err(Status::unavailable("")), false);

        std::thread::sleep(silence * 3);
        assert_eq!(cluster.timing.limit(&worker), cluster.timing.every());
        miss();
        assert!(!worker.is_gone() && worker.state() == WorkerState::Suspected);

        // It was looked at, and said nothing, all the while.
        std::thread::sleep(cluster.timing.round());
        miss();
        assert!(worker.is_gone());
    }
}
