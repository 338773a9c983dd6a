//! What can go wrong in a driver, and how a client is told.

use duckherder_engine::EngineError;
use duckherder_proto::error::{Elsewhere, ErrorDetail};
use tonic::Status;

/// An error of the driver.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// DuckDB refused or failed; passed on as it is.
    #[error("{} Error: {}", .0.exception_type, .0.message)]
    Engine(#[from] EngineError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("cannot start the driver's threads: {0}")]
    Runtime(std::io::Error),
    #[error("this driver has {limit} sessions open, its limit: end one first")]
    TooManySessions { limit: usize },
    #[error("this session has {limit} prepared statements open, its limit: close one first")]
    TooManyStatements { limit: usize },
    #[error("statement {0} is not prepared in this session: it was closed, or the session expired")]
    UnknownStatement(u64),
    #[error("session is closed")]
    SessionClosed,
    #[error(
        "the driver has lost the transaction: it was restarted, or the session expired; what the transaction did is \
         undone: roll back and begin again"
    )]
    TransactionLost,
    #[error("cannot commit: no transaction is active in this session on the driver")]
    NoTransaction,
    #[error("an autocommit statement arrived while the session's transaction is open: end the transaction first")]
    TransactionOpen,
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotFound(String),
    /// A database that the driver does not have.
    #[error("{0}")]
    NoDatabase(String),
    /// A database can't be made or dropped.
    #[error("{0}")]
    Database(String),
    #[error(
        "{} is in use by another driver (process {process}): stop that one, or use another directory", .path.display()
    )]
    DirectoryInUse { path: std::path::PathBuf, process: String },
    #[error(
        "{url} is in use by the driver at {address} (process {process}), which has just shown that it is there: stop that \
         one, start this one with --standby to take its place once it ends or falls silent, or with --replace to take it \
         now"
    )]
    StorageInUse { url: String, address: String, process: u32 },
    /// Another driver has taken the databases over.
    #[error("this driver is fenced: another one has taken its databases over; it takes no more statements and ends")]
    Fenced,
    /// Another driver has taken the storage over, or it does not answer any more.
    #[error("{0}")]
    StorageLost(String),
    /// Its DuckDB refuses everything.
    #[error("this driver's DuckDB can't go on: it takes no more statements and ends; start it again ({reason})")]
    Failed { reason: String },
    /// The driver ends, and does not wait for statements that take long.
    #[error("this driver was told to end while the statement ran: whether it was carried out is not known ({reason})")]
    Ends { reason: String },
    /// The driver waits to take another's place.
    #[error("this driver is a standby, which takes no statements while the one at {waits_for} is there")]
    Standby { waits_for: String },
    /// What the driver finds in its directory is not what it can work with.
    #[error("{0}")]
    Storage(String),
    #[error("cannot {what} {}: {source}", .path.display())]
    File { what: &'static str, path: std::path::PathBuf, source: std::io::Error },
    #[error("the stream of rows was cut after {rows} rows: {reason}")]
    CutStream { rows: u64, reason: String },
    #[error("the client sent {sent} rows but {received} arrived")]
    RowsLost { sent: u64, received: u64 },
    #[error("worker '{id}' at {location} does not answer: {reason}")]
    WorkerSilent { id: String, location: String, reason: String },
    #[error("cannot work with what is at {address}: {reason}")]
    Unreachable { address: String, reason: String },
    #[error("cannot use the temporary file for rows that a client has not read yet: {0}")]
    Spool(#[source] std::io::Error),
    #[error("cannot encode rows as Arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("a task of the driver failed: {0}")]
    Task(String),
}

impl DriverError {
    /// The error as the wire knows it: DuckDB's exception type and the message.
    pub fn detail(&self) -> ErrorDetail {
        let exception_type = match self {
            Self::Engine(error) if error.is_lost() => {
                return ErrorDetail { worker_lost: true, ..ErrorDetail::new("IO", error.message.clone()) };
            }
            Self::Engine(error) => return error.clone().into(),
            Self::Listen { .. }
            | Self::Runtime(_)
            | Self::Spool(_)
            | Self::WorkerSilent { .. }
            | Self::Unreachable { .. } => "IO",
            Self::CutStream { .. } | Self::RowsLost { .. } => "IO",
            Self::TooManySessions { .. } | Self::TooManyStatements { .. } => "Out of Memory",
            Self::UnknownStatement(_) | Self::Invalid(_) | Self::SessionClosed => "Invalid Input",
            Self::NotFound(_) | Self::NoDatabase(_) => "Catalog",
            Self::Database(_) => "Binder",
            Self::DirectoryInUse { .. } | Self::StorageInUse { .. } | Self::Storage(_) | Self::File { .. } => "IO",
            Self::Fenced | Self::StorageLost(_) | Self::Failed { .. } | Self::Standby { .. } => {
                return ErrorDetail {
                    elsewhere: Elsewhere::NothingDone.into(),
                    ..ErrorDetail::new("IO", self.to_string())
                };
            }
            Self::Ends { .. } => {
                return ErrorDetail {
                    elsewhere: Elsewhere::OutcomeUnknown.into(),
                    ..ErrorDetail::new("IO", self.to_string())
                };
            }
            Self::TransactionLost | Self::NoTransaction | Self::TransactionOpen => "TransactionContext",
            Self::Arrow(_) | Self::Task(_) => "INTERNAL",
        };
        ErrorDetail::new(exception_type, self.to_string())
    }

    /// The error as one of the user's statement `user_sql`, for which `sql` ran: it points into the former. What happens
    /// to rows may have happened in a task, whose text the user never saw, and nothing points into that. What a statement
    /// can't be bound for is in its own text, if without the driver's alias.
    #[must_use]
    pub fn of_statement(self, sql: &str, user_sql: &str) -> Self {
        match self {
            Self::Engine(error) if !user_sql.contains(sql) => {
                Self::Engine(match error.clone().placed_in(sql, user_sql) {
                    Some(placed) => placed,
                    None if error.is_of_binding() && !is_execution(user_sql) => error,
                    None => error.without_place(),
                })
            }
            other => other,
        }
    }

    /// The error as an engine error, for what goes back through DuckDB.
    pub fn into_engine(self) -> EngineError {
        match self {
            Self::Engine(error) => error,
            other => other.detail().into(),
        }
    }
}

/// Whether the text is an EXECUTE: of what it runs, nothing is written there.
fn is_execution(sql: &str) -> bool {
    sql.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("EXECUTE"))
}

impl From<DriverError> for Status {
    fn from(error: DriverError) -> Self {
        error.detail().into_status()
    }
}

/// A result of the driver.
pub type Result<T, E = DriverError> = std::result::Result<T, E>;
