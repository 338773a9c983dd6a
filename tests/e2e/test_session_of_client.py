"""What of a client's session is no setting holds where its statements run: variables, search path, names of functions."""

from __future__ import annotations

import duckdb
import pytest

from harness.client import attached, plain
from harness.cluster import Cluster

MACROS = """
    CREATE TABLE dh.t AS SELECT (range % 5)::VARCHAR v, range i FROM range(300000)
    CREATE MACRO dh.upper(x) AS 'a macro'
    CREATE MACRO dh.abs(x) AS 42
    CREATE MACRO dh.sum(x) AS 5
    CREATE MACRO dh.row_number() AS 5
    CREATE MACRO dh.range(x) AS TABLE SELECT 77 r
    SELECT upper(v) u, sum(i), abs(min(i)) FROM dh.t GROUP BY ALL ORDER BY u
    SELECT max(rn) FROM (SELECT row_number() OVER (PARTITION BY v ORDER BY i) rn FROM dh.t)
    SELECT sum(i) OVER () FROM dh.t ORDER BY i LIMIT 1
    SELECT "sum(i)" FROM (SELECT sum(i) FROM dh.t)
    SELECT dh.upper(v), upper(dh.upper(v)) FROM dh.t LIMIT 1
    SELECT 1; SELECT dh.upper(v), lower('x') FROM dh.t LIMIT 1
    SELECT 1; SELECT upper(v) FROM dh.t ORDER BY v LIMIT 1
    CREATE MACRO dh.dbl(x) AS x * 2
    CREATE VIEW dh.named AS SELECT dh.dbl(i) FROM dh.t
    SELECT "dbl(i)" FROM dh.named ORDER BY ALL LIMIT 1
    SELECT count(*), max(range) FROM range(2), dh.t
    SELECT * FROM dh.range(3), (FROM dh.t LIMIT 1)
    CREATE VIEW dh.w AS SELECT upper(v) u FROM dh.t
    SELECT DISTINCT u FROM dh.w
    CREATE TABLE dh.made AS SELECT upper('a') AS u, abs(-1) AS a FROM dh.t LIMIT 1
    INSERT INTO dh.made SELECT upper('b'), abs(-2) FROM dh.t LIMIT 1
    UPDATE dh.made SET u = upper('c') WHERE a = abs(-2)
    FROM dh.made ORDER BY ALL
    PREPARE p AS SELECT sum(a), upper($1) FROM dh.made
    EXECUTE p('d')
    EXECUTE p('e')
    USE dh
    SELECT upper(v), sum(i) FROM t LIMIT 1
    SELECT upper('b')
    USE memory
    DROP MACRO dh.upper
    SELECT DISTINCT upper(v || 'x') u FROM dh.t ORDER BY u
"""

VARIABLES = """
    CREATE TABLE dh.t AS SELECT range i FROM range(300000)
    SET VARIABLE x = 7
    CREATE VIEW dh.w AS SELECT i + getvariable('x') y FROM dh.t
    SELECT sum(y) FROM dh.w
    SELECT sum(y) FROM dh.w
    SET VARIABLE x = 8::DECIMAL(5, 2)
    SELECT sum(y) FROM dh.w
    PREPARE p AS SELECT sum(y) FROM dh.w
    EXECUTE p
    SET VARIABLE x = 9::TINYINT
    EXECUTE p
    CREATE MACRO dh.m(name) AS getvariable(name)
    SELECT dh.m('x') FROM dh.t LIMIT 1
    SET VARIABLE x = {'a': [1::TINYINT, NULL], 'b': 'text'}
    SELECT dh.m('x') FROM dh.t LIMIT 1
    SET VARIABLE "another one" = 'b'::ENUM('a', 'b')
    SELECT dh.m('another one'), dh.m('x') FROM dh.t LIMIT 1
    INSERT INTO dh.t SELECT dh.m('y') FROM range(2)
    SELECT count(*), count(i) FROM dh.t
    RESET VARIABLE x
    SELECT dh.m('x'), dh.m('another one') FROM dh.t LIMIT 1
    SELECT i FROM dh.w LIMIT 1
    SET VARIABLE z = 3
    SELECT $z + i FROM dh.t WHERE i = 7
"""

