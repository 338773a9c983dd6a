//! What tasks run, and the state of the database that they run on.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use duckherder_planner::Split;

use super::ffi::{self, DhFragment, DhScanRange, DhSnapshot, DhSplit, FragmentForm};
use super::task::TaskPlan;
use crate::connection::Connection;
use crate::error::Result;
use crate::ffi::{DhError, DhTextSink, dh_connection_read_query, dh_description_free, push_bytes, push_text};
use crate::statement::{Description, ResultStream};

/// The part of a plan that the tasks of a stage run, over the names of its inputs.
pub struct Fragment(*mut DhFragment);

// SAFETY: a syntax tree that is never changed.
unsafe impl Send for Fragment {}
// SAFETY: as above.
unsafe impl Sync for Fragment {}

impl Drop for Fragment {
    fn drop(&mut self) {
        // SAFETY: ours since `from_raw`, freed once.
        unsafe { ffi::dh_fragment_free(self.0) }
    }
}

/// A task's query as the tree that it is, in bytes that any process with the same DuckDB reads: parsing a text takes
/// longer than all else that comes before a small task's first row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskQuery(Vec<u8>);

impl TaskQuery {
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Starts it on the connection. It must only read.
    ///
    /// # Errors
    /// What DuckDB says of it, or these are no query's bytes.
    pub fn read(&self, connection: &Connection) -> Result<ResultStream> {
        let mut error = DhError::none();
        // SAFETY: the connection is alive, the bytes outlive the call.
        let handle = unsafe { dh_connection_read_query(connection.as_ptr(), self.0.as_slice().into(), &mut error) };
        error.into_result(())?;
        // SAFETY: the handle is a new result's, which describes itself.
        unsafe { ResultStream::described(handle) }
    }

    /// The same, planned for several runs on the connection; `None` if it can't run several times.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn plan(&self, connection: &Connection) -> Result<Option<TaskPlan>> {
        TaskPlan::of_query(connection, &self.0)
    }
}

/// What a fragment reads, and under which name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentInput {
    /// A split of this scan's table, as `split_<scan>`.
    Split { scan: usize },
    /// A split of this scan's files, as `split_<scan>`; the tasks read it themselves.
    Files { scan: usize },
    /// The rows of this stage, as `exchange_<stage>`.
    Exchange { stage: usize },
}

impl FragmentInput {
    /// The name in the fragment's SQL.
    pub fn name(self) -> String {
        match self {
            Self::Split { scan } | Self::Files { scan } => format!("split_{scan}"),
            Self::Exchange { stage } => format!("exchange_{stage}"),
        }
    }
}

/// Rows of a scan that can meet others in a join: those with a value from `least` to `greatest` in a column, as a number;
/// none, if `least` is the greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanRange {
    pub scan: usize,
    /// Its number in the table, or among the files' columns.
    pub column: u64,
    pub least: i64,
    pub greatest: i64,
}

unsafe extern "C" fn push_key(target: *mut c_void, column: i64) {
    // SAFETY: `key_columns` gave its list.
    let keys = unsafe { &mut *target.cast::<Vec<Option<u32>>>() };
    keys.push(u32::try_from(column).ok());
}

unsafe extern "C" fn push_input(target: *mut c_void, kind: c_int, number: u64) {
    // SAFETY: `inputs` gave its list.
    let inputs = unsafe { &mut *target.cast::<Vec<FragmentInput>>() };
    let number = number as usize;
    inputs.push(match kind {
        0 => FragmentInput::Split { scan: number },
        2 => FragmentInput::Files { scan: number },
        _ => FragmentInput::Exchange { stage: number },
    });
}

impl Fragment {
    /// # Safety
    /// The fragment becomes ours.
    pub(super) unsafe fn from_raw(fragment: *mut DhFragment) -> Self {
        Self(fragment)
    }

    pub(super) fn as_ptr(&self) -> *const DhFragment {
        self.0
    }

    pub(super) fn text(
        &self,
        ask: impl FnOnce(*const DhFragment, DhTextSink, *mut c_void, *mut DhError),
    ) -> Result<String> {
        let mut error = DhError::none();
        let mut texts: Vec<String> = Vec::new();
        ask(self.0, push_text, std::ptr::from_mut(&mut texts).cast(), &mut error);
        error.into_result(texts.pop().unwrap_or_default())
    }

