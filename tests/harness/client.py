"""Clients: the stock DuckDB wheel with our extension loaded."""

from __future__ import annotations

import time
from contextlib import contextmanager

import duckdb

from harness.cluster import EXTENSION
from harness.wait import timely


def quote(text: str) -> str:
    """`text` as an SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def loaded(database: str = ":memory:", **config) -> duckdb.DuckDBPyConnection:
    """A stock DuckDB with the extension loaded and nothing attached."""
    con = duckdb.connect(database, config={"allow_unsigned_extensions": "true", **config})
    con.execute(f"LOAD {quote(EXTENSION)}")
    return con


def attach(con: duckdb.DuckDBPyConnection, server, alias: str = "dh", database: str | None = None) -> None:
    """Attaches a driver (anything with a `port`) under `alias`; a `database` of its is made if it is missing."""
    options = f", database {quote(database)}, create_if_missing true" if database else ""
    con.execute(f"ATTACH '' AS {alias} (TYPE duckherder, server_host '127.0.0.1', server_port {server.port}{options})")


@contextmanager
def attached(server, alias: str = "dh", **config):
    """A client of `server`, closed at the end."""
    con = loaded(**config)
    try:
        attach(con, server, alias)
        yield con
    finally:
        con.close()


@contextmanager
def plain(alias: str = "dh", **config):
    """Plain DuckDB with an empty database under the alias that the driver has elsewhere: the oracle."""
    con = duckdb.connect(config=config)
    try:
        con.execute(f"ATTACH ':memory:' AS {alias}")
        yield con
    finally:
        con.close()


def wait_until_busy(server, worker_id: str, within_s: float = 60) -> None:
    """Until a worker has tasks of some query."""
    deadline = time.monotonic() + within_s
    with attached(server) as con:
        while con.execute("SELECT max(running_tasks) FROM duckherder_workers() WHERE worker_id = ?", [worker_id]).fetchone()[0] == 0:
            timely(time.monotonic() < deadline, f"{worker_id} has nothing to do")
            time.sleep(0.01)


def last_statistics(con: duckdb.DuckDBPyConnection, containing: str = "") -> dict:
    """The newest row of the driver's statistics whose SQL contains a text."""
    cursor = con.execute(
        "SELECT * FROM duckherder_get_query_execution_stats() WHERE contains(sql, ?) "
        "ORDER BY execution_start_time DESC LIMIT 1",
        [containing],
    )
    names = [column[0] for column in cursor.description]
    row = cursor.fetchone()
    assert row is not None, f"no statistics of a query containing {containing!r}"
    return dict(zip(names, row))


def plain_answers(tables: str, queries) -> dict[str, list[tuple]]:
    """What plain DuckDB answers to each query, over `tables`, which are made in `dh`."""
    with plain() as con:
        con.execute(tables)
        return {sql: con.execute(sql).fetchall() for sql in queries}
