//! What C++ asks of a session.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use duckherder_proto::actions::CatalogEntry;
use duckherder_proto::settings::SESSION_SETTINGS;
use duckherder_proto::statement::ResultKind;

use super::Start;
use super::calls::*;
use super::ffi::{
    DhCatalogEntry, DhCatalogSink, DhCatalogState, DhColumn, DhColumnTypes, DhPatience, DhPrepared, DhStatementText,
};
use crate::ffi::{DhError, DhSourceTable, DhText, DhTextSink};
use crate::nested::plain_schema;
use crate::statement::import_batch;

pub(super) unsafe extern "C" fn session_settings(sink: DhTextSink, target: *mut c_void) {
    for name in SESSION_SETTINGS {
        // SAFETY: sink and target belong together; the text is alive for ever.
        unsafe { sink(target, name.into()) };
    }
}

pub(super) unsafe extern "C" fn session_open(driver: *mut c_void, error: *mut DhError) -> *mut c_void {
    guard(error, std::ptr::null_mut(), || {
        // SAFETY: C++ keeps the handle alive during the call.
        let session: SessionHandle = unsafe { borrow::<DriverHandle>(driver) }.open_session()?;
        Ok(into_handle(session))
    })
}

pub(super) unsafe extern "C" fn session_free(session: *mut c_void) {
    // SAFETY: C++ gives back, once, what `session_open` made.
    unsafe { free::<SessionHandle>(session) }
}

pub(super) unsafe extern "C" fn session_prepare(
    session: *mut c_void,
    statement: *const DhStatementText,
    columns: *const DhColumnTypes,
    values: *mut FFI_ArrowArray,
    start: c_int,
    patience: DhPatience,
    target: *mut DhPrepared,
    schema: *mut FFI_ArrowSchema,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: C++ keeps everything alive during the call; the values are taken over.
        let (session, statement, parameters) = unsafe {
            let parameters = if columns.is_null() {
                None
            } else {
                Some(import_batch(FFI_ArrowArray::from_raw(values), &read_columns(columns)?)?)
            };
            (borrow::<SessionHandle>(session), read_statement(statement), parameters)
        };
        let start = match start {
            0 => Start::Never,
            1 => Start::IfReading,
            _ => Start::Always,
        };
        let prepared = session.prepare(&statement, parameters.as_ref(), start, &patience.into())?;
        let exported = FFI_ArrowSchema::try_from(plain_schema(&prepared.schema).as_ref())?;
        let kind = match prepared.kind {
            ResultKind::Query => 0,
            ResultKind::ChangedRows => 1,
            ResultKind::Nothing => 2,
        };
        // SAFETY: both targets are unfilled variables of C++.
        unsafe {
            target.write(DhPrepared { statement: prepared.statement, kind, read_only: prepared.read_only });
            schema.write(exported);
        }
        Ok(true)
    })
}

pub(super) unsafe extern "C" fn session_close_statement(session: *mut c_void, statement: u64) {
    // SAFETY: C++ keeps the handle alive during the call.
    let session = unsafe { borrow::<SessionHandle>(session) };
    // Nobody waits for the answer; a panic must not travel.
    drop(catch_unwind(AssertUnwindSafe(|| session.close_statement(statement))));
}

pub(super) unsafe extern "C" fn session_execute(
    session: *mut c_void,
    statement: u64,
    in_transaction: bool,
    user_sql: DhText,
    patience: DhPatience,
    table: *mut DhSourceTable,
    target: *mut *mut c_void,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: C++ keeps handle and text alive during the call; the targets are unfilled variables.
        unsafe {
            let user_sql = read(user_sql);
            let session = borrow::<SessionHandle>(session);
            let rows = session.execute(statement, in_transaction, &user_sql, &patience.into())?;
            give_source(rows, table, target);
        }
        Ok(true)
    })
}

pub(super) unsafe extern "C" fn session_end_transaction(
    session: *mut c_void,
    commit: bool,
    patience: DhPatience,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: C++ keeps the handle alive during the call.
        unsafe { borrow::<SessionHandle>(session) }.end_transaction(commit, &patience.into())?;
        Ok(true)
    })
}

pub(super) fn list_entry(entry: &CatalogEntry, sink: DhCatalogSink, target: *mut c_void) {
    let columns: Vec<DhColumn> = entry
        .columns
        .iter()
        .map(|column| DhColumn {
            name: column.name.as_str().into(),
            type_name: column.type_name.as_str().into(),
            not_null: column.not_null,
            generated: column.generated,
            default_sql: column.default_sql.as_deref().into(),
            comment: column.comment.as_deref().into(),
        })
        .collect();
    let row = DhCatalogEntry {
        kind: entry.kind,
        schema: entry.schema.as_str().into(),
        name: entry.name.as_str().into(),
        sql: entry.sql.as_str().into(),
        table: entry.table.as_str().into(),
        estimated_rows: entry.estimated_rows,
        comment: entry.comment.as_deref().into(),
        columns: columns.as_ptr(),
        column_count: columns.len(),
        sequence: entry.sequence.map(Into::into).unwrap_or_default(),
    };
    // SAFETY: sink and target belong together; the row outlives the call.
    unsafe { sink(target, &row) };
}

pub(super) unsafe extern "C" fn session_describe(
    session: *mut c_void,
    known: bool,
    known_version: u64,
    in_transaction: bool,
    sink: DhCatalogSink,
    database: DhTextSink,
    target: *mut c_void,
    state: *mut DhCatalogState,
    patience: DhPatience,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: C++ keeps the handle alive during the call.
        let session = unsafe { borrow::<SessionHandle>(session) };
        let catalog = session.describe(known.then_some(known_version), in_transaction, &patience.into())?;
        for entry in &catalog.entries {
            list_entry(entry, sink, target);
        }
        // SAFETY: the sink and the target belong together; the text outlives the call.
        unsafe { database(target, catalog.database.as_str().into()) };
        // SAFETY: `state` is an unfilled variable of C++.
        unsafe { state.write(DhCatalogState { version: catalog.version, unchanged: catalog.unchanged }) };
        Ok(true)
    })
}

pub(super) unsafe extern "C" fn session_draw(
    session: *mut c_void,
    explain: *const DhStatementText,
    sink: DhTextSink,
    target: *mut c_void,
    patience: DhPatience,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: C++ keeps handle and statement alive during the call.
        let (session, explain) = unsafe { (borrow::<SessionHandle>(session), read_statement(explain)) };
        let drawing = session.draw(&explain, &patience.into())?;
        // SAFETY: sink and target belong together; the text outlives the call.
        unsafe { sink(target, drawing.as_str().into()) };
        Ok(true)
    })
}
