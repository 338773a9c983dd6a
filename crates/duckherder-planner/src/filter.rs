//! Runtime filters: a row of a shuffled join that no row of the other side can meet is not sent.
//!
//! ```text
//!   stage 0: SCAN small --hash of keys--> JOIN            its tasks also collect the hashes
//!               |                           ^
//!               '- Bloom filter of them -.  |
//!   stage 1: SCAN large, those in it ----+--'             its tasks begin when stage 0 has made all its rows
//! ```
//!
//! DuckDB's own equality decides, since the filter is one of the very hashes that divide the rows.
//!
//! Where a key is a column of the scan, its tasks read no rows beyond the least and the greatest of the keys: DuckDB then
//! leaves out whole row groups.

use crate::plan::{Column, JoinKind, Operator, Plan, PlanNode, ShuffleKey};
use crate::stage::{Exchange, KeyOfScan, RuntimeFilter, Stage};

/// Bits that a key is worth: about two of a hundred other keys then pass.
const BITS_A_KEY: u64 = 10;
/// Of a filter; each task of one stage makes one, each of the other reads one.
const LEAST_BITS: u64 = 1 << 14;
const MOST_BITS: u64 = 8 << 20;
/// A side is filtered that has so many times the rows of the other. Its tasks wait for the other's.
const LEAST_RATIO: u64 = 4;

impl JoinKind {
    /// Of the left and the right side: whether a row that meets none of the other side leaves no trace in the result.
    fn forgets_unmatched(self) -> [bool; 2] {
        let left = matches!(self, Self::Inner | Self::Right | Self::Semi | Self::RightSemi | Self::RightAnti);
        let right = matches!(self, Self::Inner | Self::Left | Self::Semi | Self::Anti | Self::Single | Self::RightSemi);
        [left, right]
    }
}

/// Gives stages their filters, where those seem to cost less than they save. A stage that reads what others shuffle is
/// not filtered: it would hold those up.
pub fn filter_by_keys(plan: &Plan, stages: &mut [Stage]) {
    let nodes = plan.root.walk();
    let scans: Vec<u64> = plan.root.preorder_scans().into_iter().map(|(node, _)| node).collect();
    let node = |id: u64| nodes.iter().find(|node| node.id == id);
    let join_of = |stage: &Stage| match stage.exchange {
        Exchange::Hash { consumer, side } => Some((*node(consumer)?, side as usize)),
        _ => None,
    };
    for number in 0..stages.len() {
        let Some((join, side)) = join_of(&stages[number]) else { continue };
        let is_other = |stage: &Stage| join_of(stage).is_some_and(|(same, other)| same.id == join.id && other != side);
        let Some(other) = stages[number].divided_by.or_else(|| stages.iter().position(is_other)) else { continue };
        let (Some(large), Some(small)) = (node(stages[number].node), node(stages[other].node)) else { continue };
        if stages[number].inputs.is_empty() && filters(join, side, large, small, plan.min_split_rows) {
            let bits = rows(small).saturating_mul(BITS_A_KEY).clamp(LEAST_BITS, MOST_BITS).next_power_of_two();
            let ranges = keys_of_scans(large, &hashed_keys(join, side, &stages[number]), &scans);
            stages[number].filter = Some(RuntimeFilter { stage: other, bits, ranges });
        }
    }
}

/// Gives stages whose rows meet others that are broadcast the ranges of those rows' keys, where the driver would send
/// their tasks more of its tables. (Of files, and of tables of its own process, DuckDB itself then reads no more.) All
/// that such a stage reads of others must be broadcast: it would hold those up.
pub fn narrow_by_broadcast(plan: &Plan, stages: &mut [Stage]) {
    let nodes = plan.root.walk();
    let tables = plan.root.preorder_scans();
    let scans: Vec<u64> = tables.iter().map(|(node, _)| *node).collect();
    for number in 0..stages.len() {
        let stage = &stages[number];
        let is_sent = |scan: usize| {
            let of_table = tables.get(scan).is_some_and(|(_, scan)| scan.files.is_none());
            of_table && stage.scans.iter().any(|read| read.scan == scan && !read.whole)
        };
        if stage.filter.is_some() || !stage.inputs.iter().all(|input| stages[*input].exchange == Exchange::Broadcast) {
            continue;
        }
        let found = stage.inputs.iter().find_map(|input| {
            let is_small = |child: &PlanNode| child.id == stages[*input].node;
            let join = nodes.iter().find(|node| node.join.is_some() && node.children.iter().any(is_small))?;
            let side = join.children.iter().position(is_small)?;
            let (small, large) = (&join.children[side], join.children.get(1 - side)?);
            let keys: Vec<&ShuffleKey> = join.keys.get(1 - side)?.iter().collect();
            let ranges = keys_of_scans(large, &keys, &scans).into_iter().filter(|key| is_sent(key.scan));
            let ranges: Vec<KeyOfScan> = ranges.collect();
            let pays = !ranges.is_empty() && filters(join, 1 - side, large, small, plan.min_split_rows);
            pays.then_some((RuntimeFilter { stage: *input, bits: 0, ranges }, (join.id, side as u64)))
        });
        if let Some((filter, keys)) = found {
            stages[filter.stage].told_keys = Some(keys);
            stages[number].filter = Some(filter);
        }
    }
}

