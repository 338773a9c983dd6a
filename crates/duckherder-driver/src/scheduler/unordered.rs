//! Rows of tasks that read what others shuffle: they have no order, and no task may stand still.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use duckherder_engine::EngineError;
use duckherder_engine::distribute::TaskOutput;
use duckherder_worker::fan_in::FanIn;

use super::queue::TaskQueue;
use crate::sync::lock;

/// Every partition is a reader of the rows of all tasks: tasks that wait for each other must all be read.
pub struct Unordered {
    fan_in: Arc<FanIn>,
    /// By task: the rows taken from it so far; `None` once it has ended.
    taken: Vec<Mutex<Option<u64>>>,
    /// By reader: the rows that it was given.
    given: Vec<AtomicU64>,
}

impl Unordered {
    pub fn new(tasks: usize) -> Self {
        let taken = std::iter::repeat_with(|| Mutex::new(Some(0))).take(tasks).collect();
        let given = std::iter::repeat_with(AtomicU64::default).take(tasks).collect();
        Self { fan_in: Arc::default(), taken, given }
    }

    /// What comes next for `reader`, and at the end how many rows it was given.
    pub fn poll(&self, queues: &[TaskQueue], reader: usize, cx: &Context<'_>) -> Poll<Result<TaskOutput, EngineError>> {
        self.fan_in.poll(cx, |shared| {
            let mut ended = 0;
            for offset in 0..queues.len() {
                let task = (reader + offset) % queues.len();
                let mut taken = lock(&self.taken[task]);
                let Some(before) = *taken else {
                    ended += 1;
                    continue;
                };
                let rows = match queues[task].poll(shared) {
                    Poll::Pending => continue,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(TaskOutput::End { rows })) if rows == before => {
                        *taken = None;
                        drop(taken);
                        ended += 1;
                        self.fan_in.source_ended();
                        continue;
                    }
                    Poll::Ready(Ok(TaskOutput::End { rows })) => {
                        let message = format!("task {task} ended after {before} of {rows} rows");
                        return Poll::Ready(Err(EngineError::new("IO", message)));
                    }
                    Poll::Ready(Ok(output)) => output,
                };
                let count = rows.rows();
                *taken = Some(before + count);
                self.given[reader].fetch_add(count, Ordering::Relaxed);
                return Poll::Ready(Ok(rows));
            }
            match ended == queues.len() {
                true => Poll::Ready(Ok(TaskOutput::End { rows: self.given[reader].load(Ordering::Relaxed) })),
                false => Poll::Pending,
            }
        })
    }
}
