"""Workers elsewhere keep what they read of the driver's tables, and never read what is not the query's snapshot."""

import random
import re
import threading
import time

import duckdb
import pytest

from harness.client import attach, loaded
from harness.cluster import Cluster, Worker
from harness.distribution import distribute
from harness.seed import drawn_seed
from harness.wait import wait_for

ROWS = 400_000


def cached(con, sql: str) -> tuple[int, int]:
    """How many tasks ran, and how many inputs came out of their workers' caches."""
    plan = con.execute(f"EXPLAIN ANALYZE {sql}").fetchall()[0][1]
    tasks = re.findall(r"remote-\d+ of [^│]*wall", plan)
    return len(tasks), sum(int(count) for task in tasks for count in re.findall(r"(\d+) inputs? cached", task))


def until_cached(con, sql: str, inputs: int) -> None:
    wait_for(lambda: cached(con, sql)[1] >= inputs, 30)


@pytest.fixture
def pair():
    """The same table in a driver with two workers elsewhere, and in plain DuckDB."""
    with Cluster(0, 2) as cluster:
        con = loaded()
        attach(con, cluster.driver)
        plain = duckdb.connect()
        for other, table in ((con, "dh.t"), (plain, "t")):
            other.execute(
                f"CREATE TABLE {table} AS SELECT range AS a, range % 7 AS b, 'text ' || range AS s, "
                f"CASE WHEN range % 3 = 0 THEN NULL ELSE range / 4 END AS d FROM range({ROWS})"
            )
        con.execute("USE dh")
        assert distribute(con, "always")
        yield con, plain
        con.close()


QUERIES = [
    "SELECT b % 10, sum(a), count(d), max(s), sum(d) FROM t WHERE a % 5 <> 1 GROUP BY ALL ORDER BY ALL",
    "SELECT count(*), sum(a), min(s) FROM t WHERE a BETWEEN 100000 AND 300000",
    "SELECT x.b, count(*), sum(y.d) FROM t x JOIN t y ON x.a = y.a + 1 GROUP BY ALL ORDER BY ALL",
    "SELECT a, s FROM t WHERE a % 1000 = 7",
]


def compare(con, plain) -> None:
    for sql in QUERIES:
        assert sorted(con.execute(sql).fetchall()) == sorted(plain.execute(sql).fetchall()), sql


def test_a_second_query_reads_what_the_first_has_left(pair):
    con, plain = pair
    tasks, _ = cached(con, QUERIES[0])
    assert tasks == 2
    until_cached(con, QUERIES[0], 2)
    # other columns of the same rows are fetched once
    until_cached(con, QUERIES[2], 4)
    compare(con, plain)


CHANGES = [
    ["DELETE FROM t WHERE a % 1000 = 3"],
    ["INSERT INTO t SELECT range, 1, 'new', 2 FROM range(1000)"],
    ["UPDATE t SET d = -1 WHERE a = 500"],
    ["UPDATE t SET d = -2 WHERE a = 500"],
    ["DELETE FROM t WHERE a = 9", "INSERT INTO t VALUES (9, 9, 'other', 9)"],
    # the columns change places
    ["ALTER TABLE t RENAME a TO z", "ALTER TABLE t RENAME d TO a", "ALTER TABLE t RENAME z TO d"],
    ["ALTER TABLE t ADD COLUMN n INTEGER DEFAULT 3"],
    ["ALTER TABLE t ALTER b TYPE DOUBLE"],
    ["ALTER TABLE t DROP COLUMN s", "ALTER TABLE t ADD COLUMN s VARCHAR DEFAULT 'again'"],
    ["CHECKPOINT"],
    ["CREATE OR REPLACE TABLE t AS SELECT a + 1 AS a, b, s, d FROM t"],
    ["TRUNCATE t", "INSERT INTO t SELECT range, range, 'x', 5 FROM range(200000)"],
]


def test_what_was_kept_is_not_read_once_it_has_changed(pair):
    con, plain = pair
    for change in CHANGES:
        until_settled(con)
        for statement in change:
            con.execute(statement)
            plain.execute(statement)
        compare(con, plain)


