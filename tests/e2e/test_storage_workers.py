"""Workers in other processes that read the tables where the driver keeps them, in object storage: exactly the query's
snapshot, and not one row from the driver."""

from __future__ import annotations

import random
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import duckdb
import pytest

from e2e.test_storage import bucket, network, place, tables  # noqa: F401
from e2e.tpch_queries import QUERIES
from harness import tpch
from harness.client import attach, attached, loaded, wait_until_busy
from harness.cluster import Driver, Worker
from harness.compare import Result, difference, float_tolerances
from harness.distribution import distribute
from harness.s3 import Network
from harness.wait import timely, wait_for, within

ROWS = 300_000
SENT = ("rows of a split are sent", "rows are sent to be kept")


class Herd(ExitStack):
    """A driver whose databases are at a place, and two workers in other processes."""

    def __init__(self, place, *arguments, worker_arguments=(), workers: int = 2):
        super().__init__()
        try:
            self.driver = self.enter_context(Driver(0, *place.arguments(*arguments)))
            self.workers = []
            for _ in range(workers):
                self.add_worker(*worker_arguments)
        except BaseException:
            self.close()
            raise

    def add_worker(self, *arguments) -> Worker:
        worker = self.enter_context(Worker(f"remote-{len(self.workers) + 1}", *map(str, arguments)))
        self.workers.append(worker)
        with attached(self.driver) as con:
            con.execute("SELECT duckherder_register_worker(?, ?)", [worker.worker_id, f"grpc://{worker.location}"]).fetchall()
        return worker

    def client(self, **options):
        con = self.enter_context(loaded())
        attach(con, self.driver, **options)
        assert distribute(con, "always")
        con.execute("USE dh")
        return con

    def sent(self) -> int:
        """How often the driver was asked for rows of a table."""
        return sum(self.driver.output().count(text) for text in SENT)


@pytest.fixture(autouse=True)
def told(monkeypatch):
    """What a driver sends is in its log."""
    monkeypatch.setenv("DUCKHERDER_LOG", "info,duckherder_driver=debug")


def plan_of(con, sql: str) -> str:
    return con.execute(f"EXPLAIN ANALYZE {sql}").fetchall()[0][1]


def inputs(plan: str) -> list[int]:
    """Of each task of a plan, how many of its inputs came from storage."""
    tasks = re.findall(r"remote-\d+ of [^│]*wall", plan)
    return [sum(int(count) for count in re.findall(r"(\d+) inputs? from storage", task)) for task in tasks]


def from_storage(con, sql: str) -> bool:
    found = inputs(plan_of(con, sql))
    assert found
    return all(found)


STATEMENTS = [
    "CREATE TABLE {s}t(id INTEGER PRIMARY KEY, v VARCHAR, n BIGINT, d DATE)",
    "CREATE TABLE {s}u(id INTEGER, l INTEGER[], s STRUCT(a INTEGER, b VARCHAR), m {s}mood, e DOUBLE)",
    "INSERT INTO {s}t SELECT range, 'v' || range % 1000, range % 7, DATE '2020-01-01' + (range % 400)::INTEGER FROM range(300_000)",
    "INSERT INTO {s}u SELECT range, [range, range + 1], {'a': range, 'b': 'x' || range % 10}, CASE WHEN range % 2 = 0 THEN 'sad' ELSE 'glad' END, range / 3 FROM range(150_000)",
    "CREATE INDEX by_n ON {s}t(n)",
    "DELETE FROM {s}t WHERE id % 10 = 3",
    "UPDATE {s}t SET n = n + 100 WHERE id % 7 = 2",
    "CHECKPOINT",
    "DELETE FROM {s}t WHERE id BETWEEN 100_000 AND 240_000",
    "INSERT INTO {s}t SELECT range, 'late', 5, NULL FROM range(300_000, 310_000)",
    "CHECKPOINT",
    "UPDATE {s}u SET e = -1, s = {'a': 0, 'b': 'updated'} WHERE id % 11 = 1",
    "DELETE FROM {s}u WHERE id < 50_000",
    "ALTER TABLE {s}t ADD COLUMN extra INTEGER DEFAULT 42",
    "INSERT INTO {s}t(id, v, n) SELECT range, 'later', 6 FROM range(310_000, 450_000)",
    "ALTER TABLE {s}u RENAME COLUMN e TO f",
    "ALTER TABLE {s}u RENAME f TO e",
    "UPDATE {s}t SET v = NULL WHERE id % 13 = 5",
    "DELETE FROM {s}t WHERE n = 6 AND id % 2 = 0",
    "CHECKPOINT",
]
READS = [
    "SELECT count(*), sum(id), sum(n), count(v), max(d), count(DISTINCT v) FROM {s}t",
    "SELECT n, count(*), min(v), max(id) FROM {s}t GROUP BY n ORDER BY n",
    "SELECT count(*), sum(id), sum(l[2]), min(s.b), max(s.a), sum(e) FROM {s}u",
    "SELECT m, count(*) FROM {s}u GROUP BY m ORDER BY m",
    "SELECT t.n, count(*), sum(u.e) FROM {s}t t JOIN {s}u u ON t.id = u.id GROUP BY ALL ORDER BY ALL",
    "SELECT id, v, n FROM {s}t WHERE id % 9999 = 7 ORDER BY id",
]


