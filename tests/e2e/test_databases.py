"""A driver with a directory: what is in it outlives the driver, and it may have several databases."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading

import duckdb
import pytest

from harness.client import attach, attached, loaded, quote
from harness.cluster import BINARY, Driver, Worker
from harness.wait import wait_for

# What is in a directory beside the databases.
OF_THE_DRIVER = ["driver.heartbeat", "driver.json", "driver.lease", "driver.lock", "driver.takeover"]


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


def start_fails(data) -> str:
    """What a driver of the directory says that can't start."""
    command = [str(BINARY), "driver", "--listen", "127.0.0.1:0", "--data", str(data)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    return ended.stderr.split("error: ", 1)[1]


def databases(con) -> dict:
    return {row[0]: row[1:] for row in con.execute("FROM duckherder_databases()").fetchall()}


def test_all_is_there_again(data):
    with Driver(1, "--data", data) as driver, attached(driver) as con:
        con.execute("CREATE SCHEMA dh.s")
        con.execute("CREATE TYPE dh.s.mood AS ENUM ('sad', 'glad')")
        con.execute("CREATE TABLE dh.s.t(id INTEGER PRIMARY KEY, m dh.s.mood DEFAULT 'glad')")
        con.execute("INSERT INTO dh.s.t(id) SELECT range FROM range(1000)")
        con.execute("COMMENT ON TABLE dh.s.t IS 'kept'")
        con.execute("CREATE INDEX by_mood ON dh.s.t(m)")
        con.execute("CREATE VIEW dh.v AS SELECT count(*) AS n FROM dh.s.t")
        con.execute("CREATE SEQUENCE dh.numbers START 5")
        con.execute("CREATE MACRO dh.twice(x) AS 2 * x")
        # The last of the rows is there when what the query has changed is on the disk.
        assert con.execute("SELECT nextval('dh.numbers')").fetchall() == [(5,)]
        driver.kill()
    with Driver(1, "--data", data) as driver, attached(driver) as con:
        assert con.execute("SELECT n, dh.twice(n) FROM dh.v").fetchone() == (1000, 2000)
        assert con.execute("SELECT m, count(*) FROM dh.s.t GROUP BY ALL").fetchall() == [("glad", 1000)]
        assert con.execute("SELECT comment FROM duckdb_tables() WHERE table_name = 't'").fetchall() == [("kept",)]
        assert con.execute("SELECT index_name FROM duckdb_indexes()").fetchall() == [("by_mood",)]
        assert con.execute("SELECT nextval('dh.numbers')").fetchone() == (6,)
        with pytest.raises(duckdb.ConstraintException):
            con.execute("INSERT INTO dh.s.t(id) VALUES (7)")


REGISTER = "PRAGMA duckherder_register_remote_table(?, ?, ?)".replace("?", "'{}'").format
UNREGISTER = "PRAGMA duckherder_unregister_remote_table('{}', '{}')".format


@pytest.mark.parametrize("stored", [False, True], ids=["directory", "storage"])
def test_other_names_of_tables_are_remembered(data, stored):
    """For all who attach the database, also from a driver that comes after one that was killed."""
    home = ["--storage", f"file://{data}"] if stored else ["--data", data]
    with Driver(0, *home) as driver, attached(driver) as con:
        attach(con, driver, "s", "sales")
        con.execute("CREATE SCHEMA s.hr; CREATE TABLE s.hr.people AS SELECT range AS i FROM range(10); CREATE TABLE dh.t AS SELECT 1 AS i")
        con.execute(REGISTER("Staff", "hr.people", "s"))
        con.execute(REGISTER("short", "t", "dh"))
        with attached(driver) as other:
            attach(other, driver, "s", "sales")
            assert other.execute("SELECT count(*) FROM s.staff, dh.short").fetchone() == (10,)
            # told by another client, it is the same; of another table, it is not
            other.execute(REGISTER("staff", "hr.PEOPLE", "s"))
            with pytest.raises(duckdb.InvalidInputException, match="Failed to register table staff because it's already registered!"):
                other.execute(REGISTER("staff", "hr.people", "s"))
            with pytest.raises(duckdb.InvalidInputException, match="Failed to register table short because it's already registered!"):
                other.execute(REGISTER("short", "other", "dh"))
            with pytest.raises(duckdb.InvalidInputException, match="Failed to register table T because the driver has a table or view of that name!"):
                other.execute(REGISTER("T", "other", "dh"))
            other.execute(UNREGISTER("short", "dh"))
        # who knows it still takes it back once
        con.execute(UNREGISTER("short", "dh"))
        with pytest.raises(duckdb.InvalidInputException, match="Failed to unregister table short because it hasn't been registered!"):
            con.execute(UNREGISTER("short", "dh"))
        con.execute(REGISTER("ÄRGER", "t", "dh"))
        driver.kill()
    with Driver(0, *home) as driver, attached(driver) as con:
        attach(con, driver, "s", "sales")
        con.execute("INSERT INTO s.staff VALUES (100)")
        assert con.execute("SELECT count(*), max(i) FROM s.staff").fetchone() == (11, 100)
        assert con.execute("FROM dh.ÄRGER").fetchall() == [(1,)]
        with pytest.raises(duckdb.CatalogException):
            con.execute("FROM dh.short")
        con.execute("DETACH s")
        wait_for(lambda: databases(con)["sales"][1] == 0)
        con.execute("SELECT duckherder_drop_database('sales')").fetchall()
        attach(con, driver, "s", "sales")
        with pytest.raises(duckdb.CatalogException):
            con.execute("FROM s.staff")


def test_a_driver_that_stops_leaves_no_log(data):
    with Driver(1, "--data", data) as driver:
        with loaded() as con:
            attach(con, driver)
            attach(con, driver, "s", "sales")
            con.execute("CREATE TABLE dh.t AS SELECT range AS i FROM range(1000)")
            con.execute("CREATE TABLE s.t AS SELECT range AS i FROM range(2000)")
        assert driver.stop() == 0
    assert sorted(path.name for path in data.iterdir()) == [*OF_THE_DRIVER, "duckherder.duckdb", "sales.duckdb"]
    # What is there is what any DuckDB reads.
    with duckdb.connect(str(data / "sales.duckdb"), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM t").fetchone() == (2000,)


def test_workers_and_extensions_are_known_again(data):
    with Worker("w1") as worker, Worker("w2") as gone:
        with Driver(0, "--data", data) as driver, attached(driver) as con:
            for each in [worker, gone]:
                con.execute(f"SELECT duckherder_register_worker('{each.worker_id}', 'grpc://{each.location}')").fetchall()
            con.execute("SELECT duckherder_load_extension('json')").fetchall()
            driver.kill()
        gone.kill()
        with Driver(0, "--data", data) as driver, attached(driver) as con:
            assert con.execute("SELECT duckherder_get_worker_count()").fetchone() == (1,)
            con.execute("CREATE TABLE dh.t AS SELECT range AS i FROM range(500_000)")
            con.execute("SET duckherder_distribution = 'always'")
            assert con.execute("SELECT sum(i) FROM dh.t WHERE i % 2 = 0").fetchone() == (62_499_750_000,)
            used = con.execute("SELECT num_workers_used FROM duckherder_get_query_execution_stats() WHERE contains(sql, 'i % 2')").fetchone()
            assert used == (1,)
            assert "w2" in driver.output()
            assert json.loads((data / "driver.json").read_text())["extensions"] == ["json"]


def test_several_databases(data):
    with Driver(2, "--data", data) as driver, loaded() as con:
        attach(con, driver)
        with pytest.raises(duckdb.CatalogException, match='the driver has no database "sales", only "duckherder": attach it with create_if_missing true'):
            con.execute(f"ATTACH '127.0.0.1:{driver.port}/sales' AS s (TYPE duckherder)")
        con.execute(f"ATTACH '127.0.0.1:{driver.port}/Sales' AS s (TYPE duckherder, create_if_missing true)")
        con.execute(f"ATTACH '127.0.0.1:{driver.port}' AS again (TYPE duckherder, database 'SALES')")
        for alias, rows in [("dh", 10), ("s", 300_000)]:
            con.execute(f"CREATE TABLE {alias}.t AS SELECT range AS i, '{alias}' AS w FROM range({rows})")
        assert con.execute("SELECT count(*), min(w) FROM again.t").fetchone() == (300_000, "s")
        assert con.execute("SELECT count(*), min(w) FROM dh.main.t").fetchone() == (10, "dh")
        con.execute("CREATE SCHEMA s.hr")
        con.execute("CREATE TABLE s.hr.people(name VARCHAR)")
        con.execute("USE s.hr")
        con.execute("INSERT INTO people VALUES ('a')")
        con.execute("USE memory")
        assert con.execute("SELECT name FROM again.hr.people").fetchall() == [("a",)]
        assert con.execute("SELECT schema_name FROM duckdb_schemas() WHERE database_name = 'dh' AND NOT internal").fetchall() == []
        found = databases_of(con, "dh")
        assert list(found) == ["duckherder", "sales"]
        assert [found[name][0] for name in found] == [True, False]
    # after a stop, and under a name that the file system knows
    with Driver(2, "--data", data) as driver, loaded() as con:
        attach(con, driver, "s", "sales")
        assert con.execute("SELECT count(*) FROM s.t").fetchone() == (300_000,)
        for name in ["Größe", "a.b", "50% off", 'we"ird', "日本", "x" * 64]:
            con.execute(f"ATTACH '127.0.0.1:{driver.port}' AS odd (TYPE duckherder, database {quote(name)}, create_if_missing true)")
            con.execute("CREATE TABLE odd.t AS SELECT 42 AS i")
            con.execute("DETACH odd")
    with Driver(2, "--data", data) as driver, loaded() as con:
        attach(con, driver, "s", "sales")
        assert {"größe", "a.b", "50% off", 'we"ird', "日本"} <= {name.lower() for name in databases(con)}
        con.execute(f"ATTACH '127.0.0.1:{driver.port}' AS odd (TYPE duckherder, database '日本')")
        assert con.execute("SELECT i FROM odd.t").fetchall() == [(42,)]


def databases_of(con, alias):
    return {row[0]: row[1:] for row in con.execute(f"FROM duckherder_databases('{alias}')").fetchall()}


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "..", ".hidden", "new\nline", "x" * 65, "main", "temp", "information_schema"])
def test_names_that_are_none(data, name):
    with Driver(0, "--data", data) as driver, loaded() as con:
        with pytest.raises(duckdb.Error, match="can't be a database's name|reserved name"):
            attach(con, driver, "s", name)
    assert sorted(path.name for path in data.parent.iterdir()) == ["data"]
    assert sorted(path.name for path in data.iterdir()) == [*OF_THE_DRIVER, "duckherder.duckdb"]


