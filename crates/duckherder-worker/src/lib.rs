//! A worker in a process of its own: runs fragments over rows that it fetches from the driver and from other workers.
//!
//! ```text
//!  driver --DoGet(RunTask)--> service --> task      fragment over registered inputs, rows back to the driver, or
//!                                         ^  |
//!  driver <--DoGet(ReadSplit)-- input ----'  v      kept in   (or out of the cache, which fills itself: ReadStored)
//!  worker <--DoGet(ReadPartition)-'       shuffle   until the next stage's tasks have fetched them
//! ```
//!
//! Where the driver's databases are in object storage, `storage` reads its tables there, and nothing is asked of the driver.
//!
//! `join` tells drivers that there is a worker, `attendance` answers them how it is.
//!
//! The driver runs the tasks of its local workers itself; what it needs of the exchange and of files is public here.

// tonic's `Status` is what its service traits return; boxing it would only move the cost.
#![allow(clippy::result_large_err)]

mod attendance;
mod cache;
mod connections;
mod error;
pub mod fan_in;
pub mod files;
pub mod input;
mod join;
pub mod peers;
pub mod serve;
mod server;
mod service;
pub mod shuffle;
mod storage;
mod task;
pub mod temporary;

pub use cache::DEFAULT_CACHE_BYTES;
pub use error::{Result, WorkerError};
pub use join::Join;
pub use server::{Worker, WorkerOptions};
pub use storage::DEFAULT_STORAGE_CACHE_BYTES;
