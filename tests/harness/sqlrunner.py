"""Runs `.test` files against Duckherder and, statement by statement, against plain DuckDB.

Every record goes to two stock DuckDBs: one with a driver attached as `dh`, one with an empty in-memory database of the
same alias (the mirror). Results must be equal in names, types and rows; errors in their class; and both must be what
the file expects. `--oracle-only` puts plain DuckDB on both sides, which checks the files themselves.

    python -m harness.sqlrunner [--oracle-only | --modes] FILE_OR_FOLDER ...

`--modes` prints how every query of a file with a driver ran, and how many of them were split over workers.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from harness.client import attach, loaded
from harness.cluster import Driver, ServerProcess, Worker, free_port
from harness.compare import Result, difference
from harness.distribution import distribute, run_of
from harness.logictest import Record, parse

FLOAT_TOLERANCE = 1e-9
COUNTED = {"INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "COPY"}
_ATTACH = re.compile(r"^\s*ATTACH\s+(?:DATABASE\s+)?(?:IF NOT EXISTS\s+)?('[^']*')(?:\s+AS\s+(\w+))?\s*\(\s*TYPE\s+duckherder", re.I)


class Side:
    """One of the two DuckDBs, with its named connections and its own scratch folder."""

    def __init__(self, con: duckdb.DuckDBPyConnection, folder: str):
        self.connections = {"": con}
        self.folder = folder

    def connection(self, name: str) -> duckdb.DuckDBPyConnection:
        if name not in self.connections:
            self.connections[name] = self.connections[""].cursor()
        return self.connections[name]


class FileRun:
    """One file: its drivers, its two sides, its failures."""

    def __init__(self, path: Path, oracle_only: bool, show_modes: bool = False):
        self.path = path
        self.show_modes = show_modes
        self.oracle_only = oracle_only
        self.failures: list[str] = []
        self.passed = 0
        self.drivers: list[ServerProcess] = []
        # queries of the statements so far, and those split over workers, by what `distribute` said
        self.modes: dict[str, list[bool]] = {}
        self.distribution = ""
        # DuckDB's answers since the last statement that may have changed something: a file that goes through its
        # queries once a way of distributing them asks for each again
        self.answers: dict[tuple[str, str], Result] = {}
        self.variables = {"free_port": str(free_port())}
        self.scratch = tempfile.TemporaryDirectory(prefix="duckherder-sql-")
        self.mirror = Side(duckdb.connect(), self._folder("duckdb"))
        self.product = Side(duckdb.connect() if oracle_only else loaded(), self._folder("duckherder"))

    def _folder(self, name: str) -> str:
        folder = Path(self.scratch.name) / name
        folder.mkdir()
        return str(folder)

    def run(self) -> None:
        try:
            for record in parse(self.path):
                if record.kind == "command":
                    self._command(record)
                    continue
                problem = self._record(record)
                if problem is None:
                    self.passed += 1
                else:
                    self.failures.append(f"{self.path}:{record.line}: {problem}\n    {self._filled(record.sql)}")
                    if "database has been invalidated" in problem:
                        break
        finally:
            for side in (self.product, self.mirror):
                for con in side.connections.values():
                    con.close()
            for driver in self.drivers:
                driver.kill()
            self.scratch.cleanup()

    def _command(self, record: Record) -> None:
        match record.words:
            case ["require", "duckherder"]:
                pass
            case ["require", "driver", *workers]:
                driver = self._start_driver("driver", workers)
                self.mirror.connection("").execute("ATTACH ':memory:' AS dh")
                if driver is None:
                    self.product.connection("").execute("ATTACH ':memory:' AS dh")
                else:
                    attach(self.product.connection(""), driver)
            case ["require", "remote", workers]:
                self._require_workers(int(workers))
            case ["set", name, "driver", *workers]:
                self._start_driver(name, workers)
            case ["distribute", choice]:
                self.distribution = choice
                if not self.oracle_only:
                    for con in self.product.connections.values():
                        distribute(con, choice)
            case ["sleep", count, "milliseconds"]:
                time.sleep(int(count) / 1000)
            case _:
                raise ValueError(f"{self.path}:{record.line}: {' '.join(record.words)}")

    def _start_driver(self, name: str, workers: list[str]) -> Driver | None:
        if self.oracle_only:
            self.variables[f"{name}_port"] = "1"
            return None
        driver = Driver(int(workers[0]) if workers else 0)
        self.drivers.append(driver)
        self.variables[f"{name}_port"] = str(driver.port)
        return driver

    def _require_workers(self, count: int) -> None:
        """Workers in processes of their own, for the driver that is attached."""
        if self.oracle_only:
            return
        for number in range(count):
            worker = Worker(f"remote-{number + 1}")
            self.drivers.append(worker)
            registered = "SELECT duckherder_register_worker(?, ?)"
            self.product.connection("").execute(registered, [worker.worker_id, f"grpc://{worker.location}"]).fetchall()

    def _filled(self, text: str, side: Side | None = None) -> str:
        for name, value in self.variables.items():
            text = text.replace("{" + name + "}", value)
        return text.replace("__TEST_DIR__", side.folder if side else "__TEST_DIR__")

    def _run_on(self, side: Side, record: Record) -> Result:
        sql = self._filled(record.sql, side)
        if side is self.mirror or self.oracle_only:
            sql = _mirrored_attach(sql)
        return Result.of(side.connection(record.connection), sql)

    def _expected(self, record: Record) -> Result:
        """What plain DuckDB answers."""
        if record.kind == "ok" or not self.distribution:
            self.answers.clear()
            return self._run_on(self.mirror, record)
        key = (record.connection, record.sql)
        if key not in self.answers:
            self.answers[key] = self._run_on(self.mirror, record)
        return self.answers[key]

    def _record(self, record: Record) -> str | None:
        """What is wrong, or None."""
        expected = self._expected(record) if "duckdb" in record.sides else None
        got = None
        if "duckherder" in record.sides and not (self.oracle_only and record.sides == {"duckherder"}):
            got = self._run_on(self.product, record)
        problem = None
        for name, result in (("DuckDB", expected), ("Duckherder", got)):
            if result is not None and problem is None:
                problem = self._against_file(record, result)
                if problem is not None:
                    problem = f"{name}: {problem}"
        if problem is None and expected is not None and got is not None:
            tolerance: float | list[float] = 0.0
            if record.kind == "query" and len(record.types) == len(expected.names):
                tolerance = [FLOAT_TOLERANCE if letter == "R" else 0.0 for letter in record.types]
            if not self._promises_rows(record):
                got.rows, expected.rows = [], []
            problem = difference(got, expected, ordered=record.sort == "nosort", tolerance=tolerance)
        if self.show_modes and record.kind == "query" and got is not None and expected is not None:
            self._note_mode(record)
        return problem

    def _note_mode(self, record: Record) -> None:
        """Prints how a query ran that has just run."""
        if not self.drivers or "dh." not in record.sql:
            return
        run = run_of(self.product.connection(record.connection))
        self.modes.setdefault(self.distribution, []).append(run.split)
        print(f"{self.path.name}:{record.line}: {self.distribution}: {run.mode}, {run.tasks} tasks on {run.workers} workers")

    @staticmethod
    def _promises_rows(record: Record) -> bool:
        """Whether the rows mean something: DuckDB leaves the count of some DDL statements uninitialised."""
        return record.kind == "query" or record.sql.split(None, 1)[0].upper() in COUNTED

    def _against_file(self, record: Record, result: Result) -> str | None:
        if record.kind == "error":
            text = self._filled("\n".join(record.expected or []))
            if result.error is None:
                return f"no error, expected {text!r}"
            if text not in str(result.error):
                return f"error {str(result.error)!r}, expected {text!r}"
            return None
        if result.error is not None:
            return f"{type(result.error).__name__}: {' '.join(str(result.error).split())[:600]}"
        if record.kind == "ok":
            return None
        if len(record.types) != len(result.names):
            return f"{len(result.names)} columns {result.names}, the file says {record.types}"
        if record.expected is None:
            return None
        rows = [[render(value) for value in row] for row in result.rows]
        wanted = [self._filled(line).split("\t") for line in record.expected]
        if record.sort == "rowsort":
            rows, wanted = sorted(rows), sorted(wanted)
        if len(rows) != len(wanted) or not all(map(_row_matches, rows, wanted)):
            return f"got {_lines(rows)}, the file expects {_lines(wanted)}"
        return None


def _row_matches(row: list[str], wanted: list[str]) -> bool:
    return len(row) == len(wanted) and all(map(_cell_matches, row, wanted))


def _cell_matches(cell: str, wanted: str) -> bool:
    """As text, or as DuckDB's `<REGEX>:` over the whole value."""
    if wanted.startswith("<REGEX>:"):
        return re.fullmatch(wanted.removeprefix("<REGEX>:"), cell, re.S) is not None
    return cell == wanted


