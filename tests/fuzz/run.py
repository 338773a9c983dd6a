"""Random queries against Duckherder and plain DuckDB.

    python -m fuzz.run [--seed N] [--queries N] [--minutes M] [--cluster local-0|local-1|local-4|remote-1|remote-4] ...

Prints the seed, every difference with the statements that make it again, and how many queries were really split over
workers. Exits with 1 if anything differed, or if nothing was split where it should have been.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import duckdb

from fuzz.queries import Generator, Query
from fuzz.tables import SIZES, Table, random_table
from harness.client import attached
from harness.cluster import Cluster
from harness.compare import Result, difference

CLUSTERS = {
    "local-0": {},
    "local-1": {"local_workers": 1},
    "local-4": {"local_workers": 4},
    "remote-1": {"remote_workers": 1},
    "remote-4": {"remote_workers": 4},
}
FLOAT_TOLERANCE = 1e-6
DOUBLE_TOLERANCE = 1e-9
SPLIT_MODES = {"NATURAL_PARTITION", "ROW_GROUP_PARTITION"}
QUERIES_A_TABLE = 25


@dataclass
class Report:
    """What a run found."""

    cluster: str
    seed: int
    queries: int = 0
    failed_in_duckdb: int = 0
    unstable: int = 0
    differences: list[str] = field(default_factory=list)
    modes: Counter = field(default_factory=Counter)
    shapes: Counter = field(default_factory=Counter)
    split_shapes: Counter = field(default_factory=Counter)

    @property
    def split(self) -> int:
        return sum(count for mode, count in self.modes.items() if mode in SPLIT_MODES)

    def summary(self) -> str:
        modes = ", ".join(f"{mode} {count}" for mode, count in sorted(self.modes.items()))
        shapes = ", ".join(f"{shape} {self.split_shapes[shape]}/{count}" for shape, count in sorted(self.shapes.items()))
        share = self.split / self.queries if self.queries else 0
        return (
            f"{self.cluster}: seed {self.seed}, {self.queries} queries, {len(self.differences)} differences, "
            f"{share:.0%} split over workers ({modes}); errors in both {self.failed_in_duckdb}, "
            f"without one answer in DuckDB {self.unstable}\n  split by shape: {shapes}"
        )


class Fuzzer:
    """One cluster and its oracle."""

    def __init__(self, cluster: str, seed: int, with_product: bool = True, names: bool = True):
        self.report = Report(cluster, seed)
        self.dice = random.Random(f"{seed}/{cluster}")
        self.stack = contextlib.ExitStack()
        self.oracle = duckdb.connect()
        self.oracle.execute("ATTACH ':memory:' AS dh")
        if with_product:
            running = self.stack.enter_context(Cluster(**CLUSTERS[cluster]))
            self.client = self.stack.enter_context(attached(running))
        else:
            self.client = duckdb.connect()
            self.client.execute("ATTACH ':memory:' AS dh")
        self.with_product = with_product
        self.names = names
        # the statistics keep what was counted before; every query ends in a number of its own
        self.counted: set[str] = set()

    def close(self) -> None:
        self.oracle.close()
        self.stack.close()

    def run(self, queries: int, deadline: float | None) -> Report:
        number = 0
        while self.report.queries < queries and (deadline is None or time.monotonic() < deadline):
            # most tables are of a size that is split; every size has its turn
            rows = SIZES[number % len(SIZES)] if number % 2 else self.dice.choice([200_000, 250_000, 400_000, 122_881])
            table = random_table(self.dice, f"f{number % 3}", rows)
            number += 1
            if not self._make(table):
                continue
            generator = Generator(self.dice, table)
            for _ in range(min(QUERIES_A_TABLE, queries - self.report.queries)):
                self._try(table, generator.query())
            if self.with_product:
                self._count_modes()
        return self.report

    def _make(self, table: Table) -> bool:
        for statement in table.statements:
            expected = Result.of(self.oracle, statement)
            if expected.error is not None:
                raise AssertionError(f"the generator made a wrong table: {statement}: {expected.error}")
            problem = difference(Result.of(self.client, statement), expected, ordered=True)
            if problem is not None:
                self._differs(table, statement, problem)
                return False
        return True

    def _try(self, table: Table, query: Query) -> None:
        self.report.queries += 1
        self.report.shapes[query.shape] += 1
        sql = f"{query.sql} -- {query.shape} {self.report.queries}"
        expected = Result.of(self.oracle, sql)
        got = Result.of(self.client, sql)
        if expected.error is not None:
            self.report.failed_in_duckdb += 1
        tolerance = [_tolerance(kind) for kind in expected.types]
        problem = difference(got, expected, ordered=query.ordered, tolerance=tolerance, names=self.names)
        if problem is None:
            return
        # a query that DuckDB itself answers differently from run to run says nothing
        self.oracle.execute("SET threads = 1")
        again = Result.of(self.oracle, sql)
        self.oracle.execute("RESET threads")
        if difference(again, expected, ordered=query.ordered, tolerance=tolerance) is not None:
            self.report.unstable += 1
            return
        self._differs(table, sql, problem)

    def _differs(self, table: Table, sql: str, problem: str) -> None:
        statements = ";\n".join((*table.statements, sql))
        self.report.differences.append(f"{self.report.cluster}, seed {self.report.seed}: {problem}\n{statements};\n")
        print(self.report.differences[-1], flush=True)

    def _count_modes(self) -> None:
        """Adds what the driver says of the queries since the last call."""
        rows = self.client.execute("SELECT sql, execution_mode FROM duckherder_get_query_execution_stats()").fetchall()
        for sql, mode in rows:
            if " -- " not in sql or not sql.startswith(("SELECT", "WITH")) or sql in self.counted:
                continue
            self.counted.add(sql)
            shape = sql.rsplit(" -- ", 1)[1].split()[0]
            self.report.modes[mode] += 1
            self.report.split_shapes[shape] += mode in SPLIT_MODES


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
    parser.add_argument("--oracle-only", action="store_true", help="plain DuckDB on both sides")
    parser.add_argument("--any-names", action="store_true", help="do not compare column names")
    options = parser.parse_args(arguments)
    clusters = options.cluster or list(CLUSTERS)
    print(f"seed {options.seed}", flush=True)
    failed = False
    for cluster in clusters:
        deadline = time.monotonic() + options.minutes * 60 / len(clusters) if options.minutes else None
        fuzzer = Fuzzer(cluster, options.seed, not options.oracle_only, not options.any_names)
        try:
            report = fuzzer.run(-(-options.queries // len(clusters)) if not options.minutes else 10**9, deadline)
        finally:
            fuzzer.close()
        print(report.summary(), flush=True)
        failed |= bool(report.differences) or (cluster != "local-0" and not report.split and not options.oracle_only)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
