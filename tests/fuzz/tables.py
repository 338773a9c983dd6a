"""Random typed tables, made by the same SQL on both sides.

Every column is a deterministic expression over the row's number, so that a table of 250,000 rows is a line of SQL that
can be put into a report.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

# empty, one, a vector's edge, more; the edge of a row group; what is split in two ways
SIZES = [0, 1, 99, 100, 2047, 2048, 2049, 10_000, 122_879, 122_880, 122_881, 200_000, 250_000, 400_000]

INTEGERS = ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"]
DECIMALS = ["DECIMAL(4,1)", "DECIMAL(9,3)", "DECIMAL(18,6)", "DECIMAL(30,4)"]
FLOATS = ["FLOAT", "DOUBLE"]
TIMES = ["DATE", "TIMESTAMP", "TIMESTAMPTZ", "TIME", "INTERVAL"]
TEXTS = ["VARCHAR", "ENUM('red', 'green', 'blue', 'very long colour name')", "UUID", "BLOB", "BOOLEAN"]
NESTED = ["INTEGER[]", "VARCHAR[]", "STRUCT(a INTEGER, b VARCHAR)", "MAP(VARCHAR, INTEGER)", "INTEGER[2]", "STRUCT(l DOUBLE[], d DATE)[]"]
ALL = INTEGERS + DECIMALS + FLOATS + TIMES + TEXTS + NESTED


@dataclass(frozen=True)
class Column:
    name: str
    type: str

    @property
    def family(self) -> str:
        for family, types in (
            ("integer", INTEGERS), ("decimal", DECIMALS), ("float", FLOATS), ("nested", NESTED),
        ):
            if self.type in types:
                return family
        return "enum" if self.type.startswith("ENUM") else self.type.lower()


@dataclass(frozen=True)
class Table:
    name: str
    rows: int
    columns: tuple[Column, ...]
    statements: tuple[str, ...]

    def of(self, *families: str) -> list[Column]:
        return [column for column in self.columns if column.family in families]


def random_table(dice: random.Random, name: str, rows: int | None = None) -> Table:
    """A table called `dh.NAME` and the statements that make it."""
    rows = dice.choice(SIZES) if rows is None else rows
    count = dice.randint(4, 9)
    types = [dice.choice(INTEGERS), dice.choice(FLOATS), "VARCHAR"] + [dice.choice(ALL) for _ in range(count - 3)]
    columns = (Column("id", "BIGINT"), *(Column(f"c{number}", kind) for number, kind in enumerate(types)))
    cells = ["i AS id"] + [f"{_with_nulls(dice, _cell(dice, column.type), column.type)} AS {column.name}" for column in columns[1:]]
    create = f"CREATE OR REPLACE TABLE dh.{name} AS SELECT {', '.join(cells)} FROM range({rows}) r(i)"
    statements = [create]
    if rows and dice.random() < 0.3:
        statements.append(f"DELETE FROM dh.{name} WHERE id % {dice.choice([2, 3, 10, 1000])} = 0")
    if rows and dice.random() < 0.2:
        low = dice.randrange(rows)
        statements.append(f"DELETE FROM dh.{name} WHERE id BETWEEN {low} AND {low + rows // 3}")
    if dice.random() < 0.3:
        number = dice.choice([1, 500, 5000])
        statements.append(f"INSERT INTO dh.{name}(id) SELECT range + {rows * 2} FROM range({number})")
    if rows and dice.random() < 0.2:
        statements.append(f"UPDATE dh.{name} SET id = id + 1000000 WHERE id % 7 = 1")
    return Table(name, rows, columns, tuple(statements))


def _number(dice: random.Random) -> str:
    """An integer expression over `i`: few values, many, all different, or nearly always the same."""
    return dice.choice(
        [
            f"(i % {dice.choice([2, 5, 17, 100])})",
            f"(i * {dice.choice([7919, 104729])} % {dice.choice([97, 1009, 50021])})",
            f"(hash(i + {dice.randrange(1000)}) % {dice.choice([3, 200, 100000])})::BIGINT",
            f"(CASE WHEN hash(i) % 100 < 97 THEN 1 ELSE i % 1000 END)",
            "i",
            f"(i // {dice.choice([1000, 30000])})",
            str(dice.randrange(100)),
        ]
    )


_LIMITS = {"TINYINT": 120, "UTINYINT": 250, "SMALLINT": 30_000, "USMALLINT": 60_000}


def _cell(dice: random.Random, kind: str) -> str:
    n = _number(dice)
    if kind in INTEGERS:
        n = f"({n} % {_LIMITS[kind]})" if kind in _LIMITS else n
        if not kind.startswith("U") and dice.random() < 0.4:
            n = f"({n} - {dice.choice([1, 50, 100])})"
        return f"({n})::{kind}"
    if kind in DECIMALS:
        scale = int(kind.rstrip(")").split(",")[1])
        return f"(({n} % 900 - 300)::{kind} + ({_number(dice)} % 10)::{kind} * {'0.' + '0' * (scale - 1)}1)::{kind}" if scale else f"({n})::{kind}"
    if kind in FLOATS:
        special = f"WHEN i % {dice.choice([50, 1001])} = 3 THEN {dice.choice(['nan', 'inf', '-inf', '-0.0'])!r}::{kind} " if dice.random() < 0.4 else ""
        return f"(CASE {special}ELSE ({n} - 20)::{kind} / {dice.choice([1, 3, 8, 7.5])} END)::{kind}" if special else f"(({n} - 20)::{kind} / {dice.choice([1, 3, 8])})::{kind}"
    match kind:
        case "DATE":
            return f"DATE '1999-12-25' + ({n} % 20000)::INTEGER"
        case "TIMESTAMP":
            return f"TIMESTAMP '2020-02-28 23:59:59.5' + INTERVAL ({n} % 1000000) {dice.choice(['SECOND', 'HOUR', 'MILLISECOND'])}"
        case "TIMESTAMPTZ":
            return f"TIMESTAMPTZ '2021-03-27 12:00:00+00' + INTERVAL ({n} % 100000) MINUTE"
        case "TIME":
            return f"TIME '01:00:00' + INTERVAL ({n} % 50000) SECOND"
        case "INTERVAL":
            return f"INTERVAL ({n} % 100) {dice.choice(['MONTH', 'DAY', 'SECOND'])}"
        case "VARCHAR":
            return dice.choice(
                [f"'v' || {n}", f"concat({n}, '-', repeat('x', ({n} % 20)::INTEGER))", f"(['', 'a', 'A', 'ä', '🦆', 'a rather longer string, not inlined'])[({n} % 6 + 1)::INTEGER]", f"chr((97 + {n} % 26)::INTEGER)"]
            )
        case "UUID":
            return f"md5(({n} % 500)::VARCHAR)::UUID"
        case "BLOB":
            return f"encode('b' || {n})"
        case "BOOLEAN":
            return f"({n} % 2 = 0)"
        case "INTEGER[]":
            return f"(CASE WHEN i % 9 = 0 THEN [] ELSE [({n} % 7)::INTEGER, NULL, (i % 3)::INTEGER] END)"
        case "VARCHAR[]":
            return f"['x' || ({n} % 5), NULL, 'longer than twelve bytes']"
        case "STRUCT(a INTEGER, b VARCHAR)":
            return f"{{'a': ({n} % 9)::INTEGER, 'b': CASE WHEN i % 5 = 0 THEN NULL ELSE 's' || (i % 4) END}}"
        case "MAP(VARCHAR, INTEGER)":
            return f"MAP {{'k' || ({n} % 3): (i % 4)::INTEGER}}"
        case "INTEGER[2]":
            return f"array_value(({n} % 6)::INTEGER, (i % 2)::INTEGER)"
        case "STRUCT(l DOUBLE[], d DATE)[]":
            return f"[{{'l': [({n} % 5) / 2, NULL], 'd': DATE '2000-01-01' + (i % 3)::INTEGER}}]"
    values = [part.strip().strip("'") for part in kind[5:-1].split(",")]
    return f"({values})[({n} % {len(values)} + 1)::INTEGER]::{kind}"


def _with_nulls(dice: random.Random, cell: str, kind: str) -> str:
    """Sometimes no NULLs, some, nearly or only NULLs, or a run of them."""
    condition = dice.choice(
        [None, None, "i % 10 = 3", "hash(i, 7) % 100 < 95", "i < 130000", "true", "i % 2 = 0"]
    )
    if condition == "true" and dice.random() < 0.7:
        condition = None
    return cell if condition is None else f"CASE WHEN {condition} THEN NULL ELSE {cell} END::{kind}"
