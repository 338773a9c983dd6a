"""Drivers that die, hang or are told to end, and the standby that takes their place: nothing that was acknowledged is
lost, nothing that an old driver says later counts, and clients and workers go on by themselves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import adbc_driver_flightsql.dbapi as flightsql
import duckdb
import pytest

from e2e.test_interrupt import run_until_interrupted
from harness.client import attach, attached, loaded
from harness.cluster import BINARY, Driver, ServerProcess, Worker, fails_to_start
from harness.wait import wait_for, within

# Long enough that a busy driver shows itself in time: it does every second.
AFTER_S = 4
# Of all that a takeover takes, with a busy machine.
LIMIT_S = 15


class Standby(ServerProcess):
    """`home`: the arguments that say where the databases are."""

    def __init__(self, home: list, *arguments: str, after: float = AFTER_S, port: int = 0):
        command = [BINARY, "driver", "--listen", f"127.0.0.1:{port}", *home, "--standby", "--takeover-after", str(after)]
        super().__init__([*command, *arguments])

    def is_active(self) -> bool:
        return "this standby is the driver now" in self.output()

    def __exit__(self, *error):
        print(f"--- the standby at {self.location}:\n{self.output()}---")
        super().__exit__(*error)


def places(*servers) -> str:
    return ",".join(server.location for server in servers)


def connect(*servers, database: str | None = None):
    """A client of whichever is active."""
    con = loaded()
    options = f", database '{database}', create_if_missing true" if database else ""

    def attach_one() -> bool:
        try:
            con.execute(f"ATTACH '{places(*servers)}' AS dh (TYPE duckherder{options})")
            return True
        except duckdb.IOException as error:
            # each has a second to answer
            print(f"attached later: {error}")
            return False

    wait_for(attach_one, 30)
    return con


@contextmanager
def pair(tmp_path, *arguments: str, workers: int = 1, after: float = AFTER_S):
    """A driver and its standby."""
    with Driver(workers, "--data", str(tmp_path / "data"), *arguments) as first:
        with Standby(["--data", tmp_path / "data"], *arguments, after=after) as second:
            yield first, second


def wait_for_end(server, seconds: float = 60) -> int:
    """The exit code of a process that ends by itself."""
    return server.process.wait(seconds)


def halt(server) -> None:
    """Stops a process, and waits until none of its threads does anything any more: on a busy machine that takes a while."""
    os.kill(server.pid, signal.SIGSTOP)
    threads = lambda: [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{server.pid}/task").iterdir()]  # noqa: E731
    wait_for(lambda: set(threads()) == {"T"})


def status(server) -> str:
    done = subprocess.run([BINARY, "status", server.location], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(con, sql: str):
    return con.execute(sql).fetchall()


def test_a_standby_says_what_it_is_and_refuses_statements(tmp_path):
    with pair(tmp_path) as (first, second):
        assert status(second) == f"STANDBY  waits for the driver at {first.location}\n"
        assert status(first).startswith("id ")
        con = loaded()
        with pytest.raises(duckdb.IOException, match=f"{second.location} is not active.*standby.*{first.location}"):
            attach(con, second)
        with flightsql.connect(f"grpc://{second.location}") as other, other.cursor() as cursor:
            with pytest.raises(flightsql.Error, match="standby"):
                cursor.execute("SELECT 1")
        # whoever names both, in whatever order, gets the one that is active
        for order in [(first, second), (second, first)]:
            con = connect(*order)
            assert rows(con, "SELECT path FROM duckdb_databases() WHERE database_name = 'dh'")
            con.execute("CREATE OR REPLACE TABLE dh.t AS SELECT 42 AS i")
            assert rows(con, "FROM dh.t") == [(42,)]


def test_the_driver_is_killed(tmp_path):
    with pair(tmp_path) as (first, second):
        con = connect(first, second)
        con.execute("CREATE TABLE dh.t AS SELECT range AS i FROM range(100_000)")
        con.execute("SET threads = 3")
        first.kill()
        begun = time.monotonic()
        assert rows(con, "SELECT count(*), sum(i) FROM dh.t") == [(100_000, 4_999_950_000)]
        print(f"the first answer came after {time.monotonic() - begun:.2f} s")
        within(time.monotonic() - begun, LIMIT_S)
        con.execute("INSERT INTO dh.t VALUES (-1)")
        assert rows(con, "SELECT min(i) FROM dh.t") == [(-1,)]
        assert status(second).startswith("id ")


def test_an_idle_client_writes_first(tmp_path):
    """Its connection is dead, and nothing of the statement has gone anywhere: it is simply made at the next driver."""
    with pair(tmp_path) as (first, second):
        clients = [connect(first, second) for _ in range(4)]
        clients[0].execute("CREATE TABLE dh.t(i INTEGER)")
        for con in clients:
            rows(con, "FROM dh.t")
        first.kill()
        wait_for(second.is_active)
        clients[0].execute("INSERT INTO dh.t VALUES (1)")
        # rows that stream
        clients[1].execute("CREATE TABLE local AS SELECT range::INTEGER AS i FROM range(10, 5000)")
        clients[1].execute("INSERT INTO dh.t SELECT i FROM local")
        # a transaction that begins only now
        clients[2].execute("BEGIN")
        clients[2].execute("INSERT INTO dh.t VALUES (2)")
        clients[2].execute("INSERT INTO dh.t VALUES (3)")
        clients[2].execute("COMMIT")
        clients[3].execute("CREATE TABLE dh.u AS SELECT 1 AS i")
        assert rows(clients[3], "SELECT count(*), sum(i) FROM dh.t WHERE i < 10") == [(3, 6)]
        assert rows(clients[3], "SELECT count(*) FROM dh.t") == [(4993,)]


def test_sessions_come_back(tmp_path):
    """Settings, prepared statements and tables under other names are the client's."""
    with pair(tmp_path) as (first, second):
        con = connect(first, second)
        con.execute("CREATE SCHEMA dh.s; CREATE TABLE dh.s.t AS SELECT range AS i FROM range(10)")
        con.execute("CREATE TABLE dh.notes(n INTEGER)")
        con.execute("PRAGMA duckherder_register_remote_table('short', 's.t')")
        con.execute("SET TimeZone = 'Asia/Tokyo'; USE dh.s")
        con.execute("PREPARE reading AS SELECT count(*) + $1 FROM t")
        con.execute("PREPARE writing AS INSERT INTO dh.main.notes VALUES ($1)")
        assert rows(con, "EXECUTE reading(1)") == [(11,)]
        con.execute("EXECUTE writing(1)")
        first.kill()
        assert rows(con, "EXECUTE reading(2)") == [(12,)]
        con.execute("EXECUTE writing(2)")
        assert rows(con, "SELECT list(n ORDER BY n) FROM dh.main.notes") == [([1, 2],)]
        assert rows(con, "SELECT count(*), any_value(TIMESTAMPTZ '2026-01-01 00:00:00+00'::VARCHAR) FROM t") == [(10, "2026-01-01 09:00:00+09")]
        assert rows(con, "SELECT count(*) FROM dh.short") == [(10,)]


