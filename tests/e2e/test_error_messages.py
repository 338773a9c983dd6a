"""What a user reads of an error that a task met: DuckDB's message, with nothing of the fragment's text."""

from __future__ import annotations

import json

import duckdb
import pytest

from harness.client import attached, last_statistics, plain
from harness.cluster import Cluster

# Each row fails in the same way, so that it does not matter which one is met first.
ROWS = "SELECT i::INTEGER AS i, (i % 7)::INTEGER AS m, 'v' AS v, 300.0::DOUBLE AS d FROM range(300000) r(i)"
OTHER = "SELECT i::INTEGER AS i, 'w' AS w FROM range(200000) r(i)"

STATEMENTS = [
    "SELECT sum(v::INTEGER) FROM dh.t",
    "SELECT count(*) FROM dh.t WHERE v::INTEGER > 3",
    "SELECT CAST(v AS DATE) FROM dh.t ORDER BY 1",
    "SELECT m, sum(d::TINYINT) FROM dh.t GROUP BY m",
    "SELECT d::TINYINT FROM dh.t",
    "SELECT v::BOOLEAN FROM dh.t",
    "SELECT v::TIMESTAMP FROM dh.t",
    "SELECT v::INTERVAL FROM dh.t",
    "SELECT v::UUID FROM dh.t",
    "SELECT v::ENUM('a') FROM dh.t",
    "SELECT v::INTEGER[] FROM dh.t",
    "SELECT v::JSON FROM dh.t",
    "SELECT v::DECIMAL(3,1) FROM dh.t",
    "SELECT t.i, u.w::INTEGER FROM dh.t t JOIN dh.u u ON t.i = u.i",
    "SELECT t.m, sum(u.w::INTEGER) FROM dh.t t JOIN dh.u u ON t.i = u.i GROUP BY t.m",
    "SELECT count(*) FROM dh.t t JOIN dh.u u ON t.v::INTEGER = u.i",
    "SELECT count(*) FROM dh.t WHERE i IN (SELECT w::INTEGER FROM dh.u)",
    "SELECT row_number() OVER (PARTITION BY m ORDER BY v::INTEGER) FROM dh.t",
    "SELECT DISTINCT v::INTEGER FROM dh.t",
    "SELECT * FROM dh.t ORDER BY v::INTEGER LIMIT 5",
    "SELECT i // 0 FROM dh.t",
    "SELECT sum(i // 0) FROM dh.t",
    "SELECT sum(i % 0) FROM dh.t",
    "SELECT sum((d * 10000000)::INTEGER * 1000) FROM dh.t",
    "SELECT sum((m + 1000000000) * 1000) FROM dh.t WHERE m = 3",
    "SELECT error('boom') FROM dh.t",
    "SELECT sum(CASE WHEN i >= 0 THEN error('boom') ELSE 1 END) FROM dh.t",
    "SELECT strptime(v, '%Y') FROM dh.t",
    "SELECT regexp_matches(v, '(' || v) FROM dh.t",
    "SELECT json_extract(v, '$.a') FROM dh.t",
    "SELECT bitstring(v, 3) FROM dh.t",
    "SELECT list_value(v::INTEGER) FROM dh.t",
    "SELECT map([v, v], [1, 2]) FROM dh.t",
    "SELECT (SELECT i FROM dh.u) FROM dh.t",
    "CREATE TABLE dh.never AS SELECT v::INTEGER AS i FROM dh.t",
    "INSERT INTO dh.u SELECT v::INTEGER, v FROM dh.t",
]

# What DuckDB writes of the statement has other parts than the statement: the error points nowhere.
PLACELESS = ["SELECT count(*) FROM dh.t WHERE i IN (SELECT w::INTEGER FROM dh.u)"]


def failure(con, sql: str) -> tuple[str, str, str]:
    """The class of the error, its message, and the place that it points to."""
    try:
        con.execute(sql).fetchall()
    except duckdb.Error as error:
        message, _, place = str(error).partition("\n\nLINE ")
        return type(error).__name__, message, place
    return "no error", "", ""


