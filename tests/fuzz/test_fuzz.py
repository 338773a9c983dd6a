"""At least 2,000 random queries, with 0, 1 and 4 workers, in the driver's process and in others.

`DUCKHERDER_FUZZ_SEED` repeats a run, `DUCKHERDER_FUZZ_QUERIES` sets how many queries there are in all. For more, or for
minutes on end: `python -m fuzz.run --help`.
"""

from __future__ import annotations

import os
import random

import pytest

from fuzz.run import CLUSTERS, Fuzzer

# pytest-xdist collects in every process: the seed has to be the same in all of them
SEED = int(os.environ.setdefault("DUCKHERDER_FUZZ_SEED", str(random.SystemRandom().randrange(10**9))))
QUERIES = int(os.environ.get("DUCKHERDER_FUZZ_QUERIES", "2000"))


@pytest.mark.timeout(280)
@pytest.mark.parametrize("cluster", sorted(CLUSTERS))
def test_random_queries(cluster, capsys):
    fuzzer = Fuzzer(cluster, SEED)
    try:
        report = fuzzer.run(-(-QUERIES // len(CLUSTERS)), None)
    finally:
        fuzzer.close()
    with capsys.disabled():
        print(f"\n{report.summary()}")
    assert not report.differences, "\n".join(report.differences[:5])
    # a query of which DuckDB itself gives several answers proves nothing
    assert report.unstable <= report.queries // 20
    if cluster == "local-0":
        assert set(report.modes) <= {"LOCAL"}
    else:
        assert report.split >= report.queries // 5, "hardly anything was split over workers"
