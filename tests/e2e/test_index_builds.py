"""Indexes that are made while others read and write through the same driver."""

from __future__ import annotations

import time

import duckdb
import pytest

from harness.client import attached
from harness.cluster import Driver
from harness.wait import within


def test_an_older_transaction_sees_deleted_rows(tmp_path):
    """DuckDB 2.0.0 itself would give up the database once that has ended, and the driver with it."""
    with Driver(1, "--data", tmp_path / "data") as driver, attached(driver) as older, attached(driver) as con:
        con.execute("CREATE TABLE dh.other(i INTEGER)")
        con.execute("CREATE TABLE dh.t(id INTEGER, v VARCHAR UNIQUE)")
        con.execute("INSERT INTO dh.t SELECT range, 'v' || range FROM range(1000)")
        older.execute("BEGIN")
        assert older.execute("SELECT count(*) FROM dh.other").fetchone() == (0,)
        con.execute("DELETE FROM dh.t WHERE id < 10")
        for build in ["CREATE INDEX by_id ON dh.t(id)", "ALTER TABLE dh.t ADD PRIMARY KEY (id)"]:
            with pytest.raises(duckdb.TransactionException, match='on table "t" while a transaction is open that began before rows were deleted'):
                con.execute(build)
        con.execute("DELETE FROM dh.t WHERE id >= 500")
        older.execute("COMMIT")
        con.execute("CREATE INDEX by_id ON dh.t(id)")
        assert con.execute("SELECT v FROM dh.t WHERE id = 10").fetchall() == [("v10",)]
        assert con.execute("SELECT count(*) FROM dh.t WHERE id = 9").fetchone() == (0,)
        con.execute("DELETE FROM dh.t WHERE id >= 250")
        assert con.execute("SELECT count(*) FROM dh.t").fetchone() == (240,)
        assert driver.stop() == 0


def test_explaining_waits_for_no_older_transaction(tmp_path):
    with Driver(0, "--data", tmp_path / "data") as driver, attached(driver) as older, attached(driver) as con:
        con.execute("CREATE TABLE dh.t AS SELECT range AS id FROM range(1000)")
        older.execute("BEGIN")
        assert older.execute("SELECT count(*) FROM dh.t").fetchone() == (1000,)
        con.execute("DELETE FROM dh.t WHERE id < 10")
        begun = time.monotonic()
        assert con.execute("EXPLAIN CREATE INDEX by_id ON dh.t(id)").fetchall()
        within(time.monotonic() - begun, 4)
