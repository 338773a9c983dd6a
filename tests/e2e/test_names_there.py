"""What names mean in statements that run on the driver, and what of them only the client can tell: as in plain DuckDB."""

from __future__ import annotations

import sys

import duckdb
import pytest

from e2e.test_session_of_client import outcome
from harness.client import attached, plain
from harness.cluster import Cluster
from harness.wait import within

QUERY_FUNCTIONS = """
    CREATE TABLE dh.t AS SELECT range i, 'v' || range v FROM range(5)
    CREATE TABLE dh.t2 AS SELECT range + 10 i, 'w' || range v FROM range(3)
    CREATE SCHEMA dh.k
    CREATE TABLE dh.k.t AS SELECT 99 i
    CREATE VIEW dh.q2 AS FROM query('SELECT max(i) m FROM dh.t')
    FROM dh.q2
    CREATE VIEW dh.k.q3 AS SELECT * FROM query('SELECT i, (SELECT count(*) FROM dh.k.t) c FROM dh.main.t') ORDER BY i
    FROM dh.k.q3
    CREATE VIEW dh.q4 AS FROM query_table(['dh.t', 'dh.t2'], true)
    FROM dh.q4 ORDER BY 1
    CREATE VIEW dh.q6 AS FROM query_table('dh.k.t')
    FROM dh.q6
    CREATE MACRO dh.qm(n) AS TABLE FROM query_table(n)
    FROM dh.qm('dh.t') ORDER BY 1
    FROM dh.qm('dh.k.t')
    FROM dh.qm(['dh.t', 'dh.t2']) ORDER BY 1
    CREATE MACRO dh.qs(s) AS TABLE FROM query(s)
    FROM dh.qs('SELECT max(dh.t.i), (SELECT max(i) FROM dh.k.t) FROM dh.main.t')
    CREATE MACRO dh.qd(n) AS TABLE FROM query('SELECT count(*) c FROM dh.' || n)
    SELECT c FROM dh.qd('t'), dh.t LIMIT 1
    CREATE MACRO dh.qe() AS TABLE FROM query('SELECT max(i) m FROM dh.t')
    FROM dh.qe()
    CREATE VIEW dh.bad AS FROM query('SELECT max(i) m FROM dh.nosuch')
    CREATE VIEW dh.bad AS FROM query('nonsense')
    USE dh
    FROM qm('dh.t') ORDER BY 1
    FROM qm('t') ORDER BY 1
    CREATE VIEW uq3 AS FROM query('SELECT max(i) FROM dh.t')
    FROM uq3
    USE memory
    FROM dh.uq3
"""

WHOLE_ROWS = """
    CREATE TABLE dh.t AS SELECT range i, 'v' || range v FROM range(3)
    CREATE SCHEMA dh.k
    CREATE TABLE dh.k.t AS SELECT 99 i
    SELECT dh.t FROM dh.t ORDER BY i
    SELECT dh.main.t FROM dh.t ORDER BY i
    SELECT dh.t FROM dh.k.t
    SELECT dh.a FROM dh.t a
    SELECT dh.nosuch FROM dh.t
    SELECT count(dh.t), max(dh.t), list(t ORDER BY t) FROM dh.t
    SELECT (dh.t).i, struct_extract(dh.t, 'v'), to_json(dh.t) FROM dh.t ORDER BY 1
    SELECT * FROM dh.t WHERE dh.t = {'i': 1, 'v': 'v1'}
    SELECT dh.t FROM dh.t GROUP BY dh.t ORDER BY dh.t
    SELECT (SELECT max(dh.t) FROM dh.t) FROM range(2)
    SELECT (SELECT max(dh.t) FROM dh.t), i FROM dh.k.t x
    SELECT row_number() OVER (ORDER BY dh.t) FROM dh.t
    CREATE VIEW dh.w2 AS SELECT dh.t FROM dh.t
    FROM dh.w2 ORDER BY 1
    CREATE TABLE dh.x AS SELECT dh.t FROM dh.t
    FROM dh.x ORDER BY 1
    CREATE TABLE dh.st AS SELECT {'st': 5, 'x': 6} AS dh, 1 i
    SELECT dh.st FROM dh.st
    SELECT dh.t FROM dh.t, dh.st ORDER BY ALL
    SELECT dh.t FROM (SELECT 1 t) dh, dh.t
    INSERT INTO dh.t VALUES (5, 'x') RETURNING dh.t
    DELETE FROM dh.t WHERE dh.t.i = 1 RETURNING dh.t
    USE dh
    SELECT dh.t FROM t ORDER BY i
    USE memory
"""

