"""TPC-H tables from the Arrow files of `xtask/src/tpch.rs`, and queries over them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pyarrow as pa

TABLES = ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"]

Q1 = """\
SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty, sum(l_extendedprice) AS sum_base_price,
       sum(l_extendedprice * (1 - l_discount)) AS sum_disc_price,
       sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge, avg(l_quantity) AS avg_qty,
       avg(l_extendedprice) AS avg_price, avg(l_discount) AS avg_disc, count(*) AS count_order
FROM dh.lineitem
WHERE l_shipdate <= DATE '1998-09-02'
GROUP BY l_returnflag, l_linestatus
ORDER BY l_returnflag, l_linestatus"""

Q6 = """\
SELECT sum(l_extendedprice * l_discount) AS revenue
FROM dh.lineitem
WHERE l_shipdate >= DATE '1994-01-01' AND l_shipdate < DATE '1995-01-01'
  AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24"""


class Progress:
    """A bar on a terminal; elsewhere one line when it is done."""

    WIDTH = 40

    def __init__(self, label: str, total_rows: int):
        self.label, self.total_rows, self.rows = label, total_rows, 0
        self.start = time.monotonic()

    def advance(self, rows: int) -> None:
        self.rows += rows
        if sys.stdout.isatty():
            done = self.WIDTH * self.rows // max(self.total_rows, 1)
            bar = "█" * done + "░" * (self.WIDTH - done)
            print(f"\r{self.label:<15} {bar} {self.rows:>11,} rows", end="", flush=True)

    def finish(self) -> None:
        seconds = time.monotonic() - self.start
        line = f"{self.label:<15} {self.rows:>11,} rows in {seconds:.2f} s"
        print(("\r\x1b[K" if sys.stdout.isatty() else "") + line, flush=True)


def open_table(folder: Path, table: str, label: str | None = None) -> tuple[pa.RecordBatchReader, Progress]:
    """A table's rows as a stream that DuckDB can read once, and the progress of reading it."""
    file = pa.ipc.open_file(pa.memory_map(str(folder / f"{table}.arrow")))
    count = file.num_record_batches
    progress = Progress(label or f"load {table}", sum(file.get_batch(number).num_rows for number in range(count)))

    def batches():
        for number in range(count):
            batch = file.get_batch(number)
            yield batch
            progress.advance(batch.num_rows)

    return pa.RecordBatchReader.from_batches(file.schema, batches()), progress


def load_table(con, folder: Path, table: str, target: str, label: str | None = None) -> int:
    """CREATE TABLE target AS the rows of a table; returns how many there are, checked in the target."""
    rows, progress = open_table(folder, table, label)
    con.register("tpch_rows", rows)
    try:
        con.execute(f"CREATE TABLE {target} AS SELECT * FROM tpch_rows")
    finally:
        con.unregister("tpch_rows")
    progress.finish()
    ((found,),) = con.execute(f"SELECT count(*) FROM {target}").fetchall()
    if found != progress.total_rows:
        raise SystemExit(f"{target} has {found:,} rows instead of {progress.total_rows:,}")
    return found
