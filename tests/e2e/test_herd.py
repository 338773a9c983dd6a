"""Herds that change while they work: workers join, drain, fall silent and die, and every answer is plain DuckDB's."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import threading
import time

import adbc_driver_flightsql.dbapi as flightsql
import duckdb
import pytest

from harness.client import attached, last_statistics, plain_answers, wait_until_busy
from harness.cluster import BINARY, Driver, ServerProcess, Worker, free_port
from harness.seed import drawn_seed
from harness.wait import Untimely, timely, wait_for, within

# Long enough that a process that is busy, and not gone, answers in time: it is asked four times meanwhile.
SILENCE_S = 3


def driver(*arguments: str, workers: int = 0) -> Driver:
    return Driver(workers, "--worker-timeout", str(SILENCE_S), *arguments)


def joining(server, worker_id: str, *arguments: str) -> Worker:
    """A worker of `server` that joins by itself."""
    return Worker(worker_id, "--join", f"127.0.0.1:{server.port}", *arguments)


def workers(con) -> dict[str, str]:
    """The states of all workers."""
    return dict(con.execute("SELECT worker_id, state FROM duckherder_workers() ORDER BY ALL").fetchall())


def wait_for_workers(con, expected: dict[str, str], seconds: float = 60) -> None:
    try:
        wait_for(lambda: workers(con) == expected, seconds)
    except Untimely as late:
        raise Untimely(f"{workers(con)}, not {expected}") from late


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
        assert head[:3] == ["id", "address", "state"] and head[-2:] == ["last seen", "cannot reach"]
        assert local[:3] == ["local-0", "the driver's process", "ACTIVE"]
        assert remote[:3] == ["a", f"grpc://127.0.0.1:{a.port}", "ACTIVE"] and remote[6:9] == ["1.0 GiB", "0 B", "0"]


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
            wait_for(lambda: "a worker does not answer" in server.output())
            wait_for_workers(con, {})
            took = time.monotonic() - stopped
            assert took > SILENCE_S * 0.5
            within(took, SILENCE_S + 10)
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
            wait_for_workers(con, {"a": "ACTIVE"})
            assert '"b"' not in (tmp_path / "driver.json").read_text()


TABLES = """
    CREATE TABLE dh.a AS SELECT range AS i, (range * 7919) % 50_000 AS k, range % 17 AS g, 'name ' || (range * 31) % 9_973 AS s FROM range(300_000);
    CREATE TABLE dh.b AS SELECT range AS i, (range * 104_729) % 60_000 AS k, 'tag ' || range % 1_000 AS t FROM range(200_000)
