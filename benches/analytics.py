"""All queries of TPC-H or TPC-DS: plain DuckDB beside clients that distribute 'auto', 'always' and 'never'
(`cargo xtask bench tpch`, `cargo xtask bench tpcds`), and whether 'auto' chose the better of the others."""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import report
import tpch
from contenders import PLAIN, Contender, OnDisk, all_contenders
from e2e.tpch_queries import QUERIES as TPCH_QUERIES
from harness.client import quote
from harness.compare import Result, difference, float_tolerances
from harness.distribution import CHOICES, distribute
from measure import Samples
from scaling import parquet_files
from proof import tpcds_data
from report import Target

#: What runs: the number of a contender, and how its queries are distributed.
SERIES = {PLAIN: (0, None)} | {choice: (2, choice) for choice in CHOICES}
SEPARATE = {f"separate, {choice}": (3, choice) for choice in CHOICES}
#: 'auto' may take so much more than the better of 'always' and 'never': a part of it, or milliseconds.
MOST_RATIO, MOST_MS = 1.1, 5
#: Queries whose 'auto' took more are measured so often again, for what else the machine did meanwhile.
AGAIN = 3
#: Rounds before those that count, also with separate workers: these fetch what they keep, and 'auto' tries both ways,
#: with the first of them.
WARM_UPS, SEPARATE_WARM_UPS = 1, 4
#: Queries that plain DuckDB answers faster are not judged one by one.
JUDGED_FROM_MS = 50

TARGETS = [
    target
    for cluster in ("", "separate, ")
    for target in (
        Target("total", f"{cluster}auto", "ratio", "<=", 1.25),
        Target("total", f"{cluster}always", "ratio", "<=", 1.6),
        Target("slowest ratio", f"{cluster}auto", "max", "<=", 2),
        Target("slowest ratio", f"{cluster}always", "max", "<=", 2),
        Target("too slow against the better of always and never", f"{cluster}auto", "max", "<=", 0),
    )
]


def load(contenders: list[Contender], suite: str, data: Path | None, scale_factor: str, files: bool) -> dict[int, str]:
    """Puts the tables, or views over Parquet files, into every contender's `dh`, which becomes its default; returns the
    queries."""
    if suite == "tpch":
        folder, tables, queries = data, tpch.TABLES, TPCH_QUERIES
        if files:
            parquet_files(data)
    else:
        folder, tables, queries = tpcds_data.make(scale_factor)
    for contender in contenders:
        for table in tables:
            file = f"read_parquet({quote(folder / f'{table}.parquet')})"
            if files:
                contender.con.execute(f"CREATE VIEW dh.{table} AS FROM {file}")
            elif suite == "tpch":
                tpch.load_table(contender.con, data, table, f"dh.{table}", f"{table}, {contender.name}")
            else:
                contender.con.execute(f"CREATE TABLE dh.{table} AS FROM {file}")
        contender.con.execute("USE dh")
    return queries


def run(con, sql: str) -> tuple[float, Result]:
    start = time.perf_counter()
    result = Result.of(con, sql)
    return time.perf_counter() - start, result


def measure(contenders: list[Contender], series: dict, name: str, sql: str, warm_ups: int, rounds: int) -> Samples:
    """Seconds of a query by series, which take turns (who of a cluster is first, too: a process that did nothing for a while
    has lost its caches), after `warm_ups` rounds. An answer with other rows than plain
    DuckDB's ends the program; of a query with a LIMIT, one with another number of rows."""
    samples: Samples = {label: [] for label in series}
    expected = None
    for number in range(warm_ups + rounds):
        for label, (contender, distribution) in turns(series, number):
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
            if number >= warm_ups:
                samples[label].append(seconds)
    return samples


def turns(series: dict, number: int) -> list:
    """The series of a round: plain DuckDB, then those of each cluster, another one first in each round."""
    in_turn = list(series.items())
    first, others = in_turn[:1], in_turn[1:]
    clusters = [others[start : start + len(CHOICES)] for start in range(0, len(others), len(CHOICES))]
    number %= len(CHOICES)
    return first + [one for cluster in clusters for one in cluster[number:] + cluster[:number]]


def loss(by: dict, separate: str) -> float:
    """Milliseconds by which the least time of 'auto' is beyond what it may take; none, or less, if it chose well."""
    auto, always, never = (by[f"{separate}{choice}"]["min"] for choice in CHOICES)
    better = min(always, never)
    return auto - max(better * MOST_RATIO, better + MOST_MS)


