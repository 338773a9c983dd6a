"""Reader of DuckDB's `.test` format (sqllogictest), as far as our files use it.

    statement ok [connection]              SQL, possibly over several lines
    statement error [connection]           SQL, then `----` and a text that the error contains
    query TYPES [sort mode] [connection]   SQL, then optionally `----` and the expected rows, values separated by tabs
    require driver [WORKERS]               a driver of this file's own, attached as `dh`
    require remote WORKERS                 ... with so many workers in processes of their own
    require duckherder                     the extension alone
    distribute auto | always | never       how the queries after it are distributed (default: the driver decides)
    onlyif duckherder | duckdb             the next record runs on that side only
    skipif duckherder | duckdb             the next record does not run on that side
    loop NAME FROM TO ... endloop          `${NAME}` in the body
    foreach NAME A B C ... endloop
    set NAME driver [WORKERS]              one more driver; `{NAME_port}` is its port
    sleep N milliseconds

TYPES has a letter a column: `R` compares floats with a tolerance, `I`, `T` and the others exactly. A sort mode is
`nosort` (the default: the order of rows counts) or `rowsort`. An expected value may be `<REGEX>:PATTERN`. A query without `----` has plain DuckDB's answer as its
only expectation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

SORT_MODES = {"nosort", "rowsort"}
SIDES = {"duckherder", "duckdb"}


class FormatError(Exception):
    """A file that is not in the format; says where."""


@dataclass
class Record:
    """One statement or query, or a command such as `require`."""

    line: int
    kind: str  # "ok", "error", "query" or "command"
    sql: str = ""
    words: list[str] = field(default_factory=list)
    types: str = ""
    sort: str = "nosort"
    connection: str = ""
    expected: list[str] | None = None
    sides: frozenset[str] = frozenset(SIDES)


def parse(path: Path) -> list[Record]:
    """The records of a file, loops unrolled."""
    return _parse_lines(path, list(enumerate(path.read_text().splitlines(), 1)))


def _parse_lines(path: Path, lines: list[tuple[int, str]]) -> list[Record]:
    records: list[Record] = []
    sides = frozenset(SIDES)
    position = 0
    while position < len(lines):
        number, text = lines[position]
        words = text.split()
        if not words or text.startswith("#"):
            position += 1
            continue
        match words[0]:
            case "onlyif" | "skipif":
                if len(words) != 2 or words[1] not in SIDES:
                    raise FormatError(f"{path}:{number}: {text}")
                sides = frozenset({words[1]}) if words[0] == "onlyif" else frozenset(SIDES - {words[1]})
                position += 1
                continue
            case "loop" | "foreach":
                body, position = _loop_body(path, lines, position)
                values = [str(n) for n in range(int(words[2]), int(words[3]))] if words[0] == "loop" else words[2:]
                for value in values:
                    replaced = [(n, line.replace("${" + words[1] + "}", value)) for n, line in body]
                    records.extend(_parse_lines(path, replaced))
                continue
            case "statement" | "query":
                record, position = _statement(path, lines, position)
            case "require" | "set" | "sleep" | "distribute":
                record = Record(number, "command", words=words)
                position += 1
            case _:
                raise FormatError(f"{path}:{number}: unknown command {words[0]}")
        record.sides = sides
        sides = frozenset(SIDES)
        records.append(record)
    return records


def _loop_body(path: Path, lines: list[tuple[int, str]], start: int) -> tuple[list[tuple[int, str]], int]:
    depth = 0
    for position in range(start, len(lines)):
        first = (lines[position][1].split() or [""])[0]
        depth += (first in ("loop", "foreach")) - (first == "endloop")
        if depth == 0:
            return lines[start + 1 : position], position + 1
    raise FormatError(f"{path}:{lines[start][0]}: loop without endloop")


def _statement(path: Path, lines: list[tuple[int, str]], position: int) -> tuple[Record, int]:
    number, header = lines[position]
    words = header.split()
    record = Record(number, "query", words=words)
    rest = words[2:]
    if words[0] == "statement":
        if len(words) < 2 or words[1] not in ("ok", "error"):
            raise FormatError(f"{path}:{number}: {header}")
        record.kind = words[1]
    else:
        record.types = words[1] if len(words) > 1 else ""
        if rest and rest[0] in SORT_MODES:
            record.sort = rest.pop(0)
    if rest:
        record.connection = rest.pop(0)
    if rest:
        raise FormatError(f"{path}:{number}: {header}")
    position += 1
    sql: list[str] = []
    while position < len(lines) and lines[position][1].strip() and lines[position][1] != "----":
        sql.append(lines[position][1])
        position += 1
    record.sql = "\n".join(sql)
    if not record.sql:
        raise FormatError(f"{path}:{number}: no SQL")
    if position < len(lines) and lines[position][1] == "----":
        position += 1
        record.expected = []
        while position < len(lines) and lines[position][1].strip():
            record.expected.append(lines[position][1])
            position += 1
    if record.kind == "error" and not record.expected:
        raise FormatError(f"{path}:{number}: an error without its text")
    return record, position
