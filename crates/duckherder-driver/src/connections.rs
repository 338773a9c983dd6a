//! The connections of clients: a session whose client is gone for good ends, whatever its process had left open.
//!
//! ```text
//!   incoming --watched()--> Watched connection, number 7 --interceptor--> call with the header "7" --> Session
//!                               '-- dropped: 7 is closed --> Sessions::expire ends what was last used through it
//! ```

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::{Request, Status};

use crate::sync::lock;

/// The header in which a call says, behind the interceptor, through which connection it came. What a client sends under
/// this name is overwritten.
const CONNECTION_HEADER: &str = "x-duckherder-connection";

/// Which connections are open.
#[derive(Default)]
pub struct Connections {
    last: AtomicU64,
    open: Mutex<HashSet<u64>>,
}

impl Connections {
    pub fn watched(self: &Arc<Self>, stream: TcpStream) -> Watched {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.open).insert(number);
        Watched { stream, number, connections: Arc::clone(self) }
    }

    pub fn is_open(&self, number: u64) -> bool {
        lock(&self.open).contains(&number)
    }
}

/// A connection that says when it is closed.
pub struct Watched {
    stream: TcpStream,
    number: u64,
    connections: Arc<Connections>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.connections.open).remove(&self.number);
    }
}

/// What a call knows of its connection.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    number: u64,
    tcp: TcpConnectInfo,
}

impl Connected for Watched {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        ConnectionInfo { number: self.number, tcp: self.stream.connect_info() }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Writes into a call through which connection it came, and from where, for [`Request::remote_addr`].
///
/// # Errors
/// Never.
#[allow(clippy::result_large_err, reason = "tonic's interceptors are so")]
pub fn note_connection(mut call: Request<()>) -> Result<Request<()>, Status> {
    call.metadata_mut().remove(CONNECTION_HEADER);
    if let Some(info) = call.extensions().get::<ConnectionInfo>().cloned() {
        call.metadata_mut().insert(CONNECTION_HEADER, MetadataValue::from(info.number));
        call.extensions_mut().insert(info.tcp);
    }
    Ok(call)
}

/// The connection through which a call came, by its number.
pub fn connection_of(metadata: &MetadataMap) -> Option<u64> {
    metadata.get(CONNECTION_HEADER)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_connection_is_open_until_it_is_dropped() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, from) = listener.accept().await.unwrap();
        let connections = Arc::new(Connections::default());
        let watched = connections.watched(accepted);
        let info = watched.connect_info();
        assert_eq!(info.tcp.remote_addr(), Some(from));
        assert!(connections.is_open(info.number));

        let mut call = Request::new(());
        call.metadata_mut().insert(CONNECTION_HEADER, MetadataValue::from(99_u64));
        call.extensions_mut().insert(info.clone());
        let call = note_connection(call).unwrap();
        assert_eq!(connection_of(call.metadata()), Some(info.number));
        assert_eq!(call.remote_addr(), Some(from));

        drop(watched);
        assert!(!connections.is_open(info.number));
        drop(client);
    }

    #[test]
    fn a_call_without_a_connection_says_nothing() {
        let mut call = Request::new(());
        call.metadata_mut().insert(CONNECTION_HEADER, MetadataValue::from(99_u64));
        assert_eq!(connection_of(note_connection(call).unwrap().metadata()), None);
    }
}
