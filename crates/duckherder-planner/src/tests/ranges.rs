//! Tables that are stored by a key are read by ranges of it: no row moves.

use super::*;
use crate::zones::Zone;

/// What a scan's column, and each row group, has.
struct Stored(&'static str, u64, Vec<Zone>);

/// A table of so many row groups, each with a part of the values 0..12,000.
fn by(column: &'static str, groups: i64) -> Stored {
    let width = 12_000 / groups;
    let zone = |group: i64| Zone { rows: 122_880, least: group * width, greatest: (group + 1) * width - 1 };
    Stored(column, groups as u64 * 122_880, (0..groups).map(zone).collect())
}

/// Any value in any of them.
fn anyhow(column: &'static str, groups: i64) -> Stored {
    let Stored(column, rows, zones) = by(column, groups);
    Stored(column, rows, zones.into_iter().map(|zone| Zone { least: 0, greatest: 11_999, ..zone }).collect())
}

/// `text` over tables named t0, t1 ... in order, with 4 workers elsewhere.
fn over(tables: &[Stored], text: &str) -> Distribution {
    let mut text = text.to_string();
    for (number, Stored(_, rows, _)) in tables.iter().enumerate() {
        text = text.replace(&format!("t{number}"), &format!("[t{number} {rows}]"));
    }
    let mut plan = plan(&text, r#""distribution":"always","#);
    for (scan, Stored(column, _, zones)) in plan.root.preorder_scans_mut().into_iter().zip(tables) {
        scan.ranges = vec![RangeColumn { column: Column((*column).into()), number: 7, zones: zones.clone() }];
    }
    match decide(&plan, Workers { local: 0, remote: 4 }) {
        Decision::Distributed(distribution) => distribution,
        Decision::Local { reason, .. } => panic!("local: {reason}"),
    }
}

fn read_by_ranges(distribution: &Distribution) -> Vec<usize> {
    let last = distribution.stages.last().unwrap();
    last.scans
        .iter()
        .filter(|read| read.key.is_some_and(|key| key.column == 7 && key.cuts == 0))
        .map(|read| read.scan)
        .collect()
}

#[test]
fn a_join_of_two_tables_is_one_stage() {
    for kind in ["INNER", "LEFT", "RIGHT", "FULL", "SEMI", "ANTI", "RIGHT_SEMI", "RIGHT_ANTI", "SINGLE"] {
        let found = over(&[by("l", 12), by("r", 48)], &format!("({} t0 t1)", join(kind)));
        assert_eq!(shuffles(&found), 0, "{kind}: {found:?}");
        let [stage] = found.stages.as_slice() else { panic!("{kind}: {found:?}") };
        assert_eq!(
            (stage.mode, stage.tasks, &stage.cuts[&0][..]),
            (Mode::KeyRangePartition, 4, &[3000, 6000, 9000][..])
        );
        assert_eq!(read_by_ranges(&found), [0, 1]);
    }
}

#[test]
fn tables_that_are_not_stored_by_the_key_are_shuffled() {
    for tables in [[by("l", 12), anyhow("r", 48)], [anyhow("l", 48), by("r", 48)], [by("other", 48), by("r", 48)]] {
        let found = over(&tables, &format!("({} t0 t1)", join("FULL")));
        assert_eq!(shuffles(&found), 2, "{found:?}");
        assert!(found.stages.iter().all(|stage| stage.cuts.is_empty()));
    }
}

/// NOT IN has to know of every NULL.
#[test]
fn a_mark_join_is_not_divided() {
    let found = over(&[by("l", 48), by("r", 48)], &format!("({} t0 t1)", join("MARK")));
    assert!(read_by_ranges(&found).is_empty(), "{found:?}");
}

#[test]
fn a_third_table_and_groups_by_the_key_stay_in_the_stage() {
    let joins = format!("({} ({} t0 t1) t2)", join_by("INNER", &[A], &[C]), join_by("INNER", &[A], &[B]));
    let tables = || [by("a", 24), by("b", 48), by("c", 12)];
    let found = over(&tables(), &joins);
    assert_eq!((shuffles(&found), read_by_ranges(&found)), (0, vec![0, 1, 2]), "{found:?}");
    let groups = over(&tables(), &format!("({} {joins})", many_groups(&[("b", false)], "g")));
    assert_eq!((shuffles(&groups), groups.stages.len()), (0, 1), "{groups:?}");
    // By the key and more, too; but not by something else.
    let more = over(&tables(), &format!("({} {joins})", many_groups(&[("x", false), ("a", false)], "g")));
    assert_eq!((shuffles(&more), more.stages.len()), (0, 1), "{more:?}");
    let other = over(&tables(), &format!("({} {joins})", many_groups(&[("x", false)], "g")));
    assert_eq!((shuffles(&other), read_by_ranges(&other)), (1, Vec::new()), "{other:?}");
    assert_eq!(other.stages[0].cuts[&0].len(), 3);
}

#[test]
fn groups_of_one_table() {
    let found = over(&[by("a", 48)], &format!("({} t0)", many_groups(&[("a", false)], "g")));
    assert_eq!((shuffles(&found), read_by_ranges(&found)), (0, vec![0]), "{found:?}");
    // And what is joined with them by the same.
    let sides = format!("({} ({} t0) t1)", join_by("INNER", &[("g", true)], &[B]), many_groups(&[("a", false)], "g"));
    let found = over(&[by("a", 48), by("b", 24)], &sides);
    assert_eq!((shuffles(&found), read_by_ranges(&found)), (0, vec![0, 1]), "{found:?}");
    let found = over(&[anyhow("a", 48)], &format!("({} t0)", many_groups(&[("a", false)], "g")));
    assert_eq!(shuffles(&found), 1, "{found:?}");
}

/// A group of NULLs would be in several tasks.
#[test]
fn unmatched_rows_have_nulls_anywhere() {
    let left = format!("({} t0 t1)", join_by("LEFT", &[A], &[B]));
    let found = over(&[by("a", 48), by("b", 48)], &format!("({} {left})", many_groups(&[("b", false)], "g")));
    assert_eq!(shuffles(&found), 1, "{found:?}");
    // Which IS NOT DISTINCT FROM would join.
    let right = format!("({} t2 t3)", join_by("LEFT", &[("c", true)], &[("d", true)]));
    let both = format!("({} {left} {right})", join_by("INNER", &[("b", false)], &[("d", false)]));
    let tables = [by("a", 48), by("b", 48), by("c", 48), by("d", 48)];
    assert_eq!(shuffles(&over(&tables, &both)), 2);
    let both = format!("({} {left} {right})", join_by("INNER", &[("b", true)], &[("d", true)]));
    assert_eq!(shuffles(&over(&tables, &both)), 0);
}

/// Its rows come together in each task before the join.
#[test]
fn what_a_limit_leaves_is_not_divided() {
    let limited = r#"(LIMIT "limit":{"rows":5,"offset":0} t0)"#;
    let found = over(&[by("l", 1), by("r", 48)], &format!("({} {limited} t1)", join("INNER")));
    assert!(found.stages.iter().all(|stage| stage.scans.iter().all(|read| read.scan != 0 || read.key.is_none())));
}

/// Each by its own key: whose values are of another kind, perhaps.
#[test]
fn tables_that_are_not_joined_are_cut_apart() {
    let groups = |table: &str| format!("({} {table})", many_groups(&[("a", false)], "g"));
    let both = format!(
        r#"(UNION "all":true,{} {} {})"#,
        keys(&[&[("g", false)], &[("g", false)]]),
        groups("t0"),
        groups("t1")
    );
    let far = Stored(
        "a",
        48 * 122_880,
        by("a", 48)
            .2
            .into_iter()
            .map(|zone| Zone { least: zone.least * 1_000_000, greatest: zone.greatest * 1_000_000, ..zone })
            .collect(),
    );
    let found = over(&[by("a", 48), far], &format!("({} {both})", sum(0)));
    let stage = &found.stages[0];
    assert_eq!(
        stage.scans.iter().map(|read| read.key.map(|key| key.cuts)).collect::<Vec<_>>(),
        [Some(0), Some(1)],
        "{found:?}"
    );
    assert_eq!(stage.cuts[&0], [3000, 6000, 9000]);
    assert!(stage.cuts[&1].iter().all(|cut| *cut > 1_000_000_000));
}

/// Its rows stay where they were made: what others read by ranges is cut elsewhere.
#[test]
fn a_cte_is_not_read_by_the_ranges_of_others() {
    let made = format!("({} t0 t1)", join_by("INNER", &[A], &[B]));
    let read = |name: &str| format!(r#"(CTE_SCAN "cte":1,"columns":["{name}"],"estimated_rows":9000000)"#);
    let text = format!(
        r#"({} (CTE "cte":1,"columns":["a"] {made} ({} ({} {} t2) {})))"#,
        sum(0),
        join_by("INNER", &[("d", true)], &[("e", true)]),
        join_by("LEFT", &[("d", true)], &[C]),
        read("d"),
        read("e"),
    );
    let found = over(&[by("a", 48), by("b", 48), by("c", 24)], &text);
    for stage in found.stages.iter().filter(|stage| stage.scans.iter().any(|read| read.scan == 2)) {
        assert!(stage.scans.iter().all(|read| read.key.is_none()), "{found:?}");
    }
}

/// The rows of one that are shuffled go elsewhere.
#[test]
fn what_a_union_shuffles_is_not_divided_by_a_key() {
    let groups = |table: &str| format!("({} {table})", many_groups(&[("a", false)], "g"));
    let union = format!(
        r#"(UNION "all":true,{} {} {})"#,
        keys(&[&[("g", false)], &[("g", false)]]),
        groups("t0"),
        groups("t1")
    );
    let above = format!("({} {union})", many_groups(&[("g", false)], "h"));
    let small = Stored("a", 8_000, vec![Zone { rows: 8_000, least: 0, greatest: 11_999 }]);
    let found = over(&[by("a", 48), small], &above);
    assert!(found.stages.len() > 1, "{found:?}");
    let last = found.stages.last().unwrap();
    assert!(last.scans.iter().all(|read| read.key.is_none()), "{found:?}");
}
