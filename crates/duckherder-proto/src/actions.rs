//! `DoAction` bodies. An action's type is the message's name as in [`Command::TYPE_URL`](crate::any::Command); its
//! body is the packed message; its one result is the packed answer named beside it.

use crate::any::command;
use crate::statement::PrepareStatement;
use crate::task::FileStamp;

/// Ends the session's transaction: [`Empty`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct EndTransaction {
    #[prost(bool, tag = "1")]
    pub commit: bool,
}

/// Forgets a prepared statement: [`Empty`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct CloseStatement {
    #[prost(uint64, tag = "1")]
    pub statement_id: u64,
}

/// Stops whatever the session runs: [`Empty`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct InterruptSession {}

/// Rolls back, forgets the session and all that it holds: [`Empty`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct EndSession {}

/// What the database holds, as the session sees it: [`Catalog`]. Empty lists if `known_version` is current.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DescribeCatalog {
    #[prost(uint64, optional, tag = "1")]
    pub known_version: Option<u64>,
    #[prost(bool, tag = "2")]
    pub in_transaction: bool,
}

/// Answer to [`DescribeCatalog`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Catalog {
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// Whether the client's copy is current and `entries` therefore empty.
    #[prost(bool, tag = "2")]
    pub unchanged: bool,
    #[prost(message, repeated, tag = "3")]
    pub entries: Vec<CatalogEntry>,
    /// What DuckDB calls the driver's database.
    #[prost(string, tag = "4")]
    pub database: String,
}

/// One schema, table, view, index, sequence, type or macro, described by the statement that would create it
/// (DuckDB's own rendering, without the catalog's name).
#[derive(Clone, PartialEq, prost::Message)]
pub struct CatalogEntry {
    #[prost(enumeration = "EntryKind", tag = "1")]
    pub kind: i32,
    #[prost(string, tag = "2")]
    pub schema: String,
    #[prost(string, tag = "3")]
    pub name: String,
    /// CREATE statement; types of the database's own are written out (`ENUM('a', 'b')`), so that it binds anywhere.
    #[prost(string, tag = "4")]
    pub sql: String,
    /// The table that an index belongs to.
    #[prost(string, tag = "5")]
    pub table: String,
    /// Rows of a table, estimated.
    #[prost(uint64, tag = "6")]
    pub estimated_rows: u64,
    #[prost(string, optional, tag = "7")]
    pub comment: Option<String>,
    /// Columns of a table or view, in order.
    #[prost(message, repeated, tag = "8")]
    pub columns: Vec<Column>,
    /// Where a sequence stands that was used.
    #[prost(message, optional, tag = "9")]
    pub sequence: Option<SequenceState>,
}

/// How far a sequence is.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SequenceState {
    /// How often it was used; never 0.
    #[prost(uint64, tag = "1")]
    pub uses: u64,
    #[prost(sint64, tag = "2")]
    pub next_value: i64,
    #[prost(sint64, optional, tag = "3")]
    pub last_value: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Column {
    #[prost(string, tag = "1")]
    pub name: String,
    /// DuckDB type as SQL text, types of the database's own written out.
    #[prost(string, tag = "2")]
    pub type_name: String,
    #[prost(bool, tag = "3")]
    pub not_null: bool,
    #[prost(string, optional, tag = "4")]
    pub default_sql: Option<String>,
    #[prost(string, optional, tag = "5")]
    pub comment: Option<String>,
    #[prost(bool, tag = "6")]
    pub generated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum EntryKind {
    Schema = 0,
    Table = 1,
    View = 2,
    Index = 3,
    Sequence = 4,
    Type = 5,
    ScalarMacro = 6,
    TableMacro = 7,
}

/// How far the session's statement with this number is: [`RunProgress`]. Waits for nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchRun {
    /// As in [`RunStatement`](crate::statement::RunStatement).
    #[prost(uint64, tag = "1")]
    pub run: u64,
}

/// Answer to [`WatchRun`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct RunProgress {
    /// From 0 to 1; none if it does not run, or that is not known.
    #[prost(double, optional, tag = "1")]
    pub done: Option<f64>,
}

/// How a statement would be run: [`Drawing`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct DrawStatement {
    /// The EXPLAIN of the statement, without parameters.
    #[prost(message, optional, tag = "1")]
    pub statement: Option<PrepareStatement>,
}

/// Answer to [`DrawStatement`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Drawing {
    /// A flowchart in Mermaid's language.
    #[prost(string, tag = "1")]
    pub mermaid: String,
}

/// Adds a worker in another process: [`Empty`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct RegisterWorker {
    #[prost(string, tag = "1")]
    pub worker_id: String,
    /// `grpc://host:port`
    #[prost(string, tag = "2")]
    pub location: String,
}

/// [`WorkerCount`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct CountWorkers {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WorkerCount {
    #[prost(uint64, tag = "1")]
    pub workers: u64,
}

