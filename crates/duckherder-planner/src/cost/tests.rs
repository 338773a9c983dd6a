//! What is cheaper than what; milliseconds are the constants' matter.

use crate::cost::Measured;
use crate::cost::constants::{MOST_TRIED_US, WORTH_MEASURING_US, WORTH_TRYING};
use crate::{Capacity, Decision, Distribution, Estimate, Plan, Workers, decide, once_cached};

/// A join of two scans, of `large` and `small` rows, aggregated to one row.
fn join(large: u64, small: u64, files: bool, top: &str) -> Plan {
    let scan = |id: u64, rows: u64| {
        let files = match files {
            true => r#""shared_table":false,"files":{"paths":["f"],"row_groups":[[ROWS]],"bytes":[1]}"#.to_string(),
            false => r#""shared_table":true"#.to_string(),
        };
        let groups = vec!["122880".to_string(); rows.div_ceil(122_880) as usize].join(",");
        let files = files.replace("ROWS", &groups);
        format!(
            r#"{{"id":{id},"operator":"GET","estimated_rows":{rows},"row_bytes":16,"operations":6,"scan":{{"name":"t{id}",
            "rows":{rows},"row_bytes":16,"virtual_columns":false,"sampled":false,
            "index_lookup":false,{files}}}}}"#
        )
    };
    let (left, right) = (scan(2, large), scan(3, small));
    let text = format!(
        r#"{{"has_written":false,"threads":4,{top}"root":{{"id":0,"operator":"AGGREGATE","estimated_rows":1,
        "aggregate":{{"groups":0,"grouping_sets":false,
        "calls":[{{"name":"sum","distinct":false,"exportable":true}}]}},
        "children":[{{"id":1,"operator":"COMPARISON_JOIN","join":{{"type":"INNER"}},"keys":[[{{}}],[{{}}]],"row_bytes":32,
        "estimated_rows":{large},"operations":1,"children":[{left},{right}]}}]}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn elsewhere(workers: u64, threads: u64) -> Capacity {
    Capacity { workers: Workers { local: 0, remote: workers }, remote_threads: workers * threads }
}

const HERE: Workers = Workers { local: 4, remote: 0 };
const ALWAYS: &str = r#""distribution":"always","#;

fn distributed(plan: &Plan, capacity: impl Into<Capacity>) -> Distribution {
    match decide(plan, capacity) {
        Decision::Distributed(distribution) => distribution,
        Decision::Local { reason, .. } => panic!("{reason}"),
    }
}

fn estimate(plan: &Plan, capacity: impl Into<Capacity>) -> Estimate {
    distributed(plan, capacity).estimate
}

fn is_local(plan: &Plan, capacity: impl Into<Capacity>) -> bool {
    matches!(decide(plan, capacity), Decision::Local { .. })
}

#[test]
fn joins_of_files_go_to_threads_elsewhere_that_are_worth_it() {
    assert!(!is_local(&join(50_000_000, 1000, true, ""), elsewhere(4, 4)));
    // The same number of threads as the driver has.
    assert!(is_local(&join(50_000_000, 1000, true, ""), elsewhere(2, 2)));
    assert!(is_local(&join(100_000, 1000, true, ""), elsewhere(4, 4)));
    // Both sides large: rows move between workers.
    let large = distributed(&join(80_000_000, 60_000_000, true, ""), elsewhere(16, 4));
    assert!(large.stages.len() > 1, "{large:?}");
}

#[test]
fn tables_of_the_driver_stay_there() {
    for capacity in [elsewhere(4, 4), HERE.into()] {
        assert!(is_local(&join(5_000_000, 1000, false, ""), capacity));
    }
}

/// Unless they keep them.
#[test]
fn tables_in_caches_go_to_threads_elsewhere_that_are_worth_it() {
    let mut plan = join(50_000_000, 1000, false, "");
    for scan in plan.root.preorder_scans_mut() {
        scan.table = scan.name.clone();
    }
    assert!(is_local(&plan, elsewhere(7, 1)));
    let prospect = once_cached(&plan, elsewhere(7, 1)).unwrap();
    assert!(prospect.gain_us > 0 && prospect.fetch_us > 0, "{prospect:?}");
    for scan in plan.root.preorder_scans_mut() {
        (scan.cached, scan.cached_whole) = (1.0, 1.0);
    }
    let found = estimate(&plan, elsewhere(7, 1));
    assert_eq!(found.local_us - found.distributed_us, prospect.gain_us);
    assert!(once_cached(&plan, elsewhere(7, 1)).is_none(), "they have all");
    for scan in plan.root.preorder_scans_mut() {
        (scan.cached, scan.cached_whole) = (0.5, 0.5);
    }
    let half = once_cached(&plan, elsewhere(7, 1)).unwrap();
    assert!(half.fetch_us < prospect.fetch_us, "{half:?} {prospect:?}");
    // Those that have no threads to offer win nothing, whatever they keep.
    assert!(once_cached(&plan, elsewhere(2, 2)).is_none() && once_cached(&plan, HERE).is_none());
}

