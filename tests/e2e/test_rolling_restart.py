"""All of a herd is started anew, one after the other, while clients go on: readers see no failure, and writers none but
what a driver that goes away leaves open."""

from __future__ import annotations

import signal
import threading
import time

import duckdb
import pytest

from e2e.test_herd import QUERIES, TABLES, wait_for_workers
from e2e.test_standby import Standby, places, wait_for_end
from harness.client import loaded, plain_answers
from harness.cluster import BINARY, ServerProcess, Worker, free_port
from harness.wait import wait_for

WORKERS = 3


class Reader(threading.Thread):
    """Asks one query after the other; the first that fails is in `failure`."""

    def __init__(self, addresses: str, answers, first: int, stop: threading.Event):
        super().__init__()
        self.addresses, self.answers, self.first, self.stop = addresses, answers, first, stop
        self.done = 0
        self.failure: str | None = None

    def run(self) -> None:
        con = loaded()
        con.execute(f"ATTACH '{self.addresses}' AS dh (TYPE duckherder)")
        con.execute("SET duckherder_distribution = 'always'; SET threads = 1")
        while not self.stop.is_set() and self.failure is None:
            sql = QUERIES[(self.first + self.done) % len(QUERIES)]
            try:
                found = con.execute(sql).fetchall()
                if found != self.answers[sql]:
                    self.failure = f"{sql}: {found}"
            except duckdb.Error as error:
                self.failure = f"{sql}: {error}"
            self.done += 1
        con.close()


class Writer(threading.Thread):
    """Counts up, a row a transaction. `known`: what was acknowledged; `open`: of what it was told that the outcome is not
    known."""

    def __init__(self, addresses: str, stop: threading.Event):
        super().__init__()
        self.addresses, self.stop = addresses, stop
        self.known: list[int] = []
        self.open: list[int] = []
        self.failure: str | None = None

    def run(self) -> None:
        con = loaded()
        con.execute(f"ATTACH '{self.addresses}' AS dh (TYPE duckherder)")
        number = 0
        while not self.stop.is_set() and self.failure is None:
            number += 1
            try:
                con.execute(f"INSERT INTO dh.written VALUES ({number})")
                self.known.append(number)
            except duckdb.Error as error:
                if "not known" not in str(error):
                    self.failure = str(error)
                self.open.append(number)
        con.close()


@pytest.fixture(scope="module")
def answers():
    return plain_answers(TABLES, QUERIES)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["--data", "--storage"])
def test_all_are_started_anew_under_load(tmp_path, answers, kind):
    """Workers, one after the other, then the driver, to whose place a standby comes."""
    home = [kind, tmp_path / "data" if kind == "--data" else f"file://{tmp_path}/bucket"]
    ports = [free_port(), free_port()]
    stop = threading.Event()
    standby, workers = None, []
    first = ServerProcess([BINARY, "driver", "--listen", f"127.0.0.1:{ports[0]}", *home, "--threads", "4"])
    try:
        standby = Standby(home, "--threads", "4", after=5, port=ports[1])
        addresses = places(first, standby)
        # Nothing is kept, so that all rows come from the driver, also from one that ends.
        start = lambda number: Worker(f"w{number}", "--join", addresses, "--threads", "1", "--cache-bytes", "0")  # noqa: E731
        workers = [start(number) for number in range(WORKERS)]
        con = loaded()
        con.execute(f"ATTACH '{addresses}' AS dh (TYPE duckherder)")
        con.execute(TABLES + "; CREATE TABLE dh.written(n INTEGER)")
        all_of_them = {worker.worker_id: "ACTIVE" for worker in workers}
        wait_for_workers(con, all_of_them)
        readers = [Reader(addresses, answers, number, stop) for number in (0, 4)]
        writer = Writer(addresses, stop)
        threads = [*readers, writer]
        for thread in threads:
            thread.start()

        def more_answers() -> None:
            """All of them go on after what has just happened."""
            before = [reader.done for reader in readers]
            wait_for(lambda: stop_if(threads) or all(r.done > b + 1 for r, b in zip(readers, before)), 90)

        more_answers()
        for number, worker in enumerate(workers):
            worker.process.send_signal(signal.SIGTERM)
            assert wait_for_end(worker) == 0
            workers[number] = start(number)
            wait_for_workers(con, all_of_them)
            more_answers()
        first.process.send_signal(signal.SIGTERM)
        assert wait_for_end(first) == 0
        wait_for(standby.is_active)
        wait_for_workers(con, all_of_them)
        more_answers()
        stop.set()
        for thread in threads:
            thread.join()
        assert [thread.failure for thread in threads] == [None] * len(threads)
        found = [n for n, in con.execute("SELECT n FROM dh.written ORDER BY n").fetchall()]
        assert len(set(found)) == len(found) and set(writer.known) <= set(found) <= {*writer.known, *writer.open}
        assert len(writer.open) <= 1
        print(f"{[reader.done for reader in readers]} queries, {len(writer.known)} rows acknowledged, {writer.open} open")
        con.close()
    finally:
        stop.set()
        for process in [*workers, standby, first]:
            if process is not None:
                process.kill()


def stop_if(threads) -> bool:
    """Whether one of them has failed: no need to wait then."""
    return any(thread.failure for thread in threads)


def test_a_query_that_takes_longer_than_a_driver_waits_for(tmp_path):
    """A driver that is told to end interrupts it, and the next one answers."""
    rows = 25_000
    # Of pairs, so that it takes as long as wanted on one thread.
    long = f"SELECT count(*) FROM dh.t x, dh.t y WHERE (x.i * y.i) % 7 = 3 AND x.i < {rows}"
    # those of each remainder, of both sides
    expected = sum(
        len(range(one, rows, 7)) * len(range(other, 60_000, 7)) for one in range(7) for other in range(7) if one * other % 7 == 3
    )
    data = tmp_path / "data"
    with ServerProcess([BINARY, "driver", "--listen", "127.0.0.1:0", "--data", data, "--threads", "1"]) as first:
        with Standby(["--data", data], "--threads", "2") as standby:
            con = loaded()
            con.execute(f"ATTACH '{places(first, standby)}' AS dh (TYPE duckherder)")
            con.execute("CREATE TABLE dh.t AS SELECT range AS i FROM range(60_000)")
            answers = []
            reader = threading.Thread(target=lambda: answers.append(con.execute(long).fetchone()))
            reader.start()
            time.sleep(1)
            first.process.send_signal(signal.SIGTERM)
            assert wait_for_end(first) == 0
            reader.join()
            assert answers == [(expected,)]
