//! Runtime filters.

use super::*;

/// The filters of the stages, as (stage, whose keys).
fn filters(distribution: &Distribution) -> Vec<(usize, usize)> {
    let stages = distribution.stages.iter().enumerate();
    stages.filter_map(|(number, stage)| Some((number, stage.filter.as_ref()?.stage))).collect()
}

#[test]
fn rows_that_meet_none_of_a_smaller_side_are_left_out() {
    let rows = |rows: u64| format!(r#""estimated_rows":{rows}"#);
    let side = |name: &str, rows: u64| format!(r#"(FILTER "estimated_rows":{rows} [{name} 9000000])"#);
    let of = |kind: &str, left: u64, right: u64, joined: u64| {
        let text = format!("({},{} {} {})", join(kind), rows(joined), side("x", left), side("y", right));
        filters(&on(16, &text))
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

/// Nor does the join of groups with a large table: its rows go to where the groups are, those that meet one.
#[test]
fn rows_that_meet_no_group_are_left_out() {
    let groups = many_groups(&[A], "g").replace("5000000", "800000");
    for (kind, expected) in [("SEMI", vec![(1, 0)]), ("INNER", vec![(1, 0)]), ("ANTI", vec![]), ("LEFT", vec![])] {
        let join = join_by(kind, &[B], &[("g", true)]).replace("9000000", "1000000");
        let found = on(16, &format!("({join} [large 9000000] ({groups} [t 6000000]))"));
        assert_eq!(found.stages[1].divided_by, Some(0), "{kind}: {found:?}");
        assert_eq!(filters(&found), expected, "{kind}");
    }
}

/// Of several stages that were shuffled alike, the smallest whose keys are all that there are filters; but not where
/// other keys come out of their join as well.
#[test]
fn a_stage_of_a_join_filters_what_goes_to_that_join() {
    let side = |name: &str, rows: u64| format!(r#"(FILTER "estimated_rows":{rows} [{name} 9000000])"#);
    for (kind, expected) in [("INNER", Some(1)), ("SEMI", Some(1)), ("LEFT", Some(0)), ("FULL", None)] {
        let join = |kind: &str, left, right, rows: &str| join_by(kind, left, right).replace("9000000", rows);
        let below = format!("({} {} {})", join(kind, &[A], &[B], "800000"), side("x", 820_000), side("y", 500_000));
        let text = format!("({} {below} {})", join("INNER", &[A], &[C], "100000"), side("z", 9_000_000));
        let found = on(16, &text);
        let large = found.stages.iter().find(|stage| stage.node == 6).unwrap();
        assert_eq!(large.divided_by, expected, "{kind}: {found:?}");
        assert_eq!(large.filter.as_ref().map(|filter| filter.stage), expected, "{kind}");
    }
}

/// A key that is a column of a scan, whatever it is called above, and is not compared with NULL.
#[test]
fn scans_read_no_rows_beyond_the_keys() {
    let small = r#"(FILTER "estimated_rows":700000 [small 9000000])"#;
    let dim = "[dim 1000]";
    let narrowed = |large: &str, null_meets_none: bool, scan: &str, column: &str| {
        let join = join_by("RIGHT", &[("l", null_meets_none)], &[("r", null_meets_none)]).replace("9000000", "1000");
        let mut plan = plan(&format!("({join} {large} {small})"), r#""distribution":"always","#);
        let range = RangeColumn { column: Column(column.into()), number: 3, zones: Vec::new() };
        plan.root.preorder_scans_mut().into_iter().filter(|found| found.name == scan).for_each(|found| {
            found.ranges = vec![range.clone()];
        });
        let Decision::Distributed(found) = decide(&plan, Workers { local: 0, remote: 16 }) else { panic!("local") };
        let filter = found.stages.iter().find_map(|stage| stage.filter.clone());
        filter.unwrap_or_else(|| panic!("{found:?}")).ranges
    };
    let big = "[big 9000000]";
    let of_scan = |scan| vec![KeyOfScan { key: 0, scan, column: 3 }];
    let filtered = format!(r#"(FILTER "estimated_rows":9000000 {big})"#);
    assert_eq!(narrowed(&filtered, true, "big", "l"), of_scan(0));
    assert_eq!(narrowed(&filtered, true, "big", "m"), []);
    assert_eq!(narrowed(&filtered, false, "big", "l"), []);
    for (cast, expected) in [(false, of_scan(0)), (true, vec![])] {
        let renames = format!(r#""renames":[{{"now":"l","was":"k","cast":{cast}}}]"#);
        let renamed = format!(r#"(PROJECTION "estimated_rows":9000000,{renames} {big})"#);
        assert_eq!(narrowed(&renamed, true, "big", "k"), expected);
    }
    // Where a row without a partner comes out, too, other rows of the partners' side would come out with NULL.
    let joined = |kind: &str| format!(r#"({},"estimated_rows":9000000 {big} {dim})"#, join(kind));
    assert_eq!(narrowed(&joined("LEFT"), true, "big", "l"), of_scan(0));
    assert_eq!(narrowed(&joined("LEFT"), true, "dim", "l"), []);
    assert_eq!(narrowed(&joined("INNER"), true, "dim", "l"), of_scan(1));
}

/// The driver sends workers elsewhere no rows of its table beyond the keys of what is broadcast to them.
#[test]
fn a_table_is_sent_by_the_range_of_the_keys_that_are_broadcast() {
    let small = r#"(FILTER "estimated_rows":1000 [small 100000])"#;
    let narrowed = |kind: &str, rows: u64, workers: Workers| {
        let join = join_by(kind, &[A], &[B]).replace("9000000", &rows.to_string());
        let mut plan = plan(&format!("({join} [big 9000000] {small})"), r#""distribution":"always","#);
        for scan in plan.root.preorder_scans_mut().into_iter().filter(|scan| scan.name == "big") {
            scan.ranges = vec![RangeColumn { column: Column("a".into()), number: 5, zones: Vec::new() }];
        }
        let Decision::Distributed(found) = decide(&plan, workers) else { panic!("local") };
        let broadcast = found.stages.iter().position(|stage| stage.exchange == Exchange::Broadcast);
        let filter = found.stages.iter().find_map(|stage| stage.filter.clone());
        let told = broadcast.and_then(|stage| found.stages[stage].told_keys);
        filter.map(|filter| (Some(filter.stage) == broadcast, filter.bits, filter.ranges, told))
    };
    let elsewhere = Workers { local: 0, remote: 4 };
    let expected = (true, 0, vec![KeyOfScan { key: 0, scan: 0, column: 5 }], Some((0, 1)));
    assert_eq!(narrowed("INNER", 1000, elsewhere), Some(expected.clone()));
    assert_eq!(narrowed("SEMI", 1000, elsewhere), Some(expected));
    // Rows without a partner come out, too; most rows have one; DuckDB itself reads no more of tables of its process.
    assert_eq!(narrowed("LEFT", 1000, elsewhere), None);
    assert_eq!(narrowed("INNER", 8_000_000, elsewhere), None);
    assert_eq!(narrowed("INNER", 1000, Workers { local: 4, remote: 0 }), None);
}