def test_dropping(data):
    with Driver(2, "--data", data) as driver, loaded() as con:
        attach(con, driver)
        attach(con, driver, "s", "sales")
        con.execute("SET duckherder_distribution = 'always'")
        con.execute("CREATE TABLE s.t AS SELECT range AS i FROM range(300_000)")
        # Tasks keep the plans of queries that come again.
        for _ in range(4):
            assert con.execute("SELECT sum(i) FROM s.t WHERE i > 5").fetchone() == (44_999_849_985,)
        with pytest.raises(duckdb.BinderException, match='database "sales" is in use by 1 sessions: detach it everywhere first'):
            con.execute("SELECT duckherder_drop_database('Sales', 'dh')").fetchall()
        with pytest.raises(duckdb.BinderException, match="is the driver's default one"):
            con.execute("SELECT duckherder_drop_database('duckherder', 'dh')").fetchall()
        with pytest.raises(duckdb.CatalogException, match='no database "nothing"'):
            con.execute("SELECT duckherder_drop_database('nothing', 'dh')").fetchall()
        con.execute("DETACH s")
        wait_for(lambda: databases(con)["sales"][1] == 0)
        con.execute("SELECT duckherder_drop_database('Sales')").fetchall()
        assert list(databases(con)) == ["duckherder"]
        assert not list(data.glob("sales*"))
        con.execute("CREATE TABLE dh.t AS SELECT range AS i FROM range(300_000)")
        for number in range(4):
            assert con.execute(f"SELECT count(*) FROM dh.t WHERE i >= {number}").fetchone() == (300_000 - number,)
        # nothing of it comes back
        attach(con, driver, "s", "sales")
        assert con.execute("SELECT count(*) FROM duckdb_tables() WHERE database_name = 's'").fetchone() == (0,)


