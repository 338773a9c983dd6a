//! The other operators, and plans that stay on the driver.

use super::*;

/// One worker elsewhere runs all that one task can, without an exchange.
#[test]
fn one_worker_has_one_task() {
    for kind in ["INNER", "LEFT", "RIGHT", "FULL", "SEMI", "ANTI", "MARK", "SINGLE", "RIGHT_SEMI", "RIGHT_ANTI"] {
        let text = format!("(ORDER_BY ({} ({} [x 9000000] [y 8000000])))", sum(1), join(kind));
        let plan = plan(&text, r#""distribution":"always","#);
        let Decision::Distributed(found) = decide(&plan, Workers { local: 0, remote: 1 }) else { panic!("{kind}") };
        assert_eq!(cuts(&found), [(Cut::Subtree, 0, Exchange::Gather)], "{kind}");
        assert_eq!(found.stages[0].tasks, 1, "{kind}");
    }
}

/// What every task reads whole would be read once a task.
#[test]
fn a_worker_has_several_tasks_only_where_rows_are_read_in_order() {
    let tasks = |text: &str| elsewhere(text).stages.iter().map(|stage| stage.tasks).collect::<Vec<_>>();
    assert_eq!(tasks("(FILTER [t 9000000])"), [16]);
    assert_eq!(tasks(&format!("({} [t 9000000])", sum(0))), [4]);
    assert_eq!(tasks(&format!("({} [t 9000000] [small 1000])", join("LEFT"))), [4]);
    assert_eq!(tasks("(ORDER_BY [t 9000000])"), [4]);
    assert_eq!(tasks("(INTERSECT [t 9000000] [u 600000])"), [4, 4, 4]);
}

#[test]
fn limits_are_copied_into_the_tasks() {
    let split = distributed(r#"(TOP_N "limit":{"rows":5,"offset":2} [t 500000])"#);
    assert_eq!(cuts(&split), [(Cut::Copy, 0, Exchange::Gather)]);
    assert_eq!(split.stages[0].merge, MergeStrategy::TopN);
    let percent = distributed(r#"(LIMIT "limit":{"rows":null,"offset":0} [t 500000])"#);
    assert_eq!(cuts(&percent), [(Cut::Subtree, 1, Exchange::Gather)]);
}

#[test]
fn tasks_sort_where_that_is_asked_for() {
    let text = "(PROJECTION (ORDER_BY [t 500000]))";
    assert_eq!(cuts(&distributed(text)), [(Cut::Subtree, 2, Exchange::Gather)]);
    let sorted = always(text);
    assert_eq!(cuts(&sorted), [(Cut::Sort, 1, Exchange::Gather)]);
    assert_eq!(sorted.stages[0].merge, MergeStrategy::SortMerge);
    let small = plan("(PROJECTION (ORDER_BY [t 130000]))", "");
    let Decision::Distributed(elsewhere) = decide(&small, Workers { local: 0, remote: 2 }) else { panic!("local") };
    assert_eq!(cuts(&elsewhere), [(Cut::Subtree, 2, Exchange::Gather)]);
    assert_eq!(cuts(&always("(ORDER_BY [t 10000])")), [(Cut::Subtree, 0, Exchange::Gather)]);
}

#[test]
fn small_tables_are_delegated_whole() {
    let split = distributed(&format!("(PROJECTION ({} [t 10000]))", sum(0)));
    assert_eq!(cuts(&split), [(Cut::Subtree, 0, Exchange::Gather)]);
    let stage = &split.stages[0];
    assert_eq!((stage.mode, stage.tasks, stage.merge), (Mode::Delegated, 1, MergeStrategy::None));
    let joined = always(&format!("(ORDER_BY ({} [t 10000] [u 20000]))", join("LEFT")));
    assert_eq!(cuts(&joined), [(Cut::Subtree, 0, Exchange::Gather)]);
}

#[test]
fn reasons_not_to_distribute() {
    assert_eq!(reason(&plan("[t 500000]", ""), 0), "there is no worker");
    assert!(reason(&plan("[t 500000]", r#""distribution":"never","#), 4).contains("'never'"));
    let mut written = plan("[t 500000]", "");
    written.has_written = true;
    assert!(reason(&written, 4).contains("has written"));
    assert!(reason(&plan(&format!("({} [t 500000] [u 10])", join("INNER")), ""), 4).contains("here: local "));
    assert_eq!(reason(&plan("(INSERT [t 500000])", ""), 4), "INSERT runs on the driver");
    assert!(reason(&plan(r#"(PROJECTION "volatile":true [t 500000])"#, ""), 4).contains("here: local "));
    for flag in ["virtual_columns", "sampled", "index_lookup"] {
        let mut flagged = plan("[t 500000]", "");
        let scan = flagged.root.scan.as_mut().unwrap();
        match flag {
            "virtual_columns" => scan.virtual_columns = true,
            "sampled" => scan.sampled = true,
            _ => scan.index_lookup = true,
        }
        reason(&flagged, 4);
    }
    assert_eq!(reason(&plan("(PROJECTION (DUMMY_SCAN))", ""), 4), "no table is read");
    assert!(reason(&plan("[t 99]", ""), 4).contains("fewer than 100 rows"));
}

#[test]
fn what_can_not_move_keeps_its_part_on_the_driver() {
    let split = always(r#"(PROJECTION "volatile":true (FILTER [t 500000]))"#);
    assert_eq!(cuts(&split), [(Cut::Subtree, 1, Exchange::Gather)]);
    let sample = always(&format!("(SAMPLE ({} (FILTER [t 500000])))", sum(1)));
    assert_eq!(cuts(&sample), [(Cut::PartialAggregate, 1, Exchange::Gather)]);
    let except = always("(EXCEPT [t 500000] [u 600000])");
    assert_eq!(cuts(&except), [(Cut::Subtree, 1, Exchange::Gather), (Cut::Subtree, 2, Exchange::Gather)]);
    let mut not_written = plan("(FILTER (FILTER [t 500000]))", r#""distribution":"always","#);
    not_written.not_written = vec![0];
    assert_eq!(cuts(&decided(&not_written)), [(Cut::Subtree, 1, Exchange::Gather)]);
}

/// Which rows it takes depends on how they come.
#[test]
fn what_a_repeatable_sample_is_of_stays_on_the_driver() {
    let text = r#"(SAMPLE "repeatable":true (FILTER [t 500000]))"#;
    let both = always(&format!("({} {text} [u 600000])", join("INNER")));
    assert_eq!(cuts(&both), [(Cut::Subtree, 4, Exchange::Gather)]);
    assert!(reason(&plan(text, r#""distribution":"always","#), 4).contains("its sample is the same each time"));
}

/// What is below an expression that gives another value each time is weighed as ever.
#[test]
fn volatile_expressions_leave_the_rest_to_the_costs() {
    let stored = r#""stored":true,"threads":2,"#;
    let text =
        format!(r#"(PROJECTION "volatile":true,"estimated_rows":10 ({},"estimated_rows":10 [t 90000000]))"#, sum(1));
    let capacity = crate::Capacity { workers: Workers { local: 0, remote: 8 }, remote_threads: 32 };
    let Decision::Distributed(found) = decide(&plan(&text, stored), capacity) else { panic!("local") };
    assert_eq!(cuts(&found), [(Cut::PartialAggregate, 1, Exchange::Gather)]);
}

#[test]
fn what_is_inserted_may_come_from_workers() {
    let split = always(&format!("(INSERT ({} [t 500000]))", sum(1)));
    assert_eq!(cuts(&split), [(Cut::PartialAggregate, 1, Exchange::Gather)]);
    let update = plan("(UPDATE [t 500000])", r#""distribution":"always","#);
    assert_eq!(reason(&update, 4), "UPDATE runs on the driver");
}

#[test]
fn equal_rows_of_a_set_operation_meet() {
    let split = elsewhere("(INTERSECT [t 500000] [u 600000])");
    let both = [(Cut::Subtree, 1, hash(0, 0)), (Cut::Subtree, 2, hash(0, 1)), (Cut::Subtree, 0, Exchange::Gather)];
    assert_eq!(cuts(&split), both);
    // The order of its rows is theirs.
    let all = elsewhere(r#"(UNION "all":true [t 500000] [u 600000])"#);
    assert_eq!(cuts(&all), [(Cut::Subtree, 1, Exchange::Gather), (Cut::Subtree, 2, Exchange::Gather)]);
}

/// Of two columns, `l` and `r` being those of its sides.
fn intersect(more: &str, left: &str, right: &str) -> String {
    let keys = keys(&[&[("l", false), ("l2", false)], &[("r", false), ("r2", false)]]);
    let renames = r#""renames":[{"now":"l","was":"l"},{"now":"l2","was":"l2"}]"#;
    format!(r#"(INTERSECT {keys},{renames}{more},"estimated_rows":5000000 {left} {right})"#)
}

#[test]
fn a_set_operation_is_where_its_rows_are_divided_already() {
    let distinct = |columns: [&str; 2], table: &str| {
        let keys = keys(&[&[(columns[0], false), (columns[1], false)]]);
        format!(r#"(DISTINCT {keys},"estimated_rows":5000000 [{table} 9000000])"#)
    };
    let (left, right) = (distinct(["l", "l2"], "t"), distinct(["r", "r2"], "u"));
    // As in TPC-DS's Q38: what made the rows of both sides distinct has them together.
    let both = elsewhere(&intersect("", &left, &right));
    assert_eq!((shuffles(&both), both.stages.len()), (2, 3), "{both:?}");
    // A chain of them, too.
    let chain = elsewhere(&intersect("", &intersect("", &left, &right), &right));
    assert_eq!((shuffles(&chain), chain.stages.len()), (3, 4), "{chain:?}");
    // Of one side, the other goes there, by the same columns.
    let one = elsewhere(&intersect("", "[t 9000000]", &distinct(["r2", "r"], "u")));
    let hashed: Vec<_> = one.stages.iter().map(|stage| (stage.exchange, stage.hash_keys.clone())).collect();
    assert_eq!(shuffles(&one), 2, "{one:?}");
    assert!(hashed.contains(&(hash(0, 0), vec![1, 0])), "{one:?}");
    // Columns of other places do not meet.
    let crossed = elsewhere(&intersect("", &left, &distinct(["r2", "r"], "u")));
    assert_eq!(shuffles(&crossed), 3, "{crossed:?}");
    // Rows with NULL may be anywhere after an outer join.
    let outer = format!("({} [t 9000000] [v 9000000])", join_by("LEFT", &[("l", true)], &[("l2", true)]));
    let split = elsewhere(&intersect("", &outer, "[u 9000000]"));
    assert_eq!(shuffles(&split), 4, "{split:?}");
}

#[test]
fn rows_that_are_as_one_are_shuffled_once() {
    let cut = |distinct: &str| {
        let split = elsewhere(&intersect(&format!(r#","distinct_rows":{distinct}"#), "[t 9000000]", "[u 9000000]"));
        [split.stages[0].cut, split.stages[1].cut]
    };
    assert_eq!(cut("[1000,8000000]"), [Cut::Distinct { rows: 1000 }, Cut::Subtree]);
    assert_eq!(cut("[null,20]"), [Cut::Subtree, Cut::Distinct { rows: 20 }]);
    assert_eq!(cut("[]"), [Cut::Subtree; 2]);
}

/// Where nobody sees the order of the rows, each task has a part of every input.
#[test]
fn inputs_of_union_all_share_their_tasks() {
    let union = |inputs: &str| elsewhere(&format!(r#"({} (UNION "all":true {inputs}))"#, sum(1)));
    let found = union("[t 9000000] (PROJECTION [u 600000]) (FILTER [small 50])");
    assert_eq!(cuts(&found), [(Cut::PartialAggregate, 0, Exchange::Gather)]);
    let stage = &found.stages[0];
    assert_eq!((stage.tasks, stage.mode), (4, Mode::RowGroupPartition));
    assert_eq!(
        stage.scans.iter().map(|scan| (scan.scan, scan.whole)).collect::<Vec<_>>(),
        [(0, false), (1, false), (2, false)]
    );
    // What one task does for itself alone, it would do in every task.
    let gathered = |found: &Distribution| found.stages.iter().all(|stage| stage.exchange == Exchange::Gather);
    for single in [format!("({} [small 50])", sum(0)), format!("({} [small 50] [other 40])", join("INNER"))] {
        let found = union(&format!("[t 9000000] {single}"));
        assert!(found.stages.len() == 2 && gathered(&found), "{found:?}");
    }
    // Rows of shuffles, and of a table.
    let found = union(&format!("({} [x 9000000] [y 8000000]) [t 500000]", join("INNER")));
    let last = found.stages.last().unwrap();
    assert_eq!((last.cut, last.inputs.len(), last.scans.len()), (Cut::PartialAggregate, 2, 1), "{found:?}");
}

/// A window over all rows can't be divided; one a key can.
#[test]
fn windows_are_shuffled_by_their_keys() {
    let keyed = always(r#"(WINDOW "keys":[[{"column":"k"}]] [t 500000])"#);
    assert_eq!(cuts(&keyed), [(Cut::Subtree, 1, hash(0, 0)), (Cut::Subtree, 0, Exchange::Gather)]);
    assert_eq!(cuts(&always("(WINDOW [t 500000])")), [(Cut::Subtree, 1, Exchange::Gather)]);
}
