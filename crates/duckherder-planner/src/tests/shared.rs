//! CTEs whose rows are in tasks.

use super::*;
use crate::place::Preference;

/// A CTE that others read: a definition of 9000000 rows, and who reads it, `@` where that is.
fn cte(reader: &str) -> String {
    let scan = r#"(CTE_SCAN "cte":7,"columns":["s"],"estimated_rows":9000000)"#;
    let definition = r#"(FILTER "estimated_rows":9000000 [t 9000000])"#;
    format!(r#"(CTE "cte":7,"columns":["d"] {definition} {})"#, reader.replace('@', scan))
}

fn forwards(distribution: &Distribution) -> usize {
    distribution.stages.iter().filter(|stage| matches!(stage.exchange, Exchange::Forward { .. })).count()
}

#[test]
fn every_reader_of_a_cte_is_a_stage_over_one_that_runs_once() {
    let joined = format!("({} ({} @ @))", sum(0), join("INNER"));
    let split = elsewhere(&cte(&joined));
    let expected = [
        (Cut::Subtree, 1, Exchange::Forward { cte: 0 }),
        (Cut::Subtree, 5, hash(4, 0)),
        (Cut::Subtree, 6, hash(4, 1)),
        (Cut::PartialAggregate, 3, Exchange::Gather),
    ];
    assert_eq!(cuts(&split), expected);
    let inputs: Vec<_> = split.stages.iter().map(|stage| stage.inputs.as_slice()).collect();
    assert_eq!(inputs, [&[][..], &[0], &[0], &[1, 2]]);
    // A table is read once, whoever reads the CTE.
    assert_eq!(split.stages.iter().flat_map(|stage| &stage.scans).count(), 1);
    // Readers have the tasks that the CTE has.
    assert_eq!(split.stages[0].tasks, split.stages[1].tasks);
}

#[test]
fn the_driver_has_a_cte_that_several_of_its_parts_read_or_one_in_order() {
    let recursive = format!("({} @ (REC_CTE [t 9000000] @))", join("INNER"));
    for reader in [r#"(UNION "all":true @ @)"#, "(FILTER @)", &recursive, r#"(LIMIT "limit":{"rows":5,"offset":0} @)"#]
    {
        assert_eq!(cuts(&elsewhere(&cte(reader))), [(Cut::Subtree, 1, Exchange::Gather)], "{reader}");
    }
    // Only rows that need not leave the driver's process may not be shuffled.
    let auto = Placer::new(&plan(&cte("(FILTER @)"), ""), FOUR).place_all();
    assert_eq!(forwards(&auto), 0);
}

/// Otherwise the groups would come to the driver, and the join with them.
#[test]
fn groups_of_a_cte_that_a_join_reads_stay_in_tasks() {
    let groups = sum(1).replace("AGGREGATE ", r#"AGGREGATE "keys":[[{"column":"s"}]],"estimated_rows":10,"#);
    let split = elsewhere(&cte(&format!("({} @ ({groups} @))", join("SEMI"))));
    assert_eq!((forwards(&split), split.gathered().count()), (1, 1), "{split:?}");
    assert_eq!(split.stages.last().unwrap().node, 0);
}

/// What reads a CTE by the keys that it is divided by is divided already; but not both sides by one reader.
#[test]
fn a_cte_hands_on_by_what_it_is_divided() {
    let definition = format!("({} [t 9000000])", many_groups(&[A], "d"));
    let scan = |name: &str| format!(r#"(CTE_SCAN "cte":7,"columns":["{name}"],"estimated_rows":5000000)"#);
    let joined = format!("({} {} {})", join_by("INNER", &[("x", true)], &[("y", true)]), scan("x"), scan("y"));
    let split = elsewhere(&format!(r#"(CTE "cte":7,"columns":["d"] {definition} {joined})"#));
    assert_eq!(shuffles(&split), 2, "{split:?}");
    let distinct = format!(r#"(DISTINCT "keys":[[{{"column":"x"}}]] {})"#, scan("x"));
    let split = elsewhere(&format!(r#"(CTE "cte":7,"columns":["d"] {definition} {distinct})"#));
    assert_eq!((shuffles(&split), forwards(&split)), (1, 1), "{split:?}");
}

/// Where joins are read by a join that can only divide its other side, they are broadcast.
#[test]
fn a_join_is_broadcast_where_there_is_no_other_way() {
    let inner = format!("({} (FILTER \"estimated_rows\":900 @) [u 9000000])", join("SEMI"));
    let split = elsewhere(&cte(&format!("({} @ {inner})", join("MARK"))));
    assert_eq!((forwards(&split), split.gathered().count()), (1, 1), "{split:?}");
    assert!(split.stages.iter().any(|stage| stage.exchange == Exchange::Broadcast), "{split:?}");
}

/// `count(DISTINCT x), sum(v)`, as DuckDB plans it: a CTE that each aggregate reads by itself.
#[test]
fn aggregates_of_all_rows_that_are_read_together_end_in_one_task() {
    let groups = sum(1).replace("AGGREGATE ", r#"AGGREGATE "keys":[[{"column":"s"}]],"estimated_rows":4000000,"#);
    let split = elsewhere(&cte(&format!("(PROJECTION (CROSS_PRODUCT ({} ({groups} @)) ({} @)))", sum(0), sum(0))));
    let expected = [
        (Cut::Subtree, 1, Exchange::Forward { cte: 0 }),
        (Cut::PartialAggregate, 6, hash(6, 0)),
        (Cut::PartialAggregate, 8, Exchange::Broadcast),
        (Cut::PartialAggregate, 5, Exchange::Broadcast),
        (Cut::Subtree, 0, Exchange::Gather),
    ];
    let mut found = cuts(&split);
    found[1..4].sort_by_key(|(_, node, _)| [6, 8, 5].iter().position(|other| other == node));
    assert_eq!(found, expected);
    let last = split.stages.last().unwrap();
    assert_eq!((last.tasks, last.inputs.len(), last.scans.len()), (1, 2, 0));
    // A sum of DOUBLEs is rounded otherwise in another order; `list` has that order.
    let ordered = |name: &str| sum(0).replace(r#""name":"sum""#, &format!(r#""order_dependent":true,"name":"{name}""#));
    let beside =
        |name: &str| elsewhere(&cte(&format!("(CROSS_PRODUCT ({} ({groups} @)) ({} @))", sum(0), ordered(name))));
    assert_eq!([beside("sum"), beside("list")].map(|split| split.stages.len()), [5, 1]);
    // What has no state comes to the task as rows.
    let mode = sum(0).replace(r#""exportable":true"#, r#""exportable":false"#);
    let split = elsewhere(&cte(&format!("(CROSS_PRODUCT ({mode} ({groups} @)) ({} @))", sum(0))));
    assert!(cuts(&split).contains(&(Cut::Subtree, 5, Exchange::Broadcast)), "{split:?}");
    assert_eq!(split.gathered().count(), 1);
}

/// The grouping sets of DISTINCT aggregates: a UNION ALL of groups, which have no order, and of one row of all.
#[test]
fn grouping_sets_that_the_optimizer_has_divided_stay_in_tasks() {
    let groups = sum(1).replace("AGGREGATE ", r#"AGGREGATE "keys":[[{"column":"s"}]],"estimated_rows":4000000,"#);
    let keys = r#""keys":[[{"column":"u"}],[{"column":"u"}]]"#;
    let union = format!(r#"(UNION "all":true,{keys} ({groups} @) ({} @))"#, sum(0));
    let sets = cte(&union).replace(r#""cte":7,"columns":["d"]"#, r#""cte":7,"grouping_sets":true,"columns":["d"]"#);
    let split = elsewhere(&sets);
    assert_eq!((forwards(&split), split.gathered().count()), (1, 1), "{split:?}");
    let one = split.stages.iter().find(|stage| stage.tasks == 1).unwrap();
    assert_eq!((one.node, one.exchange), (6, hash(3, 1)));
    // A user's own UNION ALL has an order, as long as that is seen.
    assert_eq!(cuts(&elsewhere(&cte(&union))), [(Cut::Subtree, 1, Exchange::Gather)]);
}

/// Each reader of a stage takes rows of its own, so none reads two.
#[test]
fn nothing_reads_a_stage_twice() {
    let keys = r#""keys":[[{"column":"u"}],[{"column":"u"}]]"#;
    let union = format!(r#"({} (UNION "all":true,{keys} @ (FILTER @)))"#, sum(0));
    let crossed = format!("(CROSS_PRODUCT (PROJECTION ({} @)) (PROJECTION ({} @)))", sum(0), sum(0));
    for reader in [union, crossed] {
        for workers in [FOUR, Workers { local: 1, remote: 0 }, Workers { local: 0, remote: 1 }] {
            let plan = plan(&cte(&reader), r#""distribution":"always","#);
            let split =
                Placer::new(&plan, workers).with(Preference { groups_stay: true, ..Preference::NONE }).place_all();
            assert_eq!(forwards(&split), 1, "{split:?}");
            for stage in &split.stages {
                let once: std::collections::BTreeSet<_> = stage.inputs.iter().collect();
                assert_eq!(once.len(), stage.inputs.len(), "{split:?}");
            }
        }
    }
}

/// VALUES of an outer query's columns are rows of what is below: the driver's.
#[test]
fn values_over_a_cte_are_not_written_out() {
    let values = r#"(AGGREGATE "aggregate":{"groups":1,"grouping_sets":false,"calls":[]} @)"#;
    let reader = format!("({} @ (EXPRESSION_GET {values}))", join("INNER"));
    assert_eq!(cuts(&elsewhere(&cte(&reader))), [(Cut::Subtree, 1, Exchange::Gather)]);
    let written = format!("({} @ (EXPRESSION_GET (DUMMY_SCAN)))", join("INNER"));
    assert_eq!(forwards(&elsewhere(&cte(&written))), 1);
}

/// A join with the one row of a scalar subquery keeps the order of the other side, where somebody sees that.
#[test]
fn a_scalar_subquery_beside_a_cte_leaves_its_order() {
    let beside = format!("(CROSS_PRODUCT @ ({} @))", sum(0));
    let limit = format!(r#"(LIMIT "limit":{{"rows":5,"offset":0}} {beside})"#);
    assert_eq!(cuts(&elsewhere(&cte(&limit))), [(Cut::Subtree, 1, Exchange::Gather)]);
    assert_eq!(forwards(&elsewhere(&cte(&format!("({} {beside})", sum(0))))), 1);
}
