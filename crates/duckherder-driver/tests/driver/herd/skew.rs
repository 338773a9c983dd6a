//! Joins of two large tables of which one key, or NULL, has most of the rows.

use super::{Herd, Session, rows_of};

/// `x` and `z` have 90 % of their rows in key 7 of `k` and in NULL of `n`, and a seventh in key 7 of `m`; `y` has each
/// key once.
pub fn make_tables(herd: &Herd) {
    for (name, rows) in [("x", 300_000), ("z", 280_000)] {
        let make = format!(
            "CREATE TABLE {name} AS SELECT i, CASE WHEN i % 10 > 0 THEN 7 ELSE i END AS k,
                 CASE WHEN i % 10 > 0 THEN NULL ELSE i END AS n, 'text ' || i % 100 AS s,
                 CASE WHEN i % 7 = 0 THEN 7 ELSE i + 1000000 END AS m FROM range({rows}) r(i)"
        );
        herd.plain.execute(&make).unwrap();
    }
    herd.plain
        .execute(
            "CREATE TABLE y AS SELECT i, CASE WHEN i % 10 > 0 THEN NULL ELSE i END AS n,
                 'so wide that each task would rather not read all of it ' || i AS w FROM range(290000) r(i)",
        )
        .unwrap();
}

/// Whether rows of a heavy key are spread, and the join.
const JOINS: &[(bool, &str)] = &[
    (true, "FROM x JOIN y ON x.k = y.i"),
    (true, "FROM y JOIN x ON x.k = y.i"),
    (true, "FROM x LEFT JOIN y ON x.k = y.i"),
    (true, "FROM x LEFT JOIN y ON x.k = y.i + 8"),
    (true, "FROM y RIGHT JOIN x ON x.k = y.i"),
    (false, "FROM y LEFT JOIN x ON x.k = y.i"),
    (false, "FROM x RIGHT JOIN y ON x.k = y.i"),
    (false, "FROM x FULL JOIN y ON x.k = y.i"),
    (true, "FROM x JOIN y ON x.k = y.i AND x.i % 7 > y.i % 5"),
    (true, "FROM x SEMI JOIN y ON x.k = y.i"),
    (true, "FROM x ANTI JOIN y ON x.k = y.i"),
    (true, "FROM x ANTI JOIN (FROM y WHERE i <> 7) y ON x.k = y.i"),
    (false, "FROM y SEMI JOIN x ON x.k = y.i"),
    (false, "FROM y ANTI JOIN x ON x.k = y.i"),
    (false, "FROM x SEMI JOIN z ON x.k = z.k"),
    (false, "FROM x ANTI JOIN z ON x.k = z.k"),
    (false, "FROM x FULL JOIN z ON x.k = z.k AND x.i = z.i"),
    (true, "FROM (FROM x WHERE i % 2 = 0) x JOIN (FROM y WHERE i % 2 = 1) y ON x.k = y.i"),
    (true, "FROM (FROM x WHERE i < 12000) x JOIN (FROM z WHERE i < 12000) z ON x.m = z.m AND x.i + z.i > 22000"),
    (true, "FROM (FROM x WHERE i < 12000) x LEFT JOIN (FROM z WHERE i < 12000) z ON x.m = z.m AND x.i + z.i > 22000"),
    (false, "FROM (FROM x WHERE i < 12000) x FULL JOIN (FROM z WHERE i < 12000) z ON x.m = z.m AND x.i + z.i > 22000"),
    (true, "FROM x JOIN y ON x.k::VARCHAR = y.i::VARCHAR"),
    (true, "FROM x JOIN y ON x.k = y.i AND x.s LIKE 'text%' AND (x.k, x.s IS NULL) = (y.i, y.i IS NULL)"),
    (true, "FROM x JOIN y ON x.n IS NOT DISTINCT FROM CASE WHEN y.i > 0 THEN y.i END"),
    (true, "FROM x LEFT JOIN y ON x.n IS NOT DISTINCT FROM CASE WHEN y.i > 0 THEN y.i END"),
    (false, "FROM x FULL JOIN y ON x.n IS NOT DISTINCT FROM CASE WHEN y.i > 0 THEN y.i END"),
    (false, "FROM x JOIN y ON x.n = y.n"),
    (false, "FROM x LEFT JOIN y ON x.n = y.n"),
    (false, "FROM x RIGHT JOIN y ON x.n = y.n"),
    (false, "FROM x FULL JOIN y ON x.n = y.n"),
    (false, "FROM x FULL JOIN y ON x.n = y.n AND x.i = y.i"),
    (false, "FROM x SEMI JOIN y ON x.n = y.n"),
    (false, "FROM x ANTI JOIN y ON x.n = y.n"),
    (false, "FROM x WHERE n IN (SELECT n FROM y)"),
    (false, "FROM x WHERE n NOT IN (SELECT n FROM y WHERE n IS NOT NULL)"),
    (true, "FROM x JOIN y ON x.k = y.i JOIN z ON z.k = y.i + 1"),
    (false, "FROM x FULL JOIN y ON x.k = y.i FULL JOIN z ON z.n = y.i"),
];