CALLED = """
    CREATE TABLE dh.t AS SELECT range i, 'v' || range v FROM range(3)
    CREATE TABLE memory.l AS SELECT 'w' w
    CREATE MACRO dh.upper(x) AS 'a macro'
    CREATE MACRO dh.mine(x) AS x || '!'
    CREATE MACRO dh.twice(x) AS dh.mine(dh.mine(x))
    CREATE MACRO dh.up2(x) AS upper(x)
    CREATE MACRO dh.up3(x) AS dh.upper(x)
    CREATE MACRO dh.up5(x) AS dh.up2(x) || dh.up3(x)
    CREATE MACRO dh.meth(x) AS x.upper()
    CREATE MACRO dh.deflt(x, y := 'b') AS upper(x || y)
    CREATE MACRO dh.part(x) AS upper(x) || (SELECT max(upper(v)) FROM dh.t)
    CREATE MACRO dh.sum(x) AS 5
    CREATE MACRO dh.ag(x) AS sum(x) + 1
    CREATE MACRO dh.tm(n) AS TABLE SELECT n + i AS s, dh.mine(v) AS m, upper(v) u FROM dh.t
    SELECT v.upper(), t.v.upper(), t.v.lower().upper() FROM dh.t ORDER BY i
    SELECT "v.upper()" FROM (SELECT v.upper() FROM dh.t) ORDER BY 1
    SELECT main.upper(v), system.main.upper(v), dh.main.upper(v) FROM dh.t ORDER BY i
    SELECT dh.twice(v), dh.up2(v), dh.up3(v), dh.up5(v), dh.meth(v) FROM dh.t ORDER BY i
    SELECT dh.deflt(v), dh.deflt(v, y := 'c'), dh.part(v) FROM dh.t ORDER BY i
    SELECT dh.up2(dh.up2(v)) x FROM dh.t WHERE dh.up2(v) = 'V1'
    SELECT dh.up2() FROM dh.t
    SELECT dh.ag(i), dh.sum(i), sum(i) FROM dh.t
    SELECT list_transform([v], lambda x: x.upper()), [x.upper() for x in [v]] FROM dh.t ORDER BY i
    FROM dh.tm(1) ORDER BY ALL
    SELECT m, u, i FROM dh.tm(1), dh.t WHERE s = i + 1 ORDER BY ALL
    SELECT dh.twice(w), dh.mine(w) FROM l
    SELECT dh.twice(w), v FROM l, dh.t ORDER BY ALL
    SELECT m, w FROM dh.tm(1), l ORDER BY ALL
    PREPARE p AS SELECT dh.up2($1), v.upper() FROM dh.t ORDER BY i
    EXECUTE p('q')
    CREATE VIEW dh.vw AS SELECT v.upper() a, dh.upper(v) b, upper(v) c, main.upper(v) d FROM dh.t
    FROM dh.vw ORDER BY ALL
    SELECT #1, i FROM dh.t ORDER BY #2 LIMIT 1
    USE dh
    SELECT v.upper(), upper(v), main.upper(v) FROM t ORDER BY i
    SELECT up2(v), up3(v), meth(v) FROM t ORDER BY i
    FROM tm(1) ORDER BY ALL
    USE memory
"""

