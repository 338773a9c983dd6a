"""Every aggregate that DuckDB lists, over every type it takes: split over workers or not, the answer is DuckDB's.

The calls come from `duckdb_functions()`, so a new aggregate is tested without anybody remembering it. What depends on
the order of rows gets one, or is compared as a set.
"""

from __future__ import annotations

import re

import duckdb
import pytest

from harness.client import attached
from harness.compare import Result, difference

ROWS = 130_000
# column name -> (type, expression over `range AS i`)
COLUMNS = {
    "ti": ("TINYINT", "(i % 100 - 50)::TINYINT"),
    "si": ("SMALLINT", "(i % 1000 - 500)::SMALLINT"),
    "it": ("INTEGER", "(i * 7919 % 10007 - 5000)::INTEGER"),
    "bi": ("BIGINT", "i * 1000003 % 999983"),
    "hi": ("HUGEINT", "(i % 1009)::HUGEINT * 1000000000000000000000"),
    "uti": ("UTINYINT", "(i % 200)::UTINYINT"),
    "ubi": ("UBIGINT", "(i % 5003)::UBIGINT"),
    "uhi": ("UHUGEINT", "(i % 101)::UHUGEINT"),
    "f": ("FLOAT", "(i % 64)::FLOAT / 4"),
    "d": ("DOUBLE", "(i % 4096)::DOUBLE / 16"),
    "dec4": ("DECIMAL(4,1)", "((i % 1000) / 10)::DECIMAL(4,1)"),
    "dec9": ("DECIMAL(9,2)", "((i % 100000) / 100)::DECIMAL(9,2)"),
    "dec18": ("DECIMAL(18,3)", "((i % 1000000) / 1000)::DECIMAL(18,3)"),
    "dec38": ("DECIMAL(38,5)", "((i % 10000) / 100)::DECIMAL(38,5)"),
    "b": ("BOOLEAN", "i % 3 = 0"),
    "s": ("VARCHAR", "'value ' || i % 501"),
    "bl": ("BLOB", "encode('b' || i % 77)"),
    "bt": ("BIT", "(i % 251)::INTEGER::BIT"),
    "dt": ("DATE", "DATE '1992-01-01' + (i % 3000)::INTEGER"),
    "t": ("TIME", "TIME '00:00:00' + INTERVAL (i % 80000) SECOND"),
    "ts": ("TIMESTAMP", "TIMESTAMP '2000-01-01' + INTERVAL (i % 100000) MINUTE"),
    "tstz": ("TIMESTAMPTZ", "TIMESTAMPTZ '2000-01-01 00:00:00+00' + INTERVAL (i % 100000) MINUTE"),
    "iv": ("INTERVAL", "INTERVAL (i % 1000) SECOND"),
    "u": ("UUID", "md5((i % 333)::VARCHAR)::UUID"),
    "e": ("ENUM('low', 'middle', 'high')", "CASE i % 3 WHEN 0 THEN 'low' WHEN 1 THEN 'middle' ELSE 'high' END"),
    "l": ("INTEGER[]", "[i % 5, NULL, i % 7]::INTEGER[]"),
    "st": ("STRUCT(a INTEGER, b VARCHAR)", "{'a': (i % 11)::INTEGER, 'b': 's' || i % 3}"),
}
ORDERED_COLUMNS = ["it", "dec18", "s", "e", "l", "st", "tstz"]
NUMBERS = ["ti", "si", "it", "bi", "hi", "uti", "ubi", "uhi", "f", "d", "dec4", "dec9", "dec18", "dec38"]
# helpers of DuckDB itself, or what has no one answer for a set of rows
SKIPPED = {
    "combine_aggr": "needs states",
    "variant_group_object": "internal",
    "decimal_average": "internal",
    "count_star": "written count(*)",
    "approx_top_k": "approximate: depends on the order of rows",
    "approx_quantile": "approximate: depends on the order of rows",
    "reservoir_quantile": "random sample",
    "any_value": "any value will do",
    "arbitrary": "any value will do",
    "first": "depends on the order of rows",
    "last": "depends on the order of rows",
    "lttb": "depends on the order of rows",
}
ORDERED = {"list", "array_agg", "string_agg", "group_concat", "listagg"}
# ties and hash order: compared after sorting what they return
AS_TEXT = {name: "md5(list_sort(map_entries({}))::VARCHAR)" for name in ("histogram", "histogram_exact")} | {
    name: "md5(({})::VARCHAR)" for name in ORDERED
}
QUANTILES = {"quantile", "quantile_cont", "quantile_disc"}
BY_ANOTHER = {"arg_max", "arg_min", "argmax", "argmin", "max_by", "min_by", "arg_max_null", "arg_min_null", "arg_max_nulls_last", "arg_min_nulls_last"}
TOLERANCE = 1e-9


def calls() -> dict[str, list[str]]:
    """aggregate -> the calls of it to try."""
    with duckdb.connect() as con:
        listed = con.execute(
            "SELECT DISTINCT function_name, len(parameter_types) FROM duckdb_functions() "
            "WHERE function_type = 'aggregate' ORDER BY ALL"
        ).fetchall()
    found: dict[str, list[str]] = {"count(*)": ["count(*)"]}
    for name, arguments in listed:
        if name not in SKIPPED:
            found.setdefault(name, []).extend(_calls_of(name, arguments))
    return found


