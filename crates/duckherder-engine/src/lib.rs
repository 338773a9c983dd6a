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
pub mod distribute;
pub mod error;
mod ffi;
mod icu;
mod memory;
mod nested;
pub mod source;
pub mod statement;

pub use connection::{Connection, Definition, Interrupter};
pub use cpu::CpuMeter;
pub use database::Database;
pub use error::{EngineError, Result};
pub use memory::keep_freed_memory;
pub use source::BatchSource;
pub use statement::{Description, ResultStream, Statement, Waited};