def worst(results: dict, separate: str) -> list[str]:
    """The queries of which 'auto' chose worst, the worst first."""
    lines = []
    for name, result in sorted(results.items(), key=lambda item: -loss(item[1]["by"], separate)):
        auto, always, never = (result["by"][f"{separate}{choice}"]["min"] for choice in CHOICES)
        better = min(always, never)
        lines.append(
            f"{name}: auto {auto:.1f} ms, always {always:.1f} ms, never {never:.1f} ms; "
            f"{auto / better:.2f} times, {auto - better:+.1f} ms"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=("tpch", "tpcds"))
    parser.add_argument("--data", type=Path, help="folder with the Arrow files of TPC-H")
    parser.add_argument("--sf", required=True, help="scale factor")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--separate", action="store_true", help="also with workers in processes of their own")
    parser.add_argument("--files", action="store_true", help="the tables are views over Parquet files that all see")
    parser.add_argument("--on-disk", action="store_true", help="each contender's tables are in a database file")
    parser.add_argument("--memory-limit", default="6GB", help="with --on-disk: DuckDB's memory in each process")
    parser.add_argument("--again", type=int, default=AGAIN, help="how often a query whose 'auto' took more is measured again")
    parser.add_argument("--results", type=Path, required=True, help="folder for the JSON file")
    arguments = parser.parse_args()
    series = SERIES | (SEPARATE if arguments.separate else {})
    measured = {contender for contender, _ in series.values()}
    clusters = ["", "separate, "] if arguments.separate else [""]
    warm_ups = SEPARATE_WARM_UPS if arguments.separate else WARM_UPS

    with ExitStack() as stack:
        on_disk = None
        if arguments.on_disk:
            beside = arguments.data or arguments.results
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="on-disk-", dir=beside))
            on_disk = OnDisk(Path(folder), arguments.memory_limit)
        contenders = stack.enter_context(all_contenders(arguments.threads, on_disk, shared=False))
        loaded = [contenders[number] for number in sorted(measured)]
        queries = load(loaded, arguments.suite, arguments.data, arguments.sf, arguments.files)
        results, totals = {}, {label: [0.0] * arguments.rounds for label in series}
        for number, sql in sorted(queries.items()):
            name, sql = f"Q{number}", sql.rstrip().rstrip(";")
            samples = measure(contenders, series, name, sql, warm_ups, arguments.rounds)
            by = report.summary(samples, 1e3)
            for _ in range(arguments.again):
                if all(loss(by, cluster) <= 0 for cluster in clusters):
                    break
                for label, seconds in measure(contenders, series, name, sql, 1, arguments.rounds).items():
                    by[label]["min"] = min(by[label]["min"], min(seconds) * 1e3)
            results[name] = {"unit": "ms", "by": by}
            for label, seconds in samples.items():
                totals[label] = [total + one for total, one in zip(totals[label], seconds)]
            print(f"measured Q{number}", flush=True)
        threads = {contender.name: contender.threads for contender in loaded}
    for cluster in clusters:
        print(f"\n'auto' against the better of the others, {cluster or 'local, '}worst first:")
        print("\n".join(worst(results, cluster)[:10]))
    losses = {f"{cluster}auto": [loss(result["by"], cluster) for result in results.values()] for cluster in clusters}
    ratios: Samples = {label: [] for label in series if label != PLAIN}
    for result in results.values():
        if result["by"][PLAIN]["median"] >= JUDGED_FROM_MS:
            for label in ratios:
                ratios[label].append(result["by"][label]["ratio"])
    results["too slow against the better of always and never"] = {"unit": "ms", "by": report.summary(losses, compare=False)}
    results["total"] = {"unit": "ms", "by": report.summary(totals, 1e3)}
    if all(ratios.values()):
        results["slowest ratio"] = {"unit": f"of queries from {JUDGED_FROM_MS} ms", "by": report.summary(ratios)}
    conditions = {"scale_factor": arguments.sf, "threads": threads, "rounds": arguments.rounds}
    conditions |= {"warm_ups": warm_ups, "files": arguments.files}
    if arguments.on_disk:
        conditions |= {"on_disk": True, "memory_limit": arguments.memory_limit}
    report.finish(report.document(arguments.suite, conditions, results, TARGETS), arguments.results)


if __name__ == "__main__":
    main()
