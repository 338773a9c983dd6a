"""Several drivers attached to one client."""

from __future__ import annotations

import threading

import pytest

from harness.client import attach, attached, loaded
from harness.cluster import Cluster


@pytest.fixture(scope="module")
def pair():
    with Cluster(local_workers=1) as one, Cluster(local_workers=3) as two:
        yield one, two


@pytest.fixture
def con(pair):
    connection = loaded()
    attach(connection, pair[0], "one")
    attach(connection, pair[1], "two")
    yield connection
    connection.close()


def test_queries_over_both(con):
    con.execute("CREATE OR REPLACE TABLE one.t AS SELECT range AS i, 'one' AS w FROM range(1000)")
    con.execute("CREATE OR REPLACE TABLE two.t AS SELECT range * 2 AS i, 'two' AS w FROM range(300_000)")
    assert con.execute("SELECT count(*), sum(two.t.i) FROM one.t JOIN two.t ON one.t.i = two.t.i").fetchone() == (500, 249_500)
    assert con.execute("SELECT w, count(*) FROM (FROM one.t UNION ALL FROM two.t) GROUP BY w ORDER BY w").fetchall() == [("one", 1000), ("two", 300_000)]
    assert con.execute("INSERT INTO one.t SELECT i, w FROM two.t WHERE i >= 100_000").fetchone() == (250_000,)
    con.execute("CREATE OR REPLACE TABLE two.copied AS SELECT * FROM one.t")
    assert con.execute("SELECT count(*) FROM two.copied").fetchone() == (251_000,)


def test_functions_take_the_alias(con):
    assert con.execute("SELECT duckherder_get_worker_count('one'), duckherder_get_worker_count('two')").fetchone() == (1, 3)
    con.execute("CREATE OR REPLACE TABLE two.s AS SELECT 1 AS i")
    con.execute("SELECT i AS only_on_two FROM two.s").fetchall()
    where = "WHERE contains(sql, 'only_on_two')"
    assert con.execute(f"SELECT count(*) FROM duckherder_get_query_execution_stats('two') {where}").fetchone() == (1,)
    assert con.execute(f"SELECT count(*) FROM duckherder_get_query_execution_stats('one') {where}").fetchone() == (0,)


def test_two_clients_of_one_driver(pair):
    with attached(pair[0]) as a, attached(pair[0]) as b:
        a.execute("CREATE OR REPLACE TABLE dh.shared(i INTEGER)")
        b.execute("INSERT INTO dh.shared VALUES (1)")
        assert a.execute("SELECT i FROM dh.shared").fetchall() == [(1,)]
        a.execute("BEGIN")
        a.execute("INSERT INTO dh.shared VALUES (2)")
        assert b.execute("SELECT count(*) FROM dh.shared").fetchone() == (1,)
        a.execute("COMMIT")
        assert b.execute("SELECT count(*) FROM dh.shared").fetchone() == (2,)


def test_many_threads_of_one_client(con):
    con.execute("CREATE OR REPLACE TABLE two.big AS SELECT range AS i FROM range(300_000)")
    failures = []

    def work(number: int) -> None:
        cursor = con.cursor()
        for round_number in range(10):
            got = cursor.execute("SELECT sum(i) FROM two.big WHERE i % 8 = ?", [number]).fetchone()
            if got != (sum(range(number, 300_000, 8)),):
                failures.append((number, round_number, got))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
