//! What a distribution costs: the work of each stage over the threads of its tasks, what moves, and what is left.

use super::constants::*;
use super::here::{here, parallel};
use super::work::{fetched_byte, fetched_bytes, groups, read_rows, rows, width, work};
use super::{Capacity, Estimate, Measured, StageEstimate, microseconds, moved, passed};
use crate::plan::{Operator, Plan, PlanNode, Scan};
use crate::stage::{Cut, Distribution, Exchange, MergeStrategy, Stage, cuts_at};

/// Estimates the distribution of a plan.
pub fn distributed(plan: &Plan, distribution: &Distribution, capacity: Capacity) -> Estimate {
    let stages = &distribution.stages;
    let scans = plan.root.preorder_scans().into_iter().map(|(node, _)| node).collect();
    let mut walk =
        Walk { plan, stages, capacity, loads: vec![Load::default(); stages.len() + 1], scans, nodes: plan.root.walk() };
    walk.visit(&plan.root, stages.len());
    let driver = walk.loads.pop().unwrap_or_default();
    let on_driver = driver.divided / parallel(driver.source, plan.threads) + driver.single;
    let one = stages.iter().all(|stage| stage.tasks == 1);
    let estimates: Vec<StageEstimate> =
        stages.iter().zip(&walk.loads).map(|(stage, load)| walk.stage(stage, load, one)).collect();
    let elapsed: u64 = estimates.iter().map(|stage| stage.elapsed_us).sum();
    Estimate {
        local_us: microseconds(here(&plan.root, plan.threads)),
        distributed_us: elapsed + microseconds(on_driver + QUERY),
        stages: estimates,
        driver_us: microseconds(on_driver),
        despite: String::new(),
        measured: Measured::default(),
    }
}

/// What the tasks of a stage do, or the driver; nanoseconds of a core.
#[derive(Clone, Default)]
struct Load {
    /// Together, each a part.
    divided: f64,
    /// Each.
    repeated: f64,
    /// Each in another process: the driver's own tasks know how the files are written.
    sniffed: f64,
    /// The driver on one thread.
    single: f64,
    /// Bytes of the driver's tables that they read together, and each.
    read_bytes: f64,
    repeated_bytes: f64,
    /// Rows of the largest table that is divided.
    source: f64,
    /// The rows that it gives.
    rows: f64,
    row_bytes: f64,
}

/// Whether the rows of an operator are divided among a stage's tasks, or each has them all.
#[derive(Clone, Copy, PartialEq)]
enum Spread {
    Divided,
    Whole,
}

struct Walk<'a> {
    plan: &'a Plan,
    stages: &'a [Stage],
    capacity: Capacity,
    /// Of each stage, then of the driver.
    loads: Vec<Load>,
    /// The nodes that are scans, by their numbers.
    scans: Vec<u64>,
    nodes: Vec<&'a PlanNode>,
}

