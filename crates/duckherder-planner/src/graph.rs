//! A distribution as a graph: tables, stages and the driver, and the exchanges between them.

use crate::plan::{Operator, Plan, PlanNode, Scan};
use crate::split::{Mode, Workers};
use crate::stage::{Cut, Distribution, Exchange, MergeStrategy, ScanUse, Stage, cuts_at};

/// Operators that a node lists at most.
const MOST_OPERATORS: usize = 12;

/// What is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Unique in the graph: a letter and a number.
    pub name: String,
    pub kind: NodeKind,
    pub lines: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// What a stage scans.
    Table,
    Stage,
    /// Where what no worker runs is run.
    Driver,
}

/// Rows on their way between two nodes, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    pub from: String,
    pub to: String,
    pub text: String,
}

const DRIVER: &str = "driver";

impl Graph {
    /// A statement that is not distributed, and why.
    pub fn local(reason: &str) -> Self {
        let lines = vec!["Driver".to_string(), Mode::Local.name().to_string(), reason.to_string()];
        Self { nodes: vec![Node { name: DRIVER.to_string(), kind: NodeKind::Driver, lines }], edges: Vec::new() }
    }

    /// A plan that was cut, and whom its tasks may go to.
    pub fn distributed(plan: &Plan, distribution: &Distribution, workers: Workers) -> Self {
        let mut drawing = Drawing {
            nodes: plan.root.walk(),
            stages: &distribution.stages,
            operators: vec![Vec::new(); distribution.stages.len() + 1],
            graph: Self::default(),
            scan: 0,
        };
        drawing.visit(&plan.root, distribution.stages.len());
        drawing.finish(distribution, workers)
    }
}

struct Drawing<'a> {
    nodes: Vec<&'a PlanNode>,
    stages: &'a [Stage],
    /// Of each stage, then of the driver; those on top first.
    operators: Vec<Vec<String>>,
    graph: Graph,
    /// The number of the next scan.
    scan: usize,
}