@pytest.mark.parametrize("workers", [{"local_workers": 2}, {"remote_workers": 2}], ids=["local", "remote"])
def test_messages_are_those_of_plain_duckdb(workers):
    with Cluster(**workers) as cluster, attached(cluster) as con, plain() as oracle:
        for each in (con, oracle):
            each.execute(f"CREATE TABLE dh.t AS {ROWS}")
            each.execute(f"CREATE TABLE dh.u AS {OTHER}")
        con.execute("SET duckherder_distribution = 'always'")
        wrong = []
        for sql in STATEMENTS:
            expected, got = failure(oracle, sql), failure(con, sql)
            if sql in PLACELESS:
                expected = (*expected[:2], "")
            if got != expected or got[0] == "no error":
                wrong.append(f"{sql}\n  {got}\n  {expected}")
        assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("workers", [{"local_workers": 2}, {"remote_workers": 2}], ids=["local", "remote"])
def test_what_tasks_fail_with_is_what_the_driver_says(workers):
    """The statement runs once more, on the driver alone; inside a transaction, the error has ended that."""
    with Cluster(**workers) as cluster, attached(cluster) as con, plain() as oracle:
        for each in (con, oracle):
            each.execute(f"CREATE TABLE dh.t AS {ROWS}")
            each.execute("CREATE TABLE dh.into(n INTEGER)")
        con.execute("SET duckherder_distribution = 'always'")
        for each in (con, oracle):
            each.execute("BEGIN")
        sql = "SELECT sum(v::INTEGER) FROM dh.t"
        assert failure(con, sql)[:2] == failure(oracle, sql)[:2]
        assert failure(con, "FROM dh.t")[0] == failure(oracle, "FROM dh.t")[0] == "TransactionException"
        for each in (con, oracle):
            each.execute("ROLLBACK")
        assert "runs once more" not in cluster.driver.output()
        assert failure(con, sql) == failure(oracle, sql)
        assert "runs once more" in cluster.driver.output()
        # What a statement has changed when it fails is undone before it runs again.
        good = "CASE WHEN i < 250000 THEN '1' ELSE v END::INTEGER"
        assert failure(con, f"INSERT INTO dh.into SELECT {good} FROM dh.t") == failure(
            oracle, f"INSERT INTO dh.into SELECT {good} FROM dh.t"
        )
        con.execute("INSERT INTO dh.into SELECT i FROM dh.t")
        assert con.execute("SELECT count(*) FROM dh.into").fetchall() == [(300000,)]
        # The session's own choice holds again.
        assert con.execute("SELECT current_setting('duckherder_distribution')").fetchall() == [("always",)]
        con.execute("SELECT sum(i) FROM dh.t")
        assert last_statistics(con, "sum(i)")["execution_mode"] != "LOCAL"


PLACED = [
    "SELECT nosuch FROM dh.t",
    "select  i,\n   nosuch + 1\nfrom dh.t as x -- where",
    "SELECT nofunc(i) FROM dh.t WHERE v = 'it''s'",
    "SELECT sum(v) FROM dh.t",
    "SELECT i FROM dh.t WHERE nosuch IN (SELECT i FROM dh.u)",
    "SELECT i FROM dh.t WHERE i IN (SELECT nosuch FROM dh.u)",
    "WITH c AS (SELECT nosuch FROM dh.t) SELECT * FROM c",
    "SELECT t.i FROM dh.t t JOIN dh.u u ON t.i = u.nosuch",
    "SELECT i FROM dh.t UNION ALL SELECT nosuch FROM dh.u",
    "SELECT i, v::DATE FROM dh.t ORDER BY 1",
    "SELECT sum(CAST(v AS INTEGER)) AS s FROM dh.t WHERE i > 5",
    "SELECT dh.t.v::INTEGER, '\N{DUCK}' FROM dh.t",
    "INSERT INTO dh.u SELECT i, nosuch FROM dh.t",
    "INSERT INTO dh.u SELECT v::INTEGER, v FROM dh.t",
    "UPDATE dh.u SET i = w::INTEGER",
    "UPDATE dh.u SET i = nosuch WHERE i = 1",
    "DELETE FROM dh.u WHERE nosuch = 1",
    "CREATE TABLE dh.never AS SELECT v::INTEGER AS i FROM dh.t",
    "EXPLAIN SELECT nosuch FROM dh.t",
    "UPDATE dh.u SET i = nosuch RETURNING i",
    "CREATE VIEW dh.never AS SELECT nosuch FROM dh.t",
    "MERGE INTO dh.u USING dh.t ON u.i = t.i WHEN MATCHED THEN UPDATE SET w = nosuch",
    "SELECT v::NOSUCH FROM dh.t",
    "SELECT i, CAST([v] AS STRUCT(a INTEGER, b NOSUCH)[]) FROM dh.t",
    "EXPLAIN SELECT v::NOSUCH FROM dh.t",
    "CREATE TABLE dh.never(i NOSUCH)",
    "CREATE TABLE dh.never(i INTEGER, j INTEGER DEFAULT nosuch)",
    "CREATE MACRO dh.never(a) AS nosuch + a",
    "CREATE MACRO dh.never(a) AS TABLE SELECT nosuch FROM dh.t",
    "ALTER TABLE dh.u ALTER w TYPE NOSUCH",
]


