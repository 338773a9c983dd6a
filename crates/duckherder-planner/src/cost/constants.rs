//! The constants of the cost model, in nanoseconds of a core unless they say otherwise. `docs/cost-model.md` tells how
//! each was measured.

/// A byte of a table in memory that is scanned.
pub const SCANNED_BYTE: f64 = 0.07;
/// A byte, as it is in memory, that is read out of a Parquet file.
pub const PARQUET_BYTE: f64 = 0.3;
/// A byte of a CSV or JSON file that is read.
pub const TEXT_BYTE: f64 = 1.7;
/// One more operation on a row: a comparison, an arithmetic operator, a call of an aggregate.
pub const OPERATION: f64 = 2.0;
/// The same on a text.
pub const TEXT_OPERATION: f64 = 12.0;
/// A row that is looked up in a hash table, or grouped into one, that fits into a core's cache.
pub const CACHED_LOOKUP: f64 = 3.0;
/// The same in a larger one.
pub const LOOKUP: f64 = 45.0;
/// A row that a filter drops which a join makes of the keys of its other side.
pub const FILTERED_ROW: f64 = 4.0;
/// Entries of a hash table that fits.
pub const CACHED_ENTRIES: f64 = 20_000.0;
/// A row that is put into the hash table of a join.
pub const BUILT_ROW: f64 = 50.0;
/// A row that a join, a UNION or an UNNEST gives, a byte of it.
pub const GIVEN_BYTE: f64 = 0.05;
/// Two rows that are compared by a join without an equality.
pub const PAIR: f64 = 2.0;
/// A row that is sorted, for each doubling of their number.
pub const SORTED_ROW: f64 = 4.0;
/// A row that goes through a window beside being sorted.
pub const WINDOW_ROW: f64 = 75.0;

/// How much longer a task's fragment takes than the plan that it is of.
pub const FRAGMENT: f64 = 1.1;
/// A query that is distributed at all: its snapshot, its fragments.
pub const QUERY: f64 = 300_000.0;
/// A stage on workers in the driver's process, whose rows the driver reads.
pub const LOCAL_STAGE: f64 = 500_000.0;
/// The same on workers in other processes.
pub const REMOTE_STAGE: f64 = 1_000_000.0;
/// A stage whose rows other tasks read.
pub const MOVED_STAGE: f64 = 1_000_000.0;
/// What speaks for one more stage where smaller tables than a row group are divided: who asks for that wants stages.
pub const WANTED_STAGE: f64 = 5_000_000.0;
/// A task: its fragment is planned.
pub const TASK: f64 = 300_000.0;
/// How long a worker in another process looks at a text file, to find out how it is written.
pub const SNIFFED_FILE: f64 = 30_000_000.0;
/// Files that are looked at.
pub const SNIFFED_FILES: u64 = 10;

/// A row that a task in the driver's process hands on.
pub const LOCAL_ROW: f64 = 2.0;
/// A byte of it.
pub const LOCAL_BYTE: f64 = 0.3;
/// A row that is shuffled or broadcast in the driver's process: hashed, copied, taken up.
pub const LOCAL_SHUFFLED_ROW: f64 = 10.0;
/// A byte of it.
pub const LOCAL_SHUFFLED_BYTE: f64 = 0.5;
/// A row that is hashed for workers in other processes.
pub const SHUFFLED_ROW: f64 = 15.0;
/// A row that is looked up in a runtime filter before it is shuffled, and hashed for that.
pub const TESTED_ROW: f64 = 20.0;
/// What a stage more takes of each task's time, beside what moves, where tables of a row group are divided.
pub const STAGE_OF_A_TASK: f64 = 1_500_000.0;
/// A byte that a process sends.
pub const SENT_BYTE: f64 = 0.95;
/// A byte that a process receives.
pub const RECEIVED_BYTE: f64 = 0.6;
/// A byte, as it is in memory, of a table that a worker reads in the driver's storage.
pub const STORED_BYTE: f64 = 0.2;
/// A group whose partial state is exported, and combined and finalized on the driver.
pub const STATE: f64 = 60.0;
/// Bytes of a state beside its group.
pub const STATE_BYTES: f64 = 32.0;
/// A sorted row that the driver merges, on one thread.
pub const MERGED_ROW: f64 = 70.0;

/// Rows that a thread takes at once: fewer have no use for a second one.
pub const ROWS_A_THREAD: f64 = 122_880.0;
/// A row of an unknown width.
pub const BYTES_A_ROW: f64 = 16.0;

/// A query of several tables is moved where that takes at most this part of what it takes here: the estimates of joins
/// are not better than that.
pub const WORTH_MOVING: f64 = 0.8;
/// The other way is tried if it seems to take at most so many times what the first one has taken.
pub const WORTH_TRYING: f64 = 2.0;
/// Queries that take less are as quick as is asked of them.
pub const WORTH_MEASURING_US: u64 = 10_000;
/// Queries that take more are not tried: what was estimated wrong may take a hundred times as long.
pub const MOST_TRIED_US: u64 = 2_000_000;
/// A query of one table is the workers' although that takes so much longer: nobody notices.
pub const SLACK_US: u64 = 5_000;
/// The same for a table of few rows, which is divided by its size: what is the same at the next query, too, is worth more.
pub const FEW_ROWS_SLACK_US: u64 = 50_000;
/// Rows that are few.
pub const FEW_ROWS: u64 = 1_000_000;
