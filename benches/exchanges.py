"""What an exchange costs: throughput of a hash shuffle, what Arrow's encoding has of it, and the time that a stage adds
(`cargo xtask bench exchanges`)."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import time
from pathlib import Path

import report
from contenders import PLAIN, Contender, all_contenders
from harness.distribution import distribute, run_of
from measure import Samples
from report import Target

ROWS = 4_000_000
#: Four BIGINTs a row reach the other side of the shuffle.
BYTES_OF_A_ROW = 32
#: Every row of it goes by its key to the task that has the key's window; one number comes back.
SHUFFLE = """\
SELECT sum(n + a + b + c) FROM (
    SELECT row_number() OVER (PARTITION BY k ORDER BY a, b, c) AS n, a, b, c FROM dh.wide)"""
#: A window a key, each over the rows of the one before: one more shuffle each.
MOST_STAGES = 6
#: Divided all the same.
FEW_ROWS = 2000
TARGETS = [Target("a stage beyond plain DuckDB's window", "2 local workers", "median", "<=", 2)]


def processes(contender: Contender) -> float:
    """CPU seconds so far of the contender's driver and workers; of this process for plain DuckDB."""
    if not contender.servers:
        return time.process_time()
    return sum(server.cpu_seconds() for server in contender.servers)


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(otherwise)


def shuffle(contenders: list[Contender], rounds: int) -> tuple[Samples, Samples]:
    """Seconds of the window, and CPU seconds."""
    seconds: Samples = {}
    cpu: Samples = {}
    expected: list[tuple] = []
    for contender in contenders:
        con = contender.con
        con.execute(
            f"CREATE TABLE dh.wide AS SELECT hash(range) % {ROWS // 2} AS k, range AS a, range * 3 AS b, -range AS c "
            f"FROM range({ROWS})"
        )
        taken, used = [], []
        for number in range(rounds + 1):
            before, start = processes(contender), time.perf_counter()
            answer = con.execute(SHUFFLE).fetchall()
            expected = expected or answer
            check(answer == expected, f"{contender.name}: {answer}, not {expected}")
            if number > 0:
                taken.append(time.perf_counter() - start)
                used.append(processes(contender) - before)
        check(contender.name == PLAIN or run_of(con, "dh.wide)").split, f"{contender.name} did not divide the window")
        con.execute("DROP TABLE dh.wide")
        seconds[contender.name], cpu[contender.name] = taken, used
    return seconds, cpu


def arrow_share(program: Path, cpu_seconds: float) -> float:
    """Percent of the shuffle's CPU time that Arrow's encoding takes between the driver and two workers elsewhere.

    `program` tells what a byte costs, measured alone. All rows go from the driver to a worker; of two workers, each
    then has half of the rows that its next task needs.
    """
    words = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()
    nanoseconds = float(words[1]) + float(words[3])
    return nanoseconds * 1e-9 * ROWS * BYTES_OF_A_ROW * 1.5 / cpu_seconds * 100


