//! The functions that C++ calls: texts and Arrow in, a trait's method, errors out. No panic leaves.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use duckherder_proto::DUCKDB_TYPE_METADATA;
use duckherder_proto::actions::CatalogEntry;
use duckherder_proto::herd::WorkerState;
use duckherder_proto::settings::SESSION_SETTINGS;
use duckherder_proto::statement::{ResultKind, Setting};

use super::ffi::{
    DhCatalogEntry, DhCatalogSink, DhCatalogState, DhClientTable, DhColumn, DhColumnTypes, DhDatabaseEntry,
    DhDatabaseSink, DhOptionalText, DhPatience, DhPrepared, DhStatementText, DhStatistic, DhStatisticSink,
    DhWorkerEntry, DhWorkerSink,
};
use super::{DatabaseName, Herd, RemoteDriver, RemoteIngest, RemoteSession, Start, StatementText};
use crate::error::{EngineError, Result};
use crate::ffi::{DhError, DhSourceTable, DhText, DhTextSink, dh_error_set};
use crate::nested::plain_schema;
use crate::source::{self, BatchSource};
use crate::statement::import_batch;

/// What the process's extension is; set by the first load.
pub static HERD: OnceLock<Arc<dyn Herd>> = OnceLock::new();

/// What C++ gets.
pub static TABLE: DhClientTable = DhClientTable {
    driver_connect,
    driver_free,
    driver_register_worker,
    driver_replace,
    driver_worker_count,
    driver_workers,
    driver_load_extension,
    driver_databases,
    driver_drop_database,
    driver_statistics,
    session_settings,
    session_open,
    session_free,
    session_prepare,
    session_close_statement,
    session_execute,
    session_end_transaction,
    session_describe,
    session_draw,
    ingest_begin,
    ingest_write,
    ingest_finish,
    ingest_free,
    start_local_server,
    stop_local_server,
    start_standalone_worker,
};

/// Runs `body`; an error or a panic is written to `error` and `fallback` returned.
fn guard<T>(error: *mut DhError, fallback: T, body: impl FnOnce() -> Result<T>) -> T {
    let result = catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|_| Err(EngineError::internal("the extension panicked; this is a bug")));
    result.unwrap_or_else(|problem| {
        let problem = problem.for_user();
        // SAFETY: `error` is an empty error of C++; the texts outlive the call.
        unsafe { dh_error_set(error, problem.exception_type.as_str().into(), problem.message.as_str().into()) };
        fallback
    })
}

fn herd() -> Result<&'static Arc<dyn Herd>> {
    HERD.get().ok_or_else(|| EngineError::internal("the extension was not loaded"))
}

/// A handle for C++.
fn into_handle<T>(value: T) -> *mut c_void {
    Box::into_raw(Box::new(value)).cast()
}

/// # Safety
/// `handle` was made by [`into_handle`] of a `T`, and not freed.
unsafe fn borrow<'a, T>(handle: *mut c_void) -> &'a T {
    // SAFETY: as the caller says.
    unsafe { &*handle.cast::<T>() }
}

/// # Safety
/// As [`borrow`]; the handle is not used again.
unsafe fn free<T>(handle: *mut c_void) {
    // SAFETY: as the caller says.
    let value = unsafe { Box::from_raw(handle.cast::<T>()) };
    // A panic in a destructor must not travel into C++; the value is gone either way.
    drop(catch_unwind(AssertUnwindSafe(move || drop(value))));
}

type DriverHandle = Arc<dyn RemoteDriver>;
type SessionHandle = Arc<dyn RemoteSession>;
/// One sink's threads take turns under C++'s lock, and one of them at a time.
type IngestHandle = std::sync::Mutex<Box<dyn RemoteIngest>>;

/// # Safety
/// `text` is alive.
unsafe fn read(text: DhText) -> String {
    // SAFETY: as the caller says.
    unsafe { text.to_string_lossy() }
}

/// # Safety
/// The statement and all that it points to are alive.
unsafe fn read_statement(statement: *const DhStatementText) -> StatementText {
    // SAFETY: as the caller says.
    let statement = unsafe { &*statement };
    let settings = if statement.setting_count == 0 {
        &[]
    } else {
        // SAFETY: C++ made pointer and count from one vector.
        unsafe { std::slice::from_raw_parts(statement.settings, statement.setting_count) }
    };
    // SAFETY: the texts are alive as long as the statement.
    unsafe {
        StatementText {
            sql: read(statement.sql),
            user_sql: read(statement.user_sql),
            settings: settings
                .iter()
                .map(|setting| Setting {
                    name: read(setting.name),
                    value: setting.value.present.then(|| read(setting.value.text)),
                })
                .collect(),
            in_transaction: statement.in_transaction,
            watched: statement.watched,
        }
    }
}

