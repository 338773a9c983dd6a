"""A driver whose databases are in object storage: nothing of them is on its disk, and what was acknowledged is there."""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import duckdb
import pytest

from e2e.test_kills import kills
from e2e.tpch_queries import QUERIES
from harness import tpch
from harness.client import attach, attached, loaded
from harness.cluster import BINARY, Driver, ServerProcess, Worker, fails_to_start
from harness.compare import Result, difference, float_tolerances
from harness.load import Writer
from harness.s3 import Network, objects, s3
from harness.seed import drawn_seed
from harness.wait import within

KILLS = int(os.environ.get("DUCKHERDER_STORAGE_KILLS", "6"))


class Place:
    """Where a driver's databases are."""

    def __init__(self, url: str, sizes):
        self.url = url
        self.sizes = sizes

    def arguments(self, *more) -> list[str]:
        return ["--storage", self.url, *map(str, more)]

    def bytes(self) -> int:
        """Of all objects."""
        return sum(self.sizes().values())


def sizes_below(folder: Path) -> dict[str, int]:
    found = {}
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                found[str(path.relative_to(folder))] = path.stat().st_size
        except FileNotFoundError:
            pass
    return found


@pytest.fixture(scope="module")
def network():
    with s3() as network:
        yield network


@pytest.fixture
def bucket(network, monkeypatch, request):
    """A place in S3, and the network to it."""
    for name, value in network.environment().items():
        monkeypatch.setenv(name, value)
    network.latency_s = 0
    network.one_slows_down_in = network.one_is_cut_in = 0
    network.is_down = network.is_closed = False
    prefix = f"{request.node.name}-{random.randrange(10**9)}".replace("[", "-").replace("]", "")
    yield Place(f"s3://herd/{prefix}", lambda: objects(network, prefix))
    network.is_down = network.is_closed = False


