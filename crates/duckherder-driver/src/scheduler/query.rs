//! A plan that was cut, ready to run.

use std::sync::Arc;

use duckherder_engine::EngineError;
use duckherder_engine::distribute::{DistributedQuery, Exchange, QueryRun};
use duckherder_planner::{Cut, Distribution, MergeStrategy, Mode, split};

use super::Shared;
use super::exchange::TaskExchange;
use super::report::RunReport;
use crate::cluster::RemoteWorker;
use crate::distribute::ExecutionOutcome;

/// A query of a session.
pub struct ScheduledQuery {
    shared: Arc<Shared>,
    distribution: Distribution,
    report: Arc<RunReport>,
}

/// Who runs a task.
#[derive(Clone)]
pub enum Worker {
    /// A thread of the driver's process.
    Local {
        id: String,
    },
    Remote(RemoteWorker),
}

impl Worker {
    pub fn id(&self) -> &str {
        match self {
            Self::Local { id } => id,
            Self::Remote(worker) => &worker.id,
        }
    }
}

impl ScheduledQuery {
    pub fn new(shared: Arc<Shared>, distribution: Distribution) -> Self {
        Self { shared, distribution, report: Arc::default() }
    }

    /// How the query ran; `None` if it never did.
    pub fn outcome(&self) -> Option<ExecutionOutcome> {
        let (tasks, workers_used) = self.report.counts();
        (tasks > 0).then(|| ExecutionOutcome {
            mode: self.distribution.mode.name().to_string(),
            merge_strategy: self.distribution.merge.name().to_string(),
            workers_used: workers_used as i64,
            tasks: tasks as i64,
        })
    }

    /// The workers in the order in which they get tasks. A query of one task prefers one that needs no network.
    fn workers(&self) -> Vec<Worker> {
        let cluster = &self.shared.cluster;
        let local = (0..cluster.local_workers()).map(|number| Worker::Local { id: format!("local-{number}") });
        let remote = cluster.remote_workers().into_iter().map(Worker::Remote);
        let mut workers: Vec<Worker> = match self.distribution.mode {
            Mode::Delegated if cluster.local_workers() > 0 => local.collect(),
            _ => local.chain(remote).collect(),
        };
        if !workers.is_empty() {
            let first = self.shared.first_worker(workers.len());
            workers.rotate_left(first);
        }
        workers
    }
}

impl DistributedQuery for ScheduledQuery {
    fn describe(&self, fragment: &str) -> Vec<(String, String)> {
        let distribution = &self.distribution;
        let on_driver = match (distribution.merge, distribution.cut) {
            (MergeStrategy::None, _) => "passes the rows on".to_string(),
            (merge, Cut::PartialAggregate) => format!("combines and finalizes the states ({})", merge.name()),
            (merge, _) => format!("merges the rows ({})", merge.name()),
        };
        let mut lines = vec![
            ("Mode".to_string(), distribution.mode.name().to_string()),
            ("Stage 0".to_string(), format!("up to {} tasks on workers", distribution.tasks)),
            ("Stage 1".to_string(), format!("the driver {on_driver}")),
            ("Fragment".to_string(), fragment.to_string()),
        ];
        if let Some(note) = &distribution.note {
            lines.push(("Note".to_string(), note.clone()));
        }
        lines.extend(self.report.lines());
        lines
    }

    fn start(&self, run: QueryRun) -> Result<Arc<dyn Exchange>, EngineError> {
        let workers = self.workers();
        if workers.is_empty() {
            return Err(EngineError::new("IO", "the last worker has left since the query was planned"));
        }
        let distribution = &self.distribution;
        let splits = split(distribution.mode, distribution.tasks, workers.len() as u64, &run.row_groups);
        self.report.planned(splits.len());
        let exchange = TaskExchange::start(&self.shared, run, splits, workers, Arc::clone(&self.report))?;
        Ok(Arc::new(exchange))
    }
}
