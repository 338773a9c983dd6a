//! One attempt to run a query: the tasks of its stages, the threads that run them, and the rows of the last stage.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use duckherder_engine::distribute::{Snapshot, TaskOutput};
use duckherder_engine::{EngineError, Interrupter};
use duckherder_proto::task::InputsHere;
use duckherder_worker::shuffle::{CollectedKeys, Partitions};

use super::Shared;
use super::attempts::MOST_ATTEMPTS;
use super::caches::{RowsRead, ScanOfTable, TableRead};
use super::crew::Crew;
use super::filter::Filters;
use super::gate::Gate;
use super::local;
use super::query::Worker;
use super::queue::TaskQueue;
use super::remote::{self, RemoteRun};
use super::report::{RunReport, TaskReport};
use super::skew::Skew;
use super::stages::RunningStage;
use super::unordered::Unordered;
use crate::sync::lock;

/// What an attempt runs; the same for all attempts of a run.
#[derive(Clone)]
pub struct Work {
    /// Those first whose rows others read; the driver reads the last.
    pub stages: Arc<[RunningStage]>,
    pub snapshot: Snapshot,
    /// Names the query's plan, if it has run before: unique in the life of the driver.
    pub plan: Option<u64>,
    pub measures: Measures,
    pub report: Arc<RunReport>,
    /// By task, where there is one stage: how many workers it has lost, in all attempts.
    pub lost: Arc<[AtomicUsize]>,
    /// By scan: what workers elsewhere may keep of it.
    pub tables: Arc<[Option<ScanOfTable>]>,
}

impl Work {
    /// Whether a task has been tried as often as it may.
    pub fn is_given_up(&self) -> bool {
        self.lost.iter().any(|lost| lost.load(Ordering::Relaxed) >= MOST_ATTEMPTS)
    }
}

/// What the threads of a run share.
pub struct Run {
    shared: Arc<Shared>,
    /// Unique in the lives of all drivers that share a worker, but for chance.
    pub query_id: u64,
    pub stages: Arc<[RunningStage]>,
    lanes: Vec<Lane>,
    /// By task, where there is one stage: its lane.
    lane_of: Vec<usize>,
    /// See [`Work::lost`].
    lost: Arc<[AtomicUsize]>,
    pub crew: Crew,
    /// Tasks that have not ended.
    unfinished: AtomicUsize,
    /// None is left, or they were stopped.
    ended: Mutex<bool>,
    ends: Condvar,
    pub snapshot: Snapshot,
    /// See [`Work::plan`].
    pub plan: Option<u64>,
    pub measures: Measures,
    /// The rows of the last stage's tasks.
    queues: Vec<TaskQueue>,
    gate: Gate,
    /// Readers of rows that have no order, if they have none.
    unordered: Option<Unordered>,
    pub report: Arc<RunReport>,
    /// Of the tasks in other processes, if there are any.
    pub remote: Option<RemoteRun>,
    /// See [`Work::tables`].
    tables: Arc<[Option<ScanOfTable>]>,
    begun: Instant,
    /// Of each of these tables, what workers had fetched until then.
    fetched: Vec<u64>,
    pub skew: Skew,
    pub filters: Filters,
    control: Mutex<Control>,
}

/// What is measured while the tasks run.
#[derive(Clone, Copy, Debug)]
pub struct Measures {
    /// The CPU time of each.
    pub cpu: bool,
    /// How far each is, if it is in this process.
    pub progress: bool,
}

/// Which task: the stage by its place in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskId {
    pub stage: usize,
    pub task: usize,
}

/// One worker's tasks of a stage. It runs one after the other, in order; but while nobody takes a task's rows, the next
/// may run: a reader may have to see the first rows of a later task before it takes more of an earlier one's.
///
/// Where rows are shuffled, every task is alone in its lane: each may wait for any other.
struct Lane {
    worker: Mutex<Worker>,
    /// How many workers it has lost.
    lost: AtomicUsize,
    waiting: Mutex<VecDeque<TaskId>>,
}

/// How tasks are stopped.
#[derive(Default)]
struct Control {
    stopped: bool,
    running: Vec<(TaskId, Stop)>,
}

/// What keeps a task busy.
pub enum Stop {
    Statement(Interrupter),
    /// A statement that says nothing of how far the task is.
    Sample(Interrupter),
    /// Rows that wait for their readers.
    Rows(Arc<Partitions>),
}

