"""Joins whose rows mostly have one key: the tasks share them, and what ends in the middle ends."""

from __future__ import annotations

import re

import duckdb
import pytest

from e2e.test_interrupt import run_until_interrupted, wait_until_idle
from harness.client import attached
from harness.cluster import Cluster, Driver
from harness.distribution import distribute
from harness.wait import within

ROWS = 300_000
TABLES = f"""
    CREATE TABLE {{db}}x AS SELECT i, CASE WHEN i % 10 > 0 THEN 7 ELSE i END AS k, 'text ' || i AS s FROM range({ROWS}) r(i);
    CREATE TABLE {{db}}y AS SELECT i, 'other ' || i AS s FROM range({ROWS}) r(i);
    CREATE TABLE {{db}}even AS SELECT i, i AS k FROM range({ROWS}) r(i);
"""
# rows that the sample takes as well, some hundred microseconds each
SLOW = "levenshtein(repeat(x.s, 20), repeat(x.s || '!', 20)) - 20 + x.k"


@pytest.fixture(scope="module")
def cluster():
    with Cluster(remote_workers=4) as running:
        with attached(running) as con:
            con.execute(TABLES.format(db="dh."))
        yield running


@pytest.fixture(scope="module")
def plain():
    con = duckdb.connect()
    con.execute(TABLES.format(db=""))
    yield con
    con.close()


def tasks_of(con, sql: str) -> tuple[str, list[int]]:
    """What EXPLAIN ANALYZE says, and the rows of the tasks of its last stage."""
    text = re.sub(r"[\s│]+", " ", con.execute("EXPLAIN ANALYZE " + sql).fetchall()[0][1])
    tasks = [(int(stage), int(rows)) for stage, rows in re.findall(r"Task (\d+)\.\d+: .*?: (\d+) rows", text)]
    return text, sorted(rows for stage, rows in tasks if stage == max(tasks)[0])


def test_tasks_share_a_key_with_most_rows(client, plain):
    sql = "SELECT x.i, y.s FROM {db}x JOIN {db}y ON x.k = y.i"
    assert sorted(client.execute(sql.format(db="dh.")).fetchall()) == sorted(plain.execute(sql.format(db="")).fetchall())
    text, rows = tasks_of(client, sql.format(db="dh."))
    assert "1 heavy key to all tasks in turn" in text and "1 heavy key to every task" in text
    assert len(rows) == 4 and sum(rows) == ROWS and rows[3] < 2 * rows[1]


def test_a_statement_that_is_repeated_looks_again(client):
    # its plan may be kept; the rows are others
    sql = "SELECT count(*), sum(x.i) FROM dh.even x JOIN dh.y ON x.k = y.i"
    expected = (ROWS, ROWS * (ROWS - 1) // 2)
    for _ in range(3):
        assert client.execute(sql).fetchone() == expected
    assert "heavy" not in tasks_of(client, sql)[0]
    client.execute("UPDATE dh.even SET k = 11 WHERE i % 10 > 0")
    for _ in range(3):
        assert client.execute(sql).fetchone() == expected
    assert "heavy" in tasks_of(client, sql)[0]


def test_an_interrupt_while_a_sample_is_taken(cluster, client):
    sql = f"SELECT count(*) FROM dh.x JOIN dh.y ON {SLOW} = y.i"
    for after_s in (0.3, 0.6, 1.2):
        within(run_until_interrupted(client, sql, after_s), 3)
    wait_until_idle(cluster, 5)
    assert client.execute("SELECT count(*) FROM dh.x").fetchone() == (ROWS,)


def test_an_error_in_the_sample_is_the_querys(client):
    for wrong in ("x.s", "CASE WHEN x.i = 299999 THEN x.s ELSE x.k::VARCHAR END"):
        with pytest.raises(duckdb.ConversionException, match="Could not convert string"):
            client.execute(f"SELECT count(*) FROM dh.x JOIN dh.y ON ({wrong})::INT = y.i").fetchall()
    assert client.execute("SELECT count(*) FROM dh.x").fetchone() == (ROWS,)


def test_a_key_whose_rows_lie_side_by_side_is_heavy_if_they_are_many():
    """One piece of the sample has 256 rows of it in any case, which is half a task's share of the sample's."""
    with Driver(34) as driver, attached(driver) as con:
        assert distribute(con, "always")
        con.execute("CREATE TABLE dh.y AS SELECT i FROM range(1 << 20) r(i)")
        for count, heavy in [(256, False), (1 << 16, True)]:
            con.execute(f"CREATE OR REPLACE TABLE dh.x AS SELECT i, CASE WHEN i < {count} THEN 7 ELSE i END AS k FROM range(1 << 20) r(i)")
            text, _ = tasks_of(con, "SELECT count(*), sum(x.i + y.i) FROM dh.x JOIN dh.y ON x.k = y.i")
            assert "shuffled by the hash of their keys" in text
            assert ("1 heavy key to all tasks in turn" in text) == heavy, count
