//! Work that the driver gives to a worker in another process.

use crate::any::command;
use crate::statement::Setting;

/// `DoGet` ticket at a worker: run a fragment over its inputs and stream the rows, or keep them for other tasks to
/// fetch. Dropping the stream ends the task and forgets its rows.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RunTask {
    /// Unique in the lives of all drivers that share a worker, but for chance.
    #[prost(uint64, tag = "1")]
    pub query_id: u64,
    #[prost(uint32, tag = "2")]
    pub stage: u32,
    #[prost(uint32, tag = "3")]
    pub task: u32,
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
    /// A query over the names of `inputs`: a tree of DuckDB's, serialized.
    #[prost(bytes = "vec", tag = "5")]
    pub fragment: Vec<u8>,
    #[prost(message, repeated, tag = "6")]
    pub inputs: Vec<TaskInput>,
    #[prost(message, repeated, tag = "7")]
    pub settings: Vec<Setting>,
    /// 0: the rows come in the answer. Otherwise the last column is a hash that divides them among so many partitions
    /// (NULL: any of them), or, if they are `broadcast`, each is in all of the partitions. These stay here until
    /// [`ReadPartition`] fetches them; the answer has no rows and ends once all are fetched or nobody wants them any
    /// more.
    #[prost(uint32, tag = "8")]
    pub partitions: u32,
    /// The files that the fragment reads, as they must be from its begin to its end.
    #[prost(message, repeated, tag = "9")]
    pub files: Vec<FileStamp>,
    /// Keys whose rows do not all go to the partition of their hash; the other side of the join has the same.
    #[prost(message, repeated, tag = "10")]
    pub heavy: Vec<HeavyKey>,
    /// The end of the answer says how much CPU time the task took.
    #[prost(bool, tag = "11")]
    pub analyzed: bool,
    /// Every row goes to every partition; there is no hash.
    #[prost(bool, tag = "12")]
    pub broadcast: bool,
    /// Collect the hashes in a Bloom filter of so many bits, and say in [`TaskMade`] what is in it; 0: don't.
    #[prost(uint64, tag = "13")]
    pub collect_bits: u64,
    /// Leave out the rows that are not in this Bloom filter; empty: leave out none.
    #[prost(bytes = "vec", tag = "14")]
    pub filter: Vec<u8>,
    /// The same task, over rows of the same columns, has come before and may come again: its plan is worth keeping. Its
    /// rows have no order that would have to be kept.
    #[prost(bool, tag = "15")]
    pub repeated: bool,
    /// Say now and then how far the task is ([`TaskProgress`]).
    #[prost(bool, tag = "16")]
    pub watched: bool,
    /// Say in [`TaskMade`] from where to where the values of these columns go: whole numbers, dates or timestamps.
    #[prost(uint32, repeated, tag = "17")]
    pub collect_ranges: Vec<u32>,
    /// The life of the worker that is meant ([`WorkerStatus::instance`](crate::herd::WorkerStatus)): another one is not
    /// what its driver believes.
    #[prost(fixed64, tag = "18")]
    pub instance: u64,
    /// Where the driver's databases are kept, if the worker can read them there.
    #[prost(message, optional, tag = "19")]
    pub storage: Option<StorageState>,
}

/// A state of a driver's storage, which stays there as long as the query runs.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StorageState {
    /// As the driver was given it; whoever reads there has its own credentials.
    #[prost(string, tag = "1")]
    pub url: String,
    /// Whose log it is that has the state: the same URL may be another place elsewhere.
    #[prost(string, tag = "2")]
    pub writer: String,
    /// The last log object of the state.
    #[prost(uint64, tag = "3")]
    pub version: u64,
    /// How many of the object's records belong to it; nothing: all.
    #[prost(uint64, optional, tag = "4")]
    pub records: Option<u64>,
    #[prost(message, repeated, tag = "5")]
    pub databases: Vec<StorageDatabase>,
}

/// A database in a driver's storage.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StorageDatabase {
    /// Its file.
    #[prost(string, tag = "1")]
    pub file: String,
    /// What it is called in the SQL of inputs. Two of one name have the same bytes, but for chance.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// The least and the greatest value of a column, as a number: of a date the days, of a timestamp the microseconds, since
/// 1970-01-01. If there is no value, `least` is the greater one.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct KeyRange {
    #[prost(sint64, tag = "1")]
    pub least: i64,
    #[prost(sint64, tag = "2")]
    pub greatest: i64,
}

/// A key that has so many rows that they are spread over all partitions, where each meets all of the other side's.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HeavyKey {
    #[prost(fixed64, tag = "1")]
    pub hash: u64,
    /// A row goes to every partition; otherwise to one of them, in turn.
    #[prost(bool, tag = "2")]
    pub everywhere: bool,
}

/// What tells a file from what it is replaced by.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FileStamp {
    #[prost(string, tag = "1")]
    pub path: String,
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    /// Nanoseconds since 1970-01-01 00:00:00 UTC.
    #[prost(int64, tag = "3")]
    pub modified_ns: i64,
}

/// What a name in a fragment means in one task.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskInput {
    /// For example `split_0`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Where the rows come from; those of one source come in order.
    #[prost(message, repeated, tag = "2")]
    pub sources: Vec<InputSource>,
    /// The Arrow schema of the rows, IPC-encoded.
    #[prost(bytes = "vec", tag = "3")]
    pub schema: Vec<u8>,
    /// How many rows are expected: no promise, the task is planned with it.
    #[prost(uint64, optional, tag = "4")]
    pub rows: Option<u64>,
    /// The stored rows that these are, part by part: who has them need not ask. All are of the same columns, and of several
    /// nobody sees the order.
    #[prost(message, repeated, tag = "5")]
    pub stored: Vec<StoredRows>,
    /// The same rows as a query of the databases in the driver's storage; empty if they can't be read there.
    #[prost(string, tag = "6")]
    pub storage_sql: String,
}