impl Stop {
    fn stop(&self, error: &EngineError) {
        match self {
            Self::Statement(interrupter) | Self::Sample(interrupter) => interrupter.interrupt(),
            Self::Rows(partitions) => partitions.fail(error.clone()),
        }
    }
}

impl Run {
    /// Starts a thread for every worker that has a task of the one stage, or for every task of several.
    ///
    /// # Errors
    /// There are no threads left, or the splits can't be served.
    pub fn start(shared: &Arc<Shared>, work: &Work, crew: Crew) -> Result<Arc<Self>, EngineError> {
        let Work { stages, snapshot, plan, measures, report, lost, tables } = work.clone();
        for stage in stages.iter() {
            report.planned(stage.number, stage.tasks());
        }
        let query_id = shared.splits.next_query();
        let (lanes, lane_of) = lanes(&stages, &crew);
        let is_remote = |lane: &Lane| matches!(*lock(&lane.worker), Worker::Remote(_));
        let remote = match lanes.iter().any(is_remote) {
            true => Some(RemoteRun::open(shared, query_id, &snapshot, &stages)?),
            false => None,
        };
        let queues = stages.last().map_or(0, RunningStage::tasks);
        let unordered =
            stages.last().filter(|stage| stage.reads_exchanges() && !stage.sorted).map(|_| Unordered::new(queues));
        let run = Arc::new(Self {
            shared: Arc::clone(shared),
            query_id,
            lanes,
            lane_of,
            crew,
            unfinished: AtomicUsize::new(stages.iter().map(RunningStage::tasks).sum()),
            ended: Mutex::default(),
            ends: Condvar::new(),
            skew: Skew::new(&stages),
            filters: Filters::new(&stages),
            gate: Gate::new(queues, stages.last().is_some_and(|stage| stage.blocks)),
            stages,
            lost,
            snapshot,
            plan,
            measures,
            queues: std::iter::repeat_with(TaskQueue::default).take(queues).collect(),
            unordered,
            report,
            remote,
            begun: Instant::now(),
            fetched: tables
                .iter()
                .map(|table| table.as_ref().map_or(0, |table| shared.caches.fetched(table)))
                .collect(),
            tables,
            control: Mutex::default(),
        });
        match run.spawn(0..run.lanes.len()) {
            Ok(()) => Ok(run),
            Err(error) => {
                run.stop();
                Err(error)
            }
        }
    }
}

/// A lane a worker, if there is one stage, and the place of each task's; otherwise one a task.
fn lanes(stages: &[RunningStage], crew: &Crew) -> (Vec<Lane>, Vec<usize>) {
    let mut lanes: Vec<Lane> = Vec::new();
    let mut lane_of = Vec::new();
    let mut of_workers: HashMap<usize, usize> = HashMap::new();
    for (place, stage) in stages.iter().enumerate() {
        for task in 0..stage.tasks() {
            let worker = crew.place_for(stage, task);
            let known = of_workers.get(&worker).copied().filter(|_| stages.len() == 1);
            let lane = known.unwrap_or_else(|| {
                lanes.push(Lane {
                    worker: Mutex::new(crew.workers()[worker].clone()),
                    lost: AtomicUsize::new(0),
                    waiting: Mutex::default(),
                });
                of_workers.insert(worker, lanes.len() - 1);
                lanes.len() - 1
            });
            lock(&lanes[lane].waiting).push_back(TaskId { stage: place, task });
            lane_of.push(lane);
        }
    }
    (lanes, lane_of)
}

impl Run {
    /// Another thread for the tasks of each of these lanes.
    fn spawn(self: &Arc<Self>, lanes: Range<usize>) -> Result<(), EngineError> {
        self.shared.threads.spawn(lanes.map(|lane| {
            let run = Arc::clone(self);
            move || run.work(lane)
        }))
    }

