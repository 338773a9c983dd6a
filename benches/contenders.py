"""What is compared: plain DuckDB, and clients of drivers that have no, local or separate workers.

All hold their tables in memory under the name `dh` and may use the same number of threads in all.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import duckdb
from harness.client import attach, loaded
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

    def __init__(self, worker_id: str, threads: int):
        self.id = worker_id
        super().__init__([BINARY, "worker", "--listen", "127.0.0.1:0", "--id", worker_id, "--threads", str(threads)])


@contextmanager
def all_contenders(threads: int):
    """Starts everything, plain DuckDB first; ends what it started."""
    with ExitStack() as stack:
        plain = duckdb.connect(config={"threads": threads})
        stack.callback(plain.close)
        plain.execute("ATTACH ':memory:' AS dh")
        found = [Contender(PLAIN, plain, None, {"client": threads})]
        half = max(1, threads // 2)
        quarter = max(1, threads // 4)
        for name, local, separate, driver_threads, worker_threads in [
            ("no workers", 0, 0, threads, 0),
            ("2 local workers", 2, 0, threads, 0),
            ("2 separate workers", 0, 2, half, quarter),
        ]:
            driver = stack.enter_context(Driver(local, "--threads", str(driver_threads)))
            con = loaded(threads=threads)
            stack.callback(con.close)
            attach(con, driver)
            used, servers = {"driver": driver_threads}, [driver]
            for number in range(1, separate + 1):
                worker = stack.enter_context(SeparateWorker(f"worker-{number}", worker_threads))
                con.execute("SELECT duckherder_register_worker(?, ?)", [worker.id, f"grpc://{worker.location}"])
                assert con.fetchall() == [(True,)], worker.output()
                used[worker.id] = worker_threads
                servers.append(worker)
            found.append(Contender(name, con, driver.port, used, servers))
        yield found