/// The schema of columns that leave the client, each with its DuckDB type in the metadata.
///
/// # Safety
/// `columns` is alive; its schema is taken over.
unsafe fn read_columns(columns: *const DhColumnTypes) -> Result<SchemaRef> {
    // SAFETY: as the caller says.
    let columns = unsafe { &*columns };
    // SAFETY: C++ filled the schema; `from_raw` leaves a released one behind.
    let raw = unsafe { FFI_ArrowSchema::from_raw(columns.schema) };
    let plain = Schema::try_from(&raw)?;
    let types = if columns.count == 0 {
        &[]
    } else {
        // SAFETY: C++ made pointer and count from one vector.
        unsafe { std::slice::from_raw_parts(columns.type_names, columns.count) }
    };
    let fields: Vec<Field> = plain
        .fields()
        .iter()
        .zip(types)
        .map(|(field, type_name)| {
            let mut metadata = field.metadata().clone();
            // SAFETY: the text is alive as long as the columns.
            metadata.insert(DUCKDB_TYPE_METADATA.to_string(), unsafe { read(*type_name) });
            field.as_ref().clone().with_metadata(metadata)
        })
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// Gives a source to C++.
///
/// # Safety
/// Both pointers are to unfilled variables of C++.
unsafe fn give_source(source: Arc<dyn BatchSource>, table: *mut DhSourceTable, target: *mut *mut c_void) {
    let (functions, pointer) = source::into_raw(source);
    // SAFETY: as the caller says.
    unsafe {
        table.write(functions);
        target.write(pointer);
    }
}

unsafe extern "C" fn driver_connect(
    host: DhText,
    port: u16,
    database: DhOptionalText,
    create_if_missing: bool,
    patience: DhPatience,
    error: *mut DhError,
) -> *mut c_void {
    guard(error, std::ptr::null_mut(), || {
        // SAFETY: C++ keeps the texts alive during the call.
        let (host, name) = unsafe { (read(host), database.present.then(|| read(database.text))) };
        let database = DatabaseName { name, create_if_missing };
        let driver: DriverHandle = herd()?.connect(&host, port, &database, &patience.into())?;
        Ok(into_handle(driver))
    })
}

unsafe extern "C" fn driver_free(driver: *mut c_void) {
    // SAFETY: C++ gives back, once, what `driver_connect` made.
    unsafe { free::<DriverHandle>(driver) }
}

unsafe extern "C" fn driver_register_worker(
    driver: *mut c_void,
    worker_id: DhText,
    location: DhText,
    patience: DhPatience,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: C++ keeps handle and texts alive during the call.
        let (driver, worker_id, location) =
            unsafe { (borrow::<DriverHandle>(driver), read(worker_id), read(location)) };
        driver.register_worker(&worker_id, &location, &patience.into())?;
        Ok(true)
    })
}

unsafe extern "C" fn driver_replace(
    driver: *mut c_void,
    driver_id: DhText,
    location: DhText,
    patience: DhPatience,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: as in `driver_register_worker`.
        let (driver, driver_id, location) =
            unsafe { (borrow::<DriverHandle>(driver), read(driver_id), read(location)) };
        driver.replace(&driver_id, &location, &patience.into())?;
        Ok(true)
    })
}

unsafe extern "C" fn driver_worker_count(
    driver: *mut c_void,
    count: *mut u64,
    patience: DhPatience,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: C++ keeps the handle alive during the call; `count` is a variable of its.
        unsafe { count.write(borrow::<DriverHandle>(driver).worker_count(&patience.into())?) };
        Ok(true)
    })
}

unsafe extern "C" fn driver_workers(
    driver: *mut c_void,
    sink: DhWorkerSink,
    target: *mut c_void,
    patience: DhPatience,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: C++ keeps the handle alive during the call.
        for worker in unsafe { borrow::<DriverHandle>(driver) }.workers(&patience.into())? {
            let state = WorkerState::try_from(worker.state).map_or("UNKNOWN", WorkerState::name);
            let status = worker.status.unwrap_or_default();
            let row = DhWorkerEntry {
                id: worker.worker_id.as_str().into(),
                location: worker.location.as_deref().into(),
                state: state.into(),
                version: status.version.as_str().into(),
                threads: status.threads,
                memory_bytes: status.memory_bytes,
                memory_limit_bytes: status.memory_limit_bytes,
                cached_bytes: status.cached_bytes,
                running_tasks: worker.running_tasks,
                last_seen_us: worker.last_seen_us,
            };
            // SAFETY: sink and target belong together; the row outlives the call.
            unsafe { sink(target, &row) };
        }
        Ok(true)
    })
}

