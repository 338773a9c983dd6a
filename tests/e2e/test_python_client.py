"""What Python users do: parameters, executemany, dataframes, Arrow, the relational API, result formats."""

from __future__ import annotations

import datetime
import decimal
import uuid

import duckdb
import pandas
import pyarrow
import pytest

from harness.client import attached, last_statistics

VALUES = [
    None,
    True,
    -(2**63),
    2**100,
    1.5,
    float("inf"),
    "it's \N{DUCK}",
    "",
    b"\x00\xff",
    decimal.Decimal("123456789.987654321"),
    datetime.date(2024, 2, 29),
    datetime.time(23, 59, 59, 999999),
    datetime.datetime(2024, 2, 29, 12, 0, 0, 1),
    datetime.timedelta(days=3, seconds=5),
    uuid.UUID("eeccb8c5-9943-b2bb-bb5e-222f4e14b687"),
    [1, 2, None],
    ["a", None],
    {"a": 1, "b": [1.5, None]},
]


@pytest.mark.parametrize("value", VALUES, ids=[repr(value) for value in VALUES])
def test_a_parameter_of_every_kind(con, oracle, table_name, value):
    for connection in (con, oracle):
        connection.execute(f"CREATE TABLE dh.{table_name} AS SELECT 1 AS a")
    sql = f"SELECT ?, typeof(?), a FROM dh.{table_name}"
    got, expected = con.execute(sql, [value, value]), oracle.execute(sql, [value, value])
    assert [str(c[1]) for c in got.description] == [str(c[1]) for c in expected.description]
    assert got.fetchall() == expected.fetchall()


def test_positions_names_and_repeats(con, table_name):
    con.execute(f"CREATE TABLE dh.{table_name} AS SELECT range AS i, 'v' || range AS s FROM range(100)")
    assert con.execute(f"SELECT s FROM dh.{table_name} WHERE i = ?", [7]).fetchall() == [("v7",)]
    assert con.execute(f"SELECT s FROM dh.{table_name} WHERE i = $1 OR i = $1 + 1", [7]).fetchall() == [("v7",), ("v8",)]
    assert con.execute(f"SELECT i FROM dh.{table_name} WHERE s = $2 AND i = $1", [9, "v9"]).fetchall() == [(9,)]
    named = {"low": 5, "high": 6}
    assert con.execute(f"SELECT i FROM dh.{table_name} WHERE i BETWEEN $low AND $high", named).fetchall() == [(5,), (6,)]
    assert con.execute(f"SELECT count(*) FROM dh.{table_name} WHERE s = ?", ["' OR 1=1 --"]).fetchone() == (0,)


def test_a_function_of_the_program(con, oracle, table_name):
    """What only the client knows runs there; that the driver does not have it is an error where the driver needs it."""
    table = f"dh.{table_name}"
    for connection in (con, oracle):
        connection.create_function(table_name, lambda x: x * 7 % 10, ["BIGINT"], "BIGINT")
        connection.execute(f"CREATE TABLE {table} AS SELECT range AS i, range % 3 AS g FROM range(100)")
    for sql in [
        f"SELECT {table_name}(i), i FROM {table} ORDER BY i LIMIT 12",
        f"SELECT g, sum({table_name}(i)) FROM {table} WHERE {table_name}(i) > 3 GROUP BY g ORDER BY g",
        f"SELECT max(i) FROM {table} WHERE i IN (SELECT {table_name}(i) FROM {table})",
        f"WITH c AS (SELECT {table_name}(g) AS k FROM {table}) SELECT k, count(*) FROM c GROUP BY k ORDER BY k",
        f"INSERT INTO {table} SELECT {table_name}(i), 5 FROM {table} WHERE g = 1",
        f"UPDATE {table} SET g = {table_name}(i) WHERE {table_name}(g) = 5",
        f"DELETE FROM {table} WHERE {table_name}(i) = 0",
        f"CREATE TABLE {table}_2 AS SELECT {table_name}(i) AS j FROM {table}",
        f"SELECT g, count(*), sum(i) FROM {table} GROUP BY g ORDER BY g",
        f"SELECT sum(j) FROM {table}_2",
    ]:
        assert con.execute(sql).fetchall() == oracle.execute(sql).fetchall(), sql
    assert con.execute(f"SELECT {table_name}(?) + i FROM {table} WHERE i = ?", [3, 8]).fetchall()[0] == (9,)
    for each in (con, oracle):
        each.execute(f"CREATE VIEW {table}_v AS SELECT {table_name}(i) AS k FROM {table}")
    assert con.execute(f"SELECT sum(k) FROM {table}_v").fetchall() == oracle.execute(f"SELECT sum(k) FROM {table}_v").fetchall()
    with pytest.raises(duckdb.CatalogException, match=f"Scalar Function with name {table_name} does not exist"):
        con.execute(f"CREATE TABLE {table}_d (k BIGINT DEFAULT {table_name}(1))")