def test_errors_on_the_driver_point_into_the_users_statement(local_cluster):
    with attached(local_cluster) as con, plain() as oracle:
        for each in (con, oracle):
            each.execute(f"CREATE OR REPLACE TABLE dh.t AS {ROWS}")
            each.execute(f"CREATE OR REPLACE TABLE dh.u AS {OTHER}")
        con.execute("SET duckherder_distribution = 'never'")
        differ = [f"{sql}\n  {got}\n  {expected}" for sql in PLACED
                  if (got := failure(con, sql)) != (expected := failure(oracle, sql)) or not got[2]]
        assert not differ, "\n".join(differ)


@pytest.mark.parametrize("distribution", ["never", "always"])
def test_errors_as_json(local_cluster, distribution):
    """The place, candidates and subtype are beside the message."""
    def said(con, sql: str):
        with pytest.raises(duckdb.Error) as caught:
            con.execute(sql).fetchall()
        return type(caught.value).__name__, json.loads(str(caught.value).partition(": ")[2])

    with attached(local_cluster) as con, plain() as oracle:
        for each in (con, oracle):
            each.execute(f"CREATE OR REPLACE TABLE dh.t AS {ROWS}")
            each.execute(f"CREATE OR REPLACE TABLE dh.u AS {OTHER}")
            each.execute("SET errors_as_json = true")
        con.execute(f"SET duckherder_distribution = '{distribution}'")
        beside = ["CREATE TABLE dh.t(i INTEGER)", "FROM dh.nosuch", "SELECT 'v'\n, v::INTEGER\nFROM dh.t"]
        differ = [f"{sql}\n  {got}\n  {expected}" for sql in PLACED + beside
                  if (got := said(con, sql)) != (expected := said(oracle, sql))]
        assert not differ, "\n".join(differ)
        for each in (con, oracle):
            each.execute("RESET errors_as_json")
        assert failure(con, PLACED[0]) == failure(oracle, PLACED[0])


@pytest.mark.parametrize("as_json", [False, True])
def test_errors_of_later_statements(local_cluster, as_json):
    """DuckDB takes a place in the whole text for one in the statement's own, and points there, or nowhere."""
    def said(con, sql: str):
        with pytest.raises(duckdb.Error) as caught:
            con.execute(sql).fetchall()
        message = str(caught.value)
        return type(caught.value).__name__, json.loads(message.partition(": ")[2]) if as_json else message

    with attached(local_cluster) as con, plain() as oracle:
        for each in (con, oracle):
            each.execute(f"CREATE OR REPLACE TABLE dh.t AS {ROWS}")
            each.execute(f"CREATE OR REPLACE TABLE dh.u AS {OTHER}")
            each.execute(f"SET errors_as_json = {as_json}")
        con.execute("SET duckherder_distribution = 'never'")
        # A DELETE has nothing that tells where its text was.
        later = [sql for sql in PLACED if not sql.startswith("DELETE")]
        statements = [first + sql for sql in later for first in ("FROM dh.u LIMIT 1; ", "SELECT 'a longer text';\n\n  ")]
        # DuckDB runs an UPDATE that has another text.
        statements += ["ALTER TABLE dh.u ADD COLUMN n INT DEFAULT nosuch()", "ALTER TABLE dh.u ADD COLUMN n INT DEFAULT (1 + 'a')"]
        statements += ["PREPARE wrong AS SELECT nosuch + $1 FROM dh.t"]
        differ = [f"{sql}\n  {got}\n  {expected}" for sql in statements
                  if (got := said(con, sql)) != (expected := said(oracle, sql))]
        assert not differ, "\n".join(differ)


