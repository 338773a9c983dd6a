"""Rows that move between workers: nothing is lost, nothing hangs, whatever ends in the middle."""

from __future__ import annotations

import re
import threading
import time

import duckdb
import pytest

from e2e.test_interrupt import run_until_interrupted, wait_until_idle
from harness.client import attached, wait_until_busy
from harness.cluster import Cluster
from harness.wait import within

ROWS = 400_000
TABLES = f"""
    CREATE TABLE x AS SELECT range AS i, (range * 7919) % {ROWS} AS k, repeat('x', 40) || range AS s FROM range({ROWS});
    CREATE TABLE y AS SELECT range AS i, (range * 104729) % {ROWS} AS k, repeat('y', 40) || range AS s FROM range({ROWS});
"""
# both sides are shuffled: neither is much smaller
JOIN = "FROM {db}x FULL JOIN {db}y ON x.k = y.k"
KINDS = {"local": (3, 0), "remote": (0, 3), "mixed": (2, 2)}


@pytest.fixture(scope="module", params=KINDS)
def cluster(request):
    local, remote = KINDS[request.param]
    with Cluster(local_workers=local, remote_workers=remote) as running:
        with attached(running) as con:
            fill(con)
        yield running


@pytest.fixture(scope="module")
def plain():
    con = duckdb.connect()
    con.execute(TABLES)
    yield con
    con.close()


def fill(con) -> None:
    for statement in TABLES.strip().split(";"):
        if statement.strip():
            con.execute(statement.replace("CREATE TABLE ", "CREATE TABLE dh."))


def last_mode(con) -> str:
    sql = "SELECT execution_mode FROM duckherder_get_query_execution_stats() ORDER BY execution_start_time DESC LIMIT 1"
    return con.execute(sql).fetchone()[0]


def both(client, plain, sql: str):
    """The answer of `sql`, which is the same in both; it was shuffled."""
    answer = client.execute(sql.format(db="dh.")).fetchall()
    assert last_mode(client) == "HASH_PARTITION", sql
    assert sorted(answer, key=repr) == sorted(plain.execute(sql.format(db="")).fetchall(), key=repr), sql
    return answer


def test_every_row_arrives_once(client, plain):
    both(client, plain, f"SELECT count(*), sum(x.i), sum(y.i), sum(length(x.s)), min(y.s), max(x.s) {JOIN}")
    both(client, plain, f"SELECT x.i, y.i, y.s {JOIN} WHERE x.i % 40 = 0")


def test_one_key_has_most_rows(client, plain):
    # everything of one key goes to one task: a FULL JOIN's sides can't be spread
    skewed = "FROM {db}x FULL JOIN {db}y ON CASE WHEN x.i % 10 > 0 THEN 1 ELSE x.i END = y.k"
    both(client, plain, f"SELECT count(*), sum(x.i), sum(y.i) {skewed}")


def test_stages_upon_stages(client, plain):
    both(
        client,
        plain,
        "SELECT a.i % 5 AS g, count(*), sum(b.i), sum(c.i) FROM {db}x a FULL JOIN {db}y b ON a.k = b.k "
        "FULL JOIN {db}x c ON c.i = b.i GROUP BY g",
    )


def test_streams_that_wait_hold_up_no_other(cluster):
    # more bytes wait for the second join than a connection's window once had, while the first join builds
    wide = f"SELECT range AS i, (range * 7919) % {ROWS} AS k, repeat(range::VARCHAR, 60) AS s FROM range({ROWS})"
    with attached(cluster) as con:
        con.execute(f"CREATE TABLE dh.wide AS {wide}")
        con.execute("SET duckherder_distribution = 'always'")
        sql = (
            "SELECT count(*), sum(length(a.s)), sum(length(b.s)), sum(length(c.s)) FROM dh.wide a FULL JOIN dh.wide b "
            "ON a.k = b.i FULL JOIN dh.wide c ON b.k = c.i"
        )
        characters = con.execute("SELECT sum(length(s)) FROM dh.wide").fetchone()[0]
        assert con.execute(sql).fetchall() == [(ROWS, characters, characters, characters)]
        con.execute("DROP TABLE dh.wide")


def test_a_shuffle_that_nobody_reads_to_its_end(client):
    for _ in range(5):
        began = time.monotonic()
        rows = client.execute(f"SELECT x.i, y.i {JOIN} LIMIT 3".format(db="dh.")).fetchall()
        assert len(rows) == 3
        within(time.monotonic() - began, 20)
    assert client.execute("SELECT count(*) FROM dh.x").fetchone() == (ROWS,)


