//! Workers that a driver knew before it was started again: those that answer join at once, the others when they do.

use std::sync::{Weak, mpsc};
use std::time::Duration;

use futures::future::join_all;

use crate::service::Shared;

/// How often a worker that does not answer is tried.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Tries `silent` workers, ids and locations, until all have joined; says when all have been tried once.
pub async fn rejoin(driver: Weak<Shared>, mut silent: Vec<(String, String)>, tried: mpsc::Sender<()>) {
    let mut tried = Some(tried);
    while !silent.is_empty() {
        let Some(driver) = driver.upgrade() else { return };
        silent = try_all(&driver, silent, tried.is_some()).await;
        drop(driver);
        if let Some(tried) = tried.take() {
            // Whoever waited may have lost patience.
            let _ = tried.send(());
        }
        if !silent.is_empty() {
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

/// Those that still don't answer.
async fn try_all(driver: &Shared, workers: Vec<(String, String)>, first: bool) -> Vec<(String, String)> {
    // Somebody may have registered it again, elsewhere.
    let known: Vec<String> = driver.cluster.remote_workers().into_iter().map(|worker| worker.id).collect();
    let missing: Vec<_> = workers.into_iter().filter(|(id, _)| !known.contains(id)).collect();
    let answers = join_all(missing.iter().map(|(id, location)| driver.cluster.register(id, location))).await;
    if answers.iter().any(Result::is_ok) {
        driver.sessions.workers_changed();
    }
    let mut silent = Vec::new();
    for (worker, answer) in missing.into_iter().zip(answers) {
        if let Err(error) = answer {
            if first {
                tracing::warn!(worker = worker.0, %error, "a worker has not joined again and is tried from now on");
            }
            silent.push(worker);
        }
    }
    silent
}
