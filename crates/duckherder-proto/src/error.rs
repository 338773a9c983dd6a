//! One error on the wire: a small code for machines, DuckDB's exception type for people.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::ERROR_HEADER;
use prost::Message;

/// DuckDB's name of the exception type of errors that say that another process is gone or can't be reached.
pub const PEER_LOST: &str = "Connection";

/// Details of more bytes stay where they are.
const LONGEST_DETAILS: usize = 4000;

/// What went wrong, so that the client raises the exception that DuckDB itself would have raised.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ErrorDetail {
    /// DuckDB's name of the exception type, as `Exception::ExceptionTypeToString` gives it: `Catalog`, `Binder`,
    /// `Constraint`, `IO`, `INTERRUPT`, `Invalid Input` ...
    #[prost(string, tag = "1")]
    pub exception_type: String,
    /// The message without the type in front of it.
    #[prost(string, tag = "2")]
    pub message: String,
    /// A worker was lost while it ran a part of the statement, with which nothing is wrong: it may succeed if it is run
    /// again. The exception type is `IO` then. (Said by drivers to clients; between driver and workers the type itself
    /// is [`PEER_LOST`].)
    #[prost(bool, tag = "3")]
    pub worker_lost: bool,
    /// Whether another driver is to be asked.
    #[prost(enumeration = "Elsewhere", tag = "4")]
    pub elsewhere: i32,
    /// What DuckDB says beside the message (its subtype, candidates, and, if the client wants errors as JSON, the place in
    /// the statement), as a JSON object of texts; empty if nothing.
    #[prost(string, tag = "5")]
    pub details: String,
}

/// Whether a driver that refuses says so because another one has its databases, and what it did before it found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Elsewhere {
    /// The error is the statement's.
    No = 0,
    /// Another driver is to be asked; this one has done nothing.
    NothingDone = 1,
    /// Another driver is to be asked; what this one did may, or may not, be in the databases.
    OutcomeUnknown = 2,
}

impl ErrorDetail {
    pub fn new(exception_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self { exception_type: exception_type.into(), message: message.into(), ..Self::default() }
    }

    /// The gRPC status that carries this error.
    pub fn into_status(self) -> Status {
        let code = match self.exception_type.as_str() {
            "INTERRUPT" => Code::Cancelled,
            "Catalog" => Code::NotFound,
            "Permission" => Code::PermissionDenied,
            "Constraint" => Code::FailedPrecondition,
            "Not implemented" => Code::Unimplemented,
            "IO" | "Connection" | "HTTP" => Code::Unavailable,
            "Out of Memory" => Code::ResourceExhausted,
            "INTERNAL" | "FATAL" => Code::Internal,
            _ => Code::InvalidArgument,
        };
        // gRPC limits headers to a few KiB: a long message travels cut there, a client shows that.
        let message: String = self.message.chars().take(4000).collect();
        let details = if self.details.len() > LONGEST_DETAILS { String::new() } else { self.details };
        let mut status = Status::new(code, format!("{} Error: {message}", self.exception_type));
        let detail = Self { message, details, ..self };
        status.metadata_mut().insert_bin(ERROR_HEADER, MetadataValue::from_bytes(&detail.encode_to_vec()));
        status
    }

    /// The error inside a status: the one that [`into_status`](Self::into_status) put there, or, for what gRPC
    /// itself reports, one that says what happened.
    pub fn from_status(status: &Status) -> Self {
        let packed = status.metadata().get_bin(ERROR_HEADER).and_then(|value| value.to_bytes().ok());
        if let Some(detail) = packed.and_then(|bytes| Self::decode(bytes).ok()) {
            return detail;
        }
        let exception_type = match status.code() {
            Code::Unimplemented => "Not implemented",
            Code::PermissionDenied | Code::Unauthenticated => "Permission",
            // Whoever answers says more than that: this is the connection, or a process that ends.
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
            | Code::Aborted => PEER_LOST,
            _ => "IO",
        };
        Self::new(exception_type, told(status))
    }
}

/// What a status says, with what gRPC's own ones ("transport error") leave to their cause.
pub fn told(status: &Status) -> String {
    let mut cause = std::error::Error::source(status);
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    let (message, cause) = (status.message(), cause.map(ToString::to_string).unwrap_or_default());
    match cause.is_empty() || message.contains(&cause) {
        true => message.to_string(),
        false => format!("{message}: {cause}"),
    }
}
