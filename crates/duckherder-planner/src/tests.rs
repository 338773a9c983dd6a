//! Decisions about plans as the engine describes them.

use crate::place::Placer;
use crate::{Cut, Decision, Distribution, Exchange, Files, MergeStrategy, Mode, Plan, Workers, decide};

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

/// A scan of files in the place of the plan's first scan.
fn of_files(mut plan: Plan, files: Files) -> Plan {
    for scan in plan.root.preorder_scans_mut().into_iter().take(1) {
        (scan.shared_table, scan.files) = (false, Some(files.clone()));
    }
    plan
}

fn some_files(count: usize, bytes: u64) -> Files {
    let paths = (0..count).map(|number| format!("f{number}")).collect();
    Files { paths, text: true, bytes: vec![bytes; count], ..Files::default() }
}

#[test]
fn files_are_divided_by_row_groups_or_whole() {
    let scan = || plan("[f 1000000]", r#""distribution":"always","#);
    let whole = decided(&of_files(scan(), some_files(10, 1 << 20)));
    assert_eq!((whole.stages[0].mode, whole.stages[0].tasks), (Mode::NaturalPartition, 4));
    let few = decided(&of_files(scan(), some_files(3, 1 << 20)));
    assert_eq!((few.stages[0].mode, few.stages[0].tasks), (Mode::NaturalPartition, 3));
    let parquet = Files { row_groups: vec![vec![500_000; 2]], text: false, ..some_files(1, 1 << 20) };
    let groups = decided(&of_files(scan(), parquet));
    assert_eq!((groups.stages[0].mode, groups.stages[0].tasks), (Mode::RowGroupPartition, 2));
}

#[test]
fn files_that_are_not_worth_it_stay_on_the_driver() {
    let scan = || plan("[f 1000000]", "");
    let elsewhere = Workers { local: 0, remote: 4 };
    let local = |plan: &Plan, workers| match decide(plan, workers) {
        Decision::Local { reason } => reason,
        Decision::Distributed(distribution) => panic!("{distribution:?}"),
    };
    // One task would do what the driver does itself.
    assert!(local(&of_files(scan(), some_files(1, 1 << 30)), FOUR).contains("here: local "));
    assert!(local(&of_files(plan("[f 1000]", ""), some_files(10, 1000)), FOUR).contains("here: local "));
    // Each worker has to find out how they are written.
    assert!(local(&of_files(scan(), some_files(10, 1 << 20)), elsewhere).contains("here: local "));
    assert!(matches!(decide(&of_files(scan(), some_files(10, 1 << 28)), elsewhere), Decision::Distributed(_)));
    let mut kept = scan();
    for scan in kept.root.preorder_scans_mut() {
        (scan.shared_table, scan.kept) = (false, "it reads a file twice".to_string());
    }
    assert_eq!(local(&kept, FOUR), "it reads a file twice");
}

#[test]
fn files_beside_tables_are_read_by_every_task() {
    let join = plan(r#"(COMPARISON_JOIN "join":{"type":"INNER"} [f 1000] [b 1000000])"#, r#""distribution":"always","#);
    let distribution = decided(&of_files(join, some_files(2, 1000)));
    let whole: Vec<bool> = distribution.stages[0].scans.iter().map(|scan| scan.whole).collect();
    assert_eq!(whole.len(), 2, "{distribution:?}");
    assert!(whole.contains(&true) && whole.contains(&false), "{distribution:?}");
}

const FOUR: Workers = Workers { local: 4, remote: 0 };

fn decided(plan: &Plan) -> Distribution {
    match decide(plan, FOUR) {
        Decision::Distributed(distribution) => distribution,
        Decision::Local { reason } => panic!("local: {reason}"),
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
    match decide(&plan(text, r#""distribution":"always","#), Workers { local: 0, remote: 4 }) {
        Decision::Distributed(distribution) => distribution,
        Decision::Local { reason } => panic!("local: {reason}"),
    }
}

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

/// To decode them again costs less than to move them.
#[test]
fn files_are_rather_read_again_than_shuffled() {
    let text = format!("({} [y 6000000] [x 1500000])", join("INNER"));
    let mut plan = plan(&text, r#""distribution":"always","#);
    for scan in plan.root.preorder_scans_mut() {
        let rows = vec![vec![100_000; (scan.rows / 100_000) as usize]];
        let files =
            Files { paths: vec![scan.name.clone()], row_groups: rows, bytes: vec![1 << 28], ..Files::default() };
        (scan.shared_table, scan.files) = (false, Some(files));
    }
    let Decision::Distributed(found) = decide(&plan, Workers { local: 0, remote: 8 }) else { panic!("local") };
    assert_eq!(cuts(&found), [(Cut::Subtree, 0, Exchange::Gather)]);
    let whole: Vec<_> = found.stages[0].scans.iter().map(|scan| (scan.scan, scan.whole)).collect();
    assert_eq!(whole, [(0, false), (1, true)]);
}

fn reason(plan: &Plan, workers: u64) -> String {
    match decide(plan, Workers { local: workers, remote: 0 }) {
        Decision::Local { reason } => reason,
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

/// The list after IN is part of the fragment, unless it is long.
#[test]
fn a_list_that_the_optimizer_has_made_goes_with_the_fragment() {
    let text = |rows: u64| format!("({} [t 500000] (CHUNK_GET \"estimated_rows\":{rows}))", join("MARK"));
    assert_eq!(cuts(&always(&text(10))), [(Cut::Subtree, 0, Exchange::Gather)]);
    assert_eq!(cuts(&always(&text(1_000_000))), [(Cut::Subtree, 1, Exchange::Gather)]);
}

#[test]
fn groups_without_aggregates_are_distinct_rows() {
    let text = r#"(AGGREGATE "aggregate":{"groups":1,"grouping_sets":false,"calls":[]} [t 500000])"#;
    assert_eq!(distributed(text).stages[0].merge, MergeStrategy::Distinct);
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
    assert!(reason(&plan(r#"(PROJECTION "volatile":true [t 500000])"#, ""), 4).contains("another value each time"));
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
fn a_small_side_is_whole_in_every_task() {
    let scans = |kind: &str, sides: &str| -> Vec<_> {
        let split = always(&format!("({} {sides})", join(kind)));
        assert_eq!(cuts(&split), [(Cut::Subtree, 0, Exchange::Gather)], "{kind}");
        split.stages[0].scans.iter().map(|scan| (scan.scan, scan.whole)).collect()
    };
    for kind in ["INNER", "LEFT", "SEMI", "ANTI", "MARK", "SINGLE"] {
        assert_eq!(scans(kind, "[large 1000000] [small 1000]"), [(0, false), (1, true)], "{kind}");
    }
    for kind in ["INNER", "RIGHT", "RIGHT_SEMI", "RIGHT_ANTI"] {
        assert_eq!(scans(kind, "[small 1000] [large 1000000]"), [(1, false), (0, true)], "{kind}");
    }
}

#[test]
fn two_large_sides_are_shuffled() {
    for kind in ["INNER", "LEFT", "RIGHT", "FULL", "SEMI", "ANTI", "SINGLE"] {
        let text = format!("({} (FILTER \"estimated_rows\":9000000 [x 9000000]) [y 9000000])", join(kind));
        let split = elsewhere(&text);
        let both = [(Cut::Subtree, 1, hash(0, 0)), (Cut::Subtree, 3, hash(0, 1)), (Cut::Subtree, 0, Exchange::Gather)];
        assert_eq!(cuts(&split), both, "{kind}");
        assert_eq!(split.stages[2].inputs, [0, 1]);
        assert_eq!((split.stages[2].mode, split.stages[2].tasks), (Mode::HashPartition, 4));
    }
}

/// `x NOT IN (SELECT ...)` is NULL in every task if there is a NULL in one.
#[test]
fn the_right_side_of_in_is_never_shuffled() {
    let split = always(&format!("({} [x 9000000] [y 9000000])", join("MARK")));
    assert_eq!(cuts(&split), [(Cut::Subtree, 0, Exchange::Gather)]);
}

/// Ties, and what else depends on the order of rows, must not differ between tasks.
#[test]
fn a_side_that_picks_rows_is_not_made_several_times() {
    let first = sum(0).replace(r#""exportable":true"#, r#""exportable":true,"order_dependent":true"#);
    for small in [r#"TOP_N "limit":{"rows":5,"offset":0}"#, "WINDOW", "DISTINCT", &first] {
        let split = always(&format!("({} [large 9000000] ({small} [small 200000]))", join("INNER")));
        assert!(split.stages.iter().flat_map(|stage| &stage.scans).all(|scan| !scan.whole), "{small}");
    }
    let nearest = r#"ASOF_JOIN "join":{"type":"INNER","asof":true}"#;
    let split = always(&format!("({} [large 9000000] ({nearest} [x 200000] [y 200000]))", join("INNER")));
    assert!(split.stages.iter().flat_map(|stage| &stage.scans).all(|scan| scan.scan != 1 || !scan.whole));
}

/// A row without a partner must come out once, not once a task.
#[test]
fn a_side_whose_rows_are_kept_is_not_whole() {
    for (kind, text) in [("FULL", "[large 1000000] [small 1000]"), ("RIGHT", "[large 9000000] [small 1000]")] {
        let split = always(&format!("({} {text})", join(kind)));
        assert!(split.stages.iter().flat_map(|stage| &stage.scans).all(|scan| scan.scan == 0 || !scan.whole), "{kind}");
    }
    let no_keys = r#"(ANY_JOIN "join":{"type":"FULL"} [x 1000000] [y 1000])"#;
    let both = [(Cut::Subtree, 1, Exchange::Gather), (Cut::Subtree, 2, Exchange::Gather)];
    assert_eq!(cuts(&always(no_keys)), both);
}

/// Its rows go to every task once, where each task would have to fetch the whole table otherwise.
#[test]
fn a_side_of_few_rows_out_of_many_is_broadcast() {
    let text = |kind: &str| {
        format!(
            r#"(COMPARISON_JOIN "join":{{"type":"{kind}","asof":false}},"keys":[[{{"column":"l"}}],[{{"column":"r"}}]] [large 5000000] (FILTER "estimated_rows":1000 [customer 100000]))"#
        )
    };
    let always = |kind: &str| plan(&text(kind), r#""distribution":"always","#);
    let elsewhere = Workers { local: 0, remote: 4 };
    for kind in ["INNER", "LEFT", "SEMI", "ANTI", "MARK"] {
        let Decision::Distributed(found) = decide(&always(kind), elsewhere) else { panic!("{kind}") };
        assert_eq!(found.stages[0].exchange, Exchange::Broadcast, "{kind}: {found:?}");
        assert_eq!(found.stages[1].inputs, [0], "{kind}");
        assert!(found.stages.iter().flat_map(|stage| &stage.scans).all(|scan| !scan.whole), "{kind}: {found:?}");
    }
    // Every row of the right side is to appear once.
    for kind in ["RIGHT", "FULL"] {
        let Decision::Distributed(found) = decide(&always(kind), elsewhere) else { panic!("{kind}") };
        assert_eq!(found.stages[0].exchange, Exchange::Hash { consumer: 0, side: 0 }, "{kind}: {found:?}");
    }
    // What is read in this process costs less to read again than to send.
    let here = decided(&always("INNER"));
    assert!(here.stages[0].scans.iter().any(|scan| scan.whole), "{here:?}");
}

#[test]
fn an_asof_join_divides_its_left_side_only() {
    let text = r#"(ASOF_JOIN "join":{"type":"INNER","asof":true} [small 1000] [large 1000000])"#;
    let scans = &always(text).stages[0].scans;
    assert!(scans.iter().any(|scan| scan.scan == 1 && scan.whole));
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
fn what_can_not_move_keeps_its_part_on_the_driver() {
    let split = always(r#"(PROJECTION "volatile":true (FILTER [t 500000]))"#);
    assert_eq!(cuts(&split), [(Cut::Subtree, 1, Exchange::Gather)]);
    let except = always("(EXCEPT [t 500000] [u 600000])");
    assert_eq!(cuts(&except), [(Cut::Subtree, 1, Exchange::Gather), (Cut::Subtree, 2, Exchange::Gather)]);
    let mut not_written = plan("(FILTER (FILTER [t 500000]))", r#""distribution":"always","#);
    not_written.not_written = vec![0];
    assert_eq!(cuts(&decided(&not_written)), [(Cut::Subtree, 1, Exchange::Gather)]);
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

/// The filters of the stages, as (stage, whose keys).
fn filters(distribution: &Distribution) -> Vec<(usize, usize)> {
    let stages = distribution.stages.iter().enumerate();
    stages.filter_map(|(number, stage)| Some((number, stage.filter?.stage))).collect()
}

#[test]
fn rows_that_meet_none_of_a_smaller_side_are_left_out() {
    let rows = |rows: u64| format!(r#""estimated_rows":{rows}"#);
    let side = |name: &str, rows: u64| format!(r#"(FILTER "estimated_rows":{rows} [{name} 9000000])"#);
    let of = |kind: &str, left: u64, right: u64, joined: u64| {
        let text = format!("({},{} {} {})", join(kind), rows(joined), side("x", left), side("y", right));
        filters(&elsewhere(&text))
    };
    let (small, large) = (700_000, 9_000_000);
    for (kind, left, right) in [
        ("INNER", true, true),
        ("LEFT", false, true),
        ("RIGHT", true, false),
        ("FULL", false, false),
        ("SEMI", true, true),
        ("ANTI", false, true),
        ("SINGLE", false, true),
    ] {
        let expected = |number: usize, is_filtered| if is_filtered { vec![(number, 1 - number)] } else { vec![] };
        assert_eq!(of(kind, large, small, 1_000_000), expected(0, left), "{kind}, left");
        assert_eq!(of(kind, small, large, 1_000_000), expected(1, right), "{kind}, right");
    }
    // Most rows meet some, the sides are alike, or there are too many keys.
    assert_eq!(of("INNER", large, small, 5_000_000), []);
    assert_eq!(of("INNER", large, large / 3, 1_000_000), []);
    assert_eq!(of("INNER", 90_000_000, 9_000_000, 1_000_000), []);
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

/// Nor does the join of groups with a large table: its rows go to where the groups are, those that meet one.
#[test]
fn rows_that_meet_no_group_are_left_out() {
    let groups = many_groups(&[A], "g").replace("5000000", "800000");
    for (kind, expected) in [("SEMI", vec![(1, 0)]), ("INNER", vec![(1, 0)]), ("ANTI", vec![]), ("LEFT", vec![])] {
        let join = join_by(kind, &[B], &[("g", true)]);
        let found = elsewhere(&format!("({join} [large 9000000] ({groups} [t 6000000]))"));
        assert_eq!(found.stages[1].divided_by, Some(0), "{kind}: {found:?}");
        assert_eq!(filters(&found), expected, "{kind}");
    }
}

/// How many stages shuffle their rows.
fn shuffles(distribution: &Distribution) -> usize {
    distribution.stages.iter().filter(|stage| matches!(stage.exchange, Exchange::Hash { .. })).count()
}

const A: (&str, bool) = ("a", true);
const B: (&str, bool) = ("b", true);
const C: (&str, bool) = ("c", true);

#[test]
fn an_aggregate_by_the_keys_of_its_join_needs_no_other_shuffle() {
    let group = [("b", false)];
    for (kind, expected) in [("INNER", 2), ("LEFT", 3), ("RIGHT", 3), ("FULL", 3)] {
        let text = format!("({} ({} [x 9000000] [y 9000000]))", many_groups(&group, "g"), join_by(kind, &[A], &[B]));
        let split = elsewhere(&text);
        assert_eq!(shuffles(&split), expected, "{kind}: {split:?}");
        // What meets in one task is not spread.
        let spread = split.stages.iter().filter(|stage| stage.join.is_some()).count();
        assert_eq!(spread, if expected == 2 { 0 } else { 2 }, "{kind}");
    }
    // Of two keys, one is enough; one that is none of the groups is not.
    for (keys, expected) in [([A, C], 2), ([A, ("d", true)], 3)] {
        let by = [("a", false), ("c", false)];
        let text =
            format!("({} ({} [x 9000000] [y 9000000]))", many_groups(&by, "g"), join_by("INNER", &keys, &[B, B]));
        assert_eq!(shuffles(&elsewhere(&text.replace(r#""column":"b""#, r#""text":"b + 1""#))), expected);
    }
}

#[test]
fn windows_and_distinct_rows_stay_where_their_keys_are() {
    let grouped = format!("({} [t 9000000])", many_groups(&[A], "g"));
    for above in [r#"WINDOW "keys":[[{"column":"g"},{"column":"h"}]]"#, r#"DISTINCT "keys":[[{"column":"g"}]]"#] {
        let split = elsewhere(&format!("({above} {grouped})"));
        let states = (Cut::PartialAggregate, 1, hash(1, 0));
        assert_eq!(cuts(&split), [states, (Cut::Subtree, 0, Exchange::Gather)], "{above}");
    }
    // A projection renames columns, or loses them.
    for (now, expected) in [("h", 1), ("other", 2)] {
        let renamed = format!(r#"(PROJECTION "renames":[{{"now":"{now}","was":"g"}}] {grouped})"#);
        assert_eq!(shuffles(&elsewhere(&format!(r#"(WINDOW "keys":[[{{"column":"h"}}]] {renamed})"#))), expected);
    }
}

#[test]
fn joins_by_the_same_keys_are_one_stage() {
    let inner = format!("({} [x 9000000] [y 9000000])", join_by("INNER", &[A], &[B]));
    for own in [A, B] {
        let other = ("other", true);
        let above = join_by("LEFT", &[("z", true), own], &[other, C]);
        let split = elsewhere(&format!("({above} {inner} [z 9000000])"));
        assert_eq!(shuffles(&split), 3, "{split:?}");
        // The third table is divided by what the first two are divided by.
        let third = split.stages.iter().find(|stage| stage.node == 4).unwrap();
        assert_eq!((third.exchange, third.hash_keys.as_slice()), (hash(0, 1), &[1][..]));
        assert_eq!(split.stages.last().unwrap().inputs, [0, 1, 2]);
    }
    // Groups of both sides are where their partners are.
    let sides = [many_groups(&[A], "g"), many_groups(&[B], "h")];
    let text = format!(
        "({} ({} [x 9000000]) ({} [y 9000000]))",
        join_by("FULL", &[("g", true)], &[("h", true)]),
        sides[0],
        sides[1]
    );
    let split = elsewhere(&text);
    assert_eq!(shuffles(&split), 2, "{split:?}");
    assert_eq!(split.stages.last().unwrap().inputs, [0, 1]);
}

/// `c` is NULL where a left row had no partner, whatever its key; after another join the key is no longer NULL.
#[test]
fn nulls_of_an_outer_join_are_not_taken_for_its_key() {
    let left = format!("({} [x 9000000] [y 9000000])", join_by("LEFT", &[A], &[C]));
    let inner = format!("({} {left} [z 9000000])", join_by("INNER", &[A], &[B]));
    for (group, expected) in [("a", 3), ("b", 3), ("c", 4)] {
        let split = elsewhere(&format!("({} {inner})", many_groups(&[(group, false)], "g")));
        assert_eq!(shuffles(&split), expected, "{group}: {split:?}");
    }
    // Where NULLs are equal, they must not be anywhere.
    let nulls = join_by("INNER", &[("a", false)], &[("b", false)]);
    assert_eq!(shuffles(&elsewhere(&format!("({nulls} {left} [z 9000000])"))), 4);
}

/// An integer of another type is equal, but not its hash.
#[test]
fn a_cast_key_serves_groups_but_not_joins() {
    let renamed = |cast: bool| {
        format!(
            r#"(PROJECTION "estimated_rows":9000000,"renames":[{{"now":"n","was":"g","cast":{cast}}}] ({} [t 9000000]))"#,
            many_groups(&[A], "g")
        )
    };
    let window = format!(r#"(WINDOW "keys":[[{{"column":"n"}}]] {})"#, renamed(true));
    assert_eq!(shuffles(&elsewhere(&window)), 1);
    for (cast, expected) in [(true, 3), (false, 2)] {
        let joined = format!("({} {} [y 9000000])", join_by("INNER", &[("n", true)], &[B]), renamed(cast));
        assert_eq!(shuffles(&elsewhere(&joined)), expected);
    }
}

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
