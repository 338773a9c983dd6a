"""What databases in object storage cost beside those in a directory: commits, cold and warm scans
(`cargo xtask bench storage`)."""

from __future__ import annotations

import argparse
import http.client
import os
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import report
from harness.client import attach, attached, loaded, quote
from harness.cluster import Driver
from harness.s3 import BUCKET, Network, s3
from measure import Samples
from report import Target
from scaling import parquet_files

LATENCY_S = 0.03
DIRECTORY, STORAGE = "a directory", "object storage"
#: Most of the table's bytes.
SCAN = """\
SELECT count(*), sum(l_orderkey), sum(l_partkey), sum(l_extendedprice), max(l_comment), max(l_shipinstruct)
FROM dh.lineitem"""
#: Less than the table has, so that DuckDB reads its blocks again and again.
MEMORY = "60MB"
CLIENTS = 8
TARGETS = [
    Target("a small commit beyond a PUT", STORAGE, "median", "<=", 10),
    Target("cold scan, requests for 4 MiB", STORAGE, "median", "<=", 1.01),
    Target("warm scan beside the local file's", STORAGE, "median", "<=", 1.15),
]


def put_times(network: Network, count: int) -> list[float]:
    """Seconds of PUTs of a few hundred bytes, without DuckDB."""
    host, port = network.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port))
    taken = []
    for number in range(count):
        start = time.perf_counter()
        connection.request("PUT", f"/{BUCKET}/probe/{number}", bytes(300))
        connection.getresponse().read()
        taken.append(time.perf_counter() - start)
    connection.close()
    return taken


def commits(driver: Driver, network: Network, count: int) -> tuple[list[float], float, list[float], float]:
    """Seconds of commits one after the other, PUTs of each; seconds of commits of several clients, PUTs of each."""
    clients = [loaded() for _ in range(CLIENTS)]
    for con in clients:
        attach(con, driver)
    clients[0].execute("CREATE TABLE dh.small(i INTEGER)")
    alone, together = [], []

    def write(con, taken: list[float], repetitions: int) -> None:
        for number in range(repetitions):
            start = time.perf_counter()
            con.execute(f"INSERT INTO dh.small VALUES ({number})")
            taken.append(time.perf_counter() - start)

    before = network.counts.get("PUT", 0)
    write(clients[0], alone, count)
    between = network.counts.get("PUT", 0)
    threads = [threading.Thread(target=write, args=(con, together, count // 2)) for con in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = network.counts.get("PUT", 0)
    for con in clients:
        con.close()
    return alone, (between - before) / len(alone), together, (after - between) / len(together)


def scans(homes: dict[str, list[str]], network: Network, threads: int, rounds: int) -> tuple[Samples, Samples, Samples]:
    """Seconds of the first scan of a driver that has just started, requests for 4 MiB, and seconds of later scans."""
    cold: Samples = {name: [] for name in homes}
    requests: Samples = {STORAGE: []}
    warm: Samples = {name: [] for name in homes}
    expected = None
    for _ in range(rounds):
        with ExitStack() as stack:
            clients = {}
            for name, arguments in homes.items():
                driver = stack.enter_context(Driver(0, "--threads", str(threads), "--memory-limit", MEMORY, *arguments))
                clients[name] = stack.enter_context(attached(driver))
            for number in range(4):
                for name, con in clients.items():
                    network.counts, network.read_bytes = {}, 0
                    start = time.perf_counter()
                    rows = con.execute(SCAN).fetchall()
                    taken = time.perf_counter() - start
                    expected = expected or rows
                    if rows != expected:
                        raise SystemExit(f"{name}: {rows}, not {expected}")
                    (cold if number == 0 else warm)[name].append(taken)
                    if number == 0 and name == STORAGE:
                        pieces = network.read_bytes / 2**22
                        requests[STORAGE].append(network.counts.get("GET", 0) / pieces)
    return cold, requests, warm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the Arrow files of TPC-H")
    parser.add_argument("--sf", type=float, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--results", type=Path, required=True, help="folder for the JSON file")
    arguments = parser.parse_args()
    parquet_files(arguments.data)
    with s3() as network, tempfile.TemporaryDirectory() as folder:
        os.environ.update(network.environment())
        homes = {DIRECTORY: ["--data", f"{folder}/data"], STORAGE: ["--storage", f"s3://{BUCKET}/bench"]}
        for home in homes.values():
            with Driver(0, *home) as driver, attached(driver) as con:
                con.execute(f"CREATE TABLE dh.lineitem AS FROM {quote(arguments.data / 'lineitem.parquet')}")
                driver.stop(timeout_s=60)
        network.latency_s = LATENCY_S
        cold, requests, warm = scans(homes, network, arguments.threads, arguments.rounds)
        with Driver(0, *homes[STORAGE]) as driver:
            puts = put_times(network, 100)
            alone, alone_puts, together, together_puts = commits(driver, network, 100)
    put = statistics.median(puts)
    beside = statistics.median(warm[DIRECTORY])
    of_storage = lambda values, factor=1.0: report.summary({STORAGE: values}, factor, compare=False)  # noqa: E731
    results = {
        "a PUT of 300 bytes": {"unit": "ms", "by": of_storage(puts, 1e3)},
        "a small commit": {"unit": "ms", "by": of_storage(alone, 1e3)},
        "a small commit beyond a PUT": {"unit": "ms", "by": of_storage([one - put for one in alone], 1e3)},
        "its PUTs": {"unit": "", "by": of_storage([alone_puts])},
        f"a small commit, {CLIENTS} clients": {"unit": "ms", "by": of_storage(together, 1e3)},
        f"its PUTs, {CLIENTS} clients": {"unit": "", "by": of_storage([together_puts])},
        "cold scan": {"unit": "ms", "by": report.summary(cold, 1e3, compare=False)},
        "cold scan, requests for 4 MiB": {"unit": "", "by": report.summary(requests, compare=False)},
        "warm scan": {"unit": "ms", "by": report.summary(warm, 1e3, compare=False)},
        "warm scan beside the local file's": {"unit": "", "by": of_storage([one / beside for one in warm[STORAGE]])},
    }
    conditions = {"sf": arguments.sf, "threads": arguments.threads, "latency_ms": LATENCY_S * 1e3, "memory": MEMORY}
    report.finish(report.document("storage", conditions, results, TARGETS), arguments.results)


if __name__ == "__main__":
    main()
