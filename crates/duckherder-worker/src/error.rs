//! What can go wrong in a worker, and how the driver is told.

use duckherder_engine::EngineError;
use duckherder_proto::error::ErrorDetail;
use tonic::Status;

/// An error of the worker.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// DuckDB refused or failed; passed on as it is.
    #[error("{} Error: {}", .0.exception_type, .0.message)]
    Engine(#[from] EngineError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("cannot start the worker's threads: {0}")]
    Runtime(std::io::Error),
    #[error("cannot encode rows as Arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("{0}")]
    Storage(#[from] duckherder_storage::StorageError),
    #[error("{0}")]
    Invalid(String),
}

pub type Result<T, E = WorkerError> = std::result::Result<T, E>;

impl From<WorkerError> for Status {
    fn from(error: WorkerError) -> Self {
        let exception_type = match &error {
            WorkerError::Engine(error) => return ErrorDetail::from(error.clone()).into_status(),
            WorkerError::Listen { .. } | WorkerError::Runtime(_) | WorkerError::Storage(_) => "IO",
            WorkerError::Invalid(_) => "Invalid Input",
            WorkerError::Arrow(_) => "INTERNAL",
        };
        ErrorDetail::new(exception_type, error.to_string()).into_status()
    }
}