impl Drawing<'_> {
    fn name(&self, owner: usize) -> String {
        if owner == self.stages.len() { DRIVER.to_string() } else { format!("stage{owner}") }
    }

    /// The operators from here down; `owner` runs what is above.
    fn visit(&mut self, node: &PlanNode, owner: usize) {
        let mut runs = owner;
        // Where an aggregate is cut twice, below it and in the middle, the stage above reads the one below.
        for number in cuts_at(self.stages, node).rev() {
            let stage = &self.stages[number];
            if stage.cut == Cut::Copy || stage.cut == Cut::PartialAggregate {
                self.operators[runs].push(node.label.clone());
            }
            for (reading, reader) in self.readers(number, runs) {
                let (from, to) = (self.name(number), self.name(reading));
                self.graph.edges.push(Edge { from, to, text: self.exchange(node, stage, reader) });
            }
            if matches!(stage.cut, Cut::Distinct { .. }) {
                self.operators[number].push("DISTINCT".to_string());
            }
            runs = number;
        }
        self.put(node, runs);
    }

    /// Who reads the stage's rows, and in how many tasks: `owner`, or all that read a CTE.
    fn readers(&self, number: usize, owner: usize) -> Vec<(usize, u64)> {
        let readers = self.stages.iter().enumerate().filter(|(_, stage)| stage.inputs.contains(&number));
        let readers: Vec<(usize, u64)> = readers.map(|(reader, stage)| (reader, stage.tasks)).collect();
        match (readers.first(), self.stages[number].exchange) {
            (Some(_), Exchange::Forward { .. }) => readers,
            (first, _) => vec![(owner, first.map_or(1, |(_, tasks)| *tasks))],
        }
    }

    fn put(&mut self, node: &PlanNode, owner: usize) {
        let consumer = self.stages.get(owner).map(|stage| &stage.scans);
        if let (Some(scan), Some(uses)) = (&node.scan, consumer) {
            let number = self.scan;
            let read = uses.iter().find(|read| read.scan == number).copied();
            self.table(number, scan, read, owner);
        }
        if node.scan.is_some() {
            self.scan += 1;
        }
        if node.label != "PROJECTION" {
            self.operators[owner].push(node.label.clone());
        }
        node.children.iter().for_each(|child| self.visit(child, owner));
    }

    fn table(&mut self, number: usize, scan: &Scan, read: Option<ScanUse>, owner: usize) {
        let name = format!("table{number}");
        let text = match read {
            Some(ScanUse { whole: false, .. }) => format!("split: {}", self.stages[owner].mode.name()),
            _ => "whole: each task reads all of it".to_string(),
        };
        let mut lines = vec![scan.name.clone()];
        if scan.rows > 0 {
            lines.push(count(scan.rows, "row"));
        }
        self.graph.nodes.push(Node { name: name.clone(), kind: NodeKind::Table, lines });
        let to = self.name(owner);
        self.graph.edges.push(Edge { from: name, to, text });
    }

    /// How the rows of a stage move to its reader, which has so many tasks.
    fn exchange(&self, node: &PlanNode, stage: &Stage, reader: u64) -> String {
        let kind = match stage.exchange {
            Exchange::Gather if stage.merge == MergeStrategy::SortMerge => "sorted merge".to_string(),
            Exchange::Gather => "gather".to_string(),
            Exchange::Broadcast => format!("broadcast to {}", count(reader, "task")),
            Exchange::Forward { .. } => "forward, task by task".to_string(),
            Exchange::Hash { consumer, side } => {
                let consumer = self.nodes.iter().find(|node| node.id == consumer);
                let all = consumer.and_then(|consumer| consumer.keys.get(side as usize)).map_or(&[][..], Vec::as_slice);
                let keys = match stage.hash_keys.as_slice() {
                    [] => all.iter().map(|key| key.text.as_str()).collect(),
                    chosen => {
                        chosen.iter().filter_map(|key| all.get(*key as usize)).map(|key| key.text.as_str()).collect()
                    }
                };
                let whole_row =
                    consumer.is_some_and(|c| matches!(c.operator, Operator::Union | Operator::SetOperation));
                let keys = if whole_row { " by the whole row".to_string() } else { shortened(keys) };
                format!("hash shuffle{keys} to {}", count(reader, "task"))
            }
        };
        match node.estimated_rows {
            Some(rows) => format!("{kind}, about {}", count(rows, "row")),
            None => kind,
        }
    }

    fn finish(mut self, distribution: &Distribution, workers: Workers) -> Graph {
        let driver_operators = self.operators.pop().unwrap_or_default();
        let single = distribution.stages.iter().all(|stage| stage.tasks == 1);
        for (number, operators) in self.operators.iter().enumerate() {
            let stage = &self.stages[number];
            let reader = self.stages.iter().find(|other| other.inputs.contains(&number));
            let partitions = reader.map_or(1, |reader| reader.tasks);
            let mut lines = vec![format!("Stage {number}")];
            lines.extend(in_short(operators));
            lines.push(format!("up to {} x {}", count(stage.tasks, "task"), count(partitions, "partition")));
            lines.push(stage.mode.name().to_string());
            lines.push(place(workers, single));
            self.graph.nodes.push(Node { name: format!("stage{number}"), kind: NodeKind::Stage, lines });
        }
        let mut lines = vec!["Driver".to_string()];
        lines.extend(in_short(&driver_operators));
        for merge in distribution.gathered().map(Stage::on_driver) {
            if !lines.contains(&merge) {
                lines.push(merge);
            }
        }
        lines.extend(distribution.notes.iter().map(|note| format!("Note: {note}")));
        self.graph.nodes.push(Node { name: DRIVER.to_string(), kind: NodeKind::Driver, lines });
        self.graph
    }
}

fn in_short(operators: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = operators.iter().take(MOST_OPERATORS).cloned().collect();
    if operators.len() > MOST_OPERATORS {
        lines.push(format!("and {} more", operators.len() - MOST_OPERATORS));
    }
    lines
}

/// Of so many bytes at most.
const MOST_KEY_BYTES: usize = 80;

