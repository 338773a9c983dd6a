"""Rows between stages that have no place in memory: they wait on disk, come back, and leave nothing behind."""

from __future__ import annotations

import os
import re
import threading

import duckdb
import pytest

from e2e.test_interrupt import processes, run_until_interrupted, wait_until_idle
from harness.client import attached
from harness.cluster import Cluster
from harness.wait import wait_for, within

ROWS = 300_000
KINDS = {"local": (3, 0), "remote": (0, 3), "mixed": (2, 2)}
# what is built takes a while, and meanwhile nobody reads what is probed
SLOW = "(SELECT k, i, s FROM {db}%s WHERE md5(md5(md5(md5(s)))) <> s)"
JOIN = f"FROM {SLOW % 'x'} x FULL JOIN {SLOW % 'y'} y ON x.k = y.k"
SUMS = f"SELECT count(*), sum(x.i), sum(y.i), sum(length(x.s)), min(y.s), max(x.s) {JOIN}"
# a tenth of what is exchanged, or less, in the memory of each process
MEMORY = "1MB"


@pytest.fixture(scope="module", params=KINDS)
def cluster(request, tmp_path_factory):
    local, remote = KINDS[request.param]
    directory = tmp_path_factory.mktemp("spill")
    arguments = ("--temp-directory", str(directory))
    with Cluster(local, remote, driver_arguments=arguments, worker_arguments=arguments) as running:
        with attached(running) as con:
            fill(con, "dh.")
        running.directory = directory
        yield running


@pytest.fixture(scope="module")
def plain():
    con = duckdb.connect()
    fill(con, "")
    yield con
    con.close()


def fill(con, db: str) -> None:
    for name, prime in (("x", 7919), ("y", 104_729)):
        con.execute(
            f"CREATE TABLE {db}{name} AS SELECT range AS i, (range * {prime}) % {ROWS} AS k, "
            f"repeat('{name}', 500) || range AS s FROM range({ROWS})"
        )


def spilling(con, memory: str = MEMORY) -> None:
    con.execute("SET duckherder_distribution = 'always'")
    con.execute(f"SET duckherder_exchange_memory = '{memory}'")


def spilled_bytes(con, sql: str) -> tuple[int, int]:
    """What the tasks of a query exchanged, and what of that was on disk, compressed."""
    text = con.execute("EXPLAIN ANALYZE " + sql).fetchall()[0][1]
    text = re.sub(r"[\s│]+", " ", text)
    exchanged = sum(int(found) for found in re.findall(r"rows, (\d+) bytes", text))
    return exchanged, sum(int(found) for found in re.findall(r"bytes, (\d+) bytes spilled", text))


def open_spill_files(cluster) -> int:
    """Files that the processes hold open, though they have no name any more."""
    count = 0
    for process in processes(cluster):
        folder = f"/proc/{process.pid}/fd"
        for descriptor in os.listdir(folder):
            try:
                target = os.readlink(f"{folder}/{descriptor}")
            except OSError:
                continue
            count += target.startswith(f"{cluster.directory}/duckherder-") and target.endswith("(deleted)")
    return count


def nothing_is_left(cluster) -> bool:
    names = [name for name in os.listdir(cluster.directory) if name.startswith("duckherder-")]
    return names == [] and open_spill_files(cluster) == 0


def test_ten_times_the_memory_is_exchanged(cluster, plain):
    with attached(cluster) as con:
        spilling(con)
        answer = con.execute(SUMS.format(db="dh.")).fetchall()
        assert answer == plain.execute(SUMS.format(db="")).fetchall()
        exchanged, spilled = spilled_bytes(con, SUMS.format(db="dh."))
        assert exchanged > 10 * len(processes(cluster)) * 1_000_000
        assert spilled > 0
    wait_for(lambda: nothing_is_left(cluster))


def test_every_row_comes_back_as_it_was(cluster, plain):
    sql = f"SELECT x.i, x.s, y.i, y.s {JOIN} WHERE x.i % 40 = 0"
    with attached(cluster) as con:
        spilling(con, "0KB")
        answer = con.execute(sql.format(db="dh.")).fetchall()
    assert sorted(answer) == sorted(plain.execute(sql.format(db="")).fetchall())
    wait_for(lambda: nothing_is_left(cluster))


