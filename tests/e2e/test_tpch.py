"""TPC-H over the tables that the TPC-H generator makes: all 22 queries, distributed over workers of every kind.

`DUCKHERDER_TPCH_SF` sets another scale factor than 0.1.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import duckdb
import pytest

from e2e.tpch_queries import QUERIES
from harness import tpch
from harness.client import attached
from harness.cluster import Cluster
from harness.compare import Result, difference, float_tolerances
from harness.distribution import distribute, run_of
from harness.wait import wait_for

SCALE = os.environ.get("DUCKHERDER_TPCH_SF", "0.1")
CLUSTERS = {
    "local-1": {"local_workers": 1},
    "local-2": {"local_workers": 2},
    "local-4": {"local_workers": 4},
    "remote-2": {"remote_workers": 2},
}
# of the 22, with 'always', with two workers or more
LEAST_SPLIT = 18
# these scan one table and need no exchange but the last
SPLIT_BY_ITSELF = (1, 6)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Parquet files of all eight tables."""
    return tpch.make(tmp_path_factory.mktemp("tpch"), SCALE)


@pytest.fixture(scope="module")
def plain_tables(files):
    con = duckdb.connect()
    tpch.load(con, files)
    yield con
    con.close()


@pytest.fixture(scope="module")
def expected(plain_tables):
    """What plain DuckDB answers."""
    return {number: Result.of(plain_tables, sql) for number, sql in QUERIES.items()}


@pytest.fixture(scope="module", params=CLUSTERS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def client(kind, files):
    with Cluster(**CLUSTERS[kind]) as cluster, attached(cluster) as con:
        tpch.load(con, files, "dh.")
        con.execute("USE dh")
        yield con


def test_the_tables_arrived(client, plain_tables):
    for table in tpch.TABLES:
        sql = f"SELECT count(*), sum(hash({table})) FROM {table}"
        assert client.execute(sql).fetchall() == plain_tables.execute(sql).fetchall(), table


@pytest.mark.parametrize("choice", ["always", "auto"])
def test_every_query(client, expected, kind, choice, capsys):
    distribute(client, choice)
    problems, runs = [], {}
    for number, sql in QUERIES.items():
        marked = f"{sql} -- Q{number} {choice}"
        got = Result.of(client, marked)
        problem = difference(
            got, expected[number], ordered=True, tolerance=float_tolerances(expected[number].types)
        )
        if problem is not None:
            problems.append(f"Q{number}: {problem}")
        if got.error is None:
            runs[number] = run_of(client, f"-- Q{number} {choice}")
    with capsys.disabled():
        whole = ", ".join(f"Q{number} {run.mode}" for number, run in runs.items() if not run.split)
        print(f"\n{kind}, {choice}: {sum(run.split for run in runs.values())} of 22 split; not split: {whole}")
    assert not problems, "\n".join(problems)
    # what workers elsewhere would have to fetch costs more than the driver's own work
    if kind != "local-1" and (choice == "always" or kind != "remote-2"):
        assert all(runs[number].split for number in SPLIT_BY_ITSELF), runs
        assert choice != "always" or sum(run.split for run in runs.values()) >= LEAST_SPLIT, runs


def written_bytes(pid: int) -> int:
    """What the process has written so far, to connections and files."""
    return int(re.search(r"wchar: (\d+)", Path(f"/proc/{pid}/io").read_text()).group(1))


def test_what_workers_have_read_is_not_sent_again(files, expected):
    """Once they have all, the driver sends them what to do, and no rows."""
    with Cluster(remote_workers=2) as cluster, attached(cluster) as con:
        tpch.load(con, files, "dh.")
        con.execute("USE dh")
        distribute(con, "always")

        def sent() -> int:
            before = written_bytes(cluster.driver.pid)
            for number, sql in QUERIES.items():
                got = Result.of(con, sql)
                tolerance = float_tolerances(expected[number].types)
                assert difference(got, expected[number], ordered=True, tolerance=tolerance) is None, number
            return written_bytes(cluster.driver.pid) - before

        first = sent()
        wait_for(lambda: sent() < first / 100)