def test_a_task_that_fails_fails_the_query(client):
    cast = "SELECT sum(CASE WHEN x.i = 399999 THEN x.s::INT ELSE 1 END) " + JOIN
    for _ in range(3):
        with pytest.raises(duckdb.ConversionException, match="Could not convert string"):
            client.execute(cast.format(db="dh.")).fetchall()
    # before the shuffle, too
    early = "SELECT count(*) FROM (SELECT CASE WHEN i = 399999 THEN s::INT ELSE k END AS k FROM {db}x) x FULL JOIN {db}y USING (k)"
    with pytest.raises(duckdb.ConversionException, match="Could not convert string"):
        client.execute(early.format(db="dh.")).fetchall()
    assert client.execute("SELECT count(*) FROM dh.x").fetchone() == (ROWS,)


def test_an_interrupt_stops_all_stages(cluster, client):
    # minutes of work after the shuffle
    long = f"SELECT sum(levenshtein(repeat(x.s, 12), repeat(y.s, 12))) {JOIN}".format(db="dh.")
    within(run_until_interrupted(client, long, after_s=2.0), 3)
    wait_until_idle(cluster, 15)
    assert client.execute("SELECT count(*) FROM dh.x").fetchone() == (ROWS,)


def test_many_at_once(cluster, plain):
    sql = f"SELECT count(*), sum(x.i), sum(y.i) {JOIN}"
    expected = plain.execute(sql.format(db="")).fetchall()
    wrong = []

    def run(number: int) -> None:
        with attached(cluster) as con:
            con.execute("SET duckherder_distribution = 'always'")
            for _ in range(2):
                answer = con.execute(sql.format(db="dh.")).fetchall()
                if answer != expected:
                    wrong.append((number, answer))

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not any(thread.is_alive() for thread in threads), "a query hangs"
    assert not wrong, wrong


def test_a_worker_that_dies_in_the_middle():
    # one thread each, so that it takes a while on machines with many cores, too
    with Cluster(remote_workers=3, worker_arguments=("--threads", "1")) as cluster, attached(cluster) as con:
        fill(con)
        con.execute("SET duckherder_distribution = 'always'")
        work = "CASE WHEN x.i % 4 = 0 THEN levenshtein(repeat(x.s, 4), repeat(y.s, 4)) ELSE x.i + y.i END"
        long = f"SELECT sum({work}) {JOIN}".format(db="dh.")

        def kill() -> None:
            wait_until_busy(cluster, cluster.workers[1].worker_id)
            cluster.workers[1].kill()

        killer = threading.Thread(target=kill)
        killer.start()
        # all begin anew without it
        found = con.execute(long).fetchall()
        killer.join()
        assert "once more" in cluster.driver.output()
        cluster.workers.pop(1)
        assert con.execute(long).fetchall() == found
        wait_until_idle(cluster, 15)


GROUPS = "SELECT k % 60000 AS g, sum(i) EXPORT_STATE AS v, count(*) EXPORT_STATE AS w FROM {db}x GROUP BY g"
NAMES = "(SELECT DISTINCT k % 60000 AS g, 'name ' || k % 7000 AS name FROM {db}y WHERE k % 5 > 0)"


@pytest.mark.parametrize("kind", ["JOIN", "LEFT JOIN", "RIGHT JOIN"])
def test_states_that_an_aggregate_above_a_join_combines(client, plain, kind):
    combined = "finalize(combine_aggr(s.v)), finalize(combine_aggr(s.w))"
    joined = f"FROM ({GROUPS}) s {kind} {NAMES} n ON s.g = n.g"
    same(client, plain, f"SELECT n.name, {combined} {joined} WHERE s.g % 3 > 0 OR s.g IS NULL GROUP BY n.name")
    same(client, plain, f"SELECT n.name, {combined}, count(*) {joined} GROUP BY n.name")
    same(client, plain, f"SELECT finalize(s.v) % 10 AS d, {combined} {joined} GROUP BY d")
    same(client, plain, f"SELECT n.name, {combined} {joined} WHERE finalize(s.v) % 2 = 0 GROUP BY n.name")
    # a state that is not combined, or combined and read by another name
    same(client, plain, f"SELECT n.name, finalize(combine_aggr(s.v)) {joined} WHERE finalize(s.w) > 3 GROUP BY n.name")
    same(client, plain, f"SELECT finalize(s.w) AS d, finalize(combine_aggr(s.v)) {joined} GROUP BY d")
    more = f"FROM (SELECT *, v AS u, hash(g) AS h FROM ({GROUPS})) s {kind} {NAMES} n ON s.g = n.g"
    same(client, plain, f"SELECT n.name, finalize(combine_aggr(s.v)) {more} WHERE finalize(s.u) % 2 = 0 GROUP BY n.name")
    same(client, plain, f"SELECT finalize(combine_aggr(s.v)) {joined} AND finalize(s.w) > n.g % 5")
    same(client, plain, f"SELECT n.name, sum(x.i), avg(x.k), min(x.s) FROM {{db}}x {kind} {NAMES} n ON x.k = n.g GROUP BY n.name")


