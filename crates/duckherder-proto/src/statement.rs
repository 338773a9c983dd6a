//! Statements of a session: prepare, execute, ingest.

use crate::any::command;

/// `GetFlightInfo`: prepare one statement in the session. Nothing runs yet.
/// `DoGet`, inside a [`RunStatement`]: run it.
///
/// The answer's schema is the result's, each field with its DuckDB type in the metadata; its `app_metadata` is a
/// [`PreparedStatement`]; its one endpoint's ticket is an [`ExecuteStatement`] without parameters.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PrepareStatement {
    /// What the driver runs: DuckDB's own rendering, catalog name stripped.
    #[prost(string, tag = "1")]
    pub sql: String,
    /// What the user wrote, for the history and the statistics; empty if the same as `sql`.
    #[prost(string, tag = "2")]
    pub user_sql: String,
    /// Session settings that must hold on the driver: [`SESSION_SETTINGS`](crate::settings::SESSION_SETTINGS), schema.
    #[prost(message, repeated, tag = "3")]
    pub settings: Vec<Setting>,
    /// Whether the statement belongs to a transaction that the client opened; the driver begins one if there is none.
    #[prost(bool, tag = "4")]
    pub in_transaction: bool,
    /// The parameters' values, as in [`ExecuteStatement`]: result types may depend on them.
    #[prost(bytes = "vec", tag = "5")]
    pub parameters: Vec<u8>,
}

/// One session setting; a missing value resets it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Setting {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

/// `DoGet` ticket: prepare one statement and run it, in one call.
///
/// The first message of the rows has the schema and, as its `app_metadata`, a [`PreparedStatement`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct RunStatement {
    #[prost(message, optional, tag = "1")]
    pub statement: Option<PrepareStatement>,
    /// A statement that would change something is prepared and not run: its stream has no rows.
    #[prost(bool, tag = "2")]
    pub only_reading: bool,
    /// The client's number for this run, by which [`WatchRun`](crate::actions::WatchRun) asks how far it is; 0 if it will
    /// not.
    #[prost(uint64, tag = "3")]
    pub run: u64,
}

/// What the driver knows of a statement.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PreparedStatement {
    /// Names a prepared statement inside its session; 0 for one that runs.
    #[prost(uint64, tag = "1")]
    pub statement_id: u64,
    #[prost(enumeration = "ResultKind", tag = "2")]
    pub kind: i32,
    /// Whether the statement only reads.
    #[prost(bool, tag = "3")]
    pub read_only: bool,
    /// Names of the parameters (`1`, `2`, or what follows the `$`), in order of their numbers.
    #[prost(string, repeated, tag = "4")]
    pub parameters: Vec<String>,
}

/// What executing a statement gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ResultKind {
    /// Rows.
    Query = 0,
    /// One row, one BIGINT column `Count`.
    ChangedRows = 1,
    /// No rows.
    Nothing = 2,
}

/// `DoGet` ticket: run a prepared statement and stream its rows.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecuteStatement {
    #[prost(uint64, tag = "1")]
    pub statement_id: u64,
    /// An Arrow IPC stream with one row: a column a parameter, named as in [`PreparedStatement::parameters`].
    #[prost(bytes = "vec", tag = "2")]
    pub parameters: Vec<u8>,
    /// As in [`PrepareStatement`].
    #[prost(bool, tag = "3")]
    pub in_transaction: bool,
    /// Forget the statement once it has run.
    #[prost(bool, tag = "4")]
    pub close_after: bool,
    /// As in [`PrepareStatement`].
    #[prost(string, tag = "5")]
    pub user_sql: String,
    /// As in [`RunStatement`].
    #[prost(uint64, tag = "6")]
    pub run: u64,
}

/// First descriptor of a `DoPut`: the stream's rows are the relation `duckherder_input` of `sql`, for example
/// `INSERT INTO t (a, b) SELECT * FROM duckherder_input`. Answered by one `PutResult` with an [`IngestResult`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct IngestRows {
    #[prost(string, tag = "1")]
    pub sql: String,
    #[prost(string, tag = "2")]
    pub user_sql: String,
    #[prost(message, repeated, tag = "3")]
    pub settings: Vec<Setting>,
    #[prost(bool, tag = "4")]
    pub in_transaction: bool,
}

/// The last word on an ingest.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IngestResult {
    #[prost(int64, tag = "1")]
    pub changed_rows: i64,
    /// RETURNING rows as an Arrow IPC stream, empty if the statement has none.
    #[prost(bytes = "vec", tag = "2")]
    pub returned: Vec<u8>,
}

command!(PrepareStatement, RunStatement, ExecuteStatement, IngestRows, IngestResult, PreparedStatement);
