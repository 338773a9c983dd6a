//! The driver's own actions: transactions, statements, sessions, the catalog, the cluster.

use std::net::SocketAddr;
use std::sync::Arc;

use arrow_flight::sql::Any;
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, Result as ActionResult,
};
use duckherder_engine::database::Resources;
use duckherder_planner::Graph;
use duckherder_proto::SESSION_HEADER;
use duckherder_proto::actions::{
    BackUpDatabase, CloseStatement, CountWorkers, DatabaseList, DescribeCatalog, DrawStatement, Drawing, DropDatabase,
    Empty, EndSession, EndTransaction, InterruptSession, ListDatabases, ListStatistics, ListTableNames, LoadExtension,
    NameTable, OpenDatabase, QueryStatistics, RegisterWorker, RestoreDatabase, RunProgress, TableName, TableNames,
    WatchRun, WorkerCount,
};
use duckherder_proto::any::Command;
use duckherder_proto::hello::Hello;
use duckherder_proto::herd::{JoinHerd, Joined, ListWorkers, WorkerEntry, WorkerList, WorkerStatus};
use duckherder_proto::statement::PrepareStatement;
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::backup;
use crate::catalog;
use crate::cluster::{Tasks, local_id, now_us};
use crate::error::{DriverError, Result};
use crate::flight_sql;
use crate::own::{decode, session};
use crate::rows;
use crate::service::Shared;
use crate::session::{SessionCore, blocking};

/// Flight's own action to cancel what `GetFlightInfo` announced.
const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";
/// Flight's own action to close a session; the session here is the call's header.
const CLOSE_SESSION: &str = "CloseSession";

