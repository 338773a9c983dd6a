"""The driver through a Flight SQL client that knows nothing of Duckherder: ADBC's."""

from __future__ import annotations

import adbc_driver_flightsql.dbapi
import adbc_driver_manager
import pyarrow
import pytest

from harness.client import attached


@pytest.fixture
def connection(local_cluster):
    with adbc_driver_flightsql.dbapi.connect(f"grpc://127.0.0.1:{local_cluster.port}", autocommit=True) as connected:
        yield connected


@pytest.fixture
def cursor(connection):
    with connection.cursor() as opened:
        yield opened


def test_query(cursor):
    cursor.execute("SELECT 42 AS answer, 'x' AS s, NULL AS n, [1, 2] AS l, DATE '2024-02-29' AS d")
    table = cursor.fetch_arrow_table()
    assert table.column_names == ["answer", "s", "n", "l", "d"]
    assert table.to_pylist()[0]["l"] == [1, 2]
    assert table.schema.field("answer").type == pyarrow.int32()


def test_updates_and_their_counts(cursor, table_name):
    cursor.execute(f"CREATE TABLE {table_name}(i INTEGER, s VARCHAR)")
    cursor.execute(f"INSERT INTO {table_name} VALUES (1, 'a'), (2, 'b')")
    assert cursor.fetchall() == [(2,)]
    cursor.execute(f"SELECT * FROM {table_name} ORDER BY i")
    assert cursor.fetchall() == [(1, "a"), (2, "b")]


def test_parameters(cursor, table_name):
    cursor.execute(f"CREATE TABLE {table_name} AS SELECT range AS i, 'v' || range AS s FROM range(100)")
    cursor.execute(f"SELECT s FROM {table_name} WHERE i = ? OR s = ?", (7, "v9"))
    assert sorted(cursor.fetchall()) == [("v7",), ("v9",)]
    cursor.executemany(f"INSERT INTO {table_name} VALUES (?, ?)", [(1000, "x"), (1001, "y"), (1002, None)])
    cursor.execute(f"SELECT count(*), sum(i) FROM {table_name} WHERE i >= 1000")
    assert cursor.fetchall() == [(3, 3003)]


def test_ingest(cursor, table_name):
    rows = pyarrow.table({"i": pyarrow.array(range(100_000), pyarrow.int64()), "s": [f"v{i}" for i in range(100_000)]})
    assert cursor.adbc_ingest(table_name, rows, mode="create") == 100_000
    assert cursor.adbc_ingest(table_name, rows, mode="append") == 100_000
    cursor.execute(f"SELECT count(*), sum(i), count(DISTINCT s) FROM {table_name}")
    assert cursor.fetchall() == [(200_000, 9_999_900_000, 100_000)]
    with pytest.raises(adbc_driver_manager.Error):
        cursor.adbc_ingest(table_name, rows, mode="create")
    cursor.adbc_ingest(table_name, rows, mode="replace")
    cursor.execute(f"SELECT count(*) FROM {table_name}")
    assert cursor.fetchall() == [(100_000,)]


def test_transactions(local_cluster, table_name):
    with adbc_driver_flightsql.dbapi.connect(f"grpc://127.0.0.1:{local_cluster.port}") as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {table_name}(i INTEGER)")
        connection.commit()
        cursor.execute(f"INSERT INTO {table_name} VALUES (1)")
        connection.rollback()
        cursor.execute(f"SELECT count(*) FROM {table_name}")
        assert cursor.fetchall() == [(0,)]
        cursor.execute(f"INSERT INTO {table_name} VALUES (2)")
        connection.commit()
    with attached(local_cluster) as con:
        assert con.execute(f"SELECT i FROM dh.{table_name}").fetchall() == [(2,)]


def test_metadata(connection, cursor, table_name):
    cursor.execute(f"CREATE TABLE {table_name}(i INTEGER, s VARCHAR)")
    cursor.execute(f"CREATE VIEW {table_name}_view AS SELECT i FROM {table_name}")
    assert {"table", "view"} & {kind.lower().removeprefix("base ") for kind in connection.adbc_get_table_types()}
    assert connection.adbc_get_table_schema(table_name).names == ["i", "s"]
    catalogs = connection.adbc_get_objects(depth="all", table_name_filter=table_name).read_all().to_pylist()
    tables = [table for catalog in catalogs for schema in catalog["catalog_db_schemas"] or [] for table in schema["db_schema_tables"] or []]
    assert [table["table_name"] for table in tables] == [table_name]
    assert [column["column_name"] for column in tables[0]["table_columns"]] == ["i", "s"]
    info = connection.adbc_get_info()
    assert info["vendor_name"]


def test_errors_are_duckdbs(cursor):
    with pytest.raises(adbc_driver_manager.Error, match="Table with name nope does not exist"):
        cursor.execute("SELECT * FROM nope")
    with pytest.raises(adbc_driver_manager.Error, match="syntax error"):
        cursor.execute("SELEC 1")
        cursor.fetchall()
    cursor.execute("SELECT 1")
    assert cursor.fetchall() == [(1,)]


def test_a_large_result(cursor):
    cursor.execute("SELECT range AS i, repeat('x', 50) AS s FROM range(1_000_000)")
    reader = cursor.fetch_record_batch()
    assert sum(batch.num_rows for batch in reader) == 1_000_000


def test_a_split_query(connection, local_cluster, table_name):
    with attached(local_cluster) as con:
        con.execute(f"CREATE TABLE dh.{table_name} AS SELECT range AS i, range % 7 AS g FROM range(500_000)")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT g, count(*), sum(i) FROM {table_name} GROUP BY g ORDER BY g")
        rows = cursor.fetchall()
    assert sum(row[1] for row in rows) == 500_000 and sum(row[2] for row in rows) == 124_999_750_000


def test_cancel(connection):
    import threading
    import time

    with connection.cursor() as cursor:
        timer = threading.Timer(1.0, cursor.adbc_cancel)
        timer.start()
        began = time.monotonic()
        with pytest.raises(adbc_driver_manager.Error):
            cursor.execute("SELECT count(*) FROM range(1_000_000) a, range(1_000_000) b WHERE (a.range * b.range) % 1000003 = 17")
            cursor.fetchall()
        assert time.monotonic() - began < 10
        timer.cancel()