def test_a_driver_without_a_directory_has_one_database(local_cluster):
    with loaded() as con:
        with pytest.raises(duckdb.BinderException, match="start it with --data DIR"):
            attach(con, local_cluster, "s", "sales")
        attach(con, local_cluster, "s", "memory")
        assert list(databases(con)) == ["memory"]
        with pytest.raises(duckdb.BinderException, match="start it with --data DIR"):
            con.execute("SELECT duckherder_drop_database('memory')").fetchall()


def test_writing_two_databases_in_a_transaction(data):
    with Driver(0, "--data", data) as driver, loaded() as con:
        attach(con, driver)
        attach(con, driver, "s", "sales")
        for alias in ["dh", "s"]:
            con.execute(f"CREATE TABLE {alias}.t(i INTEGER)")
        con.execute("BEGIN")
        con.execute("INSERT INTO dh.t VALUES (1)")
        with pytest.raises(duckdb.TransactionException, match="a single transaction can only write to a single attached database"):
            con.execute("INSERT INTO s.t VALUES (1)")
        con.execute("ROLLBACK")
        assert con.execute("SELECT count(*) FROM dh.t").fetchone() == (0,)


def test_a_directory_belongs_to_one_driver(data):
    with Driver(0, "--data", data) as driver:
        error = start_fails(data)
        assert f"{data} is in use by another driver (process {driver.pid}): stop that one" in error
        with attached(driver) as con:
            con.execute("CREATE TABLE dh.t AS SELECT 1 AS i")


