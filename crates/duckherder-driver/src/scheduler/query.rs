//! A plan that was cut, ready to run.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, Weak};

use duckherder_engine::EngineError;
use duckherder_engine::distribute::{DistributedQuery, QueryRun};
use duckherder_planner::cost::milliseconds;
use duckherder_planner::{Distribution, Exchange};

use super::Shared;
use super::attempts::TaskExchange;
use super::caches::ScanOfTable;
use super::crew::Hiring;
use super::exchange::{Measures, Work};
use super::files::FilesOfScans;
use super::report::RunReport;
use super::session::Last;
use super::stages::{RunningStage, needed, prepare};
use super::unevenness::skew;
use crate::cluster::{RemoteWorker, RunningTask, Tasks};
use crate::distribute::ExecutionOutcome;
use crate::sync::lock;

/// A query of a session.
pub struct ScheduledQuery {
    shared: Arc<Shared>,
    planned: Planned,
    session: Weak<Mutex<Last>>,
    /// Of this plan; unique in the life of the driver.
    number: u64,
    /// The stages that were started, each with those that it reads.
    started: Mutex<BTreeSet<usize>>,
    reach: Reach,
}

/// Which workers elsewhere can do what the plan asks of them.
pub struct Reach {
    pub files: FilesOfScans,
    /// Those that write where the driver does, if tasks write files.
    pub target: Option<BTreeSet<u64>>,
    /// The table, or the files, of which the plan reads most; none if it reads none.
    pub mostly: String,
    /// By scan: what workers may keep of it.
    pub tables: Arc<[Option<ScanOfTable>]>,
}

/// A decision, and what came of it.
#[derive(Clone)]
pub struct Planned {
    distribution: Arc<Distribution>,
    report: Arc<RunReport>,
    /// What each stage does, if that is explained.
    outlines: Arc<[String]>,
}

impl Planned {
    pub fn new(distribution: Distribution, outlines: Vec<String>) -> Self {
        Self { distribution: Arc::new(distribution), report: Arc::default(), outlines: outlines.into() }
    }

    /// How much of its tasks is done, from 0 to 1; `None` before the first begins.
    pub fn done(&self) -> Option<f64> {
        let tasks: Vec<usize> = self.distribution.stages.iter().map(|stage| stage.tasks as usize).collect();
        self.report.done(&tasks)
    }

    /// Whether it has run, and workers were not sent rows of the driver's tables.
    pub fn had_its_tables(&self) -> bool {
        self.report.sent_rows() == Some(0)
    }

    /// How the query ran; `None` if it never did.
    pub fn outcome(&self) -> Option<ExecutionOutcome> {
        let (tasks, workers_used) = self.report.counts();
        let stage = self.distribution.main_stage().filter(|_| tasks > 0)?;
        Some(ExecutionOutcome {
            mode: stage.mode.name().to_string(),
            merge_strategy: stage.merge.name().to_string(),
            workers_used: workers_used as i64,
            tasks: tasks as i64,
        })
    }
}

/// Who runs a task.
#[derive(Clone)]
pub enum Worker {
    /// A thread of the driver's process.
    Local {
        id: String,
        tasks: Tasks,
    },
    Remote(RemoteWorker),
}

impl Worker {
    pub fn id(&self) -> &str {
        match self {
            Self::Local { id, .. } => id,
            Self::Remote(worker) => &worker.id,
        }
    }

    /// Whether it is there, as far as the driver knows.
    pub fn takes_tasks(&self) -> bool {
        match self {
            Self::Local { .. } => true,
            Self::Remote(worker) => worker.is_active(),
        }
    }

    /// It runs a task, until the answer is dropped.
    pub fn begin_task(&self) -> RunningTask {
        match self {
            Self::Local { tasks, .. } => tasks.begin(),
            Self::Remote(worker) => worker.tasks().begin(),
        }
    }

    /// How many tasks it runs now, of all queries.
    pub fn running(&self) -> u64 {
        match self {
            Self::Local { tasks, .. } => tasks.count(),
            Self::Remote(worker) => worker.tasks().count(),
        }
    }

    /// Whether it is the same process.
    pub fn is(&self, other: &RemoteWorker) -> bool {
        matches!(self, Self::Remote(worker) if worker.location == other.location)
    }
}

impl ScheduledQuery {
    pub fn new(shared: Arc<Shared>, planned: Planned, reach: Reach, session: Weak<Mutex<Last>>) -> Self {
        let number = shared.next_plan();
        Self { shared, planned, session, number, started: Mutex::default(), reach }
    }

    /// Which workers the tasks may have.
    fn hiring(&self, top: usize) -> Hiring {
        let stages = &self.planned.distribution.stages;
        let single = |number: &usize| stages.get(*number).is_some_and(|stage| stage.tasks == 1);
        let needed = needed(stages, top);
        let writes = needed.iter().any(|number| stages.get(*number).is_some_and(|stage| stage.writes.is_some()));
        let target = self.reach.target.as_ref().filter(|_| writes);
        Hiring::new(needed.iter().all(single).then(|| self.reach.mostly.clone()), &self.reach.files, target)
    }
}

