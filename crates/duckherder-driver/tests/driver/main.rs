//! The driver: its Flight SQL service, and queries in stages on workers in this process, against DuckDB itself.
//!
//! One program for all, since each has all of DuckDB in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod aggregates;
mod cancel;
mod common;
mod databases;
mod distribution;
mod herd;
mod local_stages;
mod repeated;
mod sessions;
mod snapshots;
mod workers;
