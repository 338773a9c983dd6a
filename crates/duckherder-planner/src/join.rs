//! Joins: which side is divided among the tasks, and how the other gets to them.
//!
//! | way | what moves | for |
//! |---|---|---|
//! | one side whole in every task | that side's tables, once a task | every join that keeps the rows of the other side |
//! | one side broadcast | its rows, to each task | the same, where that side is not a join itself |
//! | both shuffled by their keys | the rows of both | every join with an equality, but not IN (NULLs are everybody's) |
//! | on the driver | the rows of both | what is left |

use crate::place::{Placer, Site};
use crate::plan::{AggregateCall, JoinKind, Operator, PlanNode};
use crate::split::strategy_of;
use crate::stage::{Cut, MergeStrategy};

/// What one row costs, compared with reading one out of a table in memory. The ways are compared by what they cost more
/// than if every row were read and built once.
mod cost {
    /// A row that a worker in another process reads of a table comes over the network, from the driver, which all ask.
    pub const FETCHED: u64 = 40;
    /// A row of a Parquet file is decoded.
    pub const DECODED: u64 = 3;
    /// A row of a CSV or JSON file.
    pub const PARSED: u64 = 20;
    /// A row in the hash table of a join.
    pub const BUILT: u64 = 4;
    /// A row that is hashed, copied, sent and received.
    pub const SHUFFLED: u64 = 25;
    /// A row that goes into a large aggregate, a window or a sort.
    pub const REMEMBERED: u64 = 8;
    /// One more stage, in tables that are just worth dividing.
    pub const STAGE_TABLES: u64 = 4;
}

/// Groups of a large aggregate: they no longer fit into a processor's cache.
const MANY_GROUPS: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The right side is whole in every task of the left: each runs it for itself, or it is broadcast.
    LeftDivided {
        broadcast: bool,
    },
    RightDivided {
        broadcast: bool,
    },
    Shuffled,
    Driver,
}

