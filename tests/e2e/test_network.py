"""Driver, workers and clients on hosts of their own, whose links are slow, lose packets, and are cut and healed: every
answer is plain DuckDB's or an error that comes in time, and what was cut off is used again."""

from __future__ import annotations

import time

import duckdb
import pytest

from e2e.test_herd import QUERIES, TABLES
from harness.client import plain_answers
from harness import network
from harness.network import Network
from harness.wait import wait_for

WORKERS = ["w1", "w2", "w3", "w4"]
SILENCE_S = 3
# Until a worker is given up and its tasks have run elsewhere, on a busy machine.
LOST_S = 25
# Until connections that just stand are known to be dead: they are asked after 10 s, and have 20 s to answer.
DEAD_S = 30
# Rows move from every worker to every other one; the answer is small.
SHUFFLE = QUERIES[4]
ENDLESS = "SELECT count(*) FROM dh.a x, dh.a y WHERE levenshtein(x.s, y.s) < 2"


@pytest.fixture(scope="module")
def hosts():
    network.needed()
    with Network(["driver", *WORKERS, "client", "other"]) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def driver(hosts):
    driver = hosts.driver("driver", "--worker-timeout", str(SILENCE_S), "--threads", "4")
    for worker in WORKERS:
        hosts.worker(worker, driver, "--threads", "1")
    with hosts.client("client", driver) as con:
        con.execute(TABLES)
    return driver


@pytest.fixture
def con(hosts, driver):
    yield from client(hosts, driver, "client")


@pytest.fixture
def other(hosts, driver):
    yield from client(hosts, driver, "other")


def client(hosts, driver, host: str):
    """Healed when it comes and when it goes."""
    with hosts.client(host, driver) as con:
        con.execute("SET duckherder_distribution = 'always'")
        wait_for(lambda: workers(con) == WORKERS, 30)
        yield con
        hosts.links(0, 0)
        for name in hosts.addresses:
            hosts.heal(name)


@pytest.fixture(scope="module")
def answers():
    return plain_answers(TABLES, QUERIES)


def workers(con) -> list[str]:
    return [worker for worker, in con.execute("SELECT worker_id FROM duckherder_workers() WHERE state = 'ACTIVE' ORDER BY ALL")]


def workers_used(con, sql: str) -> int:
    """By the last query of this text."""
    ((used,),) = con.execute(
        "SELECT num_workers_used FROM duckherder_get_query_execution_stats() "
        f"WHERE sql = '{sql}' ORDER BY execution_start_time DESC LIMIT 1"
    )
    return used


def all_are_used(con) -> bool:
    con.execute(SHUFFLE)
    return workers_used(con, SHUFFLE) == len(WORKERS)


def test_slow_links_that_lose_packets(hosts, con, answers):
    hosts.links(delay_ms=20, loss=0.01)
    for sql in QUERIES:
        assert con.execute(sql) == answers[sql], sql
    wait_for(lambda: workers(con) == WORKERS)


def test_a_worker_is_cut_off_in_the_middle_of_a_query(hosts, con, answers):
    for sql in [QUERIES[0], SHUFFLE]:
        con.start(sql)
        time.sleep(0.15)
        hosts.cut("w2")
        assert con.result(LOST_S) == answers[sql]
        # The next one does without it.
        assert con.execute(sql, LOST_S) == answers[sql]
        hosts.heal("w2")
        wait_for(lambda: workers(con) == WORKERS)
    wait_for(lambda: all_are_used(con))


