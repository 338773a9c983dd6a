"""Backups of a running driver's databases, and databases made of them."""

from __future__ import annotations

import socket
import subprocess
import threading

import duckdb
import pytest

from harness.client import attach, loaded
from harness.cluster import BINARY, Driver
from harness.s3 import BUCKET, objects, s3
from harness.wait import wait_for


@pytest.fixture
def driver(tmp_path):
    with Driver(2, "--data", tmp_path / "data") as driver:
        yield driver


def run(driver, *arguments, timeout=60) -> str:
    """What `duckherder` says of its failure, if it fails."""
    command = [str(BINARY), *map(str, arguments), "--driver", driver.location]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert ended.returncode in (0, 1), ended
    return ended.stderr if ended.returncode else ""


def test_all_of_a_database(driver, tmp_path):
    target = tmp_path / "sales backup.duckdb"
    with loaded() as con:
        attach(con, driver, "s", "sales")
        con.execute("CREATE SCHEMA s.hr")
        con.execute("CREATE TYPE s.hr.mood AS ENUM ('sad', 'glad')")
        con.execute("CREATE TABLE s.hr.people(id INTEGER PRIMARY KEY, m s.hr.mood DEFAULT 'glad', twice INTEGER AS (id * 2), CHECK (id >= 0))")
        con.execute("INSERT INTO s.hr.people(id) SELECT range FROM range(200_000)")
        con.execute("CREATE TABLE s.hr.jobs(person INTEGER REFERENCES s.hr.people(id), title VARCHAR NOT NULL)")
        con.execute("INSERT INTO s.hr.jobs VALUES (1, 'cook')")
        con.execute("CREATE INDEX by_title ON s.hr.jobs(title)")
        con.execute("COMMENT ON TABLE s.hr.jobs IS 'who does what'")
        con.execute("CREATE VIEW s.v AS SELECT count(*) AS n FROM s.hr.people")
        con.execute("CREATE MACRO s.half(x) AS x / 2")
        con.execute("CREATE SEQUENCE s.numbers START 7")
        con.execute("SELECT nextval('s.numbers')").fetchall()
        assert run(driver, "backup", "Sales", target) == ""
        con.execute("DROP VIEW s.v")
        con.execute("DELETE FROM s.hr.jobs")
        # a second time, over the first
        assert run(driver, "backup", "duckherder", tmp_path / "other.duckdb") == ""
        assert run(driver, "backup", "sales", tmp_path / "other.duckdb") == ""
        with duckdb.connect(str(tmp_path / "other.duckdb"), read_only=True) as copy:
            assert copy.execute("SELECT count(*) FROM hr.jobs").fetchone() == (0,)
        assert run(driver, "restore", "then", target) == ""
        attach(con, driver, "t", "then")
        assert con.execute("SELECT n, t.half(n) FROM t.v").fetchone() == (200_000, 100_000)
        assert con.execute("SELECT title FROM t.hr.jobs").fetchall() == [("cook",)]
        assert con.execute("SELECT m, twice FROM t.hr.people WHERE id = 21").fetchall() == [("glad", 42)]
        assert con.execute("SELECT nextval('t.numbers')").fetchone() == (8,)
        assert con.execute("SELECT comment FROM duckdb_tables() WHERE database_name = 't' AND table_name = 'jobs'").fetchall() == [("who does what",)]
        assert con.execute("SELECT index_name FROM duckdb_indexes() WHERE database_name = 't'").fetchall() == [("by_title",)]
        for wrong in ["INSERT INTO t.hr.people(id) VALUES (5)", "INSERT INTO t.hr.people(id) VALUES (-1)", "INSERT INTO t.hr.jobs VALUES (1, NULL)", "INSERT INTO t.hr.jobs VALUES (-5, 'x')"]:
            with pytest.raises(duckdb.ConstraintException):
                con.execute(wrong)
    assert sorted(path.name for path in tmp_path.iterdir() if "duckdb" in path.name) == ["other.duckdb", "sales backup.duckdb"]