def test_a_transaction_is_lost_and_says_so(tmp_path):
    with pair(tmp_path) as (first, second):
        con = connect(first, second)
        con.execute("CREATE TABLE dh.t(i INTEGER)")
        con.execute("BEGIN")
        con.execute("INSERT INTO dh.t VALUES (1)")
        # whoever waits for it to take over waits for 20 s
        halt(second)
        first.kill()
        begun = time.monotonic()
        with pytest.raises(duckdb.TransactionException, match="the transaction is lost.*roll back"):
            con.execute("INSERT INTO dh.t VALUES (2)")
        within(time.monotonic() - begun, 10)
        os.kill(second.pid, signal.SIGCONT)
        con.execute("ROLLBACK")
        con.execute("INSERT INTO dh.t VALUES (3)")
        assert rows(con, "FROM dh.t") == [(3,)]


def test_a_commit_that_is_lost(tmp_path):
    with pair(tmp_path) as (first, second):
        con = connect(first, second)
        con.execute("CREATE TABLE dh.t(i INTEGER)")
        con.execute("BEGIN")
        con.execute("INSERT INTO dh.t VALUES (1)")
        first.kill()
        with pytest.raises(duckdb.Error, match="lost|not known"):
            con.execute("COMMIT")
        assert rows(con, "FROM dh.t") in [[], [(1,)]]


