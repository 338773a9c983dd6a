"""All 22 TPC-H or 99 TPC-DS queries, distributed, against plain DuckDB: a table of how each ran.

    python -m proof.queries tpch|tpcds [--sf 0.1] [--workers 4 | --remote 2] [--distribution always|auto|never] [--query N] ...

Exits with 1 if an answer differs. Rows are compared as sets: many of the queries end in a LIMIT over an order with ties
(`ties` in the table: the rows differ, as they do in DuckDB itself when it runs the query again with one thread or
without TOP N).
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path

import duckdb

from e2e.tpch_queries import QUERIES as TPCH_QUERIES
from harness import tpch
from harness.client import attached, plain, quote
from harness.cluster import Cluster
from harness.compare import Result, difference, float_tolerances
from harness.distribution import CHOICES, distribute, run_of
from proof import tpcds_data

LIMIT_S = 120


def data(suite: str, scale_factor: str) -> tuple[Path, list[str], dict[int, str]]:
    """The folder of the tables' Parquet files, the tables and the queries."""
    if suite == "tpcds":
        return tpcds_data.make(scale_factor)
    folder = Path(sys.prefix).parent / f"tpch-sf{scale_factor}-parquet"
    return tpch.make(folder, scale_factor), tpch.TABLES, TPCH_QUERIES


def load(con: duckdb.DuckDBPyConnection, folder, tables: list[str]) -> None:
    for table in tables:
        con.execute(f"CREATE TABLE dh.{table} AS SELECT * FROM {quote(folder / f'{table}.parquet')}")
    con.execute("USE dh")


def timed(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Result, float]:
    """A result and the seconds it took; what takes too long is interrupted, which is an error."""
    watchdog = threading.Timer(LIMIT_S, con.interrupt)
    watchdog.start()
    start = time.monotonic()
    try:
        return Result.of(con, sql), time.monotonic() - start
    finally:
        watchdog.cancel()


def has_ties(oracle: duckdb.DuckDBPyConnection, sql: str, expected: Result) -> bool:
    """Whether DuckDB itself has several answers."""
    for setting, value in (("threads", "1"), ("disabled_optimizers", "'top_n'"), ("disabled_optimizers", "'join_order'")):
        oracle.execute(f"SET {setting} = {value}")
        again = Result.of(oracle, sql)
        oracle.execute(f"RESET {setting}")
        if difference(again, expected, ordered=False, tolerance=float_tolerances(expected.types)) is not None:
            return True
    return False


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=("tpch", "tpcds"))
    parser.add_argument("--sf", default="0.1", help="scale factor")
    parser.add_argument("--workers", type=int, default=4, help="in the driver's process")
    parser.add_argument("--remote", type=int, default=0, help="workers in processes of their own, instead")
    parser.add_argument("--distribution", choices=CHOICES, default="always")
    parser.add_argument("--query", type=int, action="append", help="this one only; can be repeated")
    options = parser.parse_args(arguments)
    folder, tables, queries = data(options.suite, options.sf)
    cluster = Cluster(remote_workers=options.remote) if options.remote else Cluster(local_workers=options.workers)
    wrong, split, distributed = [], 0, 0
    with cluster, attached(cluster) as client, plain() as oracle:
        for con in (client, oracle):
            load(con, folder, tables)
        distribute(client, options.distribution)
        print(f"{'query':<6} {'mode':<20} {'workers':>7} {'tasks':>5} {'equal':<6} {'ms':>7} {'DuckDB ms':>9}")
        chosen = options.query or sorted(queries)
        for number in chosen:
            sql = queries[number].rstrip().rstrip(";")
            expected, plain_s = timed(oracle, sql)
            got, seconds = timed(client, f"{sql} -- query {number}.")
            problem = difference(got, expected, ordered=False, tolerance=float_tolerances(expected.types))
            equal = "yes"
            if problem is not None:
                equal = "ties" if got.error is None and has_ties(oracle, sql, expected) else "NO"
            run = run_of(client, f"-- query {number}.") if got.error is None else None
            mode, workers, tasks = (run.mode, run.workers, run.tasks) if run else ("failed", 0, 0)
            split += run is not None and run.split
            distributed += run is not None and run.distributed
            print(f"Q{number:<5} {mode:<20} {workers:>7} {tasks:>5} {equal:<6} {seconds * 1e3:>7.0f} {plain_s * 1e3:>9.0f}", flush=True)
            if equal == "NO":
                wrong.append(number)
                print(f"       {problem[:1500]}", flush=True)
            if cluster.driver.process.poll() is not None:
                print(f"the driver has ended:\n{cluster.driver.output()[-2000:]}")
                break
    print(f"{len(chosen)} queries: {split} split over workers, {distributed} run on workers, {len(wrong)} wrong: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
