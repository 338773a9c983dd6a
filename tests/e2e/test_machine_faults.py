"""Machines with a full disk, a slow one, or a clock that jumps: what was acknowledged is there, the rest is an error, and
when the machine is well again, all goes on."""

from __future__ import annotations

import subprocess

import duckdb
import pytest

from e2e.test_herd import wait_for_workers
from e2e.test_standby import Standby, connect, wait_for_end
from harness import faults as machine_faults
from harness.client import attached
from harness.cluster import BINARY, Driver, ServerProcess, free_port
from harness.wait import wait_for

DAY_S = 86_400


@pytest.fixture
def faults(tmp_path):
    if reason := machine_faults.why_not():
        pytest.skip(reason)
    return machine_faults.Faults(tmp_path)


def driver(faults, data) -> ServerProcess:
    return ServerProcess([*faults.prefix(), BINARY, "driver", "--listen", "127.0.0.1:0", "--workers", "1", "--data", data])


def test_a_log_that_can_not_be_written_ends_nothing():
    """The worker has something to log, on a disk that is full, whenever the driver goes and comes."""
    port = free_port()
    command = [BINARY, "worker", "--listen", "127.0.0.1:0", "--id", "mute", "--join", f"127.0.0.1:{port}"]
    with open("/dev/full", "w") as full:
        worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=full)
    try:
        for _ in range(2):
            with ServerProcess([BINARY, "driver", "--listen", f"127.0.0.1:{port}"]) as server, attached(server) as con:
                wait_for_workers(con, {"mute": "ACTIVE"})
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.wait()


def test_a_full_disk_costs_no_row(tmp_path, faults):
    known = 0
    with driver(faults, tmp_path / "data") as server:
        con = connect(server)
        con.execute("CREATE TABLE dh.t(i INTEGER)")
        for full in [False, True, False, True, False]:
            faults.set(disk_full=full)
            for _ in range(3):
                try:
                    con.execute(f"INSERT INTO dh.t SELECT {known} + range FROM range(1000)")
                    known += 1000
                    assert not full
                except duckdb.Error as error:
                    assert full and "No space left" in str(error)
            if full:
                with pytest.raises(duckdb.Error, match="No space left"):
                    con.execute("CREATE TABLE dh.big AS SELECT range AS i, hash(range) AS h FROM range(1_000_000)")
            assert con.execute("SELECT count(*), count(DISTINCT i), max(i) FROM dh.t").fetchone() == (known, known, known - 1)
    assert known == 9000
    with driver(faults, tmp_path / "data") as server:
        con = connect(server)
        assert con.execute("SELECT count(*), count(DISTINCT i), max(i) FROM dh.t").fetchone() == (known, known, known - 1)


@pytest.mark.parametrize("database", [None, "second"])
def test_a_checkpoint_that_finds_no_room_ends_the_driver(tmp_path, faults, database):
    """DuckDB refuses everything after that: whoever opens the database anew has all rows, here the standby, at once."""
    with driver(faults, tmp_path / "data") as server:
        # too soon for a driver that is silent
        with Standby(["--data", tmp_path / "data"], "--workers", "1", after=60) as standby:
            con = connect(server, standby, database=database)
            con.execute("CREATE TABLE dh.t AS SELECT range AS i FROM range(1000)")
            con.execute("INSERT INTO dh.t VALUES (1000)")
            faults.set(disk_full=True)
            with pytest.raises(duckdb.Error, match="No space left"):
                con.execute("FORCE CHECKPOINT dh")
            assert con.execute("SELECT count(*), max(i) FROM dh.t").fetchone() == (1001, 1000)
            assert wait_for_end(server) == 1
            faults.set()
            con.execute("INSERT INTO dh.t VALUES (1001)")
            assert con.execute("SELECT count(*), max(i) FROM dh.t").fetchone() == (1002, 1001)


def test_an_error_of_a_statement_ends_nothing(tmp_path, faults):
    with driver(faults, tmp_path / "data") as server:
        con = connect(server)
        con.execute("CREATE TABLE dh.t AS SELECT 1 AS i")
        with pytest.raises(duckdb.Error):
            con.execute("SELECT error('FATAL') FROM dh.t")
        assert con.execute("FROM dh.t").fetchall() == [(1,)] and server.process.poll() is None


def test_a_slow_disk_delays(tmp_path, faults):
    with driver(faults, tmp_path / "data") as server:
        con = connect(server)
        con.execute("CREATE TABLE dh.t AS SELECT range AS i FROM range(1000)")
        faults.set(disk_delay_ms=20)
        con.execute("INSERT INTO dh.t VALUES (-1)")
        con.execute("FORCE CHECKPOINT dh")
        server.kill()
    faults.set()
    with driver(faults, tmp_path / "data") as server:
        assert connect(server).execute("SELECT count(*), min(i) FROM dh.t").fetchone() == (1001, -1)


