"""A driver that is killed, at any moment of a load of writes, loses nothing that it has acknowledged."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time

import pytest

from harness.cluster import BINARY, Driver
from harness.load import Writer
from harness.seed import drawn_seed

KILLS = int(os.environ.get("DUCKHERDER_KILLS", "12"))
# Each writer works in the database of its place here.
DATABASES = [None, "second", None]


def kills(count: int, seed: int, *home) -> str:
    """Kills drivers whose databases are where the arguments `home` say, `count` times; what happened, in a line."""
    draw = random.Random(seed)
    writers = [Writer(number, seed, database) for number, database in enumerate(DATABASES)]
    with Driver(2, *home) as driver:
        for writer in writers:
            writer.set_up(driver)
    recoveries = 0
    for _ in range(count):
        # Of the drivers that start after a crash, some crash as well.
        while draw.random() < 0.15:
            half_started = subprocess.Popen(
                [str(BINARY), "driver", "--listen", "127.0.0.1:0", *map(str, home)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            time.sleep(draw.uniform(0, 0.1))
            half_started.kill()
            half_started.wait()
            recoveries += 1
        with Driver(2, *home) as driver:
            for writer in writers:
                if writer.thread:
                    writer.check(driver)
            dying = threading.Event()
            for writer in writers:
                writer.start(driver, dying)
            time.sleep(draw.uniform(0.05, 0.8))
            dying.set()
            driver.kill()
    with Driver(2, *home) as driver:
        for writer in writers:
            writer.check(driver)
    done = sum(writer.acknowledged for writer in writers)
    undecided = sum(writer.undecided for writer in writers)
    return f"{count} kills, {recoveries} of them more while starting; {done} transactions acknowledged, {undecided} found that were not"


@pytest.mark.timeout(300 + 20 * KILLS)
def test_kill_at_any_moment(tmp_path):
    """`DUCKHERDER_KILLS=200` for more of them, `DUCKHERDER_SEED` to draw the same again."""
    print(kills(KILLS, drawn_seed(), "--data", tmp_path / "data"))
