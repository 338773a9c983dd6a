"""Files that a driver reads through its views: divided among workers that see them, read by the driver otherwise."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path

import duckdb
import pytest

from e2e.test_interrupt import run_until_interrupted
from harness.client import attached, quote
from harness.client import plain as plain_with_dh
from harness.cluster import Cluster, Worker
from harness.compare import Result
from harness.distribution import distribute, run_of
from harness.wait import timely, within

KINDS = {"local": (4, 0), "remote": (0, 3), "mixed": (2, 2)}
ROWS = 400_000


@pytest.fixture(scope="module", params=KINDS)
def cluster(request):
    local, remote = KINDS[request.param]
    with Cluster(local_workers=local, remote_workers=remote) as running:
        yield running


@pytest.fixture(scope="module")
def plain():
    con = duckdb.connect()
    yield con
    con.close()


def rows(first: int = 0, count: int = ROWS) -> str:
    return (
        f"SELECT range AS i, (range % 7)::INTEGER AS g, CASE WHEN range % 11 = 0 THEN NULL ELSE 's' || range END AS s, "
        f"(range % 1000)::DECIMAL(9, 2) / 4 AS d, DATE '2020-01-01' + (range % 500)::INTEGER AS t, "
        f"{{'x': range % 5, 'y': 'in ' || range % 3}} AS n FROM range({first}, {first + count})"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, plain):
    path = tmp_path_factory.mktemp("files")

    def copy(name: str, query: str, options: str = "") -> None:
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        plain.execute(f"COPY ({query}) TO {quote(target)} {options}")

    copy("one.parquet", rows(), "(ROW_GROUP_SIZE 20480)")
    copy("huge_group.parquet", rows(), "(ROW_GROUP_SIZE 10000000)")
    for number in range(5):
        part = rows(number * 90_000, 90_000)
        copy(f"many/part {number}.parquet", part, "(ROW_GROUP_SIZE 30720)")
        copy(f"csv/part {number}.csv", part)
        copy(f"gz/part {number}.csv.gz", part)
        copy(f"nd/part {number}.ndjson", part, "(FORMAT json)")
        copy(f"array/part {number}.json", part, "(FORMAT json, ARRAY true)")
    copy("many/part 2b.parquet", rows(0, 0))
    odd = "odd [a]*?'\" ünï"
    for number in range(3):
        copy(f"{odd}/q'u\"o {number} [x]*.parquet", rows(number * 60_000, 60_000))
        copy(f"{odd}/q'u\"o {number} [x]*.csv", rows(number * 60_000, 60_000))
    copy("union/a.parquet", "SELECT range AS i, 'a' AS s FROM range(80000)")
    copy("union/b.parquet", "SELECT range::INTEGER AS i, range * 2 AS other FROM range(80000)")
    copy("union/c.parquet", "SELECT range::DOUBLE AS other, 'c' AS s, range AS i FROM range(80000)")
    copy("ucsv/a.csv", "SELECT range AS i, 'a' AS s FROM range(80000)")
    copy("ucsv/b.csv", "SELECT range AS i, range * 0.5 AS other FROM range(80000)")
    copy("ucsv/c.csv", "SELECT range AS i, range * 0.5 AS other FROM range(0)")
    plain.execute(
        f"COPY (SELECT *, range % 4 AS part, 'k ' || range % 3 AS key_2 FROM range({ROWS})) "
        f"TO {quote(path / 'hive')} (FORMAT parquet, PARTITION_BY (part, key_2))"
    )
    return path


SCANS = {
    "one": "read_parquet('{f}/one.parquet')",
    "huge_group": "read_parquet('{f}/huge_group.parquet')",
    "many": "read_parquet('{f}/many/*.parquet')",
    "list": "read_parquet(['{f}/many/part 3.parquet', '{f}/one.parquet', '{f}/many/part 0.parquet'])",
    "csv": "read_csv('{f}/csv/*.csv')",
    "csv_types": "read_csv('{f}/csv/part [0-3].csv', types = {{'d': 'DOUBLE', 'g': 'VARCHAR'}}, nullstr = ['s1', 's2'])",
    "csv_header": "read_csv('{f}/csv/part ?.csv', all_varchar = true, header = false, filename = true)",
    "gz": "read_csv_auto('{f}/gz/*.csv.gz')",
    "ndjson": "read_ndjson('{f}/nd/*.ndjson')",
    "json": "read_json('{f}/nd/*.ndjson', columns = {{'i': 'BIGINT', 'g': 'INTEGER', 's': 'VARCHAR', 'd': 'DOUBLE', 't': 'DATE', 'n': 'STRUCT(x BIGINT, y VARCHAR)'}})",
    "array": "read_json_auto('{f}/array/*.json')",
}
EVERYTHING = "i, g, s, d, t, n"
QUERIES = {
    "count": "SELECT count(*) FROM {v}",
    "sums": "SELECT count(*), count(s), sum(CAST(i AS BIGINT)), min(s), max(s), sum(CAST(d AS DECIMAL(18, 3))) FROM {v}",
    "filtered": "SELECT {e} FROM {v} WHERE CAST(i AS BIGINT) % 4999 = 3",
    "range": "SELECT count(*), min(s) FROM {v} WHERE CAST(i AS BIGINT) BETWEEN 70000 AND 70100",
    "groups": "SELECT g, count(*), sum(CAST(i AS BIGINT)), string_agg(DISTINCT CAST(t AS VARCHAR) ORDER BY CAST(t AS VARCHAR)) FROM {v} GROUP BY g ORDER BY ALL",
    "distinct": "SELECT count(*) FROM (SELECT DISTINCT g, s FROM {v})",
    "field": "SELECT sum(CAST(n.x AS BIGINT)), max(n.y) FROM {v}",
    "lengths": "SELECT sum(strlen(s)), max(length(s)) FROM {v}",
    "order": "SELECT s, i FROM {v} WHERE s IS NOT NULL LIMIT 40 OFFSET 100000",
    "top": "SELECT i, s FROM {v} ORDER BY d DESC, i LIMIT 10",
    "window": "SELECT count(*), sum(r) FROM (SELECT row_number() OVER (PARTITION BY g ORDER BY i, s) AS r FROM {v})",
    "self": "SELECT count(*), sum(CAST(a.i AS BIGINT)) FROM {v} a JOIN {v} b ON a.i = b.i WHERE a.g = b.g",
    "in": "SELECT count(*) FROM {v} WHERE s IN (SELECT s FROM {v} WHERE CAST(i AS BIGINT) % 100 = 1)",
}


def same(client, plain, sql: str, view: str, scan: str, ordered: bool = True) -> None:
    """The same rows, types and order as plain DuckDB reads from the files."""
    mine = Result.of(client, sql.format(v=f"dh.{view}", e=EVERYTHING))
    theirs = Result.of(plain, sql.format(v=scan, e=EVERYTHING))
    assert theirs.error is None, theirs.error
    assert mine.error is None, (sql, mine.error)
    assert (mine.names, mine.types) == (theirs.names, theirs.types), sql
    assert (mine.rows if ordered else sorted(mine.rows)) == (theirs.rows if ordered else sorted(theirs.rows)), sql


def view_of(client, name: str, scan: str) -> str:
    client.execute(f"CREATE OR REPLACE VIEW dh.{name} AS SELECT * FROM {scan}")
    return name


def reason(client, sql: str) -> str:
    return client.execute(f"EXPLAIN {sql}").fetchall()[0][1]


@pytest.mark.parametrize("scan", SCANS)
def test_every_query_of_every_kind_of_file(client, plain, folder, scan):
    text = SCANS[scan].format(f=folder)
    view = view_of(client, scan, text)
    for name, query in QUERIES.items():
        if scan == "csv_header":
            query = query.replace("{e}", "column0, column2, filename")
            if name not in ("count", "filtered"):
                continue
            query = query.replace("CAST(i AS BIGINT) % 4999 = 3", "ends_with(column0, '4999')")
        if "parquet" not in SCANS[scan] and name not in ("count", "sums", "filtered", "groups", "order", "self"):
            continue
        same(client, plain, query, view, text)


@pytest.mark.parametrize("scan", SCANS)
def test_how_files_are_divided(cluster, client, folder, scan):
    view = view_of(client, scan, SCANS[scan].format(f=folder))
    client.execute(f"SELECT /* how {scan} */ count(*), max(columns(*)::VARCHAR) FROM dh.{view}").fetchall()
    run = run_of(client, f"/* how {scan} */")
    if scan == "huge_group":
        assert run.mode == "DELEGATED", run
    else:
        wanted = "ROW_GROUP_PARTITION" if "parquet" in SCANS[scan] else "NATURAL_PARTITION"
        assert (run.mode, run.workers, run.tasks >= run.workers) == (wanted, cluster.expected_workers, True), run


def test_names_with_odd_characters(client, plain, folder):
    odd = [entry for entry in sorted(os.listdir(folder)) if entry.startswith("odd")][0]
    for extension, function in (("parquet", "read_parquet"), ("csv", "read_csv")):
        names = [name for name in sorted(os.listdir(folder / odd)) if name.endswith(extension)]
        paths = "".join(c if c not in "[]*?" else f"[{c}]" if c != "]" else "[]]" for c in str(folder / odd))
        scan = f"{function}({quote(paths + '/*.' + extension)}, filename = true)"
        view = view_of(client, "odd", scan)
        sql = "SELECT /* odd */ filename, count(*), sum(i), max(s) FROM {v} GROUP BY filename ORDER BY filename"
        same(client, plain, sql, view, scan)
        found = client.execute(sql.format(v="dh.odd")).fetchall()
        assert [os.path.basename(row[0]) for row in found] == names
        assert run_of(client, "/* odd */").split


@pytest.mark.parametrize("folder_name,function", [("union", "read_parquet"), ("ucsv", "read_csv")])
def test_files_of_different_columns(client, plain, folder, folder_name, function):
    scan = f"{function}('{folder}/{folder_name}/*.*', union_by_name = true, filename = true)"
    view = view_of(client, "united", scan)
    same(client, plain, "SELECT count(*), count(s), count(other), sum(i), sum(other) FROM {v}", view, scan)
    same(client, plain, "SELECT * FROM {v} WHERE i % 7919 = 1", view, scan)
    same(client, plain, "SELECT s, count(*), avg(other) FROM {v} GROUP BY s ORDER BY s", view, scan)
    same(client, plain, "SELECT filename, max(s) FROM {v} WHERE other IS NULL GROUP BY ALL ORDER BY ALL", view, scan)


def test_a_file_without_the_columns_of_the_first_is_an_error_as_in_duckdb(client, plain, folder):
    scan = f"read_parquet('{folder}/union/*.parquet')"
    view = view_of(client, "mixed", scan)
    with pytest.raises(duckdb.Error) as theirs:
        plain.execute(f"SELECT max(s) FROM {scan}").fetchall()
    with pytest.raises(duckdb.Error) as mine:
        client.execute(f"SELECT max(s) FROM dh.{view}").fetchall()
    assert type(mine.value) is type(theirs.value)
    assert "union/b.parquet" in str(mine.value)


def test_hive_partitions_are_columns_and_left_out_by_filters(client, plain, folder):
    scan = f"read_parquet('{folder}/hive/*/*/*.parquet', hive_partitioning = true)"
    view = view_of(client, "hive", scan)
    for sql in (
        "SELECT part, key_2, count(*), sum(range) FROM {v} GROUP BY ALL ORDER BY ALL",
        "SELECT count(*), sum(range) FROM {v} WHERE part = 2",
        "SELECT count(*), sum(range), max(key_2) FROM {v} WHERE part > 1 AND range % 3 = 1",
        "SELECT range FROM {v} WHERE part = 1 AND key_2 = 'k 1' AND range % 1000 = 1",
        "SELECT count(*) FROM {v} WHERE part = 9",
        "SELECT count(*) FROM {v} WHERE part IN (0, 3) AND range > 1000",
    ):
        same(client, plain, sql, view, scan)
        if "part = 9" not in sql:
            assert "up to" in reason(client, sql.format(v=f"dh.{view}")), sql
    typed = f"read_parquet('{folder}/hive/*/*/*.parquet', hive_types = {{'part': 'VARCHAR'}})"
    view = view_of(client, "typed", typed)
    same(client, plain, "SELECT part || '!', count(*) FROM {v} WHERE part <> '0' GROUP BY ALL ORDER BY ALL", view, typed)


def test_files_that_a_filter_leaves_out_decide_about_columns(client, plain, tmp_path):
    """The first file's, or those of all, whichever files are read: they differ in order, types and number."""
    columns = {
        2023: "range AS x, range::VARCHAR AS s",
        2024: "range::VARCHAR AS s, range::INTEGER AS x",
        2025: "range::SMALLINT AS x, 'y' AS s, 1.5 AS more",
    }
    for year, selected in columns.items():
        folder = tmp_path / f"year={year}"
        folder.mkdir()
        for number in range(2):
            query = f"SELECT {selected} FROM range(30000)"
            plain.execute(f"COPY ({query}) TO {quote(folder / f'{number}.parquet')} (ROW_GROUP_SIZE 10240)")
            plain.execute(f"COPY ({query}) TO {quote(folder / f'{number}.csv')}")
    scans = {
        "first": f"read_parquet('{tmp_path}/*/*.parquet', hive_partitioning = true)",
        "all": f"read_parquet('{tmp_path}/*/*.parquet', hive_partitioning = true, union_by_name = true)",
        "text": f"read_csv('{tmp_path}/*/*.csv', hive_partitioning = true, union_by_name = true)",
    }
    for view, scan in scans.items():
        view_of(client, view, scan)
        for where in ("year = 2024", "year > 2023 AND x < 20000", "x < 100", "year = 2025 AND s = 'y'", "year = 1999"):
            sql = f"SELECT count(*), sum(x), min(s), min(year) FROM {{v}} WHERE {where}"
            same(client, plain, sql, view, scan)
            if "1999" not in where:
                assert "up to" in reason(client, sql.format(v=f"dh.{view}")), (view, where)


