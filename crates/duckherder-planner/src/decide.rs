//! Whether a plan is distributed, where it is cut and how the parts are merged.
//!
//! ```text
//!   ORDER BY                         driver
//!   AGGREGATE    <- cut              partial states on the workers, combined on the driver
//!   PROJECTION   \
//!   FILTER        > the chain        workers, a split each
//!   SCAN         /
//! ```

use crate::plan::{Aggregate, Operator, Plan, PlanNode, Scan};
use crate::split::{Mode, WORTH_A_TASK, Workers, strategy};

/// What becomes of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The driver's DuckDB runs it as it is.
    Local {
        reason: String,
    },
    Distributed(Distribution),
}

/// A plan cut in two: a fragment that tasks run, and the rest, which the driver runs over their rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    pub cut: Cut,
    /// The operator at which the plan is cut.
    pub node: u64,
    pub mode: Mode,
    pub merge: MergeStrategy,
    /// Tasks to make; fewer if the table turns out to have fewer row groups.
    pub tasks: u64,
    /// Why more was not moved to the workers, if something was left on the driver.
    pub note: Option<String>,
}

/// How the operator at the cut is divided between the tasks and the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Tasks run it and all below.
    Subtree,
    /// Tasks run a copy (a limit without its offset), the driver runs it again over their rows.
    Copy,
    /// Tasks export the states of its aggregates, the driver combines and finalizes them.
    PartialAggregate,
}

/// How the rows of the tasks become the rows of the operator at the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeStrategy {
    /// One task: nothing to merge.
    None,
    Concatenate,
    Aggregate,
    GroupBy,
    Distinct,
    TopN,
}

impl MergeStrategy {
    /// As the statistics show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Concatenate => "CONCATENATE",
            Self::Aggregate => "AGGREGATE",
            Self::GroupBy => "GROUP_BY",
            Self::Distinct => "DISTINCT",
            Self::TopN => "TOP_N",
        }
    }
}

/// Decides for a cluster of `workers`.
pub fn decide(plan: &Plan, workers: Workers) -> Decision {
    match try_distribute(plan, workers) {
        Ok(distribution) => Decision::Distributed(distribution),
        Err(reason) => Decision::Local { reason },
    }
}

fn try_distribute(plan: &Plan, workers: Workers) -> Result<Distribution, String> {
    if workers.count() == 0 {
        return Err("there is no worker".into());
    }
    if plan.has_written {
        return Err("the transaction has written, and only the driver's connection sees that".into());
    }
    let (id, scan) = single_scan(&plan.root)?;
    if scan.rows < WORTH_A_TASK {
        return Err(format!("{} has fewer than {WORTH_A_TASK} rows", scan.name));
    }
    if scan.index_lookup {
        return Err(format!("an index of {} finds the rows", scan.name));
    }
    let (mode, tasks) = strategy(scan.rows, workers);
    if mode == Mode::Delegated {
        let node = plan.root.id;
        return Ok(Distribution { cut: Cut::Subtree, node, mode, merge: MergeStrategy::None, tasks, note: None });
    }
    let (cut, node, merge, note) = cut_above_scan(&plan.root.path_to(id));
    Ok(Distribution { cut, node, mode, merge, tasks, note })
}

/// The one scan of a plan that can be distributed.
fn single_scan(root: &PlanNode) -> Result<(u64, &Scan), String> {
    let nodes = root.walk();
    let mut scans = nodes.iter().filter_map(|node| node.scan.as_ref().map(|scan| (node.id, scan)));
    let Some((id, scan)) = scans.next() else {
        return Err("no table is read".into());
    };
    let several = scans.next().is_some();
    for node in &nodes {
        if let Operator::Other(name) = &node.operator {
            return Err(format!("{name} runs on the driver"));
        }
        if node.volatile {
            return Err("it has an expression that gives another value each time".into());
        }
    }
    if several {
        return Err("it reads more than one table".into());
    }
    if !scan.shared_table {
        return Err(format!("{} is not a table that workers can read", scan.name));
    }
    if scan.sampled {
        return Err("it takes a sample".into());
    }
    if scan.virtual_columns {
        return Err("it reads row ids".into());
    }
    Ok((id, scan))
}

