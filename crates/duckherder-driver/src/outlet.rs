//! The way of a result from DuckDB's thread to the client's stream.
//!
//! ```text
//!  DuckDB --> pump thread --send--> [ bounded queue ] --Stream--> tonic --> client
//!                  \                                     drop = cancel
//!                   `--> spool (memory, then file), when another statement wants the connection
//! ```

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use arrow_flight::FlightData;
use futures::Stream;
use tonic::Status;

use crate::sync::{Execution, lock};

/// Bytes that wait for one slow client before DuckDB is held back.
const QUEUE_BYTES: usize = 16 << 20;

/// The producing end; shared by the pump and by whoever wants the pump's connection.
pub struct Outlet {
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<FlightData>,
    queued_bytes: usize,
    end: Option<Result<(), Status>>,
    waker: Option<Waker>,
    cancelled: bool,
    wanted: bool,
}

/// What became of a message given to [`Outlet::send`].
pub enum Sent {
    Queued,
    /// The client is gone.
    Cancelled,
    /// There is no room and the connection is wanted: put it somewhere else.
    Wanted(FlightData),
}

impl Outlet {
    /// Both ends of a stream whose statement, if it is one, runs as `execution`.
    pub fn new(execution: Option<Arc<Execution>>) -> (Arc<Self>, OutletStream) {
        let outlet = Arc::new(Self { state: Mutex::default(), room: Condvar::new() });
        let stream = OutletStream { outlet: Arc::clone(&outlet), execution };
        (outlet, stream)
    }

    /// Queues a message; waits for room as long as nobody wants the connection (or, with `wait`, whoever wants it).
    pub fn send(&self, message: FlightData, wait: bool) -> Sent {
        let bytes = message.data_header.len() + message.data_body.len();
        let mut state = lock(&self.state);
        loop {
            if state.cancelled {
                return Sent::Cancelled;
            }
            if state.queued_bytes == 0 || state.queued_bytes + bytes <= QUEUE_BYTES {
                state.queued_bytes += bytes;
                state.queue.push_back(message);
                if let Some(waker) = state.waker.take() {
                    drop(state);
                    waker.wake();
                }
                return Sent::Queued;
            }
            if state.wanted && !wait {
                return Sent::Wanted(message);
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the stream, well or with an error.
    pub fn end(&self, result: Result<(), Status>) {
        let waker = {
            let mut state = lock(&self.state);
            state.end.get_or_insert(result);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Asks the pump to let go of the connection as soon as it can.
    pub fn want_connection(&self) {
        lock(&self.state).wanted = true;
        self.room.notify_all();
    }

    pub fn is_cancelled(&self) -> bool {
        lock(&self.state).cancelled
    }

    fn cancel(&self) {
        let mut state = lock(&self.state);
        state.cancelled = true;
        state.queue.clear();
        drop(state);
        self.room.notify_all();
    }
}

/// The consuming end, a gRPC response. Dropping it cancels the statement.
pub struct OutletStream {
    outlet: Arc<Outlet>,
    execution: Option<Arc<Execution>>,
}

impl OutletStream {
    /// Waits until there is a first message or the end. An error at once is returned instead of the stream.
    ///
    /// # Errors
    /// The statement failed before it gave anything.
    pub async fn started(self) -> Result<Self, Status> {
        let failed = std::future::poll_fn(|context| {
            let mut state = lock(&self.outlet.state);
            match &state.end {
                _ if !state.queue.is_empty() => Poll::Ready(None),
                Some(Err(_)) => Poll::Ready(state.end.replace(Ok(())).and_then(Result::err)),
                Some(Ok(())) => Poll::Ready(None),
                None => {
                    state.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        match failed {
            Some(status) => Err(status),
            None => Ok(self),
        }
    }
}

impl Stream for OutletStream {
    type Item = Result<FlightData, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = lock(&self.outlet.state);
        if let Some(message) = state.queue.pop_front() {
            state.queued_bytes -= message.data_header.len() + message.data_body.len();
            drop(state);
            self.outlet.room.notify_all();
            return Poll::Ready(Some(Ok(message)));
        }
        match &state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(_)) => Poll::Ready(state.end.replace(Ok(())).and_then(Result::err).map(Err)),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for OutletStream {
    fn drop(&mut self) {
        self.outlet.cancel();
        if let Some(execution) = &self.execution {
            execution.cancel();
        }
    }
}