def test_a_broken_file_is_named(data):
    with Driver(0, "--data", data) as driver, loaded() as con:
        attach(con, driver, "s", "sales")
        con.execute("CREATE TABLE s.t AS SELECT range AS i FROM range(10)")
        con.execute("CHECKPOINT s")
        driver.stop()
    file = data / "sales.duckdb"
    kept = data.parent / "kept.duckdb"
    shutil.copy(file, kept)
    file.write_bytes(b"not a database at all" * 1000)
    assert f'cannot open database "sales" in {file}' in start_fails(data)
    shutil.copy(kept, data / "SALES.duckdb")
    assert 'are both the database "' in start_fails(data)
    (data / "SALES.duckdb").unlink()
    shutil.copy(kept, file)
    with Driver(0, "--data", data) as driver, loaded() as con:
        attach(con, driver, "s", "sales")
        assert con.execute("SELECT count(*) FROM s.t").fetchone() == (10,)


def test_files_that_came_by_themselves(data):
    """What somebody puts into the directory is a database from the next start on, and is never written over."""
    with Driver(0, "--data", data) as driver, loaded() as con:
        with duckdb.connect(str(data / "Own File.duckdb")) as plain:
            plain.execute("CREATE TABLE t AS SELECT 42 AS i")
        with duckdb.connect(str(data / "late.duckdb")) as plain:
            plain.execute("CREATE TABLE t AS SELECT 43 AS i")
        with pytest.raises(duckdb.BinderException, match="late.duckdb came there while the driver ran"):
            attach(con, driver, "l", "late")
        driver.stop()
    with Driver(0, "--data", data) as driver, loaded() as con:
        attach(con, driver, "l", "late")
        con.execute(f"ATTACH '127.0.0.1:{driver.port}/own file' AS o (TYPE duckherder)")
        assert con.execute("SELECT l.t.i, o.t.i FROM l.t, o.t").fetchall() == [(43, 42)]
        driver.stop()
    shutil.copy(data / "late.duckdb", data / "main.duckdb")
    assert 'can\'t be a database\'s name: "main" is a schema of every database' in start_fails(data)