def test_two_workers_that_do_not_reach_each_other(hosts, driver, con, answers):
    """The driver reaches both: one is left out until they do. Only the first query has to find out."""
    assert con.execute(SHUFFLE) == answers[SHUFFLE]
    hosts.cut("w1", "w2")
    con.execute("BEGIN")
    try:
        # The client runs nothing once more.
        assert con.execute(SHUFFLE, LOST_S) == answers[SHUFFLE]
    finally:
        con.execute("ROLLBACK")
    known = driver.output()
    assert "once more, by the workers that are left" in known
    for sql in QUERIES:
        assert con.execute(sql, LOST_S) == answers[sql]
    told = driver.output().removeprefix(known)
    assert "once more" not in told, told
    assert workers_used(con, SHUFFLE) == len(WORKERS) - 1
    parted = "SELECT worker_id FROM duckherder_workers() WHERE len(unreachable) > 0"
    assert set(con.execute(parted)) & {("w1",), ("w2",)}
    hosts.heal("w1", "w2")
    wait_for(lambda: con.execute(parted) == [])
    wait_for(lambda: all_are_used(con))


def test_links_that_are_cut_for_long(hosts, con, other, answers):
    """A client's in a transaction, another one's of that host in a query, and a worker's."""
    con.execute("CREATE OR REPLACE TABLE dh.locked AS SELECT 1 AS i")
    con.execute("BEGIN")
    con.execute("UPDATE dh.locked SET i = 2")
    with hosts.client("client", "10.77.0.1:8815") as reader:
        reader.execute("SET duckherder_distribution = 'always'")
        reader.start(ENDLESS)
        busy = "SELECT count(*) FROM duckherder_workers() WHERE running_tasks > 0"
        wait_for(lambda: other.execute(busy) != [(0,)])
        hosts.cut("client")
        hosts.cut("w3")
        began = time.monotonic()
        with pytest.raises(duckdb.TransactionException, match="Conflict"):
            other.execute("UPDATE dh.locked SET i = 3")
        with pytest.raises(duckdb.IOException, match="lost the duckherder driver"):
            reader.result(DEAD_S + 10)
        wait_for(lambda: other.execute(busy) == [(0,)])

    def free() -> bool:
        try:
            return other.execute("UPDATE dh.locked SET i = 4") == [(1,)]
        except duckdb.TransactionException:
            return False

    wait_for(free, max(DEAD_S + 20 - (time.monotonic() - began), 1))
    # Both have been cut for half a minute: connections that still stand would take as long to go on.
    hosts.heal("client")
    hosts.heal("w3")
    wait_for(lambda: workers(other) == WORKERS, 20)
    with pytest.raises(duckdb.Error, match="lost|transaction"):
        con.execute("INSERT INTO dh.locked VALUES (5)", DEAD_S + 20)
    con.execute("ROLLBACK")
    assert con.execute("FROM dh.locked") == [(4,)]
    assert con.execute(SHUFFLE) == answers[SHUFFLE]


def test_a_standby_takes_over_when_it_must_only(tmp_path):
    """Its link to the driver says nothing: the directory does. A driver whose host is gone leaves connections that stand."""
    network.needed()
    with Network(["one", "two", "w1", "client"]) as hosts:
        data = ["--data", tmp_path / "data", "--worker-timeout", str(SILENCE_S)]
        one = hosts.driver("one", *data)
        two = hosts.driver("two", *data, "--standby", "--takeover-after", "4")
        places = f"{one.location},{two.location}"
        hosts.worker("w1", places)
        with hosts.client("client", places) as con:
            con.execute("CREATE TABLE dh.t AS SELECT range AS i FROM range(300_000)")
            wait_for(lambda: workers(con) == ["w1"])
            hosts.cut("one", "two")
            time.sleep(6)
            con.execute("INSERT INTO dh.t VALUES (-1)")
            assert "this standby is the driver now" not in two.output()

            # nothing of what its death does to connections reaches anybody
            hosts.cut("one")
            one.kill()
            assert con.execute("SELECT count(*), min(i) FROM dh.t", 25) == [(300_001, -1)]
            con.execute("INSERT INTO dh.t VALUES (-2)")
            wait_for(lambda: workers(con) == ["w1"])
            con.execute("SET duckherder_distribution = 'always'")
            assert con.execute("SELECT count(*), min(i) FROM dh.t") == [(300_002, -2)]
            assert workers_used(con, "SELECT count(*), min(i) FROM dh.t") == 1