def test_a_driver_that_is_told_to_end_hands_over_at_once(tmp_path):
    with pair(tmp_path, after=60) as (first, second):
        con = connect(first, second)
        con.execute("CREATE TABLE dh.t AS SELECT 1 AS i")
        done = []

        def read():
            own = con.cursor()
            begun = time.monotonic()
            assert own.execute("FROM dh.t").fetchall() == [(1,)]
            done.append(time.monotonic() - begun)

        first.process.send_signal(signal.SIGTERM)
        reader = threading.Thread(target=read)
        reader.start()
        assert wait_for_end(first) == 0
        reader.join()
        assert rows(con, "FROM dh.t") == [(1,)]
        print(f"the first answer came after {done[0]:.2f} s")
        within(done[0], 15)
        wait_for(second.is_active)
        # and back again
        with Standby(["--data", tmp_path / "data"], after=60) as third:
            con = connect(second, third)
            second.process.send_signal(signal.SIGTERM)
            assert wait_for_end(second) == 0
            assert rows(con, "FROM dh.t") == [(1,)]


@dataclass
class Woken:
    """What comes of a driver that is stopped, with transactions open and statements on their way, and wakes up when its
    standby has its place."""

    #: A client of whoever is active; what it has done, counts.
    con: duckdb.DuckDBPyConnection
    #: What clients that know only the old one were told.
    said: dict[int, object]
    took_s: float

    @classmethod
    def when(cls, first, second, before: dict[int, str], after: dict[int, str]) -> Woken:
        """Of four old clients, some speak while it is stopped, so that their words wait in its socket, and others when it
        has woken up. The first two have a transaction open."""
        con = connect(first, second)
        con.execute("CREATE TABLE dh.t AS SELECT range AS i FROM range(1000)")
        old = [loaded() for _ in range(4)]
        for client in old:
            attach(client, first)
            assert rows(client, "SELECT count(*) FROM dh.t") == [(1000,)]
        for client in old[:2]:
            client.execute("BEGIN")
            client.execute("INSERT INTO dh.t VALUES (-100)")
        stopped = time.monotonic()
        halt(first)
        said = {}

        def say(number: int, sql: str) -> None:
            try:
                said[number] = old[number].execute(sql).fetchall()
            except duckdb.Error as error:
                said[number] = error

        waiting = [threading.Thread(target=say, args=words) for words in before.items()]
        for thread in waiting:
            thread.start()
        assert rows(con, "SELECT count(*) FROM dh.t") == [(1000,)]
        took_s = time.monotonic() - stopped
        print(f"the first answer came after {took_s:.2f} s")
        con.execute("INSERT INTO dh.t VALUES (-1)")
        os.kill(first.pid, signal.SIGCONT)
        for words in after.items():
            say(*words)
        for thread in waiting:
            thread.join()
        assert wait_for_end(first) == 1
        assert all(isinstance(said[number], duckdb.Error) for number in range(4)), said
        assert rows(con, NEGATIVE) == [(1, -1)]
        return cls(con, said, took_s)


NEGATIVE = "SELECT count(*), sum(i) FROM dh.t WHERE i < 0"


def test_a_driver_that_hangs_is_fenced(tmp_path):
    with pair(tmp_path) as (first, second):
        before, after = {0: "COMMIT", 2: "INSERT INTO dh.t VALUES (-200)"}, {1: "COMMIT", 3: "SELECT count(*) FROM dh.t"}
        woken = Woken.when(first, second, before, after)
        # since the last heartbeat
        assert woken.took_s > AFTER_S - 2
        within(woken.took_s, LIMIT_S)
        assert "another one has taken its databases over" in first.output()

        # nothing of the old one's is left when the files have gone back
        woken.con.execute("CREATE TABLE dh.u AS SELECT 7 AS i")
        assert second.stop() == 0
        place = tmp_path / "data"
        assert [path.name for path in place.glob("epoch-*")] == ["epoch-2"]
        assert not list(place.glob("epoch-2/*.wal*")), "a driver that stops leaves no log"
        with Driver(1, "--data", str(place)) as third, attached(third) as con:
            assert rows(con, NEGATIVE) == [(1, -1)]
            assert rows(con, "FROM dh.u") == [(7,)]
        assert not list(place.glob("epoch-*")) and (place / "duckherder.duckdb").exists()


