"""Scans of a join with a runtime filter read no rows beyond the least and the greatest key of the other side."""

from __future__ import annotations

import re

import pytest

from e2e.test_analyze import analyzed
from harness.client import attached, plain, quote
from harness.cluster import Cluster

# more orders than a row group has: what sees the order of fewer stays on the driver
ROWS = 600_000
WORKERS = 4
LINES = f"SELECT range // 4 AS o, 'line ' || range AS s FROM range({ROWS})"
ORDERS = f"SELECT range AS o, range // 100 AS day, range % 50 AS customer FROM range({ROWS // 4})"
# a side that is no task's to make for itself, since it picks rows, and not the one whose rows are divided alone
PICKED = (
    "(SELECT o, customer FROM {db}.orders WHERE {days} "
    "QUALIFY row_number() OVER (PARTITION BY customer ORDER BY o) <= 9)"
)
JOINED = "SELECT count(*), sum(p.customer), max(l.s), min(l.o) FROM " + PICKED + " p LEFT JOIN {db}.{lines} l ON p.o = l.o"


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """A client of workers in other processes, and plain DuckDB, with the same tables."""
    file = tmp_path_factory.mktemp("files") / "lines.parquet"
    with Cluster(remote_workers=WORKERS, worker_arguments=("--cache-bytes", "0")) as cluster, attached(cluster) as con, plain() as oracle:
        oracle.execute(f"COPY ({LINES}) TO {quote(file)} (ROW_GROUP_SIZE 2048)")
        for side in (con, oracle):
            side.execute(f"CREATE TABLE dh.lines AS {LINES}")
            side.execute(f"CREATE TABLE dh.orders AS {ORDERS}")
            side.execute(f"CREATE VIEW dh.filed AS SELECT * FROM read_parquet({quote(file)})")
        con.execute("SET duckherder_min_split_rows = 1000")
        con.execute("SET duckherder_distribution = 'always'")
        yield con, oracle


def rows_of_filtered_stage(con, sql: str) -> int:
    """What its tasks read, together, before the filter has left anything out."""
    tasks = []
    # a task's last word may come after the query's last row: then it is not shown
    while len(tasks) < WORKERS:
        lines = analyzed(con, sql)
        (stage,) = [key.removeprefix("Stage ") for key, line in lines.items() if "those beyond its keys not read" in line]
        tasks = [line for key, line in lines.items() if key.startswith(f"Task {stage}.")]
    return sum(int(re.search(r": (\d+) rows", line).group(1)) for line in tasks)


@pytest.mark.parametrize("lines", ["lines", "filed"])
def test_what_is_beyond_the_keys_is_not_read(sides, lines):
    con, oracle = sides
    # of five days, the first nine orders of each of the 50 customers; of one day, all; none at all
    for days, orders in (("day BETWEEN 20 AND 24", 450), ("day = 149", 100), ("day = 0", 100), ("o % 50 <> customer", 0)):
        sql = JOINED.format(db="dh", days=days, lines=lines)
        assert con.execute(sql).fetchall() == oracle.execute(sql).fetchall(), sql
        assert rows_of_filtered_stage(con, sql) == 4 * orders, sql


def test_a_query_that_comes_again_reads_what_the_keys_are_then(sides):
    con, oracle = sides
    sql = JOINED.format(db="dh", days="day BETWEEN 100 AND 101", lines="lines")
    for change in (None, None, "UPDATE dh.orders SET o = o + 2000 WHERE day = 101 AND customer = 7", None):
        for side in (con, oracle):
            if change:
                side.execute(change)
        assert con.execute(sql).fetchall() == oracle.execute(sql).fetchall()


def test_what_is_broadcast_says_what_the_driver_sends(sides):
    con, oracle = sides
    for side in (con, oracle):
        side.execute("CREATE TABLE dh.sent AS SELECT range // 10 AS o, 'sent ' || range AS s FROM range(1000000)")
        side.execute("CREATE TABLE dh.few AS SELECT range AS o, range // 100 AS day, range % 50 AS customer FROM range(900000)")
    con.execute("SET duckherder_min_split_rows = 122880")
    for days in ("day = 22", "day = 0", "day = 7 AND o % 50 <> customer"):
        for join in ("JOIN", "SEMI JOIN"):
            sql = f"SELECT count(*), max(s), min(o), sum(o) FROM dh.sent {join} (SELECT o FROM dh.few WHERE {days}) USING (o)"
            assert con.execute(sql).fetchall() == oracle.execute(sql).fetchall(), sql
            plan = con.execute("EXPLAIN " + sql).fetchall()[-1][1]
            assert "every row to each task" in plan and "those beyond the keys of stage" in plan, plan