NAMED_OTHERWISE = """
    CREATE TABLE dh.t AS SELECT range i, 'v' || range v FROM range(3)
    CREATE TABLE dh.many AS SELECT range i, 'v' || range v FROM range(300000)
    CREATE TABLE memory.l AS SELECT 'w' w
    CREATE SCHEMA dh.k
    CREATE MACRO dh.upper(x) AS 'a macro'
    CREATE MACRO dh.k.upper(x) AS 'of k'
    CREATE MACRO dh.f(x) AS main.upper(x)
    CREATE MACRO dh.f2(x) AS dh.upper(x)
    CREATE MACRO dh.f3(x) AS dh.main.upper(x)
    CREATE MACRO dh.f4(x) AS system.main.upper(x)
    CREATE MACRO dh.f5(x) AS dh.k.upper(x) || main.upper(x)
    CREATE MACRO dh.f6(x) AS dh.f(x) || dh.f2(x)
    CREATE MACRO dh.f7(x) AS (SELECT max(main.upper(v) || dh.upper(v)) FROM dh.t WHERE v <> x)
    CREATE MACRO dh.f8(x) AS x.upper() || list_transform([x], lambda y: main.upper(y))[1]
    CREATE MACRO dh.sum(x) AS -1
    CREATE MACRO dh.row_number() AS -2
    CREATE MACRO dh.w(x) AS TABLE SELECT main.sum(i) s, sum(i) s2, dh.sum(1) s3, max(main.upper(v)) u, max(dh.upper(v)) d, max(x) FROM dh.t
    CREATE MACRO dh.range(x) AS TABLE SELECT 'a table macro' r
    CREATE MACRO dh.r1() AS TABLE FROM main.range(2)
    CREATE MACRO dh.r2() AS TABLE FROM range(2)
    SELECT dh.f('a'), dh.f(v), main.upper(v), upper(v), dh.upper(v), dh.main.upper(v), dh.k.upper(v) FROM dh.t
    SELECT dh.f2('a'), dh.f2(v), dh.f3(v), dh.f4(v), dh.f5(v), dh.f6(v), dh.f7(v), dh.f8(v) FROM dh.t
    SELECT dh.f('a'), dh.f2('a'), dh.f3('a'), dh.f4('a'), dh.f5('a'), dh.f6('a'), dh.f7('a'), dh.f8('a')
    SELECT dh.f(w), dh.f2(w), dh.f3(w), dh.f4(w), dh.f5(w), dh.f6(w), dh.f7(w), dh.f8(w) FROM l
    SELECT count(DISTINCT dh.f(v)), count(DISTINCT upper(v)), count(DISTINCT dh.upper(v)), sum(i), dh.sum(1) FROM dh.many
    FROM dh.w('x')
    SELECT * FROM dh.w('x'), l
    FROM dh.r1() UNION ALL FROM dh.r2()
    FROM dh.range(2)
    SELECT row_number() OVER (), dh.row_number(), main.sum(i) OVER () FROM dh.t ORDER BY ALL
    PREPARE p AS SELECT main.upper(v), upper(v), dh.upper(v), dh.main.upper(v), dh.f(v), dh.f2(v), $1 FROM dh.t
    EXECUTE p(1)
    CREATE VIEW dh.vw AS SELECT main.upper(v) a, upper(v) b, dh.upper(v) c, dh.f(v) d, dh.f2(v) e, sum(i) FROM dh.t GROUP BY ALL
    FROM dh.vw ORDER BY ALL
    SELECT *, main.upper(b) FROM dh.vw ORDER BY ALL
    CREATE TABLE dh.g(a VARCHAR, m VARCHAR AS (main.upper(a)), u VARCHAR AS (upper(a)), d VARCHAR AS (dh.upper(a)), f VARCHAR AS (dh.f(a)))
    INSERT INTO dh.g VALUES ('q')
    FROM dh.g
    SELECT a, m, u, d, w FROM dh.g, l
    CREATE TABLE dh.d(z INT, m VARCHAR DEFAULT main.upper('m'), u VARCHAR DEFAULT upper('u'), d VARCHAR DEFAULT dh.upper('d'), f VARCHAR DEFAULT dh.f('f'))
    INSERT INTO dh.d(z) VALUES (1)
    INSERT INTO dh.d(z) SELECT length(w) FROM l
    ALTER TABLE dh.d ALTER u SET DEFAULT main.upper('x') || dh.upper('y')
    INSERT INTO dh.d(z) VALUES (2)
    FROM dh.d ORDER BY ALL
    CREATE TABLE dh.c(a VARCHAR CHECK (main.upper(a) <> 'a macro'), CHECK (upper(a) <> 'a macro'))
    INSERT INTO dh.c VALUES ('q')
    CREATE TABLE dh.c2(a VARCHAR CHECK (dh.upper(a) <> 'a macro'))
    INSERT INTO dh.c2 VALUES ('q')
    CREATE INDEX ix ON dh.t(upper(v), main.upper(v))
    CREATE INDEX iy ON dh.t(dh.upper(v))
    SELECT v FROM dh.t WHERE upper(v) = 'V1'
    UPDATE dh.t SET v = main.upper(v) || dh.upper(v) WHERE upper(v) = 'V2' RETURNING v, upper(v)
    CREATE TABLE dh.cta AS SELECT upper(v) a, main.upper(v) b, dh.upper(v) c FROM dh.t
    FROM dh.cta ORDER BY ALL
    CREATE TABLE dh.duckdb_tables(i INT)
    INSERT INTO dh.duckdb_tables VALUES (7)
    SELECT i FROM dh.duckdb_tables
    WITH duckdb_tables AS (SELECT 8 i) SELECT a.i, b.i FROM duckdb_tables a, dh.duckdb_tables b
    DROP TABLE dh.duckdb_tables
    CREATE TABLE dh.sqlite_master AS SELECT 5 i
    ALTER TABLE dh.sqlite_master ADD COLUMN j INT DEFAULT 6
    COMMENT ON TABLE dh.sqlite_master IS 'a table'
    SELECT i, j FROM dh.sqlite_master
    WITH c AS (SELECT 10 i) INSERT INTO dh.sqlite_master(i) SELECT i FROM c
    INSERT INTO dh.sqlite_master(i) VALUES (length('with'))
    WITH sqlite_master AS (SELECT 20 i) INSERT INTO dh.sqlite_master(i) SELECT i FROM sqlite_master
    WITH sqlite_master AS (SELECT 21 i) INSERT INTO dh.sqlite_master(i) SELECT max(i) + 1 FROM dh.sqlite_master
    INSERT INTO dh.main.sqlite_master(i) FROM (WITH duckdb_tables AS (SELECT 30 i) FROM duckdb_tables)
    WITH c AS (SELECT 10 i) UPDATE dh.sqlite_master SET j = 7 FROM c WHERE c.i = sqlite_master.i
    WITH c AS (SELECT 22 i) DELETE FROM dh.sqlite_master USING c WHERE c.i = sqlite_master.i
    WITH c AS (SELECT 30 i) MERGE INTO dh.sqlite_master t USING c ON c.i = t.i WHEN MATCHED THEN UPDATE SET j = 8
    SELECT i, j FROM dh.sqlite_master ORDER BY ALL
    WITH c AS (SELECT 5 i) SELECT a.j FROM dh.sqlite_master a JOIN c USING (i)
    USE dh
    SELECT f('a'), f2('a'), f3('a'), f4('a'), f5('a'), f6('a'), f7('a'), f8('a')
    SELECT f(v), dh.f(v), main.upper(v), upper(v), dh.upper(v), f8(v) FROM t ORDER BY ALL
    EXECUTE p(2)
    FROM w('x')
    FROM r1()
    FROM r2()
    FROM range(2)
    FROM vw ORDER BY ALL
    FROM g
    INSERT INTO c VALUES ('q')
    INSERT INTO d(z) VALUES (3)
    FROM d ORDER BY ALL
    USE dh.k
    SELECT upper('a'), dh.main.f('a'), dh.main.f3('a'), dh.main.f5('a')
    FROM dh.main.vw ORDER BY ALL
    USE memory
    FROM dh.g
    SELECT dh.f('a'), dh.f6('a')
    CREATE TABLE dh.made AS SELECT upper('x') u
    FROM dh.made
    DROP TABLE dh.made
    DROP TABLE dh.d
"""

