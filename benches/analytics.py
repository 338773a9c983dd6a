"""All queries of TPC-H or TPC-DS: plain DuckDB beside clients that distribute 'auto' and 'always'
(`cargo xtask bench tpch`, `cargo xtask bench tpcds`)."""

from __future__ import annotations

import argparse
import os
import re
import time
from pathlib import Path

import report
import tpch
from contenders import PLAIN, Contender, all_contenders
from e2e.tpch_queries import QUERIES as TPCH_QUERIES
from harness.client import quote
from harness.compare import Result, difference, float_tolerances
from harness.distribution import distribute
from measure import Samples
from proof import tpcds_data
from report import Target

#: What runs: the number of a contender, and how its queries are distributed.
SERIES = {PLAIN: (0, None), "auto": (2, "auto"), "always": (2, "always"), "separate, always": (3, "always")}
#: Queries that plain DuckDB answers faster are not judged one by one.
JUDGED_FROM_MS = 50

TARGETS = [
    Target("total", "auto", "ratio", "<=", 1.25),
    Target("total", "always", "ratio", "<=", 1.6),
    Target("slowest ratio", "auto", "max", "<=", 2),
    Target("slowest ratio", "always", "max", "<=", 2),
]


def load(contenders: list[Contender], suite: str, data: Path | None, scale_factor: str) -> dict[int, str]:
    """Puts the tables into every contender's `dh`, which becomes its default; returns the queries."""
    if suite == "tpch":
        queries = TPCH_QUERIES
        for contender in contenders:
            for table in tpch.TABLES:
                tpch.load_table(contender.con, data, table, f"dh.{table}", f"{table}, {contender.name}")
    else:
        folder, tables, queries = tpcds_data.make(scale_factor)
        for contender in contenders:
            for table in tables:
                contender.con.execute(f"CREATE TABLE dh.{table} AS SELECT * FROM {quote(folder / f'{table}.parquet')}")
    for contender in contenders:
        contender.con.execute("USE dh")
    return queries


def run(con, sql: str) -> tuple[float, Result]:
    start = time.perf_counter()
    result = Result.of(con, sql)
    return time.perf_counter() - start, result


def measure(contenders: list[Contender], series: dict, name: str, sql: str, rounds: int) -> Samples:
    """Seconds of a query by series, which take turns; the first round warms up. An answer with other rows than plain
    DuckDB's ends the program; of a query with a LIMIT, one with another number of rows."""
    samples: Samples = {label: [] for label in series}
    expected = None
    for number in range(rounds + 1):
        for label, (contender, distribution) in series.items():
            con = contenders[contender].con
            if distribution:
                distribute(con, distribution)
            seconds, result = run(con, sql)
            if expected is None:
                expected = result
            tolerance = float_tolerances(expected.types)
            # which rows a LIMIT takes of those that tie is not defined
            differs = difference(result, expected, ordered=False, tolerance=tolerance)
            if result.error or (differs and (not re.search(r"\blimit\b", sql, re.IGNORECASE) or len(result.rows) != len(expected.rows))):
                raise SystemExit(f"{name}, {label}: {result.error or differs}")
            if number > 0:
                samples[label].append(seconds)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=("tpch", "tpcds"))
    parser.add_argument("--data", type=Path, help="folder with the Arrow files of TPC-H")
    parser.add_argument("--sf", required=True, help="scale factor")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--separate", action="store_true", help="also with workers in processes of their own")
    parser.add_argument("--results", type=Path, required=True, help="folder for the JSON file")
    arguments = parser.parse_args()
    series = {label: parts for label, parts in SERIES.items() if parts[0] != 3 or arguments.separate}

    with all_contenders(arguments.threads) as contenders:
        queries = load(contenders, arguments.suite, arguments.data, arguments.sf)
        results, totals = {}, {label: [0.0] * arguments.rounds for label in series}
        for number, sql in sorted(queries.items()):
            samples = measure(contenders, series, f"Q{number}", sql.rstrip().rstrip(";"), arguments.rounds)
            results[f"Q{number}"] = {"unit": "ms", "by": report.summary(samples, 1e3)}
            for label, seconds in samples.items():
                totals[label] = [total + one for total, one in zip(totals[label], seconds)]
            print(f"measured Q{number}", flush=True)
        threads = {contender.name: contender.threads for contender in contenders}
    ratios: Samples = {label: [] for label in series if label != PLAIN}
    for result in results.values():
        if result["by"][PLAIN]["median"] >= JUDGED_FROM_MS:
            for label in ratios:
                ratios[label].append(result["by"][label]["ratio"])
    results["total"] = {"unit": "ms", "by": report.summary(totals, 1e3)}
    if all(ratios.values()):
        results["slowest ratio"] = {"unit": f"of queries from {JUDGED_FROM_MS} ms", "by": report.summary(ratios)}
    conditions = {"scale_factor": arguments.sf, "threads": threads, "rounds": arguments.rounds}
    report.finish(report.document(arguments.suite, conditions, results, TARGETS), arguments.results)


if __name__ == "__main__":
    main()
