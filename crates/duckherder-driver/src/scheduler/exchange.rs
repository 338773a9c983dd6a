//! One run of a query: the tasks of its stages, the threads that run them, and the rows of the last stage.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use duckherder_engine::distribute::{Exchange, Snapshot, TaskOutput};
use duckherder_engine::{EngineError, Interrupter};
use duckherder_worker::shuffle::Partitions;

use super::Shared;
use super::filter::Filters;
use super::local;
use super::query::Worker;
use super::queue::TaskQueue;
use super::remote::{self, RemoteRun};
use super::report::{RunReport, TaskReport};
use super::skew::Skew;
use super::stages::RunningStage;
use super::unordered::Unordered;
use crate::sync::lock;

/// The rows of a run's tasks; dropping it stops them.
pub struct TaskExchange {
    run: Arc<Run>,
}

/// What the threads of a run share.
pub struct Run {
    shared: Arc<Shared>,
    /// Unique in the lives of all drivers that share a worker, but for chance.
    pub query_id: u64,
    /// Those first whose rows others read; the driver reads the last.
    pub stages: Vec<RunningStage>,
    lanes: Vec<Lane>,
    pub snapshot: Snapshot,
    /// Names the query's plan, if it has run before: unique in the life of the driver.
    pub plan: Option<u64>,
    pub measures: Measures,
    /// The rows of the last stage's tasks.
    queues: Vec<TaskQueue>,
    /// Readers of rows that have no order, if they have none.
    unordered: Option<Unordered>,
    pub report: Arc<RunReport>,
    /// Of the tasks in other processes, if there are any.
    pub remote: Option<RemoteRun>,
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
    worker: Worker,
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

impl TaskExchange {
    /// Starts a thread for every worker that has a task of the one stage, or for every task of several.
    ///
    /// # Errors
    /// There are no threads left, or the splits can't be served.
    pub fn start(
        shared: &Arc<Shared>,
        stages: Vec<RunningStage>,
        snapshot: Snapshot,
        plan: Option<u64>,
        measures: Measures,
        report: Arc<RunReport>,
    ) -> Result<Self, EngineError> {
        let query_id = shared.splits.next_query();
        let lanes = lanes(&stages);
        let remote = match lanes.iter().any(|lane| matches!(lane.worker, Worker::Remote(_))) {
            true => Some(RemoteRun::open(shared, query_id, &snapshot, &stages)?),
            false => None,
        };
        let queues = stages.last().map_or(0, RunningStage::tasks);
        let unordered =
            stages.last().filter(|stage| stage.reads_exchanges() && !stage.sorted).map(|_| Unordered::new(queues));
        let run = Arc::new(Run {
            shared: Arc::clone(shared),
            query_id,
            lanes,
            skew: Skew::new(&stages),
            filters: Filters::new(&stages),
            stages,
            snapshot,
            plan,
            measures,
            queues: std::iter::repeat_with(TaskQueue::default).take(queues).collect(),
            unordered,
            report,
            remote,
            control: Mutex::default(),
        });
        // From here on a failure stops what has been started.
        let exchange = Self { run };
        (0..exchange.run.lanes.len()).try_for_each(|lane| exchange.run.spawn(lane))?;
        Ok(exchange)
    }
}

fn lanes(stages: &[RunningStage]) -> Vec<Lane> {
    let mut lanes = Vec::new();
    for (place, stage) in stages.iter().enumerate() {
        let count = if stages.len() == 1 { stage.workers.len().min(stage.tasks()) } else { stage.tasks() };
        lanes.extend((0..count).map(|first| Lane {
            worker: stage.worker(first).clone(),
            waiting: Mutex::new(
                (first..stage.tasks()).step_by(count).map(|task| TaskId { stage: place, task }).collect(),
            ),
        }));
    }
    lanes
}

impl Run {
    /// Another thread for a lane's tasks.
    fn spawn(self: &Arc<Self>, lane: usize) -> Result<(), EngineError> {
        let run = Arc::clone(self);
        self.shared.threads.spawn(move || run.work(lane))
    }

    /// Runs a lane's tasks until none waits.
    fn work(self: &Arc<Self>, lane: usize) {
        let worker = &self.lanes[lane].worker;
        loop {
            let next = lock(&self.lanes[lane].waiting).pop_front();
            let Some(id) = next.filter(|_| !self.is_stopped()) else { return };
            let started = Instant::now();
            let _running = worker.begin_task();
            self.report.started(self.stages[id.stage].number, worker.id());
            // Without an end, or an error in its place, the query would wait for ever.
            let done = catch_unwind(AssertUnwindSafe(|| match worker {
                Worker::Local { .. } => local::run_task(self, id),
                Worker::Remote(remote) => remote::run_task(self, id, remote),
            }))
            .unwrap_or_else(|_| Err(EngineError::internal(format!("task {} panicked", id.task))));
            match done {
                Ok(TaskRows { rows, bytes, filtered_rows, spilled_bytes, cpu }) => {
                    let stage = &self.stages[id.stage];
                    // Nobody is to wait for keys that do not come.
                    self.filters.made(stage, id.task, None);
                    self.report.finished(TaskReport {
                        stage: stage.number,
                        task: id.task,
                        worker: worker.id().to_string(),
                        part: stage.divided(id.task),
                        rows,
                        bytes,
                        filtered_rows,
                        spilled_bytes,
                        cpu,
                        elapsed: started.elapsed(),
                    });
                    if self.is_last(id) {
                        self.push(id.task, TaskOutput::End { rows }, 0);
                    }
                }
                Err(error) => return self.fail(error),
            }
        }
    }

    fn is_last(&self, id: TaskId) -> bool {
        id.stage + 1 == self.stages.len()
    }

    /// Passes the rows of a task of the last stage on; waits while there are too many. Whether anybody still wants
    /// them.
    pub fn push(self: &Arc<Self>, task: usize, output: TaskOutput, bytes: u64) -> bool {
        self.queues[task].push(output, bytes, || {
            // Of several stages, every task has a lane of its own.
            let lane = task % self.lanes.len();
            if self.stages.len() == 1
                && !lock(&self.lanes[lane].waiting).is_empty()
                && let Err(error) = self.spawn(lane)
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
            self.report.runs(stage.number, id.task, interrupter.clone(), stage.reach(id.task));
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
        self.end(Some(&error));
    }

    fn end(&self, error: Option<&EngineError>) {
        let interrupted = EngineError::interrupted();
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
        if let Some(remote) = &self.remote {
            remote.stop();
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
}

impl Exchange for TaskExchange {
    fn partitions(&self) -> usize {
        self.run.queues.len()
    }

    fn schema(&self) -> Result<SchemaRef, EngineError> {
        let remote = self.run.remote.as_ref();
        remote
            .and_then(RemoteRun::result_schema)
            .ok_or_else(|| EngineError::internal("rows came as Arrow before any worker told their schema"))
    }

    fn poll(&self, partition: usize, cx: &mut Context<'_>) -> Poll<Result<TaskOutput, EngineError>> {
        let Some(queue) = self.run.queues.get(partition) else {
            return Poll::Ready(Err(EngineError::internal(format!("there is no task {partition}"))));
        };
        match &self.run.unordered {
            Some(unordered) => unordered.poll(&self.run.queues, partition, cx),
            None => queue.poll(cx),
        }
    }
}

impl Drop for TaskExchange {
    fn drop(&mut self) {
        self.run.end(None);
    }
}
