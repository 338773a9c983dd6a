"""A herd under load while everything fails that can: no answer is wrong, and nothing that was acknowledged is lost.

    python -m chaos.run [--minutes M] [--seed S] [--scale SF] [--pause S] [--stored] [--logs FILE] [--list]

A driver and its standby, four workers and six clients, each on a host of its own. Prints the seed, which draws the same
faults and the same statements again (not the same moments: those are the machine's), and at the end what has happened.
Exits with 1 if an answer was wrong or too late, a row lost, or a process ended as it must not.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import duckdb

from chaos.herd import ADDRESSES, Herd
from chaos.load import SET_UP, SPLIT_ROWS, Appender, Checker, Client, Mover, TpchReader
from chaos.schedule import CLIENTS, WORKERS, schedule
from e2e.tpch_queries import QUERIES
from harness import faults as machine_faults
from harness import network, tpch
from harness.client import quote
from harness.compare import Result

# After the last fault, all must be as it was before the first.
SETTLED_WITHIN_S = 150
# What a process may keep, beside what it had when the load began.
MORE_MIB = 300
MORE_HANDLES = 40


def expected_of(folder: Path, scale: float) -> dict[str, Result]:
    """Makes the tables as files, and asks plain DuckDB."""
    tpch.make(folder, scale)
    with duckdb.connect() as con:
        tpch.load(con, folder)
        answers = {sql: Result.of(con, sql) for sql in QUERIES.values()}
        rows = "SELECT l_orderkey, l_linenumber, l_comment FROM lineitem ORDER BY ALL"
        answers[rows] = Result.of(con, rows)
    assert all(answer.error is None for answer in answers.values())
    return answers


class Run:
    """One run; what it found is in `problems`. `pause_s`: how long each client rests between two statements or transactions
    on average, which is what the load takes of the machine, and not what it is checked for."""

    def __init__(self, folder: Path, seed: int, minutes: float, scale: float, stored: bool, pause_s: float = 0.0):
        self.seed, self.minutes, self.folder = seed, minutes, folder
        self.expected = expected_of(folder, scale)
        self.problems: list[str] = []
        self.herd = Herd(folder, seed, stored)
        writers = [Mover(0, seed, self.herd), Mover(1, seed, self.herd), Appender(2, seed, self.herd), Appender(3, seed, self.herd)]
        checker = Checker(4, seed, self.herd, writers)
        readers = [TpchReader(number, seed, self.herd, self.expected) for number in (5, 6)]
        self.writers, self.checker, self.readers = writers, checker, readers
        self.clients: list[Client] = [*writers, checker, *readers]
        for client in self.clients:
            client.pause_s = pause_s
        # Faults, and those of them that met statements under way.
        self.faults = self.met = 0

    def run(self) -> None:
        try:
            self.set_up()
            self.under_load()
            self.settle()
            self.herd.stop()
        finally:
            for client in self.clients:
                self.problems += client.problems
            self.problems += self.herd.problems
            self.herd.close()

    def warm_up(self, con) -> None:
        """Whatever is kept for later queries is there after that; all workers have had tasks."""
        con.execute("SET duckherder_distribution = 'always'")
        con.execute(f"SET duckherder_min_split_rows = {SPLIT_ROWS}")
        for sql in self.expected:
            con.execute(sql)
        used = con.execute("SELECT max(num_workers_used) FROM duckherder_get_query_execution_stats()")
        assert used == [(len(WORKERS),)], f"queries used {used} workers at most"

    def set_up(self) -> None:
        with self.herd.network.client(CLIENTS[0], ADDRESSES) as con:
            for table in tpch.TABLES:
                con.execute(f"CREATE TABLE dh.{table} AS SELECT * FROM {quote(self.folder / f'{table}.parquet')}")
            for statement in SET_UP:
                con.execute(statement)
            con.execute("USE dh")
            self.wait_for_workers(con)
            self.warm_up(con)
            self.before = self.herd.memory(), self.herd.handles()

    def wait_for_workers(self, con) -> None:
        deadline = time.monotonic() + SETTLED_WITHIN_S
        wanted = [(worker, "ACTIVE", 0, []) for worker in WORKERS]
        while True:
            try:
                found = con.execute("SELECT worker_id, state, running_tasks, unreachable FROM duckherder_workers() ORDER BY ALL")
            except duckdb.Error as error:
                found = error
            if found == wanted:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"after {SETTLED_WITHIN_S} s the workers are {found}")
            time.sleep(0.2)

    def under_load(self) -> None:
        stop = threading.Event()
        for client in self.clients:
            client.start(stop)
        began, order = time.monotonic(), itertools.count()
        coming = [(fault.at_s, next(order), fault, None) for fault in schedule(self.seed, self.minutes * 60)]
        heapq.heapify(coming)
        try:
            while coming and not self.failed():
                at_s, _, fault, undo = heapq.heappop(coming)
                time.sleep(max(0, began + at_s - time.monotonic()))
                if undo is not None:
                    undo()
                    continue
                print(f"{time.strftime('%H:%M:%S')} {fault}", flush=True)
                self.faults += 1
                self.met += any(client.busy for client in self.clients)
                undo = self.herd.begin(fault)
                heapq.heappush(coming, (at_s + fault.lasts_s, next(order), fault, undo))
        finally:
            for *_, undo in coming:
                if undo is not None:
                    undo()
            stop.set()
            for client in self.clients:
                client.thread.join()

    def failed(self) -> bool:
        return bool(self.herd.problems) or any(client.problems for client in self.clients)

    def settle(self) -> None:
        """All is there, and nothing is left of what was under way."""
        for client in self.clients:
            client.leave()
        with self.herd.network.client(CLIENTS[0]) as con:
            deadline = time.monotonic() + SETTLED_WITHIN_S
            while True:
                try:
                    con.execute(f"ATTACH '{ADDRESSES}' AS dh (TYPE duckherder)")
                    break
                except duckdb.IOException:
                    if time.monotonic() > deadline:
                        raise
            con.execute("USE dh")
            self.wait_for_workers(con)
            self.warm_up(con)
            # Nobody holds locks any more: every account can be written.
            con.execute("UPDATE dh.accounts SET balance = balance")
            self.wait_for_workers(con)
            self.checker.con = con
            self.herd.clients[self.checker.host].append(con)
            self.checker.step()
            for reader in self.readers:
                reader.con = con
            for sql, answer in self.expected.items():
                self.readers[0].expected = {sql: answer}
                self.readers[0].step()
            self.after = self.herd.memory(), self.herd.handles()
        self.check_what_is_left()
        for name, clients in [("TPC-H", self.readers), ("checks", [self.checker]), ("writers", self.writers)]:
            done = sum(client.counts["done"] for client in clients)
            if done == 0:
                self.problems.append(f"{name}: none was answered in {self.minutes} minutes")
        if self.met < 0.5 * self.faults:
            self.problems.append(f"only {self.met} of {self.faults} faults met statements under way: the clients rest too long")

    def check_what_is_left(self) -> None:
        for what, more, unit in [(0, MORE_MIB, "MiB"), (1, MORE_HANDLES, "open files")]:
            most = {kind: max(count for host, count in self.before[what].items() if host[0] == kind) for kind in "dw"}
            for host, count in self.after[what].items():
                if count > most[host[0]] + more:
                    self.problems.append(f"{host} has {count} {unit} at the end; at the start, it had {most[host[0]]} at most")

    def report(self) -> str:
        lines = [f"seed {self.seed}, {self.minutes} minutes"]
        lines.append(f"{self.met} of {self.faults} faults met statements under way")
        lines.append("faults: " + ", ".join(f"{kind} {count}" for kind, count in sorted(self.herd.counts.items())))
        for name, clients in [("TPC-H", self.readers), ("checks", [self.checker]), ("writers", self.writers)]:
            done = sum(client.counts["done"] for client in clients)
            errors = sum((client.errors for client in clients), Counter())
            slowest = max(client.slowest_s for client in clients)
            lines.append(f"{name}: {done} done, {sum(errors.values())} errors, the slowest statement {slowest:.1f} s")
            lines += [f"    {count:5} {kind}" for kind, count in errors.most_common()]
        lines.append(f"commits: {sum(len(w.known) for w in self.writers)} acknowledged of {sum(w.sent for w in self.writers)} sent")
        if hasattr(self, "after"):
            lines.append(f"MiB: {self.before[0]} -> {self.after[0]}")
            lines.append(f"open files: {self.before[1]} -> {self.after[1]}")
        lines += [f"PROBLEM {problem}" for problem in self.problems] or ["no problem"]
        return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.run", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3, help="how long faults come (3)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000_000, help="draws the same again")
    parser.add_argument("--scale", type=float, default=0.01, help="of TPC-H's tables (0.01)")
    parser.add_argument("--pause", type=float, default=0, metavar="S", help="how long each client rests between two statements, in seconds (0)")
    parser.add_argument("--stored", action="store_true", help="the databases are in a storage that workers read, too")
    parser.add_argument("--logs", help="a file for what all drivers and workers have said")
    parser.add_argument("--list", action="store_true", help="only say which faults would come")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    if options.list:
        print(*schedule(options.seed, options.minutes * 60), sep="\n")
        return 0
    if reason := network.why_not() or machine_faults.why_not():
        print(f"can't be done here: {reason}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="duckherder-chaos-") as folder:
        run = Run(Path(folder), options.seed, options.minutes, options.scale, options.stored, options.pause)
        try:
            run.run()
        except Exception as error:  # noqa: BLE001: reported with the rest
            run.problems.append(f"{type(error).__name__}: {error}")
        print(run.report(), flush=True)
        if options.logs:
            Path(options.logs).write_text("\n".join(run.herd.logs))
    return 1 if run.problems else 0


if __name__ == "__main__":
    sys.exit(main())