@pytest.mark.parametrize("jump_s", [400 * DAY_S, -400 * DAY_S])
def test_clocks_that_jump_take_nobody_for_dead(tmp_path, faults, jump_s):
    """Neither the driver for its standby, nor the worker for the driver, nor the standby's wait for itself."""
    data = tmp_path / "data"
    others = machine_faults.Faults(tmp_path, "others")
    with driver(faults, data) as server:
        standby = [*others.prefix(), BINARY, "driver", "--listen", "127.0.0.1:0", "--data", data, "--standby", "--takeover-after", "4"]
        worker = [*others.prefix(), BINARY, "worker", "--listen", "127.0.0.1:0", "--id", "far", "--join", server.location]
        with ServerProcess(standby) as second, ServerProcess(worker) as far:
            con = connect(server)
            con.execute("CREATE TABLE dh.t AS SELECT range AS i FROM range(300_000)")
            con.execute("SET duckherder_distribution = 'always'")
            wait_for_workers(con, {"local-0": "ACTIVE", "far": "ACTIVE"})
            for who in [faults, others]:
                who.set(clock_ahead_s=jump_s)
                seen = "SELECT last_seen FROM duckherder_workers() WHERE worker_id = 'far'"
                # It is asked again, by a clock that has jumped
                first = con.execute(seen).fetchone()
                wait_for(lambda: con.execute(seen).fetchone() != first)
                assert con.execute("SELECT count(*), sum(i) FROM dh.t").fetchone() == (300_000, 44_999_850_000)
                con.execute("INSERT INTO dh.t VALUES (0); DELETE FROM dh.t WHERE i = 0; INSERT INTO dh.t VALUES (0)")
                who.set()
            assert "driver now" not in second.output() and "removed" not in server.output()
            assert far.process.poll() is None


def test_a_driver_whose_standby_has_another_time(tmp_path, faults):
    """It takes over when the driver is gone, whatever its clock says."""
    data = tmp_path / "data"
    with Driver(1, "--data", str(data)) as server:
        standby = [*faults.prefix(), BINARY, "driver", "--listen", "127.0.0.1:0", "--data", data, "--standby", "--workers", "1"]
        with ServerProcess(standby) as second:
            con = connect(server, second)
            con.execute("CREATE TABLE dh.t AS SELECT 1 AS i")
            faults.set(clock_ahead_s=-400 * DAY_S)
            server.kill()
            assert con.execute("FROM dh.t").fetchall() == [(1,)]
            con.execute("INSERT INTO dh.t VALUES (2)")
            assert con.execute("SELECT sum(i) FROM dh.t").fetchone() == (3,)


def test_a_cache_without_room_is_begun_anew(faults, tmp_path):
    """DuckDB refuses a file whose checkpoint found no room: what the worker had there is fetched again once there is some."""
    rows, columns = 100_000, "abcd"
    word = "repeat(hash(range)::VARCHAR, 12)"
    (expected,) = duckdb.sql(f"SELECT bit_xor(hash({word})) FROM range({rows})").fetchall()
    with Driver(0) as server, attached(server) as con:
        worker = [*faults.prefix(), BINARY, "worker", "--listen", "127.0.0.1:0", "--id", "far", "--join", server.location]
        with ServerProcess([*worker, "--cache-directory", tmp_path / "cache"]) as far:
            con.execute("SET duckherder_distribution = 'always'")
            wait_for_workers(con, {"far": "ACTIVE"})
            con.execute(f"CREATE TABLE dh.t AS SELECT {', '.join(f'{word} AS {column}' for column in columns)} FROM range({rows})")

            def kept_bytes(some: str) -> int:
                """After these columns have been read."""
                read = ", ".join(f"bit_xor(hash({column}))" for column in some)
                assert con.execute(f"SELECT {read} FROM dh.t").fetchone() == expected * len(some)
                return con.execute("SELECT cached_bytes FROM duckherder_workers()").fetchone()[0]

            # Less than a row group, so it waits in memory for a checkpoint: when a larger piece takes its place.
            wait_for(lambda: kept_bytes("a") > rows * 200)
            faults.set(disk_full=True)
            for some in ["b", "ab", "abc"]:
                wait_for(lambda: (kept := kept_bytes(some)) == 0 or kept > rows * 200 * len(some))
            wait_for(lambda: kept_bytes(columns) == 0)
            faults.set()
            wait_for(lambda: kept_bytes(columns) > rows * 200 * len(columns))
            assert far.process.poll() is None