"""

# What is scanned, shuffled, sorted and grouped takes a while, and its answer is small.
QUERIES = [
    "SELECT count(*), sum(levenshtein(repeat(s, 4), repeat('name ' || i, 4))) FROM dh.a WHERE i % 2 = 0",
    "SELECT g, count(*), sum(levenshtein(repeat(s, 3), 'name')) FROM dh.a GROUP BY g ORDER BY g",
    "SELECT count(*), sum(a.i * 3 + b.i), count(DISTINCT t) FROM dh.a JOIN dh.b USING (k)",
    "SELECT t, count(*), sum(a.i), max(s) FROM dh.a JOIN dh.b USING (k) GROUP BY t ORDER BY t LIMIT 30",
    "SELECT sum(n), max(n), count(*), bit_xor(hash(k, s)) FROM (SELECT k, s, count(*) AS n FROM dh.a GROUP BY k, s)",
    "SELECT sum(r), count(*), bit_xor(hash(i, r)) FROM (SELECT i, row_number() OVER (PARTITION BY k ORDER BY i) AS r FROM dh.a)",
    "SELECT bit_xor(hash(i, r)) FROM (SELECT i, row_number() OVER () AS r FROM (SELECT i, s FROM dh.a ORDER BY s, i DESC))",
    "SELECT count(*), sum(i) FROM dh.a WHERE k IN (SELECT k FROM dh.b WHERE t <> 'tag 7') AND s NOT IN (SELECT s FROM dh.a WHERE i < 5)",
    "SELECT count(*), sum(x.i), count(y.i) FROM dh.a x FULL JOIN dh.b y ON x.k = y.k AND x.i % 3 = y.i % 3",
]


@pytest.fixture(scope="module")
def answers():
    return plain_answers(TABLES, QUERIES)


class Herd:
    """A driver with tables and three workers, each of which can be replaced."""

    def __init__(self):
        # Threads enough to read the rows of all workers at once.
        self.server = driver("--threads", "4")
        self.workers: list[Worker] = []
        self.started = 0
        try:
            with attached(self.server) as con:
                con.execute(TABLES)
            self.fill_up()
        except BaseException:
            self.close()
            raise

    @property
    def port(self) -> int:
        return self.server.port

    def fill_up(self) -> None:
        """Three workers, all known."""
        while len(self.workers) < 3:
            self.workers.append(joining(self.server, f"w{self.started}", "--threads", "1"))
            self.started += 1
        with attached(self.server) as con:
            wait_for_workers(con, {worker.worker_id: "ACTIVE" for worker in self.workers})

    def lose(self, victim: Worker) -> None:
        """It is killed, if it was not, and no longer one of the three."""
        victim.kill()
        self.workers.remove(victim)

    def close(self) -> None:
        for process in [*self.workers, self.server]:
            process.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@pytest.fixture(scope="module")
def herd():
    with Herd() as found:
        yield found


def check(con, sql: str, answers) -> None:
    found = con.execute(sql).fetchall()
    assert found == answers[sql], sql


def under_load(server, answers, action, clients: int = 2) -> None:
    """`action` happens while clients go through all queries, of which none fails or answers anything else."""
    problems, stop = [], threading.Event()
    asked = [0] * clients

    def ask(number: int) -> None:
        try:
            with attached(server) as con:
                con.execute("SET duckherder_distribution = 'always'")
                while not stop.is_set():
                    check(con, QUERIES[(number * 3 + asked[number]) % len(QUERIES)], answers)
                    asked[number] += 1
        except BaseException as problem:  # noqa: BLE001
            problems.append(problem)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: problems or all(asked))
        action()
        before = list(asked)
        wait_for(lambda: problems or all(now > then for now, then in zip(asked, before)))
    finally:
        stop.set()
        for thread in threads:
            thread.join(90)
    if problems:
        raise problems[0]


def test_the_answers_without_faults(herd, answers):
    with attached(herd) as con:
        con.execute("SET duckherder_distribution = 'always'")
        for sql in QUERIES:
            check(con, sql, answers)
            assert last_statistics(con, sql[:40])["num_workers_used"] >= 1


def test_workers_drain_under_load(herd, answers):
    leaving = herd.workers[:2]

    def drain():
        for worker in leaving:
            assert worker.stop(signal.SIGTERM) == 0, worker.output()
            herd.workers.remove(worker)

    under_load(herd, answers, drain)
    with attached(herd) as con:
        wait_for_workers(con, {worker.worker_id: "ACTIVE" for worker in herd.workers})
    herd.fill_up()


def test_a_worker_finishes_what_it_has_before_it_leaves():
    with driver() as server, attached(server) as con, attached(server) as other:
        con.execute("CREATE TABLE dh.big AS SELECT range AS i FROM range(400_000)")
        with joining(server, "a") as a, joining(server, "b") as b:
            wait_for_workers(con, {"a": "ACTIVE", "b": "ACTIVE"})
            seen = []

            def drain():
                wait_until_busy(server, "b")
                os.kill(b.pid, signal.SIGTERM)
                seen.append(wait_for(lambda: workers(other).get("b") == "DRAINING"))
                # what begins now goes elsewhere
                other.execute("SELECT sum(i) AS elsewhere FROM dh.big").fetchall()
                seen.append(last_statistics(other, "elsewhere")["num_workers_used"])
                seen.append(b.process.poll())

            drained = threading.Thread(target=drain)
            drained.start()
            sql = "SELECT sum(levenshtein(repeat(i::VARCHAR, 24), repeat((i + 1)::VARCHAR, 24))) FROM dh.big"
            con.execute(sql).fetchall()
            drained.join()
            assert seen[:2] == [True, 1]
            timely(seen[2] is None, "it was gone before another query ended")
            assert b.process.wait(60) == 0
            wait_for_workers(con, {"a": "ACTIVE"})


def test_a_second_signal_stops_at_once():
    with driver() as server, attached(server) as con, attached(server) as other:
        con.execute("CREATE TABLE dh.big AS SELECT range AS i FROM range(400_000)")
        with joining(server, "a") as a:
            wait_for_workers(con, {"a": "ACTIVE"})
            ended = []

            def stop():
                wait_until_busy(server, "a")
                for _ in range(2):
                    a.process.send_signal(signal.SIGTERM)
                    wait_for(lambda: workers(other).get("a") == "DRAINING" or a.process.poll() is not None)
                began = time.monotonic()
                ended.append((a.process.wait(60), time.monotonic() - began))

            stopped = threading.Thread(target=stop)
            stopped.start()
            # the driver ends what the worker has begun
            expected = sum(range(400_000))
            sql = "SELECT sum(i + 0 * levenshtein(repeat(i::VARCHAR, 12), repeat((i + 1)::VARCHAR, 12))) FROM dh.big"
            assert con.execute(sql).fetchone() == (expected,)
            stopped.join()
            assert ended[0][0] == 0
            within(ended[0][1], 15)


def test_workers_join_under_load(answers):
    with Herd() as herd:
        herd.lose(herd.workers[-1])
        herd.lose(herd.workers[-1])
        with attached(herd) as con:
            wait_for_workers(con, {herd.workers[0].worker_id: "ACTIVE"})
            under_load(herd, answers, herd.fill_up)

            def all_of_them() -> bool:
                con.execute("SELECT sum(i) AS all_of_them FROM dh.a").fetchall()
                return last_statistics(con, "all_of_them")["num_workers_used"] == 3

            # one that was too busy to say so is not used
            wait_for(all_of_them)


def lose_workers(herd, answers, with_signal: int, times: int) -> None:
    """A worker is lost at a random moment of a random query, again and again."""
    chance = random.Random(drawn_seed())
    for number in range(times):
        sql = chance.choice(QUERIES)
        victim = chance.choice(herd.workers)
        after_s = chance.uniform(0, 0.6)
        timer = threading.Timer(after_s, os.kill, [victim.pid, with_signal])
        try:
            with attached(herd) as con:
                con.execute("SET duckherder_distribution = 'always'")
                began = time.monotonic()
                timer.start()
                try:
                    check(con, sql, answers)
                except duckdb.Error as error:
                    raise AssertionError(f"{number}: after {after_s} s of {sql}") from error
                timer.join()
                # and the next one, as soon as it can be
                check(con, chance.choice(QUERIES), answers)
                within(time.monotonic() - began, 90)
        finally:
            timer.cancel()
            timer.join()
            herd.lose(victim)
            herd.fill_up()


@pytest.mark.parametrize("part", range(4))
def test_killed_workers_cost_no_answer(herd, answers, part):
    lose_workers(herd, answers, signal.SIGKILL, 6)


@pytest.mark.parametrize("part", range(3))
def test_workers_that_stand_still_cost_no_answer(herd, answers, part):
    lose_workers(herd, answers, signal.SIGSTOP, 2)


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGSTOP])
def test_without_workers_the_driver_answers(herd, answers, with_signal):
    with attached(herd) as con:
        con.execute("SET duckherder_distribution = 'always'")
        for number, sql in enumerate(QUERIES[:4]):
            if number == 1:
                for worker in list(herd.workers):
                    os.kill(worker.pid, with_signal)
            check(con, sql, answers)
    for worker in list(herd.workers):
        herd.lose(worker)
    herd.fill_up()


# Of one stage, and of several: nothing is taken by the driver before the tasks end.
TRIED_AGAIN = [
    "SELECT sum(i), max(levenshtein(repeat(s, 4), repeat('name ' || i, 4))) FROM dh.a",
    "SELECT sum(n), max(l) FROM (SELECT k, s, count(*) AS n, max(levenshtein(repeat(s, 4), repeat('name ' || i, 4))) AS l FROM dh.a GROUP BY k, s)",
]
# The driver takes rows all the time, and gives none to the client before the end.
TAKEN = """
    SELECT max(r), sum(i * r % 7) FROM (SELECT i, row_number() OVER (ORDER BY s, i, u) AS r FROM (
        FROM (SELECT i, s, unnest([1, 2, 3, 4, 5, 6]) AS u FROM dh.a)
        WHERE levenshtein(s, 'name ' || i + u) >= 0))"""


def in_the_middle(herd, con, sql: str, after_s: float, fetch: bool = True) -> list[tuple]:
    """The answer, while a worker is killed that has had a task for so long, unless all is over by then."""
    killed, over = [], threading.Event()
    busy = "SELECT worker_id FROM duckherder_workers() WHERE running_tasks > 0"

    def kill(other) -> None:
        wait_for(lambda: over.is_set() or other.execute(busy).fetchall())
        over.wait(after_s)
        victims = [worker for worker in herd.workers if (worker.worker_id,) in other.execute(busy).fetchall()]
        if victims:
            victims[0].kill()
            killed.append(victims[0])

    with attached(herd) as other:
        thread = threading.Thread(target=kill, args=[other])
        thread.start()
        try:
            con.execute(sql)
            return con.fetchall() if fetch else []
        finally:
            over.set()
            thread.join()
            for victim in killed:
                herd.lose(victim)
            herd.fill_up()


def moments(con, sql: str):
    """The answer, and times within the query, in some order."""
    began = time.monotonic()
    expected = con.execute(sql).fetchall()
    took_s = time.monotonic() - began
    return expected, [took_s * part for part in (0.3, 0.2, 0.4, 0.15, 0.5, 0.1, 0.6, 0.05, 0.7)]


@pytest.mark.parametrize("sql", TRIED_AGAIN)
def test_tasks_run_once_more(herd, sql):
    with attached(herd) as con:
        con.execute("SET duckherder_distribution = 'always'")
        expected, times = moments(con, sql)
        tried = lambda: herd.server.output().count("once more")  # noqa: E731
        before = tried()
        for after_s in times:
            # In a transaction, the client does not help.
            con.execute("BEGIN")
            try:
                assert in_the_middle(herd, con, sql, after_s) == expected
                if tried() > before:
                    return
            except duckdb.IOException as error:
                # The first of the tasks had ended, and its row was taken.
                assert "worker 'w" in str(error)
            finally:
                con.execute("ROLLBACK")
        raise Untimely("no worker was ever lost")


def test_the_client_runs_once_more_what_the_driver_can_not(herd):
    with attached(herd) as con:
        con.execute("SET duckherder_distribution = 'always'")
        expected, times = moments(con, TAKEN)
        for after_s in times:
            con.execute("BEGIN")
            try:
                assert in_the_middle(herd, con, TAKEN, after_s) == expected
            except duckdb.IOException as error:
                assert "worker 'w" in str(error)
                break
            finally:
                con.execute("ROLLBACK")
        else:
            raise Untimely("the driver could always help itself")
        assert in_the_middle(herd, con, TAKEN, after_s) == expected
        # a prepared statement, too
        con.execute(f"PREPARE again AS {TAKEN}")
        assert in_the_middle(herd, con, "EXECUTE again", after_s) == expected


def test_errors_of_the_query_are_not_tried_again(herd):
    """One that a task raises is DuckDB's: no worker is given up for it, and no other one gets the task. (The driver alone
    has the last word, see test_error_messages.)"""
    with attached(herd) as con:
        before = herd.server.output()
        con.execute("SET duckherder_distribution = 'always'")
        for sql, kind in [
            ("SELECT sum((s || i)::INTEGER) FROM dh.a", duckdb.ConversionException),
            ("SELECT count(error('no')) FROM dh.a", duckdb.InvalidInputException),
            ("SELECT sum(a.i::TINYINT) FROM dh.a JOIN dh.b USING (k)", duckdb.ConversionException),
        ]:
            with pytest.raises(kind):
                con.execute(sql).fetchall()
        wait_for(lambda: set(workers(con).values()) == {"ACTIVE"})
        said = herd.server.output().removeprefix(before)
        assert "once more, elsewhere" not in said and "once more, by the workers" not in said


def test_rows_that_were_delivered_are_not_delivered_twice(herd):
    """The client has some: there is one clear error, and no second answer."""
    with attached(herd) as con:
        con.execute("SET duckherder_distribution = 'always'")
        reader = con.sql("SELECT a.i, b.i FROM dh.a JOIN dh.b ON a.g = b.i % 17").to_arrow_reader(10_000)
        first = reader.read_next_batch()
        assert first.num_rows > 0
        for worker in list(herd.workers):
            herd.lose(worker)
        with pytest.raises(Exception, match="worker 'w"):
            for _ in reader:
                pass
        herd.fill_up()


def test_a_transaction_is_not_run_again_by_the_client(herd):
    """What the driver can't repair in a transaction is an error there, and the transaction goes on."""
    with attached(herd) as con:
        con.execute("SET duckherder_distribution = 'always'")
        con.execute("BEGIN")
        con.execute("INSERT INTO dh.b VALUES (-1, 1, 'mine')")
        for worker in list(herd.workers):
            herd.lose(worker)
        assert con.execute("SELECT count(*) FROM dh.b WHERE i < 0").fetchone() == (1,)
        con.execute("ROLLBACK")
        assert con.execute("SELECT count(*) FROM dh.b WHERE i < 0").fetchone() == (0,)
        herd.fill_up()