def test_columns_that_duckdb_adds(client, plain, folder):
    for files in ("one.parquet", "many/*.parquet"):
        for text in ("filename", "file_row_number", "filename, file_row_number"):
            client.execute(f"CREATE OR REPLACE VIEW dh.added AS SELECT i, {text} FROM read_parquet('{folder}/{files}')")
            sql = f"SELECT {text}, i FROM {{v}} WHERE i % 30011 = 5"
            same(client, plain, sql, "added", f"read_parquet('{folder}/{files}')")
    scan = f"read_parquet('{folder}/many/*.parquet', file_row_number = true)"
    view = view_of(client, "numbered", scan)
    same(client, plain, "SELECT i, file_row_number FROM {v} WHERE file_row_number BETWEEN 30000 AND 30010", view, scan)
    client.execute(f"CREATE OR REPLACE VIEW dh.added AS SELECT i, file_index FROM read_parquet('{folder}/many/*.parquet')")
    sql = "SELECT file_index, count(*), sum(i) FROM {v} GROUP BY ALL ORDER BY ALL"
    same(client, plain, sql, "added", f"read_parquet('{folder}/many/*.parquet')")
    assert "it reads the number of a file among all" in reason(client, sql.format(v="dh.added"))


def test_files_beside_tables_and_what_they_are_written_to(client, plain, folder):
    scan = SCANS["many"].format(f=folder)
    view_of(client, "many", scan)
    make = "CREATE OR REPLACE TABLE {t} AS SELECT range AS i, range % 13 AS k FROM range(200000)"
    client.execute(make.format(t="dh.numbers"))
    plain.execute(make.format(t="numbers"))
    for kind in ("INNER", "LEFT", "RIGHT", "FULL"):
        sql = f"SELECT count(*), sum(a.i), sum(b.i), sum(k), max(s) FROM {{a}} a {kind} JOIN {{b}} b ON a.i = b.i * 2"
        mine = client.execute(sql.format(a="dh.many", b="dh.numbers")).fetchall()
        assert mine == plain.execute(sql.format(a=scan, b="numbers")).fetchall()
    client.execute("CREATE OR REPLACE TABLE dh.copied AS SELECT * FROM dh.many")
    sql = "SELECT count(*), sum(i), max(s), max(n) FROM {v}"
    assert client.execute(sql.format(v="dh.copied")).fetchall() == plain.execute(sql.format(v=scan)).fetchall()


