//! The driver: an Arrow Flight SQL server over one embedded DuckDB.
//!
//! ```text
//!  client --Flight SQL--> service --> own / own_actions   what our extension asks
//!                            |  '---> flight_sql          what any Flight SQL client asks
//!                            v
//!                         sessions --> session (one DuckDB connection, used under a lock)
//!                                         |                         ^
//!                               execute   v  outlet, spool          |  ingest
//!                                       rows to the client        rows from the client
//! ```
//!
//! `databases` has what outlives the process. [`Driver::start`] is the way in; the scheduler joins in through [`distribute::Distributor`].

// tonic's `Status` is what its service traits return; boxing it would only move the cost.
#![allow(clippy::result_large_err)]

mod alone;
mod arrival;
mod backup;
mod catalog;
pub mod cluster;
pub mod command;
mod connections;
mod databases;
mod directory;
pub mod distribute;
mod error;
mod execute;
mod flight_sql;
mod gate;
mod health;
mod home;
mod ingest;
mod inlet;
mod lease;
mod life;
mod outlet;
mod own;
mod own_actions;
mod rejoin;
mod remembered;
mod rows;
pub mod scheduler;
mod server;
mod service;
mod session;
mod sessions;
mod silence;
mod split;
mod spool;
mod sql;
mod standby;
mod statistics;
mod store_lease;
mod stored;
mod sync;
mod takeover;
mod vigil;

use duckherder_proto::encode;

pub use error::{DriverError, Result};
pub use home::StorageOptions;
pub use server::{Arrived, Driver, DriverOptions};
pub use sessions::SessionLimits;
pub use standby::{Standby, TAKEOVER_AFTER};