impl DistributedQuery for ScheduledQuery {
    fn may_be_kept(&self) -> bool {
        self.shared.cluster.knows_remote_workers()
    }

    fn describe(&self, top: usize, fragments: &[String]) -> Vec<(String, String)> {
        let stages = &self.planned.distribution.stages;
        let Some(last) = stages.get(top) else { return Vec::new() };
        let estimate = &self.planned.distribution.estimate;
        let mut lines = vec![("Mode".to_string(), last.mode.name().to_string())];
        let numbers = needed(stages, top);
        for number in &numbers {
            let stage = &stages[*number];
            let readers = numbers.iter().filter(|reader| stages[**reader].inputs.contains(number));
            let readers: Vec<String> = readers.map(usize::to_string).collect();
            let readers = readers.join(" and ");
            let moved = match stage.exchange {
                Exchange::Gather if stage.writes.is_some() => ", each writes a file".to_string(),
                Exchange::Gather => ", rows to the driver".to_string(),
                Exchange::Hash { .. } => format!(", rows shuffled by the hash of their keys to stage {readers}"),
                Exchange::Broadcast => format!(", every row to each task of stage {readers}"),
                Exchange::Forward { .. } => format!(", rows forwarded to each stage that reads them ({readers})"),
            };
            let outline = self.planned.outlines.get(*number).map(|does| format!("{does}: ")).unwrap_or_default();
            let heavy = self.planned.report.heavy_line(*number).map(|line| format!(", {line}")).unwrap_or_default();
            let filter = stage.filter.as_ref().map(|filter| match (filter.bits, filter.ranges.is_empty()) {
                (0, _) => format!(", those beyond the keys of stage {} not read", filter.stage),
                (_, true) => format!(", those without a key of stage {} left out", filter.stage),
                (_, false) => {
                    format!(", those without a key of stage {} left out, those beyond its keys not read", filter.stage)
                }
            });
            let filter = filter.unwrap_or_default();
            let expected = estimate.stages.get(*number).map(|stage| self.planned.report.beside(*number, stage));
            let (tasks, mode) = (stage.tasks, stage.mode.name());
            let text = format!("{outline}up to {tasks} tasks on workers ({mode}){moved}{heavy}{filter}");
            lines.push((format!("Stage {number}"), format!("{text}{}", expected.unwrap_or_default())));
        }
        let rest = format!("the driver {}, in about {}", last.on_driver(), milliseconds(estimate.driver_us));
        lines.push((format!("Stage {}", stages.len()), rest));
        lines.push(("Cost".to_string(), estimate.why()));
        for number in &numbers {
            let name = if numbers.len() == 1 { "Fragment".to_string() } else { format!("Fragment {number}") };
            lines.push((name, fragments.get(*number).cloned().unwrap_or_default()));
        }
        lines.extend(self.planned.distribution.notes.iter().map(|note| ("Note".to_string(), note.clone())));
        for number in &numbers {
            let task_name = |task| match numbers.len() {
                1 => format!("Task {task}"),
                _ => format!("Task {number}.{task}"),
            };
            let tasks = self.planned.report.tasks(*number);
            lines.extend(tasks.iter().map(|report| (task_name(report.task), report.line())));
            let stopped = self.planned.report.stopped(*number);
            lines.extend(stopped.into_iter().map(|(task, line)| (task_name(task), line)));
            let name = if numbers.len() == 1 { "Skew".to_string() } else { format!("Skew {number}") };
            lines.extend(skew(&tasks).map(|skew| (name, skew)));
        }
        lines
    }

    fn start(
        &self,
        top: usize,
        run: QueryRun,
    ) -> Result<Arc<dyn duckherder_engine::distribute::Exchange>, EngineError> {
        let stage = self.planned.distribution.stages.get(top);
        if stage.is_none_or(|stage| stage.exchange != Exchange::Gather) {
            return Err(EngineError::internal(format!("the driver reads stage {top}, whose rows go to tasks")));
        }
        // With a plan that was kept, nobody has decided about this statement.
        if let Some(last) = self.session.upgrade() {
            lock(&last).query = Some(self.planned.clone());
        }
        let hiring = self.hiring(top);
        let crew = hiring.hire(&self.shared);
        let measures = Measures { cpu: run.analyzed, progress: run.watched };
        let owners = Some(()).filter(|()| !hiring.is_single()).and_then(|()| self.shared.owners(&crew));
        let (stages, snapshot) =
            prepare(&self.shared, &self.planned.distribution, &self.reach, top, run, owners.as_ref())?;
        let plan = (!lock(&self.started).insert(top)).then_some(self.number);
        let report = Arc::clone(&self.planned.report);
        let tasks = stages.last().map_or(0, RunningStage::tasks);
        let lost = std::iter::repeat_with(AtomicUsize::default).take(tasks).collect();
        let tables = Arc::clone(&self.reach.tables);
        let work = Work { stages: stages.into(), snapshot, plan, measures, report, lost, tables };
        let exchange = TaskExchange::start(&self.shared, work, hiring, crew, Weak::clone(&self.session))?;
        Ok(Arc::new(exchange))
    }
}
