//! How a driver and its workers know of each other: workers say that they are there, the driver asks how they are.

use crate::any::command;

/// `DoAction` at a driver: there is a worker: [`Joined`]. Said again every few seconds, so that a driver that was
/// restarted, or has given the worker up, hears of it soon.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JoinHerd {
    /// Empty: the driver calls it by its address.
    #[prost(string, tag = "1")]
    pub worker_id: String,
    /// See [`WorkerStatus::instance`].
    #[prost(fixed64, tag = "2")]
    pub instance: u64,
    /// `grpc://host:port`; empty: the address that the driver sees the call come from, and `port`.
    #[prost(string, tag = "3")]
    pub location: String,
    #[prost(uint32, tag = "4")]
    pub port: u32,
    /// It wants no more tasks, and leaves once it may.
    #[prost(bool, tag = "5")]
    pub draining: bool,
}

/// Answer to [`JoinHerd`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Joined {
    /// When to say it again.
    #[prost(uint64, tag = "1")]
    pub again_after_ms: u64,
}

/// `DoAction` at a worker: how it is: [`WorkerStatus`]. Asked every few seconds by each of its drivers.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AskWorker {
    /// Which driver asks: a number that it drew when it started.
    #[prost(fixed64, tag = "1")]
    pub driver: u64,
    /// This driver has no tasks for it any more; said to a worker that drains.
    #[prost(bool, tag = "2")]
    pub may_leave: bool,
}

/// Answer to [`AskWorker`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct WorkerStatus {
    /// A number that the worker drew when it started: after a restart it is another.
    #[prost(fixed64, tag = "1")]
    pub instance: u64,
    /// Duckherder's version, for people.
    #[prost(string, tag = "2")]
    pub version: String,
    /// That its DuckDB runs.
    #[prost(uint64, tag = "3")]
    pub threads: u64,
    /// That its DuckDB uses.
    #[prost(uint64, tag = "4")]
    pub memory_bytes: u64,
    /// That its DuckDB may use.
    #[prost(uint64, tag = "5")]
    pub memory_limit_bytes: u64,
    /// See [`JoinHerd::draining`].
    #[prost(bool, tag = "6")]
    pub draining: bool,
    /// That it keeps of its drivers' tables.
    #[prost(uint64, tag = "7")]
    pub cached_bytes: u64,
    /// The locations of workers that it was to fetch rows from, but can't reach now.
    #[prost(string, repeated, tag = "8")]
    pub unreachable: Vec<String>,
}

/// `DoAction` at a driver: [`WorkerList`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListWorkers {}

/// The driver's workers: those in its process first, then the others by their ids.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WorkerList {
    #[prost(message, repeated, tag = "1")]
    pub workers: Vec<WorkerEntry>,
}

/// One worker as `duckherder_workers()` shows it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WorkerEntry {
    #[prost(string, tag = "1")]
    pub worker_id: String,
    /// `grpc://host:port`; none of a worker in the driver's process.
    #[prost(string, optional, tag = "2")]
    pub location: Option<String>,
    #[prost(enumeration = "WorkerState", tag = "3")]
    pub state: i32,
    /// As the worker last said.
    #[prost(message, optional, tag = "4")]
    pub status: Option<WorkerStatus>,
    /// Tasks of this driver that it runs now.
    #[prost(uint64, tag = "5")]
    pub running_tasks: u64,
    /// Microseconds since 1970-01-01 00:00:00 UTC.
    #[prost(int64, tag = "6")]
    pub last_seen_us: i64,
}

/// What a driver thinks of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum WorkerState {
    /// It gets tasks.
    Active = 0,
    /// It has not answered of late: it gets no new tasks, and is removed unless it answers soon.
    Suspected = 1,
    /// It finishes what it has, and leaves.
    Draining = 2,
}

impl WorkerState {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Suspected => "SUSPECTED",
            Self::Draining => "DRAINING",
        }
    }
}

command!(JoinHerd, Joined, AskWorker, WorkerStatus, ListWorkers, WorkerList);