def test_a_backup_is_what_one_transaction_sees(driver, tmp_path):
    with loaded() as con:
        attach(con, driver)
        con.execute("CREATE TABLE dh.a AS SELECT range AS id, 100 AS money FROM range(100_000)")
        con.execute("CREATE TABLE dh.b AS SELECT range AS id, 100 AS money FROM range(100_000)")
        stop = threading.Event()

        def move() -> None:
            with loaded() as own:
                attach(own, driver)
                number = 1
                while not stop.is_set():
                    number = number * 7919 % 99_991
                    own.execute("BEGIN")
                    own.execute(f"UPDATE dh.a SET money = money - 7 WHERE id = {number}")
                    own.execute(f"UPDATE dh.b SET money = money + 7 WHERE id = {number}")
                    own.execute("COMMIT")

        def look() -> None:
            """Whoever lists tables looks at the copy, too, and keeps DuckDB from closing it at once."""
            with loaded() as own:
                attach(own, driver)
                while not stop.is_set():
                    own.execute("SELECT count(*) FROM dh.duckherder_query('dh', 'FROM duckdb_tables(), range(10000)')").fetchall()

        threads = [threading.Thread(target=work) for work in [move, look, look]]
        for thread in threads:
            thread.start()
        try:
            for number in range(8):
                target = tmp_path / f"{number}.duckdb"
                assert run(driver, "backup", "duckherder", target) == ""
                with duckdb.connect(str(target), read_only=True) as copy:
                    assert copy.execute("SELECT sum(money) FROM (FROM a UNION ALL FROM b)").fetchone() == (20_000_000,)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert sorted(path.name for path in tmp_path.iterdir()) == [*(f"{number}.duckdb" for number in range(8)), "data"]


def test_what_is_refused(driver, tmp_path):
    with loaded() as con:
        attach(con, driver)
        con.execute("CREATE TABLE dh.t AS SELECT 1 AS i")
    assert 'the driver has no database "nothing"' in run(driver, "backup", "nothing", tmp_path / "b")
    assert "ftp://host/b is no place that a driver can use" in run(driver, "backup", "duckherder", "ftp://host/b")
    assert "names no object" in run(driver, "backup", "duckherder", "s3://bucket")
    assert "no_such_directory" in run(driver, "backup", "duckherder", tmp_path / "no_such_directory" / "b")
    assert "has a database \"duckherder\" already" in run(driver, "restore", "duckherder", tmp_path / "b")
    assert "cannot copy" in run(driver, "restore", "new", tmp_path / "b")
    own = tmp_path / "data" / "duckherder.duckdb"
    assert "is in the driver's own directory" in run(driver, "backup", "duckherder", own)
    assert "is in the driver's own directory" in run(driver, "restore", "new", own)
    (tmp_path / "b").write_bytes(b"nonsense" * 10_000)
    assert 'cannot open database "new"' in run(driver, "restore", "new", tmp_path / "b")
    (tmp_path / "b.wal").write_bytes(b"log")
    assert "is not whole" in run(driver, "restore", "new", tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "data").glob("*.duckdb")) == ["duckherder.duckdb"]
    with loaded() as con:
        attach(con, driver, "n", "new")
        assert con.execute("SELECT count(*) FROM duckdb_tables() WHERE database_name = 'n'").fetchone() == (0,)


def test_a_driver_in_memory_can_be_backed_up(local_cluster, con, table_name, tmp_path):
    con.execute(f"CREATE TABLE dh.{table_name} AS SELECT range AS i FROM range(1000)")
    assert run(local_cluster.driver, "backup", "memory", f"file://{tmp_path}/m.duckdb") == ""
    with duckdb.connect(str(tmp_path / "m.duckdb"), read_only=True) as copy:
        assert copy.execute(f"SELECT count(*) FROM {table_name}").fetchone() == (1000,)
    assert "start it with --data DIR" in run(local_cluster.driver, "restore", "new", tmp_path / "m.duckdb")
    assert "cannot work with what is at 127.0.0.1:1" in run(type("", (), {"location": "127.0.0.1:1"}), "backup", "x", "/y")


def test_the_file_of_a_driver_is_no_target(tmp_path):
    file = tmp_path / "one.duckdb"
    with Driver(0, "--database", file) as driver, loaded() as con:
        attach(con, driver)
        con.execute("CREATE TABLE dh.t AS SELECT 42 AS i")
        (tmp_path / "link").symlink_to(file)
        for target in [file, tmp_path / "link"]:
            assert "is a database that the driver has open" in run(driver, "backup", "one", target)
        assert run(driver, "backup", "one", tmp_path / "copy") == ""
        assert con.execute("SELECT i FROM dh.t").fetchall() == [(42,)]