/// Rows of the driver's tables that a worker may keep.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StoredRows {
    /// Unique in the lives of all drivers that share a worker, but for chance; a driver that is started again is another.
    #[prost(fixed64, tag = "1")]
    pub driver: u64,
    /// Its qualified name, as SQL.
    #[prost(string, tag = "2")]
    pub table: String,
    #[prost(message, repeated, tag = "3")]
    pub columns: Vec<StoredColumn>,
    /// All row groups that have some of the rows, in order.
    #[prost(message, repeated, tag = "4")]
    pub groups: Vec<StoredGroup>,
    /// The first and the last row id, where they divide a row group.
    #[prost(uint64, optional, tag = "5")]
    pub first: Option<u64>,
    #[prost(uint64, optional, tag = "6")]
    pub last: Option<u64>,
    /// Which of their rows, as SQL, in the names of the columns; empty: all.
    #[prost(string, tag = "7")]
    pub condition: String,
    /// Nobody sees their order.
    #[prost(bool, tag = "8")]
    pub in_any_order: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StoredColumn {
    /// Its place in the table's storage.
    #[prost(uint32, tag = "1")]
    pub number: u32,
    #[prost(string, tag = "2")]
    pub name: String,
}

/// A row group as a snapshot sees it: two of one driver that are equal have the same rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct StoredGroup {
    /// Its first row id.
    #[prost(uint64, tag = "1")]
    pub first: u64,
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// Rows that were ever put into it.
    #[prost(uint64, tag = "3")]
    pub inserted: u64,
    /// Those that are left.
    #[prost(uint64, tag = "4")]
    pub visible: u64,
}

/// One stream of rows of an input.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InputSource {
    /// `grpc://host:port`, or nothing: a partition of a task of the same worker.
    #[prost(string, tag = "1")]
    pub location: String,
    /// The packed [`ReadSplit`] or [`ReadPartition`] to ask that place for.
    #[prost(bytes = "vec", tag = "2")]
    pub ticket: Vec<u8>,
}

/// `DoGet` ticket where a task has run or will: its rows for one task of the next stage, once.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadPartition {
    #[prost(uint64, tag = "1")]
    pub query_id: u64,
    #[prost(uint32, tag = "2")]
    pub stage: u32,
    #[prost(uint32, tag = "3")]
    pub task: u32,
    #[prost(uint32, tag = "4")]
    pub partition: u32,
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

/// `DoGet` ticket at the driver: row groups of a table that follow each other, if they are still as they are described:
/// their row ids, and these columns.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadStored {
    /// Its qualified name, as SQL.
    #[prost(string, tag = "1")]
    pub table: String,
    /// By their places in the table's storage.
    #[prost(uint32, repeated, tag = "2")]
    pub columns: Vec<u32>,
    #[prost(message, repeated, tag = "3")]
    pub groups: Vec<StoredGroup>,
    /// The running query whose snapshot is meant; 0: any.
    #[prost(uint64, tag = "4")]
    pub query_id: u64,
}

/// `app_metadata` of the last message of every task's or split's stream: the rows it must have had.
/// A stream that ends without it was cut.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EndOfPartition {
    #[prost(uint64, tag = "1")]
    pub rows: u64,
    /// Of a task that is analyzed.
    #[prost(uint64, optional, tag = "2")]
    pub cpu_ns: Option<u64>,
    /// How many of a task's inputs came out of its worker's cache.
    #[prost(uint32, tag = "3")]
    pub cached: u32,
    /// How many of them it has read in the driver's storage.
    #[prost(uint32, tag = "4")]
    pub from_storage: u32,
}

/// How many of a task's inputs the driver had to send no rows for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputsHere {
    /// They came out of the worker's cache.
    pub cached: u32,
    /// They were read in the driver's storage.
    pub from_storage: u32,
}

/// `app_metadata` of a message of the answer to a [`RunTask`] that collects keys: all rows are made, though not all
/// fetched.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskMade {
    /// The Bloom filter, in words of 64 bits, little-endian; empty if it would hold nothing back.
    #[prost(bytes = "vec", tag = "1")]
    pub keys: Vec<u8>,
    /// The ranges that were asked for, in that order; none if they are not known.
    #[prost(message, repeated, tag = "2")]
    pub ranges: Vec<KeyRange>,
}

/// `app_metadata` of a message, with nothing else in it, of the answer to a [`RunTask`] that is watched.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskProgress {
    /// How much of the task is done, about, from 0 to 1.
    #[prost(double, tag = "1")]
    pub done: f64,
}

/// `app_metadata` of the last message of the answer to a [`RunTask`] with partitions: what others have fetched.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskMoved {
    #[prost(uint64, tag = "1")]
    pub rows: u64,
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    /// Bytes that were on disk meanwhile.
    #[prost(uint64, tag = "3")]
    pub spilled_bytes: u64,
    /// Of a task that is analyzed.
    #[prost(uint64, optional, tag = "4")]
    pub cpu_ns: Option<u64>,
    /// Rows that were left out.
    #[prost(uint64, tag = "5")]
    pub filtered_rows: u64,
    /// How many of the task's inputs came out of its worker's cache.
    #[prost(uint32, tag = "6")]
    pub cached: u32,
    /// How many of them it has read in the driver's storage.
    #[prost(uint32, tag = "7")]
    pub from_storage: u32,
}

command!(RunTask, ReadSplit, ReadStored, ReadPartition, EndOfPartition, TaskMade, TaskMoved, TaskProgress);