def test_every_function_of_duckdb_goes_to_the_driver(con, oracle, table_name):
    """Also those that one extension has and another adds to, such as date_part."""
    con.execute(f"CREATE TABLE dh.{table_name} AS SELECT 1 AS a")
    oracle.execute(f"CREATE TABLE dh.{table_name} AS SELECT 1 AS a")
    calls = oracle.execute(
        "SELECT DISTINCT function_name, parameter_types FROM duckdb_functions() WHERE function_type = 'scalar' "
        "AND regexp_full_match(function_name, '[a-z_0-9]+') AND has_side_effects IS NOT true AND varargs IS NULL "
        "AND NOT contains(concat(parameter_types::VARCHAR, return_type), 'TUPLE') ORDER BY ALL"
    ).fetchall()
    stayed, sent = [], 0
    for name, types in calls:
        arguments = ", ".join(f"CAST(NULL AS {kind})" for kind in types)
        sql = f"SELECT {name}({arguments}) FROM dh.{table_name}"
        try:
            oracle.execute(sql)
        except duckdb.Error:
            continue
        con.execute(sql)
        sent += 1
        if not con.execute("SELECT bool_or(sql = ?) FROM duckherder_get_query_execution_stats()", [sql]).fetchone()[0]:
            stayed.append(sql)
    assert sent > 500
    assert stayed == []


def test_wrong_parameters_are_errors(con, table_name):
    con.execute(f"CREATE TABLE dh.{table_name} AS SELECT 1 AS i")
    with pytest.raises(duckdb.InvalidInputException):
        con.execute(f"SELECT * FROM dh.{table_name} WHERE i = ?", [])
    with pytest.raises(duckdb.InvalidInputException):
        con.execute(f"SELECT * FROM dh.{table_name} WHERE i = ?", [1, 2])
    with pytest.raises(duckdb.ConversionException):
        con.execute(f"SELECT * FROM dh.{table_name} WHERE i = ?", ["abc"]).fetchall()


def test_parameters_in_every_statement(con, table_name):
    con.execute(f"CREATE TABLE dh.{table_name}(i INTEGER, s VARCHAR)")
    assert con.execute(f"INSERT INTO dh.{table_name} VALUES (?, ?), (?, 'x')", [1, "a", 2]).fetchall() == [(2,)]
    assert con.execute(f"UPDATE dh.{table_name} SET s = ? WHERE i = ?", ["b", 1]).fetchall() == [(1,)]
    assert con.execute(f"SELECT s FROM dh.{table_name} ORDER BY i").fetchall() == [("b",), ("x",)]
    returned = con.execute(f"INSERT INTO dh.{table_name} SELECT ?, ? RETURNING i + 10", [5, None]).fetchall()
    assert returned == [(15,)]
    assert con.execute(f"DELETE FROM dh.{table_name} WHERE i > ?", [1]).fetchall() == [(2,)]
    con.execute("CREATE OR REPLACE TEMP TABLE local_rows AS SELECT range AS i FROM range(10)")
    joined = f"SELECT count(*) FROM dh.{table_name} t JOIN local_rows l ON l.i = t.i WHERE t.s = ? AND l.i < ?"
    assert con.execute(joined, ["b", 5]).fetchall() == [(1,)]


def test_executemany(con, table_name):
    con.execute(f"CREATE TABLE dh.{table_name}(i INTEGER, s VARCHAR)")
    con.executemany(f"INSERT INTO dh.{table_name} VALUES (?, ?)", [[i, f"s{i}"] for i in range(200)])
    assert con.execute(f"SELECT count(*), sum(i), max(s) FROM dh.{table_name}").fetchone() == (200, 19900, "s99")
    con.executemany(f"DELETE FROM dh.{table_name} WHERE i = ?", [[i] for i in range(100)])
    assert con.execute(f"SELECT min(i), count(*) FROM dh.{table_name}").fetchone() == (100, 100)


