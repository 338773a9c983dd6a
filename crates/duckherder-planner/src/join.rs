//! Joins: which side is divided among the tasks, and how the other gets to them.
//!
//! | way | what moves | for |
//! |---|---|---|
//! | one side whole in every task | that side's tables, once a task | every join that keeps the rows of the other side |
//! | one side broadcast | its rows, to each task | the same, where that side is not a join itself |
//! | both shuffled by their keys | the rows of both | every join with an equality, but not IN (NULLs are everybody's) |
//! | on the driver | the rows of both | what is left |

use crate::place::{Placer, Site, has_keys};
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
        let above = std::mem::replace(&mut self.below_join, true);
        let site = self.join_sides(node, left, right);
        self.below_join = above;
        site
    }

    fn join_sides(&mut self, node: &PlanNode, left: &PlanNode, right: &PlanNode) -> Site {
        match self.way(node, left, right) {
            Way::LeftDivided { broadcast: false } => self.with_whole(node, left, right),
            Way::RightDivided { broadcast: false } => self.with_whole(node, right, left),
            Way::LeftDivided { broadcast: true } => self.with_broadcast(node, left, right),
            Way::RightDivided { broadcast: true } => self.with_broadcast(node, right, left),
            Way::Shuffled => self.join_shuffled(node, left, right),
            Way::Driver => self.on_driver(node),
        }
    }

    /// The cheapest of the ways that give the right rows.
    fn way(&self, node: &PlanNode, left: &PlanNode, right: &PlanNode) -> Way {
        let (kind, asof) = node.join.as_ref().map_or((JoinKind::Inner, false), |join| (join.kind, join.asof));
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
        if has_keys(node) && kind != JoinKind::Mark && kind != JoinKind::Invalid && self.may_shuffle() {
            ways.push((rows(left).saturating_add(rows(right)).saturating_mul(cost::SHUFFLED), Way::Shuffled));
        }
        if ways.is_empty() {
            // What else would be on the driver is worth that a stage joins the rows that it broadcasts.
            let sent = |node| self.may_shuffle() && self.may_come_from_tasks(node);
            let left_divided = (keeps_left && sent(right)).then_some(Way::LeftDivided { broadcast: true });
            let right_divided = (keeps_right && !asof && sent(left)).then_some(Way::RightDivided { broadcast: true });
            return left_divided.or(right_divided).unwrap_or(Way::Driver);
        }
        ways.into_iter().min_by_key(|(cost, _)| *cost).map_or(Way::Driver, |(_, way)| way)
    }

    /// Whether it is likely that all rows of the operator come to be in tasks, joins being decided as they may.
    fn may_come_from_tasks(&self, node: &PlanNode) -> bool {
        if self.comes_from_tasks(node) {
            return true;
        }
        match (&node.operator, node.children.as_slice()) {
            _ if self.stays(node) => false,
            (Operator::Aggregate | Operator::Distinct, [child]) if self.shared.keeps_groups => {
                has_keys(node) && self.may_come_from_tasks(child)
            }
            (Operator::Filter | Operator::Projection | Operator::Unnest, [child]) => self.may_come_from_tasks(child),
            (Operator::Join, [left, right]) => {
                let kind = node.join.as_ref().map_or(JoinKind::Inner, |join| join.kind);
                let [left_comes, right_comes] = [left, right].map(|side| self.may_come_from_tasks(side));
                let [keeps_left, keeps_right] = kind.divisible();
                (keeps_left && left_comes && (right_comes || self.work(right).is_some()))
                    || (keeps_right && right_comes && (left_comes || self.work(left).is_some()))
                    || (left_comes && right_comes && has_keys(node))
            }
            _ => false,
        }
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
            _ if node.is_written_out() => return Some(0),
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
            Operator::Constants
            | Operator::Collected
            | Operator::Cte
            | Operator::CteScan
            | Operator::Relational
            | Operator::RecursiveCte
            | Operator::Write(_)
            | Operator::Other(_) => return None,
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

    fn with_broadcast(&mut self, node: &PlanNode, divided: &PlanNode, whole: &PlanNode) -> Site {
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
        draft.join_whole(node);
        Site::Workers(draft)
    }

    fn with_whole(&mut self, node: &PlanNode, divided: &PlanNode, whole: &PlanNode) -> Site {
        match self.place(divided) {
            Site::Workers(mut draft) => {
                let scans: Vec<usize> = whole.walk().into_iter().filter_map(|below| self.number_of(below)).collect();
                draft.read_whole(scans);
                draft.join_whole(node);
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
                self.join_divided(node, [(left, left_draft), (right, right_draft)])
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