def test_rows_are_those_of_plain_duckdb(place):  # noqa: F811
    """After each change, before and after checkpoints, with deletions, updates, indexes and other columns."""
    plain = duckdb.connect()
    with Herd(place) as herd:
        con = herd.client()
        for target, schema in ((con, "dh."), (plain, "")):
            target.execute(f"CREATE TYPE {schema}mood AS ENUM ('sad', 'glad')")
        seen = 0
        for statement in STATEMENTS:
            if statement == "CHECKPOINT":
                con.execute("CHECKPOINT dh")
            else:
                con.execute(statement.replace("{s}", "dh."))
                plain.execute(statement.replace("{s}", ""))
            if "CREATE TABLE" in statement:
                continue
            for sql in READS:
                expected, found = Result.of(plain, sql.replace("{s}", "")), Result.of(con, sql.replace("{s}", "dh."))
                problem = difference(found, expected, ordered=True, tolerance=float_tolerances(expected.types))
                assert not problem, f"after {statement}: {sql}: {problem}"
            seen += sum(inputs(plan_of(con, READS[0].replace("{s}", "dh."))))
        assert seen > len(STATEMENTS)
        assert herd.sent() == 0
        # the list of workers shows what they keep
        wait_for(lambda: con.execute("SELECT min(cached_bytes) > 0 FROM duckherder_workers()").fetchone() == (True,))
    plain.close()


def test_a_session_sees_its_own_commits_at_once(place):  # noqa: F811
    with Herd(place) as herd:
        con = herd.client()
        con.execute(f"CREATE TABLE dh.t AS SELECT range AS i FROM range({ROWS})")
        for number in range(20):
            con.execute(f"INSERT INTO dh.t VALUES ({ROWS + number})")
            assert con.execute("SELECT count(*), max(i) FROM dh.t").fetchone() == (ROWS + number + 1, ROWS + number)
        con.execute("BEGIN")
        assert con.execute("SELECT count(*) FROM dh.t").fetchone() == (ROWS + 20,)
        con.execute("INSERT INTO dh.t VALUES (-1)")
        assert con.execute("SELECT count(*), min(i) FROM dh.t").fetchone() == (ROWS + 21, -1)
        con.execute("ROLLBACK")
        assert con.execute("SELECT count(*), min(i) FROM dh.t").fetchone() == (ROWS + 20, 0)
        assert herd.sent() == 0


