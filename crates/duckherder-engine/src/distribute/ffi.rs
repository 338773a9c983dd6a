//! The functions of `cpp/distribute/`, mirrored.

use std::ffi::{c_int, c_void};

use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};

use crate::ffi::{DhConnection, DhDatabase, DhDescription, DhError, DhResult, DhText, DhTextSink};

macro_rules! opaque {
    ($($name:ident),+) => { $(#[repr(C)] pub struct $name { _private: [u8; 0] })+ };
}
opaque!(DhFragment, DhSnapshot, DhChunkStream, DhChunk, DhTaskPlan);

/// `DhColumn` in cpp/distribute/distributor.hpp.
#[repr(C)]
pub struct DhColumn {
    pub table: u64,
    pub column: u64,
}

/// `DhCut`, there.
#[repr(C)]
pub struct DhCut {
    pub kind: c_int,
    pub exchange: c_int,
    pub node: u64,
    pub consumer: u64,
    pub side: u64,
    pub keys: *const u64,
    pub key_count: u64,
    pub columns: *const DhColumn,
    pub column_count: u64,
    pub order_shows: bool,
    pub writes: bool,
}
pub type DhCutSink = unsafe extern "C" fn(*mut c_void, DhCut);

#[repr(C)]
pub struct DhRowGroup {
    pub scan: u64,
    pub start: u64,
    pub rows: u64,
    pub number: u64,
    pub inserted: u64,
    pub visible: u64,
}

/// `DhStoredGroup` in cpp/distribute/stored_rows.cpp.
#[repr(C)]
pub struct DhStoredGroup {
    pub first: u64,
    pub number: u64,
    pub inserted: u64,
    pub visible: u64,
}

/// `DhRun` in cpp/distribute/distributor.hpp.
#[repr(C)]
pub struct DhRun {
    pub fragments: *const *mut DhFragment,
    pub fragment_count: u64,
    pub snapshot: *mut DhSnapshot,
    pub row_groups: *const DhRowGroup,
    pub row_group_count: u64,
    pub analyzed: bool,
    pub watched: bool,
    pub directory: DhText,
}

/// `DhFragmentForm` in cpp/distribute/fragment.hpp.
#[repr(i32)]
pub enum FragmentForm {
    Here = 0,
    Elsewhere = 1,
    LastColumn = 2,
}

/// `DhSplit` in cpp/distribute/fragment.hpp.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct DhSplit {
    pub first: i64,
    pub last: i64,
    pub every: i64,
    pub rows: i64,
    pub key: i64,
    pub least: i64,
    pub greatest: i64,
    pub parts: *const DhSplit,
    pub part_count: u64,
}

/// `DhScanRange` in cpp/distribute/fragment.hpp.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct DhScanRange {
    pub scan: u64,
    pub column: u64,
    pub least: i64,
    pub greatest: i64,
}

/// `DhInputSink` in cpp/distribute/fragment.hpp: 0 is a split of a table, 1 the exchange of a stage, 2 a split of files.
pub type DhInputSink = unsafe extern "C" fn(*mut c_void, c_int, u64);
/// `DhZoneSink` in cpp/distribute/zones.cpp: the first row id of a row group, and the least and the greatest value.
pub type DhZoneSink = unsafe extern "C" fn(*mut c_void, u64, i64, i64);
/// `DhKeySink` in cpp/distribute/fragment.hpp: a column, or -1.
pub type DhKeySink = unsafe extern "C" fn(*mut c_void, i64);

/// `DhDistributorTable` in cpp/distribute/distributor.hpp.
#[repr(C)]
pub struct DhDistributorTable {
    pub decide: unsafe extern "C" fn(*mut c_void, DhText, *mut c_void, DhCutSink, *mut DhError) -> *mut c_void,
    pub stay: unsafe extern "C" fn(*mut c_void, DhText),
    pub reason: unsafe extern "C" fn(*mut c_void, *mut c_void, DhTextSink),
    pub is_provisional: unsafe extern "C" fn(*mut c_void) -> bool,
    pub release: unsafe extern "C" fn(*mut c_void),
    pub describe: unsafe extern "C" fn(*mut c_void, u64, *const DhText, u64, *mut c_void, DhTextSink),
    pub release_query: unsafe extern "C" fn(*mut c_void),
    pub may_be_kept: unsafe extern "C" fn(*mut c_void) -> bool,
    pub start: unsafe extern "C" fn(*mut c_void, u64, DhRun, *mut DhError) -> *mut c_void,
    pub partitions: unsafe extern "C" fn(*mut c_void) -> u64,
    pub poll: unsafe extern "C" fn(
        *mut c_void,
        u64,
        *mut c_void,
        *mut *mut c_void,
        *mut FFI_ArrowArray,
        *mut u64,
        *mut DhError,
    ) -> c_int,
    pub ended: unsafe extern "C" fn(*mut c_void, u64) -> bool,
    pub schema: unsafe extern "C" fn(*mut c_void, *mut FFI_ArrowSchema, *mut DhError),
    pub release_exchange: unsafe extern "C" fn(*mut c_void),
}