def same(client, plain, sql: str) -> None:
    answer = client.execute(sql.format(db="dh.")).fetchall()
    assert sorted(answer, key=repr) == sorted(plain.execute(sql.format(db="")).fetchall(), key=repr), sql


def test_rows_move_for_groups_before_a_join_makes_them_wide(client, plain, cluster):
    tables = {
        "sales": "SELECT k, k % 20000 AS one, (k * 31) % 20000 AS two FROM {db}x",
        "one": "SELECT i AS k, s, reverse(s) AS t FROM {db}y WHERE i < 20000 AND i % 4 <> 2",
        "two": "SELECT i AS k, s, i % 7 AS p FROM {db}y WHERE i < 20000 AND i % 5 <> 2",
    }
    for name, rows in tables.items():
        client.execute(f"CREATE OR REPLACE TABLE dh.{name} AS {rows.format(db='dh.')}")
        plain.execute(f"CREATE OR REPLACE TABLE {name} AS {rows.format(db='')}")
    groups = "SELECT count(*), sum(total), max(total) FROM (SELECT {keys}, sum(x.k) AS total FROM {{db}}sales x {joins} GROUP BY ALL)"
    one, two = "JOIN {db}one o ON x.one = o.k", "JOIN {db}two t ON x.two = t.k"
    for keys, joins in [
        ("substr(o.s, 30) AS n, o.t, o.k AS o, x.k", one),
        ("o.s, o.t, o.k AS o, x.k % 1000 AS m", one),
        ("o.s, o.t, o.k AS o, x.k", one.replace("JOIN", "LEFT JOIN")),
        ("o.s, o.t, o.k AS o, x.k", one.replace("JOIN", "RIGHT JOIN")),
        ("o.s, t.s AS other, o.k AS o, t.k AS t, x.k", f"{one} {two} AND t.p > 2"),
        ("o.s, t.s AS other, o.k AS o, x.k", f"{one.replace('= o.k', '= o.k AND o.k % 9 < 5')} {two}"),
    ]:
        same(client, plain, groups.format(keys=keys, joins=joins))
    if len(cluster.workers) == 3:
        sql = groups.format(keys="substr(o.s, 30) AS n, o.t, o.k AS o, x.k", joins=one).format(db="dh.")
        plan = client.execute(f"EXPLAIN {sql}").fetchall()[-1][-1]
        assert re.search(r"Stage 0: SCAN sales: up to \d tasks .* shuffled", re.sub(r"[│\s]+", " ", plan)), plan


def test_groups_of_several_texts(client, plain):
    for kind, db in ((client, "dh."), (plain, "")):
        texts = "CASE WHEN i % 11 > 0 THEN s END AS a, CASE WHEN i % 7 > 0 THEN 'b' || k % 100 END AS b, i % 10 AS c"
        kind.execute(f"CREATE OR REPLACE TABLE {db}texts AS SELECT {texts}, i FROM {db}x UNION ALL SELECT {texts}, -i FROM {db}x")
    groups = "SELECT a, b, c, sum(i) AS total, list(i ORDER BY i) AS all_of_it FROM {db}texts GROUP BY a, b, c"
    same(client, plain, f"SELECT count(*), sum(total), max(a), min(b), sum(len(all_of_it)) FROM ({groups})")
    ranked = f"SELECT *, rank() OVER (PARTITION BY a, c ORDER BY total, b NULLS FIRST) AS place FROM ({groups})"
    same(client, plain, f"SELECT count(*), sum(place * total), max(place) FROM ({ranked})")
    same(client, plain, f"SELECT l.c, count(*), sum(l.total * r.total) FROM ({groups}) l JOIN ({groups}) r USING (a, c) GROUP BY ALL")
