"""Tables that are stored by a key are joined and grouped by ranges of it, with the rows that plain DuckDB gives."""

from __future__ import annotations

import pytest

from harness.client import attached, last_statistics, plain, quote
from harness.cluster import Cluster

BY_RANGES = "KEY_RANGE_PARTITION"
JOINS = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN"]
# rows of 2 to 7 row groups, with gaps, duplicates, and keys that the other table has not
ORDERS = "SELECT range * 3 - 50000 AS k, range % 1000 AS v, 'customer ' || range % 77 AS s FROM range(300_000)"
LINES = "SELECT (range // 4) * 2 - 30000 AS k, range % 31 AS q FROM range(800_000)"
# nearly in order
EVENTS = "SELECT ((range + hash(range) % 500) // 2)::INTEGER AS k, range % 5 AS z FROM range(700_000)"
KEYS = {
    "date": "DATE '2000-01-01' + (k // 10)::INTEGER",
    "timestamp": "TIMESTAMP '2020-02-29 12:00:00' + to_seconds(k)",
    "unsigned": "(k + 60000)::UINTEGER",
}


@pytest.fixture(scope="module", params=["local", "remote"])
def sides(request, tmp_path_factory):
    """A client of three workers and plain DuckDB, with the same tables and views of files."""
    folder = tmp_path_factory.mktemp("files")
    with Cluster(**{f"{request.param}_workers": 3}) as cluster, attached(cluster) as con, plain() as oracle:
        oracle.execute(f"COPY ({ORDERS} WHERE range < 140_000) TO {quote(folder / 'orders_0.parquet')} (ROW_GROUP_SIZE 20_480)")
        oracle.execute(f"COPY ({ORDERS} WHERE range >= 140_000) TO {quote(folder / 'orders_1.parquet')} (ROW_GROUP_SIZE 40_960)")
        oracle.execute(f"COPY ({LINES}) TO {quote(folder / 'lines.parquet')} (ROW_GROUP_SIZE 20_480)")
        for side in (con, oracle):
            side.execute(f"CREATE TABLE dh.orders AS {ORDERS}")
            side.execute(f"CREATE TABLE dh.lines AS {LINES}")
            side.execute(f"CREATE TABLE dh.events AS {EVENTS}")
            side.execute(f"CREATE VIEW dh.order_files AS FROM read_parquet({quote(folder / 'orders_*.parquet')})")
            side.execute(f"CREATE VIEW dh.line_file AS FROM read_parquet({quote(folder / 'lines.parquet')})")
        con.execute("SET duckherder_distribution = 'always'")
        yield con, oracle


def same(sides, sql: str, mode: str | None = BY_RANGES) -> None:
    """Both sides give the same rows, and the driver ran it that way."""
    con, oracle = sides
    # twice: with what workers elsewhere have kept
    for _ in range(2):
        assert sorted(con.execute(sql).fetchall(), key=str) == sorted(oracle.execute(sql).fetchall(), key=str), sql
    if mode is not None:
        assert last_statistics(con, sql[:60])["execution_mode"] == mode, sql


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("tables", [("orders", "lines"), ("lines", "events"), ("order_files", "line_file"), ("order_files", "events")], ids="-".join)
def test_joins(sides, join, tables):
    left, right = tables
    sums = {"orders": "sum({}.v)", "order_files": "sum({}.v)", "lines": "sum({}.q)", "line_file": "sum({}.q)", "events": "sum({}.z)"}
    both = join not in ("SEMI JOIN", "ANTI JOIN")
    wanted = [sums[left].format("a"), "count(a.k)", *([sums[right].format("b"), "count(b.k)"] if both else [])]
    same(sides, f"SELECT count(*), {', '.join(wanted)} FROM dh.{left} a {join} dh.{right} b ON a.k = b.k")
    # what is known of the other side is not the key alone
    same(sides, f"SELECT count(*), {', '.join(wanted)} FROM dh.{left} a {join} dh.{right} b ON a.k = b.k AND a.k % 3 = b.k % 7", None)


def test_several_tables_groups_and_windows(sides):
    three = "dh.orders o JOIN dh.lines l USING (k) LEFT JOIN dh.events e USING (k)"
    same(sides, f"SELECT s, count(*), sum(q), sum(z) FROM {three} GROUP BY s")
    same(sides, "SELECT v, count(*), sum(n) FROM dh.orders JOIN (SELECT k, count(*) AS n FROM dh.lines GROUP BY k HAVING sum(q) > 50) USING (k) GROUP BY v")
    same(sides, "SELECT count(*), sum(r) FROM (SELECT row_number() OVER (PARTITION BY k ORDER BY q) AS r FROM dh.lines)")
    same(sides, "SELECT count(*), sum(k), sum(n) FROM (SELECT k, v, count(*) AS n FROM dh.orders JOIN dh.lines USING (k) GROUP BY k, v)")
    # NULLs that a join has made are one group, wherever they are
    same(sides, "SELECT count(*), count(k), max(n) FROM (SELECT e.k, count(*) AS n FROM dh.lines l LEFT JOIN dh.events e ON l.k = e.k GROUP BY e.k)", None)
    same(sides, "SELECT count(*), sum(v) FROM dh.orders WHERE k NOT IN (SELECT k FROM dh.lines)", None)


@pytest.mark.parametrize("kind", KEYS)
def test_types(sides, kind):
    con, oracle = sides
    for side in sides:
        for table in ("orders", "lines"):
            side.execute(f"CREATE OR REPLACE TABLE dh.{table}_{kind} AS SELECT * REPLACE ({KEYS[kind]} AS k) FROM dh.{table}")
    for join in ("FULL JOIN", "SEMI JOIN"):
        same(sides, f"SELECT count(*), sum(o.v), min(o.k), max(o.k) FROM dh.orders_{kind} o {join} dh.lines_{kind} l ON o.k = l.k")