def until_settled(con) -> None:
    """Reads until the workers have all that they may keep: what is updated they may not."""
    seen = []
    while len(seen) < 3 or len(set(seen[-3:])) > 1:
        seen.append(tuple(cached(con, sql)[1] for sql in QUERIES))
        time.sleep(0.1)
        assert len(seen) < 100, seen


def test_money_that_moves_is_never_lost(pair):
    """Rows are deleted and inserted, which leaves row groups that may be kept: the total is the same in every snapshot."""
    con, _ = pair
    con.execute("CREATE TABLE money AS SELECT range AS id, 100 AS amount FROM range(260000)")
    numbers = random.Random(drawn_seed())
    stop = threading.Event()
    mover = con.cursor()
    mover.execute("USE dh")

    def move():
        while not stop.is_set():
            one, other = numbers.sample(range(260_000), 2)
            mover.execute("BEGIN")
            amounts = dict(
                mover.execute(f"DELETE FROM money WHERE id IN ({one}, {other}) RETURNING id, amount").fetchall()
            )
            moved = numbers.randint(1, 50)
            mover.execute(f"INSERT INTO money VALUES ({one}, {amounts[one] - moved}), ({other}, {amounts[other] + moved})")
            mover.execute("COMMIT")

    thread = threading.Thread(target=move)
    thread.start()
    try:
        for _ in range(60):
            total = con.execute("SELECT sum(amount), count(*), count(DISTINCT id) FROM money").fetchall()
            assert total == [(26_000_000, 260_000, 260_000)]
    finally:
        stop.set()
        thread.join()


def test_appended_rows_alone_are_missing(pair):
    con, plain = pair
    until_cached(con, QUERIES[0], 2)
    for number in range(5):
        for other in (con, plain):
            other.execute(f"INSERT INTO t SELECT range, 1, 'new', {number} FROM range({number * 1000}, {number * 1000 + 3})")
        # the worker that has the end of the table asks for its last row group
        sql = QUERIES[0].replace("max(s)", f"max(s), {number}")
        assert sorted(con.execute(sql).fetchall()) == sorted(plain.execute(sql).fetchall())
    compare(con, plain)


def test_a_cache_that_is_full_lets_go_of_the_oldest():
    with Cluster(0, 1, worker_arguments=("--cache-bytes", str(7 << 20))) as cluster:
        con = loaded()
        attach(con, cluster.driver)
        con.execute("USE dh")
        assert distribute(con, "always")
        for table in ("one", "two"):
            con.execute(f"CREATE TABLE {table} AS SELECT range AS a, range AS b FROM range(200000)")
        sums = {table: f"SELECT sum(a), sum(b) FROM {table}" for table in ("one", "two")}
        until_cached(con, sums["one"], 1)
        until_cached(con, sums["two"], 1)
        assert cached(con, sums["one"])[1] == 0
        con.close()


def test_a_table_of_one_task_is_read_where_it_was_read_before():
    """Whatever else runs between: a query a table, over three workers."""
    with Cluster(0, 3) as cluster, loaded() as con:
        attach(con, cluster.driver)
        con.execute("USE dh")
        assert distribute(con, "always")
        queries = [f"SELECT sum(a) FROM small{number}" for number in range(6)]
        for number in range(6):
            con.execute(f"CREATE TABLE small{number} AS SELECT range + {number} AS a FROM range(60_000)")
        for sql in queries:
            until_cached(con, sql, 1)
        for _ in range(3):
            for sql in queries:
                assert cached(con, sql) == (1, 1), sql


def test_nothing_is_kept_where_nothing_may_be():
    with Cluster(0, 1, worker_arguments=("--cache-bytes", "0")) as cluster:
        con = loaded()
        attach(con, cluster.driver)
        con.execute("USE dh")
        assert distribute(con, "always")
        con.execute("CREATE TABLE one AS SELECT range AS a FROM range(200000)")
        for _ in range(3):
            assert cached(con, "SELECT sum(a) FROM one")[1] == 0
            time.sleep(0.2)
        con.close()