/// The keys by which the stage's rows are hashed for the join, in that order.
fn hashed_keys<'a>(join: &'a PlanNode, side: usize, stage: &Stage) -> Vec<&'a ShuffleKey> {
    let all = join.keys.get(side).map_or(&[][..], Vec::as_slice);
    match stage.hash_keys.as_slice() {
        [] => all.iter().collect(),
        some => some.iter().filter_map(|number| all.get(*number as usize)).collect(),
    }
}

/// Those of the keys that are columns of scans below `node`, of which NULL meets none. `scans`: by their numbers.
fn keys_of_scans(node: &PlanNode, keys: &[&ShuffleKey], scans: &[u64]) -> Vec<KeyOfScan> {
    let of_scan = |(key, shuffled): (usize, &&ShuffleKey)| {
        let column = shuffled.column.as_ref().filter(|_| shuffled.null_meets_none)?;
        let (id, column) = column_of_scan(node, column)?;
        Some(KeyOfScan { key, scan: scans.iter().position(|scan| *scan == id)?, column })
    };
    keys.iter().enumerate().filter_map(of_scan).collect()
}

/// The scan, and its column, that the column of `node` is; if the rows that it has without some of the scan's are those
/// that it has with all of them, without the same.
fn column_of_scan(node: &PlanNode, column: &Column) -> Option<(u64, u64)> {
    match (&node.operator, node.children.as_slice()) {
        (Operator::Scan, _) => {
            let found = node.scan.as_ref()?.ranges.iter().find(|range| range.column == *column)?;
            Some((node.id, found.number))
        }
        (Operator::Filter, [child]) => column_of_scan(child, column),
        (Operator::Projection, [child]) => {
            let renamed = node.renames.iter().find(|rename| rename.now == *column && !rename.cast)?;
            column_of_scan(child, &renamed.was)
        }
        (Operator::Join, [left, right]) => {
            let join = node.join.as_ref();
            let [divides_left, divides_right] = join.map_or([true; 2], |join| join.kind.divisible());
            let nearest = join.is_some_and(|join| join.asof);
            let left = Some(left).filter(|_| divides_left).and_then(|left| column_of_scan(left, column));
            left.or_else(|| column_of_scan(right, column).filter(|_| divides_right && !nearest))
        }
        _ => None,
    }
}

/// Whether the keys of the `small` side are to filter the rows of the `large` one, which is `side` of the join.
pub fn filters(join: &PlanNode, side: usize, large: &PlanNode, small: &PlanNode, least: u64) -> bool {
    let may = join.join.as_ref().and_then(|join| join.kind.forgets_unmatched().get(side).copied()).unwrap_or(false);
    may && pays(join, rows(large), small, least)
}

/// Whether most rows of the large side are likely to be left out. What its rows become in the join says how many meet one
/// of the small side; but where that side is made of joins or groups, its rows are often far fewer than is estimated, and a
/// row that is looked up for nothing costs a tenth of one that is sent.
fn pays(join: &PlanNode, large: u64, small: &PlanNode, least: u64) -> bool {
    let few = rows(small);
    let fits = few.saturating_mul(BITS_A_KEY) <= MOST_BITS;
    fits && large >= least && large / LEAST_RATIO >= few && (rows(join) <= large / 2 || is_derived(small))
}

fn is_derived(node: &PlanNode) -> bool {
    let derives = |node: &&PlanNode| matches!(node.operator, Operator::Join | Operator::Aggregate | Operator::CteScan);
    node.walk().iter().any(derives)
}

fn rows(node: &PlanNode) -> u64 {
    node.estimated_rows.unwrap_or(0)
}