unsafe extern "C" fn driver_load_extension(
    driver: *mut c_void,
    name: DhText,
    patience: DhPatience,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: as in `driver_register_worker`.
        let (driver, name) = unsafe { (borrow::<DriverHandle>(driver), read(name)) };
        driver.load_extension(&name, &patience.into())?;
        Ok(true)
    })
}

unsafe extern "C" fn driver_databases(
    driver: *mut c_void,
    sink: DhDatabaseSink,
    target: *mut c_void,
    patience: DhPatience,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: C++ keeps the handle alive during the call.
        for database in unsafe { borrow::<DriverHandle>(driver) }.databases(&patience.into())? {
            let row = DhDatabaseEntry {
                name: database.name.as_str().into(),
                is_default: database.is_default,
                sessions: database.sessions,
                bytes: database.bytes.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(-1),
            };
            // SAFETY: sink and target belong together; the row outlives the call.
            unsafe { sink(target, &row) };
        }
        Ok(true)
    })
}

unsafe extern "C" fn driver_drop_database(
    driver: *mut c_void,
    name: DhText,
    patience: DhPatience,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: as in `driver_register_worker`.
        let (driver, name) = unsafe { (borrow::<DriverHandle>(driver), read(name)) };
        driver.drop_database(&name, &patience.into())?;
        Ok(true)
    })
}

unsafe extern "C" fn driver_statistics(
    driver: *mut c_void,
    clear: bool,
    sink: DhStatisticSink,
    target: *mut c_void,
    patience: DhPatience,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: C++ keeps the handle alive during the call.
        for query in unsafe { borrow::<DriverHandle>(driver) }.statistics(clear, &patience.into())? {
            let row = DhStatistic {
                sql: query.sql.as_str().into(),
                execution_mode: query.execution_mode.as_str().into(),
                merge_strategy: query.merge_strategy.as_str().into(),
                duration_ms: query.duration_ms,
                workers_used: query.workers_used,
                tasks: query.tasks,
                started_us: query.started_us,
            };
            // SAFETY: sink and target belong together; the row outlives the call.
            unsafe { sink(target, &row) };
        }
        Ok(true)
    })
}

unsafe extern "C" fn session_settings(sink: DhTextSink, target: *mut c_void) {
    for name in SESSION_SETTINGS {
        // SAFETY: sink and target belong together; the text is alive for ever.
        unsafe { sink(target, name.into()) };
    }
}

unsafe extern "C" fn session_open(driver: *mut c_void, error: *mut DhError) -> *mut c_void {
    guard(error, std::ptr::null_mut(), || {
        // SAFETY: C++ keeps the handle alive during the call.
        let session: SessionHandle = unsafe { borrow::<DriverHandle>(driver) }.open_session()?;
        Ok(into_handle(session))
    })
}

unsafe extern "C" fn session_free(session: *mut c_void) {
    // SAFETY: C++ gives back, once, what `session_open` made.
    unsafe { free::<SessionHandle>(session) }
}

unsafe extern "C" fn session_prepare(
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

unsafe extern "C" fn session_close_statement(session: *mut c_void, statement: u64) {
    // SAFETY: C++ keeps the handle alive during the call.
    let session = unsafe { borrow::<SessionHandle>(session) };
    // Nobody waits for the answer; a panic must not travel.
    drop(catch_unwind(AssertUnwindSafe(|| session.close_statement(statement))));
}

unsafe extern "C" fn session_execute(
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

unsafe extern "C" fn session_end_transaction(
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

fn list_entry(entry: &CatalogEntry, sink: DhCatalogSink, target: *mut c_void) {
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

unsafe extern "C" fn session_describe(
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

unsafe extern "C" fn session_draw(
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

unsafe extern "C" fn ingest_begin(
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
unsafe fn lock_ingest<'a>(ingest: *mut c_void) -> Result<std::sync::MutexGuard<'a, Box<dyn RemoteIngest>>> {
    // SAFETY: as the caller says.
    unsafe { borrow::<IngestHandle>(ingest) }.lock().map_err(|_| EngineError::internal("an ingest has panicked"))
}

unsafe extern "C" fn ingest_write(
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

unsafe extern "C" fn ingest_finish(
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

unsafe extern "C" fn ingest_free(ingest: *mut c_void) {
    // SAFETY: C++ gives back, once, what `ingest_begin` made.
    unsafe { free::<IngestHandle>(ingest) }
}

unsafe extern "C" fn start_local_server(port: u16, workers: u32, error: *mut DhError) -> bool {
    guard(error, false, || herd()?.start_local_server(port, workers).map(|()| true))
}

unsafe extern "C" fn stop_local_server(error: *mut DhError) -> bool {
    guard(error, false, || herd()?.stop_local_server())
}

unsafe extern "C" fn start_standalone_worker(port: u16, error: *mut DhError) -> bool {
    guard(error, false, || herd()?.start_standalone_worker(port).map(|()| true))
}
