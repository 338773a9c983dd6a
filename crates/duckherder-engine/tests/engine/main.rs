//! The engine, against the embedded DuckDB. One program for all, since each has all of DuckDB in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod analyze;
mod connections;
mod icu;
mod index_builds;
mod planning;
mod repeated;
mod replayed_log;
mod stored;
