//! How much work an operator is, in nanoseconds of a core.

use super::constants::*;
use crate::place::has_keys;
use crate::plan::{JoinKind, Operator, Plan, PlanNode, Scan};

/// The work of one operator, put down to whose rows cause it: what is done to rows that every task has, every task does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Work {
    /// By child.
    pub of_children: Vec<f64>,
    /// Reading, or giving rows.
    pub own: f64,
}

impl Work {
    pub fn total(&self) -> f64 {
        self.own + self.of_children.iter().sum::<f64>()
    }
}

/// What the operator itself does, without what is below.
pub fn work(node: &PlanNode) -> Work {
    let inputs: Vec<f64> = node.children.iter().map(rows).collect();
    let computed = node.operations as f64 * OPERATION + node.text_operations as f64 * TEXT_OPERATION;
    let mut of_children: Vec<f64> = inputs.iter().map(|input| input * computed).collect();
    let mut add = |cost: &dyn Fn(f64) -> f64| {
        of_children.iter_mut().zip(&inputs).for_each(|(sum, input)| *sum += cost(*input));
    };
    let own = match &node.operator {
        Operator::Scan => node.scan.as_ref().map_or(0.0, |scan| scanned(node, scan, computed)),
        Operator::Aggregate | Operator::Distinct | Operator::SetOperation => {
            if node.aggregate.as_ref().is_none_or(|aggregate| aggregate.groups > 0) {
                add(&|input| input * lookup(groups(node).min(input)));
            }
            0.0
        }
        Operator::Join => {
            if let [left, right] = inputs.as_slice() {
                let (probing, building) = join(node, *left, *right);
                of_children[0] += probing;
                of_children[1] += building;
            }
            given(node)
        }
        Operator::OrderBy => {
            add(&sorted);
            0.0
        }
        Operator::Window => {
            add(&|input| sorted(input) + input * WINDOW_ROW);
            given(node)
        }
        Operator::TopN => {
            add(&|input| input * CACHED_LOOKUP);
            0.0
        }
        Operator::Union if !node.all => {
            add(&|input| input * lookup(input));
            given(node)
        }
        Operator::Union | Operator::Unnest => given(node),
        Operator::Relational | Operator::RecursiveCte => {
            add(&|input| input * CACHED_LOOKUP);
            given(node)
        }
        _ => 0.0,
    };
    Work { of_children, own }
}

/// Rows that DuckDB expects.
pub fn rows(node: &PlanNode) -> f64 {
    node.estimated_rows.unwrap_or(0) as f64
}

/// Bytes of a row of the operator.
pub fn width(node: &PlanNode) -> f64 {
    node.row_bytes.map_or(BYTES_A_ROW, |bytes| bytes as f64)
}

/// Rows of an aggregate, from the distinct values of its groups where they are known.
pub fn groups(node: &PlanNode) -> f64 {
    let known = node.aggregate.as_ref().and_then(|aggregate| aggregate.distinct);
    known.map_or(rows(node), |distinct| (distinct as f64).min(rows(node)))
}

/// Rows that are read, whatever comes of them.
pub fn read_rows(node: &PlanNode, scan: &Scan) -> f64 {
    if scan.index_lookup { rows(node) } else { (scan.rows as f64).max(rows(node)) }
}

/// What a byte of the driver's tables takes before workers elsewhere can scan it: the driver, and each worker.
pub fn fetched_byte(plan: &Plan) -> (f64, f64) {
    if plan.stored { (0.0, STORED_BYTE) } else { (SENT_BYTE, RECEIVED_BYTE) }
}

/// Bytes of a table that workers elsewhere have to get before they can scan it, together, or each if each reads the
/// `whole` of it.
pub fn fetched_bytes(plan: &Plan, node: &PlanNode, scan: &Scan, whole: bool) -> f64 {
    let kept = match plan.stored {
        true => 0.0,
        false if whole => scan.cached_whole,
        false => scan.cached,
    };
    (scan.rows as f64).max(rows(node)) * read_width(scan) * (1.0 - kept)
}

/// Bytes of a table's row that are read.
pub fn read_width(scan: &Scan) -> f64 {
    scan.row_bytes.map_or(BYTES_A_ROW, |bytes| bytes as f64)
}

fn scanned(node: &PlanNode, scan: &Scan, computed: f64) -> f64 {
    let read = read_rows(node, scan);
    let bytes = match &scan.files {
        Some(files) if files.text => files.bytes.iter().sum::<u64>() as f64 * TEXT_BYTE,
        Some(_) => read * read_width(scan) * PARQUET_BYTE,
        None => read * read_width(scan) * SCANNED_BYTE,
    };
    bytes + read * computed
}

/// Of the left and of the right side, which DuckDB builds its table of.
fn join(node: &PlanNode, left: f64, right: f64) -> (f64, f64) {
    if node.join.as_ref().is_some_and(|join| join.asof) {
        return (sorted(left), sorted(right));
    }
    if !has_keys(node) {
        return (left * right * PAIR, right * CACHED_LOOKUP);
    }
    let found = found(node, left);
    (found * lookup(right) + (left - found) * FILTERED_ROW, right * BUILT_ROW)
}

/// The rows of the left side of a join that it has to look up: DuckDB filters them by what the right one has, where rows
/// without a partner are not wanted.
pub fn found(node: &PlanNode, left: f64) -> f64 {
    match node.join.as_ref().map(|join| join.kind) {
        Some(JoinKind::Inner | JoinKind::Semi | JoinKind::Right | JoinKind::RightSemi) => {
            node.estimated_rows.map_or(left, |found| left.min(found as f64))
        }
        _ => left,
    }
}

/// Finding a row's place in a hash table of so many entries.
pub fn lookup(entries: f64) -> f64 {
    if entries <= CACHED_ENTRIES { CACHED_LOOKUP } else { LOOKUP }
}

fn sorted(rows: f64) -> f64 {
    rows * rows.max(2.0).log2() * SORTED_ROW
}

/// Giving rows that are new.
fn given(node: &PlanNode) -> f64 {
    let kind = node.join.as_ref().map(|join| join.kind);
    match kind {
        Some(JoinKind::Semi | JoinKind::Anti | JoinKind::Mark | JoinKind::RightSemi | JoinKind::RightAnti) => 0.0,
        _ => rows(node) * width(node) * GIVEN_BYTE,
    }
}