impl Walk<'_> {
    /// `owner` runs what is above, a stage or the driver.
    fn visit(&mut self, node: &PlanNode, owner: usize) -> Spread {
        let cuts: Vec<usize> = cuts_at(self.stages, node).collect();
        let mut spread = self.put(node, cuts.first().copied().unwrap_or(owner));
        for (place, number) in cuts.iter().copied().enumerate() {
            let given = self.given(node, &self.stages[number]);
            (self.loads[number].rows, self.loads[number].row_bytes) = given;
            spread = self.take(node, number, cuts.get(place + 1).copied().unwrap_or(owner));
        }
        spread
    }

    /// The operator runs where `owner` does.
    fn put(&mut self, node: &PlanNode, owner: usize) -> Spread {
        let on_driver = owner == self.stages.len();
        let mut spread = if on_driver { Spread::Divided } else { Spread::Whole };
        let below: Vec<Spread> = node.children.iter().map(|child| self.visit(child, owner)).collect();
        if below.contains(&Spread::Divided) {
            spread = Spread::Divided;
        }
        let (work, longer) = (work(node), if on_driver { 1.0 } else { FRAGMENT });
        for (ns, spread) in work.of_children.iter().zip(&below) {
            self.loads[owner].add(*ns * longer, *spread);
        }
        if let Some(scan) = &node.scan {
            spread = self.spread_of(owner, node.id);
            self.read(node, scan, owner, spread);
        }
        self.loads[owner].add(work.own * longer, spread);
        spread
    }

    /// How the stage reads a scan.
    fn spread_of(&self, owner: usize, scan: u64) -> Spread {
        let reads =
            |stage: &Stage| stage.scans.iter().any(|read| read.whole && self.scans.get(read.scan) == Some(&scan));
        if self.stages.get(owner).is_some_and(reads) { Spread::Whole } else { Spread::Divided }
    }

    /// What tasks elsewhere have to get before they can scan it.
    fn read(&mut self, node: &PlanNode, scan: &Scan, owner: usize, spread: Spread) {
        let bytes = fetched_bytes(self.plan, node, scan, spread == Spread::Whole);
        let load = &mut self.loads[owner];
        load.source = load.source.max(if spread == Spread::Divided { read_rows(node, scan) } else { 0.0 });
        match (&scan.files, spread) {
            (Some(files), _) if files.sampled_again => {
                load.sniffed += files.paths.len().min(SNIFFED_FILES as usize) as f64 * SNIFFED_FILE;
            }
            (Some(_), _) => {}
            (None, Spread::Divided) => load.read_bytes += bytes,
            (None, Spread::Whole) => load.repeated_bytes += bytes,
        }
    }

    /// Rows that a stage gives in all, and the bytes of each.
    fn given(&self, node: &PlanNode, stage: &Stage) -> (f64, f64) {
        let tasks = stage.tasks as f64;
        let input: f64 = node.children.iter().map(rows).sum();
        match (stage.cut, stage.merge) {
            _ if stage.writes.is_some() => (tasks, STATE_BYTES),
            (Cut::PartialAggregate, _) => {
                let calls = node.aggregate.as_ref().map_or(0, |aggregate| aggregate.calls.len()) as f64;
                ((groups(node) * tasks).min(input.max(tasks)), width(node) + calls * STATE_BYTES)
            }
            (Cut::Copy, MergeStrategy::Distinct) => ((rows(node) * tasks).min(input), width(node)),
            (Cut::Copy, _) => {
                let limit = node
                    .limit
                    .as_ref()
                    .map_or(0, |limit| limit.rows.unwrap_or(0).saturating_add(limit.offset.unwrap_or(0)));
                ((limit as f64 * tasks).min(input), width(node))
            }
            (Cut::Distinct { rows: distinct }, _) => ((distinct as f64 * tasks).min(rows(node)), width(node)),
            (Cut::Subtree | Cut::Sort, _) if node.operator == Operator::Aggregate => (groups(node), width(node)),
            (Cut::Subtree | Cut::Sort, _) => (rows(node), width(node)),
        }
    }

    /// What it costs that the rows of a stage get to whoever reads them.
    fn take(&mut self, node: &PlanNode, number: usize, owner: usize) -> Spread {
        let stage = &self.stages[number];
        let remote = self.capacity.workers.remote > 0;
        let (given, row_bytes) = (self.loads[number].rows, self.loads[number].row_bytes);
        let bytes = given * row_bytes;
        // Its tasks give rows to as many threads as read them.
        let source = self.loads[number].source;
        let readers = self.stages.get(owner).map_or(1, |reader| reader.tasks) as f64;
        let shuffled = |copies: f64| moved(given, row_bytes, copies, remote);
        match stage.exchange {
            Exchange::Hash { consumer, side } => {
                if let Cut::Distinct { rows: distinct } = stage.cut {
                    self.loads[number].divided += rows(node) * super::work::lookup(distinct as f64);
                }
                self.loads[number].divided += match self.passed(node, stage, consumer, side as usize) {
                    Some(part) => part * shuffled(1.0) + given * TESTED_ROW,
                    None => shuffled(1.0),
                };
                self.loads[owner].divided += match stage.cut {
                    Cut::PartialAggregate => given * STATE,
                    Cut::Copy => given * super::work::lookup(rows(node)),
                    Cut::Subtree | Cut::Sort | Cut::Distinct { .. } => 0.0,
                };
                self.loads[owner].source = self.loads[owner].source.max(source);
                Spread::Divided
            }
            // From each task to the one that reads its rows, in the same process if it can be.
            Exchange::Forward { .. } => {
                self.loads[number].divided += given * LOCAL_SHUFFLED_ROW + bytes * LOCAL_SHUFFLED_BYTE;
                self.loads[owner].source = self.loads[owner].source.max(source);
                Spread::Divided
            }
            Exchange::Broadcast => {
                self.loads[number].divided += shuffled(readers);
                Spread::Whole
            }
            Exchange::Gather => {
                let share = self.remote_share(stage);
                self.loads[number].divided += bytes * SENT_BYTE * share;
                let driver = &mut self.loads[owner];
                driver.source = driver.source.max(source);
                driver.divided += given * LOCAL_ROW + bytes * (RECEIVED_BYTE * share + LOCAL_BYTE * (1.0 - share));
                match (stage.cut, stage.merge) {
                    (_, MergeStrategy::None) | (Cut::Subtree | Cut::Distinct { .. }, _) => {}
                    (Cut::PartialAggregate, _) => driver.divided += given * STATE,
                    (Cut::Sort, _) => driver.single += given * MERGED_ROW,
                    (Cut::Copy, _) => driver.divided += given * super::work::lookup(rows(node)),
                }
                Spread::Divided
            }
        }
    }

    /// The part of a stage's rows that its runtime filter lets through, if it has one.
    fn passed(&self, node: &PlanNode, stage: &Stage, consumer: u64, side: usize) -> Option<f64> {
        let found = |id: u64| self.nodes.iter().find(|node| node.id == id).copied();
        let small = self.stages.get(stage.filter.as_ref().filter(|filter| filter.bits > 0)?.stage)?;
        Some(passed(found(consumer)?, node, found(small.node)?, side))
    }

    /// The part of a stage's tasks that run in other processes.
    fn remote_share(&self, stage: &Stage) -> f64 {
        let workers = self.capacity.workers;
        match (stage.tasks, workers.local) {
            (1, 1..) => 0.0,
            _ => workers.remote as f64 / workers.count().max(1) as f64,
        }
    }

    /// `one`: all stages of the query have one task, which stays where the tables are if it can.
    fn stage(&self, stage: &Stage, load: &Load, one: bool) -> StageEstimate {
        let workers = self.capacity.workers;
        let tasks = stage.tasks as f64;
        let share = if one && workers.local > 0 { 0.0 } else { self.remote_share(stage) };
        let a_worker = self.capacity.remote_threads as f64 / workers.remote.max(1) as f64;
        let elsewhere = (a_worker * workers.remote as f64).min(a_worker * (tasks * share).ceil()).max(1.0);
        let (read, whole) = (load.read_bytes * share, load.repeated_bytes * tasks * share);
        let fetched = read + whole;
        let (sent_byte, received_byte) = fetched_byte(self.plan);
        let sent = fetched * sent_byte / parallel(load.source, self.plan.threads);
        let each = load.repeated + TASK;
        let remote = load.divided * share + (each + load.sniffed) * tasks * share + fetched * received_byte;
        let here =
            (load.divided * (1.0 - share) + each * tasks * (1.0 - share)) / parallel(load.source, self.plan.threads);
        let started = match stage.exchange {
            Exchange::Gather if share == 0.0 => LOCAL_STAGE,
            Exchange::Gather => REMOTE_STAGE,
            Exchange::Hash { .. } | Exchange::Broadcast | Exchange::Forward { .. } => MOVED_STAGE,
        };
        // The driver sends while the workers work.
        let elapsed = (here + sent).max(remote / elsewhere) + started;
        StageEstimate { rows: load.rows.round() as u64, elapsed_us: microseconds(elapsed) }
    }
}

impl Load {
    fn add(&mut self, ns: f64, spread: Spread) {
        match spread {
            Spread::Divided => self.divided += ns,
            Spread::Whole => self.repeated += ns,
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
