"""The driver as any Flight SQL server: through the ADBC driver for Flight SQL, without our extension."""

from __future__ import annotations

import threading
import time

import adbc_driver_flightsql.dbapi as flightsql
import adbc_driver_manager
import pyarrow as pa
import pytest

from harness.cluster import Cluster, Driver
from harness.wait import wait_for, within


@pytest.fixture(scope="module")
def driver():
    with Driver(workers=2) as process:
        yield process


@pytest.fixture
def connect(driver):
    """Makes connections to the driver, closed after the test."""
    connections = []

    def make(**arguments):
        connections.append(flightsql.connect(f"grpc://{driver.location}", **arguments))
        return connections[-1]

    yield make
    for connection in connections:
        connection.close()


@pytest.fixture
def con(connect):
    return connect(autocommit=True)


def rows(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def run(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def test_query(con):
    assert rows(con, "SELECT 42 AS a, 'x' AS b, NULL::INTEGER AS c") == [(42, "x", None)]
    with con.cursor() as cursor:
        cursor.execute("SELECT range AS v, range::VARCHAR AS t FROM range(1000000)")
        table = cursor.fetch_arrow_table()
    assert table.num_rows == 1_000_000
    assert table.column_names == ["v", "t"]
    assert table["v"].to_pylist()[-1] == 999_999


def test_no_rows(con):
    with con.cursor() as cursor:
        cursor.execute("SELECT 1 AS a, 'x' AS b WHERE false")
        table = cursor.fetch_arrow_table()
    assert (table.num_rows, table.column_names) == (0, ["a", "b"])


def test_enums_without_rows(con, table_name):
    run(con, f"CREATE TYPE letter_{table_name} AS ENUM ('a', 'b')")
    run(con, f"CREATE TABLE {table_name}(x letter_{table_name}, l letter_{table_name}[], s STRUCT(x letter_{table_name}))")
    for sql in (
        f"FROM {table_name}",
        f"SELECT s, x FROM {table_name} WHERE x = 'b'",
        f"UPDATE {table_name} SET x = 'a' WHERE x = 'b' RETURNING x",
    ):
        with con.cursor() as cursor:
            cursor.execute(sql)
            assert cursor.fetch_arrow_table().num_rows == 0, sql
    assert rows(con, f"SELECT x FROM {table_name} WHERE x = $1", ["b"]) == []
    run(con, f"INSERT INTO {table_name} VALUES ('b', ['a'], {{'x': 'b'}})")
    assert rows(con, f"SELECT x, l FROM {table_name}") == [("b", ["a"])]


def test_parameters(con):
    assert rows(con, "SELECT ? + 1, ? || 'b', ?", [41, "a", None]) == [(42, "ab", None)]
    assert rows(con, "SELECT count(*) FROM range(100) WHERE range < $1", [7]) == [(7,)]


def test_update_counts(con, table_name):
    run(con, f"CREATE TABLE {table_name}(a INTEGER, b VARCHAR)")
    with con.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table_name} VALUES (?, ?)", [(i, str(i)) for i in range(100)])
        assert cursor.rowcount == 100
        cursor.adbc_statement.set_sql_query(f"UPDATE {table_name} SET b = 'x' WHERE a < 10")
        assert cursor.adbc_statement.execute_update() == 10
    assert rows(con, f"SELECT count(*), sum(a) FROM {table_name} WHERE b = 'x'") == [(10, 45)]


def test_executemany_is_all_or_nothing(con, table_name):
    run(con, f"CREATE TABLE {table_name}(a INTEGER PRIMARY KEY)")
    with pytest.raises(adbc_driver_manager.Error, match="Constraint Error.*duplicate key"), con.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table_name} VALUES (?)", [(1,), (2,), (1,)])
    assert rows(con, f"SELECT count(*) FROM {table_name}") == [(0,)]


