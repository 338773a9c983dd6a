"""What is compared: plain DuckDB, and clients of drivers that have no, local or separate workers.

All hold their tables under the name `dh`, in memory or in a file each, and may use the same number of threads in all;
but for a driver of separate workers that may have all of them itself, as on a machine of its own.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
from harness.client import attach, loaded, quote
from harness.cluster import BINARY, Driver, ServerProcess

PLAIN = "plain DuckDB"


@dataclass
class Contender:
    name: str
    con: duckdb.DuckDBPyConnection
    #: The driver's port; None for plain DuckDB.
    port: int | None
    #: Threads by process, as started.
    threads: dict[str, int]
    #: Driver and workers, if it has any.
    servers: list[ServerProcess] = field(default_factory=list)


class SeparateWorker(ServerProcess):
    """A worker in a process of its own, with a number of threads."""

    def __init__(self, worker_id: str, threads: int, *options: str):
        self.id = worker_id
        command = [BINARY, "worker", "--listen", "127.0.0.1:0", "--id", worker_id, "--threads", str(threads)]
        super().__init__([*command, *options])


@dataclass(frozen=True)
class OnDisk:
    """Databases in files, for tables that are larger than memory."""

    folder: Path
    #: DuckDB's, of each process.
    memory_limit: str

    def database(self, contender: str) -> str:
        return str(self.folder / f"{contender.replace(' ', '-')}.duckdb")


@contextmanager
def all_contenders(threads: int, on_disk: OnDisk | None = None, shared: bool = True):
    """Starts everything, plain DuckDB first; ends what it started. `shared`: separate workers take their threads from
    their driver's."""
    with ExitStack() as stack:
        limit = {"memory_limit": on_disk.memory_limit} if on_disk else {}
        plain = duckdb.connect(config={"threads": threads, **limit})
        stack.callback(plain.close)
        plain.execute(f"ATTACH {quote(on_disk.database(PLAIN) if on_disk else ':memory:')} AS dh")
        found = [Contender(PLAIN, plain, None, {"client": threads})]
        half = max(1, threads // 2)
        quarter = max(1, threads // 4)
        for name, local, separate, driver_threads, worker_threads in [
            ("no workers", 0, 0, threads, 0),
            ("2 local workers", 2, 0, threads, 0),
            ("2 separate workers", 0, 2, half if shared else threads, quarter),
        ]:
            limited = ["--memory-limit", on_disk.memory_limit] if on_disk else []
            database = ["--database", on_disk.database(name)] if on_disk else []
            driver = stack.enter_context(Driver(local, "--threads", str(driver_threads), *database, *limited))
            con = loaded(threads=threads, **limit)
            stack.callback(con.close)
            attach(con, driver)
            used, servers = {"driver": driver_threads}, [driver]
            for number in range(1, separate + 1):
                worker = stack.enter_context(SeparateWorker(f"worker-{number}", worker_threads, *limited))
                con.execute("SELECT duckherder_register_worker(?, ?)", [worker.id, f"grpc://{worker.location}"])
                assert con.fetchall() == [(True,)], worker.output()
                used[worker.id] = worker_threads
                servers.append(worker)
            found.append(Contender(name, con, driver.port, used, servers))
        yield found