def _lines(rows: list[list[str]]) -> str:
    shown = " | ".join("\t".join(row) for row in rows[:20])
    return f"{len(rows)} rows: {shown}"


def _mirrored_attach(sql: str) -> str:
    """`ATTACH ... (TYPE duckherder ...)` as the mirror does it: an empty database of the same alias."""
    found = _ATTACH.match(sql)
    if not found:
        return sql
    alias = found.group(2) or '"' + found.group(1).strip("'") + '"'
    return f"ATTACH ':memory:' AS {alias}"


def render(value) -> str:
    """A value as the files write it."""
    if value is None:
        return "NULL"
    if value is True or value is False:
        return str(value).lower()
    if value == "":
        return "(empty)"
    return str(value).replace("\n", "\\n").replace("\t", "\\t")


def test_files(paths: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found.extend(sorted(path.rglob("*.test")) if path.is_dir() else [path])
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle-only", action="store_true", help="plain DuckDB on both sides")
    parser.add_argument("--modes", action="store_true", help="print how every query ran")
    parser.add_argument("paths", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    passed = failed = 0
    for path in test_files(options.paths):
        run = FileRun(path, options.oracle_only, options.modes)
        run.run()
        for choice, split in run.modes.items():
            print(f"{path.name}: {choice}: {sum(split)} of {len(split)} split over workers")
        for failure in run.failures:
            print(failure, flush=True)
        passed += run.passed
        failed += len(run.failures)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
