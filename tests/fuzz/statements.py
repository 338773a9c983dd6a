"""Random queries over several tables: what is made of a relation, by shapes.

The same as with one table (`fuzz/queries.py`): whatever is asked has one answer. Rows are compared as a set, or in a total
order; there are no sums of floats, and no LIMIT without an order that tells all rows apart.
"""

from __future__ import annotations

import random

from fuzz.queries import Query
from fuzz.relations import Relation, Relations
from fuzz.schemas import Base

SHAPES = {
    "join_aggregate": 20, "join_group": 14, "join_rows": 8, "join_top": 6, "subquery": 16, "set_operations": 10, "cte": 12,
    "windows": 10, "sort": 8, "distinct_on": 4, "grouping_sets": 4, "derived": 6, "lists": 3, "recursive": 1, "pivot": 1,
}
# rows that Python compares
FEW_ROWS = 3000


class Statements:
    """Makes queries over one schema."""

    def __init__(self, dice: random.Random, schema: list[Base]):
        self.dice = dice
        self.schema = schema
        self.relations = Relations(dice, schema)

    def query(self) -> Query:
        shape = self.dice.choices(list(SHAPES), list(SHAPES.values()))[0]
        sql, ordered = getattr(self, f"make_{shape}")()
        return Query(sql, ordered, shape)

    # --- parts

    def _where(self, relation: Relation, share: float = 0.5) -> str:
        conditions = [self._condition(relation) for _ in range(self.dice.choice([1, 1, 2])) if self.dice.random() < share]
        return f" WHERE {' AND '.join(conditions)}" if conditions else ""

    def _condition(self, relation: Relation) -> str:
        dice = self.dice
        number, other = dice.choice(relation.numbers), dice.choice(relation.numbers)
        plain = [
            f"{number} % {dice.choice([2, 3, 7])} = 0",
            f"{number} IS {dice.choice(['', 'NOT '])}NULL",
            f"{number} {dice.choice(['<', '>', '<>', '<='])} {other}",
            f"({number} > {dice.randrange(200)} OR {other} IS NULL)",
            f"{number} IN (1, 7, {dice.randrange(100)}, NULL)",
            f"{number} NOT IN (1, 7)",
        ]
        if relation.texts:
            plain.append(f"{dice.choice(relation.texts)} LIKE '%{dice.randrange(10)}'")
        return dice.choice(plain) if dice.random() < 0.75 else self._subquery(relation)

    def _subquery(self, relation: Relation) -> str:
        """A condition with a query in it."""
        dice = self.dice
        table, number, other = self.relations.base(), dice.choice(relation.numbers), dice.choice(relation.numbers)
        name, column = f"dh.{table.name} o", dice.choice(["id", "u", "k"])
        maybe_not = dice.choice(["", "NOT "])
        where = dice.choice(["", f" WHERE o.v % 2 = 0", f" WHERE o.{column} IS NOT NULL", " WHERE o.id < 0"])
        correlated = f"o.{column} = {number}"
        return dice.choice(
            [
                f"{number} {maybe_not}IN (SELECT o.{column} FROM {name}{where})",
                f"({number}, {other}) {maybe_not}IN (SELECT (o.{column}, o.g) FROM {name}{where})",
                f"{maybe_not}EXISTS (FROM {name} WHERE {correlated})",
                f"{maybe_not}EXISTS (FROM {name} WHERE {correlated} AND o.v {dice.choice(['<', '<>'])} {other})",
                f"{other} {maybe_not}IN (SELECT o.v FROM {name} WHERE {correlated})",
                f"{other} > (SELECT avg(o.v) FROM {name} WHERE {correlated})",
                f"{other} <= (SELECT max(o.v) FROM {name}{where})",
                f"(SELECT count(*) FROM {name} WHERE {correlated}) {dice.choice(['= 0', '> 1', '= 1'])}",
                f"coalesce((SELECT sum(o.v) FROM {name} WHERE {correlated} AND o.g < 5), -1) {dice.choice(['> 0', '= -1'])}",
                f"{other} {dice.choice(['> ALL', '= ANY', '<> ALL', '< ANY'])} (SELECT o.v FROM {name}{where})",
                f"({number} {maybe_not}IN (SELECT o.{column} FROM {name}{where}) OR {other} = 7)",
                f"({number} IN (SELECT o.{column} FROM {name}{where})) IS NOT {dice.choice(['TRUE', 'FALSE', 'NULL'])}",
            ]
        )

    def _aggregate(self, relation: Relation) -> str:
        dice = self.dice
        number, other = dice.choice(relation.numbers), dice.choice(relation.numbers)
        text = dice.choice(relation.texts) if relation.texts else f"{number}::VARCHAR"
        exact = f"{number}::DECIMAL(30,2)"
        calls = [
            "count(*)", f"count({number})", f"count({number})", f"sum({exact})", f"sum({exact})", f"min({number})", f"max({text})",
            f"count(DISTINCT {number})", f"sum(DISTINCT {exact})", f"count(DISTINCT {text})",
            f"sum({exact}) FILTER (WHERE {other} % 2 = 0)", f"count(*) FILTER (WHERE {other} IS NULL)",
            f"bit_xor(hash({', '.join(relation.unique)}))", f"bool_or({number} > {other})", f"sum({exact} % 7 * ({other}::DECIMAL(30,2) % 5))",
            f"arg_max({text}, ({', '.join(f'coalesce({key}, -1)' for key in relation.unique)}))",
            f"quantile_disc({number}, 0.3)", f"median({exact})",
        ]
        if relation.rows < 60_000:
            calls += [f"md5(string_agg({text}, ',' ORDER BY {relation.total_order}))", f"md5(list({number} ORDER BY {relation.total_order})::VARCHAR)"]
        return dice.choice(calls)

    def _aggregates(self, relation: Relation, most: int = 4) -> str:
        return ", ".join(self._aggregate(relation) for _ in range(self.dice.randint(1, most)))

    def _key(self, relation: Relation) -> str:
        number = self.dice.choice(relation.numbers)
        return self.dice.choice([f"({number} % {self.dice.choice([2, 5, 13])})", f"({number} IS NULL)", *[c for c in relation.numbers if c.endswith(".g")][:1], *[f"length({t})" for t in relation.texts[:1]]])

    def _select(self, relation: Relation) -> str:
        columns = self.dice.sample(relation.numbers, min(3, len(relation.numbers)))
        columns += [self.dice.choice(relation.texts)] if relation.texts and self.dice.random() < 0.5 else []
        columns += [self.dice.choice(relation.others)] if relation.others and self.dice.random() < 0.4 else []
        return ", ".join(f"{column} AS y{place}" for place, column in enumerate(columns))

    def _summary(self, sql: str) -> str:
        """Many rows as one: how many, and a checksum of them, whatever their order."""
        return f"SELECT count(*), sum(hash(z) % 1000003), min(z), max(z) FROM ({sql}) z"

    # --- shapes: SQL, and whether its rows have an order

    def make_join_aggregate(self) -> tuple[str, bool]:
        relation = self.relations.relation()
        return f"SELECT {self._aggregates(relation, 5)} FROM {relation.sql}{self._where(relation)}", False

    def make_join_group(self) -> tuple[str, bool]:
        relation = self.relations.relation()
        keys = [self._key(relation) for _ in range(self.dice.choice([1, 1, 2]))]
        sql = f"SELECT {', '.join(keys)}, {self._aggregates(relation, 3)} FROM {relation.sql}{self._where(relation)} GROUP BY {', '.join(map(str, range(1, len(keys) + 1)))}"
        if self.dice.random() < 0.3:
            many = self.dice.choice(relation.numbers)
            return self._summary(f"SELECT {many}, {self._aggregate(relation)} FROM {relation.sql}{self._where(relation)} GROUP BY 1"), False
        return sql + self.dice.choice(["", "", " HAVING count(*) > 10"]), False

    def make_join_rows(self) -> tuple[str, bool]:
        relation = self.relations.relation()
        sql = f"SELECT {self._select(relation)} FROM {relation.sql}{self._where(relation)}"
        return self._summary(sql), False

    def make_join_top(self) -> tuple[str, bool]:
        # sorted by expressions: by a column, TOP N of DuckDB 2.0 prunes rows below an outer join that the join needs
        relation, dice = self.relations.relation(), self.dice
        first = f"coalesce({dice.choice(relation.numbers)}, {dice.choice([-1, 10**9])}){dice.choice(['', ' DESC'])}"
        order = ", ".join([first, *(f"coalesce({key}, -1)" for key in relation.unique)])
        limit = f"LIMIT {dice.choice([1, 10, 100])}{dice.choice(['', ' OFFSET 5', ' OFFSET 3000'])}"
        return f"SELECT {self._select(relation)} FROM {relation.sql}{self._where(relation)} ORDER BY {order} {limit}", True

    def make_sort(self) -> tuple[str, bool]:
        """All rows, in an order that a checksum depends on."""
        relation, dice = self.relations.relation(), self.dice
        keys = []
        for _ in range(dice.choice([1, 2, 3])):
            key = dice.choice([dice.choice(relation.numbers), f"{dice.choice(relation.numbers)} % 5", f"[{dice.choice(relation.numbers)}]"])
            if relation.texts and dice.random() < 0.4:
                key = dice.choice(relation.texts) + dice.choice(["", " COLLATE NOCASE", " COLLATE NOACCENT.NOCASE", " COLLATE de"])
            keys.append(key + dice.choice(["", " DESC"]) + dice.choice(["", " NULLS FIRST", " NULLS LAST"]))
        ordered = f"SELECT {self._select(relation)} FROM {relation.sql}{self._where(relation)} ORDER BY {', '.join(keys)}, {relation.total_order}"
        if relation.rows < FEW_ROWS:
            return ordered, True
        numbered = f"SELECT z, row_number() OVER () AS place FROM ({ordered}) z"
        return f"SELECT count(*), sum(hash(z, place) % 1000003) FROM ({numbered})", False

    def make_subquery(self) -> tuple[str, bool]:
        relation, dice = self.relations.relation(dice_tables(self.dice)), self.dice
        if dice.random() < 0.7:
            return f"SELECT {self._aggregates(relation)} FROM {relation.sql} WHERE {self._subquery(relation)}{dice.choice(['', f' AND {self._subquery(relation)}'])}", False
        name, number = f"dh.{self.relations.base().name} o", dice.choice(relation.numbers)
        column = dice.choice(["u", "k", "id"])
        value = dice.choice([f"(SELECT count(*) FROM {name} WHERE o.{column} = {number})", f"(SELECT max(o.v) FROM {name} WHERE o.{column} = {number} AND o.g > 1)", f"({number} IN (SELECT o.{column} FROM {name}))::INTEGER", f"(SELECT o.v FROM {name} WHERE o.{column} = {number} ORDER BY o.id LIMIT 1)"])
        return f"SELECT count(*), count(x), sum(x), min(x) FROM (SELECT {value} AS x FROM {relation.sql}{self._where(relation, 0.2)})", False

    def _branch(self) -> str:
        """A query of two columns."""
        dice = self.dice
        relation = self.relations.relation(dice_tables(dice))
        number, other = dice.choice(relation.numbers), dice.choice(relation.numbers)
        return dice.choice(
            [
                f"SELECT {number}::DECIMAL(30,2) AS p, {other}::DECIMAL(30,2) AS q FROM {relation.sql}{self._where(relation)}",
                f"SELECT ({number} % 100)::DECIMAL(30,2) AS p, count(*)::DECIMAL(30,2) AS q FROM {relation.sql}{self._where(relation)} GROUP BY 1",
                f"SELECT DISTINCT {number}::DECIMAL(30,2) AS p, ({other} % 10)::DECIMAL(30,2) AS q FROM {relation.sql}",
            ]
        )

    def make_set_operations(self) -> tuple[str, bool]:
        dice = self.dice
        operations = [dice.choice(["UNION", "UNION ALL", "INTERSECT", "INTERSECT ALL", "EXCEPT", "EXCEPT ALL"]) for _ in range(dice.choice([1, 1, 2]))]
        sql = f"({self._branch()})" + "".join(f" {operation} ({self._branch()})" for operation in operations)
        if dice.random() < 0.2:
            return f"{sql} ORDER BY p NULLS FIRST, q DESC LIMIT {dice.choice([5, 200])}", True
        if dice.random() < 0.3:
            return f"SELECT p % 10, count(*), sum(q) FROM ({sql}) GROUP BY 1", False
        return self._summary(sql), False

    def make_cte(self) -> tuple[str, bool]:
        dice = self.dice
        how = dice.choice(["AS", "AS", "AS MATERIALIZED", "AS NOT MATERIALIZED"])
        relation = self.relations.relation(dice_tables(dice))
        body = dice.choice([f"SELECT {relation.numbers[0]}::DECIMAL(30,2) AS p, ({dice.choice(relation.numbers)} % 50)::DECIMAL(30,2) AS q FROM {relation.sql}{self._where(relation)}", f"SELECT {dice.choice(relation.numbers)}::DECIMAL(30,2) AS p, count(*)::DECIMAL(30,2) AS q FROM {relation.sql}{self._where(relation)} GROUP BY 1"])
        # at most one row a value of p, so that it can be joined with itself
        use = dice.choice(
            [
                "SELECT count(*), sum(p), sum(q) FROM w",
                "SELECT count(*), sum(x.q), sum(y.q) FROM (SELECT p, max(q) AS q FROM w GROUP BY p) x JOIN (SELECT p, min(q) AS q FROM w GROUP BY p) y ON x.p = y.p + 1",
                "SELECT count(*), sum(p) FROM w WHERE q > (SELECT avg(q)::DECIMAL(30,6) FROM w)",
                "SELECT count(*), sum(p), min(q) FROM (FROM w UNION ALL SELECT q, p FROM w)",
                "SELECT count(*), sum(p) FROM w WHERE p NOT IN (SELECT q FROM w WHERE q IS NOT NULL)",
                f"SELECT count(*), sum(o.v), (SELECT count(*) FROM w) FROM dh.{self.relations.base().name} o WHERE o.id IN (SELECT p FROM w)",
                f"SELECT count(*), sum(o.v) FROM dh.{self.relations.base().name} o LEFT JOIN (SELECT DISTINCT p FROM w) x ON x.p = o.k WHERE EXISTS (FROM w WHERE w.p = o.id)",
                ", v AS (SELECT q, count(*) AS n, max(p) AS m FROM w GROUP BY q) SELECT count(*), sum(v.n), sum(w.p) FROM w JOIN v USING (q)",
            ]
        )
        return f"WITH w {how} ({body}){'' if use.startswith(',') else ' '}{use}", False

    def _window(self, relation: Relation) -> str:
        dice = self.dice
        keys = [self._key(relation) if dice.random() < 0.5 else dice.choice(relation.numbers) for _ in range(dice.choice([0, 1, 1, 1, 2]))]
        partition = f"PARTITION BY {', '.join(keys)} " if keys else ""
        number = dice.choice(relation.numbers)
        whole = f"({partition}ORDER BY {relation.total_order}{dice.choice(['', ' DESC'])})"
        return dice.choice(
            [
                f"row_number() OVER {whole}", f"lag({number}) OVER {whole}", f"lead({number}, 3) OVER {whole}", f"first_value({number}) OVER {whole}", f"ntile(5) OVER {whole}",
                f"sum({number}::DECIMAL(30,2)) OVER {whole[:-1]} ROWS BETWEEN 3 PRECEDING AND {dice.choice(['CURRENT ROW', '2 FOLLOWING'])})",
                f"rank() OVER ({partition}ORDER BY {number})", f"dense_rank() OVER ({partition}ORDER BY {number} DESC NULLS LAST)",
                f"count({number}) OVER ({partition.strip()})", f"max({number}) OVER ({partition.strip()})", f"sum({number}::DECIMAL(30,2)) FILTER (WHERE {dice.choice(relation.numbers)} > 5) OVER ({partition.strip()})",
            ]
        )

    def make_windows(self) -> tuple[str, bool]:
        dice = self.dice
        relation = self.relations.relation(dice_tables(dice))
        windows = [self._window(relation) for _ in range(dice.choice([1, 1, 2]))]
        sql = f"SELECT {self._select(relation)}, {', '.join(windows)} FROM {relation.sql}{self._where(relation)}"
        if dice.random() < 0.35:
            order = f"ORDER BY {relation.total_order}"
            sql = f"SELECT {self._select(relation)} FROM {relation.sql}{self._where(relation)} QUALIFY row_number() OVER (PARTITION BY {self._key(relation)}, {dice.choice(relation.numbers)} {order}) <= 2"
        if dice.random() < 0.2:
            sql = f"SELECT w % 7 AS v, count(*) OVER (PARTITION BY w) AS n FROM (SELECT row_number() OVER (PARTITION BY {dice.choice(relation.numbers)} ORDER BY {relation.total_order}) AS w FROM {relation.sql})"
        return self._summary(sql), False

    def make_distinct_on(self) -> tuple[str, bool]:
        relation = self.relations.relation(dice_tables(self.dice))
        key = self.dice.choice([self._key(relation), self.dice.choice(relation.numbers)])
        return self._summary(f"SELECT DISTINCT ON ({key}) {self._select(relation)} FROM {relation.sql}{self._where(relation)} ORDER BY {key}, {relation.total_order}"), False

    def make_grouping_sets(self) -> tuple[str, bool]:
        relation = self.relations.relation()
        a, b = self._key(relation), self._key(relation)
        sets = self.dice.choice(["ROLLUP (a, b)", "CUBE (a, b)", "GROUPING SETS ((a), (b), ())", "GROUPING SETS ((a, b), (a))"])
        return f"SELECT a, b, grouping(a, b), count(*), sum(n::DECIMAL(30,2)), count(DISTINCT m) FROM (SELECT {a} AS a, {b} AS b, {self.dice.choice(relation.numbers)} AS n, {self.dice.choice(relation.numbers)} AS m FROM {relation.sql}{self._where(relation)}) GROUP BY {sets}", False

    def make_derived(self) -> tuple[str, bool]:
        """Groups of joins, joined again."""
        dice = self.dice
        left, right = self.relations.relation(dice_tables(dice)), self.relations.relation(dice_tables(dice))
        one = f"SELECT {dice.choice(left.numbers)}::DECIMAL(30,2) AS p, {self._aggregate(left)} AS x FROM {left.sql}{self._where(left)} GROUP BY 1"
        two = f"SELECT {dice.choice(right.numbers)}::DECIMAL(30,2) AS p, count(*) AS y FROM {right.sql}{self._where(right)} GROUP BY 1"
        kind = dice.choice(["JOIN", "LEFT JOIN", "FULL JOIN", "RIGHT JOIN"])
        return f"SELECT count(*), count(l.p), count(r.p), min(l.x), max(l.x), sum(r.y) FROM ({one}) l {kind} ({two}) r ON l.p = r.p", False

    def make_lists(self) -> tuple[str, bool]:
        dice, table, other = self.dice, self.relations.base(), self.relations.base()
        return dice.choice(
            [
                f"SELECT e, count(*), sum(id) FROM (SELECT id, unnest(l) AS e FROM dh.{table.name}) GROUP BY e",
                f"SELECT count(*), sum(o.v), sum(e) FROM (SELECT id, unnest(l) AS e FROM dh.{table.name}) x JOIN dh.{other.name} o ON o.id = x.id AND o.g >= x.e",
                f"SELECT st, count(*), sum(v) FROM dh.{table.name} GROUP BY st",
                f"SELECT count(*), sum(a.v) FROM dh.{table.name} a JOIN dh.{other.name} b ON a.id = b.id AND a.st = b.st",
                f"SELECT len(l), count(*), count(DISTINCT l), min(l) FROM dh.{table.name} GROUP BY 1",
                f"SELECT d, count(*), min(dt) FROM dh.{table.name} WHERE d IN (SELECT d FROM dh.{other.name} WHERE id < 2000) GROUP BY d",
            ]
        ), False

    def make_recursive(self) -> tuple[str, bool]:
        table = self.relations.base()
        return f"WITH RECURSIVE r AS (SELECT min(id) AS i, 0 AS n FROM dh.{table.name} UNION ALL SELECT o.id, n + 1 FROM r JOIN dh.{table.name} o ON o.id = i * 2 + 1 WHERE n < 30) SELECT count(*), max(i), sum(n) FROM r", False

    def make_pivot(self) -> tuple[str, bool]:
        relation = self.relations.relation(dice_tables(self.dice))
        body = f"SELECT {self._key(relation)} AS a, {self.dice.choice(relation.numbers)} % 3 AS b, {self.dice.choice(relation.numbers)}::DECIMAL(30,2) AS n FROM {relation.sql}"
        return f"FROM (PIVOT ({body}) ON b IN (0, 1, 2) USING sum(n), count(*) AS c GROUP BY a)", False


def dice_tables(dice: random.Random) -> int:
    """How many tables a part of a larger query has."""
    return dice.choice([1, 1, 2, 2, 3])
