"""The constants of the planner's cost model, `crates/duckherder-planner/src/cost/constants.rs` (`cargo xtask bench constants`).

What DuckDB's operators cost is measured with plain DuckDB on one thread, as the difference of two queries that differ by
one operator; what distribution costs, with the CPU time of drivers and workers on one thread each, and with clocks.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import duckdb
import report
from contenders import SeparateWorker
from harness.client import attach, loaded, quote
from harness.cluster import Driver
from harness.distribution import distribute

ROWS = 2_000_000
MANY = 1_000_000
FEW = 1000
#: Queries of few rows, for what does not depend on them.
SMALL = 2000


def seconds(con, sql: str, rounds: int, clock=time.perf_counter) -> float:
    """The least that it took."""
    found = []
    for _ in range(rounds + 1):
        start = clock()
        con.execute(sql).fetchall()
        found.append(clock() - start)
    return min(found[1:])


def of_operators(rounds: int, folder: Path) -> dict[str, float]:
    """Nanoseconds of a core, with plain DuckDB on one thread. (No `max`: statistics would answer.)"""
    con = duckdb.connect(config={"threads": 1})
    columns = ", ".join(f"(hash(range + {number}) >> 8)::BIGINT AS c{number}" for number in range(8))
    con.execute(
        f"CREATE TABLE t AS SELECT range AS i, range % {FEW} AS few, (hash((hash(range) % {MANY})::BIGINT) >> 8)::BIGINT AS many, "
        f"'text ' || (hash(range) % 1000) || ' of some length' AS s, {columns} FROM range({ROWS})"
    )
    # keys that are not dense have no array in the place of a hash table
    for name, count in (("keys", MANY), ("twice_keys", 2 * MANY)):
        con.execute(f"CREATE TABLE {name} AS SELECT (hash(range) >> 8)::BIGINT AS k FROM range({count})")
    con.execute(f"CREATE TABLE few_keys AS SELECT range AS k FROM range({FEW})")
    con.execute(f"COPY (SELECT * EXCLUDE s FROM t) TO {quote(folder / 't.parquet')}")
    con.execute(f"COPY (SELECT * EXCLUDE s FROM t LIMIT 500_000) TO {quote(folder / 't.csv')}")
    parquet, csv = (f"read_parquet({quote(folder / 't.parquet')})", f"read_csv({quote(folder / 't.csv')})")

    def ns(sql: str, rows: int = ROWS) -> float:
        return seconds(con, sql, rounds, time.process_time) * 1e9 / rows

    def over(columns: int) -> str:
        return ", ".join(f"bit_xor(c{number})" for number in range(columns))

    # seven more operators over a column that is read anyway
    operation = (ns("SELECT bit_xor(xor(xor(xor(xor(xor(xor(xor(c0, 1), i), 2), i), 3), i), 4)), bit_xor(i) FROM t") - ns("SELECT bit_xor(c0), bit_xor(i) FROM t")) / 7
    base = ns("SELECT bit_xor(c0) FROM t")
    column = (ns(f"SELECT {over(8)} FROM t") - base) / 7
    in_parquet = (ns(f"SELECT {over(8)} FROM {parquet}") - ns(f"SELECT {over(1)} FROM {parquet}")) / 7
    found = {"OPERATION": operation, "SCANNED_BYTE": (column - operation) / 8, "PARQUET_BYTE": (in_parquet - operation) / 8}
    found["TEXT_BYTE"] = ns(f"SELECT bit_xor(c7) FROM {csv}", (folder / "t.csv").stat().st_size)
    found["TEXT_OPERATION"] = (ns("SELECT count(*) FROM t WHERE contains(s, '77x')") + ns("SELECT bit_xor(hash(s)) FROM t") - base) / 2
    found["CACHED_LOOKUP, aggregate"] = ns("SELECT count(*) FROM (SELECT few, bit_xor(c0) AS n FROM t GROUP BY few)") - base
    found["LOOKUP, aggregate"] = ns("SELECT count(*) FROM (SELECT many, bit_xor(c0) AS n FROM t GROUP BY many)") - base
    found["CACHED_LOOKUP, join"] = ns("SELECT bit_xor(c0) FROM t JOIN few_keys ON few = k") - base - column
    large, larger = (seconds(con, f"SELECT bit_xor(c0) FROM t JOIN {name} ON many = k", rounds, time.process_time) for name in ("keys", "twice_keys"))
    building = (larger - large) * 1e9 / MANY
    found["BUILT_ROW"] = building
    found["LOOKUP, join"] = (large * 1e9 - building * MANY) / ROWS - base - column
    wide = ns("SELECT bit_xor(c0), bit_xor(c1), bit_xor(c2), bit_xor(c3) FROM t JOIN few_keys ON few = k")
    narrow = ns("SELECT bit_xor(c0) FROM t JOIN few_keys ON few = k")
    found["GIVEN_BYTE"] = (wide - narrow - 3 * column) / 24
    pairs = "SELECT count(*) FROM (FROM keys LIMIT 20_000) a JOIN few_keys b ON a.k + b.k = 1_000_000_000 OR a.k = -b.k"
    found["PAIR"] = ns(pairs, 20_000 * FEW)
    sort = ns("SELECT bit_xor(c0), bit_xor(c1) FROM (SELECT c0, c1 FROM t ORDER BY c0 OFFSET 1)")
    found["SORTED_ROW"] = (sort - base - column) / 21
    window = ns("SELECT bit_xor(n) FROM (SELECT row_number() OVER (PARTITION BY few ORDER BY c0) AS n FROM t)")
    found["WINDOW_ROW"] = window - sort
    con.close()
    return found


class Herd:
    """A driver on one thread with workers, and a client. Workers `that_forget` fetch a table with each query."""

    def __init__(self, stack: ExitStack, local: int, separate: int, that_forget: bool = False):
        self.driver = stack.enter_context(Driver(local, "--threads", "1"))
        keep = ["--cache-bytes", "0"] if that_forget else []
        self.workers = [stack.enter_context(SeparateWorker(f"w{number}", 1, *keep)) for number in range(separate)]
        self.con = loaded()
        stack.callback(self.con.close)
        attach(self.con, self.driver)
        for worker in self.workers:
            self.con.execute("SELECT duckherder_register_worker(?, ?)", [worker.id, f"grpc://{worker.location}"]).fetchall()

    def cpu(self, sql: str, choice: str, rounds: int) -> tuple[float, float]:
        """CPU nanoseconds of the driver and of the workers, on average."""
        distribute(self.con, choice)
        self.con.execute(sql).fetchall()
        before = [server.cpu_seconds() for server in [self.driver, *self.workers]]
        for _ in range(rounds):
            self.con.execute(sql).fetchall()
        after = [server.cpu_seconds() for server in [self.driver, *self.workers]]
        used = [(later - earlier) * 1e9 / rounds for earlier, later in zip(before, after)]
        return used[0], sum(used[1:])

    def milliseconds(self, sql: str, choice: str, rounds: int) -> float:
        distribute(self.con, choice)
        return seconds(self.con, sql, rounds) * 1e3


def of_distribution(rounds: int) -> dict[str, float]:
    """Nanoseconds a row, byte or state; milliseconds a query, stage or task."""
    found: dict[str, float] = {}
    with ExitStack() as stack:
        local, separate, plain = Herd(stack, 2, 0), Herd(stack, 0, 2), Herd(stack, 0, 0)
        forgetful = Herd(stack, 0, 2, that_forget=True)
        for herd in (local, separate, plain, forgetful):
            herd.con.execute(
                f"CREATE TABLE dh.t AS SELECT range AS a, hash(range) % {MANY} AS k, range * 3 AS b, -range AS c FROM range({ROWS})"
            )
            herd.con.execute(f"CREATE TABLE dh.small AS SELECT range AS id, range % 7 AS g, range % 11 AS h FROM range({SMALL})")
            if herd is not plain:
                herd.con.execute(f"SET duckherder_min_split_rows = {SMALL // 2}")
        one, two = "SELECT sum(id) FROM dh.small", "SELECT sum(n) FROM (SELECT row_number() OVER (PARTITION BY g ORDER BY id) AS n FROM dh.small)"
        three = "SELECT sum(n + m) FROM (SELECT row_number() OVER (PARTITION BY h ORDER BY id) AS n, m FROM (SELECT *, row_number() OVER (PARTITION BY g ORDER BY id) AS m FROM dh.small))"
        for name, herd in (("LOCAL", local), ("REMOTE", separate)):
            times = [herd.milliseconds(sql, "always", 20 * rounds) - herd.milliseconds(sql, "never", 20 * rounds) for sql in (one, two, three)]
            found[f"QUERY and {name}_STAGE, ms"] = times[0]
            found[f"{name}_STAGE and its tasks, ms"] = (times[2] - times[0]) / 2
        # a cheap aggregate over all rows; what the workers get
        total = "SELECT sum(a), sum(k), sum(b), sum(c) FROM dh.t"
        alone, _ = plain.cpu(total, "never", rounds)
        driver, workers = forgetful.cpu(total, "always", rounds)
        found["SENT_BYTE"] = driver / ROWS / 32
        found["RECEIVED_BYTE"] = (workers - alone) / ROWS / 32
        window = "SELECT sum(n + a + b + c) FROM (SELECT row_number() OVER (PARTITION BY k ORDER BY a, b, c) AS n, a, b, c FROM dh.t)"
        alone, _ = plain.cpu(window, "never", rounds)
        here, _ = local.cpu(window, "always", rounds)
        found["LOCAL_SHUFFLED_ROW and 32 LOCAL_SHUFFLED_BYTEs"] = (here - alone) / ROWS
        # workers keep the table; every other row stays in its process
        driver, workers = separate.cpu(window, "always", rounds)
        crossing = (found["SENT_BYTE"] + found["RECEIVED_BYTE"]) * 32 / 2
        found["SHUFFLED_ROW"] = (driver + workers - alone) / ROWS - crossing
        groups = "SELECT sum(n) FROM (SELECT k, sum(a) AS n FROM dh.t GROUP BY k)"
        alone, _ = plain.cpu(groups, "never", rounds)
        here, _ = local.cpu(groups, "always", rounds)
        found["STATE"] = (here - alone) / min(ROWS, 2 * MANY)
        order = "SELECT count(*) FROM (SELECT b, c FROM dh.t ORDER BY k OFFSET 1)"
        found["MERGED_ROW"] = (local.cpu(order, "always", rounds)[0] - local.cpu(order, "auto", rounds)[0]) / ROWS
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="not used: each process has one")
    parser.add_argument("--results", type=Path, required=True, help="folder for the JSON file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = of_operators(arguments.rounds, Path(folder))
    found |= of_distribution(arguments.rounds)
    results = {name: {"unit": "ns", "by": report.summary({"measured": [value]}, compare=False)} for name, value in found.items()}
    report.finish(report.document("constants", {"rows": ROWS, "rounds": arguments.rounds}, results, []), arguments.results)


if __name__ == "__main__":
    main()
