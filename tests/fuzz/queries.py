"""Random single-table queries, each with what its result may be compared by.

A query knows whether its rows have an order that DuckDB promises, and whether it adds floats, whose last digits depend on
the order in which DuckDB's own threads add.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from fuzz.tables import Column, Table


@dataclass(frozen=True)
class Query:
    sql: str
    ordered: bool
    # a plain scan, filter, aggregate ...: what the share of distributed queries is reported by
    shape: str


class Generator:
    """Makes queries over one table."""

    def __init__(self, dice: random.Random, table: Table):
        self.dice = dice
        self.table = table

    def query(self) -> Query:
        shape = self.dice.choices(
            ["scan", "limit", "sort", "top_n", "distinct", "aggregate", "group", "group_top", "sets", "distinct_aggregate", "nested", "set_operation", "window"],
            [14, 6, 5, 9, 8, 18, 22, 6, 4, 6, 5, 2, 2],
        )[0]
        return getattr(self, f"make_{shape}")()

    # --- the parts of a statement

    def _pick(self, *families: str) -> Column:
        found = self.table.of(*families) if families else list(self.table.columns)
        return self.dice.choice(found or list(self.table.of("integer")))

    def _columns(self, most: int = 4) -> list[str]:
        count = self.dice.randint(1, most)
        return [column.name for column in self.dice.sample(self.table.columns, min(count, len(self.table.columns)))]

    def _expression(self) -> str:
        """A scalar expression, most often a column."""
        dice = self.dice
        integer, text, number = self._pick("integer").name, self._pick("varchar").name, self._pick("integer", "decimal", "float").name
        return dice.choice(
            [
                self._pick().name,
                self._pick().name,
                f"{integer}::BIGINT + {dice.randrange(10)}",
                f"{number}::DOUBLE * 2",
                f"{integer}::HUGEINT % {dice.choice([2, 7, 100])}",
                f"CASE WHEN {self._condition()} THEN {integer} ELSE NULL END",
                f"coalesce({text}::VARCHAR, 'none')",
                f"length({text}::VARCHAR)",
                f"upper({text}::VARCHAR) || '!'",
                f"{integer} IS NULL",
                f"{self._pick().name}::VARCHAR",
                f"least({integer}, 10)",
                f"abs(least({number}, 100)::DOUBLE)",
                *([f"date_trunc('month', {self._pick('date', 'timestamp').name})", f"extract(year FROM {self._pick('date', 'timestamp').name})"] if self.table.of("date", "timestamp") else []),
                *([f"{self._pick('timestamptz').name}::DATE", f"extract(hour FROM {self._pick('timestamptz').name})"] if self.table.of("timestamptz") else []),
            ]
        )

    def _condition(self, depth: int = 0) -> str:
        dice = self.dice
        if depth < 2 and dice.random() < 0.3:
            operator = dice.choice(["AND", "OR"])
            return f"({self._condition(depth + 1)} {operator} {self._condition(depth + 1)})"
        if dice.random() < 0.1:
            return f"NOT ({self._condition(depth + 1)})"
        column = self._pick()
        name = column.name
        edge = dice.choice([0, 1, 2047, 2048, 122_879, 122_880, max(self.table.rows - 1, 0), dice.randrange(self.table.rows + 1)])
        general = [
            f"id {dice.choice(['<', '<=', '>', '>=', '<>', '='])} {edge}",
            f"id BETWEEN {edge} AND {edge + dice.choice([0, 100, 100_000])}",
            f"{name} IS {dice.choice(['', 'NOT '])}NULL",
            f"{self._pick('integer').name} % {dice.choice([2, 3, 10])} = {dice.randrange(3)}",
            f"{self._pick('integer').name} IN ({dice.randrange(5)}, {dice.randrange(50)}, NULL)",
            f"{self._pick('integer').name} NOT IN ({dice.randrange(5)}, {dice.randrange(50)})",
        ]
        special = {
            "varchar": [f"{name} LIKE '{dice.choice(['v1%', '%x%', 'a_', '%'])}'", f"{name} >= 'v5'", f"{name} = ''", f"length({name}) > 3"],
            "float": [f"{name} > {dice.randrange(-20, 30)}", f"isnan({name})", f"{name} <= 'nan'::DOUBLE", f"isinf({name})"],
            "decimal": [f"{name} > {dice.randrange(-200, 300)}.5", f"{name} = 0"],
            "date": [f"{name} < '2010-06-01'", f"year({name}) = 2005"],
            "timestamp": [f"{name} > '2020-03-01'"],
            "timestamptz": [f"{name} > '2021-03-28 03:00:00+01'"],
            "boolean": [name, f"NOT {name}"],
            "enum": [f"{name} = 'red'", f"{name} IN ('blue', 'green')"],
            "interval": [f"{name} > INTERVAL 3 DAY"],
        }
        return dice.choice(special.get(column.family, general) if dice.random() < 0.6 else general)

    def _from(self, share: float = 0.5) -> str:
        where = f" WHERE {self._condition()}" if self.dice.random() < share else ""
        return f"FROM dh.{self.table.name}{where}"

    def _aggregate(self, exact: bool = False) -> str:
        """One aggregate call without a dependence on the order of rows."""
        dice = self.dice
        integer, float_, number = self._pick("integer").name, self._pick("float").name, self._pick("integer", "decimal", "float").name
        any_, text = self._pick().name, self._pick("varchar").name
        plain = [
            "count(*)",
            f"count({any_})",
            f"sum({integer})",
            f"sum({self._pick('decimal').name})",
            f"min({any_})",
            f"max({any_})",
            f"min({text})",
            f"bool_and({number} > 3)",
            f"bool_or({integer} IS NULL)",
            f"bit_xor({integer})",
            f"count_if({integer} % 2 = 0)",
            f"arg_max(id, {integer}::HUGEINT * 10000000 + id)",
            f"arg_min({text}, id)",
            f"md5(string_agg({text}::VARCHAR, ',' ORDER BY id))",
            f"md5(list({any_} ORDER BY id)::VARCHAR)",
            f"approx_count_distinct({any_})" if dice.random() < 0.3 else "count(*)",
            f"quantile_disc({integer}, {dice.choice([0, 0.1, 0.5, 1])})",
            f"median({integer})",
            f"list_sort(map_entries(histogram({integer} % 5)))",
            f"sum({integer}) + count(*)",
            f"max({integer}, 2)",
        ]
        floats = [
            f"sum({float_})",
            f"avg({number})",
            f"avg({integer})",
            f"stddev(least(greatest({number}, -1000), 1000)::DOUBLE)",
            f"var_pop({integer}::DOUBLE)",
            f"corr({integer}::DOUBLE, id)",
            f"regr_slope(id, {integer}::DOUBLE)",
            f"quantile_cont({number}::DOUBLE, {dice.choice([0.25, 0.5])})",
            f"entropy({integer} % 10)",
            f"fsum({integer}::DOUBLE)",
        ]
        call = dice.choice(plain if exact or dice.random() < 0.65 else floats)
        if dice.random() < 0.15 and call.count("(") == 1:
            call += f" FILTER (WHERE {self._condition()})"
        return call

    def _key(self) -> str:
        dice = self.dice
        return dice.choice(
            [
                self._pick("integer").name,
                self._pick("varchar", "enum", "boolean", "date", "uuid").name,
                self._pick().name,
                f"{self._pick('integer').name}::HUGEINT % {dice.choice([2, 5, 13])}",
                f"id % {dice.choice([3, 100, 20_000])}",
                f"length({self._pick('varchar').name})",
                f"{self._pick().name} IS NULL",
                f"id // {dice.choice([10, 50_000])}",
            ]
        )

    def _limit(self) -> str:
        dice = self.dice
        limit = dice.choice([0, 1, 5, 10, 100, 2048, 5000])
        offset = dice.choice([0, 0, 1, 50, 2047, 122_880, 200_000])
        return f"LIMIT {limit}" + (f" OFFSET {offset}" if offset else "")

    def _direction(self) -> str:
        return self.dice.choice(["", " DESC", " ASC NULLS FIRST", " DESC NULLS LAST", " ASC"])

    # --- the shapes

    def make_scan(self) -> Query:
        # the rows of a big table are not worth their weight in Python: most scans filter
        expressions = ", ".join(self._expression() for _ in range(self.dice.randint(1, 4)))
        dense = self.table.rows > 20_000
        sparse = f"id % {self.dice.choice([97, 997, 5003])} = {self.dice.randrange(50)}"
        where = f"WHERE {sparse} AND {self._condition()}" if dense else f"WHERE {self._condition()}" if self.dice.random() < 0.6 else ""
        columns = "*" if self.dice.random() < 0.15 else expressions
        return Query(f"SELECT {columns} FROM dh.{self.table.name} {where}".strip(), True, "scan")

    def make_limit(self) -> Query:
        return Query(f"SELECT {', '.join(self._columns())} {self._from()} {self._limit()}", True, "limit")

    def make_sort(self) -> Query:
        keys = ", ".join(f"{column}{self._direction()}" for column in self._columns(2))
        sparse = f"id % {max(1, self.table.rows // 4000)} = 0"
        return Query(f"SELECT {', '.join(self._columns())} FROM dh.{self.table.name} WHERE {sparse} ORDER BY {keys}, id", True, "sort")

    def make_top_n(self) -> Query:
        keys = ", ".join(f"{column}{self._direction()}" for column in self._columns(2))
        return Query(f"SELECT id, {', '.join(self._columns(3))} {self._from()} ORDER BY {keys}, id {self._limit()}", True, "top_n")

    def make_distinct(self) -> Query:
        keys = ", ".join(self._key() for _ in range(self.dice.randint(1, 2)))
        sql = f"SELECT DISTINCT {keys} {self._from()}"
        if self.table.rows > 20_000:
            sql = f"SELECT count(*), min(hash(COLUMNS(*))) FROM ({sql})" if self.dice.random() < 0.5 else f"SELECT DISTINCT {self._small_key()} {self._from()}"
        return Query(sql, False, "distinct")

    def _small_key(self) -> str:
        return f"{self._pick('integer').name}::HUGEINT % {self.dice.choice([2, 5, 13])}"

    def _aggregate_query(self, calls: list[str]) -> str:
        return f"SELECT {', '.join(calls)} {self._from()}"

    def make_aggregate(self) -> Query:
        return Query(self._aggregate_query([self._aggregate() for _ in range(self.dice.randint(1, 4))]), False, "aggregate")

    def make_group(self) -> Query:
        dice = self.dice
        keys = list(dict.fromkeys(self._key() if self.table.rows < 20_000 or dice.random() < 0.5 else self._small_key() for _ in range(dice.randint(1, 2))))
        calls = [self._aggregate() for _ in range(dice.randint(1, 3))]
        having = f" HAVING {dice.choice(['count(*) > 2', 'min(id) % 2 = 0', 'sum(id) > 1000'])}" if dice.random() < 0.2 else ""
        if self.table.rows > 20_000:
            # many groups come about, few of them come out
            having = " HAVING sum(id) % 97 = 5" if dice.random() < 0.3 else " HAVING count(*) > 50"
        sql = f"SELECT {', '.join(keys + calls)} {self._from()} GROUP BY {', '.join(map(str, range(1, len(keys) + 1)))}{having}"
        return Query(sql, False, "group")

    def make_group_top(self) -> Query:
        key, call = self._key(), self._aggregate(exact=True)
        order = self.dice.choice(["2, 1", "2 DESC NULLS LAST, 1", "1", "1 DESC NULLS FIRST"])
        return Query(f"SELECT {key}, {call} {self._from()} GROUP BY 1 ORDER BY {order} {self._limit()}", True, "group_top")

    def make_sets(self) -> Query:
        # keys from columns: DuckDB needs the same expressions in GROUP BY
        a, b = (column.name for column in self.dice.sample([c for c in self.table.columns if c.name != "id"], 2))
        keys = self.dice.choice([f"ROLLUP ({a}, {b})", f"CUBE ({a}, {b})", f"GROUPING SETS (({a}), ({b}), ())", f"GROUPING SETS (({a}, {b}), ({a}))"])
        calls = [self._aggregate(exact=True)]
        if self.dice.random() < 0.4:
            calls += [f"count(DISTINCT {self._pick().name})", f"sum(DISTINCT {self._pick('integer').name})"][: self.dice.randint(1, 2)]
        sql = f"SELECT {a}, {b}, grouping({a}), {', '.join(calls)} {self._from()} GROUP BY {keys}"
        return Query(f"SELECT count(*), min(hash(x)), max(hash(x)) FROM ({sql}) x" if self.table.rows > 20_000 else sql, False, "sets")

    def make_distinct_aggregate(self) -> Query:
        dice = self.dice
        integer = self._pick("integer").name
        calls = [dice.choice([f"count(DISTINCT {self._pick().name})", f"sum(DISTINCT {integer})", f"list_sort(list(DISTINCT {integer} % 10))", f"count(DISTINCT {integer} % 10)"]) for _ in range(dice.randint(1, 3))]
        if dice.random() < 0.7:
            calls.append(self._aggregate(exact=True))
        if dice.random() < 0.5:
            return Query(self._aggregate_query(calls), False, "distinct_aggregate")
        return Query(f"SELECT {self._small_key()}, {', '.join(calls)} {self._from()} GROUP BY 1", False, "distinct_aggregate")

    def make_nested(self) -> Query:
        """A query in another one's FROM."""
        dice = self.dice
        inner = dice.choice(
            [
                f"SELECT {self._small_key()} AS k, count(*) AS v {self._from()} GROUP BY 1",
                f"SELECT {self._pick('integer').name} AS k, id AS v {self._from()} ORDER BY 1, id LIMIT 500",
                f"SELECT DISTINCT {self._pick('integer').name} AS k, 1 AS v {self._from()}",
                f"SELECT id % 5 AS k, {self._pick('integer').name} AS v {self._from()}",
                f"SELECT id AS k, {self._pick('integer').name} AS v {self._from()} LIMIT {dice.choice([10, 3000])}",
            ]
        )
        outer = dice.choice(["count(*), sum(k), min(v)", "max(v), count(DISTINCT k)", "sum(v) FILTER (WHERE k > 1), count(v)"])
        if dice.random() < 0.3:
            return Query(f"WITH w AS ({inner}) SELECT {outer} FROM w", False, "nested")
        return Query(f"SELECT {outer} FROM ({inner})", False, "nested")

    def make_set_operation(self) -> Query:
        a, b = (f"SELECT {self._small_key()} AS k {self._from(0.9)}" for _ in range(2))
        operator = self.dice.choice(["UNION", "INTERSECT", "EXCEPT"])
        return Query(f"{a} {operator} {b}", False, "set_operation")

    def make_window(self) -> Query:
        integer = self._pick("integer").name
        sparse = f"id % {max(1, self.table.rows // 3000)} = 0"
        return Query(f"SELECT id, row_number() OVER (PARTITION BY {integer} ORDER BY id), sum(id) OVER (ORDER BY id) FROM dh.{self.table.name} WHERE {sparse}", False, "window")