SEARCH_PATH = """
    CREATE SCHEMA dh.k
    CREATE TABLE dh.k.t AS SELECT 1 i
    SET search_path = 'dh.k'
    CREATE TABLE u AS SELECT 2 j
    INSERT INTO t VALUES (3)
    FROM t ORDER BY 1
    CREATE VIEW v AS FROM t
    SELECT * FROM v, u ORDER BY ALL
    SELECT current_schema(), current_schemas(false)
    SET search_path = 'memory.main,dh.k'
    CREATE TABLE here AS SELECT 5 x
    FROM t, here ORDER BY ALL
    SELECT table_catalog, table_schema, table_name FROM information_schema.tables ORDER BY ALL
    RESET search_path
    USE dh.k
    CREATE TABLE k.made AS SELECT 1 a
    FROM dh.k.made
    USE dh
    FROM k.t ORDER BY ALL
    CREATE TABLE k.more(i INTEGER)
    INSERT INTO k.more VALUES (1)
    FROM dh.k.more
    USE memory
"""

TOLD = """
    CREATE TABLE dh.t AS SELECT 1 i, 'q' v
    SELECT alias(i), alias(i + 1), upper(alias(v)) FROM dh.t
    SELECT alias(i) AS n FROM dh.t
    SELECT current_query() FROM dh.t
    SELECT i, (SELECT length(current_query())) FROM dh.t WHERE current_query() LIKE '%dh.t%'
    SELECT i FROM dh.t ORDER BY current_query()
    SELECT * FROM (SELECT current_query() FROM dh.t)
    SELECT current_database(), current_schema(), current_catalog FROM dh.t
    CREATE TABLE dh.st AS SELECT {'st': 5, 'x': 6} AS dh, 1 i
    SELECT dh.st FROM dh.st
    SELECT dh.q FROM (SELECT 1 a) q, dh.t
    CREATE TABLE memory.t AS SELECT 9 i
    SELECT dh.main.t.i, memory.main.t.i FROM dh.t, memory.t
"""

TYPES = """
    CREATE TYPE memory.mood AS ENUM ('a', 'b')
    CREATE TYPE memory.here AS ENUM ('c')
    CREATE TYPE dh.mood AS ENUM ('x', 'y')
    CREATE TABLE dh.t(m mood, l mood[], h here)
    SELECT column_type FROM (DESCRIBE dh.t)
    INSERT INTO dh.t VALUES ('a', NULL, 'c')
    INSERT INTO dh.t VALUES ('x', ['y'], 'c')
    FROM dh.t
    SELECT 'a'::mood, 'x'::dh.mood FROM dh.t
    SELECT 'x'::mood FROM dh.t
    ALTER TABLE dh.t ADD COLUMN n mood
    SELECT column_type FROM (DESCRIBE dh.t)
    USE dh
    SELECT 'x'::mood
    CREATE TABLE made(m mood)
    INSERT INTO made VALUES ('y')
    FROM made
    USE memory
"""

SCHEMAS = """
    CREATE SCHEMA dh.memory
    CREATE TABLE dh.memory.t AS SELECT 1 i
    INSERT INTO dh.memory.t VALUES (2)
    UPDATE dh.memory.t SET i = 3 WHERE i = 2
    DELETE FROM dh.memory.t WHERE i = 1
    FROM dh.memory.t
    ALTER TABLE dh.memory.t ADD COLUMN j INTEGER
    CREATE VIEW dh.memory.v AS SELECT * FROM dh.memory.t
    FROM dh.memory.v
    CREATE SCHEMA dh.system
    CREATE TABLE dh.system.t AS SELECT 2 i
    CREATE INDEX x ON dh.system.t(i)
    FROM dh.system.t a, dh.memory.t b
    CREATE SCHEMA dh.temp
    CREATE TABLE dh.temp.t AS SELECT 3 i
    CREATE MACRO dh.temp.m(x) AS x + 1
    SELECT dh.temp.m(i) FROM dh.temp.t
    CREATE SCHEMA dh.dh
    CREATE TABLE dh.dh.t AS SELECT 4 i
    SELECT dh.dh.t.i FROM dh.dh.t
    DROP TABLE dh.temp.t
    DROP SCHEMA dh.memory
    DROP SCHEMA dh.memory CASCADE
    FROM dh.memory.t
    DROP SCHEMA dh.dh CASCADE
"""

