//! Queries over several tables, that make several stages.

use super::{Herd, Session};

/// Two large tables, a small one and an empty one, with NULLs and repeated keys.
pub fn make_tables(herd: &Herd) {
    herd.plain
        .execute(
            "CREATE TABLE a AS SELECT i AS id, i % 1000 AS k, CASE WHEN i % 11 = 0 THEN NULL ELSE i % 5000 END AS n,
                 'name ' || (i % 97) AS s, (i / 8)::DECIMAL(12, 3) AS d FROM range(300000) r(i);
             CREATE TABLE b AS SELECT i AS id, (i * 7) % 1500 AS k, CASE WHEN i % 13 = 0 THEN NULL ELSE i % 6000 END AS n,
                 'name ' || (i % 89) AS s, [i, i + 1] AS l FROM range(200000) r(i);
             CREATE TABLE c AS SELECT i AS k, CASE WHEN i % 3 = 0 THEN NULL ELSE 'tag ' || i END AS tag
                 FROM range(700) r(i);
             CREATE TABLE nothing (k BIGINT, s VARCHAR);
             -- Names that the rows of stages and splits have.
             CREATE TABLE exchange_0 (c0 BIGINT, c1 BIGINT, c2 BIGINT, c3 BIGINT);
             INSERT INTO exchange_0 VALUES (1, 2, 3, 4);
             CREATE VIEW exchange_1 AS FROM exchange_0;
             CREATE TABLE split_0 AS FROM exchange_0;",
        )
        .unwrap();
}

