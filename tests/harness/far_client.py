"""A client in a process of its own, to run on another host, or to be killed.

`FarClient` is the near end. The far end is this file as a program: it has a stock DuckDB with the extension loaded, reads
statements from its input, and writes what came of them.
"""

from __future__ import annotations

import os
import pickle
import select
import struct
import subprocess
import sys
import time
from pathlib import Path

import duckdb

_LENGTH = struct.Struct("<I")
TESTS = Path(__file__).resolve().parents[1]


class Hangs(AssertionError):
    """There was no answer in time."""


class FarClient:
    """One connection. `prefix` goes before the program's command."""

    def __init__(self, prefix: list[str]):
        environment = {**os.environ, "PYTHONPATH": str(TESTS)}
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "harness.far_client"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment,
        )
        self.result(60)

    def execute(self, sql: str, timeout_s: float = 60) -> list[tuple]:
        """All rows of a statement.

        Raises what DuckDB does, and `Hangs` when there is no answer in time."""
        self.start(sql)
        return self.result(timeout_s)

    def start(self, sql: str) -> None:
        """Sends a statement; `result` waits for its rows."""
        self._send(sql)

    def interrupt(self) -> None:
        """Interrupts the statement that runs: as Ctrl-C does."""
        self.process.send_signal(2)

    def result(self, timeout_s: float = 60) -> list[tuple]:
        deadline = time.monotonic() + timeout_s
        kind, value = pickle.loads(self._read(_LENGTH.unpack(self._read(_LENGTH.size, deadline, timeout_s))[0], deadline, timeout_s))
        if kind == "rows":
            return value
        raise getattr(duckdb, kind, duckdb.Error)(value)

    def _send(self, what) -> None:
        data = pickle.dumps(what)
        self.process.stdin.write(_LENGTH.pack(len(data)) + data)

    def _read(self, count: int, deadline: float, timeout_s: float) -> bytes:
        data = b""
        while len(data) < count:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([self.process.stdout], [], [], left)[0]:
                raise Hangs(f"no answer within {timeout_s} s")
            more = self.process.stdout.read(count - len(data))
            if not more:
                raise EOFError(f"the client has ended with {self.process.wait()}")
            data += more
        return data

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def main() -> None:
    from harness.client import loaded

    # What somebody prints is no answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    statements = sys.stdin.buffer

    def answer(kind: str, value) -> None:
        data = pickle.dumps((kind, value))
        answers.write(_LENGTH.pack(len(data)) + data)
        answers.flush()

    con = loaded()
    answer("rows", [])
    while length := statements.read(_LENGTH.size):
        sql = pickle.loads(statements.read(_LENGTH.unpack(length)[0]))
        try:
            result = con.execute(sql)
            answer("rows", result.fetchall() if result.description else [])
        except (duckdb.Error, RuntimeError, KeyboardInterrupt) as error:
            answer(type(error).__name__, str(error))


if __name__ == "__main__":
    main()
