//! Whether the rows of each stage come to who asks for them: the last look at a plan that was cut.
//!
//! ```text
//!   JOIN                   driver
//!   CTE_SCAN   VALUES      a stage reads the one scan, the driver the other,
//!              CTE_SCAN    to which the rows of the CTE never come
//! ```
//!
//! Whoever places an operator sees to that. Where one does not, the query stays on the driver instead of failing there.

use std::collections::HashMap;

use crate::plan::{Operator, PlanNode};
use crate::stage::{Exchange, Stage, cuts_at};

/// Why the stages can't be run, if a stage's rows go to others than those that read them.
pub fn misled(root: &PlanNode, stages: &[Stage]) -> Option<String> {
    let mut readers = Readers { stages, of_stage: HashMap::new(), of_scans: Vec::new() };
    readers.look(root, None);
    let by_stage = |reader: Option<usize>, number: usize| {
        reader.and_then(|reader| stages.get(reader)).is_some_and(|reader| reader.inputs.contains(&number))
    };
    let arrives = |number: usize, stage: &Stage| match stage.exchange {
        Exchange::Gather => readers.of_stage.get(&number).is_none_or(Option::is_none),
        Exchange::Hash { .. } | Exchange::Broadcast => {
            readers.of_stage.get(&number).is_some_and(|reader| by_stage(*reader, number))
        }
        Exchange::Forward { cte } => {
            let scans = readers.of_scans.iter().filter(|(of, _)| *of == cte);
            scans.map(|(_, reader)| *reader).all(|reader| by_stage(reader, number))
        }
    };
    let wrong = stages.iter().enumerate().find(|(number, stage)| !arrives(*number, stage))?;
    Some(format!("the rows of stage {} would not come to all that read them", wrong.0))
}

struct Readers<'a> {
    stages: &'a [Stage],
    /// By stage: the one that runs what is above; `None`: the driver does.
    of_stage: HashMap<usize, Option<usize>>,
    /// The same for each scan of a CTE, by the CTE's operator.
    of_scans: Vec<(u64, Option<usize>)>,
}

impl Readers<'_> {
    /// `above`: the stage that runs what reads the rows of `node`.
    fn look(&mut self, node: &PlanNode, above: Option<usize>) {
        let mut above = above;
        let cuts: Vec<usize> = cuts_at(self.stages, node).collect();
        for number in cuts.into_iter().rev() {
            self.of_stage.insert(number, above);
            above = Some(number);
        }
        if let (Operator::Cte, [_, reader], Some(cte)) = (&node.operator, node.children.as_slice(), node.cte) {
            self.scans_of(cte, node.id, reader, above);
        }
        node.children.iter().for_each(|child| self.look(child, above));
    }

    fn scans_of(&mut self, cte: u64, operator: u64, node: &PlanNode, above: Option<usize>) {
        // The first of those that are cut here runs it.
        let runs = cuts_at(self.stages, node).next().or(above);
        if node.operator == Operator::CteScan && node.cte == Some(cte) {
            self.of_scans.push((operator, runs));
        }
        node.children.iter().for_each(|child| self.scans_of(cte, operator, child, runs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::split::Workers;
    use crate::{Decision, decide};

    /// A CTE that a sum and, if it is the stages' to say so, a join reads.
    #[test]
    fn a_stage_whose_reader_does_not_know_of_it_is_found() {
        let scan = |id: u64| {
            format!(r#"{{"id":{id},"operator":"CTE_SCAN","cte":7,"columns":["s"],"estimated_rows":9000000}}"#)
        };
        let table = r#"{"id":1,"operator":"GET","estimated_rows":9000000,"scan":{"name":"t","shared_table":true,
            "rows":9000000,"virtual_columns":false,"sampled":false,"index_lookup":false}}"#;
        let calls = r#"[{"name":"sum","distinct":false,"exportable":true}]"#;
        let sum = format!(
            r#"{{"id":2,"operator":"AGGREGATE","aggregate":{{"groups":0,"grouping_sets":false,"calls":{calls}}},"children":[
            {{"id":3,"operator":"COMPARISON_JOIN","join":{{"type":"INNER"}},"keys":[[{{"column":"l"}}],[{{"column":"r"}}]],
            "children":[{},{}]}}]}}"#,
            scan(4),
            scan(5)
        );
        let root = format!(r#"{{"id":0,"operator":"CTE","cte":7,"columns":["d"],"children":[{table},{sum}]}}"#);
        let text = format!(r#"{{"has_written":false,"distribution":"always","root":{root}}}"#);
        let plan: Plan = serde_json::from_str(&text).unwrap();
        let Decision::Distributed(found) = decide(&plan, Workers { local: 0, remote: 4 }) else { panic!() };
        assert!(found.stages.iter().any(|stage| matches!(stage.exchange, Exchange::Forward { .. })), "{found:?}");
        assert_eq!(misled(&plan.root, &found.stages), None);
        for (number, stage) in found.stages.iter().enumerate() {
            for input in 0..stage.inputs.len() {
                let mut stages = found.stages.clone();
                stages[number].inputs.remove(input);
                assert!(misled(&plan.root, &stages).is_some(), "stage {number} without an input");
            }
            let mut stages = found.stages.clone();
            stages[number].exchange = match stage.exchange {
                Exchange::Gather => Exchange::Broadcast,
                _ => Exchange::Gather,
            };
            assert!(number == 0 || misled(&plan.root, &stages).is_some(), "stage {number} to another place");
        }
    }
}
