//! Whether a plan is distributed at all; where it is cut is [`crate::place`]'s part.

use crate::place::Placer;
use crate::plan::{Distributed, Files, Operator, Plan, PlanNode, Scan};
use crate::split::{Mode, WORTH_A_TASK, Workers, strategy_of};
use crate::stage::Decision;

/// Decides for a cluster of `workers`.
pub fn decide(plan: &Plan, workers: Workers) -> Decision {
    if let Err(reason) = may_distribute(plan, workers) {
        return Decision::Local { reason };
    }
    let distribution = Placer::new(plan, workers).place_all();
    match distribution.stages.is_empty() {
        true => Decision::Local { reason: distribution.notes.into_iter().next().unwrap_or_else(nothing_to_move) },
        false => Decision::Distributed(distribution),
    }
}

fn nothing_to_move() -> String {
    "no table is read".into()
}

fn may_distribute(plan: &Plan, workers: Workers) -> Result<(), String> {
    if plan.distribution == Distributed::Never {
        return Err("duckherder_distribution is 'never'".into());
    }
    if workers.count() == 0 {
        return Err("there is no worker".into());
    }
    if plan.has_written {
        return Err("the transaction has written, and only the driver's connection sees that".into());
    }
    let nodes = plan.root.walk();
    let always = plan.distribution == Distributed::Always;
    for node in &nodes {
        match &node.operator {
            // What is inserted comes out of the driver's own tables: it need not leave it.
            Operator::Write(_) if always => {}
            Operator::Write(name) | Operator::Other(name) => return Err(format!("{name} runs on the driver")),
            _ => {}
        }
    }
    match plan.distribution {
        Distributed::Auto => is_worth_it(plan, &nodes, workers),
        _ => Ok(()),
    }
}

/// Whether distributing costs less than it saves.
fn is_worth_it(plan: &Plan, nodes: &[&PlanNode], workers: Workers) -> Result<(), String> {
    let scans: Vec<&Scan> = nodes.iter().filter_map(|node| node.scan.as_ref()).collect();
    let Some(scan) = scans.first() else {
        return Err(nothing_to_move());
    };
    if nodes.iter().any(|node| node.volatile) {
        return Err("it has an expression that gives another value each time".into());
    }
    if scans.len() > 1 {
        return Err("it reads more than one table, all of which the driver has".into());
    }
    readable(scan)?;
    if let Some(files) = &scan.files {
        return are_worth_it(scan, files, plan.min_split_rows, workers);
    }
    if scan.rows < WORTH_A_TASK {
        return Err(format!("{} has fewer than {WORTH_A_TASK} rows", scan.name));
    }
    if scan.index_lookup {
        return Err(format!("an index of {} finds the rows", scan.name));
    }
    Ok(())
}

/// Whether dividing files costs less than it saves.
fn are_worth_it(scan: &Scan, files: &Files, min_split_rows: u64, workers: Workers) -> Result<(), String> {
    // One task would do what the driver does itself.
    if strategy_of(scan, min_split_rows, workers).0 == Mode::Delegated {
        return Err(format!("the files of {} are too few or too small to be divided", scan.name));
    }
    if files.text && workers.remote > 0 && files.bytes.iter().sum::<u64>() < TEXT_WORTH_TASKS_BYTES {
        return Err(format!(
            "the files of {} are too small for each worker to find out how they are written",
            scan.name
        ));
    }
    Ok(())
}

/// Text below which finding out its dialect and types, which workers in other processes do once a task, costs more than
/// dividing it saves: 30 ms a file for up to ten files, when a core reads some 100 MB a second (measured).
const TEXT_WORTH_TASKS_BYTES: u64 = 128 << 20;

/// Whether workers can read what the scan reads, in splits.
pub fn readable(scan: &Scan) -> Result<(), String> {
    if !scan.kept.is_empty() {
        return Err(scan.kept.clone());
    }
    if !scan.shared_table && scan.files.is_none() {
        return Err(format!("{} is not a table that workers can read", scan.name));
    }
    if scan.sampled {
        return Err("it takes a sample".into());
    }
    if scan.virtual_columns {
        return Err("it reads row ids".into());
    }
    Ok(())
}
