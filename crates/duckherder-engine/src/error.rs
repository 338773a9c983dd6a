//! DuckDB's errors as values.

use duckherder_proto::error::{ErrorDetail, PEER_LOST};

use crate::ffi::{self, DhError};

/// What DuckDB threw, or would have thrown.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{exception_type} Error: {message}")]
pub struct EngineError {
    /// DuckDB's name of the exception type: `Catalog`, `Binder`, `Constraint`, `INTERRUPT` ...
    pub exception_type: String,
    /// The message without the type in front of it.
    pub message: String,
    /// What DuckDB says beside it, as a JSON object of texts; empty if nothing.
    pub details: String,
}

/// Types of errors of a client that lead to another driver; the user is told of an `IO` error.
const DRIVER_LOST: &str = "Driver lost";
const DRIVER_ELSEWHERE: &str = "Driver elsewhere";

pub type Result<T> = std::result::Result<T, EngineError>;

impl EngineError {
    pub fn new(exception_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self { exception_type: exception_type.into(), message: message.into(), details: String::new() }
    }

    /// Whether DuckDB raised it before it read a row.
    pub fn is_of_binding(&self) -> bool {
        matches!(self.exception_type.as_str(), "Binder" | "Catalog" | "Parser")
    }

    /// Pointing into the user's statement, if it points into `sql`, which ran for it, and the two are the same part by
    /// part: tables may have other names, and columns aliases.
    #[must_use]
    pub fn placed_in(self, sql: &str, user_sql: &str) -> Option<Self> {
        let plain = self.clone().without_place();
        let mut placed: Vec<String> = Vec::new();
        let sink = std::ptr::from_mut(&mut placed).cast();
        let mut error = DhError::none();
        // SAFETY: the texts are alive; the sink is a `Vec<String>` that outlives the call.
        unsafe {
            ffi::dh_error_place(
                plain.message.as_str().into(),
                self.message.as_str().into(),
                sql.into(),
                user_sql.into(),
                ffi::push_text,
                sink,
                &mut error,
            )
        };
        // A text that can't be parsed has no parts to point to.
        error.into_result(()).ok()?;
        Some(Self { message: placed.pop()?, ..self })
    }

    /// With the place that the message points to, in the user's statement, among the details instead; `shift` bytes further
    /// on, where that is a part of a text.
    #[must_use]
    pub fn with_position(self, user_sql: &str, shift: u32) -> Self {
        let plain = self.clone().without_place();
        if plain.message == self.message {
            return self;
        }
        let mut details: Vec<String> = Vec::new();
        let sink = std::ptr::from_mut(&mut details).cast();
        let mut error = DhError::none();
        // SAFETY: the texts are alive; the sink is a `Vec<String>` that outlives the call.
        unsafe {
            ffi::dh_error_position(
                plain.message.as_str().into(),
                self.message.as_str().into(),
                self.details.as_str().into(),
                user_sql.into(),
                shift,
                ffi::push_text,
                sink,
                &mut error,
            )
        };
        match (error.into_result(()), details.pop()) {
            (Ok(()), Some(details)) => Self { details, ..plain },
            // The place is in the message, at least.
            _ => self,
        }
    }

    /// Without the lines with which DuckDB points into the text of the statement that failed, if it is one that the user
    /// never saw.
    #[must_use]
    pub fn without_place(mut self) -> Self {
        let place = self.message.rfind("\n\nLINE ").filter(|start| {
            let mut lines = self.message[start + 2..].lines().skip(1);
            let points = |line: &str| !line.is_empty() && line.chars().all(|c| c == ' ' || c == '^');
            lines.next().is_some_and(points) && lines.next().is_none()
        });
        if let Some(start) = place {
            self.message.truncate(start);
        }
        self
    }

    /// A process that was counted on is gone, or can't be reached: nothing is wrong with the statement.
    pub fn lost(message: impl Into<String>) -> Self {
        Self::new(PEER_LOST, message)
    }

    /// Whether it is such, also after it has come through DuckDB. (DuckDB itself raises such errors only for connections
    /// and results of its own that were closed.)
    pub fn is_lost(&self) -> bool {
        self.exception_type == PEER_LOST
    }

    /// A driver is gone, or is not the active one any more; what it did before is not known.
    pub fn driver_lost(message: impl Into<String>) -> Self {
        Self::new(DRIVER_LOST, message)
    }

    /// The same of a driver that has done nothing.
    pub fn driver_elsewhere(message: impl Into<String>) -> Self {
        Self::new(DRIVER_ELSEWHERE, message)
    }

    /// Whether it is [`driver_lost`](Self::driver_lost) or [`driver_elsewhere`](Self::driver_elsewhere).
    pub fn is_of_driver(&self) -> bool {
        matches!(self.exception_type.as_str(), DRIVER_LOST | DRIVER_ELSEWHERE)
    }

    /// Whether it is [`driver_elsewhere`](Self::driver_elsewhere).
    pub fn is_elsewhere(&self) -> bool {
        self.exception_type == DRIVER_ELSEWHERE
    }

    /// As the user is told.
    #[must_use]
    pub fn for_user(self) -> Self {
        if self.is_lost() || self.is_of_driver() { Self::new("IO", self.message) } else { self }
    }

    /// A broken promise of our own code, not of the user's.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new("INTERNAL", message)
    }

    /// The query was stopped, in DuckDB's words.
    pub fn interrupted() -> Self {
        Self::new("INTERRUPT", "Interrupted!")
    }
}

impl From<arrow::error::ArrowError> for EngineError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::new("Invalid Input", error.to_string())
    }
}

impl From<EngineError> for ErrorDetail {
    fn from(error: EngineError) -> Self {
        Self { details: error.details, ..Self::new(error.exception_type, error.message) }
    }
}

impl From<ErrorDetail> for EngineError {
    fn from(detail: ErrorDetail) -> Self {
        match detail.worker_lost {
            true => Self::lost(detail.message),
            false => Self { details: detail.details, ..Self::new(detail.exception_type, detail.message) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::EngineError;

    #[test]
    fn only_the_place_is_taken_away() {
        let without = |message: &str| EngineError::new("Conversion", message).without_place().message;
        assert_eq!(without("no number\n\nLINE 1: SELECT CAST(v AS INT)\n               ^^^"), "no number");
        assert_eq!(without("line 1\n\nLINE 1: not a place\nmore"), "line 1\n\nLINE 1: not a place\nmore");
        assert_eq!(without("a\n\nLINE 1: x\n        ^\nmore"), "a\n\nLINE 1: x\n        ^\nmore");
        assert_eq!(without("plain"), "plain");
    }
}
