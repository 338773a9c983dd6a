//! What C++ calls: the traits of this module behind plain functions. No panic leaves them.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::{Array, StructArray};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use duckherder_planner::{self as planner, Cut, Plan, RowGroup, Stage};
use serde::Deserialize;

use super::ffi::{DhColumn, DhCut, DhCutSink, DhDistributorTable, DhRun};
use super::{DistributedQuery, Distributor, Exchange, Fragment, QueryRun, Snapshot, StoredGroup, TaskOutput};
use crate::error::{EngineError, Result};
use crate::ffi::{DhError, DhText, DhTextSink};
use crate::source::waker_from_raw;

pub(super) const TABLE: DhDistributorTable = DhDistributorTable {
    decide,
    stay,
    reason,
    is_provisional,
    release: release::<Arc<dyn Distributor>>,
    describe,
    release_query: release::<Arc<dyn DistributedQuery>>,
    may_be_kept,
    start,
    partitions,
    poll,
    ended,
    schema,
    release_exchange: release::<Arc<dyn Exchange>>,
};

/// The distributor as C++ takes it over.
pub(super) fn into_raw(distributor: Arc<dyn Distributor>) -> *mut c_void {
    Box::into_raw(Box::new(distributor)).cast()
}

/// # Safety
/// `this` is a `Box<T>` given to C++ and not released.
unsafe fn borrow<'a, T>(this: *mut c_void) -> &'a T {
    // SAFETY: as the caller says.
    unsafe { &*this.cast::<T>() }
}

/// # Safety
/// As [`borrow`], and for the last time.
unsafe extern "C" fn release<T>(this: *mut c_void) {
    // SAFETY: as the caller says.
    let owned = unsafe { Box::from_raw(this.cast::<T>()) };
    // A panic in a destructor must not travel into C++; the object is gone either way.
    drop(catch_unwind(AssertUnwindSafe(move || drop(owned))));
}

fn guard<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| Err(EngineError::internal("the distributor panicked")))
}

fn cut_to_ffi(stage: &Stage, hash_columns: &[DhColumn]) -> DhCut {
    let kind = match stage.cut {
        Cut::Subtree => 1,
        Cut::Copy => 2,
        Cut::PartialAggregate => 3,
        Cut::Sort => 4,
        Cut::Distinct { .. } => 5,
    };
    let (exchange, consumer, side) = match stage.exchange {
        planner::Exchange::Gather => (0, stage.writes.unwrap_or(0), 0),
        planner::Exchange::Hash { consumer, side } => (1, consumer, side),
        planner::Exchange::Broadcast => {
            let (join, side) = stage.told_keys.unwrap_or((u64::MAX, 0));
            (2, join, side)
        }
        planner::Exchange::Forward { cte } => (3, cte, 0),
    };
    let (keys, key_count) = (stage.hash_keys.as_ptr(), stage.hash_keys.len() as u64);
    let (columns, column_count) = (hash_columns.as_ptr(), hash_columns.len() as u64);
    let (order_shows, writes) = (stage.order_shows, stage.writes.is_some());
    DhCut {
        kind,
        exchange,
        node: stage.node,
        consumer,
        side,
        keys,
        key_count,
        columns,
        column_count,
        order_shows,
        writes,
    }
}

unsafe extern "C" fn decide(
    this: *mut c_void,
    plan: DhText,
    target: *mut c_void,
    sink: DhCutSink,
    error: *mut DhError,
) -> *mut c_void {
    // SAFETY: C++ calls with what `into_raw` gave it, and a text that is alive.
    let (distributor, text) = unsafe { (borrow::<Arc<dyn Distributor>>(this), plan.to_string_lossy()) };
    let decided = guard(|| {
        // Plans are as deep as DuckDB allows, on a stack that is made for them.
        let mut reader = serde_json::Deserializer::from_str(&text);
        reader.disable_recursion_limit();
        let plan = Plan::deserialize(&mut reader)
            .map_err(|problem| EngineError::internal(format!("a plan's description is broken: {problem}")))?;
        Ok(distributor.decide(&plan))
    });
    match decided {
        Ok(None) => std::ptr::null_mut(),
        Ok(Some((distribution, query))) => {
            for stage in &distribution.stages {
                let numbers = stage.hash_columns.iter().filter_map(planner::plan::Column::numbers);
                let columns: Vec<DhColumn> = numbers.map(|(table, column)| DhColumn { table, column }).collect();
                // SAFETY: the sink copies the struct, keys and columns, which are alive until it returns.
                unsafe { sink(target, cut_to_ffi(stage, &columns)) };
            }
            Box::into_raw(Box::new(query)).cast()
        }
        Err(problem) => {
            // SAFETY: C++ gave an empty error.
            unsafe { DhError::set(error, &problem) };
            std::ptr::null_mut()
        }
    }
}

