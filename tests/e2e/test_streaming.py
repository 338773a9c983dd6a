"""Large results and large inserts: complete, in order, and in bounded memory on both sides."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.client import attached
from harness.cluster import EXTENSION

ROWS = 3_000_000

CLIENT = """
import resource, sys, duckdb
con = duckdb.connect(config={"allow_unsigned_extensions": "true", "memory_limit": "1GB"})
con.execute(f"LOAD '{sys.argv[1]}'")
con.execute(f"ATTACH '127.0.0.1:{sys.argv[2]}' AS dh (TYPE duckherder)")
con.execute("SELECT count(*) FROM dh.large").fetchall()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = next_id = 0
for batch in con.sql("SELECT * FROM dh.large").to_arrow_reader(100_000):
    ids = batch.column(0)
    assert ids[0].as_py() == next_id, (ids[0].as_py(), next_id)
    next_id = ids[len(ids) - 1].as_py() + 1
    rows += batch.num_rows
print(rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.fixture(scope="module")
def large(any_cluster):
    with attached(any_cluster) as con:
        con.execute(f"CREATE OR REPLACE TABLE dh.large AS SELECT range AS id, md5(range::VARCHAR) AS a, md5((range + 1)::VARCHAR) AS b, range / 3 AS c, repeat('y', (range % 200)::INTEGER) AS s FROM range({ROWS})")
    return any_cluster


def test_a_large_table_streams_in_order_and_in_bounded_memory(large):
    command = [sys.executable, "-c", CLIENT, str(EXTENSION), str(large.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows, grown_mib = map(int, done.stdout.split()[-2:])
    assert rows == ROWS
    assert grown_mib < 300


def test_a_slow_reader_does_not_fill_the_driver(large):
    with attached(large) as con:
        reader = con.sql("SELECT a.*, b.range AS r FROM dh.large a, range(20) b").to_arrow_reader(50_000)
        for _ in range(3):
            reader.read_next_batch()
        import time

        time.sleep(2)
        before = large.driver.memory_bytes()
        time.sleep(2)
        assert large.driver.memory_bytes() - before < 200 << 20


def test_a_large_local_table_goes_over(large):
    with attached(large) as con:
        con.execute("CREATE TABLE loc AS SELECT range AS id, 'name ' || range AS s, [range, NULL] AS l FROM range(2_000_000)")
        assert con.execute("CREATE OR REPLACE TABLE dh.got AS SELECT * FROM loc").fetchall() in ([], [(2_000_000,)])
        assert con.execute("INSERT INTO dh.got SELECT id + 2_000_000, s, l FROM loc WHERE id % 2 = 0").fetchall() == [(1_000_000,)]
        count = con.execute("SELECT count(*), sum(id), sum(hash(s) % 1000), count(l) FROM dh.got WHERE id < 2_000_000").fetchall()
        assert count == con.execute("SELECT count(*), sum(id), sum(hash(s) % 1000), count(l) FROM loc").fetchall()
        assert con.execute("SELECT id FROM dh.got WHERE id < 2_000_000 LIMIT 3 OFFSET 1_500_000").fetchall() == [(1_500_000,), (1_500_001,), (1_500_002,)]
        # and back
        con.execute("CREATE TABLE back AS SELECT * FROM dh.got WHERE id < 2_000_000")
        assert con.execute("SELECT count(*) FROM (FROM loc EXCEPT FROM back)").fetchone() == (0,)
        con.execute("DROP TABLE dh.got")


def test_every_type_over_many_batches(large):
    """Exactly what was sent comes back, in vectors of every fill."""
    with attached(large) as con:
        con.execute(
            "CREATE TABLE typed AS SELECT range AS id, * EXCLUDE (small_enum, medium_enum, large_enum) "
            "FROM range(3000), test_all_types()"
        )
        con.execute("CREATE OR REPLACE TABLE dh.typed AS SELECT * FROM typed")
        con.execute("CREATE TABLE back AS SELECT * FROM dh.typed")
        text = "SELECT count(*), sum(hash(COLUMNS(*)::VARCHAR)) FROM {}"
        assert con.execute(text.format("back")).fetchall() == con.execute(text.format("typed")).fetchall()
        same_types = "SELECT column_name, column_type FROM (DESCRIBE {})"
        assert con.execute(same_types.format("back")).fetchall() == con.execute(same_types.format("typed")).fetchall()
        con.execute("DROP TABLE dh.typed")
