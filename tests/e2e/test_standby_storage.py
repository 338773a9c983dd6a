"""Drivers whose databases are in object storage that die, hang or are told to end, and the standby that takes their place:
nothing that was acknowledged is lost, nothing that an old driver says later counts, and clients and workers go on by
themselves."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import duckdb
import pytest

from e2e.test_standby import NEGATIVE, Loader, Standby, Woken, connect, places, rows, status, wait_for_end
from e2e.test_storage import Place, bucket, network, sizes_below  # noqa: F401
from harness.client import attach, attached, loaded
from harness.cluster import Driver, Worker, fails_to_start
from harness.distribution import distribute
from harness.wait import wait_for, within

# The least that there is.
AFTER_S = 5
TAKEN_OVER_WITHIN_S = 15
ROWS = 300_000
# What a writer may hear of a takeover; the last where that takes as long as on a machine that has other things to do.
SAID = ["transaction is lost", "no duckherder driver is active"]


def standby(place, *arguments, after: float = AFTER_S) -> Standby:  # noqa: F811
    return Standby(place.arguments(*arguments), after=after)


@contextmanager
def pair(place, *arguments, workers: int = 0, after: float = AFTER_S):  # noqa: F811
    """A driver that has heard of its standby."""
    with Driver(workers, *place.arguments(*arguments)) as first, standby(place, *arguments, after=after) as second:
        wait_for(lambda: "a standby waits for this driver's place" in first.output())
        yield first, second


def test_writers_go_on_when_the_driver_is_killed(bucket, network):  # noqa: F811
    """Each commit that was acknowledged is there once; of those whose outcome is not known each is there once or not at
    all; no other is. Of two standbys one takes over, and the other one waits for it."""
    with pair(bucket) as (first, second), standby(bucket) as third:
        assert status(second) == f"STANDBY  waits for the driver at {first.location}\n"
        with pytest.raises(duckdb.IOException, match=f"{second.location} is not active.*standby.*{first.location}"):
            attach(loaded(), second)
        everybody = (first, second, third)
        con = connect(*everybody, database="sales")
        con.execute("CREATE TABLE dh.t(writer INTEGER, n INTEGER)")
        con.execute("CREATE TABLE dh.pairs(n INTEGER)")
        writers = [SalesLoader(number, everybody) for number in range(3)]
        time.sleep(1)
        first.kill()
        begun = time.monotonic()
        active = wait_for(lambda: next((server for server in (second, third) if server.is_active()), None))
        took = time.monotonic() - begun
        within(took, TAKEN_OVER_WITHIN_S)
        before = [len(writer.acknowledged) for writer in writers]
        wait_for(lambda: all(len(writer.acknowledged) > known for writer, known in zip(writers, before)))
        print(f"the standby was the driver after {took:.2f} s, all writers went on after {time.monotonic() - begun:.2f} s")
        waiting = third if active is second else second
        wait_for(lambda: status(waiting) == f"STANDBY  waits for the driver at {active.location}\n")
        for writer in writers:
            writer.end()
        for writer in writers:
            writer.check(con, SAID)
        # no transaction is there by half
        assert rows(con, "SELECT count(*) % 2 FROM dh.pairs") == [(0,)]
        print(f"{sum(len(writer.acknowledged) for writer in writers)} acknowledged, {sum(len(writer.unknown) for writer in writers)} not known")
        # nobody but a driver that was killed has ended
        assert active.process.poll() is None and waiting.process.poll() is None


class SalesLoader(Loader):
    """In another database; each row comes with two others."""

    def __init__(self, number: int, servers):
        self.servers = servers
        super().__init__(number, servers)

    def run(self):
        self.con.close()
        self.con = connect(*self.servers, database="sales")
        super().run()

    def in_transaction(self, row: int) -> list[str]:
        pair = f"INSERT INTO dh.pairs VALUES ({row})"
        return [pair, *super().in_transaction(row), pair]


@pytest.fixture
def shared(tmp_path):
    """A directory that several machines see."""
    return Place(f"file://{tmp_path}/shared", lambda: sizes_below(tmp_path / "shared"))


def test_a_driver_that_hangs_is_fenced(shared):
    """It says nothing that counts any more, not even what it could read without its storage."""
    with pair(shared) as (first, second):
        before = {0: "COMMIT", 2: "INSERT INTO dh.t VALUES (-200)", 3: "SELECT count(*) FROM dh.t"}
        woken = Woken.when(first, second, before, {1: "COMMIT"})
        assert "has taken over" in first.output()
        said = [str(error) for error in woken.said.values()]
        assert any("another driver (process" in error and shared.url in error for error in said), said
        # and nothing of the old one's is left in the storage
        assert second.stop() == 0
        with Driver(0, *shared.arguments()) as third, attached(third) as con:
            assert rows(con, NEGATIVE) == [(1, -1)]


def test_a_driver_that_is_told_to_end_hands_over_at_once(bucket):  # noqa: F811
    with pair(bucket, after=60) as (first, second):
        con = connect(first, second)
        con.execute("CREATE TABLE dh.t AS SELECT 1 AS i")
        con.execute("PREPARE writing AS INSERT INTO dh.t VALUES ($1)")
        first.process.send_signal(signal.SIGTERM)
        assert wait_for_end(first) == 0
        begun = time.monotonic()
        assert rows(con, "FROM dh.t") == [(1,)]
        print(f"the first answer came {time.monotonic() - begun:.2f} s after the driver had ended")
        wait_for(second.is_active)
        con.execute("EXECUTE writing(2)")
        # and back again; what starts as a standby where nobody is any more does not wait
        second.process.send_signal(signal.SIGTERM)
        assert wait_for_end(second) == 0
        with standby(bucket, after=60) as third, attached_when_active(third) as con:
            assert rows(con, "SELECT sum(i) FROM dh.t") == [(3,)]


@contextmanager
def attached_when_active(server):
    wait_for(server.is_active)
    with attached(server) as con:
        yield con


def test_credentials_that_are_replaced(bucket, network):  # noqa: F811
    """Driver and standby that run try again what is refused meanwhile."""
    refused = "the storage refuses the credentials (403 Forbidden: InvalidAccessKeyId"
    with pair(bucket, after=60) as (first, second), attached(first) as con:
        con.execute("CREATE TABLE dh.t AS SELECT 0 AS i")
        with ThreadPoolExecutor(1) as pool:
            network.is_closed = True
            writing = pool.submit(con.execute, "INSERT INTO dh.t VALUES (1)")
            wait_for(lambda: refused in first.output() and refused in second.output())
            time.sleep(3)
            assert not writing.done()
            network.is_closed = False
            writing.result(30)
        assert first.stop() == 0
        with attached_when_active(second) as other:
            assert rows(other, "SELECT count(*) FROM dh.t") == [(2,)]


def test_workers_follow(bucket, monkeypatch):  # noqa: F811
    """Those that joined and those that were registered; they read the tables in the storage for the next driver, too."""
    monkeypatch.setenv("DUCKHERDER_LOG", "info,duckherder_driver=debug")
    with pair(bucket) as (first, second), Worker("joined", "--join", places(first, second)), Worker("registered") as registered:
        con = connect(first, second)
        con.execute("SELECT duckherder_register_worker('registered', ?)", [f"grpc://{registered.location}"]).fetchall()
        con.execute(f"CREATE TABLE dh.t AS SELECT range AS i, range % 1000 AS g FROM range({ROWS})")
        assert distribute(con, "always")
        workers = "SELECT list(worker_id ORDER BY worker_id) FROM duckherder_workers() WHERE state = 'ACTIVE'"
        wait_for(lambda: rows(con, workers) == [(["joined", "registered"],)])
        query = "SELECT count(*), sum(n), max(s) FROM (SELECT g, count(*) AS n, sum(i) AS s FROM dh.t GROUP BY g)"
        expected = rows(con, query)
        first.kill()
        begun = time.monotonic()
        assert rows(con, query) == expected
        within(time.monotonic() - begun, TAKEN_OVER_WITHIN_S)
        wait_for(lambda: rows(con, workers) == [(["joined", "registered"],)])
        con.execute("DELETE FROM dh.t WHERE i % 3 = 0")

        def both_read_there() -> bool:
            plan = con.execute("EXPLAIN ANALYZE SELECT count(*), sum(i) FROM dh.t").fetchall()[0][1]
            read = [line for line in plan.splitlines() if "from storage" in line]
            return all(any(f"{worker} of" in line for line in read) for worker in ("joined", "registered"))

        wait_for(both_read_there, 90)
        assert rows(con, "SELECT count(*) FROM dh.t") == [(ROWS - ROWS // 3,)]


def test_what_no_standby_can_wait_for(tmp_path):
    url = f"file://{tmp_path}/place"
    assert f"{url} is no place that a driver can use" in fails_to_start("--storage", url, "--standby")
    assert not (tmp_path / "place").exists()
    (tmp_path / "place").mkdir()
    assert "start that one first" in fails_to_start("--storage", url, "--standby")
    assert not list((tmp_path / "place").iterdir())
    with Driver(0, "--storage", url):
        assert "at least 5 s" in fails_to_start("--storage", url, "--standby", "--takeover-after", "2")
