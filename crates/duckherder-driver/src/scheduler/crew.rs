//! The workers of one attempt to run a query's tasks.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use super::Shared;
use super::files::FilesOfScans;
use super::query::Worker;
use super::stages::RunningStage;
use crate::cluster::{Lease, RemoteWorker, Tasks, local_id};
use crate::sync::lock;

/// What the driver is called where it runs tasks because no worker is left.
const DRIVER: &str = "driver";

/// Which workers the tasks of a query may have.
#[derive(Clone)]
pub struct Hiring {
    /// Its stages have one task each: one that needs no network is preferred. What it reads most of.
    single: Option<String>,
    /// The workers elsewhere that see the files that it reads, or the directory that it writes to, if there are such.
    sees_files: Option<BTreeSet<u64>>,
}

/// Workers that have promised to stay until the tasks are done.
pub struct Crew {
    /// In the order in which they get tasks; never none.
    workers: Vec<Worker>,
    leases: Mutex<Vec<Lease>>,
}

impl Hiring {
    /// `single`: what a query whose stages have one task each reads most of; `target`: the workers elsewhere that write where the query does, if its tasks write files.
    pub fn new(single: Option<String>, files: &FilesOfScans, target: Option<&BTreeSet<u64>>) -> Self {
        let known = files.iter().flatten().map(|files| files.seen_by()).chain(target);
        let sees_files = known.cloned().reduce(|all, other| &all & &other);
        Self { single, sees_files }
    }

    /// Whether its stages have one task each.
    pub fn is_single(&self) -> bool {
        self.single.is_some()
    }

    /// The workers that there are now; the driver itself, if there are none.
    pub fn hire(&self, shared: &Shared) -> Crew {
        let cluster = &shared.cluster;
        let local = cluster.local_workers().iter().enumerate();
        let mut workers: Vec<_> =
            local.map(|(number, tasks)| (Worker::Local { id: local_id(number), tasks: tasks.clone() }, None)).collect();
        if self.single.is_none() || workers.is_empty() {
            let sees = |worker: &RemoteWorker| {
                self.sees_files.as_ref().is_none_or(|instances| instances.contains(&worker.instance))
            };
            for worker in cluster.remote_workers().into_iter().filter(sees) {
                if let Some(lease) = worker.lease() {
                    workers.push((Worker::Remote(worker), Some(lease)));
                }
            }
        }
        // Workers elsewhere keep what they have read, and get it again.
        let remote = workers.iter().any(|(worker, _)| matches!(worker, Worker::Remote(_)));
        let first = match &self.single {
            Some(mostly) if remote => {
                place_of(mostly, workers.iter().map(|(worker, _)| (worker.id(), worker.running())))
            }
            None if remote => 0,
            _ => shared.first_worker(workers.len()),
        };
        if workers.is_empty() {
            workers.push((driver(), None));
        }
        workers.rotate_left(first);
        let (workers, leases): (Vec<_>, Vec<_>) = workers.into_iter().unzip();
        Crew { workers, leases: Mutex::new(leases.into_iter().flatten().collect()) }
    }

    /// As [`hire`](Self::hire), after a worker was lost: none that does not answer at once, or that another one can't
    /// reach. Blocks until they have answered.
    pub fn hire_again(&self, shared: &Shared) -> Crew {
        let crew = self.hire(shared);
        let remote: Vec<RemoteWorker> = crew.remote().cloned().collect();
        let cluster = &shared.cluster;
        if let Ok(runtime) = shared.runtime() {
            runtime.block_on(cluster.call_all(&remote));
        }
        let left = cluster.remote_workers();
        match remote.iter().all(|worker| left.iter().any(|other| other.is(worker))) {
            true => crew,
            false => self.hire(shared),
        }
    }
}

/// Which of the workers, each with the number of tasks that it runs, has what others may have read before: of those that
/// have least to do, always the same one (rendezvous hashing: one that comes or goes changes only what it has itself).
fn place_of<'a>(mostly: &str, workers: impl Iterator<Item = (&'a str, u64)>) -> usize {
    let score = |id: &str| {
        let mut hasher = DefaultHasher::new();
        (mostly, id).hash(&mut hasher);
        hasher.finish()
    };
    let best = workers.enumerate().min_by_key(|(_, (id, running))| (*running, Reverse(score(id))));
    best.map_or(0, |(place, _)| place)
}

/// The driver's own process.
fn driver() -> Worker {
    Worker::Local { id: DRIVER.to_string(), tasks: Tasks::default() }
}

impl Crew {
    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// Who runs this task of the stage, at first: who owns what it reads, or else all in turn.
    pub fn worker(&self, stage: &RunningStage, task: usize) -> &Worker {
        &self.workers[self.place_for(stage, task)]
    }

    /// The place of that worker.
    pub fn place_for(&self, stage: &RunningStage, task: usize) -> usize {
        let owner = stage.owners.get(task).and_then(|id| self.place(id));
        owner.unwrap_or(task % self.workers.len())
    }

    /// The place of the worker with this id, if it is there.
    fn place(&self, id: &str) -> Option<usize> {
        self.workers.iter().position(|worker| worker.id() == id)
    }

    /// Their ids, in the order in which they get tasks.
    pub fn ids(&self) -> Vec<&str> {
        self.workers.iter().map(Worker::id).collect()
    }

    pub fn remote(&self) -> impl Iterator<Item = &RemoteWorker> {
        self.workers.iter().filter_map(|worker| match worker {
            Worker::Remote(worker) => Some(worker),
            Worker::Local { .. } => None,
        })
    }

    /// Somebody of them is lost: whoever it is gets no more tasks soon.
    pub fn ask_soon(&self) {
        self.remote().for_each(RemoteWorker::hurry);
    }

    /// Who takes the place of a worker that was lost: one that is still there, or the driver.
    pub fn substitute(&self, shared: &Shared) -> Worker {
        let left: Vec<&Worker> = self.workers.iter().filter(|worker| worker.takes_tasks()).collect();
        match left.get(shared.first_worker(left.len())) {
            Some(worker) => (*worker).clone(),
            None => driver(),
        }
    }

    /// The tasks are done, or nobody wants their rows any more: the workers may leave.
    pub fn dismiss(&self) {
        let leases = std::mem::take(&mut *lock(&self.leases));
        drop(leases);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen<'a>(table: &str, ids: &[&'a str]) -> &'a str {
        ids[place_of(table, ids.iter().map(|id| (*id, 0)))]
    }

    #[test]
    fn what_is_read_again_is_read_in_the_same_place() {
        let tables: Vec<String> = (0..300).map(|number| format!("table {number}")).collect();
        let (three, four) = (["w1", "w2", "w3"], ["w1", "w2", "new", "w3"]);
        let moved: Vec<_> = tables.iter().filter(|table| chosen(table, &three) != chosen(table, &four)).collect();
        assert!(moved.iter().all(|table| chosen(table, &four) == "new"), "one that comes takes only its share");
        assert!((30..130).contains(&moved.len()), "{} of 300 have a new place", moved.len());
    }

    #[test]
    fn a_busy_worker_gets_nothing_while_others_are_idle() {
        let favourite = chosen("t", &["w1", "w2", "w3"]);
        let workers = ["w1", "w2", "w3"].map(|id| (id, u64::from(id == favourite)));
        assert_ne!(workers[place_of("t", workers.into_iter())].0, favourite);
    }
}
