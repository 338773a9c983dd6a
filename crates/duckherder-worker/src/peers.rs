//! Connections to the processes that rows are fetched from: the driver, and other workers.
//!
//! ```text
//!   a connection is lost --can it be made again?--no--> unreachable (the driver is told) --it can--> forgotten
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use duckherder_proto::{CONNECTION_WINDOW_BYTES, MAX_FRAME_BYTES};
use tonic::transport::{Channel, Endpoint};

use crate::error::{Result, WorkerError};

/// A process that does not answer by then is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// When a silent connection has to show that it is alive, and how long it may take: a query waits for it.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(7);
/// How long it may take to reach a process again, how often that is tried, and for how long.
const REACH_TIMEOUT: Duration = Duration::from_secs(2);
const REACH_EVERY: Duration = Duration::from_secs(1);
const REACH_FOR: Duration = Duration::from_secs(600);
/// Processes that can't be reached of which anybody hears.
const MOST_UNREACHABLE: usize = 1000;

/// Bytes of one stream that may be on their way. A task reads many streams, and what has arrived counts nowhere.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// One connection a location.
#[derive(Default)]
pub struct Peers {
    channels: Mutex<HashMap<String, Channel>>,
    unreachable: Arc<Unreachable>,
}

/// The locations that can't be reached.
#[derive(Default)]
struct Unreachable(Mutex<BTreeSet<String>>);

impl Unreachable {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peers {
    /// A connection to `grpc://host:port`, made when it is first used.
    ///
    /// # Errors
    /// The location is malformed.
    pub fn channel(&self, location: &str) -> Result<Channel> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(location) {
            return Ok(channel.clone());
        }
        let malformed = || WorkerError::Invalid(format!("'{location}' is not of the form grpc://host:port"));
        let authority = location.strip_prefix("grpc://").ok_or_else(malformed)?;
        let endpoint = Endpoint::from_shared(format!("http://{authority}")).map_err(|_| malformed())?;
        let channel = endpoint
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(MAX_FRAME_BYTES)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .connect_lazy();
        channels.insert(location.to_string(), channel.clone());
        Ok(channel)
    }

    /// The locations to which a connection was lost, and can't be made again.
    pub fn unreachable(&self) -> Vec<String> {
        self.unreachable.lock().iter().cloned().collect()
    }

    /// A connection to `location` was lost: finds out whether that can be reached, before whoever waits for its rows
    /// hears of it. If it can't, it is tried again and again.
    pub fn look_after(&self, location: &str) -> impl Future<Output = ()> + Send + use<> {
        let (unreachable, location) = (Arc::clone(&self.unreachable), location.to_string());
        async move {
            if reach(&location).await {
                unreachable.lock().remove(&location);
                return;
            }
            {
                let mut known = unreachable.lock();
                if known.len() == MOST_UNREACHABLE || !known.insert(location.clone()) {
                    return;
                }
            }
            tracing::warn!(location, "cannot be reached");
            tokio::spawn(async move {
                let since = Instant::now();
                while since.elapsed() < REACH_FOR && !reach(&location).await {
                    tokio::time::sleep(REACH_EVERY).await;
                }
                unreachable.lock().remove(&location);
            });
        }
    }
}

/// Whether somebody listens at `grpc://host:port`.
async fn reach(location: &str) -> bool {
    let authority = location.strip_prefix("grpc://").unwrap_or(location);
    let connected = tokio::time::timeout(REACH_TIMEOUT, tokio::net::TcpStream::connect(authority)).await;
    matches!(connected, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn who_cannot_be_reached_is_known_until_he_can() {
        let peers = Peers::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let location = format!("grpc://{address}");
        peers.look_after(&location).await;
        assert!(peers.unreachable().is_empty());

        drop(listener);
        peers.look_after(&location).await;
        peers.look_after(&location).await;
        assert_eq!(peers.unreachable(), [location]);

        let _listener = tokio::net::TcpListener::bind(address).await.unwrap();
        while !peers.unreachable().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
