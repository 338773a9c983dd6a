//! Rows that come from elsewhere, as a relation in DuckDB.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use arrow::array::{Array, RecordBatch, StructArray};
use arrow::datatypes::SchemaRef;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};

use crate::error::{EngineError, Result};
use crate::ffi::{self, DhError, DhSourceTable};
use crate::nested::{plain_batch, plain_schema};

/// A stream of batches in ordered partitions.
///
/// DuckDB reads every partition with one thread at a time, several partitions at once; the rows of partition `i`
/// stand before those of `i + 1`.
pub trait BatchSource: Send + Sync {
    /// The columns; a field with metadata [`duckdb.type`](duckherder_proto::DUCKDB_TYPE_METADATA) becomes that type.
    fn schema(&self) -> SchemaRef;

    /// How many partitions there are, at least one. There may be fewer than there were said to be: whoever reads them
    /// asks again before each.
    fn partitions(&self) -> usize {
        1
    }

    /// The next batch of a partition, `None` at its end. While there is nothing, the waker is kept and woken once
    /// there is. Dropping the source says that nobody reads it any more.
    ///
    /// # Errors
    /// Becomes the error of the statement that reads.
    fn poll_next(&self, partition: usize, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>>;

    /// How much of what makes the rows is done, from 0 to 1, if that is known. Waits for nothing.
    fn progress(&self) -> Option<f64> {
        None
    }

    /// How many rows will come, about: what reads them is planned with it.
    fn estimated_rows(&self) -> Option<u64> {
        None
    }
}

/// The source as C++ takes it over.
pub(crate) fn into_raw(source: Arc<dyn BatchSource>) -> (DhSourceTable, *mut c_void) {
    let table = DhSourceTable { partitions, schema, poll, progress, estimated_rows, release };
    (table, Box::into_raw(Box::new(source)).cast())
}

/// # Safety
/// `this` was made by [`into_raw`] and not released.
unsafe fn borrow<'a>(this: *mut c_void) -> &'a Arc<dyn BatchSource> {
    // SAFETY: as the caller says.
    unsafe { &*this.cast::<Arc<dyn BatchSource>>() }
}

unsafe extern "C" fn partitions(this: *mut c_void) -> u64 {
    // SAFETY: C++ calls with what `into_raw` gave it.
    let source = unsafe { borrow(this) };
    catch_unwind(AssertUnwindSafe(|| source.partitions())).unwrap_or(1).max(1) as u64
}

unsafe extern "C" fn schema(this: *mut c_void, target: *mut FFI_ArrowSchema) {
    // SAFETY: C++ calls with what `into_raw` gave it.
    let source = unsafe { borrow(this) };
    let schema = catch_unwind(AssertUnwindSafe(|| FFI_ArrowSchema::try_from(plain_schema(&source.schema()).as_ref())));
    // SAFETY: `target` is an unfilled struct of C++; an empty one makes it report a released schema.
    unsafe { target.write(schema.ok().and_then(std::result::Result::ok).unwrap_or_else(FFI_ArrowSchema::empty)) };
}

unsafe extern "C" fn poll(
    this: *mut c_void,
    partition: u64,
    waker: *mut c_void,
    target: *mut FFI_ArrowArray,
    error: *mut DhError,
) -> c_int {
    let waker = waker_from_raw(waker);
    // SAFETY: C++ calls with what `into_raw` gave it.
    let source = unsafe { borrow(this) };
    let polled = catch_unwind(AssertUnwindSafe(|| next_batch(source.as_ref(), partition as usize, &waker)))
        .unwrap_or_else(|_| Poll::Ready(Some(Err(EngineError::internal("a batch source panicked")))));
    match polled {
        Poll::Pending => 2,
        Poll::Ready(None) => 0,
        Poll::Ready(Some(Ok(batch))) => {
            let array = FFI_ArrowArray::new(&StructArray::from(batch).to_data());
            // SAFETY: `target` is an unfilled struct of C++.
            unsafe { target.write(array) };
            1
        }
        Poll::Ready(Some(Err(problem))) => {
            // SAFETY: `error` is an empty error of C++.
            unsafe { DhError::set(error, &problem) };
            -1
        }
    }
}

fn next_batch(source: &dyn BatchSource, partition: usize, waker: &Waker) -> Poll<Option<Result<RecordBatch>>> {
    let polled = source.poll_next(partition, &mut Context::from_waker(waker));
    polled.map(|batch| batch.map(|batch| batch.and_then(plain_batch)))
}

unsafe extern "C" fn progress(this: *mut c_void) -> f64 {
    // SAFETY: C++ calls with what `into_raw` gave it.
    let source = unsafe { borrow(this) };
    catch_unwind(AssertUnwindSafe(|| source.progress())).ok().flatten().unwrap_or(-1.0)
}

unsafe extern "C" fn estimated_rows(this: *mut c_void) -> i64 {
    // SAFETY: C++ calls with what `into_raw` gave it.
    let source = unsafe { borrow(this) };
    let rows = catch_unwind(AssertUnwindSafe(|| source.estimated_rows())).ok().flatten();
    rows.map_or(-1, |rows| i64::try_from(rows).unwrap_or(i64::MAX))
}

unsafe extern "C" fn release(this: *mut c_void) {
    // SAFETY: C++ releases once what `into_raw` gave it.
    let source = unsafe { Box::from_raw(this.cast::<Arc<dyn BatchSource>>()) };
    // A panic in a destructor must not travel into C++; the source is gone either way.
    drop(catch_unwind(AssertUnwindSafe(move || drop(source))));
}

/// A waker that C++ made.
pub(crate) fn waker_from_raw(waker: *mut c_void) -> Waker {
    Waker::from(Arc::new(CppWaker(waker)))
}

/// A parked DuckDB task.
struct CppWaker(*mut c_void);

// SAFETY: a DuckDB interrupt state may be called from any thread.
unsafe impl Send for CppWaker {}
// SAFETY: as above.
unsafe impl Sync for CppWaker {}

impl Wake for CppWaker {
    fn wake(self: Arc<Self>) {
        // SAFETY: the waker is alive until dropped.
        unsafe { ffi::dh_waker_wake(self.0) }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // SAFETY: as above.
        unsafe { ffi::dh_waker_wake(self.0) }
    }
}

impl Drop for CppWaker {
    fn drop(&mut self) {
        // SAFETY: C++ gave it to us, freed once.
        unsafe { ffi::dh_waker_free(self.0) }
    }
}
