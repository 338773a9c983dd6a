//! Work that the driver gives to a worker in another process.

use crate::any::command;
use crate::statement::Setting;

/// `DoGet` ticket at a worker: run a fragment over its splits and stream the rows.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RunTask {
    /// Unique in the driver's life.
    #[prost(uint64, tag = "1")]
    pub query_id: u64,
    #[prost(uint32, tag = "2")]
    pub stage: u32,
    #[prost(uint32, tag = "3")]
    pub task: u32,
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
    /// SQL over the names of `inputs`.
    #[prost(string, tag = "5")]
    pub fragment: String,
    #[prost(message, repeated, tag = "6")]
    pub inputs: Vec<TaskInput>,
    #[prost(message, repeated, tag = "7")]
    pub settings: Vec<Setting>,
}

/// What a name in a fragment means in one task.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskInput {
    /// For example `split_0`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Where the rows come from, `grpc://host:port`.
    #[prost(string, tag = "2")]
    pub location: String,
    /// The packed [`ReadSplit`] to ask that place for.
    #[prost(bytes = "vec", tag = "3")]
    pub ticket: Vec<u8>,
    /// The Arrow schema of the rows, IPC-encoded.
    #[prost(bytes = "vec", tag = "4")]
    pub schema: Vec<u8>,
}

/// `DoGet` ticket at the driver: the rows of one split of a running query, at the query's snapshot.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadSplit {
    #[prost(uint64, tag = "1")]
    pub query_id: u64,
    #[prost(uint32, tag = "2")]
    pub stage: u32,
    #[prost(uint32, tag = "3")]
    pub task: u32,
    #[prost(uint32, tag = "4")]
    pub input: u32,
}

/// `app_metadata` of the last message of every task's or split's stream: the rows it must have had.
/// A stream that ends without it was cut.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EndOfPartition {
    #[prost(uint64, tag = "1")]
    pub rows: u64,
}

command!(RunTask, ReadSplit, EndOfPartition);