def test_errors_keep_their_words(con):
    with pytest.raises(adbc_driver_manager.Error, match="Catalog Error.*missing.* does not exist"):
        rows(con, "SELECT * FROM missing")
    with pytest.raises(adbc_driver_manager.Error, match="Conversion Error"):
        rows(con, "SELECT CASE WHEN range = 900000 THEN 'x' ELSE '1' END::INTEGER FROM range(1000000)")
    assert rows(con, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("count", [1, 1_000_000])
def test_ingest(con, table_name, count):
    table = pa.table({"a": pa.array(range(count), pa.int64()), "b": pa.array([f"row {i}" for i in range(count)])})
    with con.cursor() as cursor:
        for mode in ["create", "append"]:
            # The client takes no message above 16 MiB.
            assert cursor.adbc_ingest(table_name, table.to_reader(max_chunksize=100_000), mode=mode) == count
    assert rows(con, f"SELECT count(*), count(DISTINCT b) FROM {table_name}") == [(2 * count, count)]


@pytest.mark.parametrize("count", [2 * 122_880, 5 * 122_880 + 7])
def test_rows_are_in_the_order_in_which_they_came(con, table_name, count):
    """Several of the driver's threads take them, a row group each; the messages have other borders."""
    table = pa.table({"a": pa.array(range(count), pa.int64())})
    with con.cursor() as cursor:
        assert cursor.adbc_ingest(table_name, table.to_reader(max_chunksize=50_001), mode="create") == count
    assert rows(con, f"SELECT count(*), count(DISTINCT a), count(*) FILTER (a <> rowid) FROM {table_name}") == [(count, count, 0)]


def test_ingest_modes(con, table_name):
    table = pa.table({"a": [1, 2, 3]})
    with con.cursor() as cursor:
        with pytest.raises(adbc_driver_manager.Error, match="does not exist"):
            cursor.adbc_ingest(table_name, table, mode="append")
        cursor.adbc_ingest(table_name, table, mode="create_append")
        cursor.adbc_ingest(table_name, table, mode="create_append")
        with pytest.raises(adbc_driver_manager.Error, match="already exists"):
            cursor.adbc_ingest(table_name, table, mode="create")
        assert rows(con, f"SELECT count(*) FROM {table_name}") == [(6,)]
        cursor.adbc_ingest(table_name, pa.table({"b": ["x"]}), mode="replace")
    assert rows(con, f"SELECT * FROM {table_name}") == [("x",)]


def test_ingest_into_schema(con, table_name):
    run(con, f'CREATE SCHEMA "s {table_name}"')
    with con.cursor() as cursor:
        cursor.adbc_ingest('odd "name"', pa.table({"a": [1]}), mode="create", db_schema_name=f"s {table_name}")
    assert rows(con, f'SELECT * FROM "s {table_name}"."odd ""name"""') == [(1,)]


@pytest.mark.parametrize("count", [1, 40])
def test_ingest_from_reader_that_fails(con, table_name, count):
    run(con, f"CREATE TABLE {table_name}(a BIGINT)")
    schema = pa.schema([("a", pa.int64())])

    def batches():
        for _ in range(count):
            yield pa.record_batch([pa.array(range(10_000))], schema=schema)
        raise ValueError("no more")

    with pytest.raises(Exception), con.cursor() as cursor:
        cursor.adbc_ingest(table_name, pa.RecordBatchReader.from_batches(schema, batches()), mode="append")
    assert rows(con, f"SELECT count(*) FROM {table_name}") == [(0,)]


def test_transactions(connect, con, table_name):
    run(con, f"CREATE TABLE {table_name}(a INTEGER)")
    transaction = connect()
    run(transaction, f"INSERT INTO {table_name} VALUES (1)")
    assert rows(transaction, f"SELECT count(*) FROM {table_name}") == [(1,)]
    assert rows(con, f"SELECT count(*) FROM {table_name}") == [(0,)]
    transaction.rollback()
    assert rows(transaction, f"SELECT count(*) FROM {table_name}") == [(0,)]
    run(transaction, f"INSERT INTO {table_name} VALUES (?)", [3])
    transaction.commit()
    assert rows(con, f"SELECT * FROM {table_name}") == [(3,)]


def test_metadata(con, table_name):
    run(con, f"CREATE TABLE {table_name}(a INTEGER PRIMARY KEY, b DECIMAL(10, 2), c VARCHAR[])")
    assert con.adbc_get_info()["vendor_name"] == "Duckherder"
    assert "BASE TABLE" in con.adbc_get_table_types()
    schema = con.adbc_get_table_schema(table_name)
    assert schema.names == ["a", "b", "c"]
    assert schema.field("a").type == pa.int32()
    assert schema.field("b").type == pa.decimal128(10, 2)
    objects = con.adbc_get_objects(depth="all", table_name_filter=table_name).read_all().to_pylist()
    (catalog,) = [entry for entry in objects if entry["catalog_name"] == "memory"]
    (main,) = [entry for entry in catalog["catalog_db_schemas"] if entry["db_schema_name"] == "main"]
    (table,) = main["db_schema_tables"]
    assert (table["table_name"], table["table_type"]) == (table_name, "BASE TABLE")
    assert [column["column_name"] for column in table["table_columns"]] == ["a", "b", "c"]


def test_metadata_lists_each_table_once(con, table_name):
    run(con, f"CREATE TABLE {table_name}(a INTEGER)")
    run(con, f"CREATE VIEW {table_name}_view AS SELECT * FROM {table_name}")
    objects = con.adbc_get_objects(depth="tables", table_name_filter=f"{table_name}%").read_all().to_pylist()
    names = [
        (table["table_name"], table["table_type"])
        for catalog in objects
        for schema in catalog["catalog_db_schemas"]
        for table in schema["db_schema_tables"]
    ]
    assert sorted(names) == [(table_name, "BASE TABLE"), (f"{table_name}_view", "VIEW")]


def test_types(con):
    sql = """
        SELECT 170141183460469231731687303715884105727::HUGEINT::VARCHAR AS h, 1.5::DOUBLE AS d, true AS t,
               DATE '2026-11-21' AS day, TIMESTAMP '2026-11-21 22:00:00.123456' AS ts, [1, 2] AS l, {'a': 1} AS s,
               'blob'::BLOB AS b, 12.34::DECIMAL(18, 2) AS n
    """
    with con.cursor() as cursor:
        cursor.execute(sql)
        (row,) = cursor.fetch_arrow_table().to_pylist()
    assert row["h"] == "170141183460469231731687303715884105727"
    assert (row["d"], row["l"], row["s"], row["b"]) == (1.5, [1, 2], {"a": 1}, b"blob")
    assert (str(row["day"]), str(row["ts"]), str(row["n"])) == ("2026-11-21", "2026-11-21 22:00:00.123456", "12.34")


def test_copy_writes_where_the_driver_is(connect, tmp_path):
    con = connect()
    run(con, "CREATE TABLE copied AS SELECT range AS i, 's' || range AS s FROM range(400000)")
    con.commit()
    run(con, "SET duckherder_distribution = 'always'")
    options = "(FORMAT parquet, PER_THREAD_OUTPUT true)"
    plan = rows(con, f"EXPLAIN COPY copied TO '{tmp_path}/a' {options}")[0][1]
    assert "Duckherder Write" in plan, plan
    assert rows(con, f"COPY copied TO '{tmp_path}/a' {options}") == [(400_000,)]
    read = f"SELECT count(*), sum(i), count(DISTINCT s) FROM '{tmp_path}/a/*.parquet'"
    assert rows(con, read) == [(400_000, 399_999 * 200_000, 400_000)]
    with pytest.raises(adbc_driver_manager.Error, match="is not empty"):
        run(con, f"COPY copied TO '{tmp_path}/a' {options}")
    con.rollback()
    run(con, "SET duckherder_distribution = 'always'")
    with pytest.raises(adbc_driver_manager.Error, match="Could not convert string"):
        run(con, f"COPY (SELECT CASE WHEN i = 399999 THEN s::INT ELSE i END FROM copied) TO '{tmp_path}/failed.parquet'")
    con.rollback()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_cancel(con):
    with con.cursor() as cursor:
        over = threading.Event()

        def cancel() -> None:
            # again and again: one that comes before the statement has begun is forgotten
            while not over.wait(0.5):
                cursor.adbc_cancel()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        began = time.monotonic()
        try:
            with pytest.raises(adbc_driver_manager.Error):
                cursor.execute("SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE hash(a.range, b.range) = 1")
                cursor.fetchall()
            within(time.monotonic() - began, 3)
        finally:
            over.set()
            canceller.join()
    assert rows(con, "SELECT 1") == [(1,)]


def test_unread_results_free_the_driver(driver, con):
    before = driver.memory_bytes()
    for _ in range(5):
        with con.cursor() as cursor:
            cursor.execute("SELECT range AS v, repeat('x', 100) AS t FROM range(100000000000)")
            assert cursor.fetchone()[0] == 0
    wait_for(lambda: driver.memory_bytes() < before + 300_000_000)

    def idle() -> bool:
        used = driver.cpu_seconds()
        time.sleep(0.5)
        return driver.cpu_seconds() - used < 0.2

    # reading one of them to its end takes longer
    wait_for(idle, 20)


def test_a_failing_row_of_parameters_does_not_repeat_those_before(con):
    """What a task fails with leads to another run only where nothing was done."""
    rows(con, "CREATE TABLE several AS SELECT range AS i, CASE WHEN range < 200000 THEN '1' ELSE 'x' END AS v FROM range(300000)")
    rows(con, "CREATE TABLE results(a INTEGER)")
    rows(con, "SET GLOBAL duckherder_distribution = 'always'")
    try:
        for _ in range(5):
            rows(con, "TRUNCATE results")
            with con.cursor() as cursor:
                statement = cursor.adbc_statement
                statement.set_sql_query("INSERT INTO results SELECT max(v::INTEGER) FROM several WHERE i < $1 RETURNING a")
                statement.prepare()
                statement.bind(pa.record_batch([pa.array([1000, 299_000])], names=["0"]))
                with pytest.raises((adbc_driver_manager.Error, pa.ArrowInvalid), match="Could not convert"):
                    stream, _ = statement.execute_query()
                    pa.RecordBatchReader.from_stream(stream).read_all()
            assert rows(con, "SELECT count(*) FROM results")[0][0] <= 1
    finally:
        rows(con, "RESET GLOBAL duckherder_distribution")


def test_an_update_whose_tasks_fail_is_run_by_the_driver(driver, con):
    """All of it once more, on the driver alone, if it is a transaction of its own: DuckDB has the last word."""
    run(con, "CREATE TABLE texts AS SELECT i, CASE WHEN i < 250000 THEN '1' ELSE 'v' END AS v FROM range(300000) r(i)")
    run(con, "CREATE TABLE taken (n INTEGER)")
    run(con, "SET GLOBAL duckherder_distribution = 'always'")
    try:
        with con.cursor() as cursor:
            before = driver.output()
            with pytest.raises(adbc_driver_manager.Error, match="Could not convert string 'v' to INT32"):
                cursor.adbc_statement.set_sql_query("INSERT INTO taken SELECT v::INTEGER FROM texts")
                cursor.adbc_statement.execute_update()
            assert driver.output().removeprefix(before).count("runs once more") == 1
            with pytest.raises(adbc_driver_manager.Error, match="Could not convert string 'v' to INT32"):
                cursor.executemany("INSERT INTO taken SELECT v::INTEGER + ? FROM texts", [[1], [2]])
        assert rows(con, "SELECT count(*) FROM taken") == [(0,)]
        with con.cursor() as cursor:
            cursor.executemany("INSERT INTO taken SELECT v::INTEGER + ? FROM texts WHERE i < 3", [[1], [2]])
        assert rows(con, "SELECT count(*), sum(n) FROM taken") == [(6, 15)]
    finally:
        run(con, "RESET GLOBAL duckherder_distribution")


def test_rows_on_their_way_to_workers_lose_nothing():
    """These clients know plain Arrow types only, which a BIT and a TIMETZ have none of."""
    with Cluster(remote_workers=1, worker_arguments=("--cache-bytes", "0")) as cluster:
        with flightsql.connect(f"grpc://{cluster.driver.location}", autocommit=True) as con:
            run(con, "CREATE TABLE t AS SELECT '10101'::BIT AS b, '10:00:00+05'::TIMETZ AS z FROM range(200000)")
            run(con, "SET duckherder_distribution = 'always'")
            assert rows(con, "SELECT b::VARCHAR, z::VARCHAR, count(*) FROM t GROUP BY ALL") == [("10101", "10:00:00+05", 200000)]
            assert rows(con, "SELECT count(*) FROM t WHERE b = '10101'::BIT AND z = '10:00:00+05'::TIMETZ") == [(200000,)]


def test_long_texts_come_in_batches_of_fewer_rows(con):
    with con.cursor() as cursor:
        cursor.execute("SELECT range AS i, repeat('x', 20000) || range AS s FROM range(9000)")
        batches = list(cursor.fetch_record_batch())
    assert max(batch.nbytes for batch in batches) < 128 << 20
    table = pa.Table.from_batches(batches)
    assert table["i"].to_pylist() == list(range(9000))
    assert table["s"].to_pylist()[-1] == "x" * 20000 + "8999"
