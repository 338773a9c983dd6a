//! Connections for tasks. Those of a query that is repeated stay, each with its task's plan: to plan a small task takes
//! longer than to run it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use duckherder_engine::distribute::{TaskPlan, TaskQuery};
use duckherder_engine::{Connection, Database, ResultStream};
use duckherder_proto::statement::Setting;
use duckherder_proto::task::RunTask;

use crate::error::Result;

/// Idle connections that are kept; the oldest go.
const KEPT_CONNECTIONS: usize = 64;

/// The connections of a worker.
pub struct TaskConnections {
    database: Database,
    idle: Mutex<VecDeque<TaskConnection>>,
    /// Rises with what makes every plan stale.
    generation: AtomicU64,
}

/// A connection with a task's settings. (Fields are dropped in this order.)
pub struct TaskConnection {
    /// None, if it was not made yet, or the task can't have one for several runs.
    plan: Option<TaskPlan>,
    planned: bool,
    pub connection: Connection,
    /// None: its task may not come again.
    key: Option<PlanKey>,
    generation: u64,
}

/// All that a plan depends on. (The tables of a worker are its inputs, and those of its cache, which never change.)
#[derive(PartialEq)]
struct PlanKey {
    fragment: Vec<u8>,
    /// Names and schemas, and what is read of the cache.
    inputs: Vec<(String, Vec<u8>, Option<String>)>,
    settings: Vec<Setting>,
}

impl PlanKey {
    fn of(task: &RunTask, kept: &[Option<&str>]) -> Self {
        let inputs = task.inputs.iter().zip(kept);
        let inputs = inputs.map(|(input, kept)| (input.name.clone(), input.schema.clone(), kept.map(str::to_string)));
        let inputs = inputs.collect();
        Self { fragment: task.fragment.clone(), inputs, settings: task.settings.clone() }
    }
}

impl TaskConnections {
    pub fn new(database: Database) -> Self {
        Self { database, idle: Mutex::default(), generation: AtomicU64::new(0) }
    }

    /// A connection for the task, one with its plan if there is one. `kept`: by input, the query that is read in its place.
    ///
    /// # Errors
    /// DuckDB refuses a connection, or one of the settings.
    pub fn open(&self, task: &RunTask, kept: &[Option<&str>]) -> Result<TaskConnection> {
        let key = task.repeated.then(|| PlanKey::of(task, kept));
        if key.is_some() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = idle.iter().position(|kept| kept.key == key).and_then(|place| idle.remove(place)) {
                return Ok(found);
            }
        }
        let generation = self.generation.load(Ordering::SeqCst);
        let connection = self.database.connect()?;
        connection.run_tasks()?;
        for setting in &task.settings {
            if let Some(value) = &setting.value {
                connection.set(&setting.name, value)?;
            }
        }
        Ok(TaskConnection { plan: None, planned: false, connection, key, generation })
    }

    /// Takes back a connection whose task has ended well, and which nobody interrupts any more.
    pub fn give_back(&self, mut connection: TaskConnection) {
        if connection.key.is_none() {
            return;
        }
        if let Some(plan) = &mut connection.plan {
            plan.rest();
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.generation != self.generation.load(Ordering::SeqCst) {
            return;
        }
        if idle.len() == KEPT_CONNECTIONS {
            idle.pop_front();
        }
        idle.push_back(connection);
    }

    /// What was planned so far may mean something else from now on.
    pub fn forget(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        self.generation.fetch_add(1, Ordering::SeqCst);
        idle.clear();
    }
}

impl TaskConnection {
    /// Starts the task over the inputs that the connection was given, with its plan if it may come again.
    ///
    /// # Errors
    /// DuckDB's.
    pub fn start(&mut self, fragment: &TaskQuery) -> Result<ResultStream> {
        if self.key.is_some() && !self.planned {
            self.plan = fragment.plan(&self.connection)?;
            self.planned = true;
        }
        Ok(match &self.plan {
            Some(plan) => plan.read(&self.connection)?,
            None => fragment.read(&self.connection)?,
        })
    }
}
