"""TPC-H by the number of workers, each process held to the same share of a core (`cargo xtask bench scaling`).

Two questions: how much faster 2, 4 and 8 workers are than one, with the driver unlimited; and, the driver held to the
same share as every worker, how much faster 3 workers are than the driver alone. The tables are Parquet files that all
processes see, behind views of the driver; or its own tables, which workers fetch from it with every query.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
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


@dataclass
class Rounds:
    """Seconds that all 22 queries took, a round."""

    wall: list[float] = field(default_factory=list)
    #: Of a core.
    worker_cpu: list[float] = field(default_factory=list)
    driver_cpu: list[float] = field(default_factory=list)


def measure(
    data: Path, files: bool, workers: int, share: float, driver_share: float | None, rounds: int
) -> Rounds:
    """All 22 queries, `rounds` times, after one round that warms up."""
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
        processes = []
        for number in range(1, workers + 1):
            worker = stack.enter_context(SeparateWorker(f"worker-{number}", 1))
            processes.append(worker)
            con.execute("SELECT duckherder_register_worker(?, ?)", [worker.id, f"grpc://{worker.location}"])
            assert con.fetchall() == [(True,)], worker.output()
            stack.enter_context(cpu_share(worker.pid, share))
        if driver_share is not None:
            stack.enter_context(cpu_share(driver.pid, driver_share))
        con.execute("USE dh")
        distribute(con, "always" if workers else "never")
        found = Rounds()
        for number in range(rounds + 1):
            start = time.perf_counter()
            worker_cpu = sum(worker.cpu_seconds() for worker in processes)
            driver_cpu = driver.cpu_seconds()
            for query, sql in QUERIES.items():
                result = Result.of(con, sql)
                expected = EXPECTED.setdefault(query, result)
                tolerance = float_tolerances(expected.types)
                differs = result.error or difference(result, expected, ordered=False, tolerance=tolerance)
                if differs:
                    raise SystemExit(f"Q{query}, {workers} workers: {differs}")
            if number > 0:
                found.wall.append(time.perf_counter() - start)
                found.worker_cpu.append(sum(worker.cpu_seconds() for worker in processes) - worker_cpu)
                found.driver_cpu.append(driver.cpu_seconds() - driver_cpu)
        return found


def summed_up(found: Rounds) -> str:
    return (
        f"{min(found.wall):.1f} s, {min(found.worker_cpu):.1f} CPU s of the workers, "
        f"{min(found.driver_cpu):.1f} of the driver"
    )


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
    cpu: Samples = {}
    for workers in (1, 2, 4, 8):
        label = f"{workers} worker{'s' * (workers > 1)}"
        found = measure(arguments.data, files, workers, arguments.share, None, arguments.rounds)
        totals[label], cpu[label] = found.wall, found.worker_cpu
        print(f"measured {label}: {summed_up(found)}", flush=True)
    held: Samples = {}
    for workers in (0, 3):
        label = f"driver and {workers} workers"
        found = measure(arguments.data, files, workers, arguments.share, arguments.share, arguments.rounds)
        held[label], cpu[f"{label}, the driver's"] = found.wall, found.driver_cpu
        print(f"measured {label}, all of one share: {summed_up(found)}", flush=True)
    single, alone = min(totals["1 worker"]), min(held["driver and 0 workers"])
    results = {
        "TPC-H": {"unit": "s", "by": report.summary(totals)},
        "speed-up over 1 worker": {
            "unit": "x",
            "by": report.summary({label: [single / one for one in seconds] for label, seconds in totals.items()}),
        },
        "CPU time, of the workers where it says nothing else": {"unit": "s", "by": report.summary(cpu)},
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