BEYOND_REACH = """
    CREATE TABLE dh.t AS SELECT range i, 'v' || range v FROM range(3)
    CREATE MACRO dh.mine(x) AS x || '!'
    CREATE MACRO dh.tabm() AS TABLE FROM dh.t
    CREATE MACRO dh.f3(x) AS mine(x)
    CREATE MACRO dh.f4(x) AS main.mine(x)
    CREATE MACRO dh.f5(x) AS nosuch(x)
    CREATE MACRO dh.tm() AS TABLE SELECT * FROM t
    CREATE MACRO dh.tm2() AS TABLE SELECT mine(v) FROM dh.t
    CREATE MACRO dh.tm3() AS TABLE FROM main.t
    CREATE MACRO dh.tm4() AS TABLE FROM tabm()
    CREATE MACRO dh.tm5() AS TABLE WITH t AS (SELECT 1 one) FROM t
    FROM dh.tm5()
    CREATE MACRO dh.sc() AS (SELECT count(*) FROM t)
    CREATE MACRO dh.ok(x) AS dh.mine(x) || upper(x) || (SELECT max(v) FROM dh.t)
    SELECT dh.ok('a')
    FROM dh.tm()
    SELECT dh.f3('a')
    CREATE VIEW dh.v AS SELECT mine(v) m FROM t
    FROM dh.v ORDER BY ALL
    USE dh
    CREATE MACRO f6(x) AS mine(x)
    SELECT f6('a'), dh.f6('b')
    CREATE MACRO tm6() AS TABLE SELECT mine(v) m FROM t
    FROM tm6() ORDER BY ALL
    USE memory
"""