    /// What it reads: first the splits, in the order in which [`task_query`](Self::task_query) takes them.
    pub fn inputs(&self) -> Vec<FragmentInput> {
        let mut inputs = Vec::new();
        // SAFETY: the fragment is alive; the sink gets the list it expects.
        unsafe { ffi::dh_fragment_inputs(self.0, push_input, std::ptr::from_mut(&mut inputs).cast()) };
        inputs
    }

    /// The columns of its rows that the keys of its hash are, in order: of those of which the least and the greatest
    /// value, as a number, say which rows of a scan can have them.
    pub fn key_columns(&self) -> Vec<Option<u32>> {
        let mut keys = Vec::new();
        // SAFETY: the fragment is alive; the sink gets the list it expects.
        unsafe { ffi::dh_fragment_keys(self.0, push_key, std::ptr::from_mut(&mut keys).cast()) };
        keys
    }

    /// The same fragment, reading no rows of its scans that are outside of the ranges.
    ///
    /// # Errors
    /// It does not read such a column, or that has no range.
    pub fn narrowed(&self, ranges: &[ScanRange]) -> Result<Self> {
        let to_ffi = |range: &ScanRange| {
            let ScanRange { scan, column, least, greatest } = *range;
            DhScanRange { scan: scan as u64, column, least, greatest }
        };
        let ranges: Vec<DhScanRange> = ranges.iter().map(to_ffi).collect();
        let mut error = DhError::none();
        // SAFETY: the fragment is alive, and the ranges outlive the call.
        let narrowed = unsafe { ffi::dh_fragment_narrowed(self.0, ranges.as_ptr(), ranges.len() as u64, &mut error) };
        error.into_result(())?;
        // SAFETY: it is new.
        Ok(unsafe { Self::from_raw(narrowed) })
    }

    /// The same fragment, which writes its rows to `path` as the COPY TO above asks for, and gives how many there were
    /// and the files that they are in.
    ///
    /// # Errors
    /// There is no COPY TO above.
    pub fn writing(&self, path: &str) -> Result<Self> {
        let mut error = DhError::none();
        // SAFETY: the fragment is alive, and the text outlives the call.
        let writing = unsafe { ffi::dh_fragment_writing(self.0, path.into(), &mut error) };
        error.into_result(())?;
        // SAFETY: it is new.
        Ok(unsafe { Self::from_raw(writing) })
    }

    /// What one task elsewhere runs, which reads its files itself, over the names of its other inputs: a split a split
    /// input. States of aggregates come as the plain values that they are.
    ///
    /// # Errors
    /// There are fewer splits than inputs.
    pub fn remote_query(&self, splits: &[Split]) -> Result<TaskQuery> {
        self.query(FragmentForm::Elsewhere, splits)
    }

    /// What one task runs where the tables themselves can be read: a split a split input.
    ///
    /// # Errors
    /// There are fewer splits than inputs.
    pub fn task_query(&self, splits: &[Split]) -> Result<TaskQuery> {
        self.query(FragmentForm::Here, splits)
    }

    /// The last column alone of the same task's rows.
    ///
    /// # Errors
    /// There are fewer splits than inputs.
    pub fn last_column_query(&self, splits: &[Split]) -> Result<TaskQuery> {
        self.query(FragmentForm::LastColumn, splits)
    }

    fn query(&self, form: FragmentForm, splits: &[Split]) -> Result<TaskQuery> {
        let plain = PlainSplit::all(splits);
        let splits: Vec<DhSplit> = plain.iter().map(PlainSplit::get).collect();
        let count = splits.len() as u64;
        let mut error = DhError::none();
        let mut bytes: Vec<u8> = Vec::new();
        // SAFETY: the fragment is alive; the sink gets the bytes it expects; the splits outlive the call.
        unsafe {
            let target = std::ptr::from_mut(&mut bytes).cast();
            ffi::dh_fragment_query(self.0, form as c_int, splits.as_ptr(), count, push_bytes, target, &mut error);
        }
        error.into_result(TaskQuery(bytes))
    }

