"""One table: plain DuckDB beside Duckherder with 0, 2 local and 2 separate workers (`cargo xtask bench tables`)."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import measure
import report
import tpch
from contenders import all_contenders
from report import Target

TARGETS = [
    Target("Q1", "2 local workers", "ratio", "<=", 1.15),
    Target("Q6", "2 local workers", "ratio", "<=", 1.15),
    Target("one-row select", "2 local workers", "median", "<=", 1.5),
    Target("one-row inserts", "2 local workers", "median", ">=", 490),
    Target("stream lineitem", "2 local workers", "median", ">=", 500),
    Target("client memory", "2 local workers", "max", "<=", 300),
    Target("bulk insert", "2 local workers", "ratio", "<=", 2),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with lineitem.arrow")
    parser.add_argument("--sf", type=float, required=True, help="its scale factor, for the report")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--results", type=Path, required=True, help="folder for the JSON file")
    arguments = parser.parse_args()
    few = max(3, arguments.rounds // 4)

    with all_contenders(arguments.threads) as contenders:
        for contender in contenders:
            rows = tpch.load_table(
                contender.con, arguments.data, "lineitem", "dh.lineitem", f"load, {contender.name}"
            )
        results = {}

        def record(metric: str, unit: str, samples: measure.Samples, factor: float = 1, beside=None) -> None:
            results[metric] = {"unit": unit, "by": report.summary(samples, factor, beside=beside)}
            print(f"measured {metric}", flush=True)

        for name, sql in [("Q1", tpch.Q1), ("Q6", tpch.Q6)]:
            samples, beside = measure.divided(contenders, sql, arguments.rounds)
            record(name, "ms", samples, 1e3, beside)
        record("one-row select", "ms", measure.one_row_select(contenders, 300), 1e3)
        record("one-row inserts", "commits/s", measure.one_row_inserts(contenders, 3))
        speed, memory = measure.stream_table(contenders, rows, few)
        record("stream lineitem", "MB/s", speed)
        record("client memory", "MB", memory)
        record("bulk insert", "ms", measure.bulk_insert(contenders, arguments.data, few), 1e3)

        threads = {contender.name: contender.threads for contender in contenders}
        conditions = {"scale_factor": arguments.sf, "threads": threads}
        done = report.document("tables", conditions, results, TARGETS)
    report.finish(done, arguments.results)


if __name__ == "__main__":
    main()