unsafe extern "C" {
    pub fn dh_database_allow_distribution(database: *mut DhDatabase, error: *mut DhError) -> bool;
    pub fn dh_connection_distribute(
        connection: *mut DhConnection,
        functions: *const DhDistributorTable,
        this: *mut c_void,
        error: *mut DhError,
    ) -> bool;

    pub fn dh_fragment_free(fragment: *mut DhFragment);
    pub fn dh_fragment_inputs(fragment: *const DhFragment, sink: DhInputSink, target: *mut c_void);
    pub fn dh_fragment_keys(fragment: *const DhFragment, sink: DhKeySink, target: *mut c_void);
    pub fn dh_fragment_narrowed(
        fragment: *const DhFragment,
        ranges: *const DhScanRange,
        count: u64,
        error: *mut DhError,
    ) -> *mut DhFragment;
    pub fn dh_fragment_writing(fragment: *const DhFragment, path: DhText, error: *mut DhError) -> *mut DhFragment;
    pub fn dh_fragment_query(
        fragment: *const DhFragment,
        form: c_int,
        splits: *const DhSplit,
        count: u64,
        sink: DhTextSink,
        target: *mut c_void,
        error: *mut DhError,
    );
    pub fn dh_fragment_key_condition(
        fragment: *const DhFragment,
        input: u64,
        split: DhSplit,
        sink: DhTextSink,
        target: *mut c_void,
        error: *mut DhError,
    );
    pub fn dh_fragment_zones(
        connection: *mut DhConnection,
        fragment: *const DhFragment,
        input: u64,
        column: u64,
        sink: DhZoneSink,
        target: *mut c_void,
        error: *mut DhError,
    );
    pub fn dh_fragment_catalog(
        fragment: *const DhFragment,
        input: u64,
        sink: DhTextSink,
        target: *mut c_void,
        error: *mut DhError,
    );
    pub fn dh_fragment_split_sql(
        fragment: *const DhFragment,
        input: u64,
        split: DhSplit,
        catalog: DhText,
        sink: DhTextSink,
        target: *mut c_void,
        error: *mut DhError,
    );

    pub fn dh_fragment_describe(
        fragment: *const DhFragment,
        connection: *mut DhConnection,
        error: *mut DhError,
    ) -> *mut DhDescription;

    pub fn dh_fragment_stored(
        fragment: *const DhFragment,
        input: u64,
        sink: DhTextSink,
        target: *mut c_void,
        error: *mut DhError,
    );
    pub fn dh_stored_rows(
        connection: *mut DhConnection,
        table: DhText,
        columns: *const u64,
        column_count: u64,
        groups: *const DhStoredGroup,
        group_count: u64,
        sink: DhTextSink,
        target: *mut c_void,
        error: *mut DhError,
    ) -> *mut DhSnapshot;

    pub fn dh_snapshot_stored(snapshot: *const DhSnapshot, sink: DhTextSink, target: *mut c_void) -> u64;
    pub fn dh_snapshot_free(snapshot: *mut DhSnapshot);
    pub fn dh_snapshot_enter(snapshot: *const DhSnapshot, connection: *mut DhConnection, error: *mut DhError) -> bool;
    pub fn dh_snapshot_leave(connection: *mut DhConnection, error: *mut DhError) -> bool;

    pub fn dh_chunks_open(
        connection: *mut DhConnection,
        fragment: *const DhFragment,
        splits: *const DhSplit,
        count: u64,
        error: *mut DhError,
    ) -> *mut DhChunkStream;
    pub fn dh_task_plan(
        connection: *mut DhConnection,
        fragment: *const DhFragment,
        splits: *const DhSplit,
        count: u64,
        error: *mut DhError,
    ) -> *mut DhTaskPlan;
    pub fn dh_task_plan_query(connection: *mut DhConnection, query: DhText, error: *mut DhError) -> *mut DhTaskPlan;
    pub fn dh_task_plan_open(
        connection: *mut DhConnection,
        plan: *mut DhTaskPlan,
        error: *mut DhError,
    ) -> *mut DhChunkStream;
    pub fn dh_task_plan_read(
        connection: *mut DhConnection,
        plan: *mut DhTaskPlan,
        error: *mut DhError,
    ) -> *mut DhResult;
    pub fn dh_task_plan_rest(plan: *mut DhTaskPlan);
    pub fn dh_task_plan_free(plan: *mut DhTaskPlan);
    pub fn dh_chunks_next(
        chunks: *mut DhChunkStream,
        chunk: *mut *mut DhChunk,
        rows: *mut u64,
        bytes: *mut u64,
        error: *mut DhError,
    ) -> c_int;
    pub fn dh_chunks_close(chunks: *mut DhChunkStream);
    pub fn dh_chunk_free(chunk: *mut DhChunk);
}