def test_dataframes(con, table_name):
    frame = pandas.DataFrame({"i": range(10_000), "s": [f"v{i}" for i in range(10_000)], "f": [i / 2 for i in range(10_000)]})
    con.execute(f"CREATE TABLE dh.{table_name} AS SELECT * FROM frame")
    con.execute(f"INSERT INTO dh.{table_name} SELECT i + 10000, s, f FROM frame")
    back = con.execute(f"SELECT * FROM dh.{table_name} ORDER BY i").df()
    assert len(back) == 20_000
    pandas.testing.assert_frame_equal(back.head(10_000), frame, check_dtype=False)


def test_arrow_both_ways(con, table_name):
    rows = pyarrow.table(
        {
            "i": pyarrow.array(range(300_000), pyarrow.int64()),
            "d": pyarrow.array([None if i % 5 == 0 else f"x{i % 100}" for i in range(300_000)]).dictionary_encode(),
            "l": pyarrow.array([[i, None] for i in range(300_000)], pyarrow.list_(pyarrow.int32())),
        }
    )
    con.execute(f"CREATE TABLE dh.{table_name} AS SELECT * FROM rows")
    back = con.execute(f"SELECT i, d::VARCHAR AS d, l FROM dh.{table_name}").to_arrow_table()
    assert back.num_rows == 300_000
    assert back["i"].to_pylist() == list(range(300_000))
    assert back["l"].slice(299_999, 1).to_pylist() == [[299_999, None]]
    reader = con.sql(f"SELECT * FROM dh.{table_name}").to_arrow_reader(10_000)
    assert sum(batch.num_rows for batch in reader) == 300_000


def test_streams_from_a_reader(con, table_name):
    schema = pyarrow.schema([("i", pyarrow.int64())])
    batches = (pyarrow.record_batch([pyarrow.array(range(k * 1000, (k + 1) * 1000))], schema=schema) for k in range(100))
    reader = pyarrow.RecordBatchReader.from_batches(schema, batches)
    con.execute(f"CREATE TABLE dh.{table_name} AS SELECT * FROM reader")
    assert con.execute(f"SELECT count(*), sum(i) FROM dh.{table_name}").fetchone() == (100_000, 4_999_950_000)


def test_a_source_that_fails_leaves_nothing(con, table_name):
    con.execute(f"CREATE TABLE dh.{table_name}(i BIGINT)")
    schema = pyarrow.schema([("i", pyarrow.int64())])

    def batches():
        for k in range(50):
            yield pyarrow.record_batch([pyarrow.array(range(1000))], schema=schema)
        raise RuntimeError("the source broke")

    reader = pyarrow.RecordBatchReader.from_batches(schema, batches())
    with pytest.raises(Exception, match="the source broke"):
        con.execute(f"INSERT INTO dh.{table_name} SELECT * FROM reader")
    assert con.execute(f"SELECT count(*) FROM dh.{table_name}").fetchone() == (0,)


def test_relational_api(con, table_name):
    con.execute(f"CREATE TABLE dh.{table_name} AS SELECT range AS i, range % 3 AS g FROM range(1000)")
    relation = con.table(f"dh.{table_name}").filter("i < 100").aggregate("g, sum(i) AS s").order("g")
    assert relation.fetchall() == [(0, 1683), (1, 1617), (2, 1650)]
    assert con.sql(f"FROM dh.{table_name} LIMIT 2").fetchall() == [(0, 0), (1, 1)]


def test_reading_a_part_of_a_result(con, table_name):
    con.execute(f"CREATE TABLE dh.{table_name} AS SELECT range AS i FROM range(500_000)")
    result = con.execute(f"SELECT i FROM dh.{table_name}")
    assert result.fetchmany(3) == [(0,), (1,), (2,)]
    # the next statement of the same connection ends the first one
    assert con.execute(f"SELECT count(*) FROM dh.{table_name}").fetchone() == (500_000,)


def test_two_results_at_once(con, table_name):
    con.execute(f"CREATE TABLE dh.{table_name} AS SELECT range AS i FROM range(300_000)")
    first = con.cursor().execute(f"SELECT i FROM dh.{table_name}")
    second = con.cursor().execute(f"SELECT i + 1 FROM dh.{table_name}")
    assert first.fetchone() == (0,)
    assert second.fetchone() == (1,)
    assert len(first.fetchall()) == 299_999
    assert len(second.fetchall()) == 299_999


