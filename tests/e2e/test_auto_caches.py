"""With workers elsewhere, 'auto' sends them a table once that is worth it, and uses them from then on."""

import re

import duckdb
import pytest

from harness.client import attached
from harness.cluster import Cluster
from harness.distribution import distribute, run_of
from harness.wait import wait_for

ROWS = 1_500_000
#: More than the driver's one thread can do in the time in which two others read the same.
QUERY = "SELECT sum(a * b % 7), max(a - b), max(c), max(d) FROM t"
TABLE = f"SELECT range AS a, range % 1009 AS b, range // 3 AS c, -range AS d FROM range({ROWS})"
PATIENCE = 100


@pytest.fixture
def con():
    with Cluster(0, 2, driver_arguments=("--threads", "1")) as cluster, attached(cluster.driver) as con:
        con.execute(f"CREATE TABLE dh.t AS {TABLE}")
        con.execute("USE dh")
        yield con


@pytest.fixture(scope="module")
def expected():
    plain = duckdb.connect()
    plain.execute(f"CREATE TABLE t AS {TABLE}")
    return plain.execute(QUERY).fetchall()


def runs(con, sql: str, expected: list) -> bool:
    """Runs the query; whether workers did."""
    assert con.execute(sql).fetchall() == expected
    return run_of(con, "max(a - b)").distributed


def patience(con, sql: str, expected: list) -> int:
    """How often the query stays on the driver before it goes to workers."""
    for waited in range(PATIENCE):
        if runs(con, sql, expected):
            return waited
    raise AssertionError(f"stayed on the driver {PATIENCE} times")


def cost(con, sql: str) -> str:
    """Of a query that stays on the driver: why."""
    plan = con.execute(f"EXPLAIN {sql}").fetchall()[0][1]
    return " ".join(plan.replace("│", " ").split())


def took_less_here(con) -> bool:
    """Both ways were measured, and this machine was quicker alone: that, too, is a reason not to use workers."""
    why = cost(con, QUERY)
    return "it takes less here" in why and why.count("measured") == 2


def uses_workers(con) -> bool:
    return "up to 2 tasks on workers" in cost(con, QUERY)


def test_a_table_is_sent_when_that_pays_and_is_used_from_then_on(con, expected):
    assert "it takes less here" in cost(con, QUERY) and "in the workers' caches" in cost(con, QUERY)
    # What is only explained counts for nothing.
    assert patience(con, QUERY, expected) > 0
    wait_for(lambda: uses_workers(con), 30)
    for _ in range(3):
        assert runs(con, QUERY, expected) or took_less_here(con)
    # Those rows of the table that are new don't change that.
    con.execute("INSERT INTO t VALUES (0, 1, 2, 3)")
    con.execute("DELETE FROM t WHERE a = 0 AND b = 1")
    for _ in range(3):
        assert runs(con, QUERY, expected) or took_less_here(con)


def test_what_both_ways_have_taken_decides(con, expected):
    """Which of the two that is depends on what else runs; EXPLAIN says so."""
    assert distribute(con, "always") and runs(con, QUERY, expected)
    assert distribute(con, "auto")
    wait_for(lambda: runs(con, QUERY, expected) is not None and cost(con, QUERY).count("measured") == 2, 30)
    local, distributed = (float(ms) for ms in re.findall(r"([\d.]+) ms \(measured", cost(con, QUERY)))
    for _ in range(3):
        assert runs(con, QUERY, expected) == (distributed <= local)


def test_a_statement_whose_plan_is_kept_goes_to_workers_too(con, expected):
    """The driver runs the same text with the same plan while nothing changes, but not for ever on the driver."""
    assert patience(con, QUERY, expected) > 1
    wait_for(lambda: uses_workers(con), 30)
    assert runs(con, QUERY, expected)


def test_what_workers_were_sent_by_force_counts(con, expected):
    assert distribute(con, "always")
    assert runs(con, QUERY, expected)
    assert distribute(con, "auto")
    wait_for(lambda: uses_workers(con), 30)
    assert runs(con, QUERY, expected)


def test_a_table_that_changes_all_the_time_is_sent_less_and_less_often(con, expected):
    sent = []
    for _ in range(40):
        con.execute("CREATE OR REPLACE TABLE t AS SELECT * FROM t")
        sent.append(runs(con, QUERY, expected))
    assert sum(sent) <= 20, sent


def test_nothing_is_expected_of_workers_that_keep_nothing(expected):
    cluster = Cluster(0, 2, driver_arguments=("--threads", "1"), worker_arguments=("--cache-bytes", "0"))
    with cluster, attached(cluster.driver) as con:
        con.execute(f"CREATE TABLE dh.t AS {TABLE}")
        con.execute("USE dh")
        sent = [runs(con, QUERY, expected) for _ in range(40)]
        assert sum(sent) <= 20, sent