def test_an_execution_that_fails_to_bind_points_nowhere(local_cluster):
    """What it runs was written elsewhere."""
    with attached(local_cluster) as con, plain() as oracle:
        for each in (con, oracle):
            each.execute(f"CREATE OR REPLACE TABLE dh.t AS {ROWS}")
            each.execute("PREPARE later AS SELECT i FROM dh.t WHERE $1 + INTERVAL 5 DAY > DATE '2024-01-01'")
        assert failure(con, "EXECUTE later('2024-01-10')") == failure(oracle, "EXECUTE later('2024-01-10')")
        assert failure(con, "EXECUTE later('2024-01-10')")[2] == ""


MISSING = """
    CREATE SCHEMA other.s
    CREATE TABLE other.s.customers(a INT)
    CREATE TABLE other.customerx(a INT)
    CREATE TABLE customerm(a INT)
    CREATE SCHEMA dh.k
    CREATE TABLE dh.k.customerk(a INT)
    CREATE TABLE dh.customerd(a INT)
    DROP TABLE dh.customerx
    DROP TABLE IF EXISTS dh.customerx
    DROP VIEW dh.customerx
    DROP VIEW dh.customerd
    DROP TYPE dh.nosuch
    DROP SEQUENCE dh.nosuch
    DROP MACRO dh.nosuch
    DROP MACRO TABLE dh.nosuch
    DROP TABLE dh.k.customer
    DROP TABLE dh.nosuch.customer
    ALTER TABLE dh.customerx ADD COLUMN b INT
    ALTER TABLE IF EXISTS dh.customerx ADD COLUMN b INT
    ALTER VIEW dh.nosuch RENAME TO other
    COMMENT ON TABLE dh.customerx IS 'x'
    COMMENT ON COLUMN dh.customerx.a IS 'x'
    COMMENT ON COLUMN dh.customerd.nosuch IS 'x'
    FROM dh.customerx
    INSERT INTO dh.customerx VALUES (1)
    USE dh
    FROM customerx
    DROP TABLE customerx
    ALTER TABLE customerx ADD COLUMN b INT
    COMMENT ON TABLE customerx IS 'x'
    COMMENT ON TABLE typo.k.customerk IS 'x'
    COMMENT ON COLUMN typo.k.customerk.a IS 'x'
    COMMENT ON VIEW typo.k.customerk IS 'x'
    COMMENT ON TYPE typo.k.customerk IS 'x'
    COMMENT ON MACRO typo.k.customerk IS 'x'
    COMMENT ON TABLE typo.customerk IS 'x'
    DROP TABLE typo.k.customerk
    ALTER TABLE typo.k.customerk ADD COLUMN b INT
    FROM dh.k.customerk
"""


def test_what_ddl_does_not_find():
    """Similar names come from all databases that are attached."""
    wrong = []
    with Cluster(1, 0) as cluster, attached(cluster) as con, plain() as oracle:
        for each in (con, oracle):
            each.execute("ATTACH ':memory:' AS other")
        for sql in map(str.strip, MISSING.strip().splitlines()):
            said = []
            for each in (con, oracle):
                try:
                    said.append(each.execute(sql).fetchall())
                except duckdb.Error as error:
                    said.append((type(error).__name__, str(error)))
            if said[0] != said[1]:
                wrong.append(f"{sql}\n  {said[0]}\n  {said[1]}")
    assert not wrong, "\n".join(wrong)