JOINS = [
    *(f"SELECT count(*), sum(a.k), sum(b.k), sum(x), sum(y) FROM {{a}} a {kind} JOIN {{b}} b ON a.k = b.k"
      for kind in ("INNER", "LEFT", "RIGHT", "FULL")),
    "SELECT count(*), sum(x) FROM {a} a SEMI JOIN {b} b ON a.k = b.k",
    "SELECT count(*), sum(x) FROM {a} a ANTI JOIN {b} b ON a.k = b.k",
    "SELECT count(*), sum(x) FROM {a} WHERE k NOT IN (SELECT k FROM {b})",
    "SELECT count(*), sum(x) FROM {a} WHERE k NOT IN (SELECT k FROM {b} WHERE k IS NOT NULL)",
    "SELECT count(*), sum(x) FROM {a} a JOIN {b} b ON a.k = b.k + 1 AND a.k <> b.y",
    "SELECT b.k, count(*), sum(x) FROM {a} a JOIN {b} b ON a.k IS NOT DISTINCT FROM b.k GROUP BY b.k ORDER BY ALL LIMIT 50",
    "SELECT count(*), sum(c.x) FROM {a} a JOIN {b} b ON a.k = b.k JOIN {a} c ON c.k = b.y",
]


def test_joins_of_files_whose_parts_have_different_keys(client, plain, folder):
    """Tasks leave out of one file what their part of the other can't meet: no row too many, no row too few."""
    plain.execute(
        f"COPY (SELECT CASE WHEN range % 50 = 0 THEN NULL ELSE range // 4 END AS k, range AS x FROM range(300000)) "
        f"TO {quote(folder / 'sorted_a.parquet')} (ROW_GROUP_SIZE 20480)"
    )
    plain.execute(
        f"COPY (SELECT CASE WHEN range % 90 = 0 THEN NULL ELSE range END AS k, range % 99 AS y FROM range(60000, 140000)) "
        f"TO {quote(folder / 'sorted_b.parquet')} (ROW_GROUP_SIZE 4096)"
    )
    scans = {name: f"read_parquet({quote(folder / f'sorted_{name}.parquet')})" for name in "ab"}
    views = {name: f"dh.{view_of(client, f'sorted_{name}', scan)}" for name, scan in scans.items()}
    for sql in JOINS:
        mine, theirs = client.execute(sql.format(**views)).fetchall(), plain.execute(sql.format(**scans)).fetchall()
        assert mine == theirs, sql


