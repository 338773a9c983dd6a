"""Constant expressions keep their types and names while a driver is attached, in statements over local tables, too.

DuckDB evaluates them before it binds a statement as soon as a remote catalog is attached, and takes the values for
literals: `t + 10::INT` would become `t + 10`, of another type.
"""

from __future__ import annotations

import re

import duckdb
import pytest

from harness.client import attached, plain

TABLES = [
    """CREATE TABLE dh.t AS SELECT 120::TINYINT t, 1 a, '2' v, '{"a":1}'::JSON j""",
    "CREATE TABLE lo AS SELECT 120::TINYINT t, 1 a, '2' v, '{\"a\":1}'::JSON j",
    "CREATE TABLE dh.g AS SELECT range id, [range, 1] l FROM range(5)",
    "CREATE TABLE lg AS SELECT range id, [range, 1] l FROM range(5)",
    "CREATE MACRO f(a, b) AS a + b",
    "CREATE MACRO dh.df(a, b) AS a * b",
]
# Columns are written as $t, $a ...
EXPRESSIONS = [
    "$t + 10::INT", "$t + (5+5)", "$t + ascii('a')", "typeof($t+1::INT)", "typeof([$t,1+1])", "($t & (1+1))::BIT",
    "$a+(1+1)", "coalesce($t, 1::INT)", "$a > '0'::VARCHAR", "coalesce($a,'x'::VARCHAR)", "[$a,'1'||'2']",
    "nullif($a,1::INT)", "nullif(1+1,$a)", "f($a,1+2)", "f(1+1,$a)", "list_append([1,2],$a)",
    "date_add(DATE '2020-01-01', to_days($a::INT))", "CASE WHEN $a=1+0 THEN 1+1 ELSE $t END", "greatest($t,1+1)",
    "-(1+2)*$t", "1+1", "nullif(1+1,2)", "$j['a'||'']", "$a = 1+0 OR false", "$v||('a'||'b')", "$a BETWEEN 0+1 AND 2*3",
    "(SELECT max(id)+(1+1) FROM dh.g)", "(SELECT max(id)+(1+1) FROM lg WHERE id < 2+2)", "$a IN (1+1, 3-2)",
    "round($a/3.0, 1+1)", "dh.df($a,1+2)", "sum($a+(1+1))", "sum($t + 10::INT)", "string_agg($v, '-'||'-')",
    "count(*) FILTER ($a > 0+0)", "$t::INT + 10 + 1", "10/(1-1)", "DATE '2020-01-01' + INTERVAL 1 DAY",
]
STATEMENTS = [
    "SELECT a+2, count(*) FROM dh.t GROUP BY a+(1+1)", "SELECT a+(1+1), count(*) FROM dh.t GROUP BY a+(1+1)",
    "SELECT a+(1+1), count(*) FROM lo GROUP BY ALL ORDER BY 1+0",
    'SELECT "(a + (1 + 1))" FROM (SELECT a+(1+1) FROM dh.t)', 'SELECT "(a + (1 + 1))" FROM (SELECT a+(1+1) FROM lo)',
    "SELECT COLUMNS('.*1.*') FROM (SELECT a+(1+1), t FROM dh.t)",
    "UPDATE lo SET a=nullif(1+1,a)", "UPDATE dh.t SET a=nullif(1+1,a)", "UPDATE dh.t SET t = t + (1+1)",
    "UPDATE dh.t SET a = (SELECT sum(id)+(1+1) FROM lg)", "INSERT INTO dh.t(t,a) SELECT t+(1-1), a+(1+1) FROM lo",
    "INSERT INTO lo(t,a) SELECT t+(1-1), a+(1+1) FROM dh.t", "INSERT INTO dh.t(a) VALUES (1+1),(nullif(1+1,2))",
    "INSERT INTO lo(a) VALUES (1+1),(nullif(1+1,2))", "DELETE FROM lo WHERE a = 1+1+100", "DELETE FROM dh.t WHERE a = 1+1+100",
    "CREATE TABLE x1 AS SELECT a+(1+1), t+(1+1) FROM lo", "CREATE TABLE dh.x2 AS SELECT a+(1+1), t+(1+1) FROM lo",
    "CREATE TABLE dh.x3 AS SELECT a+(1+1), t+(1+1) FROM dh.t", "CREATE TABLE x4 AS SELECT a+(1+1), t+(1+1) FROM dh.t",
    "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name LIKE 'x_'",
    "CREATE VIEW dh.view AS SELECT a+(1+1) FROM dh.t", "SELECT * FROM dh.view",
    "CREATE VIEW here AS SELECT a+(1+1), nullif(a,1::INT) FROM lo", "SELECT * FROM here, dh.t",
    "SELECT sql FROM duckdb_views() WHERE view_name IN ('view','here')",
    "SELECT list_transform([1+1,2], x -> x + (1+1)) FROM lo", "SELECT list_transform(l, x -> x + (1+1)) FROM dh.g",
    "SELECT * FROM range(1+1) r(i), dh.g WHERE i = id", "SELECT * FROM range(1+1)",
    "SELECT * FROM generate_series(1+1, 2*3) g(x) JOIN lo ON x = a+(1+1)",
    "WITH c AS (SELECT a+(1+1) AS b FROM dh.t) SELECT b+(1+1) FROM c, lo", "PIVOT dh.g ON id % (1+1) USING sum(id+(1+1))",
    "PIVOT lg ON id % (1+1) USING sum(id+(1+1))", "SELECT a FROM lo LIMIT 1+1", "SELECT a FROM dh.t ORDER BY a LIMIT 1+1 OFFSET 1-1",
    "SELECT typeof(now()), random() < 2+0 FROM lo", "SELECT 100::TINYINT + 100::TINYINT FROM dh.t",
    "SELECT a, sum(a+(1+1)) OVER (ORDER BY a, t ROWS BETWEEN 1+1 PRECEDING AND CURRENT ROW) FROM dh.t",
    "MERGE INTO dh.t USING lg ON a = id+(1+1) WHEN MATCHED THEN UPDATE SET t = 1+1 WHEN NOT MATCHED THEN INSERT (a) VALUES (id+(1+1))",
    # Names that the user gave, and places behind blanks and comments.
    'SELECT t+(1+1) AS "(1 + 1)", 1 + 1 AS "(1 + 2)", 1+1 AS "(2 + 1)", t & (2 + 1) AS "(1 + 1)" FROM dh.t',
    "  \n SELECT 1 + 2, 'x' AS y, 1.5 AS z, typeof(1 + 1), typeof(t + (1 + 1)), nullif(1 /* + 2 */ + 1, 2), 11 + 1 FROM dh.t",
    'SELECT dh.t.a + (1+1), "dh".t.a, dh . t . a, T.A, dh.main.t.a, max(dh.t.a) OVER (), MAX( A ), -a FROM dh.t GROUP BY ALL',
    "SELECT max(dh.t.a), MAX(t.a), sum(A), count( * ), COUNT(*), extract(year FROM DATE '2020-01-01'), dh.df(2, a) FROM dh.t GROUP BY a",
    "SELECT 3 * 2 + 1, 1 + 2 * 3, 1 + 1 + 1, 2 - -1, t + (2 - 1), [1 + 1, t], {'a': 1 + 1}, a::DECIMAL(5, 1), a::BIGINT FROM dh.t",
    "SELECT typeof(x) FROM (SELECT t AS x FROM dh.t UNION ALL SELECT 1 + 1) UNION ALL SELECT typeof(x) FROM (SELECT t AS x FROM dh.t UNION ALL SELECT 1)",
    # An operation of which only a part is what the user calls it like.
    'SELECT - 1 + 2 AS "(1 + 2)", 1 + 2 * 3 AS "(1 + 2)", 2*1 + 2 AS "(1 + 2)", 3 - 1 + 2 AS "(1 + 2)", 1 + 2 % 2 AS "(1 + 2)" FROM dh.t',
    'SELECT 2 ** 1 + 2 AS "(1 + 2)", 1 + 2! AS "(1 + 2)", (1 + 2)::BIGINT AS "(1 + 2)", 1 + 2::BIGINT AS "(1 + 2)" FROM dh.t',
    'SELECT a FROM dh.t WHERE a = 1 AND (SELECT x."(1 + 2)" FROM (SELECT 1 + 2 * 3 AS "(1 + 2)") x) = 7',
    "SELECT 1; SELECT 1 + 1, 'x' AS y, t + (1 + 1), nullif(1 + 1, 2) AS n, typeof(t + (1 + 1)) FROM dh.t",
    "SELECT 1; SELECT 1 + 1, 1 + 1, 1 + 1, t + (1 + 1), t + (1 + 1), dh.t.a, t.a, a FROM dh.t",
    "SELECT * FROM dh.t", "SELECT * FROM lo", "SELECT (SELECT 1+1), a FROM lo WHERE a IN (SELECT id+(1+1) FROM dh.g)",
    "SELECT avg(3::DOUBLE), avg(3::DOUBLE) + 1", "SELECT max(3::FLOAT + t), quantile_cont(a, 0.1 + 0.4) FROM lo",
    "SELECT max(INTERVAL '72 hours'), max(DATE '2020-1-2'), max(TIMESTAMP '2020-01-01'), max(TIME '1:2:3') FROM lo",
    "SELECT max(DATE '2020-01-02'), max(UUID 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'), max(TRY_CAST('x' AS DATE)) FROM lo",
    "SELECT avg(3::DOUBLE) FROM lo UNION ALL SELECT a FROM dh.t", "SELECT (SELECT avg(3::DOUBLE) FROM lo) FROM dh.t",
    "PREPARE n AS SELECT avg(3::DOUBLE) + $1, avg(3::DOUBLE) FROM lo", "EXECUTE n(1)",
    "PREPARE p AS SELECT t+(1+1) FROM lo", "EXECUTE p", "PREPARE q AS SELECT nullif(a,$1)+(1+1), t+(1+1) FROM dh.t", "EXECUTE q(1)",
    "PREPARE r AS SELECT ?+(1+1), nullif(?,1)", "EXECUTE r(1,2)", "PREPARE s AS SELECT t+(1+1)+?, lg.id FROM dh.t, lg", "EXECUTE s(1)",
]
PARAMETERS = [
    ("SELECT nullif(1+1,?)", [2]), ("SELECT t+(?+1) FROM lo", [1]), ("SELECT a+(1+1)+? FROM dh.t", [1]),
    ("SELECT f(a,1+?) FROM lo", [1]), ("SELECT f(a,1+?) FROM dh.t", [1]), ("SELECT nullif(a,$x+1) FROM dh.t, lg", {"x": 1}),
]
MANY = [
    ("DELETE FROM dh.g WHERE nullif(id,?) IS NULL", [(1,), (2,)]), ("UPDATE dh.g SET id = nullif(id,?)", [(1,), (2,)]),
    ("INSERT INTO dh.g SELECT nullif(?,5),[1+1]", [(5,), (7,)]), ("INSERT INTO lg SELECT nullif(?,5),[1+1]", [(5,), (7,)]),
    ("INSERT INTO lg(id) VALUES (nullif(1+1,?))", [(2,)]), ("SELECT nullif(id,?) FROM dh.g", [(1,), (2,)]),
    ("SELECT nullif(?,5)", [(5,)]),
]  # fmt: skip