    /// Runs a lane's tasks until none waits.
    fn work(self: &Arc<Self>, lane: usize) {
        loop {
            let next = lock(&self.lanes[lane].waiting).pop_front();
            let Some(id) = next.filter(|_| !self.is_stopped()) else { return };
            let worker = lock(&self.lanes[lane].worker).clone();
            let started = Instant::now();
            let stage = &self.stages[id.stage];
            self.tell(|report| report.started(stage.number, id.task, worker.id(), stage.divided(id.task)));
            // Without an end, or an error in its place, the query would wait for ever.
            let running = worker.begin_task();
            let done = catch_unwind(AssertUnwindSafe(|| match &worker {
                Worker::Local { .. } => local::run_task(self, id),
                Worker::Remote(remote) => remote::run_task(self, id, remote),
            }))
            .unwrap_or_else(|_| Err(EngineError::internal(format!("task {} panicked", id.task))));
            drop(running);
            match done {
                Ok(rows) => self.finished(id, &worker, rows, started),
                Err(_) if self.is_stopped() => return,
                Err(error) if error.is_lost() && self.moved_on(lane, id, &worker) => {
                    tracing::warn!(task = id.task, %error, "a task runs once more, elsewhere");
                }
                Err(error) => return self.fail(error),
            }
        }
    }

