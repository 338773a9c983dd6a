//! One run of a query: its tasks, the threads that run them, and their rows.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use duckherder_engine::distribute::{Exchange, Fragment, QueryRun, Snapshot, TaskOutput};
use duckherder_engine::{EngineError, Interrupter};
use duckherder_planner::Split;

use super::Shared;
use super::local;
use super::query::Worker;
use super::queue::TaskQueue;
use super::remote::{self, RemoteRun};
use super::report::{RunReport, TaskReport};
use crate::sync::lock;

/// The rows of a run's tasks; dropping it stops them.
pub struct TaskExchange {
    run: Arc<Run>,
}

/// What the threads of a run share.
pub struct Run {
    shared: Arc<Shared>,
    lanes: Vec<Lane>,
    pub fragment: Fragment,
    pub snapshot: Snapshot,
    pub splits: Vec<Split>,
    pub queues: Vec<TaskQueue>,
    pub report: Arc<RunReport>,
    /// Of the tasks in other processes, if there are any.
    pub remote: Option<RemoteRun>,
    control: Mutex<Control>,
}

/// One worker's tasks. It runs one after the other, in order; but while nobody takes a task's rows, the next may run:
/// a reader may have to see the first rows of a later task before it takes more of an earlier one's.
struct Lane {
    worker: Worker,
    waiting: Mutex<VecDeque<usize>>,
}

/// How tasks are stopped.
#[derive(Default)]
struct Control {
    stopped: bool,
    running: Vec<Option<Interrupter>>,
}

impl TaskExchange {
    /// Starts a thread for every worker that has a task.
    ///
    /// # Errors
    /// There are no threads left, or the splits can't be served.
    pub fn start(
        shared: &Arc<Shared>,
        run: QueryRun,
        splits: Vec<Split>,
        workers: Vec<Worker>,
        report: Arc<RunReport>,
    ) -> Result<Self, EngineError> {
        let QueryRun { fragment, snapshot, .. } = run;
        let tasks = splits.len();
        let needs_remote = workers.iter().take(tasks).any(|worker| matches!(worker, Worker::Remote(_)));
        let remote = match needs_remote {
            true => Some(RemoteRun::open(shared, &fragment, &snapshot, &splits)?),
            false => None,
        };
        let lanes = workers.iter().take(tasks).enumerate().map(|(number, worker)| Lane {
            worker: worker.clone(),
            waiting: Mutex::new((number..tasks).step_by(workers.len()).collect()),
        });
        let run = Arc::new(Run {
            shared: Arc::clone(shared),
            lanes: lanes.collect(),
            fragment,
            snapshot,
            queues: splits.iter().map(|_| TaskQueue::default()).collect(),
            splits,
            report,
            remote,
            control: Mutex::new(Control { stopped: false, running: vec![None; tasks] }),
        });
        // From here on a failure stops what has been started.
        let exchange = Self { run };
        (0..exchange.run.lanes.len()).try_for_each(|lane| exchange.run.spawn(lane))?;
        Ok(exchange)
    }
}

impl Run {
    /// Another thread for a lane's tasks.
    fn spawn(self: &Arc<Self>, lane: usize) -> Result<(), EngineError> {
        let run = Arc::clone(self);
        self.shared.threads.spawn(self.lanes[lane].worker.id(), move || run.work(lane))
    }

    /// Runs a lane's tasks until none waits.
    fn work(self: &Arc<Self>, lane: usize) {
        let worker = &self.lanes[lane].worker;
        loop {
            let next = lock(&self.lanes[lane].waiting).pop_front();
            let Some(task) = next.filter(|_| !self.is_stopped()) else { return };
            let started = Instant::now();
            self.report.started(worker.id());
            // Without an end, or an error in its place, the query would wait for ever.
            let done = catch_unwind(AssertUnwindSafe(|| match worker {
                Worker::Local { .. } => local::run_task(self, task),
                Worker::Remote(remote) => remote::run_task(self, task, remote),
            }))
            .unwrap_or_else(|_| Err(EngineError::internal(format!("task {task} panicked"))));
            match done {
                Ok(TaskRows { rows, bytes }) => {
                    let (worker, split) = (worker.id().to_string(), self.splits[task]);
                    let elapsed = started.elapsed();
                    self.report.finished(TaskReport { task, worker, split, rows, bytes, elapsed });
                    self.push(task, TaskOutput::End { rows }, 0);
                }
                Err(error) => return self.fail(error),
            }
        }
    }

    /// Passes a task's rows on; waits while there are too many. Whether anybody still wants them.
    pub fn push(self: &Arc<Self>, task: usize, output: TaskOutput, bytes: u64) -> bool {
        self.queues[task].push(output, bytes, || {
            let lane = task % self.lanes.len();
            if !lock(&self.lanes[lane].waiting).is_empty()
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

    /// The statement that `task` runs can be interrupted, from after it was submitted. Whether it may go on.
    pub fn interruptible(&self, task: usize, interrupter: Interrupter) -> bool {
        let mut control = lock(&self.control);
        control.running[task] = Some(interrupter);
        !control.stopped
    }

    /// No interrupt reaches the task's connection from here on.
    pub fn uninterruptible(&self, task: usize) {
        lock(&self.control).running[task] = None;
    }

    /// The query fails with the first error of a task.
    fn fail(&self, error: EngineError) {
        self.end(Some(&error));
    }

    fn end(&self, error: Option<&EngineError>) {
        {
            let mut control = lock(&self.control);
            if control.stopped {
                return;
            }
            control.stopped = true;
            for interrupter in control.running.iter().flatten() {
                interrupter.interrupt();
            }
        }
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
        match self.run.queues.get(partition) {
            Some(queue) => queue.poll(cx),
            None => Poll::Ready(Err(EngineError::internal(format!("there is no task {partition}")))),
        }
    }
}

impl Drop for TaskExchange {
    fn drop(&mut self) {
        self.run.end(None);
    }
}
