"""Ctrl-C, clients that disappear, results nobody reads on: the work stops within a second and memory is freed."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable

import duckdb
import pytest

from harness.client import attach, attached, loaded
from harness.cluster import EXTENSION, Cluster
from harness.wait import Untimely, timely, within

# minutes of work on any machine; the first stays on the driver, the second is split over workers
LONG_LOCAL = "SELECT count(*) FROM dh.big a, dh.big b WHERE (a.i * b.i) % 1000003 = 17"
LONG_SPLIT = "SELECT sum(levenshtein(repeat(i::VARCHAR, 40), repeat((i + 1)::VARCHAR, 40))) FROM dh.big"


@pytest.fixture(scope="module", params=["local", "remote"])
def cluster(request):
    workers = {"local_workers": 2} if request.param == "local" else {"remote_workers": 2}
    with Cluster(**workers) as running:
        with attached(running) as con:
            con.execute("CREATE TABLE dh.big AS SELECT range AS i, repeat('x', 100) || range AS s FROM range(600_000)")
        yield running


def processes(cluster):
    return [cluster.driver, *cluster.workers]


def wait_until_idle(cluster, within_s: float) -> float:
    """Seconds until driver and workers stopped using the processor, for two quarters of a second."""
    began = time.monotonic()
    idle = 0
    while True:
        before = [process.cpu_seconds() for process in processes(cluster)]
        time.sleep(0.25)
        used = sum(p.cpu_seconds() - b for p, b in zip(processes(cluster), before))
        idle = idle + 1 if used < 0.05 else 0
        if idle == 2:
            return time.monotonic() - began - 0.5
        timely(time.monotonic() - began < within_s, f"still {used / 0.25:.0%} of a core in use")


def run_until_interrupted(con, sql: str, after_s: float = 1.0, once: Callable[[], object] | None = None) -> float:
    """Runs `sql`, interrupts it after a time, and after `once`, which may wait for something; seconds between the
    interrupt and the error. Whatever happens, the statement ends."""
    interrupted, late, over = [], [], threading.Event()

    def interrupt():
        try:
            if once is not None:
                once()
        except Untimely as error:
            late.append(error)
        interrupted.append(time.monotonic())
        con.interrupt()
        # one that comes before the statement has begun is forgotten
        while not over.wait(5):
            con.interrupt()

    timer = threading.Timer(after_s, interrupt)
    timer.start()
    try:
        con.execute(sql).fetchall()
        raise Untimely("the query ended before it was interrupted")
    except duckdb.InterruptException:
        if late:
            raise late[0] from None
        return time.monotonic() - interrupted[0]
    finally:
        over.set()
        timer.cancel()
        timer.join()


@pytest.mark.parametrize("sql", [LONG_LOCAL, LONG_SPLIT], ids=["local", "split"])
def test_interrupt(cluster, sql):
    with attached(cluster) as con:
        within(run_until_interrupted(con, sql), 1.0)
        within(wait_until_idle(cluster, 15), 3)
        # the connection is as good as before
        assert con.execute("SELECT count(*) FROM dh.big").fetchone() == (600_000,)


def test_interrupt_while_writing(cluster):
    with attached(cluster) as con:
        con.execute("CREATE TABLE dh.target(i BIGINT)")
        seconds = run_until_interrupted(con, "INSERT INTO dh.target SELECT a.i FROM dh.big a, dh.big b")
        within(seconds, 1.0)
        assert con.execute("SELECT count(*) FROM dh.target").fetchone() == (0,)
        con.execute("DROP TABLE dh.target")


def test_interrupt_while_sending_rows(cluster):
    with attached(cluster) as con:
        con.execute("CREATE TABLE dh.sent(i BIGINT)")
        seconds = run_until_interrupted(con, "INSERT INTO dh.sent SELECT range FROM range(100_000_000_000)")
        within(seconds, 1.5)
        assert con.execute("SELECT count(*) FROM dh.sent").fetchone() == (0,)
        con.execute("DROP TABLE dh.sent")


def test_interrupt_a_mixed_query(cluster):
    with attached(cluster) as con:
        con.execute("CREATE TABLE loc AS SELECT range AS i FROM range(100_000)")
        sql = "SELECT count(*) FROM dh.big x, loc WHERE (x.i * loc.i) % 1000003 = 17"
        within(run_until_interrupted(con, sql), 1.0)
        within(wait_until_idle(cluster, 15), 3)


def test_memory_is_freed(cluster):
    sql = "SELECT count(*), max(n) FROM (SELECT row_number() OVER (ORDER BY b.s, a.i) AS n FROM dh.big a, dh.big b WHERE a.i < 40)"
    with attached(cluster) as con:
        wait_until_idle(cluster, 15)
        before = sum(process.memory_bytes() for process in processes(cluster))
        run_until_interrupted(con, sql, 2.0)
        wait_until_idle(cluster, 15)
        deadline = time.monotonic() + 30
        while sum(p.memory_bytes() for p in processes(cluster)) - before > 300 << 20:
            timely(time.monotonic() < deadline, "more than 300 MiB were not given back")
            time.sleep(0.2)


CLIENT = """
import sys, duckdb
con = duckdb.connect(config={"allow_unsigned_extensions": "true"})
con.execute(f"LOAD '{sys.argv[1]}'")
con.execute(f"ATTACH '127.0.0.1:{sys.argv[2]}' AS dh (TYPE duckherder)")
if sys.argv[4] == "transaction":
    con.execute("BEGIN; CREATE TABLE dh.unfinished(a INTEGER); INSERT INTO dh.big VALUES (-1, 'gone')")