SEQUENCES = """
    CREATE SEQUENCE memory.sq START 100
    CREATE SEQUENCE dh.sq START 5
    CREATE TABLE dh.t(i INTEGER DEFAULT nextval('sq'), j INTEGER)
    INSERT INTO dh.t(j) VALUES (1)
    INSERT INTO dh.t(j) SELECT range FROM range(2)
    ALTER TABLE dh.t ADD COLUMN k INTEGER DEFAULT nextval('dh.sq')
    ALTER TABLE dh.t ALTER j SET DEFAULT nextval('sq')
    INSERT INTO dh.t(i) VALUES (9)
    FROM dh.t ORDER BY ALL
    SELECT nextval('sq'), nextval('dh.sq')
"""

MACROS_AND_CTES = """
    CREATE TABLE dh.t AS SELECT 1 i
    CREATE MACRO dh.tm(a, b := 2) AS TABLE SELECT a + b + i AS s FROM dh.t
    WITH t AS (SELECT 9 i) SELECT s, i FROM dh.tm(1), t
    CREATE MACRO dh.s(a) AS (SELECT max(i) + a FROM dh.t)
    WITH t AS (SELECT 9 i) SELECT dh.s(i), i FROM t, dh.t b
    CREATE SCHEMA dh.k
    CREATE TABLE dh.k.t AS SELECT 5 i
    CREATE MACRO dh.k.s(a) AS (SELECT max(i) + a FROM dh.k.t)
    WITH t AS (SELECT 9 i) SELECT dh.k.s(i), i FROM dh.t
"""

STORED = """
    CREATE TABLE dh.o(oid INT, cust INT, status VARCHAR, amt INT)
    INSERT INTO dh.o VALUES (1,1,'new',5),(2,1,'paid',6),(3,2,'new',7)
    CREATE MACRO dh.dbl(x) AS x*2
    CREATE TYPE dh.mood AS ENUM('new','paid')
    CREATE VIEW dh.p AS PIVOT dh.o ON status IN ('new','paid') USING sum(amt) GROUP BY cust
    FROM dh.p ORDER BY ALL
    CREATE VIEW dh.p4 AS SELECT * FROM dh.o UNPIVOT (v FOR n IN (oid, cust))
    FROM dh.p4 ORDER BY ALL
    CREATE MACRO dh.pm(m) AS TABLE PIVOT dh.o ON status IN ('new','paid') USING sum(amt) GROUP BY cust
    FROM dh.pm(1) ORDER BY ALL
    CREATE VIEW dh.v1 AS DESCRIBE dh.o
    FROM dh.v1
    CREATE VIEW dh.v2 AS SUMMARIZE dh.o
    SELECT column_name FROM dh.v2
    CREATE VIEW dh.v3 AS SELECT * FROM (DESCRIBE dh.o)
    FROM dh.v3
    CREATE TABLE dh.c(a INT CHECK (dh.dbl(a)>2))
    INSERT INTO dh.c VALUES (1)
    INSERT INTO dh.c VALUES (2)
    CREATE TABLE dh.c2(a INT, c INT DEFAULT dh.dbl(4), d INT AS (dh.dbl(a)))
    INSERT INTO dh.c2(a) VALUES (3)
    FROM dh.c2
    ALTER TABLE dh.o ALTER amt TYPE VARCHAR USING dh.dbl(amt)::VARCHAR
    ALTER TABLE dh.o ADD COLUMN y INT DEFAULT dh.dbl(8)
    ALTER TABLE dh.o ALTER cust SET DEFAULT dh.dbl(3)
    INSERT INTO dh.o(oid) VALUES (9)
    FROM dh.o ORDER BY 1
    CREATE TABLE dh.c5(a VARCHAR, d dh.mood AS (a::dh.mood))
    INSERT INTO dh.c5 VALUES ('new')
    FROM dh.c5
    CREATE TABLE dh.c6(a VARCHAR CHECK (a::VARCHAR::dh.mood IS NOT NULL))
    INSERT INTO dh.c6 VALUES ('nix')
    CREATE VIEW dh.q1 AS FROM query_table('dh.c2')
    FROM dh.q1
    SELECT dh FROM dh.c2
    SELECT dh.c2.a, dh.main.c2.a FROM dh.c2
"""