def test_data_that_changes(sides):
    """Keys that are updated, deleted, appended out of order or become NULL; an open transaction's are not seen."""
    con, oracle = sides
    for side in sides:
        side.execute(f"CREATE OR REPLACE TABLE dh.changing AS {LINES}")
    sql = "SELECT count(*), count(c.k), sum(c.q), sum(o.v) FROM dh.changing c FULL JOIN dh.orders o ON o.k = c.k"
    same(sides, sql)
    changes = [
        "DELETE FROM dh.changing WHERE k BETWEEN 1000 AND 90000",
        "UPDATE dh.changing SET k = k + 5 WHERE q = 7 AND k > 200000",
        "INSERT INTO dh.changing SELECT k, 1 FROM dh.orders WHERE v < 20",
        "INSERT INTO dh.changing VALUES (9223372036854775807, 2), (-9223372036854775808, 3)",
    ]
    for change in changes:
        for side in sides:
            side.execute(change)
        same(sides, sql, None)
    with con.cursor() as other:
        other.execute("BEGIN")
        other.execute("INSERT INTO dh.changing SELECT NULL, 1 FROM range(1000)")
        same(sides, sql, None)
        other.execute("ROLLBACK")
    for side in sides:
        side.execute("UPDATE dh.changing SET k = NULL WHERE q = 3")
    same(sides, sql, "HASH_PARTITION")


def test_what_is_stored_in_no_order_is_shuffled(sides):
    for side in sides:
        side.execute("CREATE OR REPLACE TABLE dh.anyhow AS SELECT (range * 7919) % 1_000_003 AS k, range % 9 AS w FROM range(300_000)")
    same(sides, "SELECT count(*), sum(w), sum(v) FROM dh.anyhow FULL JOIN dh.orders USING (k)", "HASH_PARTITION")


@pytest.mark.parametrize("types", [("SMALLINT", "BIGINT"), ("UTINYINT", "INTEGER"), ("INTEGER", "BIGINT"), ("UINTEGER", "INTEGER"), ("TINYINT", "BIGINT")], ids="-".join)
def test_keys_that_one_of_the_types_has_not(sides, types):
    """The larger table's keys are beyond the smaller type."""
    small, large = types
    most = {"TINYINT": 120, "UTINYINT": 250, "SMALLINT": 30_000}.get(small, 400_000)
    factor = 1_000_000 if large == "BIGINT" else 10
    for side in sides:
        side.execute(f"CREATE OR REPLACE TABLE dh.few AS SELECT (range * {most} // 400_000)::{small} AS k, range % 7 AS v FROM range(400_000)")
        side.execute(f"CREATE OR REPLACE TABLE dh.far AS SELECT (CASE WHEN range < {most} THEN range ELSE range * {factor} END)::{large} AS k, range % 5 AS w FROM range({3 * most + 600_000})")
    for join in ("JOIN", "SEMI JOIN", "FULL JOIN"):
        same(sides, f"SELECT count(*), sum(v) FROM dh.few f {join} dh.far l ON f.k = l.k" if join == "SEMI JOIN" else f"SELECT count(*), sum(v), sum(w) FROM dh.few f {join} dh.far l ON f.k = l.k", None)


def test_unions_of_what_is_divided_by_different_keys(sides):
    for side in sides:
        side.execute("CREATE OR REPLACE TABLE dh.times AS SELECT TIMESTAMP '2020-01-01' + to_seconds(range) AS k, range % 9 AS v FROM range(300_000)")
        side.execute("CREATE OR REPLACE TABLE dh.days AS SELECT DATE '2000-01-01' + (range // 100)::INTEGER AS k, range % 9 AS v FROM range(300_000)")
        side.execute("CREATE OR REPLACE TABLE dh.little AS SELECT range * 37 AS k, range % 7 AS v FROM range(8000)")
    windows = "SELECT v, count(*) OVER (PARTITION BY k) AS n FROM dh.{}"
    same(sides, f"SELECT count(*), sum(n), sum(v) FROM ({windows.format('times')} UNION ALL {windows.format('days')})", None)
    groups = "SELECT k, {} AS v FROM dh.{} GROUP BY k"
    for table in ("lines", "events"):
        union = f"{groups.format('count(DISTINCT q)' if table == 'lines' else 'median(z)', table)} UNION ALL {groups.format('max(v)', 'little')}"
        same(sides, f"SELECT count(*), sum(n), max(n) FROM (SELECT k, count(*) AS n FROM ({union}) GROUP BY k)", None)


def test_a_cte_is_not_divided_like_what_reads_it(sides):
    con, oracle = sides
    for side in sides:
        side.execute("CREATE OR REPLACE TABLE dh.a AS SELECT range * 3 AS k, range % 7 AS v FROM range(3000)")
        side.execute("CREATE OR REPLACE TABLE dh.d AS SELECT range + 1000 AS k, range % 7 AS v FROM range(60_000)")
        side.execute("CREATE OR REPLACE TABLE dh.e AS SELECT range AS k, range % 5 AS w FROM range(8000)")
    con.execute("SET duckherder_min_split_rows = 1000")
    try:
        same(
            sides,
            "WITH c AS MATERIALIZED (SELECT k, a.v, b.v AS v2 FROM dh.a a JOIN dh.a b USING (k)) "
            "SELECT count(*), sum(w), sum(d.v), count(d.k) FROM (SELECT t.k, t.w, count(*) OVER (PARTITION BY t.k) AS n "
            "FROM dh.e t JOIN c ON c.k = t.k) t LEFT JOIN dh.d d ON t.k = d.k",
            None,
        )
    finally:
        con.execute("RESET duckherder_min_split_rows")