unsafe extern "C" fn stay(this: *mut c_void, reason: DhText) {
    // SAFETY: as in `decide`.
    let (distributor, reason) = unsafe { (borrow::<Arc<dyn Distributor>>(this), reason.to_string_lossy()) };
    drop(catch_unwind(AssertUnwindSafe(|| distributor.stay(&reason))));
}

unsafe extern "C" fn reason(this: *mut c_void, target: *mut c_void, sink: DhTextSink) {
    // SAFETY: as in `decide`.
    let distributor = unsafe { borrow::<Arc<dyn Distributor>>(this) };
    if let Ok(Some(reason)) = catch_unwind(AssertUnwindSafe(|| distributor.reason())) {
        // SAFETY: the sink takes a text that outlives the call.
        unsafe { sink(target, reason.as_str().into()) };
    }
}

unsafe extern "C" fn is_provisional(this: *mut c_void) -> bool {
    // SAFETY: as in `decide`.
    let distributor = unsafe { borrow::<Arc<dyn Distributor>>(this) };
    catch_unwind(AssertUnwindSafe(|| distributor.is_provisional())).unwrap_or(true)
}

/// # Safety
/// `count` elements at `items` that outlive the result; `items` may be null if there are none.
unsafe fn slice<'a, T>(items: *const T, count: u64) -> &'a [T] {
    match count {
        0 => &[],
        // SAFETY: as the caller says.
        _ => unsafe { std::slice::from_raw_parts(items, count as usize) },
    }
}

unsafe extern "C" fn describe(
    query: *mut c_void,
    top: u64,
    fragments: *const DhText,
    count: u64,
    target: *mut c_void,
    sink: DhTextSink,
) {
    // SAFETY: C++ calls with what `decide` gave it, and texts that are alive.
    let (query, fragments) = unsafe { (borrow::<Arc<dyn DistributedQuery>>(query), slice(fragments, count)) };
    // SAFETY: as above.
    let fragments: Vec<String> = fragments.iter().map(|text| unsafe { text.to_string_lossy() }).collect();
    let lines = catch_unwind(AssertUnwindSafe(|| query.describe(top as usize, &fragments))).unwrap_or_default();
    for (key, value) in lines {
        // SAFETY: the sink takes a text that outlives the call.
        unsafe { sink(target, format!("{key}={value}").as_str().into()) };
    }
}

unsafe extern "C" fn may_be_kept(query: *mut c_void) -> bool {
    // SAFETY: C++ calls with what `decide` gave it.
    let query = unsafe { borrow::<Arc<dyn DistributedQuery>>(query) };
    // Who can't tell keeps: that costs time only.
    catch_unwind(AssertUnwindSafe(|| query.may_be_kept())).unwrap_or(true)
}

