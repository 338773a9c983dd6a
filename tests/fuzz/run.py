"""Random queries over one table or several against Duckherder and plain DuckDB.

    python -m fuzz.run [--seed N] [--queries N] [--minutes M] [--cluster local-0|local-1|local-4|remote-1|remote-4|stored-2|changed-4] ...
                       [--tables one|several] [--scale N] [--distribution always|auto|never] [--log FILE]

Prints the seed, every difference with the statements that make it again, and how many queries were really split over
workers. Exits with 1 if anything differed, or if nothing was split where it should have been.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import random
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import duckdb

from fuzz.queries import Generator, Query
from fuzz.schemas import random_schema
from fuzz.statements import Statements
from fuzz.tables import SIZES, random_table
from harness.client import attached
from harness.cluster import Cluster, Worker
from harness.compare import Result, difference
from harness.distribution import CHOICES, distribute
from harness.wait import wait_for

CLUSTERS = {
    "local-0": {},
    "local-1": {"local_workers": 1},
    "local-4": {"local_workers": 4},
    "remote-1": {"remote_workers": 1},
    "remote-4": {"remote_workers": 4},
    "stored-2": {"remote_workers": 2, "stored": True},
    # of which one has joined and one has left since they keep rows: the parts of tables that they read are scattered
    "changed-4": {"remote_workers": 4},
}
FLOAT_TOLERANCE = 1e-6
DOUBLE_TOLERANCE = 1e-9
WHOLE_MODES = {"LOCAL", "DELEGATED"}
QUERIES_A_TABLE = 25
QUERIES_A_SCHEMA = 100
# the least rows that are split, at scale 1 and smaller ones alike
MIN_SPLIT_ROWS = 122_880
# longer than the slowest query by far
HANGS_AFTER_S = 180
# what takes DuckDB itself longer is left alone
TOO_SLOW_AFTER_S = 10


@dataclass
class Report:
    """What a run found."""

    cluster: str
    seed: int
    queries: int = 0
    failed_in_duckdb: int = 0
    unstable: int = 0
    too_slow_in_duckdb: int = 0
    differences: list[str] = field(default_factory=list)
    modes: Counter = field(default_factory=Counter)
    shapes: Counter = field(default_factory=Counter)
    split_shapes: Counter = field(default_factory=Counter)

    @property
    def split(self) -> int:
        return sum(count for mode, count in self.modes.items() if mode not in WHOLE_MODES)

    def summary(self) -> str:
        modes = ", ".join(f"{mode} {count}" for mode, count in sorted(self.modes.items()))
        shapes = ", ".join(f"{shape} {self.split_shapes[shape]}/{count}" for shape, count in sorted(self.shapes.items()))
        share = self.split / self.queries if self.queries else 0
        return (
            f"{self.cluster}: seed {self.seed}, {self.queries} queries, {len(self.differences)} differences, "
            f"{share:.0%} split over workers ({modes}); errors in both {self.failed_in_duckdb}, "
            f"without one answer in DuckDB {self.unstable}, without any in time {self.too_slow_in_duckdb}\n  split by shape: {shapes}"
        )


class Fuzzer:
    """One cluster and its oracle."""

    def __init__(self, cluster: str, seed: int, with_product: bool = True, names: bool = True, distribution: str = "auto", scale: int = 1, log: str | None = None):
        self.scale = scale
        self.report = Report(cluster, seed)
        self.dice = random.Random(f"{seed}/{cluster}")
        self.stack = contextlib.ExitStack()
        self.oracle = duckdb.connect()
        self.oracle.execute("ATTACH ':memory:' AS dh")
        self.cluster: Cluster | None = None
        if with_product:
            self.cluster = self.stack.enter_context(Cluster(**CLUSTERS[cluster]))
            self.client = self.stack.enter_context(attached(self.cluster))
            if cluster.startswith("changed"):
                self._change_herd(self.cluster)
            distribute(self.client, distribution)
            self.client.execute(f"SET duckherder_min_split_rows = {MIN_SPLIT_ROWS // scale}")
        else:
            self.client = duckdb.connect()
            self.client.execute("ATTACH ':memory:' AS dh")
        self.names = names
        # every statement before it runs: what a crash of this process leaves behind
        self.log = self.stack.enter_context(open(log, "w", encoding="utf-8")) if log else None
        # the statistics keep what was counted before; every query ends in a number of its own
        self.counted: set[str] = set()

    def _change_herd(self, cluster: Cluster) -> None:
        def ask(sql: str):
            return self.client.execute(sql).fetchone()[0]

        distribute(self.client, "always")
        ask("CREATE TABLE dh.kept AS SELECT range AS a FROM range(1_000_000)")
        wait_for(lambda: ask("SELECT sum(a) FROM dh.kept") and ask("SELECT min(cached_bytes) FROM duckherder_workers()") > 0)
        count, before = "SELECT count(*) FROM duckherder_workers() WHERE state = 'ACTIVE'", len(cluster.workers)
        new = self.stack.enter_context(Worker(f"remote-{before + 1}"))
        ask(f"SELECT duckherder_register_worker('{new.worker_id}', 'grpc://{new.location}')")
        wait_for(lambda: ask("SELECT sum(a) FROM dh.kept") and ask(count) == before + 1)
        cluster.workers[0].stop()
        wait_for(lambda: ask(count) == before)
        self.client.execute("DROP TABLE dh.kept")

    def close(self) -> None:
        self.oracle.close()
        self.stack.close()

    def run(self, queries: int, deadline: float | None) -> Report:
        """Queries over one table each."""
        number = 0
        while self._goes_on(queries, deadline):
            # most tables are of a size that is split; every size has its turn
            rows = SIZES[number % len(SIZES)] if number % 2 else self.dice.choice([130_000, 180_000, 250_000, 122_881])
            table = random_table(self.dice, f"f{number % 3}", rows)
            number += 1
            if not self._make(table.statements):
                continue
            generator = Generator(self.dice, table)
            for _ in range(min(QUERIES_A_TABLE, queries - self.report.queries)):
                self._try(table.statements, generator.query())
            self._count_modes()
        return self.report

    def run_over_several(self, queries: int, deadline: float | None) -> Report:
        """Queries over several tables each."""
        number = 0
        while self._goes_on(queries, deadline):
            schema = random_schema(self.dice, f"s{number % 2}", self.scale)
            number += 1
            if not all(self._make(table.statements) for table in schema):
                continue
            statements = Statements(self.dice, schema)
            for _ in range(min(QUERIES_A_SCHEMA, queries - self.report.queries)):
                query = statements.query()
                self._try([line for table in schema if f"dh.{table.name} " in f"{query.sql} " for line in table.statements], query)
                if self.cluster is not None and self.cluster.driver.process.poll() is not None:
                    self._differs([], query.sql, f"the driver has ended: {self.cluster.driver.output()[-2000:]}")
                    return self.report
                if not self._goes_on(queries, deadline):
                    break
            self._count_modes()
        return self.report

    def _goes_on(self, queries: int, deadline: float | None) -> bool:
        return self.report.queries < queries and (deadline is None or time.monotonic() < deadline)

    def _make(self, statements: tuple[str, ...]) -> bool:
        for statement in statements:
            expected = self._run(self.oracle, statement)
            if expected.error is not None:
                raise AssertionError(f"the generator made a wrong table: {statement}: {expected.error}")
            problem = difference(self._run(self.client, statement), expected, ordered=True)
            if problem is not None:
                self._differs(statements, statement, problem)
                return False
        return True

    def _run(self, con: duckdb.DuckDBPyConnection, sql: str) -> Result:
        """Runs a statement, but not for ever."""
        if self.log is not None:
            print(f"{'DuckDB' if con is self.oracle else 'Duckherder'}: {sql};", file=self.log, flush=True)
        watchdog = threading.Timer(TOO_SLOW_AFTER_S if con is self.oracle else HANGS_AFTER_S, con.interrupt)
        watchdog.start()
        try:
            return Result.of(con, sql)
        finally:
            watchdog.cancel()

    def _try(self, statements: list[str] | tuple[str, ...], query: Query) -> None:
        self.report.queries += 1
        self.report.shapes[query.shape] += 1
        sql = f"{query.sql} -- {query.shape} {self.report.queries}"
        expected = self._run(self.oracle, sql)
        if isinstance(expected.error, duckdb.InterruptException):
            self.report.too_slow_in_duckdb += 1
            return
        got = self._run(self.client, sql)
        if expected.error is not None:
            self.report.failed_in_duckdb += 1
        tolerance = [_tolerance(kind) for kind in expected.types]
        problem = difference(got, expected, ordered=query.ordered, tolerance=tolerance, names=self.names)
        if problem is None:
            return
        # a query that DuckDB itself answers differently from run to run says nothing
        for setting, value in (("threads", "1"), ("disabled_optimizers", "'top_n,late_materialization'")):
            self.oracle.execute(f"SET {setting} = {value}")
            again = self._run(self.oracle, sql)
            self.oracle.execute(f"RESET {setting}")
            if difference(again, expected, ordered=query.ordered, tolerance=tolerance) is not None:
                self.report.unstable += 1
                return
        if expected.error is None and got.error is None:
            problem += f"\n  got {got.rows[:10]}\n  DuckDB has {expected.rows[:10]}"
        self._differs(statements, sql, problem)

    def _differs(self, statements: list[str] | tuple[str, ...], sql: str, problem: str) -> None:
        shown = ";\n".join((*statements, sql))
        self.report.differences.append(f"{self.report.cluster}, seed {self.report.seed}: {problem}\n{shown};\n")
        print(self.report.differences[-1], flush=True)

    def _count_modes(self) -> None:
        """Adds what the driver says of the queries since the last call."""
        if self.cluster is None:
            return
        rows = self.client.execute("SELECT sql, execution_mode FROM duckherder_get_query_execution_stats()").fetchall()
        for sql, mode in rows:
            if " -- " not in sql or not sql.startswith(("SELECT", "WITH", "FROM", "(")) or sql in self.counted:
                continue
            self.counted.add(sql)
            shape = sql.rsplit(" -- ", 1)[1].split()[0]
            self.report.modes[mode] += 1
            self.report.split_shapes[shape] += mode not in WHOLE_MODES


def _tolerance(kind: str) -> float:
    if "FLOAT" in kind:
        return FLOAT_TOLERANCE
    return DOUBLE_TOLERANCE if "DOUBLE" in kind else 0.0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--queries", type=int, default=2000, help="in all, spread over the clusters")
    parser.add_argument("--minutes", type=float, help="stop after this time")
    parser.add_argument("--cluster", action="append", choices=sorted(CLUSTERS), help="default: all, one after the other")
    parser.add_argument("--tables", choices=["one", "several"], default="several", help="that a query reads")
    parser.add_argument("--scale", type=int, default=1, help="several tables: each so many times smaller, and split all the same")
    parser.add_argument("--distribution", choices=CHOICES, default="always")
    parser.add_argument("--log", help="a file for every statement before it runs")
    parser.add_argument("--oracle-only", action="store_true", help="plain DuckDB on both sides")
    parser.add_argument("--any-names", action="store_true", help="do not compare column names")
    options = parser.parse_args(arguments)
    clusters = options.cluster or list(CLUSTERS)
    print(f"seed {options.seed}", flush=True)
    faulthandler.enable()
    failed = False
    for cluster in clusters:
        deadline = time.monotonic() + options.minutes * 60 / len(clusters) if options.minutes else None
        fuzzer = Fuzzer(cluster, options.seed, not options.oracle_only, not options.any_names, options.distribution, options.scale, options.log)
        run = fuzzer.run if options.tables == "one" else fuzzer.run_over_several
        try:
            report = run(-(-options.queries // len(clusters)) if not options.minutes else 10**9, deadline)
        finally:
            fuzzer.close()
        print(report.summary(), flush=True)
        failed |= bool(report.differences) or (cluster != "local-0" and not report.split and not options.oracle_only)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