DESCRIBED = """
    CREATE TABLE dh.t(i INT PRIMARY KEY, v VARCHAR DEFAULT 'x')
    CREATE SCHEMA dh.k
    CREATE TABLE dh.k.t(j DATE)
    CREATE VIEW dh.p1 AS SELECT * FROM pragma_table_info('dh.t')
    FROM dh.p1
    CREATE VIEW dh.p2 AS SELECT name FROM pragma_table_info('dh.k.t') UNION ALL SELECT name FROM pragma_table_info('dh.main.t')
    FROM dh.p2
    CREATE MACRO dh.p3() AS TABLE SELECT cid, name FROM pragma_table_info('dh.t')
    FROM dh.p3()
    CREATE VIEW dh.p4 AS SELECT * FROM pragma_table_info('t')
    CREATE VIEW dh.p5 AS SELECT * FROM pragma_table_info('dh.nosuch')
    SELECT p1.name, t.i FROM dh.p1, dh.t
    ALTER TABLE dh.t ADD COLUMN z INT
    FROM dh.p1
    USE dh
    FROM p1
    FROM p3()
    USE memory
    FROM dh.p3()
"""

TELLING = """
    CREATE TABLE dh.o AS SELECT 1 a, 2 b
    CREATE VIEW dh.m1 AS SELECT table_name FROM duckdb_tables() WHERE database_name = 'dh'
    FROM dh.m1 ORDER BY ALL
    CREATE VIEW dh.m2 AS SELECT table_name FROM information_schema.tables WHERE table_catalog = 'dh'
    FROM dh.m2 ORDER BY ALL
    CREATE VIEW dh.m3(x) AS SELECT column_name FROM duckdb_columns() WHERE table_name = 'o'
    SELECT m3.x, o.a FROM dh.m3, dh.o ORDER BY ALL
    CREATE VIEW dh.m4 AS SELECT m1.table_name, o.* FROM dh.m1, dh.o
    FROM dh.m4 ORDER BY ALL
    CREATE VIEW dh.m6 AS SELECT current_database() d, current_schema() s, current_catalog c
    FROM dh.m6
    CREATE VIEW dh.m7 AS SELECT database_name FROM duckdb_databases() WHERE NOT internal
    FROM dh.m7 ORDER BY ALL
    CREATE VIEW dh.m9 AS SELECT name FROM sqlite_master
    FROM dh.m9 ORDER BY ALL
    CREATE VIEW dh.m11 AS SELECT * FROM (SHOW TABLES FROM dh)
    FROM dh.m11
    CREATE MACRO dh.tabs() AS TABLE SELECT table_name FROM duckdb_tables() WHERE database_name = 'dh'
    FROM dh.tabs() ORDER BY 1
    CREATE MACRO dh.here() AS current_database()
    SELECT dh.here(), a FROM dh.o
    CREATE MACRO dh.many() AS (SELECT count(*) FROM duckdb_tables() WHERE database_name = 'dh')
    SELECT dh.many(), a FROM dh.o
    INSERT INTO dh.o SELECT count(*), dh.many() FROM dh.m1
    FROM dh.o ORDER BY ALL
    CREATE TABLE dh.pg_class AS SELECT 'no listing' relname
    CREATE VIEW dh.m12 AS SELECT relname FROM dh.pg_class
    FROM dh.m12
    DESCRIBE dh.m1
    DROP VIEW dh.m1
    CREATE TABLE dh.m1 AS SELECT 'a table' table_name
    FROM dh.m1
    FROM dh.m4
    USE dh
    FROM m6
    SELECT here(), a FROM o ORDER BY ALL
    FROM tabs() ORDER BY 1
    USE memory
"""

