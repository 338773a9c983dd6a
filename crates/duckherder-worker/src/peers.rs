//! Connections to the processes that rows are fetched from: the driver, and other workers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use duckherder_proto::{CONNECTION_WINDOW_BYTES, MAX_FRAME_BYTES};
use tonic::transport::{Channel, Endpoint};

use crate::error::{Result, WorkerError};
use crate::server::KEEP_ALIVE_INTERVAL;

/// A process that does not answer by then is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a silent connection may take to show that it is alive.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of one stream that may be on their way. A task reads many streams, and what has arrived counts nowhere.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// One connection a location.
#[derive(Default)]
pub struct Peers {
    channels: Mutex<HashMap<String, Channel>>,
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
}
