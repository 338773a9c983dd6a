"""COPY TO a directory that the driver runs: its tasks write the files, and what is there then is what plain DuckDB would
have put there. A client's own COPY TO writes in the client."""

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
from harness.cluster import Cluster, Worker
from harness.distribution import run_of
from harness.wait import timely, wait_for

KINDS = {"local": (2, 0), "mixed": (1, 1)}
ROWS = 400_000
TABLE = f"""
    SELECT range AS i, CASE WHEN range % 11 = 0 THEN NULL ELSE 's' || range END AS s, range % 5 AS g,
           DATE '2020-01-01' + (range % 3)::INTEGER AS day, (range % 1000)::DECIMAL(9, 2) / 4 AS d,
           {{'x': range % 5, 'l': [range, NULL]}} AS n, (['a', 'b', 'c'])[range % 3 + 1]::ENUM('a', 'b', 'c') AS e
    FROM range({ROWS})"""
#: Keeps tasks busy for some seconds.
SLOW = "SELECT i, levenshtein(repeat(s, 30), repeat('name ' || i, 30)) AS l FROM dh.t WHERE i % 8 = 1"
#: More than anybody waits for.
ENDLESS = SLOW.replace(" WHERE i % 8 = 1", "")


@pytest.fixture(scope="module", params=KINDS)
def cluster(request):
    local, remote = KINDS[request.param]
    with Cluster(local_workers=local, remote_workers=remote) as running:
        with attached(running) as con:
            con.execute(f"CREATE TABLE dh.t AS {TABLE}")
        yield running


@pytest.fixture(scope="module")
def plain():
    con = duckdb.connect()
    con.execute("ATTACH ':memory:' AS dh")
    con.execute(f"CREATE TABLE dh.t AS {TABLE}")
    yield con
    con.close()


def of_driver(sql: str) -> str:
    """A statement that is the driver's, whatever it is."""
    return f"FROM dh.duckherder_query('dh', {quote(sql.replace('dh.t', 't'))})"


def on_driver(con, sql: str) -> list[tuple]:
    """The rows of such a statement."""
    return con.execute(of_driver(sql)).fetchall()


def read(plain, directory: Path) -> tuple:
    """Columns and rows, in any order, of all files below, as plain DuckDB reads them; a directory that is named `k=v` is a
    column."""
    files = f"read_parquet({quote(directory / '**/*.parquet')}, hive_partitioning = true)"
    return plain.execute(f"DESCRIBE FROM {files}").fetchall(), rows_of(plain, f"FROM {files}")


def rows_of(plain, query: str) -> list[tuple]:
    return plain.execute(f"SELECT count(*), sum(hash(r)::HUGEINT), bit_xor(hash(r)) FROM ({query}) AS r").fetchall()


