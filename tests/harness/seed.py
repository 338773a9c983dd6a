"""The seed of what a test draws."""

from __future__ import annotations

import os
import time


def drawn_seed() -> int:
    """A new one each time, which a test that fails has printed; DUCKHERDER_SEED draws the same again."""
    seed = int(os.environ.get("DUCKHERDER_SEED", time.time_ns() % 10**9))
    print(f"DUCKHERDER_SEED={seed}")
    return seed
