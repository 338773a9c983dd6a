//! DuckDB's errors as values.

use duckherder_proto::error::ErrorDetail;

/// What DuckDB threw, or would have thrown.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{exception_type} Error: {message}")]
pub struct EngineError {
    /// DuckDB's name of the exception type: `Catalog`, `Binder`, `Constraint`, `INTERRUPT` ...
    pub exception_type: String,
    /// The message without the type in front of it.
    pub message: String,
}

pub type Result<T> = std::result::Result<T, EngineError>;

impl EngineError {
    pub fn new(exception_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self { exception_type: exception_type.into(), message: message.into() }
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
        Self::new(error.exception_type, error.message)
    }
}

impl From<ErrorDetail> for EngineError {
    fn from(detail: ErrorDetail) -> Self {
        Self::new(detail.exception_type, detail.message)
    }
}
