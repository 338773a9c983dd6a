"""Row ids are the same in a database that is written and in its files, opened elsewhere: after appends, deletions,
updates, rollbacks and checkpoints, with open readers and without.

    python -m proof.row_ids [--minutes 1] [--seed N]

Workers that read a driver's tables in object storage rely on it, since tasks divide tables by row ids. A file and its log
are copied after each statement and attached READ_ONLY, which replays the log. Exits with 1 where rows differ.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import duckdb

COUNTS = [1, 10, 3_000, 130_000, 260_000]
ROWS = "SELECT count(*), sum(hash(rowid, id, v, n)), sum(rowid), max(rowid), sum(hash(id, v, n)) FROM {}"


class Written:
    """A database to which things happen."""

    def __init__(self, file: Path, draw: random.Random):
        self.file, self.draw, self.next = file, draw, 0
        self.con = duckdb.connect(str(file), config={"threads": 2})
        # As a driver has it.
        self.con.execute("SET GLOBAL auto_checkpoint_skip_wal_threshold = 18446744073709551615")
        self.con.execute(f"SET GLOBAL checkpoint_threshold = '{draw.choice(['16MB', '1MB', '100KB', '1KB'])}'")
        self.con.execute(f"CREATE TABLE t(id {draw.choice(['INTEGER', 'INTEGER PRIMARY KEY'])}, v VARCHAR, n BIGINT)")
        if draw.random() < 0.3:
            self.con.execute("CREATE INDEX by_n ON t(n)")
        self.reader: duckdb.DuckDBPyConnection | None = None

    def append(self) -> None:
        count = self.draw.choice(COUNTS)
        rows = f"SELECT range, md5(range::VARCHAR), range % 7 FROM range({self.next}, {self.next + count})"
        self.con.execute(f"INSERT INTO t {rows}")
        self.next += count

    def append_one_by_one(self) -> None:
        for _ in range(20):
            self.con.execute(f"INSERT INTO t VALUES ({self.next}, 'single', 1)")
            self.next += 1

    def delete(self) -> None:
        some = lambda: self.draw.randrange(max(self.next, 1))  # noqa: E731
        wheres = [f"id % {self.draw.randrange(2, 50)} = 0", f"id < {some()}", f"id BETWEEN {some()} AND {some()}", f"n = {some() % 7}"]
        self.con.execute(f"DELETE FROM t WHERE {self.draw.choice(wheres)}")

    def update(self) -> None:
        self.con.execute(f"UPDATE t SET {self.draw.choice(['n = n + 1', 'v = v || 1'])} WHERE id % {self.draw.randrange(1, 30)} = 0")

    def checkpoint(self) -> None:
        try:
            self.con.execute("CHECKPOINT")
        except duckdb.TransactionException:
            pass

    def read(self) -> None:
        """Somebody reads for a while, which keeps checkpoints from moving rows."""
        if self.reader is None:
            self.reader = self.con.cursor()
            self.reader.execute("BEGIN")
            self.reader.execute("SELECT count(*) FROM t").fetchall()
        else:
            self.reader.execute("ROLLBACK")
            self.reader = None

    def roll_back(self) -> None:
        self.con.execute("BEGIN")
        count = self.draw.choice(COUNTS)
        self.con.execute(f"INSERT INTO t SELECT range, 'gone', 0 FROM range({self.next}, {self.next + count})")
        self.con.execute("ROLLBACK")

    def step(self) -> str:
        steps = [self.append, self.append_one_by_one, self.delete, self.update, self.checkpoint, self.read, self.roll_back]
        step = self.draw.choices(steps, [6, 1, 4, 4, 2, 2, 1])[0]
        step()
        return step.__name__

    def compare(self) -> str | None:
        """What differs."""
        copy = self.file.with_name("copy.duckdb")
        for suffix in ["", ".wal"]:
            source, target = Path(f"{self.file}{suffix}"), Path(f"{copy}{suffix}")
            target.unlink(missing_ok=True)
            if source.exists():
                shutil.copyfile(source, target)
        with duckdb.connect() as other:
            other.execute(f"ATTACH '{copy}' AS copy (READ_ONLY)")
            here, there = self.con.execute(ROWS.format("t")).fetchone(), other.execute(ROWS.format("copy.t")).fetchone()
        return None if here == there else f"{here} here, {there} in the files"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    deadline = time.monotonic() + 60 * arguments.minutes
    compared = databases = 0
    while time.monotonic() < deadline:
        databases += 1
        with tempfile.TemporaryDirectory() as folder:
            written = Written(Path(folder) / "a.duckdb", draw)
            for _ in range(draw.randrange(5, 40)):
                step = written.step()
                problem = written.compare()
                compared += 1
                if problem:
                    sys.exit(f"seed {arguments.seed}, database {databases}, after {step}: {problem}")
            written.con.close()
    print(f"seed {arguments.seed}: {compared} states of {databases} databases, all the same")


if __name__ == "__main__":
    main()
