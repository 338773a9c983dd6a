//! Flight SQL for any client (ADBC, JDBC, BI tools): statements, prepared statements, transactions, metadata.
//!
//! Such a client has no session of its own unless it sends our header: a transaction is a session, and so is a
//! statement outside a transaction. Handles name session and statement: `<session>/<statement>`.

pub mod handle;
pub mod info;
pub mod ingest;
pub mod keys;
pub mod metadata;
pub mod prepared;
pub mod statement;
pub mod transaction;
pub mod update;

use arrow_flight::error::FlightError;

use crate::error::DriverError;

/// What arrow-flight's builders of metadata say, as an error of ours.
pub fn arrow_error(error: impl Into<FlightError>) -> DriverError {
    match error.into() {
        FlightError::Arrow(error) => DriverError::Arrow(error),
        other => DriverError::Task(other.to_string()),
    }
}