SCRIPTS = {
    "macros": MACROS,
    "variables": VARIABLES,
    "search path": SEARCH_PATH,
    "told": TOLD,
    "types": TYPES,
    "schemas": SCHEMAS,
    "sequences": SEQUENCES,
    "macros and CTEs": MACROS_AND_CTES,
    "what is stored": STORED,
}


def outcome(con: duckdb.DuckDBPyConnection, sql: str):
    """Names, types and rows, or the type of the error."""
    try:
        result = con.execute(sql)
        columns = [(column[0], str(column[1])) for column in result.description or []]
        return columns, [tuple(map(str, row)) for row in result.fetchall()]
    except duckdb.Error as error:
        return type(error).__name__


def test_large_variables_stay_with_the_client():
    """What is called by a statement is a value there; others cost nothing."""
    with Cluster(1, 0) as cluster, attached(cluster.driver) as con, plain() as oracle:
        for sql in (
            "CREATE TABLE dh.t AS SELECT range i FROM range(10)",
            "SET VARIABLE small = 3",
            "SET VARIABLE big = repeat('x', 300000000)",
            "SELECT count(*) FROM dh.t WHERE i = getvariable('small')",
            "SET VARIABLE big = [1, 2, 3]",
            "CREATE VIEW dh.w AS SELECT list_contains(getvariable('big'), i) AS found FROM dh.t",
            "SELECT count(*) FROM dh.w WHERE found",
            "RESET VARIABLE big",
            "SELECT count(*) FROM dh.w WHERE found",
        ):
            assert outcome(con, sql) == outcome(oracle, sql), sql


DEEP = "WITH {ctes} SELECT sum(g) FROM c{last}"


def test_plans_may_be_deep():
    """Dozens of CTEs one on the other, EXISTS beside EXISTS: planned as quickly as by DuckDB."""
    with Cluster(2, 0) as cluster, attached(cluster.driver) as con, plain() as oracle:
        for each in (con, oracle):
            each.execute("CREATE TABLE dh.n AS SELECT i, i % 10 AS g FROM range(1000) r(i)")
        con.execute("SET duckherder_distribution = 'always'")
        steps = [f"c{n} AS (SELECT i, sum(g) AS g FROM {'dh.n' if n == 0 else f'c{n - 1}'} GROUP BY i)" for n in range(60)]
        exists = [f"EXISTS (SELECT 1 FROM dh.n m WHERE m.i = n.i + {k})" for k in range(24)]
        for sql in (
            DEEP.format(ctes=", ".join(steps), last=len(steps) - 1),
            "SELECT count(*) FROM dh.n WHERE " + " AND ".join(exists),
            "SELECT * FROM (" * 100 + "SELECT max(i) FROM dh.n" + ")" * 100,
        ):
            assert outcome(con, sql) == outcome(oracle, sql), sql[:200]


@pytest.mark.parametrize("remote", [False, True], ids=["local workers", "workers elsewhere"])
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_script(script, remote):
    wrong = []
    with Cluster(0 if remote else 2, 2 if remote else 0) as cluster, attached(cluster.driver) as con, plain() as oracle:
        for sql in map(str.strip, script.strip().splitlines()):
            got, expected = outcome(con, sql), outcome(oracle, sql)
            if got != expected:
                wrong.append(f"{sql}\n  {got}\n  {expected}")
    assert not wrong, "\n".join(wrong)