SAMPLED = {
    "dialect": ("csv", [
        "a;b;c\n1;'x;''y';05/31/2024\n2;;01/12/2023\n", "a;b;c\n3;'z';12/30/2024\n", "a;b;c\n4;q;02/29/2024\n",
    ], ""),
    "other order": ("csv", ["a,b\n1,x\n2,y\n", "b,a\nz,3\n", "b,a\nw,4\nv,5\n"], ""),
    "no header": ("csv", ["1,2020-01-01 10:00:00,x\n", "2,2021-01-01 11:30:00,y\n", "3,,z\n"], ""),
    "lines before": ("csv", ["# a comment\n# and one more\ni|v\n1|a\n", "# none\ni|v\n2|b\n", "i|v\n3|c\n"], ""),
    "some types": ("csv", ["i,v,w\n1,2,x\n", "i,v,w\n7,8,y\n", "i,v,w\n,,\n"], ", types = {'v': 'VARCHAR'}, nullstr = ['x']"),
    "formats": ("csv", ["d,t\n31.12.2023,1\n", "d,t\n01.02.2024,2\n", "d,t\n30.11.2021,3\n"], ", dateformat = '%d.%m.%Y'"),
    "what does not fit": ("csv", ["i,v\n1,a\n2,b\n", "i,v\nx,c\n3,d\n", "i,v\n4,e,f\n5,g\n"], ", ignore_errors = true, types = {'i': 'INT'}"),
    "names": ("csv", ["1,a\n", "2,b\n", "3,c\n"], ", names = ['one', 'two'], filename = true"),
    "one quote": ("csv", ['i,v\n1,"a\nb"\n', 'i,v\n2,"c"",d"\n', "i,v\n3,e\n"], ""),
    "widening": ("csv", ["i,v\n1,2\n", "i,v\n2.5,x\n", "i,v\ntrue,3\n"], ", files_to_sniff = 3"),
    "unseen": ("csv", ["i,v\n1,2\n", "i,v\n2,3\n", "i,v\n3,zz\n"], ", files_to_sniff = 1"),
    "records": ("json", [
        '[{"i": 1, "d": "2024-01-31", "n": {"x": 1}}, {"i": 2, "d": "2023-12-01"}]', '[{"i": 3.5, "more": [1, 2]}]',
        '[{"n": {"y": "s"}, "I": 4}]',
    ], ""),
    "lines": ("json", ['{"t": "05/31/2024 10:00:00"}\n{"t": null}\n', '{"t": "x"}\n', '{"u": {"a": 1}}\n{"u": {"b": 2}}\n'], ""),
    "dates": ("json", ['[{"t": "31-12-2024"}]', '[{"t": "01-02-2023"}]', '[{"t": "15-10-2022"}]'], ""),
    "values": ("json", ["1\n2\n", "3\n", "[4, 5]\n"], ""),
    "maps": ("json", [
        "[" + ", ".join(f'{{"m": {{"k{number}": {number}}}}}' for number in range(300)) + "]", '[{"m": {"z": 1}}]', "[]",
    ], ", map_inference_threshold = 10"),
    "features": ("json", [
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": null, "properties": {"p": 1}}]}',
        '[{"type": "Feature", "geometry": null, "properties": {"p": 2, "geometry": "g"}}]', "[]",
    ], ""),
    "no objects": ("json", ['[{"i": 1}]', '[{"i": "x"}]', '[{"j": 2}, {"i": 5}]'], ", maximum_sample_files = 2, ignore_errors = true"),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_tasks_read_as_the_sample_of_all_files_says(client, plain, tmp_path, name):
    extension, texts, options = SAMPLED[name]
    for number, text in enumerate(texts):
        (tmp_path / f"f{number}.{extension}").write_text(text)
    function = "read_csv" if extension == "csv" else "read_json"
    for scan in (
        f"{function}('{tmp_path}/*.{extension}'{options})",
        f"{function}('{tmp_path}/*.{extension}'{options}, union_by_name = true)",
    ):
        theirs = Result.of(plain, f"FROM {scan}")
        mine = Result.of(client, f"CREATE OR REPLACE VIEW dh.sampled AS FROM {scan}")
        if mine.error is None:
            mine = Result.of(client, "FROM dh.sampled")
        if theirs.error is not None:
            assert mine.error is not None, (scan, theirs.error, mine.rows)
            assert type(mine.error) is type(theirs.error), (scan, theirs.error, mine.error)
            continue
        assert mine.error is None, (scan, mine.error)
        assert (mine.names, mine.types, mine.rows) == (theirs.names, theirs.types, theirs.rows), scan


@pytest.mark.parametrize("extension", ["csv", "json"])
def test_one_file_is_sampled_once(tmp_path, extension):
    """Counted in bytes: the sample is all of the file, and whoever reads that takes none of its own. (One file of JSON the
    driver reads itself.)"""
    file, options = tmp_path / f"one.{extension}", "(FORMAT json)" if extension == "json" else ""
    with duckdb.connect() as con:
        con.execute(f"COPY (SELECT range AS i, 'text ' || range AS s FROM range(1_500_000)) TO {quote(file)} {options}")
    size = file.stat().st_size
    with Cluster(0, 1) as cluster, attached(cluster) as con:
        assert distribute(con, "always")
        con.execute(f"CREATE VIEW dh.one AS FROM read_{extension}({quote(file)}, sample_size = -1)")
        before = [read_bytes(process) for process in (cluster.driver, cluster.workers[0])]
        assert con.execute("SELECT count(*), sum(i), max(s) FROM dh.one").fetchall() == [(1_500_000, 1_124_999_250_000, "text 999999")]
        after = [read_bytes(process) for process in (cluster.driver, cluster.workers[0])]
        driver, worker = ((after[place] - before[place]) / size for place in (0, 1))
        print(f"the driver read {driver:.2f} times the file, the worker {worker:.2f} times")
        assert run_of(con, "max(s)").distributed == (extension == "csv")
        assert 1.9 < driver + worker < 2.2 and (extension == "json" or 0.9 < worker < 1.1)


def read_bytes(process) -> int:
    """What it has read of files and connections."""
    text = Path(f"/proc/{process.pid}/io").read_text()
    return int(re.search(r"rchar: (\d+)", text).group(1))


def test_settings_that_say_how_files_are_read(client, plain, tmp_path):
    for number in range(3):
        query = f"SELECT 'b{number}'::BLOB AS b, range AS i FROM range(100000)"
        plain.execute(f"COPY ({query}) TO {quote(tmp_path / f'f{number}.parquet')}")
    scan = f"read_parquet('{tmp_path}/*.parquet')"
    sql = "SELECT /* as strings */ typeof(b), b, count(*), sum(i) FROM {v} GROUP BY ALL ORDER BY ALL"
    for value in ("true", "false"):
        for each in (client, plain):
            each.execute(f"SET binary_as_string = {value}")
        view = view_of(client, "strings", scan)
        same(client, plain, sql, view, scan)
        assert run_of(client, "/* as strings */").distributed
    for each in (client, plain):
        each.execute("RESET binary_as_string")


def test_a_file_that_is_one_piece_stays_on_the_driver(client, plain, folder):
    client.execute("SET duckherder_distribution = 'auto'")
    scan = SCANS["huge_group"].format(f=folder)
    view_of(client, "huge_group", scan)
    sql = "SELECT /* one piece */ count(*), sum(i) FROM {v} WHERE g = 1"
    same(client, plain, sql, "huge_group", scan)
    assert not run_of(client, "/* one piece */").distributed
    assert "takes less here: local" in reason(client, sql.format(v="dh.huge_group")).replace("\n", " ")


def test_what_is_no_set_of_plain_files_stays_on_the_driver(client, plain, folder):
    scan = f"read_csv(['{folder}/csv/part 0.csv', '{folder}/csv/part 0.csv'])"
    view = view_of(client, "twice", scan)
    same(client, plain, "SELECT count(*), sum(i) FROM {v}", view, scan)
    assert "it reads a file twice" in reason(client, "SELECT count(*), sum(i) FROM dh.twice")

    scan = f"read_csv('{folder}/csv/*.csv', store_rejects = true)"
    view = view_of(client, "rejects", scan)
    same(client, plain, "SELECT count(*), sum(i) FROM {v}", view, scan)
    assert "read_csv has the option store_rejects" in reason(client, "SELECT count(*), sum(i) FROM dh.rejects")


def test_a_file_that_changes_while_it_is_read_is_an_error(client, folder, tmp_path):
    """Never rows of both."""
    names = [f"{tmp_path}/f{number}.parquet" for number in range(8)]
    source = duckdb.connect()

    def write(value: int) -> None:
        for name in names:
            query = f"SELECT {value} AS v, repeat('x', 100) || range AS s FROM range(100000)"
            source.execute(f"COPY ({query}) TO {quote(name + '.new')} (FORMAT parquet)")
            os.replace(name + ".new", name)

    write(0)
    view_of(client, "changing", f"read_parquet('{tmp_path}/*.parquet')")
    stop = threading.Event()
    started = time.monotonic()

    def change() -> None:
        value = 1
        while not stop.is_set():
            write(value)
            value += 1

    changer = threading.Thread(target=change)
    changer.start()
    outcomes = {"rows": 0, "errors": 0}
    try:
        while time.monotonic() - started < 30 and not outcomes["errors"]:
            try:
                found = client.execute("SELECT count(*), max(s), count(DISTINCT v) FROM dh.changing").fetchall()
                assert found[0][0] == 800_000
                outcomes["rows"] += 1
            except duckdb.Error as error:
                assert isinstance(error, duckdb.IOException), error
                assert "changed while the query" in str(error) or "No files found" in str(error), error
                outcomes["errors"] += 1
    finally:
        stop.set()
        changer.join()
    timely(outcomes["errors"] > 0, outcomes)
    assert client.execute("SELECT count(*) FROM dh.changing").fetchall() == [(800_000,)]


def test_workers_that_see_other_files(plain, folder, tmp_path):
    """The same name, another folder: the driver reads its own."""
    mine, others = tmp_path / "driver", tmp_path / "worker"
    for place, value in ((mine, 1), (others, 2)):
        place.mkdir()
        for number in range(4):
            query = f"SELECT {value} AS v, range AS i FROM range(100000)"
            plain.execute(f"COPY ({query}) TO {quote(place / f'f{number}.parquet')}")
    before = os.getcwd()
    try:
        os.chdir(mine)
        with Cluster(local_workers=0, remote_workers=1) as cluster, attached(cluster) as con:
            con.execute("SET duckherder_distribution = 'always'")
            con.execute("CREATE VIEW dh.v AS SELECT * FROM read_parquet('f*.parquet')")
            sql = "SELECT count(*), sum(v), sum(i) FROM dh.v WHERE i >= 0"
            assert con.execute(f"{sql} /* seen */").fetchall() == [(400_000, 400_000, 19999800000)]
            assert run_of(con, "/* seen */").distributed
            os.chdir(others)
            with Worker("elsewhere") as worker:
                location = f"grpc://{worker.location}"
                con.execute("SELECT duckherder_register_worker('elsewhere', ?)", [location]).fetchall()
                assert con.execute(f"{sql} /* not seen */").fetchall() == [(400_000, 400_000, 19999800000)]
                assert not run_of(con, "/* not seen */").distributed
                text = reason(con, sql)
                assert "worker 'elsewhere' does not see the driver's files" in text.replace("\n", " "), text
                con.execute("CREATE TABLE dh.t AS SELECT range AS i FROM range(150000)")
                joined = "SELECT count(*), sum(v) FROM dh.t JOIN dh.v USING (i)"
                assert con.execute(joined).fetchall() == [(400_000, 400_000)]
    finally:
        os.chdir(before)


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGSTOP])
def test_what_no_worker_can_be_asked_about_the_driver_reads(folder, with_signal):
    with Cluster(local_workers=0, remote_workers=2) as cluster, attached(cluster) as con:
        con.execute("SET duckherder_distribution = 'always'")
        view_of(con, "csv", SCANS["csv"].format(f=folder))
        os.kill(cluster.workers[0].pid, with_signal)
        sql = "SELECT count(*), sum(i) FROM dh.csv"
        assert con.execute(sql).fetchall() == [(450_000, 101_249_775_000)]
        # nor is it asked once the driver has lost sight of it
        text = reason(con, sql)
        assert "does not say whether it sees the files" in text or "up to 1 tasks" in text, text


