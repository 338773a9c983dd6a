"""What goes to the driver as a whole: EXPLAIN shows no scan of the client's own then."""

from __future__ import annotations

import pytest

WHOLE = [
    "SELECT list_transform(l, lambda x: x + 1) FROM dh.whole",
    "SELECT i FROM dh.whole WHERE list_contains(list_transform(l, lambda x, n: x + n + i), 3)",
    "SELECT sum(list_sum(list_transform(a.l, lambda x: x + 1))) FROM dh.whole a JOIN dh.whole b USING (i)",
    "SELECT list_sum(l), nullif(i, 3) FROM dh.whole",
    "SELECT nullif(i, 3) AS n, count(*) FROM dh.whole GROUP BY n ORDER BY nullif(n, 2)",
    "WITH c AS (SELECT fdiv(i, 2) AS f FROM dh.whole) SELECT sum(f) FROM c",
    "SELECT i, (SELECT max(nullif(b.i, 4)) FROM dh.whole b WHERE b.i < a.i) FROM dh.whole a",
]
APART = [
    "SELECT list_sum(w.l) FROM dh.whole w JOIN here ON here.i = w.i",
    "SELECT mine(i) FROM dh.whole",
    "SELECT nextval('own'), i FROM dh.whole",
]


@pytest.fixture
def filled(con):
    con.execute("CREATE TABLE IF NOT EXISTS dh.whole AS SELECT range AS i, [range, range + 1] AS l FROM range(10)")
    con.execute("CREATE TABLE here AS SELECT 1 AS i")
    con.execute("CREATE MACRO mine(x) AS x + 1")
    con.execute("CREATE SEQUENCE own")
    return con


@pytest.mark.parametrize("sql", WHOLE)
def test_goes_whole(filled, sql):
    assert "Duckherder Scan" not in filled.execute(f"EXPLAIN {sql}").fetchall()[0][1]


@pytest.mark.parametrize("sql", APART)
def test_what_concerns_the_client_too_does_not(filled, sql):
    assert "Duckherder Scan" in filled.execute(f"EXPLAIN {sql}").fetchall()[0][1]
