//! Beginning a statement, and beginning it once more where the driver has lost a worker in the middle of it, or is lost
//! itself and has a successor: done by itself when nothing can have changed and no row has come.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow_flight::Ticket;
use bytes::Bytes;
use duckherder_engine::{EngineError, Result};
use duckherder_proto::any::Command;
use duckherder_proto::statement::{PrepareStatement, PreparedStatement, RunStatement};

use crate::call::{Line, Place, in_place};
use crate::io_error;
use crate::route::Route;
use crate::rows::Incoming;

/// Before each further try.
const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1)];

/// A statement that has begun: its rows, their columns, and what the driver says of it.
pub type Begun = (Incoming, SchemaRef, PreparedStatement);

/// Sends a statement, packed; its rows.
///
/// # Errors
/// What the driver says.
pub async fn get(line: &Line, place: &Place, message: Bytes) -> Result<Incoming> {
    let answer = line.client().do_get(in_place(Ticket::new(message), Some(place))).await;
    let stream = answer.map_err(|status| line.error(&status))?.into_inner();
    Ok(Incoming::new(line.clone(), stream))
}

/// Prepares and runs a statement, packed, in one call.
///
/// # Errors
/// What the driver says.
pub async fn begin(line: &Line, place: &Place, message: Bytes) -> Result<Begun> {
    let mut incoming = get(line, place, message).await?;
    let (schema, told) = incoming.head().await?;
    Ok((incoming, schema, told))
}

/// A statement that only reads, outside of a transaction.
pub struct Again {
    route: Arc<Route>,
    /// Where it ran last.
    line: Line,
    place: Place,
    message: Bytes,
    tried: usize,
}

impl Again {
    /// Nothing, if the statement belongs to a transaction. It is not run if it turns out to change something.
    pub fn of(route: &Arc<Route>, line: &Line, place: &Place, statement: &PrepareStatement, run: u64) -> Option<Self> {
        if statement.in_transaction {
            return None;
        }
        let message = RunStatement { statement: Some(statement.clone()), only_reading: true, run }.pack();
        Some(Self { route: Arc::clone(route), line: line.clone(), place: place.clone(), message, tried: 0 })
    }

    /// Whether it may be run again after `error`.
    pub fn may_follow(&self, error: &EngineError) -> bool {
        error.is_lost() || self.route.leads_on(error)
    }

    /// Begins it once more, after `lost`.
    ///
    /// # Errors
    /// What the driver says; `lost`, if it has been tried often enough.
    pub async fn begin(&mut self, mut lost: EngineError) -> Result<Begun> {
        loop {
            if self.route.leads_on(&lost) {
                self.route.breaks(&self.line);
            } else {
                let Some(pause) = PAUSES.get(self.tried) else { return Err(lost) };
                self.tried += 1;
                tokio::time::sleep(*pause).await;
            }
            tracing::debug!(error = %lost, try_ = self.tried, "a statement is run once more");
            self.line = self.route.usable().await?;
            let begun = self.line.unless_superseded(begin(&self.line, &self.place, self.message.clone())).await;
            match begun {
                Err(error) if self.may_follow(&error) => lost = error,
                // Its rows would be none.
                Ok((_, _, told)) if told.statement_id != 0 => {
                    return Err(io_error("the statement does more than to read now: run it again"));
                }
                begun => return begun,
            }
        }
    }
}