PIVOTED = """
    CREATE TABLE dh.o(oid INT, cust INT, status VARCHAR, amt INT)
    INSERT INTO dh.o VALUES (1, 1, 'new', 5), (2, 1, 'paid', 6), (3, 2, 'new', 7)
    CREATE MACRO dh.f(x) AS x || '_'
    CREATE MACRO dh.dbl(x) AS x * 2
    FROM (PIVOT dh.o ON dh.f(status) USING sum(dh.dbl(amt)) GROUP BY cust) ORDER BY ALL
    CREATE VIEW dh.pv AS PIVOT dh.o ON dh.f(status) IN ('new_', 'paid_') USING sum(dh.dbl(amt)) GROUP BY cust
    FROM dh.pv ORDER BY ALL
    CREATE MACRO dh.pm() AS TABLE PIVOT dh.o ON dh.f(dh.o.status) IN ('new_', 'paid_') USING sum(amt) GROUP BY cust
    FROM dh.pm() ORDER BY ALL
"""

SCHEMAS = """
    CREATE SCHEMA dh.system
    CREATE TYPE dh.system.mood AS ENUM ('a', 'b')
    CREATE TYPE dh.mood AS ENUM ('e', 'f')
    CREATE TABLE dh.system.t(m dh.system.mood, i INT)
    INSERT INTO dh.system.t VALUES ('a', 1)
    SELECT 'a'::dh.system.mood, 'e'::dh.mood, ['b']::dh.system.mood[] FROM dh.system.t
    CREATE SEQUENCE dh.system.sq START 10
    SELECT nextval('dh.system.sq'), i FROM dh.system.t
    CREATE TABLE dh.system.d(i INT DEFAULT nextval('dh.system.sq'), j INT)
    INSERT INTO dh.system.d(j) VALUES (1), (2)
    FROM dh.system.d
    CREATE MACRO dh.system.m(x) AS x + 1
    CREATE MACRO dh.mm(x) AS dh.system.m(x) * 10
    SELECT dh.mm(i) FROM dh.system.t
    CREATE MACRO dh.mt() AS TABLE FROM dh.system.t
    FROM dh.mt()
    CREATE MACRO dh.mq() AS nextval('dh.system.sq')
    SELECT dh.mq() FROM dh.system.t
    CREATE MACRO dh.mc(x) AS x::dh.system.mood
    SELECT dh.mc('b') FROM dh.system.t
    CREATE TABLE dh.c(a VARCHAR, e dh.system.mood AS (a::dh.system.mood), CHECK (dh.system.m(1) = 2))
    INSERT INTO dh.c VALUES ('a')
    FROM dh.c
    ALTER TABLE dh.system.t ADD COLUMN k dh.system.mood DEFAULT 'a'
    FROM dh.system.t
    ALTER TABLE dh.system.t ALTER k TYPE VARCHAR USING k::dh.system.mood::VARCHAR
    ALTER TABLE dh.system.t ALTER k SET DEFAULT dh.system.m(1)::VARCHAR
    INSERT INTO dh.system.t(i) VALUES (2)
    FROM dh.system.t ORDER BY ALL
"""