/// They read them themselves, where the driver keeps them in a storage that they reach.
#[test]
fn tables_in_storage_go_to_threads_elsewhere_that_are_worth_it() {
    let large = |top: &str| join(50_000_000, 1000, false, top);
    assert!(is_local(&large(""), elsewhere(7, 1)));
    let found = distributed(&large(r#""stored":true,"#), elsewhere(7, 1)).estimate;
    // Somewhat more than files that they see.
    let files = estimate(&join(50_000_000, 1000, true, ""), elsewhere(7, 1));
    assert!(found.local_us > found.distributed_us, "{found:?}");
    assert!(found.distributed_us < 2 * files.distributed_us, "{found:?} {files:?}");
    // The same number of threads as the driver has; a table that is read in no time.
    assert!(is_local(&large(r#""stored":true,"#), elsewhere(2, 2)));
    assert!(is_local(&join(100_000, 1000, false, r#""stored":true,"#), elsewhere(7, 1)));
}

/// Workers in the driver's process share its threads, so that a stage can only add to what the driver does.
#[test]
fn workers_here_win_nothing() {
    let plan = join(5_000_000, 1000, false, ALWAYS);
    let found = estimate(&plan, HERE);
    assert!(found.distributed_us > found.local_us, "{found:?}");
    assert!(found.distributed_us < found.local_us * 2, "{found:?}");
}

#[test]
fn more_threads_take_less_and_more_rows_more() {
    let plan = |rows| join(rows, 1000, true, ALWAYS);
    let few = estimate(&plan(50_000_000), elsewhere(2, 2));
    let many = estimate(&plan(50_000_000), elsewhere(8, 2));
    assert!(many.distributed_us < few.distributed_us, "{few:?} {many:?}");
    assert_eq!(many.local_us, few.local_us);
    assert!(estimate(&plan(100_000_000), elsewhere(8, 2)).distributed_us > many.distributed_us);
    // What workers elsewhere read of the driver's tables, the driver sends.
    let fetched = estimate(&join(50_000_000, 1000, false, ALWAYS), elsewhere(8, 2));
    assert!(fetched.distributed_us > 2 * many.distributed_us, "{fetched:?} {many:?}");
}

/// States of many groups cost more than the aggregate that the driver would do.
#[test]
fn many_groups_stay_on_the_driver() {
    let plan = |groups: u64| -> Plan {
        let text = format!(
            r#"{{"has_written":false,"threads":2,"root":{{"id":0,"operator":"AGGREGATE","estimated_rows":{groups},
            "aggregate":{{"groups":1,"distinct":{groups},"grouping_sets":false,
            "calls":[{{"name":"sum","distinct":false,"exportable":true}}]}},
            "children":[{{"id":1,"operator":"GET","estimated_rows":6000000,"scan":{{"name":"t","shared_table":true,
            "rows":6000000,"virtual_columns":false,"sampled":false,"index_lookup":false}}}}]}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    };
    assert!(is_local(&plan(1_500_000), HERE));
    assert!(!is_local(&plan(10), HERE));
}

#[test]
fn reasons_tell_the_costs() {
    let Decision::Local { reason, .. } = decide(&join(5_000_000, 1000, false, ""), HERE) else { panic!("distributed") };
    assert!(reason.starts_with("it takes less here: local "), "{reason}");
    assert!(reason.contains(" ms, distributed ") && reason.ends_with(" ms (1 stage)"), "{reason}");
}

/// A join of files that stays on the driver with two workers of two threads, and goes to workers of eight.
fn measured(local_us: Option<u64>, distributed_us: Option<u64>, may_try: bool) -> Plan {
    let mut plan = join(50_000_000, 1000, true, "");
    plan.measured = Measured { local_us, distributed_us, may_try };
    plan
}

#[test]
fn what_took_less_is_taken_whatever_was_estimated() {
    let (few, many) = (elsewhere(2, 2), elsewhere(8, 2));
    assert!(is_local(&measured(None, None, true), few) && !is_local(&measured(None, None, true), many));
    for capacity in [few, many] {
        assert!(is_local(&measured(Some(100_000), Some(101_000), false), capacity));
        assert!(!is_local(&measured(Some(101_000), Some(100_000), false), capacity));
    }
    let found = estimate(&measured(Some(101_000), Some(100_000), true), few);
    assert!(found.why().contains("local 101.0 ms (measured, estimated "), "{}", found.why());
    let Decision::Local { reason, .. } = decide(&measured(Some(1000), Some(2000), true), few) else { panic!() };
    assert!(reason.contains("it takes less here: local 1.0 ms (measured"), "{reason}");
    // Those that share the driver's threads have nothing to win.
    assert!(is_local(&measured(Some(101_000), Some(100_000), true), HERE));
}

#[test]
fn a_way_that_was_not_taken_is_tried_if_it_may_take_less() {
    let (few, many) = (elsewhere(2, 2), elsewhere(8, 2));
    let estimated = estimate(&join(50_000_000, 1000, true, ALWAYS), few);
    // It takes a little more on workers, by the estimates.
    assert!(estimated.distributed_us as f64 <= estimated.local_us as f64 * WORTH_TRYING, "{estimated:?}");
    assert!(!is_local(&measured(Some(100_000), None, true), few));
    assert!(is_local(&measured(Some(100_000), None, false), few));
    assert!(is_local(&measured(Some(WORTH_MEASURING_US - 1), None, true), few), "nothing to win");
    assert!(is_local(&measured(Some(MOST_TRIED_US), None, true), few), "too much to lose");
    // On the driver it takes four times as much, by the estimates; as much as workers have taken.
    let estimated = estimate(&measured(None, None, true), many);
    assert!(!is_local(&measured(None, Some(estimated.distributed_us), true), many));
    assert!(is_local(&measured(None, Some(estimated.local_us), true), many));
    // Workers that have to be sent its tables are not tried.
    let mut fetched = join(5_000_000, 1000, false, "");
    fetched.measured = Measured { local_us: Some(1_900_000), distributed_us: None, may_try: true };
    assert!(is_local(&fetched, many));
}
