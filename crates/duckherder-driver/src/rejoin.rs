//! Workers that somebody registered and that are missing, because the driver was started again or they were lost: they
//! are called until they are there.

use std::sync::{Weak, mpsc};

use futures::future::join_all;

use crate::cluster::Cluster;

/// A missing worker is called every so many times that one that is there is asked.
const SELDOM: u32 = 5;

/// Calls missing workers as long as there is a driver; says when all have been called once.
pub async fn rejoin(cluster: Weak<Cluster>, called: mpsc::Sender<()>) {
    let mut called = Some(called);
    loop {
        let Some(cluster) = cluster.upgrade() else { return };
        let missing = cluster.missing();
        let answers = join_all(missing.iter().map(|(id, location)| cluster.call_back(id, location))).await;
        if let Some(called) = called.take() {
            for ((id, _), error) in
                missing.iter().zip(&answers).filter_map(|(id, answer)| Some((id, answer.as_ref().err()?)))
            {
                tracing::warn!(worker = id, %error, "a worker has not joined again and is called from now on");
            }
            // Whoever waited may have lost patience.
            let _ = called.send(());
        }
        let pause = cluster.timing().every() * SELDOM;
        drop(cluster);
        tokio::time::sleep(pause).await;
    }
}
