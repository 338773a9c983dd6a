//! Files in object storage that one driver writes: DuckDB's databases and their logs, durable as a whole.
//!
//! ```text
//!   PREFIX/log/N          what has changed: objects of consecutive numbers, each created once, never overwritten
//!   PREFIX/packs/W-K      bytes of files, up to 16 MiB in an object; W is the number with which a driver took over
//!   PREFIX/manifests/N    all files as they are after log object N
//!   PREFIX/drivers/W      what driver W shows of itself, PREFIX/standby what those do who wait for its place ([`Watch`])
//! ```
//!
//! One log orders everything that happens to all files, so the state after any of its objects is one that the files
//! were in: a [`Version`], which a [`Reader`] elsewhere may look at. What is written is part of it once the file is synced; a sync does not wait for the log
//! (the bytes themselves it does put into packs, if they are many). Who must know that what has happened is durable
//! calls [`Store::wait_durable`]: one object takes all that came while the one before was on its way.
//!
//! ```text
//!   write --> layer of the file --sync--> record --+
//!                   | 16 MiB                       v        one PUT, if-none-match
//!                   v                        [pending] ------------------------> log/N+1
//!               packs/W-K                                                          | every 256
//!                   ^-- read: cache of 4 MiB pieces on the disk                    v
//!                                                                              manifests/N
//! ```
//!
//! **Fencing.** A driver that opens a place creates the log object after the last one. The driver before it fails to
//! create that object, so nothing that it does is ever acknowledged again, however long it stood still: the first object
//! of each driver stays for ever.
//! Other log objects are removed some time after a manifest has taken their place. A driver that was stopped for longer
//! than [`Options::proof`] looks for manifests of others as well before it believes what it did.
//!
//! A file is a map from its bytes to packs ([`extents`]), with the bytes of small writes in the log itself until the
//! next manifest. Packs that no file needs any more are removed ([`collect`]), those that are mostly dead written anew.

mod cache;
mod collect;
mod extents;
mod files;
mod follow;
mod format;
mod layer;
mod log;
mod manifest;
mod objects;
mod open;
mod packs;
mod reader;
mod refusal;
mod shared;
mod signs;
mod state;
mod store;
mod sync;
mod watch;
mod whole;

pub mod error;
pub mod location;

pub use error::{Result, StorageError};
pub use files::{File, OpenMode};
pub use follow::Follower;
pub use format::Sign;
pub use location::{Location, is_in_place};
pub use objects::Requests;
pub use reader::Reader;
pub use signs::{LEAST_SILENCE, NOTICE_LIMIT, STANDBY_EVERY};
pub use store::{Mark, Options, Pin, Space, Store, Version};
pub use watch::Watch;
pub use whole::WholeObject;
