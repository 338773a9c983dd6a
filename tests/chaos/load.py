"""Clients whose answers can be checked, whatever happens to whom they ask.

TPC-H's tables never change, so its answers are plain DuckDB's. Of what is written, each row has its writer's next number:
an answer has all numbers that were acknowledged before it was asked for, and none that were not sent before it came; money
is only moved, and the accounts are what the transfers of the same snapshot make of them.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import duckdb

from chaos.herd import ADDRESSES, Herd
from harness.compare import Result, difference, float_tolerances
from harness.far_client import FarClient, Hangs

# Whoever answers later than this hangs: a connection that is cut shows it within 30 s, and another driver is looked for
# for 20 s.
LIMIT_S = 120
# Tables of so many rows are divided among the workers.
SPLIT_ROWS = 1000
ACCOUNTS = 40
START_BALANCE = 1000
# What an error may be: all others are wrong answers.
KINDS = {"IOException", "TransactionException", "ConnectionException", "InterruptException", "OutOfMemoryException"}
SET_UP = [
    f"CREATE TABLE dh.accounts AS SELECT range::INTEGER AS id, {START_BALANCE}::BIGINT AS balance FROM range({ACCOUNTS})",
    "CREATE TABLE dh.transfers(writer INTEGER, n INTEGER, source INTEGER, target INTEGER, amount BIGINT)",
    "CREATE TABLE dh.log(writer INTEGER, n INTEGER, word VARCHAR)",
]
# One row: what the snapshot holds of both.
STATE = f"""
    SELECT (SELECT sum(balance) FROM dh.accounts), (SELECT count(*) FROM dh.accounts),
        (SELECT count(*) FROM dh.accounts LEFT JOIN (
            SELECT id, sum(moved) AS moved FROM (
                SELECT source AS id, -amount AS moved FROM dh.transfers UNION ALL SELECT target, amount FROM dh.transfers
            ) GROUP BY id) USING (id)
         WHERE balance <> {START_BALANCE} + coalesce(moved, 0)),
        (SELECT list({{'w': writer, 'n': n}}) FROM dh.transfers),
        (SELECT list({{'w': writer, 'n': n}}) FROM dh.log WHERE word = 'word ' || n)"""


class Client:
    """One thread with one connection, which is made again when it is lost."""

    # How long it pauses between two steps on average; 0: not at all.
    pause_s = 0.0

    def __init__(self, number: int, seed: int, herd: Herd):
        self.number, self.herd = number, herd
        self.host = sorted(herd.clients)[number % len(herd.clients)]
        self.draw = random.Random(f"{seed}/client {number}")
        self.con: FarClient | None = None
        self.counts: Counter = Counter()
        self.errors: Counter = Counter()
        self.slowest_s = 0.0
        # Whether a statement is under way.
        self.busy = False
        self.problems: list[str] = []
        self.thread: threading.Thread | None = None

    def execute(self, sql: str):
        if self.con is None:
            con = self.herd.network.client(self.host)
            self.herd.clients[self.host].append(con)
            try:
                con.execute(f"ATTACH '{ADDRESSES}' AS dh (TYPE duckherder)", LIMIT_S)
                con.execute("USE dh")
                con.execute(f"SET duckherder_min_split_rows = {SPLIT_ROWS}")
            except BaseException:
                self.leave(con)
                raise
            self.con = con
        began = time.monotonic()
        self.busy = True
        try:
            return self.con.execute(sql, LIMIT_S)
        finally:
            self.busy = False
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def leave(self, con: FarClient | None = None) -> None:
        con = con or self.con
        self.con = None
        if con is not None:
            con.kill()
            self.herd.clients[self.host].remove(con)
            self.herd.network.processes.remove(con)

    def start(self, stop: threading.Event) -> None:
        self.thread = threading.Thread(target=self._run, args=[stop])
        self.thread.start()

    def _run(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set() and not self.problems:
                self.attempt()
                if self.pause_s:
                    stop.wait(self.draw.uniform(0, 2 * self.pause_s))
        except Exception as error:  # noqa: BLE001: told at the end
            self.problems.append(f"{type(self).__name__} {self.number}: {type(error).__name__}: {error}")

    def attempt(self) -> None:
        """One step; whether it failed is counted, unless that must not be."""
        try:
            self.step()
            self.counts["done"] += 1
        except Hangs as error:
            self.problems.append(f"{type(self).__name__} {self.number}: {error}")
        except (EOFError, BrokenPipeError):
            self.errors["the client was killed"] += 1
            self.leave()
        except duckdb.Error as error:
            self.errors[kind_of(error)] += 1
            if type(error).__name__ not in KINDS:
                self.problems.append(f"{type(self).__name__} {self.number}: {type(error).__name__}: {error}")
            if "Current transaction" in str(error) or self.draw.random() < 0.1:
                self.leave()
            time.sleep(0.05)

    def step(self) -> None:
        raise NotImplementedError

    def wrong(self, what: str) -> None:
        self.problems.append(f"{type(self).__name__} {self.number}: {what}")


class TpchReader(Client):
    """All 22 queries, in some order; `expected`: what plain DuckDB answers."""

    def __init__(self, number: int, seed: int, herd: Herd, expected: dict[str, Result]):
        super().__init__(number, seed, herd)
        self.expected = expected

    def step(self) -> None:
        sql = self.draw.choice(sorted(self.expected))
        self.execute(f"SET duckherder_distribution = '{self.draw.choice(['always', 'always', 'auto'])}'")
        rows = self.execute(sql)
        expected = self.expected[sql]
        got = Result(expected.names, expected.types, rows)
        problem = difference(got, expected, ordered=True, tolerance=float_tolerances(expected.types))
        if problem:
            self.wrong(f"{sql}: {problem}")


class Writer(Client):
    """Numbers its transactions. `known`: those that were acknowledged; `sent`: all of them."""

    def __init__(self, number: int, seed: int, herd: Herd):
        super().__init__(number, seed, herd)
        self.sent = 0
        self.known: list[int] = []

    def step(self) -> None:
        self.sent += 1
        number = self.sent
        try:
            self.write(number)
        except duckdb.Error:
            self.end_transaction()
            raise
        self.known.append(number)

    def end_transaction(self) -> None:
        try:
            self.execute("ROLLBACK")
        except duckdb.TransactionException:
            pass

    def write(self, number: int) -> None:
        raise NotImplementedError


class Mover(Writer):
    """Moves money from one account to another."""

    TABLE = "transfers"

    def write(self, number: int) -> None:
        source, target = self.draw.sample(range(ACCOUNTS), 2)
        amount = self.draw.randrange(1, 50)
        self.execute("BEGIN")
        self.execute(f"UPDATE dh.accounts SET balance = balance - {amount} WHERE id = {source}")
        if self.draw.random() < 0.1:
            time.sleep(self.draw.random())
        self.execute(f"UPDATE dh.accounts SET balance = balance + {amount} WHERE id = {target}")
        self.execute(f"INSERT INTO dh.transfers VALUES ({self.number}, {number}, {source}, {target}, {amount})")
        self.execute("COMMIT")


class Appender(Writer):
    """Adds rows one by one."""

    TABLE = "log"

    def write(self, number: int) -> None:
        self.execute(f"INSERT INTO dh.log VALUES ({self.number}, {number}, 'word {number}')")


class Checker(Client):
    """Looks whether what was written is there."""

    def __init__(self, number: int, seed: int, herd: Herd, writers: list[Writer]):
        super().__init__(number, seed, herd)
        self.writers = writers

    def step(self) -> None:
        self.execute(f"SET duckherder_distribution = '{self.draw.choice(['always', 'auto'])}'")
        before = {writer.number: list(writer.known) for writer in self.writers}
        ((money, accounts, differ, transfers, log),) = self.execute(STATE)
        sent = {writer.number: writer.sent for writer in self.writers}
        if (money, accounts, differ) != (ACCOUNTS * START_BALANCE, ACCOUNTS, 0):
            self.wrong(f"{accounts} accounts have {money}, {differ} of them something else than the transfers say")
        seen = {"transfers": Counter(), "log": Counter()}
        for table, rows in [("transfers", transfers), ("log", log)]:
            seen[table].update((row["w"], row["n"]) for row in rows or [])
        for writer in self.writers:
            found = {n: count for (w, n), count in seen[writer.TABLE].items() if w == writer.number}
            lost = set(before[writer.number]) - found.keys()
            if lost:
                self.wrong(f"{len(lost)} of {len(before[writer.number])} rows of writer {writer.number} are lost: {sorted(lost)[:10]}")
            if found and (max(found) > sent[writer.number] or max(found.values()) > 1):
                self.wrong(f"writer {writer.number} has rows twice, or that it has not sent")


def kind_of(error: duckdb.Error) -> str:
    """The error without what is only this one's."""
    text = str(error).splitlines()[0]
    for number in "0123456789":
        text = text.replace(number, "#")
    while "##" in text:
        text = text.replace("##", "#")
    return f"{type(error).__name__}: {text[:140]}"