/// Installs if needed and loads a DuckDB extension on the driver and every worker: [`Empty`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct LoadExtension {
    #[prost(string, tag = "1")]
    pub name: String,
}

/// Makes sure that the driver has a database: [`Empty`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct OpenDatabase {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(bool, tag = "2")]
    pub create_if_missing: bool,
}

/// Drops a database that no session works in: [`Empty`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct DropDatabase {
    #[prost(string, tag = "1")]
    pub name: String,
}

/// Has clients know a table of a database, the default one if none is named, by another name, too: [`Empty`]. Told twice
/// it is the same.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NameTable {
    #[prost(string, optional, tag = "1")]
    pub database: Option<String>,
    #[prost(string, tag = "2")]
    pub name: String,
    /// `table` or `schema.table`; none: the name goes.
    #[prost(string, optional, tag = "3")]
    pub table: Option<String>,
}

/// The other names of a database's tables: [`TableNames`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListTableNames {
    #[prost(string, optional, tag = "1")]
    pub database: Option<String>,
}

/// Answer to [`ListTableNames`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct TableNames {
    #[prost(message, repeated, tag = "1")]
    pub names: Vec<TableName>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TableName {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub table: String,
}

/// Writes a copy of a database to a file: [`Empty`], once it is there.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BackUpDatabase {
    #[prost(string, tag = "1")]
    pub name: String,
    /// A path at the driver, or `file://` and a path.
    #[prost(string, tag = "2")]
    pub target: String,
}

/// Makes a database of such a copy: [`Empty`], once it is there.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RestoreDatabase {
    #[prost(string, tag = "1")]
    pub name: String,
    /// As in [`BackUpDatabase`].
    #[prost(string, tag = "2")]
    pub source: String,
}

/// [`DatabaseList`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListDatabases {}

/// The driver's databases, by name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DatabaseList {
    #[prost(message, repeated, tag = "1")]
    pub databases: Vec<DatabaseEntry>,
}

/// One database as `duckherder_databases()` shows it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DatabaseEntry {
    #[prost(string, tag = "1")]
    pub name: String,
    /// That of who names none.
    #[prost(bool, tag = "2")]
    pub is_default: bool,
    /// Sessions that work in it.
    #[prost(uint64, tag = "3")]
    pub sessions: u64,
    /// Of its file and its log; none in memory.
    #[prost(uint64, optional, tag = "4")]
    pub bytes: Option<u64>,
}

/// Whether a worker sees these files as the driver does: [`SeenFiles`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct SeeFiles {
    #[prost(message, repeated, tag = "1")]
    pub files: Vec<FileStamp>,
}

/// Whether a worker sees a file that the driver has just made, and can make another one, `answer`, beside it:
/// [`SeenFiles`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReachFile {
    #[prost(message, optional, tag = "1")]
    pub file: Option<FileStamp>,
    #[prost(string, tag = "2")]
    pub answer: String,
}

/// Answer to [`SeeFiles`] and [`ReachFile`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct SeenFiles {
    /// What is wrong with the first that it does not; none if it sees all.
    #[prost(string, optional, tag = "1")]
    pub problem: Option<String>,
}

/// The statistics of the last queries, oldest first: [`QueryStatistics`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListStatistics {
    /// Forget them once listed.
    #[prost(bool, tag = "1")]
    pub clear: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct QueryStatistics {
    #[prost(message, repeated, tag = "1")]
    pub queries: Vec<QueryStatistic>,
}

/// One query as `duckherder_get_query_execution_stats()` shows it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueryStatistic {
    #[prost(string, tag = "1")]
    pub sql: String,
    /// LOCAL, DELEGATED, NATURAL_PARTITION or ROW_GROUP_PARTITION.
    #[prost(string, tag = "2")]
    pub execution_mode: String,
    /// CONCATENATE, AGGREGATE, GROUP_BY, DISTINCT, TOP_N; empty when nothing is merged.
    #[prost(string, tag = "3")]
    pub merge_strategy: String,
    #[prost(int64, tag = "4")]
    pub duration_ms: i64,
    #[prost(int64, tag = "5")]
    pub workers_used: i64,
    #[prost(int64, tag = "6")]
    pub tasks: i64,
    /// Microseconds since 1970-01-01 00:00:00 UTC.
    #[prost(int64, tag = "7")]
    pub started_us: i64,
}

/// No content.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Empty {}

command!(
    EndTransaction,
    CloseStatement,
    InterruptSession,
    EndSession,
    DescribeCatalog,
    Catalog,
    WatchRun,
    RunProgress,
    DrawStatement,
    Drawing,
    RegisterWorker,
    CountWorkers,
    WorkerCount,
    LoadExtension,
    OpenDatabase,
    DropDatabase,
    NameTable,
    ListTableNames,
    TableNames,
    BackUpDatabase,
    RestoreDatabase,
    ListDatabases,
    DatabaseList,
    SeeFiles,
    ReachFile,
    SeenFiles,
    ListStatistics,
    QueryStatistics,
    Empty,
);
