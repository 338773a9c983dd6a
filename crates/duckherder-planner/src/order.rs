//! Where it shows in which order rows come.
//!
//! | above | that order |
//! |---|---|
//! | a limit, the result, `list`, `first` | shows |
//! | filters, projections, UNION ALL, a join with a scalar subquery | shows if it does above them |
//! | sums, counts, other joins, sorts | does not show |

use crate::plan::{Aggregate, AggregateCall, JoinKind, Operator, PlanNode};

fn sees_order(aggregate: Option<&Aggregate>) -> bool {
    aggregate.is_some_and(|aggregate| aggregate.calls.iter().any(AggregateCall::sees_order))
}

/// Whether the operator's rows are the same in whatever order those of its children come; `None` if they come in the same
/// order as those.
pub fn hides_order(node: &PlanNode) -> Option<bool> {
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