@pytest.fixture
def both(local_cluster):
    with attached(local_cluster) as con, plain() as oracle:
        for sql in ("t", "g", "x2", "x3"):
            con.execute(f"DROP TABLE IF EXISTS dh.{sql} CASCADE")
        con.execute("DROP VIEW IF EXISTS dh.view")
        con.execute("DROP MACRO IF EXISTS dh.df")
        for each in (con, oracle):
            for sql in TABLES:
                each.execute(sql)
        yield con, oracle


def outcome(con: duckdb.DuckDBPyConnection, sql: str, parameters=None, many: bool = False):
    """Names, types and rows, or the error."""
    try:
        result = con.executemany(sql, parameters) if many else con.execute(sql, parameters)
        columns = [(column[0], str(column[1])) for column in result.description]
        return columns, sorted(map(str, result.fetchall()))
    except duckdb.Error as error:
        return type(error).__name__, str(error)


def test_expressions(both):
    con, oracle = both
    wrong = []
    for expression in EXPRESSIONS:
        for source in ("dh.t t1", "lo t1", "dh.t t1, lo"):
            sql = re.sub(r"\$(\w)", r"t1.\1", expression)
            for query in (f"SELECT {sql} FROM {source}", f"SELECT * FROM (SELECT {sql} AS y FROM {source}) WHERE y IS NOT NULL"):
                got, expected = outcome(con, query), outcome(oracle, query)
                if got != expected:
                    wrong.append(f"{query}\n  {got}\n  {expected}")
    assert not wrong, "\n".join(wrong)


