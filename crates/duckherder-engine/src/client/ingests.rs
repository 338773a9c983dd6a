//! What C++ asks of rows on their way to a driver.

use std::ffi::c_void;

use arrow::array::RecordBatch;
use arrow::ffi::FFI_ArrowArray;

use super::RemoteIngest;
use super::calls::*;
use super::ffi::{DhColumnTypes, DhPatience, DhStatementText};
use crate::error::{EngineError, Result};
use crate::ffi::{DhError, DhSourceTable};
use crate::statement::import_batch;

pub(super) unsafe extern "C" fn ingest_begin(
    session: *mut c_void,
    statement: *const DhStatementText,
    columns: *const DhColumnTypes,
    patience: DhPatience,
    error: *mut DhError,
) -> *mut c_void {
    guard(error, std::ptr::null_mut(), || {
        // SAFETY: C++ keeps everything alive during the call; the schema is taken over.
        let (session, statement, schema) =
            unsafe { (borrow::<SessionHandle>(session), read_statement(statement), read_columns(columns)?) };
        let ingest: IngestHandle = std::sync::Mutex::new(session.ingest(&statement, schema, &patience.into())?);
        Ok(into_handle(ingest))
    })
}

/// # Safety
/// As [`borrow`], of an ingest.
pub(super) unsafe fn lock_ingest<'a>(ingest: *mut c_void) -> Result<std::sync::MutexGuard<'a, Box<dyn RemoteIngest>>> {
    // SAFETY: as the caller says.
    unsafe { borrow::<IngestHandle>(ingest) }.lock().map_err(|_| EngineError::internal("an ingest has panicked"))
}

pub(super) unsafe extern "C" fn ingest_write(
    ingest: *mut c_void,
    array: *mut FFI_ArrowArray,
    patience: DhPatience,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: C++ keeps the handle alive during the call; the array is taken over.
        let (mut ingest, array) = unsafe { (lock_ingest(ingest)?, FFI_ArrowArray::from_raw(array)) };
        let batch: RecordBatch = import_batch(array, &ingest.schema())?;
        ingest.write(batch, &patience.into())?;
        Ok(true)
    })
}

pub(super) unsafe extern "C" fn ingest_finish(
    ingest: *mut c_void,
    patience: DhPatience,
    changed_rows: *mut i64,
    table: *mut DhSourceTable,
    target: *mut *mut c_void,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: C++ keeps the handle alive during the call.
        let (changed, returned) = unsafe { lock_ingest(ingest)? }.finish(&patience.into())?;
        // SAFETY: the targets are unfilled variables of C++.
        unsafe {
            changed_rows.write(changed);
            if let Some(rows) = returned {
                give_source(rows, table, target);
            }
        }
        Ok(true)
    })
}

pub(super) unsafe extern "C" fn ingest_free(ingest: *mut c_void) {
    // SAFETY: C++ gives back, once, what `ingest_begin` made.
    unsafe { free::<IngestHandle>(ingest) }
}
