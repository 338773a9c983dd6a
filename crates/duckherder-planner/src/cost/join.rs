//! What the ways to join cost: nanoseconds of a core beyond those of a join that reads every row once and divides all
//! work evenly among the tasks. A row that every task reads costs as often; a stage that has few tasks keeps the other
//! workers waiting.
//!
//! | way | what it adds |
//! |---|---|
//! | one side whole in every task | that side's work, once for each other task |
//! | one side broadcast | its rows sent to each task, its part of the join once for each other task, a stage |
//! | by ranges of a key | row groups that several tasks read ([`crate::ranges`]) |
//! | both shuffled | the rows of both, hashed and sent once, but for those that a runtime filter leaves out; two stages |

use super::constants::*;
use super::work::{fetched_byte, fetched_bytes, found, rows, width, work};
use crate::filter::filters;
use crate::plan::{Column, Plan, PlanNode, Scan};
use crate::split::{ROW_GROUP_ROWS, Workers};

/// The costs of one join.
pub struct JoinCosts<'a> {
    node: &'a PlanNode,
    workers: Workers,
    /// How many share the join's work at best.
    tasks: u64,
    plan: &'a Plan,
    /// How often a row that moves is counted.
    moved: f64,
}

impl<'a> JoinCosts<'a> {
    pub fn new(plan: &'a Plan, node: &'a PlanNode, workers: Workers, tasks: u64, moved: f64) -> Self {
        Self { node, workers, tasks, plan, moved }
    }

    /// Each of the `divided_tasks` that share the other side runs all of `side` for itself.
    pub fn whole(&self, side: usize, divided_tasks: u64) -> f64 {
        (self.all_below(side) + self.part_of_join(side)) * self.others() + self.waiting(side, divided_tasks)
    }

    /// A stage runs `side` and sends its rows to each of the `divided_tasks` that share the other side.
    pub fn broadcast(&self, side: usize, divided_tasks: u64) -> f64 {
        let repeated = self.part_of_join(side) * self.others();
        self.sent(side, self.tasks as f64)
            + repeated
            + self.unfiltered(side)
            + self.waiting(side, divided_tasks)
            + self.stage()
    }

    /// The rows of both sides go to the tasks that have their keys.
    pub fn shuffled(&self) -> f64 {
        let sides = [0, 1].map(|side| self.shuffled_side(side) + self.unfiltered(side));
        sides.iter().sum::<f64>() + 2.0 * self.stage()
    }

    /// Where the left side is joined where it is made, DuckDB filters its scans by the right side's keys, before they are
    /// joined themselves. In a stage of its own it is not.
    fn unfiltered(&self, side: usize) -> f64 {
        let Some(child) = self.node.children.first().filter(|child| side == 0 && !child.is_of_one_scan()) else {
            return 0.0;
        };
        self.all_of(child) * (1.0 - found(self.node, rows(child)) / rows(child).max(1.0))
    }

    fn shuffled_side(&self, side: usize) -> f64 {
        let child = &self.node.children[side];
        let smaller = self.divides(&self.node.children[1 - side], &self.keys_of(self.node, 1 - side));
        let filtered = filters(self.node, side, child, smaller, self.plan.min_split_rows) && child.is_of_one_scan();
        match filtered {
            true => self.sent(side, 1.0) * passed(self.node, child, smaller, side) + rows(child) * TESTED_ROW,
            false => self.sent(side, 1.0),
        }
    }

