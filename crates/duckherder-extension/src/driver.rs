//! One attached driver.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use duckherder_engine::client::{DatabaseName, Patience, RemoteDriver, RemoteSession};
use duckherder_engine::{EngineError, Result};
use duckherder_proto::actions::{
    CountWorkers, DatabaseEntry, DatabaseList, DropDatabase, Empty, ListDatabases, ListStatistics, ListTableNames,
    LoadExtension, NameTable, OpenDatabase, QueryStatistic, QueryStatistics, RegisterWorker, TableName, TableNames,
    WorkerCount,
};
use duckherder_proto::any::Command;
use duckherder_proto::herd::{ListWorkers, WorkerEntry, WorkerList, WorkerState};
use futures::future::join_all;

use crate::call::Line;
use crate::route::{Address, Effect, Route, TAKEOVER_LIMIT};
use crate::runtime::{wait, wait_at_most};
use crate::session::Session;

/// A driver answers what it knows by heart within this.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The same, where it may well be gone.
const LIST_LIMIT: Duration = Duration::from_secs(2);
/// Finding an extension may take a download, on every worker.
const LOAD_LIMIT: Duration = Duration::from_secs(300);

/// A driver, wherever it is at the moment.
pub struct Driver {
    route: Mutex<Arc<Route>>,
    /// The workers that were registered here: id and location.
    workers: Mutex<Vec<(String, String)>>,
    database: DatabaseName,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Driver {
    /// Connects, and makes sure that it is a driver that answers.
    ///
    /// # Errors
    /// `IO`, naming the place; `Catalog` if it has no such database.
    pub fn connect(host: &str, port: u16, database: &DatabaseName, patience: &Patience) -> Result<Self> {
        let addresses = Address::parse(host, port)?;
        let places: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let what = format!("a duckherder driver at {}", places.join(" or "));
        let limit = if addresses.len() > 1 { ANSWER_LIMIT + TAKEOVER_LIMIT } else { ANSWER_LIMIT };
        let named = database.clone();
        let route = wait_at_most(limit, &what, patience, async move {
            let route = Route::open(addresses).await?;
            enter(&route, named).await?;
            Ok(route)
        })?;
        Ok(Self { route: Mutex::new(Arc::new(route)), workers: Mutex::default(), database: database.clone() })
    }

    fn route(&self) -> Arc<Route> {
        Arc::clone(&lock(&self.route))
    }

    /// Asks for, or tells, something that the driver answers within `limit`; `what` names who answers.
    fn call<A: Command, M: Command>(
        &self,
        effect: Effect,
        limit: Option<(Duration, &str)>,
        message: &M,
        patience: &Patience,
    ) -> Result<A> {
        let route = self.route();
        let called = route.call(effect, async |line| line.action(None, message).await);
        match limit {
            Some((limit, "")) => {
                let what = format!("the driver at {}", route.line().address);
                wait_at_most(route.limit(limit), &what, patience, called)
            }
            Some((limit, what)) => wait_at_most(route.limit(limit), what, patience, called),
            None => wait(patience, called),
        }
    }
}

/// Makes sure that the driver has the database.
async fn enter(route: &Route, database: DatabaseName) -> Result<()> {
    let DatabaseName { name: Some(name), create_if_missing } = database else { return Ok(()) };
    let message = OpenDatabase { name, create_if_missing };
    let Empty {} = route.call(Effect::READS, async |line| line.action(None, &message).await).await?;
    Ok(())
}

/// Tells the driver at the end of `new` of its workers: those that were `registered` here, and those of the driver before,
/// if it answers. A worker that does not answer is left behind, for it must not keep anybody with a driver that is gone.
async fn take_along(registered: Vec<(String, String)>, old: &Line, new: &Line) {
    let (known, there) = futures::join!(workers_of(old), workers_of(new));
    // What the driver calls by that name is not displaced by a worker that nobody registered here.
    let is_new = |(id, location): &(String, String)| {
        let mut taken = registered.iter().chain(&there);
        !taken.any(|(other, place)| other == id || place == location)
    };
    let others: Vec<_> = known.into_iter().filter(is_new).collect();
    let told = registered.into_iter().chain(others).map(async |(worker_id, location)| {
        let message = RegisterWorker { worker_id, location };
        let told = tokio::time::timeout(ANSWER_LIMIT, new.action::<Empty, _>(None, &message)).await;
        let reason = match told {
            Ok(Ok(Empty {})) => return,
            Ok(Err(error)) => error.message,
            Err(_) => format!("no answer within {} s", ANSWER_LIMIT.as_secs()),
        };
        tracing::warn!(worker = message.worker_id, location = message.location, reason, "a worker does not follow");
    });
    join_all(told).await;
}

/// The workers in other processes, ids and locations, that a driver has and that do not leave; none if it does not answer
/// soon.
async fn workers_of(line: &Line) -> Vec<(String, String)> {
    let listed = tokio::time::timeout(LIST_LIMIT, line.action::<WorkerList, _>(None, &ListWorkers {})).await;
    let Ok(Ok(WorkerList { workers })) = listed else { return Vec::new() };
    let stays = workers.into_iter().filter(|worker| worker.state() != WorkerState::Draining);
    stays.filter_map(|worker| Some((worker.worker_id, worker.location?))).collect()
}

/// Host and port of `grpc://host:port`.
fn parse_location(location: &str) -> Result<(String, u16)> {
    let invalid =
        || EngineError::new("Invalid Input", format!("a location is written grpc://host:port, not \"{location}\""));
    let rest = location.strip_prefix("grpc://").unwrap_or(location);
    let (host, port) = rest.rsplit_once(':').ok_or_else(invalid)?;
    let port = port.parse().map_err(|_| invalid())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains('/') { Err(invalid()) } else { Ok((host.to_string(), port)) }
}

/// The driver knows it by heart.
const AT_ONCE: Option<(Duration, &str)> = Some((ANSWER_LIMIT, ""));

impl RemoteDriver for Driver {
    fn open_session(&self) -> Result<Arc<dyn RemoteSession>> {
        Ok(Arc::new(Session::open(self.route(), self.database.name.as_deref())?))
    }

