//! What the tasks of one run did, for EXPLAIN ANALYZE and the statistics.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use duckherder_engine::Interrupter;
use duckherder_planner::Split;
use duckherder_planner::cost::{StageEstimate, milliseconds};
use duckherder_proto::task::InputsHere;

use crate::sync::lock;

/// One task that ran to its end.
#[derive(Clone, Debug)]
pub struct TaskReport {
    pub stage: usize,
    pub task: usize,
    pub worker: String,
    pub part: Part,
    pub rows: u64,
    pub bytes: u64,
    /// Of the rows, those that went nowhere, since they meet none of the join's other side.
    pub filtered_rows: u64,
    pub spilled_bytes: u64,
    /// See [`CpuMeter`](duckherder_engine::CpuMeter); of a query that is analyzed.
    pub cpu: Option<Duration>,
    /// Inputs that the driver sent nothing for.
    pub here: InputsHere,
    /// From its start until its rows had gone where they go.
    pub elapsed: Duration,
}

/// So many parts of what a task reads are shown.
const SHOWN_PARTS: usize = 3;

/// What a task read of what was divided.
#[derive(Clone, Debug)]
pub enum Part {
    /// Of a table.
    Rows(Split),
    /// Of Parquet files, counted through all of them.
    RowGroups(Split),
    /// Whole ones.
    Files(Split),
}

/// All tasks of one run.
#[derive(Default)]
pub struct RunReport {
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    /// By stage.
    tasks: BTreeMap<usize, usize>,
    /// Workers that began a task, by stage.
    workers: BTreeMap<usize, BTreeSet<String>>,
    /// By stage: how many heavy keys have their rows spread over the next stage's tasks, and how many in each of them.
    heavy: BTreeMap<usize, (usize, usize)>,
    finished: Vec<TaskReport>,
    /// Tasks that have begun and not ended, by stage and task: who runs them, and what they read.
    begun: BTreeMap<(usize, usize), (String, Part)>,
    /// Rows of the driver's tables that it sent to workers elsewhere.
    sent_rows: Option<u64>,
    /// The statements of tasks that run in this process, by stage and task, and from where to where they go, if the run
    /// is watched.
    running: BTreeMap<(usize, usize), (Interrupter, Range<f64>)>,
    /// What tasks in other processes have said of how far they are, by stage and task.
    told: BTreeMap<(usize, usize), f64>,
}

impl RunReport {
    /// A stage begins, perhaps once more.
    pub fn planned(&self, stage: usize, tasks: usize) {
        let mut state = lock(&self.state);
        state.tasks.insert(stage, tasks);
        state.finished.retain(|report| report.stage != stage);
        state.running.retain(|(running, _), _| *running != stage);
        state.told.retain(|(told, _), _| *told != stage);
        state.workers.remove(&stage);
        state.heavy.remove(&stage);
        state.begun.retain(|(begun, _), _| *begun != stage);
    }

    pub fn heavy_keys(&self, stage: usize, spread: usize, everywhere: usize) {
        lock(&self.state).heavy.insert(stage, (spread, everywhere));
    }

    /// What became of the stage's heavy keys, if it has some.
    pub fn heavy_line(&self, stage: usize) -> Option<String> {
        let (spread, everywhere) = *lock(&self.state).heavy.get(&stage)?;
        let keys = |count: usize| if count == 1 { "1 heavy key".to_string() } else { format!("{count} heavy keys") };
        match (spread, everywhere) {
            (0, 0) => None,
            (_, 0) => Some(format!("those of {} to all tasks in turn", keys(spread))),
            (0, _) => Some(format!("those of {} to every task", keys(everywhere))),
            _ => Some(format!("those of {} to all tasks in turn, of {} to every task", keys(spread), keys(everywhere))),
        }
    }

    /// What was expected of a stage and, once it has run, what it was.
    pub fn beside(&self, stage: usize, estimate: &StageEstimate) -> String {
        let expected = format!("; estimated {} rows, {}", estimate.rows, milliseconds(estimate.elapsed_us));
        let tasks = self.tasks(stage);
        let Some(elapsed) = tasks.iter().map(|task| task.elapsed).max() else { return expected };
        let rows: u64 = tasks.iter().map(|task| task.rows).sum();
        format!("{expected}; actual {rows} rows, {}", shown(elapsed))
    }

    pub fn started(&self, stage: usize, task: usize, worker: &str, part: Part) {
        let mut state = lock(&self.state);
        state.begun.insert((stage, task), (worker.to_string(), part));
        let workers = state.workers.entry(stage).or_default();
        if !workers.contains(worker) {
            workers.insert(worker.to_string());
        }
    }

    /// `statement` tells how far a task is, from one end of `reach` to the other.
    pub fn runs(&self, stage: usize, task: usize, statement: Interrupter, reach: Range<f64>) {
        lock(&self.state).running.insert((stage, task), (statement, reach));
    }

    /// A task in another process is so far, from 0 to 1.
    pub fn told(&self, stage: usize, task: usize, done: f64) {
        lock(&self.state).told.insert((stage, task), done.clamp(0.0, 1.0));
    }

    pub fn finished(&self, report: TaskReport) {
        let mut state = lock(&self.state);
        state.begun.remove(&(report.stage, report.task));
        state.running.remove(&(report.stage, report.task));
        state.told.remove(&(report.stage, report.task));
        state.finished.push(report);
    }

