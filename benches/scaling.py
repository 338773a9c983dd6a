"""TPC-H by the number of workers, each process held to the same share of a core (`cargo xtask bench scaling`).

Two questions: how much faster 2, 4 and 8 workers are than one, with the driver unlimited; and, the driver held to the
same share as every worker, how much faster 3 workers are than the driver alone. The tables are Parquet files that all
processes see, behind views of the driver; or its own tables, which workers fetch from it with every query.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from pathlib import Path

import duckdb
import report
import tpch
from contenders import SeparateWorker
from e2e.tpch_queries import QUERIES
from harness.client import attach, loaded, quote
from harness.cluster import Driver
from harness.compare import Result, difference, float_tolerances
from harness.distribution import distribute
from measure import Samples
from report import Target
from shares import cpu_share

#: The first answer to each query.
EXPECTED: dict[int, Result] = {}

TARGETS = [
    Target("speed-up over 1 worker", "4 workers", "median", ">=", 3.4),
    Target("speed-up over 1 worker", "8 workers", "median", ">=", 6),
]


def parquet_files(data: Path) -> None:
    """Makes a Parquet file of each Arrow file that has none beside it."""
    for table in tpch.TABLES:
        file = data / f"{table}.parquet"
        if file.exists():
            continue
        with duckdb.connect() as con:
            tpch.load_table(con, data, table, table, f"{table} as Parquet")
            con.execute(f"COPY {table} TO {quote(f'{file}.part')} (FORMAT parquet)")
        Path(f"{file}.part").rename(file)


def total_seconds(
    data: Path, files: bool, workers: int, share: float, driver_share: float | None, rounds: int
) -> list[float]:
    """Seconds that all 22 queries take, `rounds` times, after one round that warms up."""
    with ExitStack() as stack:
        # with workers, the driver only hands out rows and puts the parts together
        driver = stack.enter_context(Driver(0, "--threads", "2" if driver_share is None else "1"))
        con = loaded()
        stack.callback(con.close)
        attach(con, driver)
        for table in tpch.TABLES:
            if files:
                con.execute(f"CREATE VIEW dh.{table} AS FROM read_parquet({quote(data / f'{table}.parquet')})")
            else:
                tpch.load_table(con, data, table, f"dh.{table}", f"{table}, {workers} workers")
        for number in range(1, workers + 1):
            worker = stack.enter_context(SeparateWorker(f"worker-{number}", 1))
            con.execute("SELECT duckherder_register_worker(?, ?)", [worker.id, f"grpc://{worker.location}"])
            assert con.fetchall() == [(True,)], worker.output()
            stack.enter_context(cpu_share(worker.pid, share))
        if driver_share is not None:
            stack.enter_context(cpu_share(driver.pid, driver_share))
        con.execute("USE dh")
        distribute(con, "always" if workers else "never")
        seconds = []
        for number in range(rounds + 1):
            start = time.perf_counter()
            for query, sql in QUERIES.items():
                result = Result.of(con, sql)
                expected = EXPECTED.setdefault(query, result)
                tolerance = float_tolerances(expected.types)
                differs = result.error or difference(result, expected, ordered=False, tolerance=tolerance)
                if differs:
                    raise SystemExit(f"Q{query}, {workers} workers: {differs}")
            if number > 0:
                seconds.append(time.perf_counter() - start)
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the Arrow files of TPC-H")
    parser.add_argument("--sf", required=True, help="their scale factor, for the report")
    parser.add_argument("--tables", choices=("files", "driver"), default="files", help="where they are")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--share", type=float, default=0.1, help="of one core, for each process")
    parser.add_argument("--results", type=Path, required=True, help="folder for the JSON file")
    arguments = parser.parse_args()

    files = arguments.tables == "files"
    if files:
        parquet_files(arguments.data)
    totals: Samples = {}
    for workers in (1, 2, 4, 8):
        label = f"{workers} worker{'s' * (workers > 1)}"
        totals[label] = total_seconds(arguments.data, files, workers, arguments.share, None, arguments.rounds)
        print(f"measured {label}: {min(totals[label]):.1f} s", flush=True)
    held: Samples = {}
    for workers in (0, 3):
        label = f"driver and {workers} workers"
        held[label] = total_seconds(
            arguments.data, files, workers, arguments.share, arguments.share, arguments.rounds
        )
        print(f"measured {label}, all of one share: {min(held[label]):.1f} s", flush=True)
    single, alone = min(totals["1 worker"]), min(held["driver and 0 workers"])
    results = {
        "TPC-H": {"unit": "s", "by": report.summary(totals)},
        "speed-up over 1 worker": {
            "unit": "x",
            "by": report.summary({label: [single / one for one in seconds] for label, seconds in totals.items()}),
        },
        "TPC-H, driver of one share": {"unit": "s", "by": report.summary(held)},
        "speed-up over the driver alone": {
            "unit": "x",
            "by": report.summary({label: [alone / one for one in seconds] for label, seconds in held.items()}),
        },
    }
    conditions = {"scale_factor": arguments.sf, "tables": arguments.tables, "share": arguments.share, "rounds": arguments.rounds}
    report.finish(report.document("scaling", conditions, results, TARGETS), arguments.results)


if __name__ == "__main__":
    main()