@pytest.mark.parametrize("stored", [False, True])
def test_backups_in_object_storage(tmp_path, monkeypatch, stored):
    """The storage answers late, slows requests down and cuts answers off; the driver's databases may be there, too."""
    with s3() as network:
        home = ["--storage", f"s3://{BUCKET}/own"] if stored else ["--data", tmp_path / "data"]
        temporary = tmp_path / "temporary"
        for name, value in network.environment().items():
            monkeypatch.setenv(name, value)
        with Driver(1, *home, "--temp-directory", temporary) as driver, loaded() as con:
            attach(con, driver, "s", "sales")
            con.execute("CREATE TABLE s.t AS SELECT range AS id, hash(range) AS h FROM range(3_000_000)")
            con.execute("CREATE INDEX by_id ON s.t(id)")
            wanted = con.execute("SELECT count(*), sum(id), bit_xor(h) FROM s.t").fetchall()
            network.one_slows_down_in, network.one_is_cut_in, network.latency_s = 5, 7, 0.02
            for _ in range(2):
                assert run(driver, "backup", "sales", f"s3://{BUCKET}/backups/sales.duckdb") == ""
            con.execute("DELETE FROM s.t")
            assert "already" in run(driver, "restore", "sales", f"s3://{BUCKET}/backups/sales.duckdb")
            assert run(driver, "restore", "then", f"s3://{BUCKET}/backups/sales.duckdb") == ""
            network.one_slows_down_in, network.one_is_cut_in, network.latency_s = 0, 0, 0
            attach(con, driver, "t", "then")
            assert con.execute("SELECT count(*), sum(id), bit_xor(h) FROM t.t").fetchall() == wanted
            assert con.execute("SELECT index_name FROM duckdb_indexes() WHERE database_name = 't'").fetchall() == [("by_id",)]
            assert objects(network, "backups/").keys() == {"backups/sales.duckdb"}
            assert sum(objects(network, "backups/").values()) > 16 << 20, "one part"
            assert "there is no such object" in run(driver, "restore", "more", f"s3://{BUCKET}/backups/nothing")
            if stored:
                assert "in the driver's own storage" in run(driver, "backup", "sales", f"s3://{BUCKET}/own/log/x")
            assert "there is no such bucket" in run(driver, "backup", "sales", "s3://nobody-has-this/b")
            assert not list(temporary.glob("duckherder-backup-*")), "temporary files are left"


def left(folder) -> list[str]:
    """What a backup writes until it is done."""
    return sorted(path.name for path in folder.iterdir() if "unfinished" in path.name)


@pytest.mark.parametrize("to_object", [False, True], ids=["file", "object"])
def test_what_is_left_of_a_backup_that_was_killed(tmp_path, monkeypatch, to_object):
    """It goes with the next one there; one that another driver makes at the same time stays."""
    with s3() as network:
        for name, value in network.environment().items():
            monkeypatch.setenv(name, value)
        folder, temporary = tmp_path / "backups", tmp_path / "temporary"
        folder.mkdir()
        target, written = (f"s3://{BUCKET}/b", temporary) if to_object else (folder / "b.duckdb", folder)
        arguments = ["--temp-directory", temporary]
        with Driver(0, "--data", tmp_path / "one", *arguments) as one, Driver(0, "--data", tmp_path / "two", *arguments) as two, loaded() as con:
            for name, driver in [("one", one), ("two", two)]:
                attach(con, driver, name)
                con.execute(f"CREATE TABLE {name}.t AS SELECT range AS id, hash(range) AS h FROM range(3_000_000)")
            with backing_up(one, target) as killed, backing_up(two, target) as goes_on:
                wait_for(lambda: written.exists() and len([name for name in left(written) if name.endswith(".lock")]) == 2)
                one.kill()
                assert killed.wait(60) == 1
                again = Driver(0, "--data", tmp_path / "one", *arguments)
                with again:
                    assert run(again, "backup", "duckherder", target) == ""
                assert goes_on.wait(60) == 0, goes_on.stderr.read()
        assert left(written) == []
        if to_object:
            assert objects(network, "b").keys() == {"b"}
        else:
            assert [path.name for path in folder.iterdir()] == ["b.duckdb"]


def test_two_backups_to_one_target_at_once(driver, tmp_path):
    """One after the other is the target, each as a whole."""
    folder = tmp_path / "backups"
    folder.mkdir()
    with loaded() as con:
        for number, name in enumerate(["one", "two"]):
            attach(con, driver, name, name)
            con.execute(f"CREATE TABLE {name}.t AS SELECT {number} AS n, range AS id FROM range(500_000)")
    for _ in range(3):
        with backing_up(driver, folder / "b", "one") as first, backing_up(driver, folder / "b", "two") as second:
            wait_for(lambda: any(folder.iterdir()))
            for each in (first, second):
                assert each.wait(120) == 0, each.stderr.read()
        with duckdb.connect(str(folder / "b"), read_only=True) as copy:
            assert copy.execute("SELECT count(DISTINCT n), count(*), count(DISTINCT id) FROM t").fetchall() == [(1, 500_000, 500_000)]
        assert [path.name for path in folder.iterdir()] == ["b"]


def backing_up(driver, target, database: str = "duckherder"):
    command = [str(BINARY), "backup", database, str(target), "--driver", driver.location]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_somebody_who_never_answers(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        command = [str(BINARY), "backup", "sales", str(tmp_path / "b.duckdb"), "--driver", address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert address in done.stderr and "no answer within 5 s" in done.stderr, done.stderr