/// Where to cut the operators from the root (first) to the scan (last).
fn cut_above_scan(path: &[&PlanNode]) -> (Cut, u64, MergeStrategy, Option<String>) {
    let chain = path
        .iter()
        .rev()
        .take_while(|node| matches!(node.operator, Operator::Scan | Operator::Filter | Operator::Projection))
        .count();
    let top = path[path.len() - chain];
    let concatenate = |note| (Cut::Subtree, top.id, MergeStrategy::Concatenate, note);
    let Some(above) = path.len().checked_sub(chain + 1).map(|index| path[index]) else {
        return concatenate(None);
    };
    match above.operator {
        Operator::Aggregate => match above.aggregate.as_ref().map(merge_of_aggregate) {
            Some(Ok(merge)) => (Cut::PartialAggregate, above.id, merge, None),
            Some(Err(note)) => concatenate(Some(note)),
            None => concatenate(None),
        },
        Operator::Distinct if !above.distinct_on => (Cut::Copy, above.id, MergeStrategy::Distinct, None),
        Operator::TopN | Operator::Limit if has_constant_limit(above) => {
            let merge = if above.operator == Operator::TopN { MergeStrategy::TopN } else { MergeStrategy::Concatenate };
            (Cut::Copy, above.id, merge, None)
        }
        _ => concatenate(None),
    }
}

fn has_constant_limit(node: &PlanNode) -> bool {
    node.limit.as_ref().is_some_and(|limit| limit.rows.is_some() && limit.offset.is_some())
}