@pytest.fixture(params=["file", "s3"])
def place(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("bucket")
    folder = tmp_path / "shared"
    return Place(f"file://{folder}", lambda: sizes_below(folder))


def drop(con, database: str) -> None:
    """Once the driver has heard that nobody uses it any more."""
    deadline = time.monotonic() + 10
    while True:
        try:
            con.execute("SELECT duckherder_drop_database(?, 'dh')", [database]).fetchall()
            return
        except duckdb.BinderException as error:
            if "in use" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_all_is_there_again_on_another_machine(place, tmp_path):
    """Another cache directory is all that another machine would be."""
    with Driver(1, *place.arguments("--storage-cache-directory", tmp_path / "one")) as driver, attached(driver) as con:
        con.execute("CREATE TYPE dh.mood AS ENUM ('sad', 'glad')")
        con.execute("CREATE TABLE dh.t(id INTEGER PRIMARY KEY, m dh.mood DEFAULT 'glad')")
        con.execute("INSERT INTO dh.t(id) SELECT range FROM range(200_000)")
        con.execute("CREATE INDEX by_mood ON dh.t(m)")
        con.execute("CREATE VIEW dh.v AS SELECT count(*) AS n FROM dh.t")
        con.execute("CREATE SEQUENCE dh.numbers START 5")
        con.execute("CHECKPOINT dh")
        con.execute("DELETE FROM dh.t WHERE id >= 1000")
        assert con.execute("SELECT nextval('dh.numbers')").fetchall() == [(5,)]
        attach(con, driver, "sales", database="sales")
        con.execute("CREATE TABLE sales.orders AS SELECT range AS id FROM range(7)")
        attach(con, driver, "gone", database="gone")
        con.execute("CREATE TABLE gone.t AS SELECT 1 AS i")
        con.execute("DETACH gone")
        drop(con, "gone")
        assert not any((tmp_path / "one").iterdir())
        driver.kill()
    with Driver(1, *place.arguments("--storage-cache-directory", tmp_path / "two")) as driver, attached(driver) as con:
        assert con.execute("SELECT n FROM dh.v").fetchone() == (1000,)
        assert con.execute("SELECT m, count(*) FROM dh.t GROUP BY ALL").fetchall() == [("glad", 1000)]
        assert con.execute("SELECT index_name FROM duckdb_indexes()").fetchall() == [("by_mood",)]
        assert con.execute("SELECT nextval('dh.numbers')").fetchone() == (6,)
        with pytest.raises(duckdb.ConstraintException):
            con.execute("INSERT INTO dh.t(id) VALUES (7)")
        names = [name for name, *_ in con.execute("FROM duckherder_databases()").fetchall()]
        assert names == ["duckherder", "sales"]
        attach(con, driver, "sales", database="sales")
        assert con.execute("SELECT sum(id) FROM sales.orders").fetchone() == (21,)
        assert driver.stop() == 0


def test_workers_and_backups(place, tmp_path):
    with Driver(0, *place.arguments()) as driver, Worker("one") as worker:
        with attached(driver) as con:
            con.execute("SELECT duckherder_register_worker('one', ?)", [f"grpc://{worker.location}"]).fetchall()
            con.execute("CREATE TABLE dh.t AS SELECT range AS i, range::VARCHAR AS v FROM range(300_000)")
            target = str(tmp_path / "copy.duckdb")
            subprocess.run([str(BINARY), "backup", "duckherder", target, "--driver", driver.location], check=True, timeout=60)
        driver.kill()
        with duckdb.connect(target, read_only=True) as copy:
            assert copy.execute("SELECT count(*), sum(i) FROM t").fetchone() == (300_000, 44_999_850_000)
        with Driver(0, *place.arguments()) as again, attached(again) as con:
            con.execute("SET duckherder_distribution = 'always'")
            assert con.execute("SELECT count(*), sum(i), max(v) FROM dh.t").fetchone() == (300_000, 44_999_850_000, "99999")
            assert con.execute("SELECT count(*) FROM duckherder_workers()").fetchone() == (1,)
            subprocess.run([str(BINARY), "restore", "copy", target, "--driver", again.location], check=True, timeout=60)
            attach(con, again, "copy", database="copy")
            assert con.execute("SELECT sum(i) FROM copy.t").fetchone() == (44_999_850_000,)


@pytest.mark.timeout(300 + 30 * KILLS)
def test_kill_at_any_moment(place):
    """`DUCKHERDER_STORAGE_KILLS=200` for more of them."""
    print(kills(KILLS, drawn_seed(), *place.arguments("--storage-keep", "0.1")))


@pytest.mark.timeout(300 + 40 * KILLS)
def test_kills_over_a_bad_network(bucket, network):
    network.latency_s = 0.01
    network.one_slows_down_in, network.one_is_cut_in = 13, 17
    print(kills(KILLS, drawn_seed(), *bucket.arguments("--storage-keep", "0.1")))


def test_the_second_driver_shuts_out_the_first(place):
    with Driver(0, *place.arguments()) as first, attached(first) as con:
        con.execute("CREATE TABLE dh.t AS SELECT 1 AS i")
        with Driver(0, *place.arguments("--replace")) as second, attached(second) as other:
            for statement in ["INSERT INTO dh.t VALUES (2)", "FROM dh.t", "INSERT INTO dh.t VALUES (3)"]:
                with pytest.raises(duckdb.Error) as raised:
                    con.execute(statement).fetchall()
                if statement.startswith("INSERT INTO dh.t VALUES (2)"):
                    assert "another driver (process" in str(raised.value)
                    assert place.url in str(raised.value)
            assert first.process.wait(20) == 1
            assert "has taken over" in first.output()
            other.execute("INSERT INTO dh.t VALUES (4)")
            assert other.execute("SELECT list(i ORDER BY i) FROM dh.t").fetchone() == ([1, 4],)


def test_a_driver_that_is_there_keeps_its_place(place):
    with Driver(0, *place.arguments()) as first, attached(first) as con:
        con.execute("CREATE TABLE dh.t AS SELECT 1 AS i")
        refused = fails_to_start(*place.arguments())
        assert f"{place.url} is in use by the driver at {first.location} (process {first.pid})" in refused
        assert "--standby" in refused and "--replace" in refused
        con.execute("INSERT INTO dh.t VALUES (2)")
        assert con.execute("SELECT count(*) FROM dh.t").fetchone() == (2,)
        assert first.stop() == 0
    # One that has said that it ends, nobody waits for.
    with Driver(0, *place.arguments()) as second, attached(second) as con:
        assert con.execute("SELECT count(*) FROM dh.t").fetchone() == (2,)
        assert "whether it is still there" not in second.output()
        second.kill()
    # Nor for a process of this machine that is no more.
    with Driver(0, *place.arguments()) as third, attached(third) as con:
        assert con.execute("SELECT count(*) FROM dh.t").fetchone() == (2,)
        assert "whether it is still there" not in third.output()
        third.process.send_signal(signal.SIGSTOP)
        # One that stands still may go on at any moment, until it has been silent for long.
        with Driver(0, *place.arguments()) as fourth, attached(fourth) as con:
            assert "waiting whether it is still there" in fourth.output() and third.location in fourth.output()
            con.execute("INSERT INTO dh.t VALUES (3)")
            third.process.send_signal(signal.SIGCONT)
            assert third.process.wait(30) == 1
            assert con.execute("SELECT count(*) FROM dh.t").fetchone() == (3,)


def test_of_two_drivers_that_start_at_once_one_has_the_place(bucket, network):
    """Nobody has been there before, and nobody is shut out."""
    network.latency_s = 0.3
    with ThreadPoolExecutor(2) as pool:
        started = [pool.submit(Driver, 0, *bucket.arguments()) for _ in range(2)]
    network.latency_s = 0
    with ExitStack() as running:
        drivers = [running.enter_context(one.result()) for one in started if one.exception() is None]
        refused = [str(one.exception()) for one in started if one.exception() is not None]
        assert len(drivers) == 1, refused
        assert f"is in use by the driver at {drivers[0].location} (process {drivers[0].pid})" in refused[0]
        with attached(drivers[0]) as con:
            con.execute("CREATE TABLE dh.t AS SELECT 1 AS i")
            assert con.execute("FROM dh.t").fetchall() == [(1,)]
        assert drivers[0].stop() == 0


def test_who_arrives_counts_from_when_it_has_shown_itself(bucket, network, monkeypatch):
    """The driver that is there owes it nothing before that: until then it may answer for six seconds more."""
    with Driver(0, *bucket.arguments()) as first:
        first.process.send_signal(signal.SIGSTOP)
        slow = Network(network.server)
        slow.slow["/standby"] = 4
        monkeypatch.setenv("AWS_ENDPOINT_URL", slow.url)
        with Driver(0, *bucket.arguments()) as second:
            waited = slow.written["log"] - slow.written["standby"]
            print(f"taken over {waited:.1f} s after it had shown itself")
            assert waited >= 6.5
            assert "waiting whether it is still there" in second.output()
        slow.close()


def test_who_arrives_ends_when_it_is_told_to(tmp_path):
    place = ["--storage", f"file://{tmp_path}/place"]
    with Driver(0, *place) as first:
        first.process.send_signal(signal.SIGSTOP)
        for asked in (signal.SIGTERM, signal.SIGINT):
            command = [BINARY, "driver", "--listen", "127.0.0.1:0", *place, "--takeover-after", "60"]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as second:
                for line in second.stderr:
                    if "waiting whether it is still there" in line:
                        break
                begun = time.monotonic()
                second.send_signal(asked)
                assert second.wait(80) == 0
                within(time.monotonic() - begun, 3)
        first.process.send_signal(signal.SIGCONT)
        with attached(first) as con:
            con.execute("CREATE TABLE dh.t AS SELECT 1 AS i")


def test_a_driver_that_was_killed_on_another_machine(place):
    """It can't be seen there that its process is no more."""
    elsewhere = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*elsewhere, "true"], capture_output=True).returncode != 0:
        pytest.skip("takes root, and Linux")
    with Driver(0, *place.arguments()) as first, attached(first) as con:
        con.execute("CREATE TABLE dh.t AS SELECT 1 AS i")
        first.kill()
    command = [*elsewhere, BINARY, "driver", "--listen", "127.0.0.1:0", *place.arguments()]
    with ServerProcess(command) as second, attached(second) as con:
        assert "waiting whether it is still there" in second.output()
        assert con.execute("FROM dh.t").fetchall() == [(1,)]


