//! Finding out that a driver which does not answer has a successor: a process that was stopped, or a machine that was
//! cut off, leaves its connections standing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::route::{Address, Known};
use crate::runtime::runtime;

/// How long calls wait before somebody looks, and how often then.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks, as long as there is a connection, whether another driver has taken over from the one at its end.
pub struct Lookout {
    superseded: watch::Sender<bool>,
    /// Calls that wait for an answer.
    waiting: AtomicUsize,
}

/// A call that waits.
struct Waiting<'a>(&'a Lookout);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lookout {
    /// For a driver that is `known`; its successor would be at one of `others`. Ends when it is dropped.
    pub fn start(known: Known, others: Vec<Address>) -> Arc<Self> {
        let lookout = Arc::new(Self { superseded: watch::Sender::new(false), waiting: AtomicUsize::new(0) });
        let looking = Arc::downgrade(&lookout);
        if let Ok(runtime) = runtime() {
            runtime.spawn(async move {
                loop {
                    tokio::time::sleep(LOOK_EVERY).await;
                    let waits = match looking.upgrade() {
                        Some(lookout) => lookout.waiting.load(Ordering::Relaxed) > 0,
                        None => return,
                    };
                    if waits && any_successor(&known, &others).await {
                        if let Some(lookout) = looking.upgrade() {
                            lookout.superseded.send_replace(true);
                        }
                        return;
                    }
                }
            });
        }
        lookout
    }

    pub fn is_superseded(&self) -> bool {
        *self.superseded.borrow()
    }

    /// Waits until another driver has taken over.
    pub async fn superseded(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(self);
        // The sender is here.
        let _ = self.superseded.subscribe().wait_for(|superseded| *superseded).await;
    }
}

async fn any_successor(known: &Known, others: &[Address]) -> bool {
    let asked = others.iter().map(async |other| match other.ask().await {
        Ok((_, hello)) => known.is_older_than(&hello),
        Err(_) => false,
    });
    futures::future::join_all(asked).await.contains(&true)
}