def _calls_of(name: str, arguments: int) -> list[str]:
    if name in QUANTILES:
        if arguments < 2:
            return []
        columns = ["it", "s"] if name == "quantile" else COLUMNS  # quantile is another name of quantile_disc
        return [f"{name}({column}, 0.5)" for column in columns] + [f"{name}({column}, [0.1, 0.9])" for column in ("it", "dec9", "dt")]
    if name == "mode":
        # one value is the most frequent by far
        return [f"mode({expression})" for expression in ("b", "it < 100", "least(ti, 0)", "greatest(s, 'value 4')", "l[2]", "least(dec9, 1)")]
    if name == "histogram" and arguments == 1:
        return [f"histogram({column})" for column in ("ti", "f", "dec4", "b", "s", "bl", "u", "e", "l", "st")]
    if name in BY_ANOTHER:
        # the second argument is unique, so that there is one answer
        by = "i * 1000003 % 999979"
        many = [f"{name}({column}, {by})" for column in COLUMNS] if arguments == 2 else []
        return many + ([f"{name}({column}, {by}, 3)" for column in ("it", "s")] if arguments == 3 else [])
    if name in ORDERED:
        extra = ", '|'" if name != "list" and name != "array_agg" and arguments > 1 else ""
        return [f"{name}({column}{extra} ORDER BY i) FILTER (WHERE i % 97 = 3)" for column in ORDERED_COLUMNS]
    if name == "product":
        # near one: what overflows depends on the order in which it is multiplied
        return [f"product(1 + ({column} % 7)::DOUBLE * 1e-9)" for column in NUMBERS]
    if name == "bitstring_agg":
        return [f"{name}({column}, -5000, 10007)" for column in ("it", "si")] if arguments == 3 else [f"{name}(ti)"]
    if name == "histogram" and arguments == 2:
        return ["histogram(it, [-1000, 0, 1000])", "histogram(d, [0.0, 10.0])"]
    if name == "histogram_exact":
        return ["histogram_exact(it, [1, 2, 3])"]
    if arguments == 0:
        return [f"{name}()"]
    if arguments == 1:
        return [f"{name}({column})" for column in COLUMNS]
    if arguments == 2 and name in ("min", "max"):
        return [f"{name}({column}, 3)" for column in COLUMNS]
    if arguments == 2 and name in ("corr", "covar_pop", "covar_samp") or name.startswith("regr_"):
        return [f"{name}({column}, d + it)" for column in NUMBERS] + [f"{name}(d, {column})" for column in NUMBERS]
    return [f"{name}({', '.join([column] + ['it'] * (arguments - 1))})" for column in ("it", "d", "s")]


TABLE = "CREATE OR REPLACE TABLE dh.a AS SELECT i, i % 4 AS g, " + ", ".join(
    f"CASE WHEN i % 17 = {number % 17} THEN NULL ELSE ({expression})::{kind} END AS {name}"
    for number, (name, (kind, expression)) in enumerate(COLUMNS.items())
) + f" FROM range({ROWS}) r(i)"


@pytest.fixture(scope="module")
def oracle():
    con = duckdb.connect()
    con.execute("ATTACH ':memory:' AS dh")
    con.execute(TABLE)
    yield con
    con.close()


@pytest.fixture(scope="module")
def client(any_cluster):
    with attached(any_cluster) as con:
        con.execute(TABLE)
        yield con


CALLS = calls()


@pytest.mark.parametrize("name", sorted(CALLS))
def test_aggregate(client, oracle, name):
    accepted = [call for call in CALLS[name] if _accepts(oracle, call)]
    if not accepted:
        pytest.skip("takes none of these types")
    shown = [AS_TEXT.get(name, "{}").format(call) for call in accepted]
    problems = []
    for sql in (
        f"SELECT {', '.join(shown)} FROM dh.a",
        f"SELECT g, {', '.join(shown)} FROM dh.a GROUP BY g",
        f"SELECT {', '.join(shown)} FROM dh.a WHERE i < 125000 AND it > 0",
        f"SELECT {', '.join(shown)} FROM dh.a WHERE i < 0",
    ):
        expected = Result.of(oracle, sql)
        problem = difference(Result.of(client, sql), expected, ordered=False, tolerance=TOLERANCE)
        if problem is not None and "row" in problem:
            problem = _first_wrong_call(client, oracle, sql, shown) or problem
        if problem is not None:
            problems.append(f"{sql[:200]}: {problem}")
    assert not problems, "\n".join(problems)


def _accepts(oracle, call: str) -> bool:
    # over all rows: some calls overflow, or are refused, only when they run
    try:
        oracle.execute(f"CREATE OR REPLACE TEMP TABLE tried AS SELECT {call} FROM dh.a")
        return True
    except duckdb.Error:
        return False


def _first_wrong_call(client, oracle, sql: str, shown: list[str]) -> str | None:
    """The same again, one call at a time, for a message that can be read."""
    rest = re.search(r" FROM dh\.a.*$", sql).group(0)
    for call in shown:
        single = f"SELECT {call}{rest}"
        problem = difference(Result.of(client, single), Result.of(oracle, single), ordered=False, tolerance=TOLERANCE)
        if problem is not None:
            return f"{single}: {problem}"
    return None


def test_nothing_is_skipped_silently():
    with duckdb.connect() as con:
        listed = {row[0] for row in con.execute("SELECT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'").fetchall()}
    assert set(SKIPPED) <= listed
    assert listed - set(SKIPPED) <= set(CALLS)


@pytest.mark.parametrize("call", ["any_value(s)", "first(s)", "last(s)", "approx_quantile(d, 0.5)", "reservoir_quantile(d, 0.5)", "approx_top_k(e, 2)", "lttb(i, d, 5)"])
def test_those_without_one_answer_run(client, oracle, call):
    got, expected = (Result.of(con, f"SELECT g, {call} FROM dh.a GROUP BY g") for con in (client, oracle))
    assert (got.names, got.types, len(got.rows)) == (expected.names, expected.types, len(expected.rows)), got.error
    assert got.error is None or type(got.error) is type(expected.error)