def test_a_driver_that_only_waits_hears_that_it_was_shut_out(place):
    with Driver(0, *place.arguments()) as first:
        with Driver(0, *place.arguments("--replace")) as second, attached(second):
            assert first.process.wait(30) == 1


def test_a_driver_without_its_storage_ends(bucket, network):
    """A commit that could not be written fails, and is there or not, whole, afterwards."""
    with Driver(0, *bucket.arguments("--storage-timeout", 2)) as driver, attached(driver) as con:
        con.execute("CREATE TABLE dh.t AS SELECT range AS i FROM range(10)")
        network.is_down = True
        with pytest.raises(duckdb.IOException, match="the driver's storage has failed.*SlowDown"):
            con.execute("INSERT INTO dh.t SELECT range + 10 FROM range(10)")
        assert driver.process.wait(30) == 1
        network.is_down = False
    with Driver(0, *bucket.arguments()) as driver, attached(driver) as con:
        assert con.execute("SELECT count(*) FROM dh.t").fetchone()[0] in (10, 20)


def test_nobody_sees_what_is_not_durable(bucket, network):
    """A commit is seen by others while it is on its way; none of them is answered before it has arrived."""
    with Driver(0, *bucket.arguments("--storage-timeout", 2)) as driver:
        with attached(driver) as writer, attached(driver) as reader:
            writer.execute("CREATE TABLE dh.t AS SELECT 0 AS i")
            network.latency_s = 0.5
            writing = threading.Thread(target=writer.execute, args=("INSERT INTO dh.t VALUES (1)",))
            begun = time.monotonic()
            writing.start()
            time.sleep(0.2)
            count = reader.execute("SELECT count(*) FROM dh.t").fetchone()[0]
            took = time.monotonic() - begun
            writing.join()
            assert count == 1 or took > 0.45
            network.latency_s = 0


