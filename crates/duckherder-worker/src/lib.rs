//! A worker in a process of its own: runs fragments over splits that it fetches from the driver.
//!
//! ```text
//!  driver --DoGet(RunTask)----> worker     the fragment's rows, with their count at the end
//!  driver <---DoGet(ReadSplit)- worker     the split's rows, at the query's snapshot
//! ```
//!
//! Every task has a connection of its own in the worker's embedded DuckDB; a caller that goes away stops it.

// tonic's `Status` is what its service traits return; boxing it would only move the cost.
#![allow(clippy::result_large_err)]

mod error;
mod input;
mod server;
mod service;
mod task;

pub use error::{Result, WorkerError};
pub use server::{Worker, WorkerOptions};
