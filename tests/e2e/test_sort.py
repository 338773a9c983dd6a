"""Whole results in order: sorted by the workers, merged by the driver as they stream."""

from __future__ import annotations

import threading
import time

import duckdb
import numpy
import pytest

from e2e.test_interrupt import run_until_interrupted, wait_until_idle
from harness.client import attached, last_statistics, wait_until_busy
from harness.cluster import Cluster, Driver
from harness.wait import within

ROWS = 500_000
KINDS = {"local": (3, 0), "remote": (0, 2), "mixed": (1, 2)}


def table(rows: int = ROWS, words: int = 20) -> str:
    return f"SELECT range AS i, (range * 7919) % {rows} AS k, repeat('text ', {words}) || range AS s FROM range({rows})"


@pytest.fixture(scope="module", params=KINDS)
def cluster(request):
    local, remote = KINDS[request.param]
    with Cluster(local_workers=local, remote_workers=remote) as running:
        with attached(running) as con:
            con.execute(f"CREATE TABLE dh.t AS {table()}")
        yield running


def check_order(con, sql: str, rows: int = ROWS) -> None:
    """The rows of `sql`, which begin with k = 0, 1, 2 ..., are all there."""
    expected = 0
    for batch in con.execute(sql).to_arrow_reader(100_000):
        keys = batch.column(0).to_numpy()
        assert (keys == numpy.arange(expected, expected + len(keys))).all()
        expected += len(keys)
    assert expected == rows


def test_every_row_in_its_place(client):
    check_order(client, "SELECT k, s AS whole_result FROM dh.t ORDER BY k")
    assert last_statistics(client, "whole_result")["merge_strategy"] == "SORT_MERGE"


def test_a_result_that_is_not_read_to_its_end(cluster, client):
    reader = client.execute("SELECT k, s FROM dh.t ORDER BY k").to_arrow_reader(1000)
    assert reader.read_next_batch().column(0)[0].as_py() == 0
    del reader
    client.execute("SELECT 1")
    wait_until_idle(cluster, 15)
    assert client.execute("SELECT k FROM dh.t ORDER BY k LIMIT 3 OFFSET 300000").fetchall() == [(300_000,), (300_001,), (300_002,)]


def test_a_reader_that_is_slow(client):
    reader = client.execute("SELECT k, s FROM dh.t ORDER BY k").to_arrow_reader(100_000)
    time.sleep(1.0)
    assert sum(batch.num_rows for batch in reader) == ROWS


def test_a_task_that_fails(client):
    for key in (f"CASE WHEN i = {ROWS - 1} THEN s::INTEGER ELSE k END", "k"):
        value = "s" if key != "k" else f"CASE WHEN i = {ROWS - 1} THEN s::INTEGER ELSE 1 END"
        with pytest.raises(duckdb.ConversionException, match="Could not convert string"):
            client.execute(f"SELECT k, {value} FROM dh.t ORDER BY {key}").fetchall()
    assert client.execute("SELECT count(*) FROM dh.t").fetchone() == (ROWS,)


def test_an_interrupt(cluster, client):
    # minutes of work
    long = "SELECT k FROM dh.t ORDER BY levenshtein(repeat(s, 4), reverse(s))"
    within(run_until_interrupted(client, long, after_s=1.0), 3)
    wait_until_idle(cluster, 15)


def test_a_worker_that_dies():
    # one thread each, so that it takes a while on machines with many cores, too
    with Cluster(remote_workers=2, worker_arguments=("--threads", "1")) as cluster, attached(cluster) as con:
        con.execute(f"CREATE TABLE dh.t AS {table(250_000)}")
        con.execute("SET duckherder_distribution = 'always'")
        long = "SELECT k FROM dh.t ORDER BY levenshtein(s, reverse(s)), k"

        def kill() -> None:
            wait_until_busy(cluster, cluster.workers[1].worker_id)
            cluster.workers[1].kill()

        killer = threading.Thread(target=kill)
        killer.start()
        # those that are left sort its rows, or the client is told
        try:
            assert con.execute(long).fetchall() == con.execute(long).fetchall()
        except duckdb.IOException as error:
            assert cluster.workers[1].worker_id in str(error)
        finally:
            killer.join()
        assert cluster.workers[1].process.poll() is not None


def test_more_than_the_driver_could_sort(tmp_path):
    database = ("--database", str(tmp_path / "db"))
    with Driver(0, *database) as driver:
        with attached(driver) as con:
            con.execute(f"CREATE TABLE dh.t AS {table(words=60)}")
        driver.stop()
    # what does not fit into memory has no other place
    limits = ("--memory-limit", "100MB", "--temp-directory", "")
    with Cluster(remote_workers=2, driver_arguments=database + limits) as cluster, attached(cluster) as con:
        sql = "SELECT k, s FROM dh.t ORDER BY k"
        con.execute("SET duckherder_distribution = 'never'")
        with pytest.raises(duckdb.OutOfMemoryException):
            con.execute(sql).fetchall()
        con.execute("SET duckherder_distribution = 'always'")
        check_order(con, sql)
