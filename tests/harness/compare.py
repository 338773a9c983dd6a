"""Whether two results are the same: column names, types, rows.

Values are compared exactly; floats with a relative tolerance where the caller says that DuckDB's own answer depends
on the order of rows. NaN equals NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Result:
    """What a statement gave: columns and rows, or an error."""

    names: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    rows: list[tuple] = field(default_factory=list)
    error: Exception | None = None

    @classmethod
    def of(cls, con, sql: str, parameters=None) -> "Result":
        """Runs `sql` on a DuckDB connection and fetches everything."""
        import duckdb

        try:
            cursor = con.execute(sql, parameters) if parameters is not None else con.execute(sql)
            description = cursor.description or []
            rows = cursor.fetchall() if description else []
        except duckdb.Error as error:
            return cls(error=error)
        return cls([column[0] for column in description], [str(column[1]) for column in description], rows)


def _key(value: Any, exact: bool) -> tuple:
    """A total order over everything DuckDB's Python client returns; floats count only when `exact`."""
    if value is None:
        return (0,)
    if isinstance(value, float):
        if not exact:
            return (1,)
        return (1, "nan") if math.isnan(value) else (1, "", value)
    if isinstance(value, (list, tuple)):
        return (2, len(value), tuple(_key(part, exact) for part in value))
    if isinstance(value, dict):
        return (3, tuple((_key(k, exact), _key(v, exact)) for k, v in value.items()))
    return (4, type(value).__name__, repr(value))


class _Ordered:
    """Makes keys of different shapes comparable."""

    __slots__ = ("key",)

    def __init__(self, key):
        self.key = key

    def __lt__(self, other):
        return _less(self.key, other.key)


def _less(a, b) -> bool:
    for left, right in zip(a, b):
        if left == right:
            continue
        if isinstance(left, tuple) and isinstance(right, tuple):
            return _less(left, right)
        if type(left) is not type(right):
            return str(type(left)) < str(type(right))
        return left < right
    return len(a) < len(b)


def sort_rows(rows: list[tuple]) -> list[tuple]:
    """Rows in an order of their own: floats decide last, so that small differences do not change it."""
    return sorted(
        rows,
        key=lambda row: _Ordered((tuple(_key(v, False) for v in row), tuple(_key(v, True) for v in row))),
    )


def float_tolerances(types: list[str], relative: float = 1e-9) -> list[float]:
    """A tolerance for every column: `relative` where there are DOUBLEs or FLOATs, whose sums depend on the order."""
    return [relative if "DOUBLE" in kind or "FLOAT" in kind else 0.0 for kind in types]


def same_value(a: Any, b: Any, tolerance: float = 0.0) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        if a == b:
            return True
        if not tolerance or math.isinf(a) or math.isinf(b):
            return False
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same_value(x, y, tolerance) for x, y in zip(a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(map(repr, a)) == list(map(repr, b)) and all(
            same_value(x, y, tolerance) for x, y in zip(a.values(), b.values())
        )
    return type(a) is type(b) and a == b


def _same_text(got: list[tuple], expected: list[tuple], ordered: bool) -> bool:
    """Whether the rows are the same to the last digit, which most are: one quick look instead of many slow ones."""
    got_text, expected_text = [repr(row) for row in got], [repr(row) for row in expected]
    return got_text == expected_text or (not ordered and sorted(got_text) == sorted(expected_text))


def difference(
    got: Result, expected: Result, *, ordered: bool, tolerance: float | list[float] = 0.0, names: bool = True
) -> str | None:
    """What is different, in words; None if nothing is."""
    if expected.error is not None or got.error is not None:
        return _error_difference(got, expected)
    if names and got.names != expected.names:
        return f"column names {got.names}, DuckDB has {expected.names}"
    if got.types != expected.types:
        return f"column types {got.types}, DuckDB has {expected.types}"
    if len(got.rows) != len(expected.rows):
        return (
            f"{len(got.rows)} rows, DuckDB has {len(expected.rows)}; "
            f"got {got.rows[:5]}, DuckDB has {expected.rows[:5]}"
        )
    if _same_text(got.rows, expected.rows, ordered):
        return None
    got_rows, expected_rows = got.rows, expected.rows
    if not ordered:
        got_rows, expected_rows = sort_rows(got_rows), sort_rows(expected_rows)
    for number, (row, wanted) in enumerate(zip(got_rows, expected_rows)):
        for column, (value, want) in enumerate(zip(row, wanted)):
            allowed = tolerance[column] if isinstance(tolerance, list) else tolerance
            if not same_value(value, want, allowed):
                return (
                    f"row {number + 1}, column {column + 1} ({got.names[column]}): {value!r}, DuckDB has {want!r}; "
                    f"whole row {row!r}, DuckDB has {wanted!r}"
                )
    return None


def first_line(error: Exception | None) -> str:
    return str(error).splitlines()[0] if error is not None and str(error) else ""


def _error_difference(got: Result, expected: Result) -> str | None:
    if expected.error is None:
        return f"failed with {type(got.error).__name__}: {got.error}; DuckDB does not fail"
    if got.error is None:
        return f"no error (rows {got.rows[:5]}), DuckDB fails with {type(expected.error).__name__}: {expected.error}"
    if type(got.error) is not type(expected.error):
        return (
            f"{type(got.error).__name__}: {first_line(got.error)}; "
            f"DuckDB says {type(expected.error).__name__}: {first_line(expected.error)}"
        )
    return None