def test_two_standbys(tmp_path):
    data = tmp_path / "data"
    for how in [signal.SIGKILL, signal.SIGSTOP]:
        with Driver(1, "--data", str(data)) as first, Standby(["--data", data]) as second, Standby(["--data", data]) as third:
            con = connect(first, second, third)
            con.execute("CREATE OR REPLACE TABLE dh.t AS SELECT 1 AS i")
            os.kill(first.pid, how)
            assert rows(con, "FROM dh.t") == [(1,)]
            active = wait_for(lambda: [server for server in (second, third) if server.is_active()])
            assert len(active) == 1
            waiting = third if active == [second] else second
            wait_for(lambda: status(waiting) == f"STANDBY  waits for the driver at {active[0].location}\n")
            con.execute("INSERT INTO dh.t VALUES (2)")
            # the next one
            active[0].kill()
            assert rows(con, "SELECT sum(i) FROM dh.t") == [(3,)]
            wait_for(waiting.is_active)


class Loader:
    """Writes numbered rows, each of them a commit, and remembers what it was told."""

    def __init__(self, number: int, servers):
        self.con = connect(*servers)
        self.number = number
        self.acknowledged: list[int] = []
        self.unknown: list[int] = []
        self.refused: list[str] = []
        self.longest = 0.0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        row = 0
        while not self.stop.is_set():
            row += 1
            begun = time.monotonic()
            try:
                self.write(row)
                self.acknowledged.append(row)
            except duckdb.Error as error:
                (self.unknown if "not known" in str(error) else self.refused).append(row if "not known" in str(error) else str(error))
            self.longest = max(self.longest, time.monotonic() - begun)

    def in_transaction(self, row: int) -> list[str]:
        """What a transaction consists of that writes the row."""
        return [f"INSERT INTO dh.t VALUES ({self.number}, {row})"]

    def write(self, row: int):
        if row % 3:
            self.con.execute(f"INSERT INTO dh.t VALUES ({self.number}, {row})")
            return
        self.con.execute("BEGIN")
        try:
            for statement in self.in_transaction(row):
                self.con.execute(statement)
            self.con.execute("COMMIT")
        except duckdb.Error:
            try:
                self.con.execute("ROLLBACK")
            except duckdb.Error:
                pass
            raise

    def end(self):
        self.stop.set()
        self.thread.join()
        self.con.close()

    def check(self, con, reasons: list[str]) -> None:
        """What was acknowledged is there once, what is not known once or not at all; the rest was refused, for a reason."""
        found = rows(con, f"SELECT n, count(*) FROM dh.t WHERE writer = {self.number} GROUP BY n")
        assert all(count == 1 for _, count in found)
        there = {n for n, _ in found}
        assert set(self.acknowledged) <= there
        assert there - set(self.acknowledged) <= set(self.unknown)
        for text in self.refused:
            assert any(reason in text for reason in reasons), text


@pytest.mark.parametrize("how", ["kill", "hang"])
def test_writers_go_on(tmp_path, how):
    """Each commit that was acknowledged is there once; of those whose outcome is not known each is there once or not at
    all; no other is."""
    data = tmp_path / "data"
    old = []
    with Driver(0, "--data", str(data)) as first, Standby(["--data", data]) as second, Standby(["--data", data]) as third:
        everybody = (first, second, third)
        with attached(first) as con:
            con.execute("CREATE TABLE dh.t(writer INTEGER, n INTEGER)")
        writers = [Loader(number, everybody) for number in range(4)]
        for _ in range(2):
            time.sleep(1.5)
            active = first if not old else next(server for server in (second, third) if server.is_active())
            if how == "kill":
                active.kill()
            else:
                halt(active)
                old.append(active)
            before = [len(writer.acknowledged) for writer in writers]
            wait_for(lambda: sum(server.is_active() for server in (second, third) if server not in old and server.process.poll() is None) == 1)
            wait_for(lambda: all(len(writer.acknowledged) > known for writer, known in zip(writers, before)), 60)
            if how == "kill":
                old.append(active)
            else:
                os.kill(active.pid, signal.SIGCONT)
                assert wait_for_end(active) == 1
        time.sleep(0.5)
        for writer in writers:
            writer.end()
        con = connect(*everybody)
        for writer in writers:
            writer.check(con, ["transaction is lost"])
            within(writer.longest, 2 * LIMIT_S)
        acknowledged = sum(len(writer.acknowledged) for writer in writers)
        unknown = sum(len(writer.unknown) for writer in writers)
        longest = max(writer.longest for writer in writers)
        print(f"{acknowledged} acknowledged, {unknown} not known; the longest wait {longest:.2f} s")
        con.close()