def stages(contenders: list[Contender], repetitions: int, repeated: bool) -> tuple[Samples, Samples]:
    """Milliseconds that each further stage adds to a query of few rows, and milliseconds of CPU time.

    `repeated`: the same statement over and over, which keeps its plans; otherwise each has another constant.
    """
    added: Samples = {}
    used: Samples = {}
    expected: dict[int, list[tuple]] = {}
    for contender in contenders:
        con = contender.con
        keys = ", ".join(f"range % {number + 7} AS k{number}" for number in range(MOST_STAGES))
        con.execute(f"CREATE TABLE dh.keys AS SELECT range AS id, {keys} FROM range({FEW_ROWS})")
        if contender.name != PLAIN:
            con.execute(f"SET duckherder_min_split_rows = {FEW_ROWS // 2}")
        queries = []
        for depth in range(1, MOST_STAGES + 1):
            inner = "dh.keys"
            for number in range(depth):
                inner = f"(SELECT *, row_number() OVER (PARTITION BY k{number} ORDER BY id) AS n{number} FROM {inner})"
            # DuckDB leaves out a window that nobody reads
            read = " + ".join(f"n{number}" for number in range(depth))
            queries.append(f"SELECT sum({read}) FROM {inner}")
        slopes = []
        cpu = {0: 0.0, MOST_STAGES - 1: 0.0}
        for number in range(repetitions + 5):
            times = {}
            for depth in cpu:
                sql = queries[depth] if repeated else f"{queries[depth]} WHERE id > {-1 - number}"
                before, start = processes(contender), time.perf_counter()
                answer = con.execute(sql).fetchall()
                times[depth] = (time.perf_counter() - start) * 1e3
                if number >= 5:
                    cpu[depth] += processes(contender) - before
                expected[depth] = expected.get(depth, answer)
                check(answer == expected[depth], f"{contender.name}: {answer}, not {expected[depth]}")
            if number >= 5:
                slopes.append((times[MOST_STAGES - 1] - times[0]) / (MOST_STAGES - 1))
        check(contender.name == PLAIN or run_of(con, "dh.keys").split, f"{contender.name} did not divide the windows")
        added[contender.name] = slopes
        # the system counts in hundredths of a second: only the sum says something
        used[contender.name] = [(cpu[MOST_STAGES - 1] - cpu[0]) / (MOST_STAGES - 1) / repetitions * 1e3]
        con.execute("DROP TABLE dh.keys")
    return added, used


def beyond_plain(milliseconds: Samples) -> Samples:
    """What is not the window's own work: that is what plain DuckDB takes for it."""
    own = statistics.median(milliseconds[PLAIN])
    return {name: [one - own for one in taken] for name, taken in milliseconds.items() if name != PLAIN}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--encoding", type=Path, required=True, help="program that measures Arrow's encoding alone")
    parser.add_argument("--results", type=Path, required=True, help="folder for the JSON file")
    arguments = parser.parse_args()
    with all_contenders(arguments.threads) as contenders:
        compared = [contender for contender in contenders if contender.name != "no workers"]
        for contender in compared:
            if contender.name != PLAIN:
                distribute(contender.con, "always")
        seconds, cpu = shuffle(compared, arguments.rounds)
        added, used = stages(compared, 40, repeated=True)
        added_first, used_first = stages(compared, 40, repeated=False)
        threads = {contender.name: contender.threads for contender in compared}
    megabytes = ROWS * BYTES_OF_A_ROW / 1e6
    # what the same work costs without a shuffle is plain DuckDB's
    own = statistics.median(cpu[PLAIN])
    a_core = {
        name: [megabytes / (one - own) for one in used]
        for name, used in cpu.items()
        if name != PLAIN and min(used) > own
    }
    elsewhere = "2 separate workers"
    share = {}
    if elsewhere in a_core:
        share[elsewhere] = [arrow_share(arguments.encoding, one - own) for one in cpu[elsewhere]]
    results = {
        f"window over {ROWS:,} rows": {"unit": "ms", "by": report.summary(seconds, 1e3)},
        "its CPU time": {"unit": "ms", "by": report.summary(cpu, 1e3)},
        "shuffled a second of CPU beyond plain DuckDB's": {"unit": "MB", "by": report.summary(a_core, compare=False)},
        "of that, Arrow's encoding": {"unit": "%", "by": report.summary(share, compare=False)},
        "time a stage": {"unit": "ms", "by": report.summary(added, compare=False)},
        "a stage beyond plain DuckDB's window": {"unit": "ms", "by": report.summary(beyond_plain(added), compare=False)},
        "its CPU time, all processes": {"unit": "ms", "by": report.summary(used, compare=False)},
        "time a stage, statement never seen": {"unit": "ms", "by": report.summary(added_first, compare=False)},
        "beyond that window": {"unit": "ms", "by": report.summary(beyond_plain(added_first), compare=False)},
        "CPU time of that": {"unit": "ms", "by": report.summary(used_first, compare=False)},
    }
    conditions = {"rows": ROWS, "bytes_of_a_row": BYTES_OF_A_ROW, "threads": threads}
    report.finish(report.document("exchanges", conditions, results, TARGETS), arguments.results)


if __name__ == "__main__":
    main()
