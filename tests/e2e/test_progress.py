"""DuckDB's progress bar in the client: how far the driver and its tasks are."""

from __future__ import annotations

import threading

import duckdb
import pytest

from e2e.test_failures import failure_of
from e2e.test_interrupt import run_until_interrupted
from harness.client import attached, plain_answers
from harness.cluster import Cluster
from harness.wait import timely, within

#: Local and remote workers; how queries are distributed.
KINDS = {"local": (2, 0, "always"), "remote": (0, 2, "always"), "driver": (1, 0, "never")}
ROWS = 2_000_000
#: Seconds of work for each of its rows together.
WORK = "sum(hash(sha256(sha256(sha256(s)))) % 7)"
LONG = f"SELECT {WORK} FROM dh.t"
#: More than anybody waits for.
ENDLESS = "SELECT sum(levenshtein(repeat(s, 12), reverse(repeat(s, 12)))) FROM dh.t"
SHUFFLED = "SELECT sum(n) FROM (SELECT row_number() OVER (PARTITION BY k ORDER BY sha256(s)) AS n FROM dh.t WHERE i % 4 = 0)"


TABLE = f"CREATE TABLE dh.t AS SELECT range AS i, range % 1000 AS k, 'text ' || range AS s FROM range({ROWS})"


@pytest.fixture(scope="module", params=KINDS)
def cluster(request):
    local, remote, distribution = KINDS[request.param]
    with Cluster(local_workers=local, remote_workers=remote) as running:
        with attached(running) as con:
            con.execute(TABLE)
        running.distribution = distribution
        yield running


@pytest.fixture(scope="module")
def answer():
    """What plain DuckDB says to `LONG`."""
    return plain_answers(TABLE, [LONG])[LONG]


@pytest.fixture
def client(cluster):
    with attached(cluster) as con:
        con.execute(f"SET duckherder_distribution = '{cluster.distribution}'")
        con.execute("SET enable_progress_bar_print = false")
        con.execute("SET enable_progress_bar = true")
        yield con


def watched(con, sql: str) -> tuple[list, list[float]]:
    """The rows of a query, and what its progress was while it ran."""
    rows, seen = [], []
    done = threading.Event()

    def run() -> None:
        try:
            rows.extend(con.execute(sql).fetchall())
        except duckdb.Error as error:
            rows.append(error)
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    while not done.wait(0.01):
        seen.append(con.query_progress())
    thread.join()
    # below 0: no query runs, not yet or not any more
    return rows, [percent for percent in seen if percent >= 0]


def check_rise(seen: list[float], steps: int) -> None:
    assert seen == sorted(seen), seen
    assert all(percent <= 100 for percent in seen)
    between = sorted({percent for percent in seen if 0 < percent < 100})
    timely(len(between) >= steps, between)


def test_it_rises_while_a_query_runs(client, answer):
    for _ in range(2):
        rows, seen = watched(client, LONG)
        assert rows == answer
        check_rise(seen, 3)


def test_it_comes_near_the_end(client):
    """Also where each task reads a part of a table only."""
    rows, seen = watched(client, LONG)
    timely(max(seen, default=0) > 70, seen)


def test_a_plan_that_is_kept(client):
    for _ in range(3):
        client.execute(LONG).fetchall()
    rows, seen = watched(client, LONG)
    check_rise(seen, 3)


def test_several_stages(client):
    rows, seen = watched(client, SHUFFLED)
    # 250 keys of 2,000 rows
    assert rows == [(250 * 2000 * 2001 // 2,)]
    check_rise(seen, 1)


def test_a_query_of_local_tables_too(client):
    client.execute("CREATE TEMP TABLE few AS SELECT range AS k FROM range(10)")
    rows, seen = watched(client, f"SELECT {WORK} FROM dh.t JOIN few USING (k)")
    assert len(rows) == 1
    assert seen == sorted(seen)


def test_who_does_not_look_is_told_nothing(cluster):
    with attached(cluster) as con:
        con.execute("SET enable_progress_bar = false")
        rows, seen = watched(con, LONG)
    assert len(rows) == 1
    assert seen == []


def test_an_interrupt(client):
    within(run_until_interrupted(client, ENDLESS, after_s=1.0), 3)
    assert client.execute("SELECT count(*) FROM dh.t").fetchone() == (ROWS,)


def test_a_driver_that_dies():
    with Cluster(local_workers=2) as cluster, attached(cluster) as con:
        con.execute(f"CREATE TABLE dh.t AS SELECT 'text ' || range AS s FROM range({ROWS})")
        con.execute("SET enable_progress_bar_print = false")
        con.execute("SET enable_progress_bar = true")
        error, seconds = failure_of(con, ENDLESS, cluster.driver.kill, after_s=0.5)
        assert isinstance(error, duckdb.IOException), error
        within(seconds, 20)
