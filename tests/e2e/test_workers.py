"""Workers in processes of their own: registering them, the same answers, what the statistics say of them."""

from __future__ import annotations

import duckdb
import pytest

from harness.client import attached, last_statistics
from harness.cluster import Cluster, Driver, Worker


def test_registered_workers_run_tasks(remote_cluster):
    with attached(remote_cluster) as con:
        assert con.execute("SELECT duckherder_get_worker_count()").fetchone() == (2,)
        con.execute("CREATE OR REPLACE TABLE dh.r AS SELECT range AS i, range % 10 AS g, 'k' || range % 50 AS s FROM range(500_000)")
        assert con.execute("SELECT sum(i) AS over_remote FROM dh.r").fetchone() == (124_999_750_000,)
        statistics = last_statistics(con, "over_remote")
        assert statistics["execution_mode"] == "ROW_GROUP_PARTITION"
        assert statistics["num_workers_used"] == 2
        assert statistics["num_tasks_generated"] >= 2
        rows = con.execute("SELECT s, count(*), avg(i) FROM dh.r WHERE g < 5 GROUP BY s ORDER BY s").fetchall()
        assert len(rows) == 25 and all(row[1] == 10_000 for row in rows)


def test_workers_added_one_by_one():
    with Driver(1) as driver, Worker("a") as a, Worker("b") as b, attached(driver) as con:
        con.execute("CREATE TABLE dh.t AS SELECT range AS i FROM range(500_000)")
        for count, worker in enumerate([a, b], 2):
            location = f"grpc://{worker.location}"
            assert con.execute("SELECT duckherder_register_worker(?, ?)", [worker.worker_id, location]).fetchone() == (True,)
            assert con.execute("SELECT duckherder_get_worker_count()").fetchone() == (count,)
            assert con.execute(f"SELECT sum(i) AS with{count} FROM dh.t").fetchone() == (124_999_750_000,)
            assert last_statistics(con, f"with{count}")["num_workers_used"] == count


def test_the_same_worker_twice_counts_once():
    with Driver(0) as driver, Worker("a") as worker, attached(driver) as con:
        for _ in range(2):
            con.execute("SELECT duckherder_register_worker('a', ?)", [f"grpc://{worker.location}"]).fetchall()
        assert con.execute("SELECT duckherder_get_worker_count()").fetchone() == (1,)


def test_an_error_in_a_remote_task_is_duckdbs(remote_cluster):
    with attached(remote_cluster) as con:
        con.execute("CREATE OR REPLACE TABLE dh.words AS SELECT 'k' || range AS s FROM range(300_000)")
        with pytest.raises(duckdb.ConversionException, match="Could not convert string 'k"):
            con.execute("SELECT sum(s::INTEGER) FROM dh.words").fetchall()


def test_user_types_and_macros_on_remote_workers(remote_cluster):
    with attached(remote_cluster) as con:
        con.execute("CREATE TYPE dh.size AS ENUM ('small', 'big')")
        con.execute("CREATE MACRO dh.double_it(x) AS x * 2")
        con.execute("CREATE TABLE dh.sized AS SELECT range AS i, (CASE range % 3 WHEN 0 THEN 'small' ELSE 'big' END)::dh.size AS z FROM range(300_000)")
        rows = con.execute("SELECT z, count(*), sum(dh.double_it(i)) FROM dh.sized WHERE z >= 'small'::dh.size GROUP BY z ORDER BY z").fetchall()
        assert rows == [("small", 100_000, 29_999_700_000), ("big", 200_000, 60_000_000_000)]


def test_settings_reach_remote_workers(remote_cluster):
    with attached(remote_cluster) as con:
        con.execute("CREATE OR REPLACE TABLE dh.moments AS SELECT '2024-01-01 00:00:00+00'::TIMESTAMPTZ + INTERVAL (range) MINUTE AS ts FROM range(300_000)")
        for zone, hour in [("UTC", 0), ("Asia/Tokyo", 9), ("America/New_York", 19)]:
            con.execute(f"SET TimeZone = '{zone}'")
            assert con.execute("SELECT max(hour(ts)) FROM dh.moments WHERE ts = '2024-01-01 00:00:00+00'::TIMESTAMPTZ").fetchone() == (hour,)
            days = con.execute("SELECT count(DISTINCT ts::DATE), sum(hour(ts)) FROM dh.moments").fetchone()
            with duckdb.connect() as plain:
                plain.execute(f"SET TimeZone = '{zone}'")
                plain.execute("CREATE TABLE moments AS SELECT '2024-01-01 00:00:00+00'::TIMESTAMPTZ + INTERVAL (range) MINUTE AS ts FROM range(300_000)")
                assert days == plain.execute("SELECT count(DISTINCT ts::DATE), sum(hour(ts)) FROM moments").fetchone()


def test_replacing_the_driver_keeps_the_workers():
    with Cluster(local_workers=2) as cluster, attached(cluster) as con:
        for _ in range(2):
            con.execute("SELECT duckherder_register_or_replace_driver('d', ?)", [f"grpc://127.0.0.1:{cluster.port}"]).fetchall()
        assert con.execute("SELECT duckherder_get_worker_count()").fetchone() == (2,)