/// The actions beyond Flight SQL's.
pub fn list() -> Vec<ActionType> {
    [
        (EndTransaction::TYPE_URL, "Commits or rolls back the session's transaction"),
        (CloseStatement::TYPE_URL, "Forgets a prepared statement of the session"),
        (InterruptSession::TYPE_URL, "Stops what the session runs"),
        (EndSession::TYPE_URL, "Rolls back and forgets the session"),
        (WatchRun::TYPE_URL, "Says how far the session's statement is"),
        (DrawStatement::TYPE_URL, "Draws how a statement would be run, as a Mermaid flowchart"),
        (DescribeCatalog::TYPE_URL, "Describes schemas, tables, views and more as the session sees them"),
        (Hello::TYPE_URL, "Says which version speaks"),
        (OpenDatabase::TYPE_URL, "Makes sure that a database is there"),
        (DropDatabase::TYPE_URL, "Drops a database"),
        (BackUpDatabase::TYPE_URL, "Copies a database to a file"),
        (RestoreDatabase::TYPE_URL, "Makes a database of such a copy"),
        (NameTable::TYPE_URL, "Gives a table another name"),
        (ListTableNames::TYPE_URL, "The other names of tables"),
        (ListDatabases::TYPE_URL, "Lists the databases"),
        (RegisterWorker::TYPE_URL, "Adds a worker in another process"),
        (JoinHerd::TYPE_URL, "Adds the worker that calls"),
        (ListWorkers::TYPE_URL, "Lists the workers"),
        (CountWorkers::TYPE_URL, "Counts the workers"),
        (LoadExtension::TYPE_URL, "Loads a DuckDB extension on driver and workers"),
        (ListStatistics::TYPE_URL, "Lists the last queries with what they cost"),
        (CANCEL_FLIGHT_INFO, "Cancels a query"),
        (CLOSE_SESSION, "Closes the session"),
    ]
    .into_iter()
    .map(|(name, description)| ActionType { r#type: name.to_string(), description: description.to_string() })
    .collect()
}

/// Runs an action; its results.
///
/// # Errors
/// What the action says, or there is no such action.
pub async fn run(driver: &Arc<Shared>, request: Request<Action>) -> Result<Vec<ActionResult>, Status> {
    let peer = request.remote_addr();
    let (metadata, _, action) = request.into_parts();
    match action.r#type.as_str() {
        CANCEL_FLIGHT_INFO => {
            let request = CancelFlightInfoRequest::decode(action.body)
                .map_err(|error| DriverError::Invalid(format!("malformed {CANCEL_FLIGHT_INFO}: {error}")))?;
            let found = request.info.is_some_and(|info| flight_sql::transaction::cancel_info(driver, &info));
            let status = if found { CancelStatus::Cancelled } else { CancelStatus::NotCancellable };
            return Ok(vec![ActionResult::new(CancelFlightInfoResult::new(status).encode_to_vec())]);
        }
        CLOSE_SESSION => {
            if let Some(session) = driver.sessions.of_call(&metadata).await? {
                driver.sessions.end(&session.id).await?;
            }
            // CloseSessionResult { status: CLOSED = 1 }
            return Ok(vec![ActionResult::new(vec![8, 1])]);
        }
        _ => {}
    }
    let any = Any::decode(action.body)
        .map_err(|error| DriverError::Invalid(format!("malformed action '{}': {error}", action.r#type)))?;
    match own(driver, &metadata, peer, &any).await? {
        Some(answer) => Ok(vec![ActionResult::new(answer)]),
        None => Err(duckherder_proto::error::ErrorDetail::new(
            "Not implemented",
            duckherder_proto::any::unknown(&action.r#type, "driver"),
        )
        .into_status()),
    }
}

async fn own(
    driver: &Arc<Shared>,
    metadata: &MetadataMap,
    peer: Option<SocketAddr>,
    any: &Any,
) -> Result<Option<bytes::Bytes>> {
    if let Some(EndTransaction { commit }) = decode(any)? {
        let session = session(driver, metadata, commit).await?;
        session.run(move |core| core.end_transaction(commit)).await?;
    } else if let Some(CloseStatement { statement_id }) = decode(any)? {
        let session = session(driver, metadata, false).await?;
        session
            .run(move |core| {
                core.close_statement(statement_id);
                Ok(())
            })
            .await?;
    } else if let Some(InterruptSession {}) = decode(any)? {
        session(driver, metadata, false).await?.interrupt();
    } else if let Some(EndSession {}) = decode(any)? {
        let session = session(driver, metadata, false).await?;
        driver.sessions.end(&session.id).await?;
    } else if let Some(DescribeCatalog { known_version, in_transaction }) = decode(any)? {
        let session = session(driver, metadata, in_transaction).await?;
        let catalog = session
            .run(move |core| {
                core.join_transaction(in_transaction)?;
                catalog::describe(core, known_version)
            })
            .await?;
        return Ok(Some(catalog.pack()));
    } else if let Some(WatchRun { run }) = decode(any)? {
        // Waits for no session, and opens none.
        let id = metadata.get(SESSION_HEADER).and_then(|id| id.to_str().ok());
        let session = id.and_then(|id| driver.sessions.running(id));
        return Ok(Some(RunProgress { done: session.and_then(|session| session.done(run)) }.pack()));
    } else if let Some(DrawStatement { statement }) = decode(any)? {
        let statement = statement.ok_or_else(|| DriverError::Invalid("there is no statement to draw".to_string()))?;
        let session = session(driver, metadata, statement.in_transaction).await?;
        return Ok(Some(Drawing { mermaid: session.run(move |core| draw(core, statement)).await? }.pack()));
    } else if let Some(RegisterWorker { worker_id, location }) = decode(any)? {
        driver.cluster.register(&worker_id, &location).await?;
        let databases = Arc::clone(&driver.databases);
        blocking(move || databases.remembered().worker(&worker_id, &location)).await?;
    } else if let Some(call) = decode::<JoinHerd>(any)? {
        driver.cluster.join(call, peer.map(|peer| peer.ip())).await?;
        let again_after_ms = driver.cluster.timing().every().as_millis() as u64;
        return Ok(Some(Joined { again_after_ms }.pack()));
    } else if let Some(ListWorkers {}) = decode(any)? {
        return Ok(Some(WorkerList { workers: list_workers(driver)? }.pack()));
    } else if let Some(OpenDatabase { name, create_if_missing }) = decode(any)? {
        let databases = Arc::clone(&driver.databases);
        blocking(
            move || if create_if_missing { databases.create(&name) } else { databases.enter(Some(&name)).map(drop) },
        )
        .await?;
    } else if let Some(DropDatabase { name }) = decode(any)? {
        let databases = Arc::clone(&driver.databases);
        blocking(move || databases.remove(&name)).await?;
    } else if let Some(NameTable { database, name, table }) = decode(any)? {
        let databases = Arc::clone(&driver.databases);
        blocking(move || match table {
            Some(table) => databases.name_table(database.as_deref(), &name, &table),
            None => databases.forget_name(database.as_deref(), &name),
        })
        .await?;
    } else if let Some(ListTableNames { database }) = decode(any)? {
        let databases = Arc::clone(&driver.databases);
        let names = blocking(move || databases.table_names(database.as_deref())).await?.into_iter();
        let names = names.map(|(name, table)| TableName { name, table }).collect();
        return Ok(Some(TableNames { names }.pack()));
    } else if let Some(BackUpDatabase { name, target }) = decode(any)? {
        let databases = Arc::clone(&driver.databases);
        blocking(move || backup::back_up(&databases, &name, &target)).await?;
    } else if let Some(RestoreDatabase { name, source }) = decode(any)? {
        let databases = Arc::clone(&driver.databases);
        blocking(move || backup::restore(&databases, &name, &source)).await?;
    } else if let Some(ListDatabases {}) = decode(any)? {
        return Ok(Some(DatabaseList { databases: driver.databases.list() }.pack()));
    } else if let Some(CountWorkers {}) = decode(any)? {
        return Ok(Some(WorkerCount { workers: driver.cluster.count() as u64 }.pack()));
    } else if let Some(LoadExtension { name }) = decode(any)? {
        load_extension(driver, name).await?;
    } else if let Some(ListStatistics { clear }) = decode(any)? {
        return Ok(Some(QueryStatistics { queries: driver.statistics.list(clear) }.pack()));
    } else {
        return Ok(None);
    }
    Ok(Some(Empty {}.pack()))
}

/// Those in the driver's process, which share its DuckDB, and the others.
fn list_workers(driver: &Shared) -> Result<Vec<WorkerEntry>> {
    let Resources { threads, memory_bytes, memory_limit_bytes } = driver.databases.instance().resources()?;
    let version = env!("CARGO_PKG_VERSION").to_string();
    let status = WorkerStatus { version, threads, memory_bytes, memory_limit_bytes, ..WorkerStatus::default() };
    let local = |(number, tasks): (usize, &Tasks)| WorkerEntry {
        worker_id: local_id(number),
        status: Some(status.clone()),
        running_tasks: tasks.count(),
        last_seen_us: now_us(),
        ..WorkerEntry::default()
    };
    let here = driver.cluster.local_workers().iter().enumerate().map(local);
    Ok(here.chain(driver.cluster.entries()).collect())
}

/// How the statement that an EXPLAIN is of would be run.
fn draw(core: &mut SessionCore, explain: PrepareStatement) -> Result<String> {
    core.apply_settings(&explain.settings)?;
    core.join_transaction(explain.in_transaction)?;
    if let Some(distributor) = &mut core.distributor {
        distributor.statement_starts(&explain.sql);
    }
    rows::query(&core.connection, &explain.sql)?;
    let graph = match &mut core.distributor {
        Some(distributor) => distributor.graph(),
        None => Graph::local("this driver distributes nothing"),
    };
    Ok(graph.mermaid())
}

async fn load_extension(driver: &Shared, name: String) -> Result<()> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(DriverError::Invalid(format!("'{name}' is not the name of an extension")));
    }
    let databases = Arc::clone(&driver.databases);
    let loaded = name.clone();
    blocking(move || Ok(databases.instance().connect()?.load_extension(&loaded)?)).await?;
    driver.cluster.load_extension(&name).await?;
    let databases = Arc::clone(&driver.databases);
    blocking(move || databases.remembered().extension(&name)).await
}