/// Each is compared with the same query on one machine.
pub const QUERIES: &[&str] = &[
    "SELECT count(*), sum(a.id), sum(b.id) FROM a JOIN b ON a.id = b.id",
    "SELECT a.id, b.id, a.s FROM a JOIN b ON a.n = b.id WHERE a.id % 50 = 0",
    "SELECT count(*), sum(a.id), count(tag) FROM a JOIN c USING (k)",
    "SELECT count(*), sum(a.id), count(tag) FROM a LEFT JOIN c USING (k)",
    "SELECT count(*), count(a.id), count(tag) FROM a RIGHT JOIN c ON a.n = c.k",
    "SELECT count(*), count(a.id), count(tag), sum(c.k) FROM a FULL JOIN c ON a.n = c.k + 600",
    "SELECT count(*), count(a.id), count(b.id), sum(b.k) FROM a FULL JOIN b ON a.n = b.n AND a.s = b.s",
    "SELECT count(*), sum(id) FROM a WHERE k IN (SELECT k FROM c WHERE tag IS NOT NULL)",
    "SELECT count(*), sum(id) FROM a WHERE n NOT IN (SELECT n FROM b WHERE n IS NOT NULL AND n < 100)",
    "SELECT count(*), sum(id) FROM a WHERE n NOT IN (SELECT n FROM b)",
    "SELECT count(*), sum(id) FROM a WHERE n NOT IN (SELECT k FROM nothing)",
    "SELECT count(*), sum(id) FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.n = a.n AND b.k > a.k)",
    "SELECT count(*), sum(id) FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.n = a.n)",
    "SELECT count(*), sum(x) FROM (SELECT (SELECT max(b.id) FROM b WHERE b.n = a.n) AS x FROM a WHERE id < 5000)",
    "SELECT count(*) FROM a WHERE d > (SELECT avg(d) FROM a)",
    "SELECT count(*) FROM c x JOIN c y ON x.k < y.k",
    "SELECT count(*) FROM c x, nothing y",
    "SELECT count(*), sum(k) FROM nothing RIGHT JOIN c USING (k)",
    "SELECT x.id, y.id FROM a x JOIN a y ON x.id = y.n WHERE x.id < 300 AND y.id < 6000",
    "SELECT tag, count(*), sum(a.d), avg(b.k) FROM a JOIN b ON a.id = b.id JOIN c ON c.k = b.k GROUP BY tag",
    "SELECT s, count(DISTINCT n), mode(k) FILTER (k = 3) FROM a GROUP BY s",
    "SELECT id, sum(k), list(s) FROM a GROUP BY id HAVING sum(k) > 998",
    "SELECT k, id, row_number() OVER (PARTITION BY k ORDER BY id), sum(n) OVER (PARTITION BY k ORDER BY id) FROM a",
    "SELECT k, s, sum(n) OVER (PARTITION BY s), count(*) OVER (PARTITION BY s) FROM (SELECT k, s, n FROM a WHERE id < 999)",
    "SELECT k, max(c) OVER (PARTITION BY k % 10) FROM (SELECT k, n, count(*) AS c FROM a GROUP BY k, n)",
    "SELECT tag, count(*) OVER (PARTITION BY k % 7) FROM c",
    "SELECT id FROM b QUALIFY rank() OVER (PARTITION BY n, s ORDER BY id DESC) = 1",
    "SELECT k, s, count(*) FROM a GROUP BY GROUPING SETS ((k), (s), ())",
    "SELECT k FROM a UNION SELECT k FROM b UNION ALL SELECT k FROM c",
    "SELECT tag, count(*), sum(u.id) FROM (SELECT id, k FROM a UNION ALL SELECT id, k + 1 FROM b WHERE id > 9) u JOIN c USING (k) GROUP BY tag",
    "SELECT count(*), sum(u.id), sum(b.k) FROM (SELECT id, n, s FROM a UNION ALL SELECT id, k, s FROM b) u JOIN b ON b.id = u.n AND b.s = u.s",
    "SELECT count(*), sum(n), count(DISTINCT id) FROM (SELECT id, n FROM a UNION ALL (SELECT id, a.n FROM a LEFT JOIN c USING (k)) UNION ALL SELECT id, n FROM b)",
    "SELECT k, count(*), sum(id) FROM (SELECT id, k FROM a UNION ALL SELECT k, k FROM c UNION ALL SELECT 1, 2 UNION ALL (SELECT max(id), k FROM b GROUP BY k)) GROUP BY k",
    "SELECT count(*), max(n) FROM (SELECT n FROM a UNION ALL SELECT count(*) FROM c UNION ALL (SELECT k FROM b LIMIT 7))",
    "SELECT id FROM (SELECT id FROM a WHERE k = 1 UNION ALL SELECT id FROM b WHERE k = 2) ORDER BY id",
    "SELECT k FROM a INTERSECT SELECT k FROM c",
    "SELECT n FROM b EXCEPT SELECT n FROM a",
    "WITH t AS (SELECT k, count(*) AS n FROM a GROUP BY k) SELECT x.k, x.n, y.n FROM t x JOIN t y ON x.k = y.k + 1",
    "WITH t AS MATERIALIZED (SELECT * FROM b WHERE k < 10) SELECT count(*) FROM t x JOIN a ON a.id = x.id, t y",
    "WITH t AS MATERIALIZED (SELECT id, k, n FROM a WHERE k > 5) SELECT count(*), sum(x.id), sum(y.n) FROM t x JOIN t y ON x.id = y.id JOIN b ON b.id = x.n WHERE x.k IN (SELECT k FROM t)",
    "WITH t AS MATERIALIZED (SELECT k, n, count(*) AS c FROM a GROUP BY k, n) SELECT count(*), sum(x.c * y.c) FROM t x JOIN (SELECT n, max(c) AS c FROM t GROUP BY n) y ON x.n = y.n",
    "SELECT a.n, count(DISTINCT b.k), sum(a.k) FROM a JOIN b ON a.n = b.n GROUP BY a.n",
    "SELECT b.n, count(DISTINCT b.k), sum(a.k) FROM a LEFT JOIN b ON a.n = b.n AND a.k = b.k GROUP BY b.n",
    "SELECT x.n, row_number() OVER (PARTITION BY x.n ORDER BY x.c, y.c) FROM (SELECT n, mode(k) AS c FROM a GROUP BY n) x FULL JOIN (SELECT n, mode(k) AS c FROM b GROUP BY n) y ON x.n = y.n",
    "SELECT k % 7 AS m, s, grouping(m, s), count(*), avg(d), count(DISTINCT n) FROM a GROUP BY CUBE (m, s)",
    "WITH RECURSIVE r AS (SELECT 1 AS k UNION ALL SELECT r.k + 1 FROM r JOIN c ON c.k = r.k) SELECT max(k) FROM r",
    "SELECT count(*), sum(u) FROM (SELECT unnest(l) AS u FROM b)",
    "SELECT a.id, v.x FROM a JOIN (VALUES (1, 'x'), (2, 'y')) v(id, x) ON a.id = v.id",
    "SELECT s, random() < 2, id FROM a WHERE id < 10",
    "SELECT b.l, c.tag FROM b JOIN c ON b.k = c.k WHERE b.id < 3000",
    "SELECT count(*), sum(b.id) FROM a ASOF JOIN b ON a.k = b.k AND a.id >= b.id WHERE a.id < 2000",
    "SELECT count(*), sum(b.id) FROM a ASOF JOIN b ON a.id >= b.id",
    "SELECT count(*), sum(b.id) FROM a JOIN b ON a.id >= b.id AND a.id < b.id + 2",
    "SELECT a.s, b.s FROM a POSITIONAL JOIN b WHERE a.id < 10",
    "SELECT DISTINCT ON (k) k, id FROM a ORDER BY k, id DESC",
    "SELECT DISTINCT a.s, b.s FROM a JOIN b ON a.id = b.id",
    "SELECT count(*) FROM (SELECT * FROM a JOIN b ON a.id = b.id LIMIT 777)",
    "SELECT count(*) FROM a JOIN exchange_0 e ON a.id = e.c1",
    "SELECT count(DISTINCT s.id) FROM a JOIN (SELECT id FROM b ORDER BY k LIMIT 10) s ON a.id = s.id",
    "SELECT x.* FROM a x FULL JOIN b y ON x.id = y.n WHERE y.k = 5 AND y.id < 100",
];