def test_an_interrupt_stops_tasks_that_read_files(client, folder):
    client.execute("SET duckherder_distribution = 'always'")
    view_of(client, "one", SCANS["one"].format(f=folder))
    sql = "SELECT max(sqrt(a.i * b.range) + length(a.s)) FROM dh.one a, range(1000000) b"
    view_of(client, "slow", f"({sql.replace('dh.one', SCANS['one'].format(f=folder))})")
    within(run_until_interrupted(client, "FROM dh.slow"), 20)
    assert client.execute("SELECT count(*) FROM dh.one WHERE i >= 0").fetchall() == [(ROWS,)]


def test_parts_of_files_are_for_tasks_only(client):
    """Its arguments are trusted: what a client sends must not reach it."""
    call = "duckherder_files(0::UBIGINT, 'glob', ['/tmp/*'], NULL, '', ['x'], [0::UBIGINT], -1, -1, NULL)"
    with pytest.raises(duckdb.BinderException, match="for the tasks of a query only"):
        client.execute(f"CREATE VIEW dh.parts AS SELECT * FROM {call}")


@pytest.mark.parametrize("extension", ["parquet", "csv"])
def test_a_view_has_the_columns_that_its_files_have_now(tmp_path, extension):
    """Also beside tables of the client, and in a view of such a view."""
    file = tmp_path / f"f.{extension}"
    queries = [
        "FROM dh.v",
        "FROM dh.v, mine ORDER BY m",
        "FROM dh.above, mine ORDER BY m",
        "SELECT c, m FROM dh.v, mine ORDER BY m",
        "SELECT b, m FROM dh.v v JOIN mine ON v.a::VARCHAR <> m::VARCHAR ORDER BY m",
        "DESCRIBE dh.v",
        "DESCRIBE dh.above",
    ]

    def said(con, sql: str):
        try:
            cursor = con.execute(sql)
            return [column[:2] for column in cursor.description], cursor.fetchall()
        except duckdb.Error as error:
            return type(error).__name__, str(error)

    with Cluster(1, 0) as cluster, attached(cluster) as con, attached(cluster) as other, plain_with_dh() as oracle:
        duckdb.sql(f"COPY (SELECT 1 a, 'x' b) TO '{file}'")
        for each in (con, oracle):
            each.execute(f"CREATE VIEW dh.v AS FROM '{file}'")
            each.execute("CREATE VIEW dh.above AS SELECT * FROM dh.v")
        for each in (con, other, oracle):
            each.execute("CREATE TABLE mine AS SELECT 1 m UNION ALL SELECT 3")
        for change in ["3 a, 'z' b, 7 c", "5 a", "'text' a, 'z' b", "1 b, 2 a", "1 a, 'x' b"]:
            duckdb.sql(f"COPY (SELECT {change}) TO '{file}'")
            for sql in queries:
                expected = said(oracle, sql)
                assert said(con, sql) == expected, (change, sql)
                assert said(other, sql) == expected, (change, sql)