def test_another_format_is_refused(data):
    with Driver(0, "--data", data):
        pass
    content = json.loads((data / "driver.json").read_text())
    (data / "driver.json").write_text(json.dumps({**content, "format": 2, "written_by": "9.9.9"}))
    error = start_fails(data)
    assert "has format 2, written by Duckherder 9.9.9" in error and "which knows format 1" in error
    (data / "driver.json").write_text("{")
    assert "driver.json is not what a driver has written" in start_fails(data)


def test_money_that_moves_between_snapshots(data):
    """Tasks of a query over a named database, and over two, read what the query's transaction reads."""
    with Driver(4, "--data", data) as driver, loaded() as con:
        attach(con, driver)
        attach(con, driver, "s", "sales")
        con.execute("CREATE TABLE s.accounts AS SELECT range AS id, 100 AS money FROM range(200_000)")
        con.execute("CREATE TABLE dh.people AS SELECT range AS id, 'p' || range AS name FROM range(200_000)")
        con.execute("CHECKPOINT s")
        stop = threading.Event()

        def move(seed: int) -> None:
            with loaded() as own:
                attach(own, driver, "s", "sales")
                number = seed
                while not stop.is_set():
                    number = number * 7919 % 99_991
                    one, other = number * 2 + seed % 2, (number * 31 % 99_991) * 2 + seed % 2
                    try:
                        own.execute("BEGIN")
                        own.execute(f"UPDATE s.accounts SET money = money - 7 WHERE id = {one}")
                        own.execute(f"UPDATE s.accounts SET money = money + 7 WHERE id = {other}")
                        own.execute("COMMIT")
                    except duckdb.Error:
                        own.execute("ROLLBACK")

        movers = [threading.Thread(target=move, args=(seed,)) for seed in [3, 4]]
        for mover in movers:
            mover.start()
        try:
            con.execute("SET duckherder_distribution = 'always'")
            for _ in range(15):
                assert con.execute("SELECT sum(money), count(*) FROM s.accounts WHERE money > -1000000").fetchone() == (20_000_000, 200_000)
                joined = "SELECT sum(a.money), count(*) FROM accounts a JOIN duckherder.main.people p ON a.id = p.id"
                assert con.execute(f"FROM s.duckherder_query('s', {quote(joined)})").fetchone() == (20_000_000, 200_000)
        finally:
            stop.set()
            for mover in movers:
                mover.join()
        used = con.execute("SELECT min(num_workers_used) FROM duckherder_get_query_execution_stats('s') WHERE contains(sql, 'sum(')").fetchone()
        assert used == (4,)


@pytest.fixture
def several(data):
    """Three databases of a driver, attached as `dh`, `s` and `h`, beside a plain DuckDB that has them, too."""
    with Driver(4, "--data", data) as driver, loaded() as con, duckdb.connect() as plain:
        attach(con, driver)
        attach(con, driver, "s", "sales")
        attach(con, driver, "h", "hr")
        con.execute("SET duckherder_distribution = 'always'")
        for alias in ["dh", "s", "h"]:
            plain.execute(f"ATTACH ':memory:' AS {alias}")
        for each in [con, plain]:
            each.execute("CREATE TABLE dh.people AS SELECT range AS id, 'p' || range AS name FROM range(2000)")
            each.execute("CREATE TABLE s.orders AS SELECT range AS id, range % 2000 AS person, range % 100 AS price FROM range(300_000)")
            each.execute("CREATE SCHEMA h.x")
            each.execute("CREATE TABLE h.x.people AS SELECT range AS id, range % 7 AS grade FROM range(2000)")
            each.execute("CREATE TABLE h.orders AS SELECT range AS id FROM range(10)")
            each.execute("CREATE TABLE few AS SELECT range AS id FROM range(5)")
        yield con, plain, driver