def test_a_wide_and_a_long_value(con, table_name):
    columns = ", ".join(f"i + {k} AS c{k}" for k in range(500))
    con.execute(f"CREATE TABLE dh.{table_name} AS SELECT {columns} FROM range(100) r(i)")
    row = con.execute(f"SELECT * FROM dh.{table_name} WHERE c0 = 99").fetchone()
    assert row == tuple(99 + k for k in range(500))
    con.execute(f"CREATE TABLE dh.{table_name}_long AS SELECT repeat('x', 20_000_000) AS s")
    assert con.execute(f"SELECT length(s), s FROM dh.{table_name}_long").fetchone() == (20_000_000, "x" * 20_000_000)


def test_many_statements_in_one_execute(con, table_name):
    con.execute(f"CREATE TABLE dh.{table_name}(i INTEGER); INSERT INTO dh.{table_name} VALUES (1); INSERT INTO dh.{table_name} VALUES (2)")
    assert con.execute(f"BEGIN; DELETE FROM dh.{table_name}; ROLLBACK; SELECT count(*) FROM dh.{table_name}").fetchone() == (2,)


def test_an_order_that_was_asked_for_is_kept(local_cluster):
    """Also when insertion order need not be, by whatever threads, and when the statement comes again."""
    with attached(local_cluster, threads=4) as client:
        client.execute("CREATE TABLE dh.to_sort AS SELECT range * 7919 % 1000003 AS n FROM range(1_000_000)")
        client.execute("SET preserve_insertion_order = false")
        for distribution in ("never", "always"):
            client.execute(f"SET duckherder_distribution = '{distribution}'")
            for _ in range(4):
                numbers = client.execute("SELECT n FROM dh.to_sort ORDER BY n").fetchnumpy()["n"]
                assert len(numbers) == 1_000_000
                assert (numbers[:-1] < numbers[1:]).all()


def test_scans_of_a_statement_that_begin_at_once(local_cluster):
    """A local table keeps the statement here; each part asks the driver on a thread of its own."""
    with attached(local_cluster, threads=8) as client:
        client.execute("CREATE TABLE dh.few AS SELECT range AS id FROM range(10)")
        client.execute("CREATE TABLE here AS SELECT 1 AS one")
        parts = ", ".join(f"(SELECT sum(id) AS n FROM dh.few WHERE id >= {part}) p{part}" for part in range(8))
        for length in range(120):
            # a text of another length every time: what is kept of it is allocated anew
            sql = f"SELECT p0.n, p7.n FROM {parts}, here -- {'x' * (length % 50) * 10}"
            assert client.execute(sql).fetchall() == [(45, 24)]


def test_parameters_beside_built_in_macros(local_cluster):
    """nullif and list_sum are macros of the client's DuckDB, too; the statement goes to the driver whole all the same."""
    with attached(local_cluster) as client:
        client.execute("CREATE TABLE dh.with_macros AS SELECT range % 3 AS g, [range, 2] AS l FROM range(200000)")
        grouped = "SELECT nullif(g, ?) AS g, count(*) AS n FROM dh.with_macros GROUP BY 1 ORDER BY ALL"
        assert client.execute(grouped, [1]).fetchall() == [(0, 66667), (2, 66666), (None, 66667)]
        assert last_statistics(client, "nullif")["merge_strategy"] == "GROUP_BY"
        named = "SELECT sum(list_sum(l) + $more) FROM dh.with_macros WHERE g = $g"
        assert client.execute(named, {"more": 1, "g": 0}).fetchall() == [(66667 * 3 + sum(range(0, 200000, 3)),)]
        assert last_statistics(client, "$more")["merge_strategy"] == "AGGREGATE"
        changed = client.execute("UPDATE dh.with_macros SET g = nullif(g, ?) WHERE g = ?", [2, 2])
        assert changed.fetchall() == [(66666,)]
        client.executemany("INSERT INTO dh.with_macros SELECT nullif(?, 5), [1]", [[5], [6]])
        assert client.execute("SELECT count(*), max(g) FROM dh.with_macros").fetchall() == [(200002, 6)]
        client.execute("PREPARE with_macro AS SELECT count(nullif(g, $1)) + $2 FROM dh.with_macros")
        assert client.execute("EXECUTE with_macro(1, 10)").fetchall() == [(66667 + 1 + 10,)]
        with pytest.raises(duckdb.InvalidInputException, match="not provided for the following parameters: 2"):
            client.execute("SELECT nullif(g, ?) + ? FROM dh.with_macros", [1])
