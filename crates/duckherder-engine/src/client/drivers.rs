//! What C++ asks of a driver.

use std::ffi::c_void;

use duckherder_proto::actions::TableName;
use duckherder_proto::herd::WorkerState;

use super::DatabaseName;
use super::calls::*;
use super::ffi::{
    DhDatabaseEntry, DhDatabaseSink, DhOptionalText, DhPatience, DhStatistic, DhStatisticSink, DhTableNameSink,
    DhWorkerEntry, DhWorkerSink,
};
use crate::ffi::{DhError, DhText};

pub(super) unsafe extern "C" fn driver_connect(
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

pub(super) unsafe extern "C" fn driver_free(driver: *mut c_void) {
    // SAFETY: C++ gives back, once, what `driver_connect` made.
    unsafe { free::<DriverHandle>(driver) }
}

pub(super) unsafe extern "C" fn driver_register_worker(
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

pub(super) unsafe extern "C" fn driver_replace(
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

pub(super) unsafe extern "C" fn driver_worker_count(
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

pub(super) unsafe extern "C" fn driver_workers(
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
            let unreachable: Vec<DhText> = status.unreachable.iter().map(|location| location.as_str().into()).collect();
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
                unreachable: unreachable.as_ptr(),
                unreachable_count: unreachable.len(),
                last_seen_us: worker.last_seen_us,
            };
            // SAFETY: sink and target belong together; the row and its texts outlive the call.
            unsafe { sink(target, &row) };
        }
        Ok(true)
    })
}

pub(super) unsafe extern "C" fn driver_load_extension(
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

pub(super) unsafe extern "C" fn driver_databases(
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

pub(super) unsafe extern "C" fn driver_drop_database(
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

pub(super) unsafe extern "C" fn driver_name_table(
    driver: *mut c_void,
    name: DhText,
    table: DhOptionalText,
    patience: DhPatience,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: as in `driver_register_worker`.
        let (driver, name) = unsafe { (borrow::<DriverHandle>(driver), read(name)) };
        // SAFETY: the text outlives the call.
        let table = table.present.then(|| unsafe { read(table.text) });
        driver.name_table(&name, table.as_deref(), &patience.into())?;
        Ok(true)
    })
}

pub(super) unsafe extern "C" fn driver_table_names(
    driver: *mut c_void,
    sink: DhTableNameSink,
    target: *mut c_void,
    patience: DhPatience,
    error: *mut DhError,
) -> bool {
    guard(error, false, || {
        // SAFETY: C++ keeps the handle alive during the call.
        for TableName { name, table } in unsafe { borrow::<DriverHandle>(driver) }.table_names(&patience.into())? {
            // SAFETY: sink and target belong together; the texts outlive the call.
            unsafe { sink(target, name.as_str().into(), table.as_str().into()) };
        }
        Ok(true)
    })
}

pub(super) unsafe extern "C" fn driver_statistics(
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