LINES, ORDERS = 6_000_000, 1_500_000
TABLES = {
    "lines": f"SELECT range // 4 AS k, range % 7 AS b, range AS v FROM range({LINES})",
    "orders": f"SELECT range AS k, range % 11 AS c FROM range({ORDERS})",
}
SUMS = "SELECT b, sum(v), count(*), sum(k) FROM lines WHERE v % 5 <> 1 GROUP BY ALL ORDER BY ALL"
JOINED = "SELECT c, sum(v), count(*) FROM lines JOIN orders USING (k) WHERE c <> 3 GROUP BY ALL ORDER BY ALL"
IN_ORDER = "SELECT v, b FROM lines WHERE v % 997 = 1"
LIMITED = "SELECT v FROM lines WHERE b = 3 LIMIT 1000 OFFSET 400000"


class Herd:
    """Workers that keep tables, of which two are joined by ranges of the key by which they are stored."""

    def __init__(self, count: int):
        self.cluster = Cluster(0, count)
        self.con, self.plain = loaded(), duckdb.connect()
        attach(self.con, self.cluster.driver)
        self.con.execute("USE dh")
        assert distribute(self.con, "always")
        for name, sql in TABLES.items():
            for con in (self.con, self.plain):
                con.execute(f"CREATE TABLE {name} AS {sql}")
        self.settle(count)
        assert "KEY_RANGE_PARTITION" in self.con.execute(f"EXPLAIN {JOINED}").fetchall()[0][1]

    def settle(self, count: int) -> None:
        """Until so many workers keep all."""
        sql = "SELECT count(*) FROM duckherder_workers() WHERE state = 'ACTIVE'"
        wait_for(lambda: self.con.execute(sql).fetchone() == (count,), 30)
        until_cached(self.con, SUMS, count)
        until_cached(self.con, JOINED, 2 * count)

    def kept(self) -> dict[str, int]:
        """Bytes in each worker's cache, once all of them have said so."""
        seen = []
        while seen[-3:] != seen[-1:] * 3 or not seen:
            time.sleep(1.5)
            rows = self.con.execute("SELECT worker_id, cached_bytes FROM duckherder_workers() WHERE state = 'ACTIVE'").fetchall()
            seen.append(dict(rows))
            assert len(seen) < 40, seen
        return seen[-1]

    def compare(self) -> None:
        for sql in (SUMS, JOINED, IN_ORDER, LIMITED):
            for _ in range(3):
                assert self.con.execute(sql).fetchall() == self.plain.execute(sql).fetchall(), sql

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.con.close()
        self.cluster.close()


def test_a_worker_that_joins_moves_its_share():
    with Herd(4) as herd:
        before = herd.kept()
        with Worker("remote-5") as fifth:
            herd.con.execute("SELECT duckherder_register_worker('remote-5', ?)", [f"grpc://{fifth.location}"]).fetchall()
            herd.settle(5)
            moved = (sum(herd.kept().values()) - sum(before.values())) / sum(before.values())
            assert 0.1 < moved < 0.25, "a fifth, and what is not divided evenly"
            herd.compare()


def test_a_worker_that_leaves_moves_its_share():
    with Herd(5) as herd:
        before = herd.kept()
        gone = herd.cluster.workers[2]
        gone.stop()
        herd.settle(4)
        after = herd.kept()
        assert before.pop(gone.worker_id) > 0
        moved = (sum(after.values()) - sum(before.values())) / (sum(before.values()) * 5 / 4)
        assert 0.1 < moved < 0.25, "a fifth, and what is not divided evenly"
        herd.compare()
        # Another one has the place of the one that left, in queries that see the rows' order, too.
        after = herd.kept()
        with Worker("remote-9") as other:
            herd.con.execute("SELECT duckherder_register_worker('remote-9', ?)", [f"grpc://{other.location}"]).fetchall()
            herd.settle(5)
            herd.compare()
            kept = herd.kept()
            assert kept.pop("remote-9") > 0
            fetched = sum(kept.values()) - sum(after.values())
            assert fetched < 0.1 * sum(after.values()), "row groups at the ends of their parts"
