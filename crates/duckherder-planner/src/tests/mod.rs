//! Decisions about plans as the engine describes them.

use crate::place::Placer;
use crate::plan::{Column, RangeColumn};
use crate::{Cut, Decision, Distribution, Exchange, Files, KeyOfScan, MergeStrategy, Mode, Plan, Workers, decide};

mod aggregates;
mod files;
mod filters;
mod joins;
mod operators;
mod partition;
mod ranges;
mod shared;
mod writes;

/// `[name rows]` stands for a scan, `(OPERATOR fields child ...)` for another operator; ids follow the order.
fn plan(text: &str, top: &str) -> Plan {
    let mut id = 0;
    let (root, rest) = node(text.trim(), &mut id);
    assert!(rest.trim().is_empty(), "{rest}");
    serde_json::from_str(&format!(r#"{{"has_written":false,{top}"root":{root}}}"#)).unwrap()
}

fn node<'a>(text: &'a str, id: &mut u64) -> (String, &'a str) {
    let own = *id;
    *id += 1;
    if let Some(scan) = text.strip_prefix('[') {
        let (inside, rest) = scan.split_once(']').unwrap();
        let (name, rows) = inside.split_once(' ').unwrap();
        let scan = format!(
            r#"{{"name":"{name}","shared_table":true,"rows":{rows},"virtual_columns":false,
            "sampled":false,"index_lookup":false}}"#
        );
        return (format!(r#"{{"id":{own},"operator":"GET","estimated_rows":{rows},"scan":{scan}}}"#), rest);
    }
    let inside = text.strip_prefix('(').unwrap_or_else(|| panic!("{text}"));
    // The first child, or the end; brackets inside JSON stand behind a colon, a comma or another.
    let end = inside
        .char_indices()
        .find(|(at, c)| matches!(c, '(' | ')') || (*c == '[' && !inside[..*at].ends_with([':', ',', '['])))
        .map(|(at, _)| at)
        .unwrap();
    let (operator, fields) = inside[..end].trim().split_once(' ').unwrap_or((inside[..end].trim(), ""));
    let mut rest = &inside[end..];
    let mut children = Vec::new();
    while !rest.starts_with(')') {
        let (child, after) = node(rest, id);
        children.push(child);
        rest = after.trim_start();
    }
    let fields = if fields.is_empty() { String::new() } else { format!("{fields},") };
    let json = format!(r#"{{"id":{own},"operator":"{operator}",{fields}"children":[{}]}}"#, children.join(","));
    (json, &rest[1..])
}

const FOUR: Workers = Workers { local: 4, remote: 0 };

fn decided(plan: &Plan) -> Distribution {
    match decide(plan, FOUR) {
        Decision::Distributed(distribution) => distribution,
        Decision::Local { reason, .. } => panic!("local: {reason}"),
    }
}

fn distributed(text: &str) -> Distribution {
    decided(&plan(text, ""))
}

fn always(text: &str) -> Distribution {
    decided(&plan(text, r#""distribution":"always","#))
}

/// With workers in other processes.
fn elsewhere(text: &str) -> Distribution {
    on(4, text)
}

/// The same with so many.
fn on(workers: u64, text: &str) -> Distribution {
    match decide(&plan(text, r#""distribution":"always","#), Workers { local: 0, remote: workers }) {
        Decision::Distributed(distribution) => distribution,
        Decision::Local { reason, .. } => panic!("local: {reason}"),
    }
}

fn reason(plan: &Plan, workers: u64) -> String {
    match decide(plan, Workers { local: workers, remote: 0 }) {
        Decision::Local { reason, .. } => reason,
        Decision::Distributed(distribution) => panic!("{distribution:?}"),
    }
}

/// Where each stage is cut: how, at which operator, and where its rows go.
fn cuts(distribution: &Distribution) -> Vec<(Cut, u64, Exchange)> {
    distribution.stages.iter().map(|stage| (stage.cut, stage.node, stage.exchange)).collect()
}

fn hash(consumer: u64, side: u64) -> Exchange {
    Exchange::Hash { consumer, side }
}

fn sum(groups: u64) -> String {
    format!(
        r#"AGGREGATE "aggregate":{{"groups":{groups},"grouping_sets":false,
        "calls":[{{"name":"sum","distinct":false,"exportable":true}}]}}"#
    )
}

fn join(kind: &str) -> String {
    format!(
        r#"COMPARISON_JOIN "join":{{"type":"{kind}"}},"keys":[[{{"column":"l","null_meets_none":true}}],[{{"column":"r","null_meets_none":true}}]]"#
    )
}

/// Keys by which the rows of a child meet: columns, `=` where NULLs meet none.
fn keys(sides: &[&[(&str, bool)]]) -> String {
    let side = |side: &&[(&str, bool)]| {
        let key = |(column, null_meets_none): &(&str, bool)| {
            format!(r#"{{"column":"{column}","null_meets_none":{null_meets_none}}}"#)
        };
        format!("[{}]", side.iter().map(key).collect::<Vec<_>>().join(","))
    };
    format!(r#""keys":[{}]"#, sides.iter().map(side).collect::<Vec<_>>().join(","))
}

fn join_by(kind: &str, left: &[(&str, bool)], right: &[(&str, bool)]) -> String {
    format!(r#"COMPARISON_JOIN "join":{{"type":"{kind}"}},"estimated_rows":9000000,{}"#, keys(&[left, right]))
}

fn many_groups(by: &[(&str, bool)], now: &str) -> String {
    let renames: Vec<_> = by.iter().map(|(was, _)| format!(r#"{{"now":"{now}","was":"{was}"}}"#)).collect();
    format!(r#"{},"estimated_rows":5000000,{},"renames":[{}]"#, sum(by.len() as u64), keys(&[by]), renames.join(","))
}

/// How many stages shuffle their rows.
fn shuffles(distribution: &Distribution) -> usize {
    distribution.stages.iter().filter(|stage| matches!(stage.exchange, Exchange::Hash { .. })).count()
}

const A: (&str, bool) = ("a", true);

const B: (&str, bool) = ("b", true);
const C: (&str, bool) = ("c", true);
