//! The body of a `DoPut` whose rows go to the network without being copied together.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::Channel;

/// Some of a stream's messages.
pub enum Pieces {
    More(Vec<Bytes>),
    Last(Vec<Bytes>),
}

/// A connection for one call, whose body is what comes out of the queue.
#[derive(Debug)]
pub struct PutChannel {
    channel: Channel,
    waiting: Option<mpsc::Receiver<Pieces>>,
}

impl PutChannel {
    pub fn new(channel: Channel, waiting: mpsc::Receiver<Pieces>) -> Self {
        Self { channel, waiting: Some(waiting) }
    }
}

impl Service<http::Request<Body>> for PutChannel {
    type Response = <Channel as Service<http::Request<Body>>>::Response;
    type Error = <Channel as Service<http::Request<Body>>>::Error;
    type Future = <Channel as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.channel, context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let request = match self.waiting.take() {
            Some(waiting) => {
                request.map(|_| Body::new(PutBody { waiting, pieces: Vec::new().into_iter(), last: false }))
            }
            None => request,
        };
        self.channel.call(request)
    }
}

struct PutBody {
    waiting: mpsc::Receiver<Pieces>,
    pieces: std::vec::IntoIter<Bytes>,
    last: bool,
}

impl http_body::Body for PutBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(piece) = self.pieces.next() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if self.last {
                return Poll::Ready(None);
            }
            match ready!(self.waiting.poll_recv(context)) {
                Some(Pieces::More(pieces)) => self.pieces = pieces.into_iter(),
                Some(Pieces::Last(pieces)) => {
                    self.pieces = pieces.into_iter();
                    self.last = true;
                }
                // Whoever had the rows is gone: their end must not look like the stream's.
                None => return Poll::Ready(Some(Err(io::Error::other("the rows were cut")))),
            }
        }
    }
}
