"""Random queries, with 0, 1 and 4 workers, in the driver's process and in others: over one table as the driver likes to
run them, over several tables with 'always', and over large ones with 'auto', too.

`DUCKHERDER_FUZZ_SEED` repeats a run; `DUCKHERDER_FUZZ_QUERIES` and `DUCKHERDER_FUZZ_JOINS` set how many queries of each
kind there are in all. For more, or for minutes on end: `python -m fuzz.run --help`.
"""

from __future__ import annotations

import math
import os
import random

import pytest

from fuzz.run import CLUSTERS, Fuzzer, Report

# pytest-xdist collects in every process: the seed has to be the same in all of them
SEED = int(os.environ.setdefault("DUCKHERDER_FUZZ_SEED", str(random.SystemRandom().randrange(10**9))))
QUERIES = int(os.environ.get("DUCKHERDER_FUZZ_QUERIES", "2000"))
QUERIES_OVER_SEVERAL = int(os.environ.get("DUCKHERDER_FUZZ_JOINS", "5000"))
# of these, over tables as large as those that are split by default; each takes ten times as long
LARGE = 1 / 25
SMALLER = 50
# of the queries over several tables, when there are workers; of the few over large ones, luck has its part
LEAST_SHARE_SPLIT = {1: 0.4, SMALLER: 0.6}
# Of all queries: those with more processes take longer, each of them.
SHARES = {"local-0": 0.22, "local-1": 0.23, "local-4": 0.2, "remote-1": 0.14, "remote-4": 0.08, "stored-2": 0.08, "changed-4": 0.05}
assert SHARES.keys() == CLUSTERS.keys() and math.isclose(sum(SHARES.values()), 1)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("cluster", sorted(CLUSTERS))
def test_random_queries(cluster, capsys):
    fuzzer = Fuzzer(cluster, SEED)
    try:
        report = fuzzer.run(math.ceil(QUERIES * SHARES[cluster]), None)
    finally:
        fuzzer.close()
    with capsys.disabled():
        print(f"\n{report.summary()}")
    _agrees(report)
    if cluster == "local-0":
        assert set(report.modes) <= {"LOCAL"}
    else:
        assert report.split >= report.queries // 5, "hardly anything was split over workers"


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("scale", [1, SMALLER], ids=["large", "small"])
@pytest.mark.parametrize("cluster", sorted(CLUSTERS))
def test_random_queries_over_several_tables(cluster, scale, capsys):
    report = _over_several(cluster, "always", scale, LARGE if scale == 1 else 1 - LARGE, capsys)
    if cluster != "local-0":
        assert report.split >= report.queries * LEAST_SHARE_SPLIT[scale]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("cluster", sorted(CLUSTERS))
def test_random_queries_over_large_tables_with_auto(cluster, capsys):
    _over_several(cluster, "auto", 1, LARGE / 2, capsys)


def _over_several(cluster: str, distribution: str, scale: int, share: float, capsys) -> Report:
    fuzzer = Fuzzer(cluster, SEED, distribution=distribution, scale=scale)
    try:
        report = fuzzer.run_over_several(math.ceil(QUERIES_OVER_SEVERAL * share * SHARES[cluster]), None)
    finally:
        fuzzer.close()
    with capsys.disabled():
        print(f"\n{report.summary()}")
    _agrees(report)
    return report


def _agrees(report: Report) -> None:
    assert not report.differences, "\n".join(report.differences[:5])
    # a query of which DuckDB itself gives several answers, or none, proves nothing
    assert report.unstable + report.too_slow_in_duckdb <= report.queries // 10
