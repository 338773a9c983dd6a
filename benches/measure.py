"""The measurements, each from the client's side, in Python, from the call to the last row."""

from __future__ import annotations

import gc
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import tpch
from contenders import PLAIN, Contender
from harness.distribution import distribute, run_of

Samples = dict[str, list[float]]


def queries(contenders: list[Contender], sql: str, rounds: int) -> tuple[Samples, Samples]:
    """Seconds of a query, and those of plain DuckDB beside each contender: the two take turns, so that a slow moment of
    the machine meets both, and nothing that a third one has left in its caches."""
    plain = next(contender for contender in contenders if contender.name == PLAIN)
    samples: Samples = {PLAIN: []}
    beside: Samples = {}
    expected = plain.con.execute(sql).fetchall()
    for contender in contenders:
        if contender is plain:
            continue
        times = {PLAIN: [], contender.name: []}
        for number in range(rounds + 1):
            for one in (plain, contender):
                start = time.perf_counter()
                rows = one.con.execute(sql).fetchall()
                seconds = time.perf_counter() - start
                if number > 0:  # the first round warms up
                    times[one.name].append(seconds)
                if not same(rows, expected):
                    raise SystemExit(f"{one.name} gave another answer than {PLAIN}:\n{rows}\n{expected}")
        samples[PLAIN] += times[PLAIN]
        samples[contender.name], beside[contender.name] = times[contender.name], times[PLAIN]
    return samples, beside


def divided(contenders: list[Contender], sql: str, rounds: int) -> tuple[Samples, Samples]:
    """The same, of a query that whoever has workers divides among them."""
    others = [contender for contender in contenders if contender.name not in (PLAIN, "no workers")]
    for contender in others:
        distribute(contender.con, "always")
    samples, beside = queries(contenders, sql, rounds)
    for contender in others:
        run = run_of(contender.con, "dh.lineitem")
        if not run.split:
            raise SystemExit(f"{contender.name} did not divide it: {run}")
        distribute(contender.con, "auto")
    return samples, beside


def same(left, right) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-12)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def one_row_select(contenders: list[Contender], repetitions: int) -> Samples:
    """Seconds of reading one value from a table of one row."""
    samples: Samples = {}
    for contender in contenders:
        con = contender.con
        con.execute("CREATE TABLE dh.one_row_table AS SELECT 42 AS v")
        for _ in range(20):
            con.execute("SELECT v FROM dh.one_row_table").fetchall()
        times = samples[contender.name] = []
        for _ in range(repetitions):
            start = time.perf_counter()
            rows = con.execute("SELECT v FROM dh.one_row_table").fetchall()
            times.append(time.perf_counter() - start)
            assert rows == [(42,)], rows
    return samples


def one_row_inserts(contenders: list[Contender], seconds: float) -> Samples:
    """Commits a second of one client that inserts row by row, in slices of a second."""
    samples: Samples = {}
    for contender in contenders:
        con = contender.con
        con.execute("CREATE TABLE dh.log (id BIGINT, note VARCHAR)")
        rates = samples[contender.name] = []
        inserted = 0
        for _ in range(max(1, round(seconds))):
            slice_start, before = time.perf_counter(), inserted
            while time.perf_counter() - slice_start < 1:
                con.execute("INSERT INTO dh.log VALUES (?, 'a note')", [inserted])
                inserted += 1
            rates.append((inserted - before) / (time.perf_counter() - slice_start))
        (found,) = con.execute("SELECT count(*), sum(id) FROM dh.log").fetchall()
        assert found == (inserted, inserted * (inserted - 1) // 2), (contender.name, found, inserted)
    return samples


def bulk_insert(contenders: list[Contender], data: Path, rounds: int) -> Samples:
    """Seconds of `INSERT INTO dh.t SELECT * FROM local`; for plain DuckDB, of a local CREATE TABLE AS."""
    samples: Samples = {contender.name: [] for contender in contenders}
    for contender in contenders:
        con = contender.con
        expected = tpch.load_table(con, data, "lineitem", "memory.local_lineitem", "load a local copy")
        if contender.name != PLAIN:
            con.execute("CREATE TABLE dh.bulk AS SELECT * FROM memory.local_lineitem LIMIT 0")
        for number in range(rounds + 1):
            start = time.perf_counter()
            if contender.name == PLAIN:
                con.execute("CREATE OR REPLACE TABLE dh.bulk AS SELECT * FROM memory.local_lineitem")
            else:
                con.execute("INSERT INTO dh.bulk SELECT * FROM memory.local_lineitem")
            if number > 0:
                samples[contender.name].append(time.perf_counter() - start)
            ((found,),) = con.execute("SELECT count(*) FROM dh.bulk").fetchall()
            assert found == expected, (contender.name, found, expected)
            if contender.name != PLAIN:
                con.execute("DROP TABLE dh.bulk")
                con.execute("CREATE TABLE dh.bulk AS SELECT * FROM memory.local_lineitem LIMIT 0")
        con.execute("DROP TABLE dh.bulk")
        con.execute("DROP TABLE memory.local_lineitem")
        gc.collect()
    return samples


def stream_table(contenders: list[Contender], rows: int, rounds: int) -> tuple[Samples, Samples]:
    """MB/s of Arrow of `SELECT * FROM dh.lineitem`, and the MB by which the client's memory grew at its peak.

    Each stream of a driver has a client process of its own, whose memory is that of its streams alone: the first warms
    up, as everywhere, the second is timed.
    """
    speed: Samples = {contender.name: [] for contender in contenders}
    memory: Samples = {contender.name: [] for contender in contenders if contender.port is not None}
    for _ in range(rounds):
        for contender in contenders:
            if contender.port is None:
                drain(contender.con, rows)
                speed[contender.name].append(drain(contender.con, rows))
                continue
            done = subprocess.run(
                [sys.executable, __file__, str(contender.port), str(rows)], check=True, capture_output=True, text=True
            )
            megabytes_per_second, peak = map(float, done.stdout.split())
            speed[contender.name].append(megabytes_per_second)
            memory[contender.name].append(peak)
    return speed, memory


def drain(con, expected_rows: int) -> float:
    """Reads the whole table as Arrow batches; MB/s."""
    start = time.perf_counter()
    total_bytes = total_rows = 0
    for batch in con.sql("SELECT * FROM dh.lineitem").to_arrow_reader(122_880):
        total_bytes += batch.nbytes
        total_rows += batch.num_rows
    seconds = time.perf_counter() - start
    assert total_rows == expected_rows, (total_rows, expected_rows)
    return total_bytes / 1e6 / seconds


def resident_megabytes(field: str) -> float:
    """`VmRSS`, or `VmHWM` for the peak, of this process."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024 / 1e6


def client_process(port: int, rows: int) -> None:
    """Streams in a fresh process; prints MB/s and the peak's MB over the start."""
    from harness.client import attach, loaded

    con = loaded()
    attach(con, type("Driver", (), {"port": port}))
    con.execute("SELECT l_orderkey FROM dh.lineitem LIMIT 1").fetchall()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
    before = resident_megabytes("VmRSS")
    drain(con, rows)
    speed = drain(con, rows)
    print(speed, resident_megabytes("VmHWM") - before)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    client_process(int(sys.argv[1]), int(sys.argv[2]))