fn shortened(keys: Vec<&str>) -> String {
    let keys = keys.join(", ");
    match keys.char_indices().map(|(start, _)| start).find(|start| *start >= MOST_KEY_BYTES) {
        _ if keys.is_empty() => String::new(),
        Some(end) => format!(" by {} ...", &keys[..end]),
        None => format!(" by {keys}"),
    }
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Tasks of a query that has one a stage stay where the tables are.
fn place(workers: Workers, single: bool) -> String {
    let here = format!("{} in the driver's process", count(workers.local, "worker"));
    match (workers.local, workers.remote) {
        (0, remote) => format!("on {} in other processes", count(remote, "worker")),
        (_, 0) => format!("on {here}"),
        (_, _) if single => format!("on {here}"),
        (_, remote) => format!("on {here}, {remote} in others"),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Decision, Graph, Plan, Workers, decide};

    fn drawn(plan: &str, workers: Workers) -> String {
        let plan: Plan = serde_json::from_str(plan).unwrap();
        match decide(&plan, workers) {
            Decision::Local { reason, .. } => Graph::local(&reason).mermaid(),
            Decision::Distributed(distribution) => Graph::distributed(&plan, &distribution, workers).mermaid(),
        }
    }

    fn scan(id: u64, name: &str, rows: u64) -> String {
        format!(
            r#"{{"id":{id},"operator":"GET","estimated_rows":{rows},"label":"SCAN {name}","scan":{{"name":"{name}",
            "shared_table":true,"rows":{rows},"virtual_columns":false,"sampled":false,
            "index_lookup":false}}}}"#
        )
    }

    fn join(left: &str, right: &str) -> String {
        format!(
            r#"{{"has_written":false,"explained":true,"distribution":"always","root":{{"id":0,"operator":"COMPARISON_JOIN",
            "label":"JOIN INNER ON a = b","keys":[[{{"text":"a"}}],[{{"text":"b"}}]],"estimated_rows":9,
            "join":{{"type":"INNER"}},"children":[{left},{right}]}}}}"#
        )
    }

    #[test]
    fn states_are_gathered() {
        let plan = format!(
            r#"{{"has_written":false,"explained":true,"root":{{"id":0,"operator":"ORDER_BY","label":"ORDER BY g",
            "children":[{{"id":1,"operator":"AGGREGATE","label":"AGGREGATE sum(v) BY g","estimated_rows":1,"keys":[[{{"text":"g"}}]],
            "aggregate":{{"groups":1,"grouping_sets":false,"calls":[{{"name":"sum","distinct":false,"exportable":true}}]}},
            "children":[{}]}}]}}}}"#,
            scan(2, "big", 1_000_000)
        );
        assert_eq!(
            drawn(&plan, Workers { local: 2, remote: 0 }),
            r#"flowchart BT
    table0[("big<br/>1000000 rows")]
    stage0["Stage 0<br/>AGGREGATE sum(v) BY g<br/>SCAN big<br/>up to 2 tasks x 1 partition<br/>ROW_GROUP_PARTITION<br/>on 2 workers in the driver's process"]
    driver(["Driver<br/>ORDER BY g<br/>AGGREGATE sum(v) BY g<br/>combines and finalizes the states (GROUP_BY)"])
    stage0 -->|"gather, about 1 row"| driver
    table0 -->|"split: ROW_GROUP_PARTITION"| stage0
"#
        );
    }

    #[test]
    fn rows_are_shuffled_by_keys() {
        let plan = join(&scan(1, "l", 9_000_000), &scan(2, "r", 9_000_000));
        let text = drawn(&plan, Workers { local: 0, remote: 4 });
        for line in [
            r#"stage0 -->|"hash shuffle by a to 4 tasks, about 9000000 rows"| stage2"#,
            r#"stage1 -->|"hash shuffle by b to 4 tasks, about 9000000 rows"| stage2"#,
            r#"stage2 -->|"gather, about 9 rows"| driver"#,
            r#"table1 -->|"split: ROW_GROUP_PARTITION"| stage1"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn a_small_side_is_whole() {
        let plan = join(&scan(1, "l", 3_000_000), &scan(2, "r", 10));
        let text = drawn(&plan, Workers { local: 2, remote: 0 });
        assert!(text.contains(r#"table1 -->|"whole: each task reads all of it"| stage0"#), "{text}");
        assert!(text.contains(r#"table0 -->|"split: ROW_GROUP_PARTITION"| stage0"#), "{text}");
    }

    #[test]
    fn few_rows_out_of_many_are_broadcast() {
        let few = format!(
            r#"{{"id":2,"operator":"FILTER","label":"FILTER r","estimated_rows":10,"children":[{}]}}"#,
            scan(3, "r", 1_000_000)
        );
        let plan = join(&scan(1, "l", 3_000_000), &few);
        let text = drawn(&plan, Workers { local: 0, remote: 2 });
        assert!(text.contains(r#"stage0 -->|"broadcast to 2 tasks, about 10 rows"| stage1"#), "{text}");
    }

    #[test]
    fn what_is_not_distributed_has_one_node() {
        let plan = format!(r#"{{"has_written":true,"root":{}}}"#, scan(0, "t", 1_000_000));
        let text = drawn(&plan, Workers { local: 2, remote: 0 });
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("the transaction has written"), "{text}");
    }
}
