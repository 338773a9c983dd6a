//! Where it shows in which order rows come.
//!
//! | above | that order |
//! |---|---|
//! | a limit, the result, `list`, `first` | shows |
//! | filters, projections, UNION ALL, a join with a scalar subquery | shows if it does above them |
//! | sums, counts, other joins, sorts | does not show |
//!
//! DuckDB's threads aggregate in any order, but one thread reads a table of one row group: there, what an aggregate sees of
//! the order is to be the same here. Groups, too, come in the order of their first rows then, and `mode` is an aggregate
//! over the groups of another.

use crate::place::Placer;
use crate::plan::{Aggregate, AggregateCall, JoinKind, Operator, PlanNode};
use crate::split::ROW_GROUP_ROWS;

/// Aggregates whose combined states are not quite what one state of all rows would be.
const APPROXIMATE: [&str; 3] = ["approx_quantile", "approx_top_k", "reservoir_quantile"];

impl Placer<'_> {
    /// For what is below `node`.
    pub fn see_order(&mut self, node: &PlanNode) {
        let grouped = matches!(node.operator, Operator::Aggregate | Operator::Distinct);
        let shows_groups = grouped && node.children.iter().all(|child| self.shows_groups(child));
        let hidden = hides_order(node);
        self.groups_show = shows_groups;
        if hidden == Some(true) && shows_groups {
            return;
        }
        self.in_any_order = hidden.unwrap_or(self.in_any_order);
        self.in_aggregated_order = match hidden {
            None => self.in_aggregated_order && !self.in_any_order,
            Some(_) => node.operator == Operator::Aggregate && sees_order(node.aggregate.as_ref()),
        };
    }

    /// Whether one thread of DuckDB's would give its rows, in the order of the table.
    pub fn is_in_order(&self, node: &PlanNode) -> bool {
        match (&node.operator, node.children.as_slice()) {
            (Operator::Scan, []) => node.scan.as_ref().is_some_and(|scan| scan.rows <= ROW_GROUP_ROWS),
            (Operator::CteScan, []) => {
                let is_it = |other: &&PlanNode| other.operator == Operator::Cte && other.cte == node.cte;
                let definition = self.plan().root.walk().into_iter().find(is_it).and_then(|cte| cte.children.first());
                definition.is_some_and(|definition| self.is_in_order(definition))
            }
            (Operator::Constants | Operator::Collected, _) => node.is_written_out(),
            (Operator::Filter | Operator::Projection | Operator::Unnest | Operator::Limit, [child])
            | (Operator::Aggregate | Operator::Distinct | Operator::Window, [child]) => self.is_in_order(child),
            (Operator::Union, children) => node.all && children.iter().all(|child| self.is_in_order(child)),
            (Operator::Join, [left, right]) if is_of_scalar(node) => {
                let single = node.join.as_ref().is_some_and(|join| join.kind == JoinKind::Single);
                let in_order = |side: &PlanNode| gives_one_row(side) || self.is_in_order(side);
                in_order(left) && (single || in_order(right))
            }
            _ => false,
        }
    }

    /// Whether somebody sees in which order the rows, or the groups, of the aggregate come.
    pub fn aggregates_in_order(&self, child: &PlanNode, aggregate: &Aggregate) -> bool {
        self.shows_groups(child) || (sees_order(Some(aggregate)) && self.is_in_order(child))
    }

    /// Whether neither the tasks' states nor their rows, put one after the other, give what DuckDB's one thread has of a
    /// small table's: approximations, and groups whose order an aggregate sees, if only that of another grouping set.
    pub fn is_by_one_thread(&self, child: &PlanNode, aggregate: &Aggregate) -> bool {
        let approximate = aggregate.calls.iter().any(|call| APPROXIMATE.contains(&call.name.as_str()));
        let of_groups = aggregate.grouping_sets && sees_order(Some(aggregate));
        (approximate || of_groups || self.groups_show) && self.is_in_order(child)
    }

    /// Whether an aggregate above sees in which order groups of the rows of `child` come.
    pub fn shows_groups(&self, child: &PlanNode) -> bool {
        self.in_aggregated_order && !self.in_any_order && self.is_in_order(child)
    }
}

fn sees_order(aggregate: Option<&Aggregate>) -> bool {
    aggregate.is_some_and(|aggregate| aggregate.calls.iter().any(AggregateCall::sees_order))
}

/// Whether the operator's rows are the same in whatever order those of its children come; `None` if they come in the same
/// order as those.
fn hides_order(node: &PlanNode) -> Option<bool> {
    match node.operator {
        Operator::Cte if node.grouping_sets => Some(true),
        Operator::Filter | Operator::Projection | Operator::Unnest | Operator::Cte => None,
        Operator::Union if node.all => None,
        Operator::Join if is_of_scalar(node) => None,
        Operator::Aggregate => Some(!sees_order(node.aggregate.as_ref())),
        Operator::Join | Operator::OrderBy | Operator::Union | Operator::SetOperation => Some(true),
        Operator::Distinct => Some(!node.distinct_on),
        // Ties, and windows without an order, are as the rows come.
        _ => Some(false),
    }
}

/// A join of each row with the one of a scalar subquery.
fn is_of_scalar(node: &PlanNode) -> bool {
    let kind = node.join.as_ref().map(|join| join.kind);
    kind == Some(JoinKind::Single) || node.children.iter().any(gives_one_row)
}

fn gives_one_row(node: &PlanNode) -> bool {
    match (&node.operator, node.children.as_slice()) {
        (Operator::Aggregate, _) => {
            node.aggregate.as_ref().is_some_and(|aggregate| aggregate.groups == 0 && !aggregate.grouping_sets)
        }
        (Operator::Projection | Operator::Filter, [child]) => gives_one_row(child),
        _ => false,
    }
}