    /// Nobody wants rows of the run any more, in which the driver has sent workers elsewhere so many rows of its tables.
    pub fn ended(&self, sent_rows: u64) {
        let mut state = lock(&self.state);
        state.sent_rows = Some(state.sent_rows.unwrap_or(0) + sent_rows);
    }

    /// How many rows of its tables the driver has sent, once a run has ended.
    pub fn sent_rows(&self) -> Option<u64> {
        lock(&self.state).sent_rows
    }

    /// How much of the tasks is done, from 0 to 1: each stage counts the same, in it each task, by what its statement
    /// says, here or elsewhere. `planned`: tasks by stage. Nothing before a stage has begun.
    pub fn done(&self, planned: &[usize]) -> Option<f64> {
        let state = lock(&self.state);
        if state.tasks.is_empty() {
            return None;
        }
        let of_stage = |(stage, planned): (usize, &usize)| {
            let tasks = state.tasks.get(&stage).unwrap_or(planned);
            let finished = state.finished.iter().filter(|report| report.stage == stage).count();
            let running = state.running.range((stage, 0)..(stage + 1, 0));
            let parts: f64 = running
                .filter_map(|(_, (statement, reach))| Some((statement.progress()?, reach)))
                .map(|(progress, reach)| ((progress - reach.start) / (reach.end - reach.start)).clamp(0.0, 1.0))
                .sum();
            let told: f64 = state.told.range((stage, 0)..(stage + 1, 0)).map(|(_, done)| done).sum();
            ((finished as f64 + parts + told) / (*tasks).max(1) as f64).min(1.0)
        };
        let stages: f64 = planned.iter().enumerate().map(of_stage).sum();
        Some(stages / planned.len().max(1) as f64)
    }

    /// Tasks and workers of the run; zeros if it never began.
    pub fn counts(&self) -> (usize, usize) {
        let state = lock(&self.state);
        let workers: BTreeSet<&String> = state.workers.values().flatten().collect();
        (state.tasks.values().sum(), workers.len())
    }

    /// As EXPLAIN ANALYZE shows them: the tasks of the stage that began and did not end, since they were stopped.
    pub fn stopped(&self, stage: usize) -> Vec<(usize, String)> {
        let state = lock(&self.state);
        let begun = state.begun.range((stage, 0)..(stage + 1, 0));
        let line =
            |(worker, part): &(String, Part)| format!("{worker} of {}: stopped, nobody wanted more rows", part.text());
        begun.map(|((_, task), begun)| (*task, line(begun))).collect()
    }

    /// The finished tasks of the stage, in order.
    pub fn tasks(&self, stage: usize) -> Vec<TaskReport> {
        let mut finished = lock(&self.state).finished.clone();
        finished.retain(|report| report.stage == stage);
        finished.sort_by_key(|report| report.task);
        finished
    }
}

impl Part {
    /// As EXPLAIN ANALYZE shows it.
    fn text(&self) -> String {
        let (unit, split) = match self {
            Part::Rows(split) => ("rowid", split),
            Part::RowGroups(split) => ("row group", split),
            Part::Files(split) => ("file", split),
        };
        let parts = split.parts();
        let shown: Vec<String> = parts.iter().take(SHOWN_PARTS).map(|part| text_of(unit, part)).collect();
        let more = if parts.len() > SHOWN_PARTS { " or others" } else { "" };
        format!("{}{more}", shown.join(" or "))
    }
}

fn text_of(unit: &str, split: &Split) -> String {
    match split {
        Split::Several(_) => "several".to_string(),
        Split::Range { first: None, last: None } => "all rows".to_string(),
        Split::Range { first: None, last: Some(last) } => format!("{unit} <= {last}"),
        Split::Range { first: Some(first), last: None } => format!("{unit} >= {first}"),
        Split::Range { first: Some(first), last: Some(last) } => format!("{unit} {first} to {last}"),
        Split::Blocks { every, rows } => format!("{unit} % {every} < {rows}"),
        Split::Keys { least: None, greatest: None, .. } => "all rows".to_string(),
        Split::Keys { least: None, greatest: Some(greatest), .. } => format!("key <= {greatest}"),
        Split::Keys { least: Some(least), greatest: None, .. } => format!("key >= {least}"),
        Split::Keys { least: Some(least), greatest: Some(greatest), .. } => format!("key {least} to {greatest}"),
    }
}

impl TaskReport {
    /// As EXPLAIN ANALYZE shows it.
    pub fn line(&self) -> String {
        let filtered = match self.filtered_rows {
            0 => String::new(),
            rows => format!(" ({rows} left out by the filter)"),
        };
        let inputs = |count: u32, how: &str| match count {
            0 => String::new(),
            1 => format!(", 1 input {how}"),
            count => format!(", {count} inputs {how}"),
        };
        let here = inputs(self.here.cached, "cached") + &inputs(self.here.from_storage, "from storage");
        let cpu = self.cpu.map_or_else(String::new, |cpu| format!(", {} CPU", shown(cpu)));
        format!(
            "{} of {}: {} rows{filtered}, {} bytes, {} bytes spilled{here}{cpu}, {} wall",
            self.worker,
            self.part.text(),
            self.rows,
            self.bytes,
            self.spilled_bytes,
            shown(self.elapsed)
        )
    }
}

fn shown(duration: Duration) -> String {
    milliseconds(duration.as_micros() as u64)
}
