//! Joins: which side is divided among the tasks, and how the other gets to them.
//!
//! | way | what moves | for |
//! |---|---|---|
//! | one side whole in every task | that side's tables, once a task | every join that keeps the rows of the other side |
//! | one side broadcast | its rows, to each task | the same, where that side's rows are in tasks |
//! | by ranges of a key | nothing | every join with an equality, but not IN, of tables that are stored by it |
//! | both shuffled by their keys | the rows of both | every join with an equality, but not IN (NULLs are everybody's) |
//! | on the driver | the rows of both | what is left |

use crate::cost::JoinCosts;
use crate::place::{Draft, Placer, Site, has_keys};
use crate::plan::{AggregateCall, JoinKind, Operator, PlanNode};
use crate::split::strategy_of;
use crate::stage::{Cut, MergeStrategy};

/// How often in a plan it is tried in vain to broadcast a side, or to read both by ranges.
const MOST_FAILURES: usize = 8;

/// Sides are 0, the left one, and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The side is whole in every task of the other: each runs it for itself.
    Whole(usize),
    /// The same, but a stage runs it and sends its rows.
    Broadcast(usize),
    /// Each task reads a range of the key of this number, of both sides.
    Ranges(usize),
    Shuffled,
}

impl Placer<'_> {
    pub fn join(&mut self, node: &PlanNode) -> Site {
        let [left, right] = node.children.as_slice() else { return self.on_driver(node) };
        let above = std::mem::replace(&mut self.put_together, true);
        let site = self.join_sides(node, [left, right]);
        self.put_together = above;
        site
    }

    fn join_sides(&mut self, node: &PlanNode, sides: [&PlanNode; 2]) -> Site {
        for way in self.ways(node, sides) {
            match way {
                Way::Whole(side) => return self.with_whole(node, sides[1 - side], sides[side]),
                Way::Shuffled => return self.join_shuffled(node, sides),
                Way::Broadcast(_) | Way::Ranges(_) if self.failures == MOST_FAILURES => {}
                Way::Broadcast(side) => match self.with_broadcast(node, sides[1 - side], sides[side]) {
                    Some(site) => return site,
                    None => self.failures += 1,
                },
                Way::Ranges(key) => match self.with_ranges(node, key, sides) {
                    Some(site) => return site,
                    None => self.failures += 1,
                },
            }
        }
        self.on_driver(node)
    }

    /// The ways that give the right rows, the cheapest first.
    fn ways(&self, node: &PlanNode, sides: [&PlanNode; 2]) -> Vec<Way> {
        let (kind, asof) = node.join.as_ref().map_or((JoinKind::Inner, false), |join| (join.kind, join.asof));
        // One worker has one task a stage: it can have both sides whole, whatever the join keeps.
        let [keeps_left, keeps_right] = if self.workers().count() == 1 { [true; 2] } else { kind.divisible() };
        // What is divided should not come to the driver first; nor, where workers are to be used, be one task's.
        let in_tasks = sides.map(|side| self.tasks_of(side) == 1 || self.may_come_from_tasks(side));
        let all = self.tasks_of(node);
        let costs = JoinCosts::new(self.plan(), node, self.workers(), all, self.prefers.weight);
        let driver_first = |comes_first: bool| u8::from(comes_first && !self.prefers.driver_joins);
        let mut ways = Vec::new();
        for (side, keeps_other) in [(1, keeps_left), (0, keeps_right && !asof)] {
            let tasks = self.tasks_of(sides[1 - side]);
            let idle = self.always() && tasks == 1 && all > 1;
            let last = 2 * u8::from(idle) + driver_first(!in_tasks[1 - side]);
            if keeps_other && self.can_be_whole(sides[side]) {
                ways.push((last, costs.whole(side, tasks), Way::Whole(side)));
            }
            if keeps_other && self.may_shuffle() && in_tasks[side] {
                ways.push((last, costs.broadcast(side, tasks), Way::Broadcast(side)));
            }
        }
        if has_keys(node) && kind != JoinKind::Mark && kind != JoinKind::Invalid && self.may_shuffle() {
            let added = if self.is_divided(node, sides) { 0.0 } else { costs.shuffled() };
            ways.push((driver_first(in_tasks != [true; 2]), added, Way::Shuffled));
            if let Some((key, added)) = self.best_ranges(node, sides).filter(|_| in_tasks == [true; 2]) {
                ways.push((0, added, Way::Ranges(key)));
            }
        }
        ways.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
        ways.into_iter().map(|(_, _, way)| way).collect()
    }

    /// The side of a join that each task is to have whole, if that is the way to join.
    pub fn reads_whole(&self, node: &PlanNode, sides: [&PlanNode; 2]) -> Option<usize> {
        match self.ways(node, sides).first() {
            Some(Way::Whole(side)) => Some(*side),
            _ => None,
        }
    }

    /// Whether it is likely that all rows of the operator come to be in tasks, joins being decided as they may.
    fn may_come_from_tasks(&self, node: &PlanNode) -> bool {
        if self.comes_from_tasks(node) {
            return true;
        }
        match (&node.operator, node.children.as_slice()) {
            _ if self.stays(node) => false,
            (Operator::Aggregate, [child]) if node.aggregate.as_ref().is_some_and(|aggregate| aggregate.combined) => {
                self.may_come_from_tasks(child)
            }
            (Operator::Aggregate | Operator::Distinct, [child]) if self.shared.keeps_groups => {
                let one = node.aggregate.as_ref().is_some_and(|aggregate| self.ends_in_one_task(child, aggregate));
                (one || has_keys(node)) && self.may_come_from_tasks(child)
            }
            (Operator::Filter | Operator::Projection | Operator::Unnest, [child]) => self.may_come_from_tasks(child),
            (Operator::Join, [left, right]) => {
                let kind = node.join.as_ref().map_or(JoinKind::Inner, |join| join.kind);
                let [left_comes, right_comes] = [left, right].map(|side| self.may_come_from_tasks(side));
                let [keeps_left, keeps_right] = kind.divisible();
                (keeps_left && left_comes && (right_comes || self.can_be_whole(right)))
                    || (keeps_right && right_comes && (left_comes || self.can_be_whole(left)))
                    || (left_comes && right_comes && has_keys(node))
            }
            _ => false,
        }
    }

    /// How many tasks could share what is read for `node`.
    fn tasks_of(&self, node: &PlanNode) -> u64 {
        let tables = node.preorder_scans().into_iter();
        let tables = tables.map(|(_, scan)| strategy_of(scan, self.min_split_rows(), self.workers()).1);
        let ctes = node.walk().into_iter().filter_map(|below| self.tasks_of_cte(below));
        tables.chain(ctes).max().unwrap_or(1).clamp(1, self.workers().count().max(1))
    }

    /// Whether every task can run all of `node` for itself.
    fn can_be_whole(&self, node: &PlanNode) -> bool {
        let itself = match node.operator {
            _ if self.stays(node) => false,
            Operator::Scan => self.can_read(node).is_ok(),
            _ if node.is_written_out() => true,
            // What depends on the order of rows, as ties do, need not be the same in every task.
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
            | Operator::SetOperation => !picks_rows(node) || self.workers().count() == 1,
            Operator::Constants
            | Operator::Collected
            | Operator::Cte
            | Operator::CteScan
            | Operator::Relational
            | Operator::RecursiveCte
            | Operator::Write(_)
            | Operator::Other(_) => false,
        };
        itself && node.children.iter().all(|child| self.can_be_whole(child))
    }

    /// Nothing if the rows of `whole` do not come to be in tasks.
    fn with_broadcast(&mut self, node: &PlanNode, divided: &PlanNode, whole: &PlanNode) -> Option<Site> {
        let before = self.mark();
        let Site::Workers(draft) = self.place(whole) else {
            self.reset(before);
            return None;
        };
        if draft.is_one_of_moved_rows() {
            return Some(self.beside_one_task(node, divided, (whole, draft)));
        }
        let sent = self.broadcast(whole, draft);
        let Site::Workers(mut draft) = self.place(divided) else {
            self.gather_instead(sent);
            return Some(Site::Driver);
        };
        draft.inputs.push(sent);
        draft.join_whole(node);
        Some(Site::Workers(draft))
    }

    /// One task has the rows of `whole`: if one has those of `divided`, too, it is the same.
    fn beside_one_task(&mut self, node: &PlanNode, divided: &PlanNode, (whole, other): (&PlanNode, Draft)) -> Site {
        let Site::Workers(mut draft) = self.place(divided) else {
            self.gather(whole, other, Cut::Subtree, MergeStrategy::Concatenate);
            return Site::Driver;
        };
        if draft.is_one_of_moved_rows() {
            draft.read_together(other.scans, other.inputs);
        } else {
            let sent = self.broadcast(whole, other);
            draft.inputs.push(sent);
            draft.join_whole(node);
        }
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

    fn join_shuffled(&mut self, node: &PlanNode, [left, right]: [&PlanNode; 2]) -> Site {
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

/// Whether the order in which rows come decides which rows, or which values, come out.
fn picks_rows(node: &PlanNode) -> bool {
    let order_dependent = |call: &AggregateCall| call.order_dependent;
    let nearest = node.join.as_ref().is_some_and(|join| join.asof);
    matches!(node.operator, Operator::Distinct | Operator::Limit | Operator::TopN | Operator::Window)
        || nearest
        || node.aggregate.as_ref().is_some_and(|aggregate| aggregate.calls.iter().any(order_dependent))
}