def files_of(directory: Path) -> list[str]:
    """All files, hidden ones, too; random parts of their names left out."""
    found = [str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()]
    found += [f"{path.relative_to(directory)}/" for path in directory.rglob(".*") if path.is_dir()]
    return sorted(re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", name) for name in found)


SHAPES = {
    "a file a task": ("FROM dh.t", "PER_THREAD_OUTPUT true"),
    "few columns": ("SELECT i, s AS \"odd 'name'\" FROM dh.t WHERE g < 3", "PER_THREAD_OUTPUT, COMPRESSION zstd, ROW_GROUP_SIZE 5000"),
    "files of a size": ("FROM dh.t", "FILE_SIZE_BYTES '1MB', ROW_GROUP_SIZE 20000"),
    "row groups a file": ("FROM dh.t", "ROW_GROUPS_PER_FILE 2, ROW_GROUP_SIZE 30720"),
    "partitions": ("FROM dh.t", "PARTITION_BY (g, day)"),
    "partitions that stay": ("SELECT g, i, s FROM dh.t", "PARTITION_BY g, WRITE_PARTITION_COLUMNS true"),
    "flat partitions": ("SELECT g, i, s FROM dh.t", "PARTITION_BY g, WRITE_PARTITION_COLUMNS, HIVE_FILE_PATTERN false"),
    "groups": ("SELECT i % 90000 AS k, count(*) AS n, sum(d) AS d FROM dh.t GROUP BY k", "PER_THREAD_OUTPUT true"),
    "a join": ("SELECT a.i, b.s FROM dh.t a JOIN dh.t b ON a.i = b.i + 1", "PER_THREAD_OUTPUT true"),
    "no rows": ("SELECT i, s FROM dh.t WHERE i % 7 = 9", "PER_THREAD_OUTPUT true"),
    "no rows in most tasks": ("SELECT i, s FROM dh.t WHERE i = 7", "PER_THREAD_OUTPUT true"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_tasks_write_what_duckdb_writes(cluster, plain, tmp_path, shape):
    query, options = SHAPES[shape]
    expected = tmp_path / "plain"
    count = plain.execute(f"COPY ({query}) TO {quote(expected)} (FORMAT parquet, {options})").fetchall()
    with attached(cluster) as con:
        con.execute("SET duckherder_distribution = 'always'")
        copy = f"COPY ({query}) TO '{{}}' (FORMAT parquet, {options})"
        explained = on_driver(con, "EXPLAIN " + copy.format(tmp_path / "ours"))[0][1]
        if shape != "groups":  # which the driver merges, where they are few
            assert "Duckherder Write" in explained and "writes a file" in explained, explained
        assert [path.name for path in tmp_path.iterdir()] == ["plain"], "planning leaves nothing behind"
        assert on_driver(con, copy.format(tmp_path / "ours")) == count
        run = run_of(con, f"{tmp_path}/ours")
        assert run.tasks > 1, run
        listed = on_driver(con, copy.format(tmp_path / "again").replace(options, f"{options}, RETURN_FILES"))
    assert read(plain, tmp_path / "ours") == read(plain, expected)
    assert listed[0][0] == count[0][0]
    on_disk = sorted(str(path) for path in (tmp_path / "again").rglob("*.parquet"))
    assert sorted(listed[0][1]) == on_disk
    if shape != "groups":  # one a thread that had some
        assert files_of(tmp_path / "again") == files_of(tmp_path / "ours")
    if shape.startswith("no rows"):
        assert len(on_disk) == 1  # as DuckDB's threads that have no rows
    elif "PER_THREAD_OUTPUT" in options and shape not in ("groups", "a join"):
        assert len(on_disk) == run.tasks


#: One after the other, into one directory: what is there already, and what becomes of it.
STEPS = [
    "PER_THREAD_OUTPUT",
    "PER_THREAD_OUTPUT",
    "PER_THREAD_OUTPUT, OVERWRITE_OR_IGNORE, FILENAME_PATTERN 'other_{i}'",
    "PER_THREAD_OUTPUT, APPEND",
    "PER_THREAD_OUTPUT, APPEND, FILENAME_PATTERN 'x_{uuid}_{i}'",
    "PER_THREAD_OUTPUT, APPEND, FILENAME_PATTERN 'x_{i}'",
    "PER_THREAD_OUTPUT, OVERWRITE, OVERWRITE_OR_IGNORE",
    "PER_THREAD_OUTPUT, OVERWRITE, FILENAME_PATTERN 'same'",
    "PER_THREAD_OUTPUT, OVERWRITE_OR_IGNORE, FILENAME_PATTERN 'same'",
    "PARTITION_BY g, OVERWRITE",
    "PARTITION_BY g",
    "PARTITION_BY g, OVERWRITE_OR_IGNORE",
    "PARTITION_BY g, APPEND",
    "PER_THREAD_OUTPUT, OVERWRITE, FILE_EXTENSION 'pq'",
    "PER_THREAD_OUTPUT, PARTITION_BY g",
    "PER_THREAD_OUTPUT, OVERWRITE, PRESERVE_ORDER true",
    "PER_THREAD_OUTPUT, NO_SUCH_OPTION",
]


def outcome(run, sql: str, place: Path) -> str:
    try:
        return repr(run(sql))
    except duckdb.Error as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}".replace(str(place), "PLACE")


def names_without_numbers(directory: Path) -> set[str]:
    """DuckDB has a file a thread, and a partition one; tasks have one each."""
    return {re.sub(r"\d+(?=\.)", "N", name) for name in files_of(directory)}


def test_the_rules_of_directories_are_duckdbs(cluster, plain, tmp_path):
    with attached(cluster) as con:
        con.execute("SET duckherder_distribution = 'always'")
        for step, options in enumerate(STEPS):
            results = []
            for name, run in (("plain", lambda sql: plain.execute(sql).fetchall()), ("ours", lambda sql: on_driver(con, sql))):
                place = tmp_path / name
                copy = f"COPY (SELECT i, g, s FROM dh.t) TO '{place}/d' (FORMAT parquet, {options})"
                place.mkdir(exist_ok=True)
                results.append((outcome(run, copy, place), names_without_numbers(place)))
            assert results[0] == results[1], (step, options)
        for name, run in (("plain", lambda sql: plain.execute(sql).fetchall()), ("ours", lambda sql: on_driver(con, sql))):
            place = tmp_path / f"{name} of a file"
            place.write_text("a file")
            for options in ("PER_THREAD_OUTPUT", "PER_THREAD_OUTPUT, OVERWRITE"):
                results.append(outcome(run, f"COPY (SELECT i FROM dh.t) TO '{place}' (FORMAT parquet, {options})", place))
        assert results[2:4] == results[4:6]
        missing = tmp_path / "no" / "such" / "directory"
        copy = f"COPY (SELECT i FROM dh.t) TO '{missing}' (FORMAT parquet, PER_THREAD_OUTPUT)"
        assert outcome(lambda sql: on_driver(con, sql), copy, tmp_path).startswith("IOException")
        assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("options", ["PER_THREAD_OUTPUT", "PARTITION_BY g", "FILE_SIZE_BYTES '100KB', ROW_GROUP_SIZE 2048"])
def test_a_task_that_fails_leaves_nothing(cluster, plain, tmp_path, options):
    """The last rows fail, when others have been written."""
    fails = f"SELECT CASE WHEN i = {ROWS - 1} THEN s::INTEGER ELSE i END AS i, g FROM dh.t"
    with attached(cluster) as con:
        con.execute("SET duckherder_distribution = 'always'")
        with pytest.raises(duckdb.ConversionException, match=f"Could not convert string 's{ROWS - 1}'"):
            on_driver(con, f"COPY ({fails}) TO '{tmp_path}/d' (FORMAT parquet, {options})")
        assert list(tmp_path.iterdir()) == []
        # what was there stays, although it was to be replaced
        on_driver(con, f"COPY (SELECT i, g FROM dh.t) TO '{tmp_path}/d' (FORMAT parquet, {options})")
        before = files_of(tmp_path), read(plain, tmp_path)
        with pytest.raises(duckdb.ConversionException):
            on_driver(con, f"COPY ({fails}) TO '{tmp_path}/d' (FORMAT parquet, {options}, OVERWRITE)")
        assert (files_of(tmp_path), read(plain, tmp_path)) == before


def wait_until_tasks_run(directory: Path) -> None:
    wait_for(lambda: any(directory.glob(".duckherder-*")))
    time.sleep(0.1)


def test_an_interrupt_leaves_nothing(cluster, tmp_path):
    with attached(cluster) as con:
        con.execute("SET duckherder_distribution = 'always'")

        endless = of_driver(f"COPY ({ENDLESS}) TO '{tmp_path}/d' (FORMAT parquet, PER_THREAD_OUTPUT)")
        run_until_interrupted(con, endless, 0, once=lambda: wait_until_tasks_run(tmp_path / "d"))
        wait_for(lambda: list(tmp_path.iterdir()) == [], 60)
        # nor does a task that ends late
        time.sleep(0.5)
        assert list(tmp_path.iterdir()) == []
        assert on_driver(con, f"COPY (FROM dh.t) TO '{tmp_path}/d' (FORMAT parquet, PER_THREAD_OUTPUT)") == [(ROWS,)]


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_lost_loses_and_doubles_no_row(plain, tmp_path, with_signal):
    expected = plain.execute(f"SELECT count(*), sum(i), sum(l) FROM ({SLOW})").fetchall()
    with Cluster(0, 3, driver_arguments=("--worker-timeout", "3")) as cluster, attached(cluster) as con:
        con.execute("SET duckherder_distribution = 'always'")
        con.execute(f"CREATE TABLE dh.t AS {TABLE}")
        victim = cluster.workers[1]

        def lose() -> None:
            wait_until_tasks_run(tmp_path / "d")
            os.kill(victim.pid, with_signal)

        thread = threading.Thread(target=lose)
        thread.start()
        try:
            count = on_driver(con, f"COPY ({SLOW}) TO '{tmp_path}/d' (FORMAT parquet, PER_THREAD_OUTPUT)")
        finally:
            thread.join()
        assert count == [(expected[0][0],)]
        timely("once more" in cluster.driver.output(), "no worker was lost")
        files = files_of(tmp_path / "d")
        assert plain.execute(f"SELECT count(*), sum(i), sum(l) FROM '{tmp_path}/d/*.parquet'").fetchall() == expected
        if with_signal == signal.SIGSTOP:
            # it goes on with what nobody wants any more
            os.kill(victim.pid, signal.SIGCONT)
            time.sleep(2)
        assert files_of(tmp_path / "d") == files and not any(name.startswith(".") for name in files)


def test_a_worker_that_writes_elsewhere_writes_nothing(plain, tmp_path):
    """Of one path, every process has a directory of its own."""
    mine, others = tmp_path / "driver", tmp_path / "worker"
    mine.mkdir()
    others.mkdir()
    before = os.getcwd()
    copy = "COPY (SELECT i, s FROM dh.t) TO '/proc/self/cwd/{}' (FORMAT parquet, PER_THREAD_OUTPUT)"
    try:
        os.chdir(mine)
        with Cluster(local_workers=0, remote_workers=1) as cluster, attached(cluster) as con:
            con.execute("SET duckherder_distribution = 'always'")
            con.execute(f"CREATE TABLE dh.t AS {TABLE}")
            assert "Duckherder Write" in on_driver(con, "EXPLAIN " + copy.format("a"))[0][1]
            os.chdir(others)
            with Worker("elsewhere") as worker:
                con.execute("SELECT duckherder_register_worker('elsewhere', ?)", [f"grpc://{worker.location}"]).fetchall()
                text = " ".join(on_driver(con, "EXPLAIN " + copy.format("b"))[0][1].replace("│", " ").split())
                assert "the driver writes the files: worker 'elsewhere' can't write to the driver's directory" in text, text
                assert on_driver(con, copy.format("b")) == [(ROWS,)]
                # its SELECT runs on the workers all the same
                assert run_of(con, "/proc/self/cwd/b").tasks > 1
        assert list(others.iterdir()) == [] and files_of(mine) and not any("." == name[0] for name in files_of(mine))
        assert read(plain, mine / "b")[1] == rows_of(plain, "SELECT i, s FROM dh.t")
    finally:
        os.chdir(before)


DRIVER_WRITES = {
    "FORMAT csv, PER_THREAD_OUTPUT": "files of the format csv are the driver's to write",
    "FORMAT parquet, PER_THREAD_OUTPUT, RETURN_STATS": "COPY has the option return_stats",
    "FORMAT parquet, ROW_GROUPS_PER_FILE 3, WRITE_EMPTY_FILE false": "COPY has the option write_empty_file",
    "FORMAT parquet, PER_THREAD_OUTPUT, KV_METADATA {a: 'b'}": "COPY has the option kv_metadata",
    "FORMAT parquet, PARTITION_BY g, ORDER_BY (i)": "COPY has the option order_by",
    "FORMAT parquet, PARTITION_BY g, PARTITION_PATH 'of_' || g": "COPY has the option partition_path",
}


@pytest.mark.parametrize("options", DRIVER_WRITES)
def test_what_the_driver_writes_itself(cluster, tmp_path, options):
    with attached(cluster) as con:
        con.execute("SET duckherder_distribution = 'always'")
        copy = f"COPY (SELECT i, g, s FROM dh.t) TO '{tmp_path}/d' ({options})"
        text = " ".join(on_driver(con, "EXPLAIN " + copy)[0][1].replace("│", " ").split())
        assert f"the driver writes the files: {DRIVER_WRITES[options]}" in text, text
        on_driver(con, copy)
        assert run_of(con, f"{tmp_path}/d").tasks > 1
        assert files_of(tmp_path) and not any("duckherder" in name for name in files_of(tmp_path))


def test_a_single_file_is_written_where_its_statement_runs(cluster, plain, tmp_path):
    with attached(cluster) as con:
        con.execute("SET duckherder_distribution = 'always'")
        assert on_driver(con, f"COPY (FROM dh.t) TO '{tmp_path}/driver.parquet'") == [(ROWS,)]
        assert run_of(con, f"{tmp_path}/driver.parquet").tasks > 1
        assert con.execute(f"COPY (FROM dh.t) TO '{tmp_path}/client.parquet'").fetchall() == [(ROWS,)]
        assert run_of(con, f"{tmp_path}/client.parquet").tasks > 1
    for name in ("driver", "client"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.parquet").rename(tmp_path / name / "t.parquet")
    assert read(plain, tmp_path / "driver")[1] == read(plain, tmp_path / "client")[1]


#: A client's COPY, in every form.
CLIENT = [
    "COPY dh.t TO '{}' (FORMAT parquet, PER_THREAD_OUTPUT)",
    "COPY (SELECT i, s FROM dh.t WHERE g = 3) TO '{}' (FORMAT parquet, PER_THREAD_OUTPUT)",
    "COPY dh.t TO '{}' (FORMAT parquet, PARTITION_BY g)",
    "WITH w AS (COPY (SELECT i FROM dh.t) TO '{}' (FORMAT parquet, PER_THREAD_OUTPUT)) FROM w",
]


@pytest.mark.parametrize("sql", CLIENT)
def test_files_of_a_client_are_the_clients(cluster, tmp_path, sql):
    """Its working directory is not the driver's."""
    before = os.getcwd()
    try:
        os.chdir(tmp_path)
        with attached(cluster) as con:
            con.execute("SET duckherder_distribution = 'always'")
            ((count,),) = con.execute(sql.format("here")).fetchall()
            assert count == (ROWS // 5 if "g = 3" in sql else ROWS)
            assert con.execute("SELECT count(*) FROM 'here/**/*.parquet'").fetchall() == [(count,)]
    finally:
        os.chdir(before)
