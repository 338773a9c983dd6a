"""Several random tables that have keys in common, made by the same SQL on both sides.

All tables have the same columns, of different types and distributions: `id` is unique, `u` nearly, `k` has duplicates,
`s` is skewed, `g` has few values, the rows are stored by `c`. Sizes are such that a random join stays small enough. A schema of `scale` 50 is a
fiftieth as large in all that.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

# split as long as the driver splits what is larger than a row group
LARGE = [123_000, 130_000, 180_000, 250_000]
SMALL = [0, 1, 2, 60, 500]
KEYS = ["INTEGER", "BIGINT", "HUGEINT", "UINTEGER", "DECIMAL(12,2)", "DOUBLE"]
NAMES = ["a", "b", "c", "d", "e", "f"]


@dataclass(frozen=True)
class Base:
    """A table, and how many rows at most share a value of a column."""

    name: str
    rows: int
    duplicates: dict[str, float]
    statements: tuple[str, ...]
    large: bool
    scale: int


def random_schema(dice: random.Random, prefix: str, scale: int = 1) -> list[Base]:
    """Three large tables, one of medium size, and of the small ones an empty one or one with one row, and another."""
    sizes = [*(dice.choice(LARGE) for _ in range(3)), dice.choice([3000, 7000]), dice.choice(SMALL[:2]), dice.choice(SMALL)]
    scaled = [rows // scale if rows > SMALL[-1] else rows for rows in sizes]
    return [_table(dice, f"{prefix}{name}", rows, number < 3, scale) for number, (name, rows) in enumerate(zip(NAMES, scaled))]


def _table(dice: random.Random, name: str, rows: int, large: bool, scale: int) -> Base:
    shared = dice.choice([20_011, 50_021, 100_003]) // scale
    nulls = {column: dice.choice([None, None, 3, 10, 40]) for column in ("u", "k", "s", "g", "v", "t", "d", "dt")}
    skew = dice.choice([50, 90, 99])
    step = dice.choice([1, 1, 2, 3])

    def cell(column: str, expression: str, kind: str) -> str:
        part = nulls[column]
        wanted = f"({expression})::{kind}"
        return f"{wanted} AS {column}" if part is None else f"CASE WHEN hash(i, {len(column) + part}) % {part} = 0 THEN NULL ELSE {wanted} END AS {column}"

    special = "CASE i % 1000 WHEN 1 THEN 'nan'::DOUBLE WHEN 2 THEN -0.0 WHEN 3 THEN 'inf'::DOUBLE ELSE (i % 500)::DOUBLE / 4 END"
    cells = [
        f"i * {step} AS id",
        cell("u", f"(i * 7919) % {max(shared, rows + 1)}", dice.choice(KEYS)),
        cell("k", f"(i * {dice.choice([104729, 31, 1])}) % {shared // dice.choice([1, 2, 10])}", dice.choice(KEYS)),
        cell("s", f"CASE WHEN hash(i) % 100 < {skew} THEN 7 ELSE i % {shared} END", dice.choice(KEYS[:3])),
        cell("g", f"i % {dice.choice([3, 12, 100])}", dice.choice(["INTEGER", "BIGINT", "TINYINT"])),
        f"((i + {dice.choice(['0', 'hash(i) % 100'])}) // {dice.choice([1, 2, 5])} + {dice.choice([0, 0, 1000])})::{dice.choice(['INTEGER', 'BIGINT', 'UINTEGER'])} AS c",
        cell("v", f"(i * 31 % {dice.choice([97, 1009])}) - 40", "INTEGER"),
        cell("t", f"'{dice.choice(['key ', 'a key too long to be inlined '])}' || (i % {dice.choice([5000, 20011]) // scale})", "VARCHAR"),
        cell("d", special, "DOUBLE"),
        cell("dt", f"DATE '2020-01-01' + (i % {dice.choice([30, 1500])})::INTEGER", "DATE"),
        "CASE WHEN i % 9 = 0 THEN [] WHEN i % 11 = 0 THEN NULL ELSE [i % 4, NULL, i % 7] END AS l",
        "{'x': i % 5, 'y': CASE WHEN i % 3 = 0 THEN NULL ELSE 'y' || i % 2 END} AS st",
    ]
    statements = [f"CREATE OR REPLACE TABLE dh.{name} AS SELECT {', '.join(cells)} FROM range({rows}) r(i)"]
    if rows > 1 and dice.random() < 0.3:
        statements.append(f"DELETE FROM dh.{name} WHERE id % {dice.choice([3, 10, 1000])} = 1")
    if rows > 1 and dice.random() < 0.2:
        statements.append(f"DELETE FROM dh.{name} WHERE id BETWEEN {rows // 5} AND {rows // 2}")
    duplicates = {"id": 1, "u": 1 + rows / max(shared, rows + 1), "k": 1 + rows / (shared // 10), "t": 1 + rows / (5000 // scale), "s": rows, "c": 7, "g": max(1, rows / 3), "v": max(1, rows / 97), "dt": max(1, rows / 30)}
    return Base(name, rows, duplicates, tuple(statements), large, scale)
