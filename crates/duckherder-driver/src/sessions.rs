//! All sessions of a driver: found by the client's name for them, bounded, forgotten when idle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use duckherder_proto::SESSION_HEADER;
use duckherder_proto::database::{DATABASE_HEADER, decode_name};
use tonic::metadata::MetadataMap;

use crate::connections::{Connections, connection_of};
use crate::databases::Databases;
use crate::distribute::Distributor;
use crate::error::{DriverError, Result};
use crate::session::{Owner, Session, blocking};
use crate::sync::lock;

/// Bounds on the sessions of a driver.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    pub sessions: usize,
    /// An idle session is forgotten after this, its transaction rolled back.
    pub idle: Duration,
    /// So is one whose client's connection has been closed for this long: the client may only have lost it.
    pub left: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { sessions: 4096, idle: Duration::from_secs(3600), left: Duration::from_secs(5) }
    }
}

/// The sessions of a driver.
pub struct Sessions {
    databases: Arc<Databases>,
    distributor: Option<Arc<dyn Distributor>>,
    limits: SessionLimits,
    /// Of the clients, once they can call.
    connections: OnceLock<Arc<Connections>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: HashMap<String, Arc<Session>>,
    /// Sessions that end with the stream that uses them, kept findable to cancel them.
    forgotten: HashMap<String, Weak<Session>>,
}

impl Sessions {
    pub fn new(databases: Arc<Databases>, distributor: Option<Arc<dyn Distributor>>, limits: SessionLimits) -> Self {
        Self { databases, distributor, limits, connections: OnceLock::new(), state: Mutex::default() }
    }

    /// Sessions end with the connections of their clients.
    pub fn watch(&self, connections: Arc<Connections>) {
        // They are the same for as long as the driver runs.
        let _ = self.connections.set(connections);
    }

    /// The session that a call's header names, made if it is new; `None` for a call without the header.
    ///
    /// # Errors
    /// The name is malformed, there are too many sessions, or DuckDB refuses a connection.
    pub async fn of_call(&self, metadata: &MetadataMap) -> Result<Option<Arc<Session>>> {
        let Some(value) = metadata.get(SESSION_HEADER) else { return Ok(None) };
        match value.to_str() {
            Ok(id) if (1..=128).contains(&id.len()) => self.get_or_open(id, Owner::Client, metadata).await.map(Some),
            _ => Err(DriverError::Invalid(format!(
                "header {SESSION_HEADER} holds no session name of 1 to 128 characters"
            ))),
        }
    }

    /// A session of the driver's own making, for a call that has none.
    ///
    /// # Errors
    /// As [`of_call`](Self::of_call).
    pub async fn open_own(&self, metadata: &MetadataMap) -> Result<Arc<Session>> {
        self.get_or_open(&uuid::Uuid::new_v4().to_string(), Owner::Statement, metadata).await
    }

    /// A session for a Flight SQL transaction.
    ///
    /// # Errors
    /// As [`of_call`](Self::of_call).
    pub async fn open_transaction(&self, metadata: &MetadataMap) -> Result<Arc<Session>> {
        self.get_or_open(&uuid::Uuid::new_v4().to_string(), Owner::Transaction, metadata).await
    }

    /// Takes a session out of the list; whoever uses it still may go on.
    pub fn forget(&self, id: &str) {
        let mut state = lock(&self.state);
        if let Some(session) = state.open.remove(id) {
            state.forgotten.retain(|_, session| session.strong_count() > 0);
            state.forgotten.insert(id.to_string(), Arc::downgrade(&session));
        }
    }

    /// A session that is open, or forgotten but still in use.
    pub fn running(&self, id: &str) -> Option<Arc<Session>> {
        let state = lock(&self.state);
        state.open.get(id).cloned().or_else(|| state.forgotten.get(id)?.upgrade())
    }

    /// A session that is open.
    pub fn get(&self, id: &str) -> Option<Arc<Session>> {
        lock(&self.state).open.get(id).cloned()
    }

    async fn get_or_open(&self, id: &str, owner: Owner, metadata: &MetadataMap) -> Result<Arc<Session>> {
        let session = self.find_or_open(id, owner, metadata).await?;
        if let Some(connection) = connection_of(metadata) {
            session.came_through(connection);
        }
        Ok(session)
    }

    async fn find_or_open(&self, id: &str, owner: Owner, metadata: &MetadataMap) -> Result<Arc<Session>> {
        if let Some(session) = self.get(id) {
            return Ok(session);
        }
        self.check_room()?;
        let database = self.databases.enter(database_of(metadata)?.as_deref())?;
        let (name, distributor) = (id.to_string(), self.distributor.clone());
        let session = blocking(move || Session::open(name, owner, database, distributor.as_deref())).await?;
        // Two first calls of one session may come at once: the first to get here gives the session its connection.
        Ok(Arc::clone(lock(&self.state).open.entry(id.to_string()).or_insert_with(|| Arc::new(session))))
    }

    /// What was planned without the workers that there are now is planned again.
    pub fn workers_changed(&self) {
        self.databases.instance().forget_plans();
    }

    fn check_room(&self) -> Result<()> {
        let limit = self.limits.sessions;
        if lock(&self.state).open.len() < limit {
            return Ok(());
        }
        self.expire();
        if lock(&self.state).open.len() < limit { Ok(()) } else { Err(DriverError::TooManySessions { limit }) }
    }

    /// Forgets a session and frees what it holds.
    ///
    /// # Errors
    /// DuckDB can't roll back.
    pub async fn end(&self, id: &str) -> Result<()> {
        let session = lock(&self.state).open.remove(id);
        match session {
            Some(session) => session.close().await,
            None => Ok(()),
        }
    }

    /// Stops everything that runs.
    pub fn interrupt_all(&self, runtime: &tokio::runtime::Handle) {
        let _inside = runtime.enter();
        let sessions: Vec<_> = {
            let state = lock(&self.state);
            state.open.values().cloned().chain(state.forgotten.values().filter_map(Weak::upgrade)).collect()
        };
        sessions.iter().for_each(|session| session.interrupt());
    }

    /// Forgets sessions that nobody used for long, or whose client is gone. (The connection's end rolls its transaction back.)
    pub fn expire(&self) {
        let SessionLimits { idle, left, .. } = self.limits;
        let mut expired = Vec::new();
        {
            let mut state = lock(&self.state);
            let names: Vec<String> = state
                .open
                .iter()
                .filter(|(_, session)| {
                    let connections = self.connections.get();
                    let has_left = connections.is_some_and(|connections| session.left(connections) >= left);
                    let over = session.idle() >= idle || has_left;
                    Arc::strong_count(session) == 1 && over
                })
                .map(|(name, _)| name.clone())
                .collect();
            for name in names {
                expired.extend(state.open.remove(&name));
            }
        }
        if !expired.is_empty() {
            tracing::info!(sessions = expired.len(), "sessions expired: idle for long, or their clients are gone");
        }
    }
}

/// The database that a call names.
fn database_of(metadata: &MetadataMap) -> Result<Option<String>> {
    let Some(value) = metadata.get(DATABASE_HEADER) else { return Ok(None) };
    let name = value.to_str().ok().and_then(decode_name);
    let malformed = || DriverError::Invalid(format!("header {DATABASE_HEADER} holds no encoded name of a database"));
    name.ok_or_else(malformed).map(Some)
}