/// Each with the one order that its rows have.
pub const SORTED: &[&str] = &[
    "SELECT id, n, s FROM a ORDER BY n DESC NULLS FIRST, s COLLATE NOCASE, id",
    "SELECT s FROM a WHERE id % 3 = 0 ORDER BY k % 7 DESC, id",
    "SELECT * FROM b ORDER BY l[2] DESC",
    "SELECT id, d FROM a ORDER BY -d, n NULLS LAST",
    "SELECT a.id, b.n FROM a JOIN b ON a.id = b.id ORDER BY b.n NULLS FIRST, a.id DESC",
    "SELECT k, count(*) AS c, sum(n) FROM a GROUP BY k ORDER BY c, k DESC",
    "SELECT s, id FROM a WHERE id < 0 ORDER BY s, id",
    "SELECT id FROM b ORDER BY id DESC LIMIT 100000 OFFSET 50000",
    "SELECT id, row_number() OVER () FROM (SELECT id FROM a ORDER BY k, id)",
    "SELECT sum(id * n % 1000003) FROM (SELECT id, row_number() OVER () AS n FROM (SELECT id FROM a ORDER BY n % 100 DESC NULLS FIRST, id))",
    "SELECT id FROM a ORDER BY {'x': k, 'y': [n, NULL]} DESC, id",
];

/// The answers do not depend on `duckherder_distribution`.
pub fn check(herd: &Herd, session: &mut Session, least_distributed: usize) {
    let mut distributed = 0;
    for sql in QUERIES {
        for setting in ["always", "auto", "never"] {
            session.connection.execute(&format!("SET duckherder_distribution = '{setting}'")).unwrap();
            let outcome = herd.same(session, sql);
            if setting == "never" {
                assert_eq!(outcome.mode, "LOCAL", "{sql}");
            }
            if setting == "always" {
                println!("{:>20} {:>12} {:>2} tasks: {sql}", outcome.mode, outcome.merge_strategy, outcome.tasks);
                distributed += usize::from(outcome.mode != "LOCAL");
            }
        }
    }
    for sql in SORTED {
        for setting in ["always", "auto", "never"] {
            session.connection.execute(&format!("SET duckherder_distribution = '{setting}'")).unwrap();
            let outcome = herd.same_ordered(session, sql);
            if setting == "always" {
                println!("{:>20} {:>12} {:>2} tasks: {sql}", outcome.mode, outcome.merge_strategy, outcome.tasks);
            }
        }
    }
    assert!(distributed >= least_distributed, "{distributed} queries were distributed");
}

/// What is written comes from the tasks, and is the same.
pub fn check_writes(herd: &Herd, session: &mut Session) {
    let select = "SELECT a.s, count(*) AS n, sum(b.id) AS total FROM a JOIN b ON a.id = b.id GROUP BY a.s";
    session.connection.execute("SET duckherder_distribution = 'always'").unwrap();
    for write in [
        format!("CREATE TABLE made AS {select}"),
        format!("INSERT INTO made {select}"),
        "INSERT INTO made SELECT s, n + 1, total FROM made".to_string(),
        "CREATE TABLE joined AS SELECT a.id, b.s FROM a FULL JOIN b ON a.n = b.n AND a.id = b.id".to_string(),
    ] {
        let (_, outcome) = session.query(&write).unwrap();
        assert_ne!(outcome.mode, "LOCAL", "{write}");
    }
    let same = |sql: &str, expected: &str| {
        let difference = super::difference(
            super::rows_of(&herd.plain, sql).unwrap(),
            super::rows_of(&herd.plain, expected).unwrap(),
        );
        assert_eq!(difference, None, "{sql}");
    };
    same(
        "FROM made",
        &format!("{select} UNION ALL {select} UNION ALL SELECT s, n + 1, total FROM ({select} UNION ALL {select})"),
    );
    same("FROM joined", "SELECT a.id, b.s FROM a FULL JOIN b ON a.n = b.n AND a.id = b.id");
    // A transaction that has written reads on its own connection, also with a plan made before.
    session
        .connection
        .execute("PREPARE p AS SELECT count(*) FROM joined; BEGIN; INSERT INTO joined VALUES (1, 'x')")
        .unwrap();
    let (rows, outcome) = session.query("EXECUTE p").unwrap();
    assert_eq!(outcome.mode, "LOCAL");
    session.connection.execute("COMMIT").unwrap();
    assert_eq!(rows, super::rows_of(&herd.plain, "SELECT count(*) FROM joined").unwrap());
}
