"""A load of random transactions whose outcome is known: what the driver has acknowledged, plain DuckDB does, too.

Each writer has a schema of its own on the driver, so that writers don't conflict, and a plain DuckDB beside it that has
what the schema must hold. A transaction that was not acknowledged, since the driver was killed, may be there or not, but
whole: `Writer.check` finds out which.
"""

from __future__ import annotations

import random
import threading

import duckdb

from harness.client import attach, loaded

# Rows of one INSERT that DuckDB writes to the file before it commits.
BULK_ROWS = 150_000
MOST_BULK_ROWS = 400_000
BUSY = ["Cannot create index with outstanding updates", "Cannot CHECKPOINT"]


class Writer:
    """One client. `database`: the driver's database that it works in, the default one if none."""

    def __init__(self, number: int, seed: int, database: str | None = None):
        self.number = number
        self.random = random.Random(f"{seed}/{number}")
        self.database = database
        self.schema = f"dh.w{number}"
        self.expected = duckdb.connect()
        self.expected.execute("ATTACH ':memory:' AS dh")
        self.local_rows(self.expected)
        self.operations = 0
        self.acknowledged = 0
        self.undecided = 0
        # what was sent and not acknowledged
        self.pending: list[str] | None = None
        self.failure: str | None = None
        self.thread: threading.Thread | None = None

    def local_rows(self, con) -> None:
        con.execute("CREATE TABLE local_rows AS SELECT range + 1_000_000 AS id, 'local ' || range AS v FROM range(3000)")

    def attach(self, con, server) -> None:
        attach(con, server, database=self.database)

    def set_up(self, server) -> None:
        s = self.schema
        statements = [
            f"CREATE SCHEMA {s}",
            f"CREATE TABLE {s}.keyed(id INTEGER PRIMARY KEY, v VARCHAR, n BIGINT DEFAULT 0)",
            f"CREATE TABLE {s}.plain(id BIGINT, v VARCHAR)",
            f"CREATE TABLE {s}.bulk(id BIGINT, a BIGINT, v VARCHAR)",
            f"CREATE TABLE {s}.counts(name VARCHAR, n BIGINT)",
            f"INSERT INTO {s}.counts VALUES ('keyed', 0), ('plain', 0)",
            f"CREATE SEQUENCE {s}.numbers",
            f"CREATE TYPE {s}.mood AS ENUM ('sad', 'glad')",
        ]
        con = loaded()
        self.attach(con, server)
        for statement in statements:
            con.execute(statement)
            self.expected.execute(statement)
        con.close()

    # What a writer does.

    def operation(self) -> list[str]:
        """The statements of one transaction."""
        self.operations += 1
        kinds = 3 * [self.few_rows, self.upsert, self.both_tables, self.bulk, self.delete]
        kinds += [self.table, self.table_with_rows, self.alter, self.view, self.index, self.stream, self.stream_in_transaction]
        kinds += [self.rolled_back, self.checkpoint]
        return self.random.choice(kinds)()

    def key(self) -> int:
        return self.random.randrange(3000)

    def few_rows(self):
        rows = ", ".join(f"({self.random.randrange(10**6)}, 'r{self.operations}')" for _ in range(self.random.randrange(1, 20)))
        return [f"INSERT INTO {self.schema}.plain(id, v) VALUES {rows}"]

    def upsert(self):
        rows = ", ".join(f"({key}, 'u{self.operations}')" for key in {self.key() for _ in range(self.random.randrange(1, 50))})
        return [f"INSERT INTO {self.schema}.keyed(id, v) VALUES {rows} ON CONFLICT (id) DO UPDATE SET n = n + 1, v = excluded.v"]

    def both_tables(self):
        s, rows = self.schema, self.random.randrange(1, 300)
        return [
            "BEGIN",
            f"INSERT INTO {s}.plain(id, v) SELECT range * 7, 'b{self.operations}' FROM range({rows})",
            f"UPDATE {s}.keyed SET n = n + 1, v = v || '!' WHERE id % 17 = {self.random.randrange(17)} AND length(v) < 40",
            f"UPDATE {s}.counts SET n = n + {rows} WHERE name = 'plain'",
            "COMMIT",
        ]

    def bulk(self):
        start = self.random.randrange(10**9)
        return [
            "BEGIN",
            f"DELETE FROM {self.schema}.bulk WHERE (SELECT count(*) FROM {self.schema}.bulk) > {MOST_BULK_ROWS}",
            f"INSERT INTO {self.schema}.bulk SELECT {start} + range, range % 1000, 'v' || (range % 97) FROM range({BULK_ROWS})",
            "COMMIT",
        ] if self.random.random() < 0.5 else [
            f"INSERT INTO {self.schema}.bulk SELECT {start} + range, range % 1000, 'v' || (range % 97) FROM range({BULK_ROWS // 10})"
        ]

    def delete(self):
        table = self.random.choice(["keyed", "plain", "bulk"])
        return [f"DELETE FROM {self.schema}.{table} WHERE id % 13 = {self.random.randrange(13)}"]

    def table(self):
        number = self.random.randrange(6)
        if self.random.random() < 0.4:
            return [f"DROP TABLE IF EXISTS {self.schema}.t{number} CASCADE"]
        return [
            f"CREATE OR REPLACE TABLE {self.schema}.t{number} AS "
            f"SELECT range AS id, {self.operations} AS made FROM range({self.random.randrange(30_000)})"
        ]

    def table_with_rows(self):
        name = f"{self.schema}.t{self.random.randrange(6)}"
        return [
            "BEGIN",
            f"CREATE OR REPLACE TABLE {name}(id INTEGER, mood {self.schema}.mood, n BIGINT DEFAULT 42)",
            f"INSERT INTO {name}(id, mood) SELECT range, ['sad', 'glad'][1 + range % 2]::{self.schema}.mood FROM range({self.random.randrange(1, 500)})",
            f"DELETE FROM {name} WHERE id % 3 = 0",
            "COMMIT",
        ]

    def alter(self):
        if self.random.random() < 0.5:
            return [f"ALTER TABLE {self.schema}.plain ADD COLUMN IF NOT EXISTS extra INTEGER DEFAULT {self.operations}"]
        return [f"ALTER TABLE {self.schema}.plain DROP COLUMN IF EXISTS extra"]

    def view(self):
        return [f"CREATE OR REPLACE VIEW {self.schema}.v{self.random.randrange(3)} AS SELECT count(*) AS n, {self.operations} AS made FROM {self.schema}.keyed"]

    def index(self):
        if self.random.random() < 0.5:
            return [f"DROP INDEX IF EXISTS {self.schema}.by_name"]
        return [f"CREATE INDEX IF NOT EXISTS by_name ON {self.schema}.keyed(v)"]

    def stream(self):
        return [f"INSERT INTO {self.schema}.plain(id, v) SELECT id, v FROM local_rows WHERE id % {self.random.randrange(1, 9)} = 0"]

    def stream_in_transaction(self):
        s = self.schema
        return ["BEGIN", f"DELETE FROM {s}.plain WHERE v LIKE 'local%'", *self.stream(), f"UPDATE {s}.counts SET n = n + 1", "COMMIT"]

    def rolled_back(self):
        return [*self.both_tables()[:-1], f"CREATE TABLE {self.schema}.never(i INTEGER)", "ROLLBACK"]

    def checkpoint(self):
        return [self.random.choice(["CHECKPOINT dh", "FORCE CHECKPOINT dh"])]

    # Running.

    def start(self, server, dying: threading.Event) -> None:
        self.thread = threading.Thread(target=self._run, args=(server, dying))
        self.thread.start()

    def _run(self, server, dying: threading.Event) -> None:
        con = None
        try:
            con = loaded()
            self.local_rows(con)
            self.attach(con, server)
            while not dying.is_set():
                self.pending = self.operation()
                if self._send(con, self.pending):
                    self._expect(self.pending)
                self.pending = None
                self.acknowledged += 1
        except Exception as error:  # noqa: BLE001: told by `check`
            if not dying.is_set():
                self.failure = f"{self.pending}: {error}"
        finally:
            if con is not None:
                con.close()

    def _send(self, con, statements: list[str]) -> bool:
        """Whether it was done."""
        try:
            for statement in statements:
                con.execute(statement)
            return True
        except duckdb.Error as error:
            # DuckDB's ways to say that others write just now.
            if len(statements) == 1 and any(text in str(error) for text in BUSY):
                return False
            raise

    def _expect(self, statements: list[str]) -> None:
        if "CHECKPOINT" not in statements[0]:
            for statement in statements:
                self.expected.execute(statement)

    # Checking.

    def check(self, server) -> None:
        """The schema holds what was acknowledged, and of what was not all or nothing."""
        self.thread.join()
        assert self.failure is None, self.failure
        with_alias = loaded()
        self.attach(with_alias, server)
        found = self.state(with_alias)
        with_alias.close()
        wanted = self.state(self.expected)
        if found != wanted and self.pending:
            self.undecided += 1
            self._expect(self.pending)
            without, wanted = wanted, self.state(self.expected)
            assert found == wanted, f"after {self.pending}:\n{difference(found, without)}\n---\n{difference(found, wanted)}"
        assert found == wanted, difference(found, wanted)
        self.pending = None

    def state(self, con) -> dict:
        """All that the schema holds, rows as their number and a sum of their hashes."""
        name = self.schema.split(".")[1]
        state = {}
        for table, in con.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'dh' AND schema_name = ?", [name]).fetchall():
            columns = con.execute(f"SELECT column_name, column_type FROM (DESCRIBE {self.schema}.{table})").fetchall()
            # Types as they are told there: an ENUM of the driver's has no name here.
            state[table] = [column for column, _ in columns], con.execute(f"SELECT count(*), sum(hash(t)) FROM {self.schema}.{table} t").fetchone()
        for view, in con.execute("SELECT view_name FROM duckdb_views() WHERE database_name = 'dh' AND schema_name = ?", [name]).fetchall():
            state[view] = con.execute(f"SELECT * FROM {self.schema}.{view}").fetchall()
        state["indexes"] = con.execute("SELECT index_name FROM duckdb_indexes() WHERE database_name = 'dh' AND schema_name = ?", [name]).fetchall()
        state["sequences"] = con.execute("SELECT sequence_name FROM duckdb_sequences() WHERE database_name = 'dh' AND schema_name = ?", [name]).fetchall()
        # by the index of the key
        keys = [key for key in range(0, 3000, 371)]
        state["keys"] = [con.execute(f"SELECT v, n FROM {self.schema}.keyed WHERE id = {key}").fetchall() for key in keys]
        return state


def difference(found: dict, wanted: dict) -> str:
    lines = [f"{name}: found {found.get(name)}, wanted {wanted.get(name)}" for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    return "\n".join(lines)


