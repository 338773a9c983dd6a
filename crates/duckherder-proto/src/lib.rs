//! The words that clients, drivers and workers exchange: messages, tickets, header names, error codes.
//!
//! ```text
//!  client --GetFlightInfo(Prepare)--> driver     schema, statement id, ticket
//!  client --DoGet(Execute)----------> driver     Arrow batches
//!  client --DoPut(Ingest)-----------> driver     rows in, count out
//!  client --DoAction(...)-----------> driver     transactions, catalog, cluster
//!  driver --DoGet(Task)-------------> worker     a fragment's rows
//!  worker --DoGet(Split)------------> driver     a split's rows
//! ```
//!
//! Every message of our own travels as a protobuf `Any` inside a Flight ticket, descriptor or action body, beside
//! the ordinary Flight SQL commands, so that one port serves both.

pub mod actions;
pub mod any;
pub mod database;
pub mod decode;
pub mod encode;
pub mod error;
pub mod hello;
pub mod herd;
pub mod segments;
pub mod settings;
pub mod statement;
pub mod task;
pub mod transaction;

/// Where a driver listens unless told otherwise.
pub const DEFAULT_DRIVER_PORT: u16 = 8815;
/// Where a worker listens unless told otherwise.
pub const DEFAULT_WORKER_PORT: u16 = 8816;
/// gRPC header that names the client's session (a UUID that the client makes); without it every call is its own.
pub const SESSION_HEADER: &str = "x-duckherder-session";
/// gRPC header of a call inside a transaction: a [`transaction::TransactionMark`].
pub const TRANSACTION_HEADER: &str = "x-duckherder-transaction";
/// gRPC trailer with the encoded [`error::ErrorDetail`] of a failed call.
pub const ERROR_HEADER: &str = "x-duckherder-error-bin";
/// Arrow field metadata with the column's DuckDB type as SQL text, e.g. `ENUM('a', 'b')` or `DECIMAL(18,3)`.
pub const DUCKDB_TYPE_METADATA: &str = "duckdb.type";
/// The largest HTTP/2 frame either side takes, in bytes: rows come in messages of about 3 MiB, and a frame costs a call
/// of the system on either side.
pub const MAX_FRAME_BYTES: u32 = 1 << 20;
/// Bytes of all streams of a connection that may be on their way: as many as HTTP/2 can say. Each stream has its own
/// bound; a common one would let streams that nobody reads yet stop the stream that their reader waits for.
pub const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;
/// Streams of one connection. The tasks of a query may have one for each pair of them, and all must flow.
pub const MAX_STREAMS: u32 = 1 << 20;
/// The largest gRPC message either side takes, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 256 << 20;
