//! A worker in a process of its own: runs fragments over rows that it fetches from the driver.
//!
//! ```text
//!  driver --DoGet(RunTask)--> service --> task      fragment over registered inputs, rows back
//!                                          ^
//!  driver <--DoGet(ReadSplit)-- input -----'        rows of a split, parked while none have come
//! ```

// tonic's `Status` is what its service traits return; boxing it would only move the cost.
#![allow(clippy::result_large_err)]

mod error;
mod input;
mod server;
mod service;
mod task;

pub use error::{Result, WorkerError};
pub use server::{Worker, WorkerOptions};