def test_a_statement_that_fails_in_a_transaction_leaves_nothing(herd):
    """Rows that an INSERT has got before the worker was lost are undone with it, by the driver: here the client does not
    know DuckDB's rules."""
    copy = "INSERT INTO copy SELECT i FROM (SELECT i, s, unnest([1, 2, 3, 4]) AS u FROM a) WHERE levenshtein(s, 'name ' || i + u) >= 0"
    with attached(herd) as con:
        con.execute("CREATE OR REPLACE TABLE dh.copy (i BIGINT)")
        con.execute("SET duckherder_distribution = 'always'")
        _, times = moments(con, copy.replace("INSERT INTO copy SELECT i", "SELECT count(*)").replace("FROM a)", "FROM dh.a)"))
    for after_s in times * 3:
        with flightsql.connect(f"grpc://{herd.server.location}", autocommit=False) as con, con.cursor() as cursor:
            cursor.execute("SET duckherder_distribution = 'always'")
            try:
                in_the_middle(herd, cursor, copy, after_s, fetch=False)
            except flightsql.Error as error:
                assert "worker 'w" in str(error)
                try:
                    con.commit()
                except flightsql.Error:
                    con.rollback()
                break
            con.rollback()
    else:
        pytest.fail("the driver could always help itself")
    with attached(herd) as con:
        assert con.execute("SELECT count(*) FROM dh.copy").fetchone() == (0,)
