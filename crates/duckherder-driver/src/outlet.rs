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
use std::time::Duration;

use arrow_flight::FlightData;
use futures::Stream;
use tonic::Status;

use crate::sync::{Execution, lock};

/// Bytes that wait for one slow client before DuckDB is held back.
const QUEUE_BYTES: usize = 16 << 20;

/// How long what is held waits for company: at first, and at most.
const FIRST_PATIENCE: Duration = Duration::from_millis(2);
const LAST_PATIENCE: Duration = Duration::from_millis(50);

/// The producing end; shared by the pump and by whoever wants the pump's connection.
pub struct Outlet {
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Default)]
struct State {
    /// Goes before everything else, with it, or by itself once [`OutletStream::started`] loses patience.
    held: Vec<FlightData>,
    queue: VecDeque<FlightData>,
    queued_bytes: usize,
    end: Option<Result<(), Status>>,
    waker: Option<Waker>,
    cancelled: bool,
    wanted: bool,
}

/// What became of the messages given to [`Outlet::send`].
pub enum Sent {
    Queued,
    /// The client is gone.
    Cancelled,
    /// There is no room and the connection is wanted: put these somewhere else.
    Wanted(VecDeque<FlightData>),
}

impl State {
    fn push(&mut self, message: FlightData) {
        self.queued_bytes += message_bytes(&message);
        self.queue.push_back(message);
    }

    /// Whether there was anything held.
    fn release(&mut self) -> bool {
        let held = std::mem::take(&mut self.held);
        let any = !held.is_empty();
        held.into_iter().for_each(|message| self.push(message));
        any
    }
}

impl Outlet {
    /// Both ends of a stream whose statement, if it is one, runs as `execution`.
    pub fn new(execution: Option<Arc<Execution>>) -> (Arc<Self>, OutletStream) {
        let outlet = Arc::new(Self { state: Mutex::default(), room: Condvar::new() });
        let stream = OutletStream { outlet: Arc::clone(&outlet), execution };
        (outlet, stream)
    }

    /// Keeps the stream's first message for the ones after it, so that they travel together.
    pub fn hold(&self, message: FlightData) {
        lock(&self.state).held.push(message);
    }

    /// Queues messages; waits for room as long as nobody wants the connection (or, with `wait`, whoever wants it).
    /// The client's stream is woken once for all of them.
    pub fn send(&self, messages: impl IntoIterator<Item = FlightData>, wait: bool) -> Sent {
        let mut messages: VecDeque<_> = messages.into_iter().collect();
        let mut state = lock(&self.state);
        loop {
            if state.cancelled {
                return Sent::Cancelled;
            }
            state.release();
            while let Some(message) = messages.pop_front() {
                let bytes = message_bytes(&message);
                if state.queued_bytes > 0 && state.queued_bytes + bytes > QUEUE_BYTES {
                    messages.push_front(message);
                    break;
                }
                state.push(message);
            }
            let waker = state.waker.take();
            if messages.is_empty() || (state.wanted && !wait) {
                drop(state);
                if let Some(waker) = waker {
                    waker.wake();
                }
                return if messages.is_empty() { Sent::Queued } else { Sent::Wanted(messages) };
            }
            if let Some(waker) = waker {
                waker.wake();
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the stream, well, after some last messages, or with an error.
    pub fn end(&self, result: Result<Vec<FlightData>, Status>) {
        let waker = {
            let mut state = lock(&self.state);
            match result {
                Ok(last) if !state.cancelled && state.end.is_none() => {
                    state.release();
                    last.into_iter().for_each(|message| state.push(message));
                    state.end = Some(Ok(()));
                }
                result => {
                    state.end.get_or_insert(result.map(drop));
                }
            }
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
        state.held.clear();
        state.queue.clear();
        drop(state);
        self.room.notify_all();
    }
}

fn message_bytes(message: &FlightData) -> usize {
    message.data_header.len() + message.data_body.len()
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
        let mut patience = FIRST_PATIENCE;
        loop {
            match tokio::time::timeout(patience, self.first()).await {
                Ok(Some(status)) => return Err(status),
                Ok(None) => return Ok(self),
                // The client must know the columns to go on, and to listen to an interrupt, however long the rows take.
                Err(_) if lock(&self.outlet.state).release() => return Ok(self),
                Err(_) => patience = (patience * 2).min(LAST_PATIENCE),
            }
        }
    }

    /// Waits for a first message or the end; what failed.
    async fn first(&self) -> Option<Status> {
        std::future::poll_fn(|context| {
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
        .await
    }
}

impl Stream for OutletStream {
    type Item = Result<FlightData, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = lock(&self.outlet.state);
        if let Some(message) = state.queue.pop_front() {
            state.queued_bytes -= message_bytes(&message);
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
