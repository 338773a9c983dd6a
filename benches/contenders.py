"""What is compared: plain DuckDB, and clients of drivers that have no, local or separate workers.

All hold their tables in memory under the name `dh` and may use the same number of threads in all.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import duckdb
from harness.client import attach, loaded
from harness.cluster import Cluster

PLAIN = "plain DuckDB"


@dataclass
class Contender:
    name: str
    con: duckdb.DuckDBPyConnection
    #: The driver's port; None for plain DuckDB.
    port: int | None
    #: Threads by process, as started.
    threads: dict[str, int]


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
        for name, local, remote, driver, worker in [
            ("no workers", 0, 0, threads, 0),
            ("2 local workers", 2, 0, threads, 0),
            ("2 separate workers", 0, 2, half, quarter),
        ]:
            cluster = stack.enter_context(
                Cluster(
                    local_workers=local,
                    remote_workers=remote,
                    driver_arguments=("--threads", str(driver)),
                    worker_arguments=("--threads", str(worker)),
                )
            )
            con = loaded(threads=threads)
            stack.callback(con.close)
            attach(con, cluster.driver)
            used = {"driver": driver} | {f"worker {number + 1}": worker for number in range(remote)}
            found.append(Contender(name, con, cluster.port, used))
        yield found