impl Placer<'_> {
    pub fn join(&mut self, node: &PlanNode) -> Site {
        let [left, right] = node.children.as_slice() else { return self.on_driver(node) };
        match self.way(node, left, right) {
            Way::LeftDivided { broadcast: false } => self.with_whole(left, right),
            Way::RightDivided { broadcast: false } => self.with_whole(right, left),
            Way::LeftDivided { broadcast: true } => self.with_broadcast(left, right),
            Way::RightDivided { broadcast: true } => self.with_broadcast(right, left),
            Way::Shuffled => self.join_shuffled(node, left, right),
            Way::Driver => self.on_driver(node),
        }
    }

    /// The cheapest of the ways that give the right rows.
    fn way(&self, node: &PlanNode, left: &PlanNode, right: &PlanNode) -> Way {
        let (kind, equalities, asof) = match &node.join {
            Some(join) => (join.kind, join.equalities, join.asof),
            None => (JoinKind::Inner, 0, false),
        };
        // One worker has one task a stage: it can have both sides whole, whatever the join keeps.
        let [keeps_left, keeps_right] = if self.workers().count() == 1 { [true; 2] } else { kind.divisible() };
        let tasks = self.tasks_of(node);
        let mut ways = Vec::new();
        if keeps_left {
            ways.extend(self.whole_cost(right, tasks).map(|cost| (cost, Way::LeftDivided { broadcast: false })));
            ways.extend(self.broadcast_cost(right).map(|cost| (cost, Way::LeftDivided { broadcast: true })));
        }
        if keeps_right && !asof {
            ways.extend(self.whole_cost(left, tasks).map(|cost| (cost, Way::RightDivided { broadcast: false })));
            ways.extend(self.broadcast_cost(left).map(|cost| (cost, Way::RightDivided { broadcast: true })));
        }
        if equalities > 0 && kind != JoinKind::Mark && kind != JoinKind::Invalid && self.may_shuffle() {
            ways.push((rows(left).saturating_add(rows(right)).saturating_mul(cost::SHUFFLED), Way::Shuffled));
        }
        ways.into_iter().min_by_key(|(cost, _)| *cost).map_or(Way::Driver, |(_, way)| way)
    }

    /// How many tasks could share what is read for `node`.
    fn tasks_of(&self, node: &PlanNode) -> u64 {
        let scans = node.preorder_scans().into_iter();
        let tasks = scans.map(|(_, scan)| strategy_of(scan, self.min_split_rows(), self.workers()).1).max();
        tasks.unwrap_or(1).clamp(1, self.workers().count().max(1))
    }

    /// What it costs that each of the `tasks` runs all of `node` for itself; `None` if it can't.
    fn whole_cost(&self, node: &PlanNode, tasks: u64) -> Option<u64> {
        let built = rows(node).saturating_mul(cost::BUILT);
        Some(self.work(node)?.saturating_add(built).saturating_mul(tasks - 1))
    }

    /// What it costs that a stage runs `node` and sends its rows to every task; `None` if it can't.
    fn broadcast_cost(&self, node: &PlanNode) -> Option<u64> {
        if !self.may_shuffle() || !self.comes_from_tasks(node) {
            return None;
        }
        // As it was measured, with all the tasks that a stage may have: where it costs about what a shuffle does, the
        // shuffle needs less memory.
        let tasks = self.workers().most_tasks();
        let moved = rows(node).saturating_mul(cost::SHUFFLED * tasks + cost::BUILT * (tasks - 1));
        Some(moved.saturating_add(cost::STAGE_TABLES.saturating_mul(self.min_split_rows())))
    }

    /// What it costs that a task runs all of `node`; `None` if it can't.
    fn work(&self, node: &PlanNode) -> Option<u64> {
        if self.stays(node) {
            return None;
        }
        match node.operator {
            Operator::Scan => {
                let scan = self.can_read(node).ok().and(node.scan.as_ref())?;
                let read = match &scan.files {
                    Some(files) if files.text => cost::PARSED,
                    Some(_) => cost::DECODED,
                    None if self.workers().remote > 0 => cost::FETCHED,
                    None => 1,
                };
                return Some(scan.rows.saturating_mul(read));
            }
            Operator::Constants => return Some(0),
            Operator::Filter
            | Operator::Projection
            | Operator::Aggregate
            | Operator::Distinct
            | Operator::OrderBy
            | Operator::TopN
            | Operator::Limit
            | Operator::Window
            | Operator::Unnest
            | Operator::Join
            | Operator::Union
            | Operator::SetOperation => {}
            Operator::Relational | Operator::RecursiveCte | Operator::Write(_) | Operator::Other(_) => return None,
        }
        // What depends on the order of rows, as ties do, need not be the same in every task.
        if picks_rows(node) && self.workers().count() > 1 {
            return None;
        }
        let input = node.children.iter().map(rows).fold(0, u64::saturating_add);
        let own = input.saturating_mul(match node.operator {
            Operator::Aggregate if rows(node) < MANY_GROUPS => 1,
            Operator::Aggregate | Operator::Distinct | Operator::OrderBy | Operator::Window => cost::REMEMBERED,
            Operator::Join | Operator::SetOperation => cost::BUILT,
            _ => 0,
        });
        node.children.iter().try_fold(own, |sum, child| Some(sum.saturating_add(self.work(child)?)))
    }

    fn with_broadcast(&mut self, divided: &PlanNode, whole: &PlanNode) -> Site {
        let Site::Workers(draft) = self.place(whole) else {
            // `comes_from_tasks` has said otherwise; its rows are the driver's then.
            self.beside(divided);
            return Site::Driver;
        };
        let sent = self.broadcast(whole, draft);
        let site = self.place(divided);
        let Site::Workers(mut draft) = site else {
            self.gather_instead(sent);
            return Site::Driver;
        };
        draft.inputs.push(sent);
        Site::Workers(draft)
    }

    fn with_whole(&mut self, divided: &PlanNode, whole: &PlanNode) -> Site {
        match self.place(divided) {
            Site::Workers(mut draft) => {
                let scans: Vec<usize> = whole.walk().into_iter().filter_map(|below| self.number_of(below)).collect();
                draft.read_whole(scans);
                Site::Workers(draft)
            }
            Site::Everywhere => self.beside(whole),
            site => {
                self.beside(whole);
                site
            }
        }
    }

    /// What is joined with rows of the driver comes to the driver.
    fn beside(&mut self, other: &PlanNode) -> Site {
        match self.place(other) {
            Site::Workers(draft) => {
                self.gather(other, draft, Cut::Subtree, MergeStrategy::Concatenate);
                Site::Driver
            }
            site => site,
        }
    }

    fn join_shuffled(&mut self, node: &PlanNode, left: &PlanNode, right: &PlanNode) -> Site {
        match (self.place(left), self.place(right)) {
            (Site::Workers(left_draft), Site::Workers(right_draft)) => {
                self.shuffled(node, &[(left, left_draft), (right, right_draft)])
            }
            (left_site, right_site) => {
                for (child, site) in [(left, left_site), (right, right_site)] {
                    if let Site::Workers(draft) = site {
                        self.gather(child, draft, Cut::Subtree, MergeStrategy::Concatenate);
                    }
                }
                Site::Driver
            }
        }
    }
}

fn rows(node: &PlanNode) -> u64 {
    node.estimated_rows.unwrap_or(0)
}

/// Whether the order in which rows come decides which rows, or which values, come out.
fn picks_rows(node: &PlanNode) -> bool {
    let order_dependent = |call: &AggregateCall| call.order_dependent;
    let nearest = node.join.as_ref().is_some_and(|join| join.asof);
    matches!(node.operator, Operator::Distinct | Operator::Limit | Operator::TopN | Operator::Window)
        || nearest
        || node.aggregate.as_ref().is_some_and(|aggregate| aggregate.calls.iter().any(order_dependent))
}