@pytest.mark.parametrize("how", ["kill", "hang"])
def test_queries_with_workers_go_on(tmp_path, how):
    """Workers follow, those that joined and those that were registered, and queries that only read are run again."""
    with pair(tmp_path, workers=0) as (first, second):
        join = places(first, second)
        with Worker("joined", "--join", join) as _, Worker("registered") as registered:
            con = connect(first, second)
            con.execute("SELECT duckherder_register_worker('registered', ?)", [f"grpc://{registered.location}"]).fetchall()
            con.execute("CREATE TABLE dh.t AS SELECT range AS i, range % 1000 AS g FROM range(600_000)")
            con.execute("SET duckherder_distribution = 'always'")
            workers = "SELECT list(worker_id ORDER BY worker_id) FROM duckherder_workers() WHERE state = 'ACTIVE'"
            wait_for(lambda: rows(con, workers) == [(["joined", "registered"],)])
            query = "SELECT count(*), sum(n), max(s) FROM (SELECT g, count(*) AS n, sum(i) AS s FROM dh.t GROUP BY g)"
            expected = rows(con, query)
            stop, failures, answers = threading.Event(), [], [0, 0, 0]

            def read(number):
                own = con.cursor()
                own.execute("SET duckherder_distribution = 'always'")
                while not stop.is_set():
                    try:
                        found = own.execute(query).fetchall()
                        if found != expected:
                            failures.append(str(found))
                        answers[number] += 1
                    except duckdb.Error as error:
                        failures.append(str(error))

            readers = [threading.Thread(target=read, args=(n,)) for n in range(3)]
            for reader in readers:
                reader.start()
            wait_for(lambda: min(answers) > 2)
            first.kill() if how == "kill" else halt(first)
            wait_for(second.is_active)
            before = list(answers)
            wait_for(lambda: all(now > known + 2 for now, known in zip(answers, before)), 60)
            stop.set()
            for reader in readers:
                reader.join()
            # What was on its way may be lost only if rows of it had come: these have one row.
            assert failures == []
            wait_for(lambda: rows(con, workers) == [(["joined", "registered"],)])
            assert rows(con, query) == expected
            if how == "hang":
                os.kill(first.pid, signal.SIGCONT)
                assert wait_for_end(first) == 1
                assert rows(con, query) == expected


def test_ctrl_c_while_waiting(tmp_path):
    with pair(tmp_path, after=60) as (first, second):
        con = connect(first, second)
        con.execute("CREATE TABLE dh.t AS SELECT 1 AS i")
        halt(first)
        for sql in ["FROM dh.t", "INSERT INTO dh.t VALUES (2)"]:
            within(run_until_interrupted(con, sql), 5)
        # one that waits for a takeover, with nobody there
        first.kill()
        second.kill()
        within(run_until_interrupted(con, "FROM dh.t"), 5)


def test_nobody_takes_over(tmp_path):
    """Nobody is there any more, or only a driver of other databases, which is no successor."""
    with ExitStack() as stack:
        first, second = stack.enter_context(pair(tmp_path))
        lonely = stack.enter_context(Driver(0, "--data", str(tmp_path / "a")))
        other = stack.enter_context(Driver(0, "--data", str(tmp_path / "b")))
        clients = [connect(first, second), connect(lonely, other)]
        for con in clients:
            con.execute("CREATE TABLE dh.t AS SELECT 1 AS i")
        for server in (second, first, lonely):
            server.kill()
        begun = time.monotonic()

        def error_of(con) -> duckdb.Error:
            with pytest.raises(duckdb.IOException) as error:
                rows(con, "FROM dh.t")
            return error.value

        # All wait for as long, at once.
        with ThreadPoolExecutor() as pool:
            nobody, stranger = pool.map(error_of, clients)
        took = time.monotonic() - begun
        assert took > 15
        within(took, 45)
        for server in (first, second):
            assert server.location in str(nobody)
        assert f"{other.location} is active, but has other databases" in str(stranger)
        # to attach where nobody is takes no such time
        begun = time.monotonic()
        with pytest.raises(duckdb.IOException, match=f"{first.location}.*{second.location}"):
            loaded().execute(f"ATTACH '{places(first, second)}' AS dh (TYPE duckherder)")
        within(time.monotonic() - begun, 15)