def test_money_moves_and_its_sum_stays(place):  # noqa: F811
    """Each query's workers read one state, that of its snapshot: the same rows as the driver itself sees in it."""
    accounts = 200_000
    with Herd(place) as herd:
        writers = [herd.client() for _ in range(2)]
        con = herd.client()
        con.execute(f"CREATE TABLE dh.accounts AS SELECT range AS id, 100 AS balance FROM range({accounts})")
        con.execute("CREATE TABLE dh.moves(number INTEGER)")
        ending, moved, problems = threading.Event(), [0, 0], []

        def move(number: int) -> None:
            draw = random.Random(number)
            try:
                while not ending.is_set():
                    # Both write the same table; rows of their own.
                    one, other = (draw.randrange(accounts // 2) * 2 + number for _ in range(2))
                    amount = draw.randrange(1, 50)
                    writers[number].execute("BEGIN")
                    writers[number].execute(f"UPDATE dh.accounts SET balance = balance - {amount} WHERE id = {one}")
                    writers[number].execute(f"UPDATE dh.accounts SET balance = balance + {amount} WHERE id = {other}")
                    writers[number].execute(f"INSERT INTO dh.moves VALUES ({number})")
                    writers[number].execute("COMMIT")
                    moved[number] += 1
            except duckdb.Error as error:
                problems.append(error)

        threads = [threading.Thread(target=move, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        here = queries = 0
        # What asks for row ids is read by the driver.
        both = (
            "SELECT a.n, a.total, a.hashed, b.hashed FROM "
            "(SELECT count(*) AS n, sum(balance) AS total, sum(hash(id, balance)) AS hashed FROM dh.accounts) a, "
            "(SELECT sum(hash(id, balance)) AS hashed FROM dh.accounts WHERE rowid >= 0) b"
        )
        least, most = time.monotonic() + 5, time.monotonic() + 60
        # As long as it takes on a busy machine.
        while time.monotonic() < (least if sum(moved) > 40 and queries > 7 and here else most):
            n, total, hashed, on_driver = con.execute(both).fetchone()
            assert (n, total) == (accounts, 100 * accounts)
            assert hashed == on_driver
            queries += 1
            if queries % 4 == 0:
                here += all(inputs(plan_of(con, "SELECT sum(balance) FROM dh.accounts")) or [0])
        ending.set()
        for thread in threads:
            thread.join()
        assert not problems
        sent = herd.sent()
        print(f"{sum(moved)} moves, {queries} queries; the driver was asked for rows {sent} times")
        timely(sum(moved) > 20 and queries > 3, (moved, queries))
        timely(sent < queries, (sent, queries))
        assert con.execute("SELECT count(*) FROM dh.moves").fetchone() == (sum(moved),)
        wait_for(lambda: from_storage(con, "SELECT sum(balance) FROM dh.accounts"))
        timely(here > 0, "the workers never kept up")


def test_tpch(place, tables, network):  # noqa: F811
    with Herd(place) as herd:
        con = herd.client()
        plain = duckdb.connect()
        tpch.load(con, tables, "dh.")
        tpch.load(plain, tables)
        network.counts, network.read_bytes = {}, 0
        for turn in ("cold", "warm"):
            begun = time.monotonic()
            for number, sql in QUERIES.items():
                expected, found = Result.of(plain, sql), Result.of(con, sql)
                problem = difference(found, expected, ordered=True, tolerance=float_tolerances(expected.types))
                assert not problem, f"Q{number}: {problem}"
            print(f"{turn}: {time.monotonic() - begun:.1f} s with plain DuckDB's, {network.counts}, {network.read_bytes / 2**20:.1f} MiB")
        assert herd.sent() == 0
        plain.close()


def test_databases_are_joined(place):  # noqa: F811
    with Herd(place) as herd:
        con = herd.client()
        attach(con, herd.driver, "sales", database="sales")
        con.execute(f"CREATE TABLE dh.t AS SELECT range AS i FROM range({ROWS})")
        con.execute(f"CREATE TABLE sales.t AS SELECT range * 2 AS i FROM range({ROWS})")
        sql = "SELECT count(*), sum(a.i) FROM dh.t a JOIN sales.t b ON a.i = b.i"
        for number in range(3):
            assert con.execute(sql).fetchone()[0] == ROWS // 2 + number
            con.execute(f"INSERT INTO sales.t VALUES ({number * 2 + 1})")
        assert from_storage(con, sql)


def test_a_computed_column_has_its_values(place):  # noqa: F811
    with Herd(place) as herd:
        con = herd.client()
        con.execute(f"CREATE TABLE dh.t(i INTEGER, twice INTEGER GENERATED ALWAYS AS (i * 2))")
        con.execute(f"INSERT INTO dh.t SELECT range FROM range({ROWS})")
        assert from_storage(con, "SELECT sum(i) FROM dh.t")
        assert herd.sent() == 0
        assert con.execute("SELECT sum(twice) FROM dh.t").fetchone() == (ROWS * (ROWS - 1),)


def test_a_worker_that_cannot_reach_the_storage(bucket, network, monkeypatch):  # noqa: F811
    """It says so once, and gets the rows from the driver."""
    with Herd(bucket, workers=1) as herd:
        con = herd.client()
        con.execute(f"CREATE TABLE dh.t AS SELECT range AS i FROM range({ROWS})")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        blind = herd.add_worker()
        for _ in range(3):
            assert con.execute("SELECT count(*), sum(i) FROM dh.t").fetchone() == (ROWS, ROWS * (ROWS - 1) // 2)
        assert herd.sent() > 0
        assert blind.output().count("can't read here") == 1
        assert "can't read here" not in herd.workers[0].output()


def test_a_worker_that_the_storage_does_not_let_in(bucket, network, monkeypatch):  # noqa: F811
    closed = Network(network.server)
    closed.is_closed = True
    with Herd(bucket, workers=0) as herd:
        con = herd.client()
        con.execute(f"CREATE TABLE dh.t AS SELECT range AS i FROM range({ROWS})")
        monkeypatch.setenv("AWS_ENDPOINT_URL", closed.url)
        worker = herd.add_worker()
        begun = time.monotonic()
        assert con.execute("SELECT count(*), sum(i) FROM dh.t").fetchone() == (ROWS, ROWS * (ROWS - 1) // 2)
        # It does not try for five seconds.
        within(time.monotonic() - begun, 3)
        assert "can't read here" in worker.output() and "the storage refuses the credentials" in worker.output()
    closed.close()


def test_another_place_of_the_same_name_is_not_read(bucket, network, monkeypatch, tmp_path):  # noqa: F811
    """As where each machine has a directory of its own by that name: here, an environment that leads elsewhere."""
    from harness.s3 import s3

    with s3() as other, Herd(bucket, workers=0) as herd:
        con = herd.client()
        con.execute(f"CREATE TABLE dh.t AS SELECT range AS i FROM range({ROWS})")
        for name, value in other.environment().items():
            monkeypatch.setenv(name, value)
        # A driver of its own is at the same URL there.
        with Driver(0, *bucket.arguments()) as stranger, attached(stranger) as its:
            its.execute(f"CREATE TABLE dh.t AS SELECT 7 AS i FROM range({ROWS})")
            for number in range(30):
                its.execute(f"INSERT INTO dh.t VALUES ({number})")
            worker = herd.add_worker()
            assert con.execute("SELECT count(*), sum(i) FROM dh.t").fetchone() == (ROWS, ROWS * (ROWS - 1) // 2)
            assert "can't read here" in worker.output()


def test_the_storage_goes_away_while_it_is_read(bucket, network):  # noqa: F811
    """What a worker can't read to its end runs once more, over rows of the driver, which has them in its cache. (It says them
    once it reaches the storage again: another driver might have taken its place.)"""
    with Herd(bucket, "--storage-timeout", 60) as herd:
        con = herd.client()
        con.execute(f"CREATE TABLE dh.t AS SELECT range AS i, md5(range::VARCHAR) AS v FROM range({4 * ROWS})")
        con.execute("CHECKPOINT dh")
        sql = "SELECT count(*), max(v) FROM dh.t"
        expected = con.execute("SELECT count(*), max(md5(range::VARCHAR)) FROM range(?)", [4 * ROWS]).fetchone()
        # Their databases are attached, but most of the bytes are not there yet.
        con.execute("SELECT count(*) FROM dh.t WHERE i < 10").fetchall()

        def bring_back() -> None:
            try:
                wait_for(lambda: herd.sent() > 0, 50)
            finally:
                network.is_down = False

        network.is_down = True
        with ThreadPoolExecutor(1) as pool:
            back = pool.submit(bring_back)
            assert con.execute(sql).fetchone() == expected
            back.result()
        assert any("can't read here" in worker.output() for worker in herd.workers)


def test_what_is_read_is_not_collected(bucket, network):  # noqa: F811
    """A query reads slowly while all that it reads is replaced; nothing of it is removed before it ends."""
    with Herd(bucket, "--storage-keep", "0.1") as herd:
        con, writer = herd.client(), herd.client()
        con.execute(f"CREATE TABLE dh.t AS SELECT range AS i, md5(range::VARCHAR) AS v FROM range({4 * ROWS})")
        con.execute("CHECKPOINT dh")
        expected = con.execute("SELECT count(*), max(md5(range::VARCHAR)), sum(range) FROM range(?)", [4 * ROWS]).fetchone()
        found = []
        # Workers that know nothing yet, and for which each request takes a while.
        network.latency_s = 0.3
        reading = threading.Thread(target=lambda: found.append(con.execute("SELECT count(*), max(v), sum(i) FROM dh.t").fetchone()))
        reading.start()
        wait_until_busy(herd.driver, "remote-1")
        network.latency_s = 0.01
        for number in range(3):
            writer.execute(f"UPDATE dh.t SET v = 'z{number}', i = -1")
            writer.execute("FORCE CHECKPOINT dh")
        reading.join()
        assert found == [expected]
        assert con.execute("SELECT count(*), max(v), sum(i) FROM dh.t").fetchone() == (4 * ROWS, "z2", -4 * ROWS)
        # Later, what nobody pins any more does go.
        deadline = time.monotonic() + 90
        while bucket.bytes() > 120 << 20 and time.monotonic() < deadline:
            time.sleep(0.5)
        assert from_storage(con, "SELECT count(*), sum(length(v)) FROM dh.t WHERE i < 0")


@pytest.mark.parametrize("sql", ["SELECT count(*), sum(i) FROM dh.t", "SELECT i % 50_000 AS k, count(*) FROM dh.t GROUP BY k ORDER BY k LIMIT 5"])
def test_a_worker_is_killed_while_it_reads(bucket, network, sql):  # noqa: F811
    with Herd(bucket) as herd:
        con = herd.client()
        con.execute(f"CREATE TABLE dh.t AS SELECT range AS i FROM range({8 * ROWS})")
        expected = duckdb.execute(sql.replace("dh.t", f"(SELECT range AS i FROM range({8 * ROWS}))")).fetchall()
        network.latency_s = 0.3
        found = []
        reading = threading.Thread(target=lambda: found.append(con.execute(sql).fetchall()))
        reading.start()
        wait_until_busy(herd.driver, "remote-1")
        herd.workers[0].kill()
        network.latency_s = 0
        reading.join()
        assert found == [expected]
        assert con.execute(sql).fetchall() == expected


def test_the_driver_is_killed_and_starts_again(place):  # noqa: F811
    """Workers follow to the next driver's state; what it found in the log is replayed by both."""
    with ExitStack() as stack:
        herd = stack.enter_context(Herd(place))
        con = herd.client()
        con.execute(f"CREATE TABLE dh.t AS SELECT range AS i FROM range({ROWS})")
        con.execute("DELETE FROM dh.t WHERE i % 3 = 0")
        assert from_storage(con, "SELECT sum(i) FROM dh.t")
        expected = con.execute("SELECT count(*), sum(i) FROM dh.t").fetchall()
        herd.driver.kill()
        herd.driver = stack.enter_context(Driver(0, *place.arguments()))
        con = herd.client()
        deadline = time.monotonic() + 30
        while con.execute("SELECT count(*) FROM duckherder_workers()").fetchone() != (2,):
            timely(time.monotonic() < deadline, "it took too long")
            time.sleep(0.1)
        assert con.execute("SELECT count(*), sum(i) FROM dh.t").fetchall() == expected
        con.execute("DELETE FROM dh.t WHERE i % 3 = 1")
        assert con.execute("SELECT count(*) FROM dh.t").fetchone() == (ROWS // 3,)
        assert from_storage(con, "SELECT sum(i) FROM dh.t")
        assert herd.sent() == 0


def test_workers_may_be_told_not_to(place):  # noqa: F811
    with Herd(place, worker_arguments=("--storage-cache-bytes", 0)) as herd:
        con = herd.client()
        con.execute(f"CREATE TABLE dh.t AS SELECT range AS i FROM range({ROWS})")
        assert con.execute("SELECT sum(i) FROM dh.t").fetchone() == (ROWS * (ROWS - 1) // 2,)
        assert herd.sent() > 0
