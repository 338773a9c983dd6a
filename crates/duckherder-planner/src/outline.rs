//! What each stage does, in a line: for EXPLAIN.

use crate::plan::{Plan, PlanNode};
use crate::stage::{Cut, Distribution, Stage, cuts_at};

/// Operators that a line lists at most; those on top, which say what a stage is for.
const MOST_OPERATORS: usize = 8;

/// Of each stage of a plan that is explained: what it reads and its operators, in the order in which rows go through them.
pub fn outlines(plan: &Plan, distribution: &Distribution) -> Vec<String> {
    let stages = &distribution.stages;
    let scans = plan.root.preorder_scans().into_iter().map(|(node, _)| node).collect();
    let mut outline = Outline { stages, scans, operators: vec![Vec::new(); stages.len() + 1] };
    outline.collect(&plan.root, stages.len());
    stages.iter().zip(outline.operators).map(|(stage, operators)| line(stage, operators)).collect()
}

struct Outline<'a> {
    stages: &'a [Stage],
    /// The nodes that are scans, by their numbers.
    scans: Vec<u64>,
    /// Of each stage, then of the driver.
    operators: Vec<Vec<String>>,
}

impl Outline<'_> {
    /// The operators from here down, those below first; `owner` runs what is above.
    fn collect(&mut self, node: &PlanNode, owner: usize) {
        let cuts: Vec<usize> = cuts_at(self.stages, node).collect();
        let lowest = cuts.first().copied().unwrap_or(owner);
        node.children.iter().for_each(|child| self.collect(child, lowest));
        if node.label == "PROJECTION" {
            return;
        }
        let label = match self.stages.get(lowest) {
            Some(stage) if self.is_whole(stage, node) => format!("{} (all of it in each task)", node.label),
            Some(stage) if !cuts.is_empty() && stage.cut == Cut::PartialAggregate => format!("partial {}", node.label),
            _ => node.label.clone(),
        };
        self.operators[lowest].push(label);
        if self.stages.get(lowest).is_some_and(|stage| !cuts.is_empty() && matches!(stage.cut, Cut::Distinct { .. })) {
            self.operators[lowest].push("DISTINCT".to_string());
        }
        // Who reads a part of what it gives runs it once more.
        for (place, number) in cuts.iter().enumerate() {
            if matches!(self.stages[*number].cut, Cut::Copy | Cut::PartialAggregate) {
                self.operators[cuts.get(place + 1).copied().unwrap_or(owner)].push(node.label.clone());
            }
        }
    }

    fn is_whole(&self, stage: &Stage, node: &PlanNode) -> bool {
        stage.tasks > 1 && stage.scans.iter().any(|read| read.whole && self.scans.get(read.scan) == Some(&node.id))
    }
}

fn line(stage: &Stage, operators: Vec<String>) -> String {
    let left_out = operators.len().saturating_sub(MOST_OPERATORS);
    let mut parts = Vec::new();
    match stage.inputs.as_slice() {
        [] => {}
        [input] => parts.push(format!("rows of stage {input}")),
        inputs => {
            let numbers: Vec<String> = inputs.iter().map(usize::to_string).collect();
            parts.push(format!("rows of stages {}", numbers.join(" and ")));
        }
    }
    if left_out > 0 {
        parts.push(format!("{left_out} more"));
    }
    parts.extend(operators.into_iter().skip(left_out));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Decision, Workers, decide};

    fn lines(plan: &str) -> Vec<String> {
        let plan: Plan = serde_json::from_str(plan).unwrap();
        match decide(&plan, Workers { local: 0, remote: 4 }) {
            Decision::Distributed(distribution) => outlines(&plan, &distribution),
            Decision::Local { reason, .. } => panic!("{reason}"),
        }
    }

    fn scan(id: u64, name: &str, rows: u64) -> String {
        format!(
            r#"{{"id":{id},"operator":"GET","estimated_rows":{rows},"label":"SCAN {name}","scan":{{"name":"{name}",
            "shared_table":true,"rows":{rows},"virtual_columns":false,"sampled":false,"index_lookup":false}}}}"#
        )
    }

    const TOP: &str = r#""has_written":false,"explained":true,"distribution":"always""#;

    fn joined(right_rows: u64) -> Vec<String> {
        lines(&format!(
            r#"{{{TOP},"root":{{"id":0,"operator":"ORDER_BY","label":"ORDER BY a","estimated_rows":9,"children":[{{"id":1,
            "operator":"COMPARISON_JOIN","label":"JOIN INNER ON a = b","keys":[[{{"text":"a"}}],[{{"text":"b"}}]],
            "estimated_rows":9,"join":{{"type":"INNER"}},"children":[{},{{"id":3,"operator":"PROJECTION",
            "label":"PROJECTION","estimated_rows":{right_rows},"children":[{{"id":4,"operator":"FILTER","label":"FILTER x",
            "estimated_rows":{right_rows},"children":[{}]}}]}}]}}]}}}}"#,
            scan(2, "l", 9_000_000),
            scan(5, "r", right_rows)
        ))
    }

    #[test]
    fn what_is_joined_comes_before_the_join() {
        let join = "JOIN INNER ON a = b, ORDER BY a";
        assert_eq!(joined(9_000_000), ["SCAN l", "SCAN r, FILTER x", &format!("rows of stages 0 and 1, {join}")]);
        assert_eq!(joined(10), [format!("SCAN l, SCAN r (all of it in each task), FILTER x, {join}")]);
    }

    #[test]
    fn an_aggregate_is_partial_where_its_states_are_made() {
        let plan = format!(
            r#"{{{TOP},"root":{{"id":0,"operator":"AGGREGATE","label":"AGGREGATE sum(v) BY g","keys":[[{{"text":"g"}}]],
            "estimated_rows":5000000,"aggregate":{{"groups":1,"grouping_sets":false,
            "calls":[{{"name":"sum","distinct":false,"exportable":true}}]}},"children":[{}]}}}}"#,
            scan(1, "t", 9_000_000)
        );
        assert_eq!(lines(&plan), ["SCAN t, partial AGGREGATE sum(v) BY g", "rows of stage 0, AGGREGATE sum(v) BY g"]);
    }
}
