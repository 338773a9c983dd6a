//! What a plan costs on the driver alone.

use super::constants::ROWS_A_THREAD;
use super::work::{read_rows, work};
use crate::plan::PlanNode;

/// Nanoseconds that the driver's DuckDB takes for the plan from here down, with so many threads.
pub fn here(node: &PlanNode, threads: u64) -> f64 {
    visit(node, threads).0
}

/// Also the rows that its largest source has: a small one keeps one thread busy, whatever is above it.
fn visit(node: &PlanNode, threads: u64) -> (f64, f64) {
    let mut elapsed = 0.0;
    let mut source = node.scan.as_ref().map_or(0.0, |scan| read_rows(node, scan));
    for child in &node.children {
        let (below, rows) = visit(child, threads);
        elapsed += below;
        source = source.max(rows);
    }
    (elapsed + work(node).total() / parallel(source, threads), source)
}

/// Threads that so many rows keep busy.
pub fn parallel(rows: f64, threads: u64) -> f64 {
    (rows / ROWS_A_THREAD).ceil().clamp(1.0, threads.max(1) as f64)
}