/// Every join gives DuckDB's rows. Where `spreads`, those of the kinds for it had heavy keys.
pub fn check(herd: &Herd, session: &mut Session, spreads: bool) {
    session.connection.execute("SET duckherder_distribution = 'always'").unwrap();
    let mut spread_joins = 0;
    for (spread, join) in JOINS {
        let sums = format!("SELECT count(*), sum(hash(COLUMNS(*))::HUGEINT) {join}");
        let outcome = herd.same(session, &sums);
        assert_ne!(outcome.mode, "LOCAL", "{sums}");
        let analyzed = analyze(session, &format!("SELECT * {join}"));
        println!("{} heavy={} {:?} {join}", outcome.mode, analyzed.contains("heavy"), last_rows(&analyzed));
        // Where a side is rather read whole by every task, nothing is to be spread.
        if spreads && is_shuffled(&analyzed) {
            assert_eq!(analyzed.contains("heavy"), *spread, "{join}\n{analyzed}");
            spread_joins += usize::from(*spread);
        }
    }
    assert!(!spreads || spread_joins >= 10, "only {spread_joins} joins had their heavy keys spread");
}

fn is_shuffled(analyzed: &str) -> bool {
    analyzed.contains("shuffled by the hash")
}

/// No task has twice the rows of the others.
pub fn check_balance(session: &mut Session) {
    session.connection.execute("SET duckherder_distribution = 'always'").unwrap();
    let mut balanced = 0;
    for join in [
        "FROM x JOIN y ON x.k = y.i",
        "FROM x LEFT JOIN y ON x.k = y.i + 8",
        "FROM y RIGHT JOIN x ON x.k = y.i",
        "FROM x ANTI JOIN (FROM y WHERE i <> 7) y ON x.k = y.i",
        "FROM x SEMI JOIN y ON x.k = y.i",
        "FROM x LEFT JOIN y ON x.n = y.n",
        "FROM x FULL JOIN y ON x.n = y.n",
    ] {
        let analyzed = analyze(session, &format!("SELECT * {join}"));
        if !is_shuffled(&analyzed) {
            continue;
        }
        balanced += 1;
        let mut rows = last_rows(&analyzed);
        rows.sort_unstable();
        assert_eq!(rows.len(), 4, "{join}\n{analyzed}");
        assert!(rows[3] < 2 * rows[1] && rows.iter().sum::<u64>() > 250_000, "{rows:?} {join}\n{analyzed}");
    }
    assert!(balanced >= 4, "only {balanced} joins were shuffled");
}

fn analyze(session: &Session, sql: &str) -> String {
    rows_of(&session.connection, &format!("EXPLAIN (ANALYZE, FORMAT json) {sql}")).unwrap().join("\n")
}

/// The rows of each task of the last stage.
fn last_rows(analyzed: &str) -> Vec<u64> {
    let tasks = analyzed.split("\"Task ").skip(1).filter_map(|task| {
        let (stage, _) = task.split_once('.')?;
        let (_, rest) = task.split_once(" rows: ")?;
        Some((stage.parse::<u64>().ok()?, rest.split_once(" rows")?.0.parse().ok()?))
    });
    let tasks: Vec<(u64, u64)> = tasks.collect();
    let last = tasks.iter().map(|(stage, _)| *stage).max();
    tasks.iter().filter(|(stage, _)| Some(*stage) == last).map(|(_, rows)| *rows).collect()
}
