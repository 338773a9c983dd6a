"""A short run of `chaos.run`, which does for minutes or hours what the other tests do one by one."""

from __future__ import annotations

import os

import pytest

from chaos.run import Run
from chaos.schedule import KINDS, schedule
from harness import faults, network

MINUTES = float(os.environ.get("DUCKHERDER_CHAOS_MINUTES", "0.5"))
# The same each time: what lands is judged by the change, not by the draw. `cargo xtask chaos` draws anew.
SEED = int(os.environ.get("DUCKHERDER_CHAOS_SEED", "20261129"))


def test_a_seed_draws_the_same_again():
    assert schedule(1, 600) == schedule(1, 600) != schedule(2, 600)
    assert schedule(1, 60) == [fault for fault in schedule(1, 600) if fault.at_s < 60]
    assert {fault.kind for fault in schedule(1, 3600)} == {kind for _, kind, _, _ in KINDS}


@pytest.mark.timeout(300 + 60 * MINUTES)
# Both where somebody asks for more than the suite's half a minute.
@pytest.mark.parametrize("stored", [False, True] if MINUTES > 0.5 else [False], ids=lambda stored: "storage" if stored else "directory")
def test_all_that_can_fail(tmp_path, stored):
    network.needed()
    if reason := faults.why_not():
        pytest.skip(reason)
    run = Run(tmp_path, SEED, MINUTES, scale=0.01, stored=stored)
    try:
        run.run()
    finally:
        print(run.report())
        if run.problems:
            print(*run.herd.logs, sep="\n")
    assert not run.problems, "\n".join(run.problems)