def test_statements(both):
    con, oracle = both
    calls = [(sql, None, False) for sql in STATEMENTS]
    calls += [(sql, values, False) for sql, values in PARAMETERS] + [(sql, values, True) for sql, values in MANY]
    calls += [("SELECT * FROM dh.g", None, False), ("SELECT * FROM lg", None, False)]
    wrong = []
    for call in calls:
        got, expected = outcome(con, *call), outcome(oracle, *call)
        if got != expected:
            wrong.append(f"{call}\n  {got}\n  {expected}")
    assert not wrong, "\n".join(wrong)


def test_what_is_of_the_client_is_evaluated_there(both):
    con, oracle = both
    wrong = []
    for each in both:
        each.execute("SET VARIABLE threshold = 1 + 1")
        each.execute("CREATE TYPE size AS ENUM ('small', 'large')")
        each.create_function("twice", lambda x: 2 * x, ["INTEGER"], "INTEGER")
        each.execute("CREATE SEQUENCE numbers")
    for sql in [
        "SELECT a + getvariable('threshold') FROM dh.t", "SELECT count(*) FROM dh.t WHERE a < getvariable('threshold') + (1-1)",
        "SELECT current_schema(), a FROM dh.t", "SELECT a + twice(1+1) FROM dh.t", "SELECT a + twice(1+1) FROM dh.t, lo",
        "SELECT ('sm' || 'all')::size, a FROM dh.t", "SELECT (1+1) + n AS m FROM range(nextval('numbers')) r(n)",
        "SELECT t1.a FROM dh.t t1, lo WHERE twice(t1.a) = 2",
        "SELECT 1+1, nextval('numbers')", "SELECT json_serialize_plan('SELECT 42')", "SELECT json_serialize_plan('SELECT 42'), a FROM lo", "SELECT now() = now() + INTERVAL 0 DAY, a FROM dh.t",
    ]:
        got, expected = outcome(con, sql), outcome(oracle, sql)
        if got != expected:
            wrong.append(f"{sql}\n  {got}\n  {expected}")
    assert not wrong, "\n".join(wrong)
