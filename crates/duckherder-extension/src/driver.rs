//! One attached driver.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use duckherder_engine::client::{DatabaseName, Patience, RemoteDriver, RemoteSession};
use duckherder_engine::{EngineError, Result};
use duckherder_proto::actions::{
    CountWorkers, DatabaseEntry, DatabaseList, DropDatabase, Empty, ListDatabases, ListStatistics, LoadExtension,
    OpenDatabase, QueryStatistic, QueryStatistics, RegisterWorker, WorkerCount,
};
use duckherder_proto::herd::{ListWorkers, WorkerEntry, WorkerList};

use crate::call::Line;
use crate::runtime::{wait, wait_at_most};
use crate::session::Session;

/// A driver answers what it knows by heart within this.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Finding an extension may take a download, on every worker.
const LOAD_LIMIT: Duration = Duration::from_secs(300);

/// A driver, wherever it is at the moment.
pub struct Driver {
    place: Mutex<Place>,
    database: DatabaseName,
}

struct Place {
    line: Line,
    /// The workers that were registered here: id and location.
    workers: Vec<(String, String)>,
}

impl Driver {
    /// Connects, and makes sure that it is a driver that answers.
    ///
    /// # Errors
    /// `IO`, naming the place; `Catalog` if it has no such database.
    pub fn connect(host: &str, port: u16, database: &DatabaseName, patience: &Patience) -> Result<Self> {
        let line = open(host, port, database, patience)?;
        Ok(Self { place: Mutex::new(Place { line, workers: Vec::new() }), database: database.clone() })
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self) -> Line {
        self.place().line.clone()
    }
}

fn open(host: &str, port: u16, database: &DatabaseName, patience: &Patience) -> Result<Line> {
    let what = format!("a duckherder driver at {host}:{port}");
    let (host, database) = (host.to_string(), database.clone());
    wait_at_most(ANSWER_LIMIT, &what, patience, async move {
        let line = Line::connect(&host, port).await?;
        line.greet().await?;
        if let DatabaseName { name: Some(name), create_if_missing } = database {
            let _: Empty = line.action(None, &OpenDatabase { name, create_if_missing }).await?;
        }
        Ok(line)
    })
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

impl RemoteDriver for Driver {
    fn open_session(&self) -> Result<Arc<dyn RemoteSession>> {
        Ok(Arc::new(Session::open(self.line(), self.database.name.as_deref())?))
    }

    fn register_worker(&self, worker_id: &str, location: &str, patience: &Patience) -> Result<()> {
        parse_location(location)?;
        let line = self.line();
        let message = RegisterWorker { worker_id: worker_id.to_string(), location: location.to_string() };
        let what = format!("the worker {worker_id} at {location}");
        let _: Empty = wait_at_most(ANSWER_LIMIT, &what, patience, line.action(None, &message))?;
        let mut place = self.place();
        place.workers.retain(|(known, _)| known != worker_id);
        place.workers.push((message.worker_id, message.location));
        Ok(())
    }

    fn replace(&self, _driver_id: &str, location: &str, patience: &Patience) -> Result<()> {
        let (host, port) = parse_location(location)?;
        let line = open(&host, port, &self.database, patience)?;
        let workers = self.place().workers.clone();
        if line.address != self.line().address {
            for (worker_id, location) in workers {
                let what = format!("the worker {worker_id} at {location}");
                let message = RegisterWorker { worker_id, location };
                let _: Empty = wait_at_most(ANSWER_LIMIT, &what, patience, line.action(None, &message))?;
            }
        }
        self.place().line = line;
        Ok(())
    }

    fn worker_count(&self, patience: &Patience) -> Result<u64> {
        let line = self.line();
        let what = format!("the driver at {}", line.address);
        let count: WorkerCount = wait_at_most(ANSWER_LIMIT, &what, patience, line.action(None, &CountWorkers {}))?;
        Ok(count.workers)
    }

    fn workers(&self, patience: &Patience) -> Result<Vec<WorkerEntry>> {
        let line = self.line();
        let what = format!("the driver at {}", line.address);
        let listed: WorkerList = wait_at_most(ANSWER_LIMIT, &what, patience, line.action(None, &ListWorkers {}))?;
        Ok(listed.workers)
    }

    fn load_extension(&self, name: &str, patience: &Patience) -> Result<()> {
        let line = self.line();
        let what = format!("the driver at {}", line.address);
        let message = LoadExtension { name: name.to_string() };
        let _: Empty = wait_at_most(LOAD_LIMIT, &what, patience, line.action(None, &message))?;
        Ok(())
    }

    fn databases(&self, patience: &Patience) -> Result<Vec<DatabaseEntry>> {
        let listed: DatabaseList = wait(patience, self.line().action(None, &ListDatabases {}))?;
        Ok(listed.databases)
    }

    fn drop_database(&self, name: &str, patience: &Patience) -> Result<()> {
        let _: Empty = wait(patience, self.line().action(None, &DropDatabase { name: name.to_string() }))?;
        Ok(())
    }

    fn statistics(&self, clear: bool, patience: &Patience) -> Result<Vec<QueryStatistic>> {
        let line = self.line();
        let listed: QueryStatistics = wait(patience, line.action(None, &ListStatistics { clear }))?;
        Ok(listed.queries)
    }
}
