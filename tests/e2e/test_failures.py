"""Processes that die, ports that are taken, statements that go wrong in the middle: clear errors, never a hang."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time

import duckdb
import pytest

from harness.client import attach, attached, last_statistics, loaded, quote
from harness.cluster import BINARY, DIST, Cluster, Driver, ServerProcess, Worker, free_port
from harness.wait import Untimely, within

LONG = "SELECT sum(levenshtein(repeat(i::VARCHAR, 40), repeat((i + 1)::VARCHAR, 40))) FROM dh.big"


def fill(server) -> None:
    with attached(server) as con:
        con.execute("CREATE TABLE dh.big AS SELECT range AS i FROM range(600_000)")


def failure_of(con, sql: str, action, after_s: float = 0.3) -> tuple[duckdb.Error, float]:
    """The error of `sql`, during which `action` happens, and the seconds it took to come."""
    happened = []

    def act():
        happened.append(time.monotonic())
        action()

    timer = threading.Timer(after_s, act)
    timer.start()
    try:
        con.execute(sql).fetchall()
        raise Untimely("the query ended before anything could happen to it")
    except duckdb.Error as error:
        ended = time.monotonic()
        assert happened, f"failed before anything happened: {error}"
        return error, ended - happened[0]
    finally:
        timer.cancel()


def test_the_driver_is_killed_in_the_middle_of_a_query():
    with Driver(2) as driver:
        fill(driver)
        with attached(driver) as con:
            error, seconds = failure_of(con, LONG, driver.kill)
            within(seconds, 20)
            assert str(driver.port) in str(error), error
            # and every later statement says the same, soon
            began = time.monotonic()
            with pytest.raises(duckdb.Error, match=str(driver.port)):
                con.execute("SELECT count(*) FROM dh.big").fetchall()
            within(time.monotonic() - began, 20)
            # the client itself is well
            assert con.execute("SELECT 42").fetchone() == (42,)
            con.execute("DETACH dh")


def test_the_driver_is_killed_while_a_result_streams():
    with Driver(2) as driver:
        fill(driver)
        with attached(driver) as con:
            reader = con.sql("SELECT a.i FROM dh.big a, range(1000)").to_arrow_reader(100_000)
            reader.read_next_batch()
            driver.kill()
            with pytest.raises(Exception) as caught:
                for _ in reader:
                    pass
            assert "StopIteration" not in repr(caught.value)


def test_the_driver_is_killed_in_a_transaction():
    with Driver(0) as driver:
        fill(driver)
        with attached(driver) as con:
            con.execute("BEGIN")
            con.execute("INSERT INTO dh.big VALUES (1)")
            driver.kill()
            with pytest.raises(duckdb.Error):
                con.execute("COMMIT")
            try:
                con.execute("ROLLBACK")
            except duckdb.Error:
                pass
            assert con.execute("SELECT 42").fetchone() == (42,)


def test_a_worker_is_killed_in_the_middle_of_a_query():
    with Cluster(remote_workers=2) as cluster:
        fill(cluster)
        with attached(cluster) as con:
            victim = cluster.workers[1]
            timer = threading.Timer(0.3, victim.kill)
            timer.start()
            sql = LONG.replace("40", "10")
            answer = con.execute(sql).fetchall()
            timer.join()
            # the other one has run its tasks, too
            assert con.execute(sql).fetchall() == answer


def test_another_takes_the_place_of_a_worker_that_is_gone():
    with Cluster(remote_workers=2) as cluster:
        fill(cluster)
        with attached(cluster) as con:
            gone = cluster.workers[0]
            gone.kill()
            assert con.execute("SELECT sum(i) FROM dh.big").fetchone() == (179_999_700_000,)
            with Worker(gone.worker_id) as successor:
                con.execute(
                    "SELECT duckherder_register_worker(?, ?)", [gone.worker_id, f"grpc://{successor.location}"]
                ).fetchall()
                assert con.execute("SELECT sum(i) AS by_both FROM dh.big").fetchone() == (179_999_700_000,)
                assert last_statistics(con, "by_both")["num_workers_used"] == 2


def test_a_restarted_driver_can_be_attached_again():
    port = free_port()
    command = [BINARY, "driver", "--listen", f"127.0.0.1:{port}", "--workers", "0"]
    con = loaded()
    with ServerProcess(command) as driver:
        attach(con, driver)
        con.execute("CREATE TABLE dh.t AS SELECT 1 AS a")
        driver.stop()
    with ServerProcess(command) as driver:
        con.execute("DETACH dh")
        attach(con, driver)
        with pytest.raises(duckdb.CatalogException):
            con.execute("SELECT * FROM dh.t")
        con.execute("CREATE TABLE dh.t AS SELECT 2 AS a")
        assert con.execute("SELECT a FROM dh.t").fetchone() == (2,)
    con.close()


@pytest.mark.parametrize(
    "later",
    [
        "SELECT count(*) FROM dh.t",
        "INSERT INTO dh.t VALUES (3)",
        "INSERT INTO dh.t SELECT a FROM here",
        "CREATE TABLE dh.u AS SELECT 1 AS a",
        "SHOW TABLES FROM dh",
        "COMMIT",
    ],
)
def test_a_driver_that_restarts_in_a_transaction_has_lost_it(later, tmp_path):
    """What comes later in the transaction must not become a transaction of its own."""
    database = tmp_path / "driver.duckdb"
    command = [BINARY, "driver", "--listen", f"127.0.0.1:{free_port()}", "--workers", "0", "--database", database]
    with loaded() as con:
        con.execute("CREATE TABLE here AS SELECT 9 AS a")
        with ServerProcess(command) as driver:
            attach(con, driver)
            con.execute("CREATE TABLE dh.t AS SELECT 1 AS a")
            con.execute("BEGIN")
            con.execute("INSERT INTO dh.t VALUES (2)")
            driver.kill()
        with ServerProcess(command) as driver:
            with pytest.raises(duckdb.TransactionException, match="lost the transaction.*roll back"):
                con.execute(later).fetchall()
            if later != "COMMIT":
                con.execute("ROLLBACK")
            assert con.execute("FROM dh.t").fetchall() == [(1,)]
            assert con.execute("SHOW TABLES FROM dh").fetchall() == [("t",)]
            con.execute("BEGIN")
            con.execute("INSERT INTO dh.t VALUES (4)")
            con.execute("COMMIT")
            assert con.execute("FROM dh.t ORDER BY a").fetchall() == [(1,), (4,)]


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["driver", "worker"])
def test_a_clean_stop(kind, with_signal):
    with Driver(2) if kind == "driver" else Worker("w") as process:
        assert process.stop(with_signal) == 0


def test_a_stop_while_a_query_runs():
    with Driver(2) as driver:
        fill(driver)
        with attached(driver) as con:
            codes = []
            error, seconds = failure_of(con, LONG, lambda: codes.append(driver.stop()))
            within(seconds, 30)
            assert driver.process.wait(60) == 0


@pytest.mark.parametrize("program", ["driver", "worker"])
def test_a_port_in_use(program):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        extra = ["--id", "w"] if program == "worker" else []
        done = subprocess.run(
            [BINARY, program, "--listen", f"127.0.0.1:{port}", *extra], capture_output=True, text=True, timeout=20
        )
    assert done.returncode not in (0, 101)
    assert str(port) in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments", [["driver", "--listen", "nonsense"], ["driver", "--workers", "many"], ["worker", "--colour", "red"], ["nothing"]]
)
def test_wrong_arguments(arguments):
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=20)
    assert done.returncode not in (0, 101)
    assert any(argument in done.stderr + done.stdout for argument in arguments[-2:])


def test_the_programs_of_old_names():
    driver_port, worker_port = free_port(), free_port()
    with (
        ServerProcess([DIST / "distributed_server", "127.0.0.1", str(driver_port), "1"]) as driver,
        ServerProcess([DIST / "distributed_worker", "127.0.0.1", str(worker_port), "worker-7"]) as worker,
        attached(driver) as con,
    ):
        assert (driver.port, worker.port) == (driver_port, worker_port)
        location = quote(f"grpc://127.0.0.1:{worker_port}")
        assert con.execute(f"SELECT duckherder_register_worker('worker-7', {location})").fetchone() == (True,)
        assert con.execute("SELECT duckherder_get_worker_count()").fetchone() == (2,)


def test_something_else_listens_there():
    """Attaching to a port that does not speak Flight is an error that comes soon and names it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        con = loaded()
        began = time.monotonic()
        with pytest.raises(duckdb.Error, match=str(port)):
            con.execute(f"ATTACH '127.0.0.1:{port}' AS dh (TYPE duckherder)")
        within(time.monotonic() - began, 30)
        con.close()