/// How partial aggregates are merged, or why they can't be.
fn merge_of_aggregate(aggregate: &Aggregate) -> Result<MergeStrategy, String> {
    if aggregate.grouping_sets {
        return Err("grouping sets are aggregated on the driver".into());
    }
    for call in &aggregate.calls {
        if call.distinct {
            return Err(format!("{}(DISTINCT) is aggregated on the driver", call.name));
        }
        if !call.exportable {
            return Err(format!("{} has no state to export and is aggregated on the driver", call.name));
        }
    }
    Ok(match (aggregate.groups, aggregate.calls.is_empty()) {
        (0, _) => MergeStrategy::Aggregate,
        (_, true) => MergeStrategy::Distinct,
        (_, false) => MergeStrategy::GroupBy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: &str) -> Plan {
        serde_json::from_str(json).unwrap()
    }

    fn scan(rows: u64) -> String {
        format!(
            r#"{{"id":9,"operator":"GET","scan":{{"name":"t","shared_table":true,"rows":{rows},
            "virtual_columns":false,"sampled":false,"index_lookup":false}}}}"#
        )
    }

    /// `top` with `#` for the scan below it.
    fn over(top: &str, rows: u64) -> Plan {
        plan(&format!(r#"{{"has_written":false,"root":{}}}"#, top.replace('#', &scan(rows))))
    }

    fn distributed(top: &str, rows: u64) -> Distribution {
        match decide(&over(top, rows), Workers { local: 4, remote: 0 }) {
            Decision::Distributed(distribution) => distribution,
            Decision::Local { reason } => panic!("local: {reason}"),
        }
    }

    fn reason(plan: &Plan, workers: u64) -> String {
        match decide(plan, Workers { local: workers, remote: 0 }) {
            Decision::Local { reason } => reason,
            Decision::Distributed(distribution) => panic!("{distribution:?}"),
        }
    }

    const SUM: &str = r#"{"id":0,"operator":"PROJECTION","children":[{"id":1,"operator":"AGGREGATE","aggregate":
        {"groups":0,"grouping_sets":false,"calls":[{"name":"sum","distinct":false,"exportable":true}]},
        "children":[{"id":2,"operator":"FILTER","children":[#]}]}]}"#;

    #[test]
    fn an_aggregate_is_split_where_its_states_can_be_exported() {
        let split = distributed(SUM, 500_000);
        assert_eq!((split.cut, split.node, split.merge), (Cut::PartialAggregate, 1, MergeStrategy::Aggregate));
        assert_eq!((split.mode, split.tasks), (Mode::RowGroupPartition, 4));
        let grouped = distributed(&SUM.replace(r#""groups":0"#, r#""groups":2"#), 500_000);
        assert_eq!(grouped.merge, MergeStrategy::GroupBy);
    }

    #[test]
    fn other_aggregates_run_on_the_driver_over_the_filtered_rows() {
        for (from, to) in [
            (r#""exportable":true"#, r#""exportable":false"#),
            (r#""distinct":false"#, r#""distinct":true"#),
            (r#""grouping_sets":false"#, r#""grouping_sets":true"#),
        ] {
            let split = distributed(&SUM.replace(from, to), 500_000);
            assert_eq!((split.cut, split.node, split.merge), (Cut::Subtree, 2, MergeStrategy::Concatenate));
            assert!(split.note.is_some());
        }
    }

    #[test]
    fn groups_without_aggregates_are_distinct_rows() {
        let top = r#"{"id":0,"operator":"AGGREGATE","aggregate":{"groups":1,"grouping_sets":false,"calls":[]},
            "children":[#]}"#;
        assert_eq!(distributed(top, 500_000).merge, MergeStrategy::Distinct);
    }

    #[test]
    fn limits_are_copied_into_the_tasks() {
        let top = r#"{"id":0,"operator":"TOP_N","limit":{"rows":5,"offset":2},"children":[#]}"#;
        let split = distributed(top, 500_000);
        assert_eq!((split.cut, split.node, split.merge), (Cut::Copy, 0, MergeStrategy::TopN));
        let percent = r#"{"id":0,"operator":"LIMIT","limit":{"rows":null,"offset":0},"children":[#]}"#;
        assert_eq!((distributed(percent, 500_000).cut, distributed(percent, 500_000).node), (Cut::Subtree, 9));
        let sorted = r#"{"id":0,"operator":"ORDER_BY","children":[#]}"#;
        assert_eq!(distributed(sorted, 500_000).node, 9);
    }

    #[test]
    fn small_tables_are_delegated_whole() {
        let split = distributed(SUM, 10_000);
        assert_eq!((split.cut, split.node, split.mode, split.tasks), (Cut::Subtree, 0, Mode::Delegated, 1));
        assert_eq!(split.merge, MergeStrategy::None);
    }

    #[test]
    fn reasons_not_to_distribute() {
        assert_eq!(reason(&over("#", 500_000), 0), "there is no worker");
        let mut written = over("#", 500_000);
        written.has_written = true;
        assert!(reason(&written, 4).contains("has written"));
        let join = r#"{"id":0,"operator":"COMPARISON_JOIN","children":[#,#]}"#;
        assert_eq!(reason(&over(join, 10), 4), "it reads more than one table");
        let insert = r#"{"id":0,"operator":"INSERT","children":[#]}"#;
        assert_eq!(reason(&over(insert, 10), 4), "INSERT runs on the driver");
        let union = r#"{"id":0,"operator":"UNION","children":[#,#]}"#;
        assert_eq!(reason(&over(union, 10), 4), "it reads more than one table");
        let random = r#"{"id":0,"operator":"PROJECTION","volatile":true,"children":[#]}"#;
        assert!(reason(&over(random, 10), 4).contains("another value each time"));
        for flag in ["virtual_columns", "sampled", "index_lookup"] {
            let json = scan(500_000).replace(&format!("\"{flag}\":false"), &format!("\"{flag}\":true"));
            reason(&plan(&format!(r#"{{"has_written":false,"root":{json}}}"#)), 4);
        }
        let constant = r#"{"has_written":false,"root":{"id":0,"operator":"PROJECTION","children":[]}}"#;
        assert_eq!(reason(&plan(constant), 4), "no table is read");
    }
}