    fn finished(self: &Arc<Self>, id: TaskId, worker: &Worker, done: TaskRows, started: Instant) {
        let TaskRows { rows, bytes, filtered_rows, spilled_bytes, cpu, here } = done;
        let stage = &self.stages[id.stage];
        // Nobody is to wait for keys that do not come.
        self.filters.made(stage, id.task, CollectedKeys::default());
        self.tell(|report| {
            report.finished(TaskReport {
                stage: stage.number,
                task: id.task,
                worker: worker.id().to_string(),
                part: stage.divided(id.task),
                rows,
                bytes,
                filtered_rows,
                spilled_bytes,
                cpu,
                here,
                elapsed: started.elapsed(),
            });
        });
        if self.is_last(id) {
            self.gate.task_ended();
            self.push(id.task, TaskOutput::End { rows }, 0);
        }
        if self.unfinished.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.learn();
            self.crew.dismiss();
            self.has_ended();
        }
    }

    /// All tasks have ended: what those elsewhere had to be sent of the driver's tables tells what they kept.
    fn learn(&self) {
        let Some(remote) = self.remote.as_ref().filter(|_| self.shared.storage.is_none()) else { return };
        let mut tables: HashMap<TableRead, (RowsRead, u64)> = HashMap::new();
        for read in remote.reads(self) {
            if let (Some(Some(scan)), Some(before)) = (self.tables.get(read.scan), self.fetched.get(read.scan)) {
                let table = TableRead { scan: scan.clone(), whole: read.whole };
                let (rows, fetched) = tables.entry(table).or_insert((RowsRead::default(), *before));
                (rows.all, rows.sent) = (rows.all + read.rows.all, rows.sent + read.rows.sent);
                *fetched = *before.min(fetched);
            }
        }
        let caches = &self.shared.caches;
        let learn = |(table, (rows, fetched)): &(_, _)| caches.learn(table, *rows, (self.begun, *fetched));
        if tables.into_iter().filter(learn).count() > 0 {
            self.shared.connections.database().forget_plans();
        }
    }

    fn has_ended(&self) {
        *lock(&self.ended) = true;
        self.ends.notify_all();
    }

    /// Waits until no task is left, or they were stopped, or for `most`. Whether that is so.
    pub fn wait_until_ended(&self, most: Duration) -> bool {
        let waits = self.ends.wait_timeout_while(lock(&self.ended), most, |ended| !*ended);
        *waits.unwrap_or_else(PoisonError::into_inner).0
    }

    /// The lane's worker was lost in the middle of a task: another takes its place, and begins with that task, if no row
    /// of it was seen. Where rows are shuffled, nobody knows who has seen them.
    fn moved_on(&self, lane: usize, id: TaskId, lost: &Worker) -> bool {
        let lane = &self.lanes[lane];
        let Worker::Remote(lost) = lost else { return false };
        if self.stages.len() > 1 {
            return false;
        }
        self.shared.cluster.suspect(lost);
        let losses = self.lost[id.task].fetch_add(1, Ordering::Relaxed) + 1;
        if losses >= MOST_ATTEMPTS || !self.queues[id.task].restart() {
            return false;
        }
        lane.lost.fetch_add(1, Ordering::Relaxed);
        let mut worker = lock(&lane.worker);
        // Another thread of the lane may have been here.
        if matches!(&*worker, Worker::Remote(now) if now.is(lost)) {
            *worker = self.crew.substitute(&self.shared);
        }
        drop(worker);
        lock(&lane.waiting).push_front(id);
        true
    }

    /// How often the task's lane has lost a worker: the number of its attempt in this run.
    pub fn attempt(&self, id: TaskId) -> u32 {
        match self.stages.len() {
            1 => self.lanes[self.lane_of[id.task]].lost.load(Ordering::Relaxed) as u32,
            _ => 0,
        }
    }

    /// Reports something of the tasks, unless the run was stopped: another attempt may report in its place.
    pub fn tell(&self, say: impl FnOnce(&RunReport)) {
        let control = lock(&self.control);
        if !control.stopped {
            say(&self.report);
        }
    }

    fn is_last(&self, id: TaskId) -> bool {
        id.stage + 1 == self.stages.len()
    }

    /// Passes the rows of a task of the last stage on; waits while there are too many. Whether anybody still wants
    /// them.
    pub fn push(self: &Arc<Self>, task: usize, output: TaskOutput, bytes: u64) -> bool {
        self.gate.come(bytes);
        self.queues[task].push(output, bytes, || {
            // Of several stages, every task has a lane of its own.
            let lane = self.lane_of[task];
            if self.stages.len() == 1
                && !lock(&self.lanes[lane].waiting).is_empty()
                && let Err(error) = self.spawn(lane..lane + 1)
            {
                self.fail(error);
            }
        })
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub fn is_stopped(&self) -> bool {
        lock(&self.control).stopped
    }

    /// What `id` is busy with can be stopped, a statement from after it was submitted. Whether it may go on.
    pub fn stoppable(&self, id: TaskId, stop: Stop) -> bool {
        if let (Stop::Statement(interrupter), true) = (&stop, self.measures.progress) {
            let stage = &self.stages[id.stage];
            self.tell(|report| report.runs(stage.number, id.task, interrupter.clone(), stage.reach(id.task)));
        }
        let mut control = lock(&self.control);
        control.running.push((id, stop));
        !control.stopped
    }

    /// No interrupt reaches the task's connection from here on.
    pub fn unstoppable(&self, id: TaskId) {
        lock(&self.control).running.retain(|(running, _)| *running != id);
    }

    /// The query fails with the first error of a task.
    fn fail(&self, error: EngineError) {
        if error.is_lost() {
            self.crew.ask_soon();
        }
        self.end(Some(&error));
    }

    /// The rows of the driver's tables that workers elsewhere had to be sent so far.
    fn sent_rows(&self) -> u64 {
        let remote = self.remote.as_ref().filter(|_| self.shared.storage.is_none());
        remote.map_or(0, |remote| remote.reads(self).iter().map(|read| read.rows.sent).sum())
    }

    fn end(&self, error: Option<&EngineError>) {
        let interrupted = EngineError::interrupted();
        if error.is_none() {
            // Before `control` is locked: others hold what is locked for it.
            let sent = self.sent_rows();
            self.tell(|report| report.ended(sent));
        }
        {
            let mut control = lock(&self.control);
            if control.stopped {
                return;
            }
            control.stopped = true;
            for (_, stop) in &control.running {
                stop.stop(error.unwrap_or(&interrupted));
            }
        }
        self.filters.stop();
        for queue in &self.queues {
            queue.close(error.cloned());
        }
        self.gate.open();
        self.has_ended();
        if let Some(remote) = &self.remote {
            remote.stop();
        }
        self.crew.dismiss();
    }

    /// Nobody wants the rows any more.
    pub fn stop(&self) {
        self.end(None);
    }

    pub fn partitions(&self) -> usize {
        self.queues.len()
    }

    /// What the tasks of the last stage have for a reader.
    pub fn poll(&self, partition: usize, cx: &mut Context<'_>) -> Poll<Result<TaskOutput, EngineError>> {
        let Some(queue) = self.queues.get(partition) else {
            return Poll::Ready(Err(EngineError::internal(format!("there is no task {partition}"))));
        };
        if self.gate.poll(cx).is_pending() {
            return Poll::Pending;
        }
        match &self.unordered {
            Some(unordered) => unordered.poll(&self.queues, partition, cx),
            None => queue.poll(cx),
        }
    }
}

/// What a task has sent.
#[derive(Clone, Copy, Default)]
pub struct TaskRows {
    pub rows: u64,
    pub bytes: u64,
    /// Of the rows, those that a filter left out.
    pub filtered_rows: u64,
    /// Bytes that were on disk until others had fetched them.
    pub spilled_bytes: u64,
    /// If the query is analyzed.
    pub cpu: Option<Duration>,
    /// Inputs that the driver sent nothing for.
    pub here: InputsHere,
}