def test_types_survive_the_disk(cluster, plain):
    columns = (
        "k, i, s, CASE WHEN i % 3 = 0 THEN NULL ELSE [i, k] END AS l, {{'a': i, 'b': s[-9:]}} AS t, i::DECIMAL(38, 3) AS d, "
        "DATE '2020-01-01' + (i % 999)::INTEGER AS day, (i % 2 = 0) AS b, s[-9:]::BLOB AS o, to_days((i % 9)::INTEGER) AS v, "
        "uuid_or.u AS u, MAP {{i: s[-5:]}} AS m, i::HUGEINT * 1000000000000000000 AS h"
    ).replace("uuid_or.u", "md5(s)::UUID")
    sides = [f"(SELECT {columns} FROM {{db}}{name} WHERE md5(md5(md5(md5(s)))) <> s)" for name in "xy"]
    sql = f"SELECT x.*, y.* FROM {sides[0]} x FULL JOIN {sides[1]} y ON x.k = y.k WHERE (x.i + y.i) % 100 = 0"
    with attached(cluster) as con:
        spilling(con, "0KB")
        answer = con.execute(sql.format(db="dh.")).fetchall()
        assert spilled_bytes(con, sql.format(db="dh."))[1] > 0
    assert sorted(answer, key=repr) == sorted(plain.execute(sql.format(db="")).fetchall(), key=repr)


def test_an_interrupt_leaves_no_file(cluster):
    long = f"SELECT sum(levenshtein(repeat(x.s[-40:], 12), repeat(y.s[-40:], 12))) {JOIN}".format(db="dh.")
    with attached(cluster) as con:
        spilling(con)
        within(run_until_interrupted(con, long, once=lambda: wait_for(lambda: open_spill_files(cluster) > 0)), 3)
        wait_until_idle(cluster, 15)
    wait_for(lambda: nothing_is_left(cluster))


def test_a_limit_leaves_no_file(cluster):
    with attached(cluster) as con:
        spilling(con)
        assert len(con.execute(f"SELECT x.i, y.i {JOIN} LIMIT 3".format(db="dh.")).fetchall()) == 3
        wait_until_idle(cluster, 5)
    wait_for(lambda: nothing_is_left(cluster))


def test_several_queries_have_a_memory_each(cluster, plain):
    expected = plain.execute(SUMS.format(db="")).fetchall()
    wrong = []

    def run():
        with attached(cluster) as con:
            spilling(con)
            answer = con.execute(SUMS.format(db="dh.")).fetchall()
            if answer != expected:
                wrong.append(answer)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not any(thread.is_alive() for thread in threads), "a query hangs"
    assert not wrong
    wait_for(lambda: nothing_is_left(cluster))


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_a_directory_that_takes_no_file(kind, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("a file")
    arguments = ("--temp-directory", str(taken / "below"))
    local, remote = KINDS[kind]
    with Cluster(local, remote, driver_arguments=arguments, worker_arguments=arguments) as cluster, attached(cluster) as con:
        fill(con, "dh.")
        spilling(con)
        for _ in range(2):
            with pytest.raises(duckdb.IOException) as caught:
                con.execute(SUMS.format(db="dh.")).fetchall()
            for part in (str(taken), "temp_directory", "duckherder_exchange_memory"):
                assert part in str(caught.value)
        # with enough memory nothing needs the disk
        con.execute("SET duckherder_exchange_memory = '1GB'")
        assert con.execute(SUMS.format(db="dh.")).fetchone()[0] == ROWS


@pytest.mark.parametrize("value", ["many", "-5", ""])
def test_what_is_no_number_of_bytes(value):
    with Cluster() as cluster, attached(cluster) as con:
        with pytest.raises(duckdb.InvalidInputException, match="duckherder_exchange_memory"):
            con.execute(f"SET duckherder_exchange_memory = '{value}'")
