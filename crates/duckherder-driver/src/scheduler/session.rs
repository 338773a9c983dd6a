//! Decisions about the plans of one session, and the memory of the last one.

use std::sync::{Arc, Mutex};

use duckherder_engine::EngineError;
use duckherder_engine::distribute::{self, DistributedQuery};
use duckherder_planner::plan::Distributed;
use duckherder_planner::{Capacity, Decision, Distribution, Graph, Plan, cost, decide, once_cached, outlines};

use super::Shared;
use super::caches::ScanOfTable;
use super::feedback::Measurement;
use super::query::{Planned, Reach, ScheduledQuery};
use super::{files, target};
use crate::distribute::{ExecutionOutcome, SessionDistributor, TasksWatch};
use crate::sync::lock;

/// The scheduler's part of a session.
pub struct SessionScheduler {
    shared: Arc<Shared>,
    last: Arc<Mutex<Last>>,
}

/// How the last plan of the statement is run.
#[derive(Default)]
pub struct Last {
    pub query: Option<Planned>,
    reason: Option<String>,
    /// The same plan may be another's next time, with nothing changed.
    provisional: bool,
    /// What it takes is of use.
    measurement: Option<Measurement>,
    /// What its tasks failed with because a worker was lost.
    pub lost: Option<String>,
    /// What its tasks failed with because of a value.
    pub failed: Option<String>,
    /// Of a plan that was explained.
    graph: Option<Graph>,
}

impl SessionScheduler {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, last: Arc::default() }
    }

    /// A decision, and whether it is another one once workers have more in their caches.
    fn decide_with_caches(&self, plan: &Plan, capacity: Capacity) -> (Decision, bool) {
        let (reason, estimate) = match decide(plan, capacity) {
            Decision::Local { reason, estimate } => (reason, estimate),
            distributed @ Decision::Distributed(_) => return (distributed, false),
        };
        let Some(prospect) = once_cached(plan, capacity) else { return (Decision::Local { reason, estimate }, false) };
        // What is only explained loses nothing.
        if !plan.explained && self.shared.caches.worth_sending(plan, &prospect) {
            let mut distribution = prospect.distribution;
            distribution.estimate.despite = "workers get its tables now, and keep them".to_string();
            return (Decision::Distributed(distribution), true);
        }
        let then = cost::milliseconds(prospect.distribution.estimate.distributed_us);
        let reason = format!("{reason}, or {then} with its tables in the workers' caches");
        (Decision::Local { reason, estimate }, true)
    }
}

impl distribute::Distributor for SessionScheduler {
    fn decide(&self, plan: &Plan) -> Option<(Distribution, Arc<dyn DistributedQuery>)> {
        let capacity = self.shared.cluster.capacity();
        let workers = capacity.workers;
        let mut plan = plan.clone();
        plan.stored = self.shared.storage.is_some();
        let (files, target) = match workers.count() > 0 && plan.distribution != Distributed::Never && !plan.has_written
        {
            true => (files::look(&self.shared, &mut plan), target::look(&self.shared, &mut plan)),
            false => (Vec::new(), None),
        };
        // Where it is asked for, the same is distributed in the same way, whatever is kept.
        if plan.distribution == Distributed::Auto && workers.remote > 0 && !plan.stored {
            self.shared.caches.look(&mut plan);
        }
        if plan.distribution == Distributed::Auto && workers.remote > 0 {
            self.shared.feedback.look(&mut plan, capacity);
        }
        let scans = || plan.root.preorder_scans().into_iter().map(|(_, scan)| scan);
        let mostly = scans().max_by_key(|scan| scan.rows.saturating_mul(scan.row_bytes.unwrap_or(1)));
        let mostly = mostly.map_or_else(String::new, |scan| scan.name.clone());
        let reach = Reach { files, target, mostly, tables: scans().map(ScanOfTable::of).collect() };
        let (decision, mut provisional) = self.decide_with_caches(&plan, capacity);
        let measurement = self.shared.feedback.measure(&plan, capacity, &decision);
        provisional |= measurement.is_some_and(|measurement| measurement.matters);
        match decision {
            Decision::Local { reason, .. } => {
                tracing::debug!(reason, "not distributed");
                *lock(&self.last) = Last { reason: Some(reason), provisional, measurement, ..Last::default() };
                None
            }
            Decision::Distributed(distribution) => {
                let outlines = if plan.explained { outlines(&plan, &distribution) } else { Vec::new() };
                let planned = Planned::new(distribution.clone(), outlines);
                let session = Arc::downgrade(&self.last);
                let query = Arc::new(ScheduledQuery::new(Arc::clone(&self.shared), planned.clone(), reach, session));
                let graph = plan.explained.then(|| Graph::distributed(&plan, &distribution, workers));
                *lock(&self.last) = Last { query: Some(planned), graph, provisional, measurement, ..Last::default() };
                Some((distribution, query))
            }
        }
    }

    fn stay(&self, reason: &str) {
        tracing::debug!(reason, "not distributed");
        *lock(&self.last) = Last { reason: Some(reason.to_string()), ..Last::default() };
    }

    fn reason(&self) -> Option<String> {
        lock(&self.last).reason.clone()
    }

    fn is_provisional(&self) -> bool {
        lock(&self.last).provisional
    }
}

impl SessionDistributor for Arc<SessionScheduler> {
    fn statement_starts(&mut self, _sql: &str) {
        *lock(&self.last) = Last::default();
    }

    fn statement_ended(&mut self) -> ExecutionOutcome {
        let Last { query, measurement, .. } = std::mem::take(&mut *lock(&self.last));
        let undisturbed = query.as_ref().is_none_or(Planned::had_its_tables);
        if let Some(measurement) = measurement {
            self.shared.feedback.ended(measurement, undisturbed);
        }
        query.and_then(|query| query.outcome()).unwrap_or_else(ExecutionOutcome::local)
    }

    fn lost_worker(&self, error: &EngineError) -> bool {
        lock(&self.last).lost.as_ref().is_some_and(|lost| error.message.contains(lost))
    }

    fn failed_in_task(&self, error: &EngineError) -> bool {
        lock(&self.last).failed.as_ref().is_some_and(|failed| error.message.contains(failed))
    }

    fn watch(&self) -> Arc<dyn TasksWatch> {
        Arc::new(LastWatch(Arc::clone(&self.last)))
    }

    fn graph(&self) -> Graph {
        let last = lock(&self.last);
        let reason = last.reason.as_deref().unwrap_or("it is not a query");
        last.graph.clone().unwrap_or_else(|| Graph::local(reason))
    }
}

struct LastWatch(Arc<Mutex<Last>>);

impl TasksWatch for LastWatch {
    fn done(&self) -> Option<f64> {
        lock(&self.0).query.clone()?.done()
    }
}
