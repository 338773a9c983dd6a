//! Joins of a CTE with itself that need no row to move: its rows are divided by the key of the join.
//!
//! ```text
//!   JOIN ON x.id = y.id              one stage: each task has all rows of its ids, and keeps them for both
//!   CTE_SCAN x    CTE_SCAN y
//!      '--- forward ---'
//!   AGGREGATE BY id, name            its rows are shuffled by the hash of the id alone
//! ```

use std::collections::BTreeSet;

use crate::early::Asked;
use crate::partition::Partitioning;
use crate::place::Placer;
use crate::plan::{Column, Operator, PlanNode};

impl Placer<'_> {
    /// What is asked of the aggregates that give a CTE's rows: that these be divided by the columns by which `reader`
    /// joins them with each other.
    pub fn asked_by_reader(&self, cte: &PlanNode, definition: &PlanNode, reader: &PlanNode) -> Vec<Asked> {
        let Some(number) = cte.cte else { return Vec::new() };
        let joins = reader.walk().into_iter().filter(|node| node.join.is_some());
        let mut joins = joins.map(|join| joined_columns(join, number)).filter(|columns| !columns.is_empty());
        let Some(first) = joins.next() else { return Vec::new() };
        // By what all are joined, if there is such.
        let columns = joins.fold(first, |common, other| {
            let both: BTreeSet<usize> = common.intersection(&other).copied().collect();
            if both.is_empty() { common } else { both }
        });
        let named = columns.into_iter().map(|place| cte.columns.get(place).cloned()).collect::<Option<Vec<_>>>();
        named.and_then(|columns| self.asked_below(definition, columns)).unwrap_or_default()
    }

    /// Whether both sides of the join are likely to be where their partners are: they are read from CTEs that are divided
    /// by its keys.
    pub fn is_divided(&self, join: &PlanNode, sides: [&PlanNode; 2]) -> bool {
        let numbers = |side: usize| self.divided_below(sides[side])?.serves_join(join.keys.get(side)?);
        numbers(0).is_some_and(|left| numbers(1) == Some(left))
    }

    /// By what the rows of CTEs that come to `node` are divided there.
    fn divided_below(&self, node: &PlanNode) -> Option<Partitioning> {
        match (&node.operator, node.children.as_slice()) {
            _ if self.stays(node) => None,
            (Operator::CteScan, _) => self.partitioning_of_cte(node),
            (Operator::Filter, [child]) => self.divided_below(child),
            (Operator::Projection, [child]) => self.divided_below(child)?.above(node),
            (Operator::Join, [left, right]) => {
                let mut divided = self.divided_below(left)?;
                let numbers = divided.serves_join(node.keys.first()?)?;
                let same = self.divided_below(right)?.serves_join(node.keys.get(1)?)?;
                divided.join(node, &numbers, [&[], &[]]);
                (numbers == same).then_some(divided)
            }
            _ => None,
        }
    }
}

/// The columns of a CTE, by their places, each of which a join compares with itself.
fn joined_columns(join: &PlanNode, cte: u64) -> BTreeSet<usize> {
    let ([left, right], [of_left, of_right]) = (join.children.as_slice(), join.keys.as_slice()) else {
        return BTreeSet::new();
    };
    let same = |(one, other): (&Option<Column>, &Option<Column>)| {
        let place = place_in_cte(left, one.as_ref()?, cte)?;
        (place_in_cte(right, other.as_ref()?, cte)? == place).then_some(place)
    };
    let columns = of_left.iter().map(|key| &key.column).zip(of_right.iter().map(|key| &key.column));
    columns.filter_map(same).collect()
}

/// Which of the CTE's columns a column of `node` is.
fn place_in_cte(node: &PlanNode, column: &Column, cte: u64) -> Option<usize> {
    match (&node.operator, node.children.as_slice()) {
        (Operator::CteScan, _) if node.cte == Some(cte) => node.columns.iter().position(|own| own == column),
        (Operator::Filter, [child]) => place_in_cte(child, column, cte),
        (Operator::Projection, [child]) => {
            let same = node.renames.iter().find(|rename| rename.now == *column && !rename.cast)?;
            place_in_cte(child, &same.was, cte)
        }
        (Operator::Join, children) => children.iter().find_map(|child| place_in_cte(child, column, cte)),
        _ => None,
    }
}
