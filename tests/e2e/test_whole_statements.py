"""What goes to the driver as a whole: EXPLAIN shows no scan of the client's own then."""

from __future__ import annotations

import duckdb
import pytest

from harness.client import attached

WHOLE = [
    "SELECT list_transform(l, lambda x: x + 1) FROM dh.whole",
    "SELECT i FROM dh.whole WHERE list_contains(list_transform(l, lambda x, n: x + n + i), 3)",
    "SELECT sum(list_sum(list_transform(a.l, lambda x: x + 1))) FROM dh.whole a JOIN dh.whole b USING (i)",
    "SELECT list_sum(l), nullif(i, 3) FROM dh.whole",
    "SELECT nullif(i, 3) AS n, count(*) FROM dh.whole GROUP BY n ORDER BY nullif(n, 2)",
    "WITH c AS (SELECT fdiv(i, 2) AS f FROM dh.whole) SELECT sum(f) FROM c",
    "SELECT i, (SELECT max(nullif(b.i, 4)) FROM dh.whole b WHERE b.i < a.i) FROM dh.whole a",
    "SELECT i, dated FROM dh.pg_view",
]
APART = [
    "SELECT list_sum(w.l) FROM dh.whole w JOIN here ON here.i = w.i",
    "SELECT mine(i) FROM dh.whole",
    "SELECT nextval('own'), i FROM dh.whole",
]


@pytest.fixture
def filled(con):
    con.execute("CREATE TABLE IF NOT EXISTS dh.whole AS SELECT range AS i, [range, range + 1] AS l FROM range(10)")
    con.execute("CREATE TABLE IF NOT EXISTS dh.pg_table AS SELECT 1 AS i")
    con.execute("CREATE OR REPLACE VIEW dh.pg_view AS SELECT i, current_date AS dated FROM dh.pg_table")
    con.execute("CREATE TABLE here AS SELECT 1 AS i")
    con.execute("CREATE MACRO mine(x) AS x + 1")
    con.execute("CREATE SEQUENCE own")
    return con


@pytest.mark.parametrize("sql", WHOLE)
def test_goes_whole(filled, sql):
    assert "Duckherder Scan" not in filled.execute(f"EXPLAIN {sql}").fetchall()[0][1]


def test_sequences_are_named_without_the_database_that_is_used(filled):
    filled.execute("CREATE SEQUENCE IF NOT EXISTS dh.counted")
    filled.execute("CREATE SEQUENCE IF NOT EXISTS dh.own")
    test_what_concerns_the_client_too_does_not(filled, "SELECT nextval('own'), i FROM dh.whole")
    filled.execute("USE dh")
    test_goes_whole(filled, "SELECT nextval('counted'), nextval('main.counted'), i FROM whole")


@pytest.mark.parametrize("sql", APART)
def test_what_concerns_the_client_too_does_not(filled, sql):
    assert "Duckherder Scan" in filled.execute(f"EXPLAIN {sql}").fetchall()[0][1]


def test_a_first_part_that_runs_ahead_is_stopped_for_a_second(local_cluster):
    """Its rows would keep the session busy: here for ever."""
    with attached(local_cluster) as con:
        con.execute("CREATE OR REPLACE TABLE dh.many AS SELECT range AS i FROM range(200_000)")
        con.execute("CREATE OR REPLACE TABLE dh.few AS SELECT range AS i FROM range(3)")
        con.execute("CREATE TABLE here AS SELECT 1 AS one")
        endless = "(SELECT a.i FROM dh.many a, dh.many b) q"
        assert len(con.execute(f"SELECT * FROM {endless}, here, dh.few LIMIT 5").fetchall()) == 5
        # inside a transaction it is not started: stopping it would abort the transaction
        con.execute("CREATE OR REPLACE TABLE dh.written (v INTEGER)")
        con.execute("BEGIN")
        con.execute("INSERT INTO dh.written VALUES (1)")
        slow = "(SELECT count(*) AS n FROM dh.many a, dh.few b, dh.few c WHERE a.i % 7 = b.i) q"
        assert len(con.execute(f"SELECT * FROM {slow}, here, (SELECT count(*) FROM dh.few) s").fetchall()) == 1
        assert con.execute(f"SELECT * FROM {slow}, here WHERE false").fetchall() == []
        con.execute("COMMIT")
        assert con.execute("SELECT count(*) FROM dh.written").fetchone() == (1,)


def test_what_is_wrong_with_a_statement_comes_out_when_it_is_prepared(local_cluster):
    with attached(local_cluster) as con:
        con.execute("CREATE OR REPLACE TABLE dh.target (v INTEGER)")
        with pytest.raises(duckdb.BinderException, match="nosuch"):
            con.execute("PREPARE p AS INSERT INTO dh.target SELECT nosuch FROM dh.target")
        con.execute("PREPARE p AS INSERT INTO dh.target VALUES (7)")
        assert con.execute("EXECUTE p").fetchone() == (1,)
        assert con.execute("EXECUTE p").fetchone() == (1,)
        assert con.execute("SELECT count(*), sum(v) FROM dh.target").fetchone() == (2, 14)
