"""Settings of the client's that are about the whole of a transaction hold where its statements run."""

from __future__ import annotations

import pytest

from harness.client import attached, plain
from harness.cluster import Cluster


@pytest.fixture(scope="module", params=["local", "remote"])
def cluster(request):
    workers = {"local_workers": 2} if request.param == "local" else {"remote_workers": 2}
    with Cluster(**workers) as running:
        with attached(running) as con:
            con.execute("CREATE TABLE dh.t AS SELECT i::INTEGER i FROM range(3000) r(i)")
        yield running


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
