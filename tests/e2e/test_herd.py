"""Herds that change while they work: workers join, drain, fall silent and die, and every answer is plain DuckDB's."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import threading
import time

import duckdb
import pytest

from harness.client import attached, last_statistics
from harness.cluster import BINARY, Driver, ServerProcess, Worker, free_port

# Long enough that a process that is busy, and not gone, answers in time.
SILENCE_S = 1.5


def driver(*arguments: str, workers: int = 0) -> Driver:
    return Driver(workers, "--worker-timeout", str(SILENCE_S), *arguments)


def joining(server, worker_id: str, *arguments: str) -> Worker:
    """A worker of `server` that joins by itself."""
    return Worker(worker_id, "--join", f"127.0.0.1:{server.port}", *arguments)


def workers(con) -> dict[str, str]:
    """The states of all workers."""
    return dict(con.execute("SELECT worker_id, state FROM duckherder_workers() ORDER BY ALL").fetchall())


def wait_for(what, seconds: float = 10):
    """Until `what` gives something; that."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"it took more than {seconds} s"
        time.sleep(0.02)
    return found


def wait_for_workers(con, expected: dict[str, str], seconds: float = 10) -> None:
    try:
        wait_for(lambda: workers(con) == expected, seconds)
    except AssertionError:
        assert workers(con) == expected


def register(con, worker: Worker) -> None:
    con.execute("SELECT duckherder_register_worker(?, ?)", [worker.worker_id, f"grpc://{worker.location}"]).fetchall()


def status(server) -> list[list[str]]:
    """What `duckherder status` prints, by line and cell."""
    done = subprocess.run([BINARY, "status", server.location], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return [re.split(r"  +", line) for line in done.stdout.splitlines()]


def test_workers_join_and_are_listed():
    with driver(workers=1) as server, joining(server, "a", "--threads", "3", "--memory-limit", "1GiB") as a, attached(server) as con:
        wait_for_workers(con, {"local-0": "ACTIVE", "a": "ACTIVE"})
        cursor = con.execute("SELECT * FROM duckherder_workers('dh') ORDER BY worker_id")
        names = [column[0] for column in cursor.description]
        listed = [dict(zip(names, row)) for row in cursor.fetchall()]
        assert [row["address"] for row in listed] == [f"grpc://127.0.0.1:{a.port}", None]
        assert (listed[0]["threads"], listed[0]["memory_limit_bytes"], listed[0]["running_tasks"]) == (3, 1 << 30, 0)
        assert listed[0]["version"] == listed[1]["version"] and listed[0]["version"]
        assert con.execute("SELECT duckherder_get_worker_count()").fetchone() == (2,)
        # it goes on being seen
        seen = "SELECT last_seen FROM duckherder_workers() WHERE worker_id = 'a'"
        first = con.execute(seen).fetchone()
        wait_for(lambda: con.execute(seen).fetchone() > first)

        head, local, remote = status(server)
        assert head[:3] == ["id", "address", "state"] and head[-1] == "last seen"
        assert local[:3] == ["local-0", "the driver's process", "ACTIVE"]
        assert remote[:3] == ["a", f"grpc://127.0.0.1:{a.port}", "ACTIVE"] and remote[6:8] == ["1.0 GiB", "0"]


def test_a_worker_without_a_name_has_its_address():
    with driver() as server, attached(server) as con:
        command = [BINARY, "worker", "--listen", "127.0.0.1:0", "--join", f"127.0.0.1:{server.port}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            address = process.stdout.readline().removeprefix("listening on ").strip()
            wait_for_workers(con, {address: "ACTIVE"})
        finally:
            process.kill()
            process.wait()


def test_status_of_what_is_not_there():
    with driver() as server:
        gone = server.location
    done = subprocess.run([BINARY, "status", gone], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and gone in done.stderr
    done = subprocess.run([BINARY, "worker", "--join", "nonsense"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "nonsense" in done.stderr


def test_two_workers_of_one_name():
    with driver() as server, joining(server, "a") as a, attached(server) as con:
        wait_for_workers(con, {"a": "ACTIVE"})
        with joining(server, "a") as other:
            wait_for(lambda: "give the one at" in other.output())
            assert con.execute("SELECT address FROM duckherder_workers()").fetchall() == [(f"grpc://{a.location}",)]
            # the name is free once the other has gone
            a.kill()
            wait_for(lambda: con.execute("SELECT address, state FROM duckherder_workers()").fetchall() == [(f"grpc://{other.location}", "ACTIVE")])


def test_a_worker_joins_a_driver_that_starts_later_and_again():
    port = free_port()
    with Worker("late", "--join", f"127.0.0.1:{port}") as worker:
        for _ in range(2):
            with ServerProcess([BINARY, "driver", "--listen", f"127.0.0.1:{port}"]) as server, attached(server) as con:
                wait_for_workers(con, {"late": "ACTIVE"})
        assert worker.process.poll() is None


@pytest.mark.parametrize("way", ["joined", "registered"])
def test_a_silent_worker_is_suspected_removed_and_comes_back(way):
    with driver() as server, attached(server) as con:
        with joining(server, "a") if way == "joined" else Worker("a") as worker:
            if way == "registered":
                register(con, worker)
            wait_for_workers(con, {"a": "ACTIVE"})
            os.kill(worker.pid, signal.SIGSTOP)
            stopped = time.monotonic()
            wait_for_workers(con, {"a": "SUSPECTED"})
            wait_for_workers(con, {})
            assert SILENCE_S * 0.5 < time.monotonic() - stopped < SILENCE_S + 1.5
            os.kill(worker.pid, signal.SIGCONT)
            wait_for_workers(con, {"a": "ACTIVE"})


def test_a_driver_with_a_directory_knows_who_has_left(tmp_path):
    with Worker("a") as a, Worker("b") as b:
        with driver("--data", str(tmp_path)) as server, attached(server) as con:
            register(con, a)
            register(con, b)
            assert b.stop() == 0
            wait_for_workers(con, {"a": "ACTIVE"})
            server.stop()
        with driver("--data", str(tmp_path)) as server, attached(server) as con:
            assert workers(con) == {"a": "ACTIVE"}
            assert '"b"' not in (tmp_path / "driver.json").read_text()
