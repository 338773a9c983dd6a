"""What can stand in FROM: tables, joins of every kind, subqueries, VALUES, unnested lists.

Every relation knows which columns tell its rows apart, so that a query over it can have an order without ties, and about
how many rows it has, so that a join that would be too large is not made.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from fuzz.schemas import Base

MOST_ROWS = 1_500_000
NUMBERS = ["id", "u", "k", "s", "c", "g", "v"]


@dataclass(frozen=True)
class Relation:
    sql: str
    rows: float
    # the columns that every row has of it, qualified, by what they can be used for
    numbers: tuple[str, ...]
    texts: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    # no two rows have the same values in these
    unique: tuple[str, ...] = ()

    @property
    def total_order(self) -> str:
        return ", ".join(self.unique)


class Relations:
    """Makes relations over one schema."""

    def __init__(self, dice: random.Random, schema: list[Base]):
        self.dice = dice
        self.schema = schema
        self.aliases = 0

    def alias(self) -> str:
        self.aliases += 1
        return f"x{self.aliases}"

    def base(self, large: bool | None = None) -> Base:
        found = [table for table in self.schema if large is None or table.large == large]
        return self.dice.choice(found)

    def table(self, table: Base, filtered: float = 0.3) -> tuple[Relation, str]:
        """A table under an alias, some of its rows only, and the alias."""
        name = self.alias()
        sql, rows = f"dh.{table.name} {name}", float(table.rows)
        if self.dice.random() < filtered:
            modulus = self.dice.choice([2, 5, 50])
            sql, rows = f"(FROM dh.{table.name} WHERE {self._filter(modulus)}) {name}", rows / modulus
        columns = tuple(f"{name}.{column}" for column in NUMBERS)
        return Relation(sql, rows, columns, (f"{name}.t",), (f"{name}.d", f"{name}.dt", f"{name}.st"), (f"{name}.id",)), name

    def _filter(self, modulus: int) -> str:
        return self.dice.choice([f"id % {modulus} = 0", f"v % {modulus} = 1", f"id % {modulus} = 0 AND k IS NOT NULL", f"id % {modulus} = 0 OR g = 999"])

    def relation(self, tables: int | None = None) -> Relation:
        """A chain of joins."""
        dice = self.dice
        count = dice.choice([1, 2, 2, 2, 3, 3, 4]) if tables is None else tables
        relation, _ = self.table(self.base(large=True if dice.random() < 0.8 else None))
        for _ in range(count - 1):
            relation = self.join(relation)
        return relation

    def join(self, left: Relation) -> Relation:
        """`left` with one more table, subquery or list of values."""
        dice = self.dice
        for _ in range(20):
            make = dice.choices([self._equal, self._grouped, self._nested, self._values, self._cross, self._inequality, self._asof, self._unnest, self._lateral], [12, 3, 2, 1, 1, 2, 2, 1, 2])[0]
            made = make(left)
            if made is not None and made.rows <= MOST_ROWS // self.schema[0].scale:
                return made
        return left

    def _kind(self) -> str:
        return self.dice.choices(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN"], [6, 4, 3, 3, 2, 2])[0]

    def _joined(self, left: Relation, kind: str, right: Relation, condition: str, rows: float) -> Relation:
        sql = f"{left.sql} {kind} {right.sql} ON {condition}"
        if kind in ("SEMI JOIN", "ANTI JOIN"):
            return Relation(sql, left.rows, left.numbers, left.texts, left.others, left.unique)
        rows = rows + left.rows + right.rows if "FULL" in kind else max(rows, left.rows, right.rows)
        return Relation(sql, rows, left.numbers + right.numbers, left.texts + right.texts, left.others + right.others, left.unique + right.unique)

    def _equal(self, left: Relation) -> Relation | None:
        """One key or two, of the same type or not."""
        dice = self.dice
        table = self.base()
        right, name = self.table(table)
        column = dice.choice(["id", "id", "u", "u", "k", "k", "c", "c", "s", "t", "g"])
        stored_by = [number for number in left.numbers if number.endswith(".c")]
        mine = dice.choice(left.texts or (None,)) if column == "t" else dice.choice(left.numbers)
        if column == "c" and stored_by and dice.random() < 0.7:
            mine = dice.choice(stored_by)
        if mine is None:
            return None
        rows = left.rows * min(table.duplicates[column], max(right.rows, 1))
        if mine.endswith((".s", ".g")) and column not in ("id", "u"):
            rows = left.rows * right.rows
        condition = f"{mine} = {name}.{column}"
        extra = dice.random()
        if extra < 0.15:
            condition += f" AND {dice.choice(left.numbers)} {dice.choice(['<', '<>', '>='])} {name}.v"
        elif extra < 0.3:
            condition += f" AND {dice.choice(left.numbers)} = {name}.g"
        elif extra < 0.4:
            condition += f" AND {dice.choice(left.numbers)} % 3 = 1 AND {name}.v > 0"
        elif extra < 0.5:
            condition = f"({condition} AND {name}.g IS NOT DISTINCT FROM {dice.choice(left.numbers)})"
        elif extra < 0.55:
            condition = f"{mine} + 1 = {name}.{column} - 1" if column != "t" else f"upper({mine}) = upper({name}.t)"
        return self._joined(left, self._kind(), right, condition, rows)

    def _grouped(self, left: Relation) -> Relation:
        """Groups of another table."""
        dice = self.dice
        name, table = self.alias(), self.base()
        key, outer = dice.choice(["k", "u", "c", "g", "s"]), dice.choice(left.numbers)
        having = dice.choice(["", "", " HAVING count(*) > 1"])
        sql = f"(SELECT {key} AS k, count(*) AS n, max(v) AS m FROM dh.{table.name} GROUP BY {key}{having}) {name}"
        right = Relation(sql, table.rows / max(1, table.duplicates[key] / 2), (f"{name}.k", f"{name}.n", f"{name}.m"), (), (), (f"{name}.k",))
        condition = f"{outer} = {name}.k" + dice.choice(["", "", f" AND {name}.n > {dice.choice(left.numbers)}"])
        return self._joined(left, self._kind(), right, condition, left.rows)

    def _nested(self, left: Relation) -> Relation:
        """A join on the right, in parentheses; the ids of its first table are unique on both sides of it."""
        (first, one), (second, two) = self.table(self.base()), self.table(self.base())
        inner = f"({first.sql} {self.dice.choice(['JOIN', 'LEFT JOIN'])} {second.sql} ON {one}.id = {two}.id)"
        right = Relation(inner, first.rows, first.numbers + second.numbers, first.texts + second.texts, first.others, first.unique)
        return self._joined(left, self._kind(), right, f"{self.dice.choice(left.numbers)} = {one}.id", left.rows)

    def _values(self, left: Relation) -> Relation:
        name = self.alias()
        rows = ", ".join(f"({number if self.dice.random() < 0.8 else 'NULL'}, 'w{place}', {place})" for place, number in enumerate(self.dice.sample(range(40), 4)))
        right = Relation(f"(VALUES {rows}) {name}(k, t, id)", 4, (f"{name}.k", f"{name}.id"), (f"{name}.t",), (), (f"{name}.id",))
        return self._joined(left, self._kind(), right, f"{self.dice.choice(left.numbers)} = {name}.k", left.rows * 2)

    def _cross(self, left: Relation) -> Relation:
        table = self.base(large=False)
        right, _ = self.table(table, 1)
        sql = f"{left.sql} {self.dice.choice(['CROSS JOIN', 'JOIN'])} {right.sql}"
        sql = sql if "CROSS" in sql[len(left.sql):] else f"{sql} ON true"
        return Relation(sql, left.rows * (right.rows + 1), left.numbers + right.numbers, left.texts, left.others, left.unique + right.unique)

    def _inequality(self, left: Relation) -> Relation | None:
        dice = self.dice
        right, name = self.table(self.base(large=False))
        if left.rows * right.rows > 20_000_000:
            return None
        mine = dice.choice(left.numbers)
        condition = dice.choice([f"{mine} < {name}.v", f"{mine} BETWEEN {name}.v AND {name}.v + 3", f"{mine} >= {name}.id AND {mine} < {name}.id + 5", f"{mine} = {name}.k OR {mine} = {name}.v"])
        return self._joined(left, self._kind(), right, condition, left.rows * right.rows / 2 if "<" in condition else left.rows * 5)

    def _asof(self, left: Relation) -> Relation:
        """The nearest id, which is unique: without ties."""
        right, name = self.table(self.base())
        kind = self.dice.choice(["ASOF JOIN", "ASOF LEFT JOIN"])
        condition = self.dice.choice(["", f"{self.dice.choice(left.numbers)} = {name}.g AND ", f"{self.dice.choice(left.numbers)} = {name}.k AND "])
        condition += f"{self.dice.choice(left.numbers)} {self.dice.choice(['>=', '>', '<', '<='])} {name}.id"
        return Relation(f"{left.sql} {kind} {right.sql} ON {condition}", left.rows, left.numbers + right.numbers, left.texts + right.texts, left.others, left.unique)

    def _unnest(self, left: Relation) -> Relation:
        name = self.alias()
        values = f"CROSS JOIN LATERAL (SELECT unnest([{left.unique[0]} % 3, 10, NULL]) AS n) {name}"
        return Relation(f"{left.sql} {values}", left.rows * 3, left.numbers + (f"{name}.n",), left.texts, left.others, left.unique + (f"{name}.n",))

    def _lateral(self, left: Relation) -> Relation:
        name, table = self.alias(), self.base()
        column = self.dice.choice(["k", "u", "id"])
        mine = self.dice.choice(left.numbers)
        inner = self.dice.choice([f"count(*) AS n, max(o.v) AS m FROM dh.{table.name} o WHERE o.{column} = {mine}", f"sum(o.v) AS n, min(o.g) AS m FROM dh.{table.name} o WHERE o.{column} = {mine} AND o.v > 0"])
        return Relation(f"{left.sql} CROSS JOIN LATERAL (SELECT {inner}) {name}", left.rows, left.numbers + (f"{name}.n", f"{name}.m"), left.texts, left.others, left.unique)
