"""TPC-H on a driver with workers, queried from a stock DuckDB: the second half of `cargo xtask demo`."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import tpch
from harness.client import attached, plain
from harness.cluster import Cluster

QUERIES = {
    "TPC-H Q1: pricing summary": tpch.Q1,
    "TPC-H Q6: forecast revenue change": tpch.Q6,
    "Orders by how they were shipped": """\
SELECT l_shipmode, count(*) AS lines, count(DISTINCT l_orderkey) AS orders, max(l_receiptdate - l_shipdate) AS slowest_days
FROM dh.lineitem GROUP BY l_shipmode ORDER BY l_shipmode""",
    "The dearest orders": """\
SELECT o_orderkey, o_orderdate, o_totalprice FROM dh.orders ORDER BY o_totalprice DESC, o_orderkey LIMIT 5""",
    "TPC-H Q5: local supplier volume": """\
SELECT n_name, sum(l_extendedprice * (1 - l_discount)) AS revenue
FROM dh.customer, dh.orders, dh.lineitem, dh.supplier, dh.nation, dh.region
WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND l_suppkey = s_suppkey AND c_nationkey = s_nationkey
  AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey AND r_name = 'ASIA'
  AND o_orderdate >= DATE '1994-01-01' AND o_orderdate < DATE '1995-01-01'
GROUP BY n_name ORDER BY revenue DESC""",
}

STATISTICS = """\
SELECT left(regexp_replace(sql, '\\s+', ' ', 'g'), 48) AS sql, execution_mode, merge_strategy,
       query_duration_ms AS ms, num_workers_used AS workers, num_tasks_generated AS tasks
FROM duckherder_get_query_execution_stats() WHERE starts_with(sql, 'SELECT') AND NOT starts_with(sql, 'SELECT count(*)')
ORDER BY execution_start_time"""


def same(left, right) -> bool:
    """Equal values; floating point numbers may differ in the last digits, since partial sums are added up."""
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-12)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def rows(table: pa.Table) -> list:
    return [list(row.values()) for row in table.to_pylist()]


def timed(con, sql: str) -> tuple[pa.Table, float]:
    start = time.monotonic()
    table = con.execute(sql).to_arrow_table()
    return table, time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the tables as Arrow files")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()

    with Cluster(local_workers=arguments.workers) as cluster, attached(cluster) as con, plain() as oracle:
        print(f"\nA driver with {arguments.workers} workers listens on 127.0.0.1:{cluster.port}.")
        print(f"A stock DuckDB {duckdb.__version__} has loaded the extension and said:")
        print(f"  ATTACH '' AS dh (TYPE duckherder, server_host '127.0.0.1', server_port {cluster.port});\n")
        for table in tpch.TABLES:
            tpch.load_table(con, arguments.data, table, f"dh.{table}")
        for table in tpch.TABLES:
            batches, _ = tpch.open_table(arguments.data, table)
            oracle.register("tpch_rows", batches).execute(f"CREATE TABLE dh.{table} AS SELECT * FROM tpch_rows")

        different = 0
        for title, sql in QUERIES.items():
            print(f"\n-- {title}\n{sql};")
            answer, seconds = timed(con, sql)
            expected, plain_seconds = timed(oracle, sql)
            oracle.from_arrow(answer).show(max_width=160)
            equal = same(rows(answer), rows(expected))
            different += not equal
            verdict = "the same rows as plain DuckDB" if equal else "NOT THE SAME ROWS AS PLAIN DUCKDB"
            print(f"{seconds * 1000:.0f} ms, {verdict} ({plain_seconds * 1000:.0f} ms)")

        print("\n-- How the driver ran them: duckherder_get_query_execution_stats()")
        con.sql(STATISTICS).show(max_width=160, max_rows=60)
        if different:
            raise SystemExit(f"{different} of {len(QUERIES)} answers differ from plain DuckDB")


if __name__ == "__main__":
    main()