    fn keys_of(&self, node: &'a PlanNode, side: usize) -> Vec<&'a Column> {
        node.keys.get(side).map_or(Vec::new(), |keys| keys.iter().filter_map(|key| key.column.as_ref()).collect())
    }

    /// What of `node` is probably shuffled by the keys: where joins below are by them, too, the smallest side of these
    /// that has all keys of `node`.
    fn divides(&self, node: &'a PlanNode, keys: &[&Column]) -> &'a PlanNode {
        let side_of = |join: &'a PlanNode| {
            let mut sides = [0, 1].map(|side| self.keys_of(join, side)).into_iter();
            sides.any(|own| own.iter().any(|key| keys.contains(key)))
        };
        let joins = node.walk().into_iter().filter(|below| below.join.is_some());
        let Some(join) = joins.into_iter().find(|join| side_of(join)) else { return node };
        let given = join.join.as_ref().map_or([false; 2], |join| join.kind.gives_only_keys_of());
        let sides = (0..2).filter(|side| given[*side]);
        let below = sides.map(|side| self.divides(&join.children[side], &self.keys_of(join, side)));
        below.min_by_key(|node| node.estimated_rows).unwrap_or(node)
    }

    fn others(&self) -> f64 {
        self.tasks.saturating_sub(1) as f64
    }

    /// What the join itself does because of the rows of a side.
    fn part_of_join(&self, side: usize) -> f64 {
        work(self.node).of_children.get(side).copied().unwrap_or(0.0)
    }

    /// That fewer tasks than could share the work have the side that is not `side`.
    fn waiting(&self, side: usize, divided_tasks: u64) -> f64 {
        let divided = self.all_below(1 - side) + self.part_of_join(1 - side) + work(self.node).own;
        divided * (self.tasks as f64 / divided_tasks.max(1) as f64 - 1.0).max(0.0)
    }

    fn sent(&self, side: usize, copies: f64) -> f64 {
        let child = &self.node.children[side];
        self.moved * moved(likely_rows(child), width(child), copies, self.workers.remote > 0)
    }

    /// One more stage of all tasks. It is worth less where smaller tables are divided, too.
    fn stage(&self) -> f64 {
        self.tasks as f64 * STAGE_OF_A_TASK * (self.plan.min_split_rows as f64 / ROW_GROUP_ROWS as f64).min(1.0)
    }

    fn all_below(&self, side: usize) -> f64 {
        self.node.children.get(side).map_or(0.0, |child| self.all_of(child))
    }

    /// What one task takes that runs all from the operator down.
    pub fn all_of(&self, node: &PlanNode) -> f64 {
        let fetched = node.scan.as_ref().map_or(0.0, |scan| self.fetched(node, scan));
        work(node).total() + fetched + node.children.iter().map(|child| self.all_of(child)).sum::<f64>()
    }

    /// Before a worker elsewhere can scan.
    fn fetched(&self, node: &PlanNode, scan: &Scan) -> f64 {
        match &scan.files {
            _ if self.workers.remote == 0 => 0.0,
            Some(files) if files.sampled_again => files.paths.len().min(SNIFFED_FILES as usize) as f64 * SNIFFED_FILE,
            Some(_) => 0.0,
            // All workers wait for the one who sends.
            None => {
                let (sent_byte, received_byte) = fetched_byte(self.plan);
                let sent = sent_byte * self.tasks as f64 / self.plan.threads.max(1) as f64;
                fetched_bytes(self.plan, node, scan, true) * (sent + received_byte)
            }
        }
    }
}

/// The part of the rows of `large`, which is `side` of the join, that a filter of the keys of `small` lets through.
pub fn passed(join: &PlanNode, large: &PlanNode, small: &PlanNode, side: usize) -> f64 {
    let part = |rows_left: f64| (rows_left / rows(large).max(1.0)).min(1.0);
    match join.children.get(1 - side) {
        Some(other) if other.id == small.id => part(rows(join)),
        // How many rows each of its keys has nobody says: between one and all.
        _ => part(rows(small)).sqrt(),
    }
}

/// Rows of an operator that are shuffled or broadcast: sent in so many copies, to workers in other processes or not.
pub fn moved(rows: f64, row_bytes: f64, copies: f64, remote: bool) -> f64 {
    let bytes = rows * row_bytes;
    match remote {
        true => rows * SHUFFLED_ROW + copies * bytes * (SENT_BYTE + RECEIVED_BYTE),
        false => copies * (rows * LOCAL_SHUFFLED_ROW + bytes * LOCAL_SHUFFLED_BYTE),
    }
}

/// Rows that an operator may give: how many a table has is known, how many of them a filter or a join leaves is a guess,
/// and those that move are what a wrong one costs. Halfway, by magnitude, from what DuckDB expects to the largest table.
pub fn likely_rows(node: &PlanNode) -> f64 {
    let most = node.preorder_scans().iter().map(|(_, scan)| scan.rows as f64).fold(0.0, f64::max);
    (rows(node) * most.max(rows(node))).sqrt()
}
