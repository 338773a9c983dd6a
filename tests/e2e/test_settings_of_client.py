"""Settings of the client's that are about the whole of a statement, or of a transaction, hold where its statements run."""

from __future__ import annotations

import threading
import time

import duckdb
import pytest

from harness.client import attached, plain
from harness.cluster import Cluster
from harness.wait import timely

# minutes of work on any machine
LONG = "SELECT count(*) FROM dh.t a, dh.t b, dh.t c WHERE a.i * b.i % (c.i + 1) = 3"


@pytest.fixture(scope="module", params=["local", "remote"])
def cluster(request):
    workers = {"local_workers": 2} if request.param == "local" else {"remote_workers": 2}
    with Cluster(**workers) as running:
        with attached(running) as con:
            con.execute("CREATE TABLE dh.t AS SELECT i::INTEGER i FROM range(3000) r(i)")
        yield running


@pytest.mark.parametrize("distribution", ["never", "always"])
def test_max_execution_time(cluster, distribution):
    with attached(cluster) as con:
        con.execute(f"SET duckherder_distribution = '{distribution}'")
        con.execute("SET duckherder_min_split_rows = 1000")
        con.execute("SET max_execution_time = 300")
        stop = threading.Timer(60, con.interrupt)
        stop.start()
        began = time.monotonic()
        with pytest.raises(duckdb.InterruptException, match="Query exceeded maximum execution time"):
            con.execute(LONG).fetchall()
        stop.cancel()
        timely(time.monotonic() - began < 10, "the statement went on")
        con.execute("RESET max_execution_time")
        assert con.execute("SELECT count(*) FROM dh.t").fetchall() == [(3000,)]


def test_immediate_transaction_mode(cluster):
    def counts(con, mode: str):
        con.execute("CREATE OR REPLACE TABLE dh.seen AS SELECT i FROM range(10) r(i)")
        con.execute(f"SET immediate_transaction_mode = {mode}")
        reader, writer = con.cursor(), con.cursor()
        reader.execute("BEGIN")
        writer.execute("DELETE FROM dh.seen")
        found = reader.execute("SELECT count(*) FROM dh.seen").fetchall()
        reader.execute("COMMIT")
        return found + reader.execute("SELECT count(*) FROM dh.seen").fetchall()

    with attached(cluster) as con, plain() as oracle:
        for mode in ("true", "false"):
            assert counts(con, mode) == counts(oracle, mode)
