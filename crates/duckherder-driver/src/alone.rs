//! A statement whose tasks meet an error of a value is run once more, by the driver's DuckDB alone: what it says then is the
//! answer. Tasks evaluate expressions of rows that DuckDB may never look at, such as those of a join whose other side is
//! empty; and an error has there the place in the statement that it has in DuckDB.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use duckherder_engine::EngineError;

use crate::error::{DriverError, Result};
use crate::session::SessionCore;

/// What has taken longer is not begun again: its error is told as the task met it.
const WITHIN: Duration = Duration::from_secs(10);
/// The setting that keeps a statement from the workers, and its value.
const ALONE: (&str, &str) = ("duckherder_distribution", "never");
/// What it is if nobody has set it.
const DEFAULT: &str = "auto";
/// DuckDB's types of errors that come of values.
const OF_VALUES: [&str; 11] = [
    "Conversion",
    "Decimal",
    "Divide by Zero",
    "Executor",
    "Expression",
    "Invalid",
    "Invalid Input",
    "Invalid type",
    "Mismatch Type",
    "Object Size",
    "Out of Range",
];

/// Whether the statement may leave files behind, which no rollback takes away: the word tells, wherever it is.
pub fn may_write_files(sql: &str) -> bool {
    sql.to_ascii_lowercase().contains("copy")
}

/// Whether the error is one of values.
pub fn is_of_values(error: &EngineError) -> bool {
    OF_VALUES.contains(&error.exception_type.as_str())
}

impl SessionCore {
    /// Runs `work`, which is a statement's run; and runs it once more, alone, if its tasks fail with an error of a value,
    /// the statement is a transaction of its own, and `is_unseen` says that nobody has seen any of it.
    ///
    /// # Errors
    /// What the last run says.
    pub fn run_or_alone<T>(
        &mut self,
        in_transaction: bool,
        is_unseen: impl Fn() -> bool,
        mut work: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let began = Instant::now();
        let error = match work(self) {
            Err(DriverError::Engine(error)) => error,
            done => return done,
        };
        let of_tasks = self.distributor.as_ref().is_some_and(|distributor| distributor.failed_in_task(&error));
        if in_transaction || !of_tasks || began.elapsed() > WITHIN || !is_unseen() {
            return Err(error.into());
        }
        tracing::info!(%error, "a task failed: the statement runs once more, on the driver alone");
        if let Some(distributor) = &mut self.distributor {
            distributor.statement_starts("");
        }
        let given = self.connection.given_setting(ALONE.0)?;
        self.connection.set(ALONE.0, ALONE.1)?;
        let done = catch_unwind(AssertUnwindSafe(|| work(self)));
        // What the statement has done is done, whatever becomes of the setting.
        if let Err(error) = self.connection.set(ALONE.0, given.as_deref().unwrap_or(DEFAULT)) {
            tracing::error!(%error, "a session's statements stay on the driver");
        }
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }
}