print("running", flush=True)
con.execute(sys.argv[3]).fetchall()
"""


@pytest.mark.parametrize("sql", [LONG_LOCAL, LONG_SPLIT], ids=["local", "split"])
def test_a_client_that_disappears(cluster, sql):
    command = [sys.executable, "-c", CLIENT, str(EXTENSION), str(cluster.port), sql, "plain"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "running\n"
        time.sleep(1.0)
        client.kill()
        client.wait()
    within(wait_until_idle(cluster, 15), 3)


@pytest.mark.parametrize("sql", [LONG_LOCAL, LONG_SPLIT], ids=["local", "split"])
def test_control_c_at_a_terminal(cluster, sql):
    command = [sys.executable, "-c", CLIENT, str(EXTENSION), str(cluster.port), sql, "plain"]
    keyboard, terminal = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        # what a shell starts in the background ignores it, and so would all that comes of that
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    streams = {"stdin": terminal, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **streams, start_new_session=True, preexec_fn=take_terminal) as client:
        assert client.stdout.readline() == b"running\n"
        time.sleep(1.0)
        os.write(keyboard, b"\x03")
        began = time.monotonic()
        try:
            _, errors = client.communicate(timeout=30)
        finally:
            client.kill()
        within(time.monotonic() - began, 20)
        assert client.returncode != 0 and b"nterrupt" in errors, errors
    os.close(keyboard)
    os.close(terminal)
    within(wait_until_idle(cluster, 15), 3)


def test_the_transaction_of_a_client_that_disappears_is_rolled_back(cluster):
    command = [sys.executable, "-c", CLIENT, str(EXTENSION), str(cluster.port), LONG_LOCAL, "transaction"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "running\n"
        time.sleep(0.5)
        client.kill()
        client.wait()
    wait_until_idle(cluster, 15)
    with attached(cluster) as con:
        assert con.execute("SELECT count(*) FROM dh.big WHERE i < 0").fetchone() == (0,)
        with pytest.raises(duckdb.CatalogException):
            con.execute("SELECT * FROM dh.unfinished")


IDLE_CLIENT = """
import sys, duckdb
con = duckdb.connect(config={"allow_unsigned_extensions": "true"})
con.execute(f"LOAD '{sys.argv[1]}'")
con.execute(f"ATTACH 'localhost:{sys.argv[2]}' AS dh (TYPE duckherder)")
con.execute("BEGIN; CREATE TABLE dh.locked(a INTEGER); UPDATE dh.big SET s = 'mine' WHERE i < 10")
print("idle", flush=True)
sys.stdin.read()
"""


def test_the_open_transaction_of_an_idle_client_that_disappears_is_rolled_back(cluster):
    """Whatever holds it open is held by nobody: others can go on soon. One that is alive keeps its transaction."""
    command = [sys.executable, "-c", IDLE_CLIENT, str(EXTENSION), str(cluster.port)]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with attached(cluster) as con, subprocess.Popen(command, **streams) as client:
        assert client.stdout.readline() == "idle\n"
        # longer than a closed connection is waited for
        time.sleep(7.5)
        with pytest.raises(duckdb.TransactionException):
            con.execute("CREATE TABLE dh.locked(b INTEGER)")
        client.kill()
        client.wait()
        deadline = time.monotonic() + 60
        while True:
            try:
                con.execute("CREATE TABLE dh.locked(b INTEGER)")
                break
            except duckdb.TransactionException:
                timely(time.monotonic() < deadline, "it took too long")
                time.sleep(0.1)
        con.execute("UPDATE dh.big SET s = s WHERE i < 10")
        assert con.execute("SELECT count(*) FROM dh.big WHERE s = 'mine'").fetchone() == (0,)
        con.execute("DROP TABLE dh.locked")


def test_a_result_that_nobody_reads_on(cluster):
    con = loaded()
    attach(con, cluster)
    result = con.execute("SELECT a.i, b.i, a.s FROM dh.big a, dh.big b")
    assert result.fetchone() is not None
    del result
    con.close()
    within(wait_until_idle(cluster, 15), 3)


def test_detach_ends_the_session(cluster):
    con = loaded()
    attach(con, cluster)
    con.execute("SELECT count(*) FROM dh.big").fetchall()
    con.execute("DETACH dh")
    attach(con, cluster)
    assert con.execute("SELECT count(*) FROM dh.big").fetchone() == (600_000,)
    con.close()


def test_limit_ends_the_rest(cluster):
    with attached(cluster) as con:
        began = time.monotonic()
        rows = con.execute("SELECT a.i FROM dh.big a, dh.big b LIMIT 5").fetchall()
        assert len(rows) == 5
        within(time.monotonic() - began, 20)
    within(wait_until_idle(cluster, 15), 3)