unsafe extern "C" fn start(query: *mut c_void, top: u64, run: DhRun, error: *mut DhError) -> *mut c_void {
    // SAFETY: C++ gives what `decide` gave it, hands over fragments and snapshot, and its arrays outlive the call.
    let (query, fragments, snapshot, groups) = unsafe {
        (
            borrow::<Arc<dyn DistributedQuery>>(query),
            slice(run.fragments, run.fragment_count).iter().map(|fragment| Fragment::from_raw(*fragment)).collect(),
            Snapshot::from_raw(run.snapshot),
            slice(run.row_groups, run.row_group_count),
        )
    };
    let mut row_groups: Vec<Vec<RowGroup>> = Vec::new();
    let mut stored: Vec<Vec<StoredGroup>> = Vec::new();
    for group in groups {
        let scan = group.scan as usize;
        if row_groups.len() <= scan {
            row_groups.resize(scan + 1, Vec::new());
            stored.resize(scan + 1, Vec::new());
        }
        row_groups[scan].push(RowGroup { start: group.start, rows: group.rows });
        stored[scan].push(StoredGroup {
            first: group.start,
            number: group.number,
            inserted: group.inserted,
            visible: group.visible,
        });
    }
    let (analyzed, watched) = (run.analyzed, run.watched);
    // SAFETY: the text is alive during the call.
    let directory = Some(unsafe { run.directory.to_string_lossy() }).filter(|path| !path.is_empty());
    let run = QueryRun { fragments, snapshot, row_groups, stored, analyzed, watched, directory };
    match guard(|| query.start(top as usize, run)) {
        Ok(exchange) => Box::into_raw(Box::new(exchange)).cast(),
        Err(problem) => {
            // SAFETY: C++ gave an empty error.
            unsafe { DhError::set(error, &problem) };
            std::ptr::null_mut()
        }
    }
}

unsafe extern "C" fn partitions(exchange: *mut c_void) -> u64 {
    // SAFETY: C++ calls with what `start` gave it.
    let exchange = unsafe { borrow::<Arc<dyn Exchange>>(exchange) };
    catch_unwind(AssertUnwindSafe(|| exchange.partitions())).unwrap_or(0) as u64
}

unsafe extern "C" fn poll(
    exchange: *mut c_void,
    partition: u64,
    waker: *mut c_void,
    chunk: *mut *mut c_void,
    array: *mut FFI_ArrowArray,
    rows: *mut u64,
    error: *mut DhError,
) -> c_int {
    let waker = waker_from_raw(waker);
    // SAFETY: C++ calls with what `start` gave it.
    let exchange = unsafe { borrow::<Arc<dyn Exchange>>(exchange) };
    let polled = catch_unwind(AssertUnwindSafe(|| exchange.poll(partition as usize, &mut Context::from_waker(&waker))))
        .unwrap_or_else(|_| Poll::Ready(Err(EngineError::internal("an exchange panicked"))));
    // SAFETY: the targets are unfilled places of C++.
    unsafe {
        match polled {
            Poll::Ready(Ok(TaskOutput::End { rows: total })) => {
                rows.write(total);
                0
            }
            Poll::Ready(Ok(TaskOutput::Batch(batch))) => {
                array.write(FFI_ArrowArray::new(&StructArray::from(batch).to_data()));
                1
            }
            Poll::Pending => 2,
            Poll::Ready(Ok(TaskOutput::Chunk(rows))) => {
                chunk.write(rows.into_raw().cast());
                3
            }
            Poll::Ready(Err(problem)) => {
                DhError::set(error, &problem);
                -1
            }
        }
    }
}

unsafe extern "C" fn ended(exchange: *mut c_void, most_ms: u64) -> bool {
    // SAFETY: C++ calls with what `start` gave it.
    let exchange = unsafe { borrow::<Arc<dyn Exchange>>(exchange) };
    // Who has panicked reports nothing more.
    catch_unwind(AssertUnwindSafe(|| exchange.ended(Duration::from_millis(most_ms)))).unwrap_or(true)
}

unsafe extern "C" fn schema(exchange: *mut c_void, target: *mut FFI_ArrowSchema, error: *mut DhError) {
    // SAFETY: C++ calls with what `start` gave it.
    let exchange = unsafe { borrow::<Arc<dyn Exchange>>(exchange) };
    match guard(|| Ok(FFI_ArrowSchema::try_from(exchange.schema()?.as_ref())?)) {
        // SAFETY: `target` is an unfilled struct of C++.
        Ok(schema) => unsafe { target.write(schema) },
        // SAFETY: C++ gave an empty error.
        Err(problem) => unsafe { DhError::set(error, &problem) },
    }
}