def driver_saw(con, text: str) -> list:
    rows = "SELECT execution_mode, num_workers_used FROM duckherder_get_query_execution_stats('dh') WHERE contains(sql, ?)"
    return con.execute(rows, [text]).fetchall()


# Whether the driver is asked once for the whole of it.
UNITED = [
    ("SELECT name, sum(price) FROM s.orders JOIN dh.people ON orders.person = people.id GROUP BY name ORDER BY ALL", True),
    ("SELECT p.name, sum(o.price) FROM s.main.orders o, dh.people p WHERE o.person = p.id AND p.id < 50 GROUP BY ALL ORDER BY ALL", True),
    ("SELECT s.orders.price, h.x.people.grade, count(*) FROM s.orders JOIN h.x.people ON s.orders.person = h.x.people.id GROUP BY ALL ORDER BY ALL", True),
    ("SELECT s.main.orders.price AS c, count(*) FROM s.orders WHERE person IN (SELECT id FROM h.x.people WHERE h.x.people.grade = 3) GROUP BY ALL ORDER BY ALL", True),
    ("WITH p AS (SELECT id FROM dh.people WHERE id < 9) SELECT count(*) FROM s.orders JOIN p ON person = p.id", True),
    ("SELECT count(*) FROM (SELECT id FROM s.orders UNION SELECT id FROM h.orders)", True),
    ("SELECT list_sum(list(price)) FROM s.orders JOIN dh.people p ON person = p.id", True),
    # `orders` alone would be either
    ("SELECT count(*) FROM s.orders JOIN h.orders ON s.orders.id = h.orders.id", False),
    ("SELECT count(*) FROM s.orders JOIN dh.people p ON person = p.id JOIN few ON few.id = p.id", False),
]


@pytest.mark.parametrize("sql, whole", UNITED)
def test_several_attachments_of_a_driver(several, sql, whole):
    con, plain, _ = several
    assert con.execute(sql).fetchall() == plain.execute(sql).fetchall()
    seen = driver_saw(con, sql)
    assert len(seen) == 1 if whole else len(seen) != 1
    if whole and "UNION" not in sql:
        assert seen[0][1] == 4, seen


def test_attachments_keep_their_transactions(several):
    con, _, driver = several
    count = "SELECT count(*) FROM s.orders o JOIN dh.people p ON o.person = p.id"
    con.execute("BEGIN")
    con.execute("DELETE FROM dh.people WHERE id >= 10")
    assert con.execute(count).fetchone() == (1500,)
    con.execute("ROLLBACK")
    assert con.execute(count).fetchone() == (300_000,)
    con.execute("USE h.x")
    assert con.execute("SELECT count(*) FROM people JOIN dh.people p USING (id)").fetchone() == (2000,)
    con.execute("USE memory")
    assert con.execute(count + " WHERE p.id < ?", [10]).fetchone() == (1500,)
    with pytest.raises(duckdb.BinderException, match="nothing"):
        con.execute("SELECT o.nothing FROM s.orders o JOIN dh.people p ON o.person = p.id")
    plan = con.execute(f"EXPLAIN {count}").fetchall()[0][1]
    assert "sales" in plan or "duckherder" in plan
    # one that is another's name changes nothing
    con.execute(f"ATTACH '127.0.0.1:{driver.port}/sales' AS hr (TYPE duckherder)")
    con.execute("DETACH s")
    con.execute(f"ATTACH '127.0.0.1:{driver.port}/hr' AS sales (TYPE duckherder)")
    assert con.execute("SELECT count(*) FROM sales.orders JOIN hr.orders o USING (id)").fetchone() == (10,)
    assert con.execute("SELECT count(o.price) FROM sales.x.people p JOIN hr.orders o ON p.id = o.person").fetchone() == (300_000,)