AMBIGUOUS = """
    ATTACH ':memory:' AS s
    CREATE SCHEMA dh.s
    CREATE TABLE dh.s.t AS SELECT 'driver' w
    CREATE TABLE s.t AS SELECT 'client' w
    CREATE MACRO dh.s.f(x) AS x + 1
    CREATE TYPE dh.s.mood AS ENUM ('a')
    CREATE SEQUENCE dh.s.q
    FROM s.t
    FROM dh.s.t
    FROM s.main.t
    USE dh
    FROM s.t
    FROM dh.s.t
    FROM s.main.t
    SELECT s.t.w FROM s.main.t
    SELECT s.f(1)
    SELECT 'a'::s.mood
    SELECT nextval('s.q')
    CREATE TABLE s.u(i INT)
    INSERT INTO s.t VALUES ('x')
    UPDATE s.t SET w = 'x'
    DELETE FROM s.t
    ALTER TABLE s.t ADD COLUMN i INT
    COMMENT ON TABLE s.t IS 'x'
    DROP TABLE s.t
    CREATE VIEW s.v AS SELECT 1
    DESCRIBE s.t
    CREATE INDEX x ON s.t(w)
    TRUNCATE s.t
    FROM dh.s.t, s.main.t
    DROP SCHEMA dh.s CASCADE
    FROM s.t
    USE memory
    FROM s.t
"""

RANDOM = """
    CREATE TABLE dh.t AS SELECT range i FROM range(5)
    SELECT setseed(0.5)
    SELECT random() FROM dh.t
    SELECT random(), i FROM dh.t
    SELECT setseed(0.5)
    SELECT random() FROM dh.t
    SELECT setseed(-0.3) FROM dh.t
    CREATE TABLE dh.r AS SELECT random() r FROM dh.t
    FROM dh.r ORDER BY ALL
    SELECT setseed(0.3)
    INSERT INTO dh.r SELECT random() FROM dh.t
    FROM dh.r ORDER BY ALL
    SELECT setseed(0.3), setseed(0.25)
    UPDATE dh.r SET r = random()
    FROM dh.r ORDER BY ALL
    PREPARE p AS SELECT random() FROM dh.t
    SELECT setseed(0.1)
    EXECUTE p
    SELECT setseed(0.1)
    EXECUTE p
    SELECT i FROM dh.t ORDER BY random()
    SELECT setseed(2)
    SELECT setseed(NULL)
    SELECT random() FROM dh.t
"""

MIXED = """
    CREATE TABLE dh.a AS SELECT range i, range % 3 g FROM range(10)
    CREATE TABLE memory.l AS SELECT range i FROM range(5)
    CREATE TABLE dh.k(i INT PRIMARY KEY, v VARCHAR DEFAULT 'd', g INT AS (i + 1))
    INSERT INTO dh.k(i) SELECT i FROM l
    INSERT OR REPLACE INTO dh.k(i) SELECT i + 1 FROM l
    FROM dh.k ORDER BY i
    WITH c AS NOT MATERIALIZED (SELECT * FROM dh.a JOIN l USING (i)) SELECT count(*) FROM c c1, c c2
    WITH c AS NOT MATERIALIZED (SELECT * FROM dh.a) SELECT count(*) FROM c c1, c c2, l
    CREATE TABLE dh.tables(name VARCHAR)
    INSERT INTO dh.tables SELECT table_name FROM duckdb_tables() WHERE database_name = 'dh'
    INSERT INTO dh.tables SELECT column_name FROM duckdb_columns() UNION ALL SELECT sequence_name FROM duckdb_sequences()
    CREATE TABLE dh.others AS SELECT table_name FROM information_schema.tables WHERE table_name <> 'others'
    FROM dh.others ORDER BY 1
    BEGIN
    INSERT INTO dh.tables SELECT table_name FROM duckdb_tables() WHERE database_name = 'dh'
    CREATE TABLE dh.more AS SELECT view_name FROM duckdb_views() WHERE database_name = 'dh'
    INSERT INTO dh.more SELECT table_name FROM duckdb_tables() WHERE database_name = 'dh'
    FROM dh.more ORDER BY 1
    COMMIT
    SELECT count(*) > 5 FROM dh.tables
"""

