//! Where groups and distinct rows come together.

use super::*;

#[test]
fn an_aggregate_is_split_where_its_states_can_be_exported() {
    let split = distributed(&format!("(PROJECTION ({} (FILTER [t 500000])))", sum(0)));
    assert_eq!(cuts(&split), [(Cut::PartialAggregate, 1, Exchange::Gather)]);
    let stage = &split.stages[0];
    assert_eq!((stage.merge, stage.mode, stage.tasks), (MergeStrategy::Aggregate, Mode::RowGroupPartition, 4));
    let grouped = distributed(&format!("({} [t 500000])", sum(2)));
    assert_eq!(grouped.stages[0].merge, MergeStrategy::GroupBy);
}

#[test]
fn other_aggregates_run_on_the_driver_over_the_filtered_rows() {
    for (from, to) in [(r#""exportable":true"#, r#""exportable":false"#), (r#""distinct":false"#, r#""distinct":true"#)]
    {
        let text = format!("(PROJECTION ({} (FILTER [t 500000])))", sum(1)).replace(from, to);
        let split = distributed(&text);
        assert_eq!(cuts(&split), [(Cut::Subtree, 2, Exchange::Gather)]);
        assert!(!split.notes.is_empty());
    }
}

/// Tasks group by all keys; each grouping set is combined of their groups.
#[test]
fn grouping_sets_are_combined_of_states() {
    let text = sum(2).replace(r#""grouping_sets":false"#, r#""grouping_sets":true"#);
    let split = distributed(&format!("({text} [t 500000])"));
    assert_eq!(cuts(&split), [(Cut::PartialAggregate, 0, Exchange::Gather)]);
    assert_eq!(split.stages[0].merge, MergeStrategy::GroupBy);
    let many = elsewhere(&format!(r#"({text},"estimated_rows":5000000 [t 9000000])"#));
    assert_eq!(cuts(&many), [(Cut::PartialAggregate, 0, Exchange::Gather)]);
}

#[test]
fn groups_without_aggregates_are_distinct_rows() {
    let text = r#"(AGGREGATE "aggregate":{"groups":1,"grouping_sets":false,"calls":[]} [t 500000])"#;
    assert_eq!(distributed(text).stages[0].merge, MergeStrategy::Distinct);
}

#[test]
fn many_groups_are_shuffled_and_few_are_not() {
    let few = elsewhere(&format!(r#"({},"estimated_rows":100 [t 9000000])"#, sum(1)));
    assert_eq!(cuts(&few), [(Cut::PartialAggregate, 0, Exchange::Gather)]);
    let many = |distinct: &str| {
        let sum = sum(1).replace(r#""groups":1"#, &format!(r#""groups":1,"distinct":{distinct}"#));
        cuts(&elsewhere(&format!(r#"({sum},"estimated_rows":5000000 [t 9000000])"#)))
    };
    let gather = (Cut::Subtree, 0, Exchange::Gather);
    assert_eq!(many("5000000"), [(Cut::Subtree, 1, hash(0, 0)), gather]);
    // The estimate is a guess where distinct values were not counted: a task's groups may be few.
    assert_eq!(many("null"), [(Cut::PartialAggregate, 0, hash(0, 0)), gather]);
    assert_eq!(many("100"), [(Cut::PartialAggregate, 0, Exchange::Gather)]);
}

#[test]
fn no_states_are_made_of_single_rows_for_the_same_threads() {
    let groups = |rows: u64| format!(r#"({},"estimated_rows":5000000 [t {rows}])"#, sum(1));
    let rows = always(&groups(6_000_000));
    assert_eq!(cuts(&rows), [(Cut::Subtree, 1, Exchange::Gather)]);
    assert!(!rows.notes.is_empty());
    assert_eq!(cuts(&always(&groups(9_000_000))), [(Cut::PartialAggregate, 0, Exchange::Gather)]);
}

/// However many rows each has: the driver would get a state of each group from each task.
#[test]
fn states_of_millions_of_groups_are_shuffled() {
    let of_100_million_rows = |groups: u64| {
        let sum = sum(1).replace(r#""groups":1"#, &format!(r#""groups":1,"distinct":{groups}"#));
        cuts(&elsewhere(&format!(r#"({sum},"estimated_rows":{groups} [t 100000000])"#)))
    };
    let gather = (Cut::Subtree, 0, Exchange::Gather);
    assert_eq!(of_100_million_rows(10_000_000), [(Cut::PartialAggregate, 0, hash(0, 0)), gather]);
    assert_eq!(of_100_million_rows(501_000), [(Cut::PartialAggregate, 0, hash(0, 0)), gather]);
    assert_eq!(of_100_million_rows(400_000), [(Cut::PartialAggregate, 0, Exchange::Gather)]);
}

#[test]
fn distinct_rows_are_shuffled_once_a_task_has_made_them_few() {
    let gather = (Cut::Subtree, 0, Exchange::Gather);
    for distinct_on in ["", r#""distinct_on":true,"ordered":true,"#] {
        let distinct = |rows: u64| {
            let text =
                format!(r#"(DISTINCT {distinct_on}"keys":[[{{"column":"k"}}]],"estimated_rows":{rows} [t 9000000])"#);
            cuts(&elsewhere(&text))
        };
        assert_eq!(distinct(5_000_000), [(Cut::Copy, 0, hash(0, 0)), gather]);
        assert_eq!(distinct(50), [(Cut::Copy, 0, Exchange::Gather)]);
    }
    // Which row is taken depends on the order in which they come.
    let first =
        elsewhere(r#"(DISTINCT "distinct_on":true,"keys":[[{"column":"k"}]],"estimated_rows":5000000 [t 9000000])"#);
    assert_eq!(cuts(&first), [(Cut::Subtree, 1, Exchange::Gather)]);
}

/// What DuckDB aggregates below a join, it combines above: a task's groups need not meet the other tasks' before that.
#[test]
fn states_that_are_combined_above_are_made_where_the_rows_are() {
    let below = |combined: bool| {
        let sum = sum(1).replace(r#""groups":1"#, &format!(r#""groups":1,"distinct":5000000,"combined":{combined}"#));
        format!(r#"({sum},{},"estimated_rows":5000000 [sales 9000000])"#, keys(&[&[A]]))
    };
    let above = |below: &str| {
        let joined = format!("({} {below} [customer 1000])", join_by("INNER", &[("a", true)], &[("c", true)]));
        elsewhere(&format!(r#"({},{},"estimated_rows":5000000 {joined})"#, sum(1), keys(&[&[B]])))
    };
    let once = above(&below(true));
    assert_eq!(shuffles(&once), 1, "{once:?}");
    assert!(once.stages.iter().all(|stage| stage.node != 3), "{once:?}");
    assert_eq!(shuffles(&above(&below(false))), 2);
    // The order in which rows come to a state shows.
    let first = below(true).replace(r#""name":"sum""#, r#""order_dependent":true,"name":"first""#);
    assert!(above(&first).stages.iter().any(|stage| stage.node >= 2), "{first}");
}

/// GROUP BY the name and the number of an item: sales move by the number that they have of it, before they have its name.
#[test]
fn rows_are_shuffled_for_groups_before_a_join_makes_them_wide() {
    let text = |kind: &str, values: u64, bytes: u64| {
        let joined = join_by(kind, &[("sold", true)], &[("item", true)]);
        let joined = format!(r#"({joined},"row_bytes":{bytes} [sales 9000000] [items 1000])"#);
        let groups = r#""groups":2,"distinct":9000000"#;
        let sum = sum(2).replace(r#""groups":2"#, &format!(r#"{groups},"key_values":[null,{values}]"#));
        format!(r#"({sum},{},"estimated_rows":9000000 {joined})"#, keys(&[&[("name", false), ("item", false)]]))
    };
    let gather = (Cut::Subtree, 0, Exchange::Gather);
    let early = elsewhere(&text("INNER", 50_000, 60));
    assert_eq!(cuts(&early), [(Cut::Subtree, 2, hash(0, 0)), gather], "{early:?}");
    assert_eq!(
        (&early.stages[0].hash_columns[..], &early.stages[0].hash_keys[..]),
        (&[Column("sold".into())][..], &[1][..])
    );
    // The items are whole where the sales are joined.
    let read: Vec<Vec<bool>> =
        early.stages.iter().map(|stage| stage.scans.iter().map(|scan| scan.whole).collect()).collect();
    assert_eq!(read, [vec![false], vec![true]]);
    // Few values would be few tasks', rows that stay narrow may as well be left out first, and an item that was not sold
    // has another number than its sale has.
    for other in [text("INNER", 50, 60), text("INNER", 50_000, 16), text("RIGHT", 50_000, 60)] {
        let late = elsewhere(&other);
        assert!(late.stages.iter().all(|stage| stage.hash_columns.is_empty()), "{late:?}");
    }
}

/// Hashing a text takes long: of several, the one of the most values decides.
#[test]
fn rows_go_to_groups_by_no_more_texts_than_are_needed() {
    let by = |values: &str| {
        let groups = format!(r#""groups":3,"distinct":9000000,"key_values":{values},"text_keys":[0,1]"#);
        let sum = sum(3).replace(r#""groups":3"#, &groups);
        let keys = keys(&[&[("id", false), ("name", false), ("year", false)]]);
        let ordered = r#""distinct_on":true,"ordered":true"#;
        let distinct = format!(
            r#"(DISTINCT {ordered},"estimated_rows":9000000,"keys":[[{{"column":"id"}},{{"column":"year"}}]] "#
        );
        let renames = r#""renames":[{"now":"id","was":"id"},{"now":"year","was":"year"}]"#;
        elsewhere(&format!(r#"{distinct}({sum},{keys},{renames},"estimated_rows":9000000 [sales 9000000]))"#))
    };
    let some = by("[50000,9000,3]");
    assert_eq!(some.stages[0].hash_keys, [0, 2]);
    // Rows that are equal in these are in one task.
    assert_eq!(shuffles(&some), 1, "{some:?}");
    for few in ["[3000,3000,3000]", "[null,null,null]"] {
        assert_eq!((by(few).stages[0].hash_keys.len(), shuffles(&by(few))), (0, 2), "{few}");
    }
    assert_eq!(by("[9000,50,50000]").stages[0].hash_keys, [2]);
}

/// A window over groups, by some of their keys: one shuffle for both.
#[test]
fn groups_are_shuffled_by_the_keys_of_a_window_above() {
    let by = |items: u64, window: &[(&str, bool)]| {
        let groups = format!(r#""groups":2,"distinct":9000000,"key_values":[{items},70000]"#);
        let sum = sum(2).replace(r#""groups":2"#, &groups);
        let renames = r#""renames":[{"now":"x","was":"item"},{"now":"y","was":"day"}]"#;
        let sum = format!(
            "({sum},{},{renames},\"estimated_rows\":9000000 [sales 9000000])",
            keys(&[&[("item", false), ("day", false)]])
        );
        let again = r#"PROJECTION "renames":[{"now":"p","was":"x"},{"now":"q","was":"y"}]"#;
        elsewhere(&format!("(WINDOW {} ({again} {sum}))", keys(&[window])))
    };
    let once = by(50_000, &[("p", false)]);
    assert_eq!((&once.stages[0].hash_keys[..], shuffles(&once)), (&[0][..], 1), "{once:?}");
    let other = by(50_000, &[("q", false)]);
    assert_eq!((&other.stages[0].hash_keys[..], shuffles(&other)), (&[1][..], 1), "{other:?}");
    // Few values are few tasks', and what the window computes is no key of the groups.
    assert_eq!(shuffles(&by(50, &[("p", false)])), 2);
    assert_eq!(shuffles(&by(50_000, &[("p", false), ("sum", false)])), 2);
}
