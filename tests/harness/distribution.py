"""How much a client has distributed (`SET duckherder_distribution`), and what the driver says of its queries."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

CHOICES = ("auto", "always", "never")
LOCAL, DELEGATED = "LOCAL", "DELEGATED"


def distribute(con: duckdb.DuckDBPyConnection, choice: str) -> bool:
    """Sets how the queries of a client are distributed; says whether the extension has that setting.

    Without it a driver decides by itself, which is what 'auto' means.
    """
    assert choice in CHOICES, choice
    try:
        con.execute(f"SET duckherder_distribution = '{choice}'")
    except duckdb.CatalogException as error:
        if "unrecognized configuration parameter" not in str(error):
            raise
        return False
    return True


@dataclass(frozen=True)
class Run:
    """How one query ran."""

    mode: str
    workers: int
    tasks: int
    duration_ms: int

    @property
    def distributed(self) -> bool:
        """Whether anything of it ran on workers."""
        return self.mode != LOCAL

    @property
    def split(self) -> bool:
        """Whether it ran as several tasks."""
        return self.distributed and self.mode != DELEGATED


def run_of(con: duckdb.DuckDBPyConnection, marker: str = "") -> Run:
    """How the newest query ran whose SQL contains `marker`."""
    row = con.execute(
        "SELECT execution_mode, num_workers_used, num_tasks_generated, query_duration_ms "
        "FROM duckherder_get_query_execution_stats() WHERE contains(sql, ?) "
        "ORDER BY execution_start_time DESC LIMIT 1",
        [marker],
    ).fetchone()
    assert row is not None, f"no statistics of a query containing {marker!r}"
    return Run(*row)