def test_what_no_standby_can_wait_for(tmp_path):
    assert "start that one first" in fails_to_start("--data", tmp_path / "nowhere", "--standby")
    assert not (tmp_path / "nowhere").exists()
    assert "start that one first" in fails_to_start("--data", tmp_path, "--standby")
    data = tmp_path / "data"
    with Driver(0, "--data", str(data)):
        assert "in use by another driver" in fails_to_start("--data", data)
    lease = json.loads((data / "driver.lease").read_text())
    (data / "driver.lease").write_text(json.dumps(lease | {"protocol": 99, "version": "9.9"}))
    assert re.search(r"protocol 99 \(Duckherder 9\.9\).*same version", fails_to_start("--data", data, "--standby"))
    (data / "driver.lease").write_text(json.dumps(lease))
    known = json.loads((data / "driver.json").read_text())
    (data / "driver.json").write_text(json.dumps(known | {"format": 77}))
    assert "format 77" in fails_to_start("--data", data, "--standby")


def test_replacing_the_driver_by_hand(tmp_path):
    """`duckherder_register_or_replace_driver` names the new one, and its workers follow."""
    with pair(tmp_path, workers=0) as (first, second), Worker("w") as worker, attached(first) as con:
        con.execute("SELECT duckherder_register_worker('w', ?)", [f"grpc://{worker.location}"]).fetchall()
        con.execute("CREATE TABLE dh.t AS SELECT 1 AS i")
        replace = f"SELECT duckherder_register_or_replace_driver('d', 'grpc://{second.location}')"
        with pytest.raises(duckdb.IOException, match="not active: it is a standby"):
            rows(con, replace)
        assert rows(con, "FROM dh.t") == [(1,)]
        first.kill()
        wait_for(second.is_active)
        rows(con, replace)
        assert rows(con, "FROM dh.t") == [(1,)]
        con.execute("INSERT INTO dh.t VALUES (2)")
        wait_for(lambda: rows(con, "SELECT worker_id, state FROM duckherder_workers()") == [("w", "ACTIVE")])


def test_replacing_the_driver_without_a_worker_that_is_gone():
    with Driver() as first, Driver() as second, Worker("w") as worker, Worker("gone") as gone, attached(first) as con:
        for each in [gone, worker]:
            con.execute("SELECT duckherder_register_worker(?, ?)", [each.worker_id, f"grpc://{each.location}"]).fetchall()
        gone.kill()
        first.kill()
        rows(con, f"SELECT duckherder_register_or_replace_driver('d', 'grpc://{second.location}')")
        assert rows(con, "SELECT worker_id, state FROM duckherder_workers()") == [("w", "ACTIVE")]


def test_replacing_the_driver_takes_all_its_workers_along():
    """Also those that joined it by themselves; the new one keeps its own, whatever they are called."""
    with ExitStack() as stack:
        first, second = stack.enter_context(Driver()), stack.enter_context(Driver())
        con = stack.enter_context(attached(first))
        for name, driver in [("joined", first), ("same", first), ("same", second)]:
            stack.enter_context(Worker(name, "--join", driver.location))
        list_workers = "SELECT worker_id, address FROM duckherder_workers()"
        with attached(second) as other:
            wait_for(lambda: len(rows(other, list_workers)) == 1)
            ((_, own),) = rows(other, list_workers)
        wait_for(lambda: len(rows(con, list_workers)) == 2)
        rows(con, f"SELECT duckherder_register_or_replace_driver('d', 'grpc://{second.location}')")
        workers = dict(rows(con, list_workers))
        assert sorted(workers) == ["joined", "same"] and workers["same"] == own


def test_addresses_that_make_no_sense(tmp_path):
    con = loaded()
    for place in ["a:1,", "a:x,b:1", ",a:1", "a:0,b:1"]:
        with pytest.raises(duckdb.BinderException):
            con.execute(f"ATTACH '{place}' AS dh (TYPE duckherder)")
    with pair(tmp_path) as (first, second):
        con.execute(f"ATTACH '' AS dh (TYPE duckherder, server_host '127.0.0.1:{second.port}, 127.0.0.1', server_port {first.port})")
        con.execute("CREATE TABLE dh.t AS SELECT 1 AS i")
        assert rows(con, "FROM dh.t") == [(1,)]
