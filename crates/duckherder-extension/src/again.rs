//! Beginning a statement, and beginning it once more where the driver has lost a worker in the middle of it: done by
//! itself when nothing can have changed and no row has come.

use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow_flight::Ticket;
use duckherder_engine::{EngineError, Result};
use duckherder_proto::any::Command;
use duckherder_proto::statement::{PrepareStatement, PreparedStatement, RunStatement};

use crate::call::{Line, Place, in_place};
use crate::io_error;
use crate::rows::Incoming;

/// Before each further try.
const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1)];

/// A statement that has begun: its rows, their columns, and what the driver says of it.
pub type Begun = (Incoming, SchemaRef, PreparedStatement);

/// Sends a statement; its rows.
///
/// # Errors
/// What the driver says.
pub async fn get(line: &Line, place: &Place, message: &impl Command) -> Result<Incoming> {
    let answer = line.client().do_get(in_place(Ticket::new(message.pack()), Some(place))).await;
    let stream = answer.map_err(|status| line.error(&status))?.into_inner();
    Ok(Incoming::new(line.clone(), stream))
}

/// Prepares and runs a statement in one call.
///
/// # Errors
/// What the driver says.
pub async fn begin(line: &Line, place: &Place, message: &RunStatement) -> Result<Begun> {
    let mut incoming = get(line, place, message).await?;
    let (schema, told) = incoming.head().await?;
    Ok((incoming, schema, told))
}

/// A statement that only reads, outside of a transaction.
pub struct Again {
    line: Line,
    place: Place,
    message: RunStatement,
    tried: usize,
}

impl Again {
    /// Nothing, if the statement belongs to a transaction. It is not run if it turns out to change something.
    pub fn of(line: &Line, place: &Place, statement: &PrepareStatement, run: u64) -> Option<Self> {
        let message = RunStatement { statement: Some(statement.clone()), only_reading: true, run };
        let (line, place) = (line.clone(), place.clone());
        (!statement.in_transaction).then_some(Self { line, place, message, tried: 0 })
    }

    /// Begins it once more, after `lost`.
    ///
    /// # Errors
    /// What the driver says; `lost`, if it has been tried often enough.
    pub async fn begin(&mut self, mut lost: EngineError) -> Result<Begun> {
        while let Some(pause) = PAUSES.get(self.tried) {
            self.tried += 1;
            tracing::debug!(error = %lost, try_ = self.tried, "a statement is run once more");
            tokio::time::sleep(*pause).await;
            match begin(&self.line, &self.place, &self.message).await {
                Err(error) if error.is_lost() => lost = error,
                // Its rows would be none.
                Ok((_, _, told)) if told.statement_id != 0 => {
                    return Err(io_error("the statement does more than to read now: run it again"));
                }
                begun => return begun,
            }
        }
        Err(lost)
    }
}
