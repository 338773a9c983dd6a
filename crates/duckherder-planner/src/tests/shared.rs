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

/// What reads a CTE by the keys that it is divided by is divided already: a join of two readers is one stage.
#[test]
fn a_cte_hands_on_by_what_it_is_divided() {
    let definition = format!("({} [t 9000000])", many_groups(&[A], "d"));
    let scan = |name: &str| format!(r#"(CTE_SCAN "cte":7,"columns":["{name}"],"estimated_rows":5000000)"#);
    let read = |reader: &str| elsewhere(&format!(r#"(CTE "cte":7,"columns":["d"] {definition} {reader})"#));
    for kind in ["INNER", "LEFT", "FULL", "SEMI", "ANTI"] {
        let joined = format!("({} {} {})", join_by(kind, &[("x", true)], &[("y", true)]), scan("x"), scan("y"));
        let split = read(&joined);
        assert_eq!((shuffles(&split), forwards(&split)), (1, 1), "{kind}: {split:?}");
        assert_eq!(split.stages.last().unwrap().inputs, [1], "{kind}");
    }
    let distinct = format!(r#"(DISTINCT "keys":[[{{"column":"x"}}]] {})"#, scan("x"));
    let split = read(&distinct);
    assert_eq!((shuffles(&split), forwards(&split)), (1, 1), "{split:?}");
    // By another key, rows move.
    let other =
        join_by("INNER", &[("x", true)], &[("y + 1", true)]).replace(r#""column":"y + 1""#, r#""text":"y + 1""#);
    assert_eq!(shuffles(&read(&format!("({other} {} {})", scan("x"), scan("y")))), 2);
}

/// So many groups by `a` and `b`, under the names that follow, each of `values` values.
fn groups_by_two(table: &str, groups: u64, now: [&str; 2], values: [u64; 2]) -> String {
    let by = [("a", false), ("b", false)];
    let renames = now.iter().zip(["a", "b"]).map(|(now, was)| format!(r#"{{"now":"{now}","was":"{was}"}}"#));
    format!(
        r#"(AGGREGATE "aggregate":{{"groups":2,"grouping_sets":false,"key_values":[{},{}],"distinct":{groups},
        "calls":[{{"name":"sum","distinct":false,"exportable":true}}]}},"estimated_rows":{groups},{},"renames":[{}] [{table} 9000000])"#,
        values[0],
        values[1],
        keys(&[&by]),
        renames.collect::<Vec<_>>().join(",")
    )
}

/// `year_total` of TPC-DS's Q4: groups of several tables, each by a customer and more, joined by the customer.
fn of_customers(groups: u64, values: [u64; 2], kind: &str, by: [&str; 2]) -> Distribution {
    let of_table = |table, now| groups_by_two(table, groups, now, values);
    let tables = format!("{} {}", of_table("t", ["g", "h"]), of_table("u", ["v", "w"]));
    let union = format!(
        r#"(UNION "all":true,{},"renames":[{{"now":"id","was":"g"}},{{"now":"other","was":"h"}}],"estimated_rows":16000000 {tables})"#,
        keys(&[&[("g", false), ("h", false)], &[("v", false), ("w", false)]])
    );
    let scan = |one: &str, two: &str| {
        format!(
            r#"(FILTER "estimated_rows":9000000 (CTE_SCAN "cte":7,"columns":["{one}","{two}"],"estimated_rows":9000000))"#
        )
    };
    let first =
        format!("({} {} {})", join_by(kind, &[(by[0], true)], &[(by[1], true)]), scan("x", "x2"), scan("y", "y2"));
    let second = format!("({} {first} {})", join_by(kind, &[(by[0], true)], &[("z", true)]), scan("z", "z2"));
    elsewhere(&format!(r#"(CTE "cte":7,"columns":["id","other"] {union} {second})"#))
}

#[test]
fn groups_are_divided_by_what_readers_of_a_cte_join_them_by() {
    // Rows where nearly all differ, else states.
    for (kind, groups, cut) in [
        ("INNER", 8_000_000, Cut::Subtree),
        ("LEFT", 8_000_000, Cut::Subtree),
        ("INNER", 1_000_000, Cut::PartialAggregate),
    ] {
        let split = of_customers(groups, [4_000_000, 10], kind, ["x", "y"]);
        // Both tables, by the first key alone; then nothing moves.
        assert_eq!((shuffles(&split), forwards(&split), split.stages.len()), (2, 1, 4), "{kind}: {split:?}");
        let by: Vec<_> = split.stages.iter().filter(|stage| !stage.hash_keys.is_empty()).collect();
        assert!(
            by.len() == 2 && by.iter().all(|stage| stage.hash_keys == [0] && stage.cut == cut),
            "{kind}: {split:?}"
        );
    }
    // A key of few values divides nothing.
    let split = of_customers(8_000_000, [10, 4_000_000], "INNER", ["x", "y"]);
    let of_tables = split.stages.iter().filter(|stage| stage.inputs.is_empty());
    assert_eq!(of_tables.filter(|stage| stage.hash_keys.is_empty()).count(), 2, "{split:?}");
    assert!(shuffles(&split) > 2, "{split:?}");
    // Nor does one that has the value of another column on the other side.
    let split = of_customers(8_000_000, [4_000_000, 4_000_000], "INNER", ["x", "y2"]);
    assert!(shuffles(&split) > 2, "{split:?}");
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

/// A stage takes the rows of a CTE once, however many of its operators read them.
#[test]
fn rows_of_a_cte_come_to_a_stage_once() {
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