def test_places_that_are_none(tmp_path):
    for url, text in [
        ("ftp://x/y", "ftp:// is no storage that a driver knows; use s3://BUCKET/PREFIX"),
        ("/tmp/x", "is no place that a driver can use"),
    ]:
        ended = subprocess.run([str(BINARY), "driver", "--listen", "127.0.0.1:0", "--storage", url], capture_output=True, text=True, timeout=30)
        assert ended.returncode == 1 and text in ended.stderr, ended.stderr
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / f"{5:020}").write_bytes(b"no manifest at all")
    ended = subprocess.run(
        [str(BINARY), "driver", "--listen", "127.0.0.1:0", "--storage", f"file://{tmp_path}"], capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 1
    assert f"manifests/{5:020} in file://{tmp_path} is not what a driver has written there" in ended.stderr


@pytest.mark.parametrize("way", [[], ["--replace"], ["--standby"]])
def test_a_storage_that_lets_nobody_in(bucket, network, way):
    """Which is said at once, and not after --storage-timeout (60 s)."""
    begun = time.monotonic()
    refused = fails_to_start("--storage", "s3://no-such-herd/x", *way)
    assert "in s3://no-such-herd/x: there is no such bucket: make it, or use another place (404 Not Found: NoSuchBucket, " in refused
    network.is_closed = True
    refused = fails_to_start(*bucket.arguments(*way))
    assert f"in {bucket.url}: the storage refuses the credentials (403 Forbidden: InvalidAccessKeyId, There is no such key.)" in refused
    within(time.monotonic() - begun, 6)


@pytest.mark.timeout(900)
def test_space_after_a_thousand_updates(bucket):
    def update(con, table, checkpoint):
        con.execute(f"CREATE TABLE {table}(id INTEGER PRIMARY KEY, v VARCHAR, n BIGINT)")
        con.execute(f"INSERT INTO {table} SELECT range, md5(range::VARCHAR), 0 FROM range(100_000)")
        draw = random.Random(1)
        for number in range(1000):
            con.execute(f"UPDATE {table} SET n = n + 1, v = md5('{number}' || id) WHERE id % 1000 = {draw.randrange(1000)}")
            if number % 200 == 199:
                con.execute(checkpoint)
        con.execute(checkpoint)
        return con.execute(f"SELECT count(*), sum(n), sum(hash(v)) FROM {table}").fetchone()

    with tempfile.TemporaryDirectory() as folder, duckdb.connect(f"{folder}/plain.duckdb") as plain:
        expected = update(plain, "t", "FORCE CHECKPOINT")
        block_bytes, used_blocks = plain.execute("SELECT block_size, used_blocks FROM pragma_database_size()").fetchone()
        live = block_bytes * used_blocks
    with Driver(0, *bucket.arguments("--storage-keep", "0.1")) as driver, attached(driver) as con:
        assert update(con, "dh.t", "FORCE CHECKPOINT dh") == expected
        # Log objects stay for half a minute.
        deadline = time.monotonic() + 150
        while bucket.bytes() > 2 * live and time.monotonic() < deadline:
            time.sleep(0.5)
        used = bucket.bytes()
        print(f"{used} bytes of objects, {live} in used blocks of a plain file")
        assert used <= 2 * live
        assert con.execute("SELECT count(*), sum(n), sum(hash(v)) FROM dh.t").fetchone() == expected


def test_commits_take_what_a_request_takes(bucket, network):
    """And those that come together share it."""
    network.latency_s = 0.03
    with Driver(0, *bucket.arguments()) as driver, attached(driver) as con:
        con.execute("CREATE TABLE dh.t(i INTEGER)")
        times = []
        before = dict(network.counts)
        for number in range(40):
            begun = time.perf_counter()
            con.execute(f"INSERT INTO dh.t VALUES ({number})")
            times.append(time.perf_counter() - begun)
        puts = network.counts["PUT"] - before["PUT"]
        print(f"one commit after the other: p50 {statistics.median(times) * 1000:.1f} ms, {puts} PUTs for 40 commits")
        assert puts <= 42
        threads, each = 8, 10
        clients = [loaded() for _ in range(threads)]
        for client in clients:
            attach(client, driver)

        def write(number):
            for _ in range(each):
                clients[number].execute(f"INSERT INTO dh.t VALUES ({1000 + number})")

        before = dict(network.counts)
        working = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
        for thread in working:
            thread.start()
        for thread in working:
            thread.join()
        for client in clients:
            client.close()
        puts = network.counts["PUT"] - before["PUT"]
        print(f"{threads} clients at once: {puts} PUTs for {threads * each} commits")
        assert puts < threads * each / 2
        assert con.execute("SELECT count(*) FROM dh.t").fetchone() == (40 + threads * each,)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Files of TPC-H's."""
    return tpch.make(tmp_path_factory.mktemp("tpch"), 0.1)


def test_tpch_from_a_cold_cache(place, tables, network):
    with Driver(2, *place.arguments()) as driver, attached(driver) as con:
        tpch.load(con, tables, "dh.")
        assert driver.stop() == 0
    plain = duckdb.connect()
    tpch.load(plain, tables)
    with Driver(2, *place.arguments()) as driver, attached(driver) as con:
        con.execute("USE dh")
        network.counts, network.read_bytes = {}, 0
        for number, sql in QUERIES.items():
            expected, found = Result.of(plain, sql), Result.of(con, sql)
            problem = difference(found, expected, ordered=True, tolerance=float_tolerances(expected.types))
            assert not problem, f"Q{number}: {problem}"
        if place.url.startswith("s3"):
            gets, mib = network.counts.get("GET", 0), network.read_bytes / 2**20
            print(f"all of TPC-H SF0.1, cold: {gets} GETs for {mib:.1f} MiB")
    plain.close()


def test_load_over_a_bad_network(bucket, network):
    """Throttled and cut now and then, and slow: the same rows as in plain DuckDB."""
    network.latency_s = 0.02
    network.one_slows_down_in, network.one_is_cut_in = 7, 11
    writers = [Writer(number, 5, database) for number, database in enumerate([None, "second"])]
    with Driver(2, *bucket.arguments("--storage-keep", "0.1")) as driver:
        for writer in writers:
            writer.set_up(driver)
        ending = threading.Event()
        for writer in writers:
            writer.start(driver, ending)
        time.sleep(8)
        ending.set()
        for writer in writers:
            writer.check(driver)
        print(f"{sum(writer.acknowledged for writer in writers)} transactions, {network.counts}")
        assert driver.stop(timeout_s=30) == 0