SCRIPTS = {
    "query functions": QUERY_FUNCTIONS,
    "whole rows": WHOLE_ROWS,
    "what is called": CALLED,
    "what is named otherwise": NAMED_OTHERWISE,
    "what is out of reach": BEYOND_REACH,
    "what describes tables": DESCRIBED,
    "what tells of the session": TELLING,
    "pivoted": PIVOTED,
    "schemas like databases": SCHEMAS,
    "schemas and databases": AMBIGUOUS,
    "random numbers": RANDOM,
    "with the client's": MIXED,
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_script(script):
    wrong = []
    with Cluster(2, 0) as cluster, attached(cluster.driver) as con, plain() as oracle:
        for sql in map(str.strip, script.strip().splitlines()):
            got, expected = outcome(con, sql), outcome(oracle, sql)
            if got != expected:
                wrong.append(f"{sql}\n  {got}\n  {expected}")
    assert not wrong, "\n".join(wrong)


def test_schemas_within_schemas_are_refused():
    with Cluster(1, 0) as cluster, attached(cluster.driver) as con:
        con.execute("CREATE SCHEMA dh.a")
        with pytest.raises(duckdb.NotImplementedException, match="a driver has no schemas within schemas"):
            con.execute("CREATE SCHEMA dh.a.b")
        con.execute("CREATE TABLE dh.a.t AS SELECT 1 i")
        assert con.execute("FROM dh.a.t").fetchall() == [(1,)]


def test_a_relation_is_read_twice():
    """DuckDB copies its plan then, where it can."""
    with Cluster(1, 0) as cluster, attached(cluster.driver) as con, plain() as oracle:
        for each in (con, oracle):
            each.execute("CREATE TABLE dh.t AS SELECT range i FROM range(10)")
            twice = each.table("dh.t")
            assert each.sql("SELECT count(*) FROM twice a, twice b").fetchall() == [(100,)]


def test_variables_of_any_depth():
    """Those that are nested too deeply to travel stay with the client, where they mean the same."""
    with Cluster(1, 0) as cluster, attached(cluster.driver) as con, plain() as oracle:
        for each in (con, oracle):
            each.execute("CREATE TABLE dh.t AS SELECT 1 i")
            each.execute("CREATE MACRO dh.told(name) AS getvariable(name)")
        for levels in (190, 400):
            sql = f"SET VARIABLE deep = {'[' * levels}1{']' * levels}"
            assert outcome(con, sql) == outcome(oracle, sql)
            sql = "SELECT getvariable('deep')::VARCHAR FROM dh.t"
            assert outcome(con, sql) == outcome(oracle, sql), levels
            if levels < 200:
                sql = "SELECT dh.told('deep')::VARCHAR, i FROM dh.t"
                assert outcome(con, sql) == outcome(oracle, sql), levels


def test_views_name_no_table_of_other_databases_of_the_client():
    """The driver may have a database of that name."""
    with Cluster(1, 0) as cluster, attached(cluster.driver) as con:
        con.execute("CREATE TABLE memory.l AS SELECT 'client' w")
        con.execute("CREATE TABLE dh.l AS SELECT 'driver' w")
        for name in ("memory.l", "memory.main.l"):
            with pytest.raises(duckdb.NotImplementedException, match="which is of a database of the client's"):
                con.execute(f"CREATE VIEW dh.v AS SELECT w FROM {name}")
        con.execute("CREATE VIEW dh.v AS SELECT w FROM dh.l")
        assert con.execute("FROM dh.v").fetchall() == [("driver",)]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a process has used")
def test_comparing_with_a_value_of_a_large_enum():
    with Cluster(2, 0) as cluster, attached(cluster.driver) as con:
        con.execute("CREATE TYPE dh.en AS ENUM (SELECT 'v' || range FROM range(70000))")
        con.execute("CREATE TABLE dh.t AS SELECT ('v' || range)::dh.en e, range i FROM range(70000)")
        con.execute("SELECT i FROM dh.t WHERE e = 'v1'").fetchall()
        begun = cluster.driver.cpu_seconds()
        for number in range(2, 22):
            assert con.execute(f"SELECT i FROM dh.t WHERE e = 'v{number}'").fetchall() == [(number,)]
        # Each took half a second.
        within(cluster.driver.cpu_seconds() - begun, 5)