    /// The columns of its rows, named c0, c1 and so on, as `connection` would send them. Nothing is bound for that: they
    /// were known when the plan was cut.
    ///
    /// # Errors
    /// A type has no form in Arrow.
    pub fn schema(&self, connection: &Connection) -> Result<SchemaRef> {
        let mut error = DhError::none();
        // SAFETY: both are alive.
        let description = unsafe { ffi::dh_fragment_describe(self.0, connection.as_ptr(), &mut error) };
        error.into_result(())?;
        // SAFETY: the description is new, read once and freed once.
        unsafe {
            let taken = Description::take(description);
            dh_description_free(description);
            Ok(taken?.schema)
        }
    }

    /// The SQL of the rows of one split of its `input`, counted among the splits.
    ///
    /// # Errors
    /// There is no such input.
    pub fn split_sql(&self, input: usize, split: &Split) -> Result<String> {
        self.split_sql_in(input, split, "")
    }

    /// The same where the driver's database has the name `catalog`.
    ///
    /// # Errors
    /// There is no such input.
    pub fn split_sql_in(&self, input: usize, split: &Split, catalog: &str) -> Result<String> {
        let plain = PlainSplit::of(split);
        // SAFETY: as above; the split's parts and the name outlive the call.
        self.text(|this, sink, target, error| unsafe {
            ffi::dh_fragment_split_sql(this, input as u64, plain.get(), catalog.into(), sink, target, error);
        })
    }
}

/// A split as C++ reads it: one, or several parts.
pub(super) struct PlainSplit(Vec<DhSplit>);

impl PlainSplit {
    pub fn of(split: &Split) -> Self {
        Self(split.parts().iter().map(split_to_ffi).collect())
    }

    pub fn all(splits: &[Split]) -> Vec<Self> {
        splits.iter().map(Self::of).collect()
    }

    /// To be used no longer than this.
    pub fn get(&self) -> DhSplit {
        match self.0.as_slice() {
            [one] => *one,
            parts => DhSplit { parts: parts.as_ptr(), part_count: parts.len() as u64, ..ALL },
        }
    }
}

const ALL: DhSplit = DhSplit {
    first: -1,
    last: -1,
    every: 0,
    rows: 0,
    key: -1,
    least: 0,
    greatest: 0,
    parts: std::ptr::null(),
    part_count: 0,
};

fn split_to_ffi(split: &Split) -> DhSplit {
    let id = |row: Option<u64>| row.map_or(-1, |row| row as i64);
    let all = ALL;
    match *split {
        // Parts have no parts.
        Split::Several(_) => all,
        Split::Range { first, last } => DhSplit { first: id(first), last: id(last), ..all },
        Split::Blocks { every, rows } => DhSplit { every: every as i64, rows: rows as i64, ..all },
        Split::Keys { column, least, greatest, first, last } => {
            let (least, greatest) = (least.unwrap_or(i64::MIN), greatest.unwrap_or(i64::MAX));
            DhSplit { first: id(first), last: id(last), key: column as i64, least, greatest, ..all }
        }
    }
}

/// The state of the database that a query reads, with its session's settings. While one exists, no checkpoint moves
/// row ids.
#[derive(Clone)]
pub struct Snapshot(Arc<Handle>);

struct Handle(*mut DhSnapshot);

// SAFETY: a snapshot is never changed.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: ours since `from_raw`, freed once.
        unsafe { ffi::dh_snapshot_free(self.0) }
    }
}

impl Snapshot {
    /// # Safety
    /// The snapshot becomes ours.
    pub(super) unsafe fn from_raw(snapshot: *mut DhSnapshot) -> Self {
        Self(Arc::new(Handle(snapshot)))
    }

    pub(super) fn as_ptr(&self) -> *const DhSnapshot {
        self.0.0
    }

    /// Begins a read-only transaction on `connection`, which must be to the same database and in none, that sees
    /// exactly this snapshot.
    ///
    /// # Errors
    /// The connection is in a transaction.
    pub fn enter(&self, connection: &Connection) -> Result<()> {
        let mut error = DhError::none();
        // SAFETY: both are alive.
        unsafe { ffi::dh_snapshot_enter(self.0.0, connection.as_ptr(), &mut error) };
        error.into_result(())
    }

    /// Ends the transaction that [`enter`](Self::enter) began.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn leave(connection: &Connection) -> Result<()> {
        let mut error = DhError::none();
        // SAFETY: the connection is alive.
        unsafe { ffi::dh_snapshot_leave(connection.as_ptr(), &mut error) };
        error.into_result(())
    }
}
