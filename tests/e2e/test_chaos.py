"""A short run of `chaos.run`, which does for minutes or hours what the other tests do one by one."""

from __future__ import annotations

import os

import pytest

from chaos.run import Run
from chaos.schedule import KINDS, schedule
from harness import faults, network

# The same each time: what lands is judged by the change, not by the draw. `cargo xtask chaos` draws anew.
SUITE_MINUTES, SUITE_SEED = 3.0, 11
MINUTES = float(os.environ.get("DUCKHERDER_CHAOS_MINUTES", SUITE_MINUTES))
SEED = int(os.environ.get("DUCKHERDER_CHAOS_SEED", SUITE_SEED))
# Other tests run beside it. There is something under way at all times; without pauses, the clients take all that the
# machine has, to ask the same again.
PAUSE_S = float(os.environ.get("DUCKHERDER_CHAOS_PAUSE", "0.25"))


def test_a_seed_draws_the_same_again():
    assert schedule(1, 600) == schedule(1, 600) != schedule(2, 600)
    assert schedule(1, 60) == [fault for fault in schedule(1, 600) if fault.at_s < 60]
    assert {fault.kind for fault in schedule(1, 3600)} == {kind for _, kind, _, _ in KINDS}


def test_all_kinds_of_faults_come():
    """Of each place, in the minutes and with the seed of the suite."""
    came = [(fault.kind, fault.hosts if len(fault.hosts) > 1 else fault.hosts[0]) for fault in schedule(SUITE_SEED, 60 * SUITE_MINUTES)]
    for _, kind, places, _ in KINDS:
        assert any((kind, place) in came for place in places), f"no {kind} of {places}"


@pytest.mark.timeout(300 + 60 * MINUTES)
# Both where somebody asks for more than the suite's minutes.
@pytest.mark.parametrize("stored", [False, True] if MINUTES > SUITE_MINUTES else [False], ids=lambda stored: "storage" if stored else "directory")
def test_all_that_can_fail(tmp_path, stored):
    network.needed()
    if reason := faults.why_not():
        pytest.skip(reason)
    run = Run(tmp_path, SEED, MINUTES, scale=0.01, stored=stored, pause_s=PAUSE_S)
    try:
        run.run()
    finally:
        print(run.report())
        if run.problems:
            print(*run.herd.logs, sep="\n")
    assert not run.problems, "\n".join(run.problems)
