//! Distributed answers against DuckDB's own, and how the work was divided.

use crate::herd::{Herd, rows_of};

const T: &str = "CREATE TABLE t AS SELECT i AS id, i % 7 AS g, (i * 37) % 1000 AS v,
    (i % 100)::DECIMAL(12,2) / 3 AS d, 'name ' || (i % 13) AS s,
    CASE WHEN i % 5 = 0 THEN NULL ELSE i / 3.0 END AS f,
    DATE '2020-01-01' + (i % 1000)::INTEGER AS day FROM range(ROWS) r(i)";

fn herd_with(workers: usize, rows: u64) -> Herd {
    let herd = Herd::new(workers);
    herd.plain.execute(&T.replace("ROWS", &rows.to_string())).unwrap();
    herd
}

#[test]
fn modes_by_table_size() {
    for (rows, mode, tasks) in [
        (100, "DELEGATED", 1),
        (10_000, "DELEGATED", 1),
        (200_000, "NATURAL_PARTITION", 4),
        (250_000, "NATURAL_PARTITION", 4),
        (500_000, "ROW_GROUP_PARTITION", 4),
    ] {
        let herd = herd_with(4, rows);
        let mut session = herd.session();
        let outcome = herd.same(&mut session, "SELECT sum(v), count(*), avg(d) FROM t WHERE v > 10");
        assert_eq!((outcome.mode.as_str(), outcome.tasks), (mode, tasks), "{rows} rows");
        assert_eq!(outcome.workers_used, tasks.min(4), "{rows} rows");
    }
    let herd = herd_with(0, 500_000);
    let mut session = herd.session();
    let outcome = herd.same(&mut session, "SELECT sum(v) FROM t");
    assert_eq!((outcome.mode.as_str(), outcome.tasks, outcome.workers_used), ("LOCAL", 0, 0));
}

#[test]
fn shapes_of_queries() {
    let herd = herd_with(4, 500_000);
    let mut session = herd.session();
    for (sql, merge) in [
        ("SELECT sum(v), min(s), max(f), count(f) FROM t", "AGGREGATE"),
        ("SELECT sum(v) FILTER (v > 500), count(*) FROM t WHERE s = 'name 77'", "AGGREGATE"),
        ("SELECT g, sum(v), avg(f), count(*) FROM t GROUP BY g", "GROUP_BY"),
        ("SELECT g, s, sum(d) FROM t WHERE v < 500 GROUP BY g, s HAVING sum(d) > 10", "GROUP_BY"),
        ("SELECT g + 1, sum(v * 2) + count(*) FROM t GROUP BY g + 1", "GROUP_BY"),
        ("SELECT DISTINCT s, g FROM t", "DISTINCT"),
        ("SELECT count(DISTINCT s) FROM t", ""),
        ("SELECT g, count(DISTINCT s), sum(v) FROM t GROUP BY g", ""),
        ("SELECT g, s, sum(v) FROM t GROUP BY ROLLUP (g, s)", ""),
        ("SELECT g, s, sum(v), grouping(g) FROM t GROUP BY CUBE (g, s)", ""),
        ("SELECT mode(CASE WHEN v < 500 THEN g ELSE 3 END), sum(v) FROM t", "CONCATENATE"),
        ("SELECT id, s FROM t WHERE v = 37", "CONCATENATE"),
        ("SELECT count(*) FROM (SELECT id FROM t WHERE v > 3 LIMIT 1000 OFFSET 10)", "CONCATENATE"),
        ("SELECT id, row_number() OVER (PARTITION BY g ORDER BY id) FROM t WHERE v = 5", "CONCATENATE"),
    ] {
        let outcome = herd.same(&mut session, sql);
        assert_eq!(outcome.mode, "ROW_GROUP_PARTITION", "{sql}");
        if !merge.is_empty() {
            assert_eq!(outcome.merge_strategy, merge, "{sql}");
        }
        // Once a limit has its rows, who has not begun need not.
        let least = if sql.contains("LIMIT") { 1 } else { 4 };
        assert!((least..=4).contains(&outcome.workers_used), "{} workers: {sql}", outcome.workers_used);
    }
}

#[test]
fn rows_keep_their_order() {
    let herd = herd_with(4, 500_000);
    let mut session = herd.session();
    for (sql, merge) in [
        ("SELECT id, s, d, f, day FROM t", "CONCATENATE"),
        ("SELECT id FROM t WHERE v > 990", "CONCATENATE"),
        ("SELECT id, v FROM t LIMIT 5", "CONCATENATE"),
        ("SELECT id, v FROM t WHERE g = 3 LIMIT 10 OFFSET 100000", "CONCATENATE"),
        ("SELECT id, v FROM t ORDER BY v DESC, id LIMIT 10 OFFSET 3", "TOP_N"),
        ("SELECT * FROM t ORDER BY f DESC NULLS FIRST, id LIMIT 3", "TOP_N"),
        ("SELECT id, v FROM t WHERE v < 5 ORDER BY v, id DESC", "CONCATENATE"),
        ("SELECT s, sum(v) FROM t GROUP BY s ORDER BY s", "GROUP_BY"),
        ("SELECT list(id ORDER BY id), string_agg(s, ',' ORDER BY id DESC) FROM t WHERE v = 1", "AGGREGATE"),
        ("SELECT g, first(id ORDER BY id), last(s ORDER BY id) FROM t GROUP BY g ORDER BY g", "GROUP_BY"),
    ] {
        let outcome = herd.same_ordered(&mut session, sql);
        assert_eq!((outcome.mode.as_str(), outcome.merge_strategy.as_str()), ("ROW_GROUP_PARTITION", merge), "{sql}");
    }
}

#[test]
fn explain_tells_stages_and_reasons() {
    let herd = herd_with(2, 500_000);
    let session = herd.session();
    let text = |sql: &str| rows_of(&session.connection, sql).unwrap().join("\n");
    let plan = text("EXPLAIN SELECT g, sum(v) FROM t GROUP BY g");
    for word in ["Duckherder Exchange", "ROW_GROUP_PARTITION", "GROUP_BY", "split_0"] {
        assert!(plan.contains(word), "{word} is not in\n{plan}");
    }
    let analyzed = text("EXPLAIN ANALYZE SELECT g, sum(v) FROM t GROUP BY g");
    for word in ["GROUP_BY", "Task 0", "Task 1", "7 rows", "local-0", "local-1"] {
        assert!(analyzed.contains(word), "{word} is not in\n{analyzed}");
    }
    let local = text("EXPLAIN SELECT v + random() FROM t");
    assert!(local.contains("LOCAL") && local.contains("less"), "{local}");
    assert!(text("EXPLAIN ANALYZE SELECT v + random() FROM t").contains("LOCAL"));
}