    fn register_worker(&self, worker_id: &str, location: &str, patience: &Patience) -> Result<()> {
        parse_location(location)?;
        let message = RegisterWorker { worker_id: worker_id.to_string(), location: location.to_string() };
        let what = format!("the worker {worker_id} at {location}");
        // Told twice it is the same.
        let Empty {} = self.call(Effect::READS, Some((ANSWER_LIMIT, &what)), &message, patience)?;
        let mut workers = lock(&self.workers);
        workers.retain(|(known, _)| known != worker_id);
        workers.push((message.worker_id, message.location));
        Ok(())
    }

    fn replace(&self, _driver_id: &str, location: &str, patience: &Patience) -> Result<()> {
        let (host, port) = parse_location(location)?;
        let (known, database) = (self.route(), self.database.clone());
        let address = Address { host, port };
        let what = format!("a duckherder driver at {address}");
        let route = wait_at_most(ANSWER_LIMIT, &what, patience, async move {
            let route = known.replaced_by(address).await?;
            enter(&route, database).await?;
            Ok(route)
        })?;
        let (old, new) = (self.route().line(), route.line());
        if old.address != new.address {
            let registered = lock(&self.workers).clone();
            wait(patience, async {
                take_along(registered, &old, &new).await;
                Ok(())
            })?;
        }
        // Only now: whoever interrupts the wait still has the old place.
        *lock(&self.route) = Arc::new(route);
        Ok(())
    }

    fn worker_count(&self, patience: &Patience) -> Result<u64> {
        let count: WorkerCount = self.call(Effect::READS, AT_ONCE, &CountWorkers {}, patience)?;
        Ok(count.workers)
    }

    fn workers(&self, patience: &Patience) -> Result<Vec<WorkerEntry>> {
        let listed: WorkerList = self.call(Effect::READS, AT_ONCE, &ListWorkers {}, patience)?;
        Ok(listed.workers)
    }

    fn load_extension(&self, name: &str, patience: &Patience) -> Result<()> {
        let message = LoadExtension { name: name.to_string() };
        // Loaded twice it is the same.
        let Empty {} = self.call(Effect::READS, Some((LOAD_LIMIT, "")), &message, patience)?;
        Ok(())
    }

    fn databases(&self, patience: &Patience) -> Result<Vec<DatabaseEntry>> {
        let listed: DatabaseList = self.call(Effect::READS, None, &ListDatabases {}, patience)?;
        Ok(listed.databases)
    }

    fn drop_database(&self, name: &str, patience: &Patience) -> Result<()> {
        let Empty {} = self.call(Effect::WRITES, None, &DropDatabase { name: name.to_string() }, patience)?;
        Ok(())
    }

    fn name_table(&self, name: &str, table: Option<&str>, patience: &Patience) -> Result<()> {
        let (database, name, table) = (self.database.name.clone(), name.to_string(), table.map(str::to_string));
        // To forget a name twice is an error.
        let effect = if table.is_some() { Effect::READS } else { Effect::WRITES };
        let Empty {} = self.call(effect, None, &NameTable { database, name, table }, patience)?;
        Ok(())
    }

    fn table_names(&self, patience: &Patience) -> Result<Vec<TableName>> {
        let message = ListTableNames { database: self.database.name.clone() };
        let listed: TableNames = self.call(Effect::READS, AT_ONCE, &message, patience)?;
        Ok(listed.names)
    }

    fn statistics(&self, clear: bool, patience: &Patience) -> Result<Vec<QueryStatistic>> {
        let listed: QueryStatistics = self.call(Effect::READS, None, &ListStatistics { clear }, patience)?;
        Ok(listed.queries)
    }
}
