//! The only crate with DuckDB in it: databases, connections and statements whose rows are Arrow batches.
//!
//! ```text
//!   Database --connect()--> Connection --prepare()--> Statement --execute()--> ResultStream (Arrow batches)
//!                               ^
//!                               '-- register_input(name, BatchSource): rows that come from elsewhere
//! ```
//!
//! DuckDB's classes exist only in C++; what is needed of them is in `cpp/`, behind plain functions ([`ffi`]).

// Links the bundled DuckDB, whose symbols `cpp/` uses.
use libduckdb_sys as _;

pub mod client;
pub mod connection;
mod cpu;
pub mod database;
mod described;
pub mod distribute;
pub mod error;
mod ffi;
mod icu;
mod nested;
mod seat;
pub mod source;
pub mod statement;
pub mod stored;

pub use connection::{Connection, Interrupter};
pub use cpu::CpuMeter;
pub use database::Database;
pub use described::Described;
pub use error::{EngineError, Result};
pub use seat::Seat;
pub use source::BatchSource;
pub use statement::{Description, ResultStream, Statement, Waited};
pub use stored::{StoredFile, StoredFiles, stored_path};

/// The stack of threads that run statements: DuckDB's own default, as a program's main thread has it, and more. With
/// `max_expression_depth` a user decides how deep DuckDB goes; the 2 MiB that Rust gives a thread end at 1,500 terms.
pub const STACK_BYTES: usize = 32 << 20;
