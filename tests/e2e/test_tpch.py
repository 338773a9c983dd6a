"""TPC-H over real input: the table that the TPC-H generator makes, Q1 and Q6 split over workers, other shapes equal."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from e2e.tpch_queries import QUERIES
from harness.client import attached, last_statistics, quote
from harness.compare import Result, difference

SCALE = "0.1"
TABLES = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"]


def generator() -> str | None:
    beside = Path(sys.executable).parent / "tpchgen-cli"
    return str(beside) if beside.exists() else shutil.which("tpchgen-cli")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Parquet files of all eight tables."""
    program = generator()
    assert program is not None, "tpchgen-cli is missing: install tests/requirements.txt"
    folder = tmp_path_factory.mktemp("tpch")
    subprocess.run([program, "parquet", "-s", SCALE, f"--output-dir={folder}"], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def plain_tables(files):
    con = duckdb.connect()
    for table in TABLES:
        con.execute(f"CREATE TABLE {table} AS SELECT * FROM {quote(files / f'{table}.parquet')}")
    yield con
    con.close()


@pytest.fixture(scope="module")
def client(any_cluster, files):
    with attached(any_cluster) as con:
        for table in TABLES:
            con.execute(f"CREATE OR REPLACE TABLE dh.{table} AS SELECT * FROM {quote(files / f'{table}.parquet')}")
        con.execute("USE dh")
        yield con


def test_the_tables_arrived(client, plain_tables):
    for table in TABLES:
        sql = f"SELECT count(*), sum(hash({table})) FROM {table}"
        assert client.execute(sql).fetchall() == plain_tables.execute(sql).fetchall(), table


@pytest.mark.parametrize("number", [1, 6])
def test_q1_and_q6_are_split_over_workers(client, plain_tables, any_cluster, number):
    sql = QUERIES[number]
    problem = difference(Result.of(client, sql), Result.of(plain_tables, sql), ordered=True, tolerance=1e-12)
    assert problem is None, problem
    marker = "l_returnflag" if number == 1 else "l_discount BETWEEN"
    statistics = last_statistics(client, marker)
    assert statistics["execution_mode"] in ("ROW_GROUP_PARTITION", "NATURAL_PARTITION")
    assert statistics["num_workers_used"] == any_cluster.expected_workers


@pytest.mark.parametrize("number", sorted(QUERIES))
def test_every_query(client, plain_tables, number):
    sql = QUERIES[number]
    problem = difference(Result.of(client, sql), Result.of(plain_tables, sql), ordered=True, tolerance=1e-12)
    assert problem is None, problem
