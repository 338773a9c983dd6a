//! What can go wrong in a worker.

use duckherder_engine::EngineError;
use duckherder_proto::error::ErrorDetail;
use tonic::Status;

pub type Result<T> = std::result::Result<T, WorkerError>;

#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("cannot start the worker's threads: {0}")]
    Runtime(std::io::Error),
    #[error("a task's thread ended early: {0}")]
    Thread(String),
    #[error("the request is malformed: {0}")]
    Malformed(String),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<WorkerError> for Status {
    fn from(error: WorkerError) -> Self {
        let kind = match &error {
            WorkerError::Engine(error) => return ErrorDetail::from(error.clone()).into_status(),
            WorkerError::Listen { .. } | WorkerError::Runtime(_) => "IO",
            WorkerError::Malformed(_) => "Invalid Input",
            WorkerError::Thread(_) => "INTERNAL",
        };
        ErrorDetail::new(kind, error.to_string()).into_status()
    }
}

impl From<arrow::error::ArrowError> for WorkerError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::Engine(error.into())
    }
}

impl From<prost::DecodeError> for WorkerError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}
