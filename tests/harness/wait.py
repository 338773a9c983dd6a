"""Waiting for something that happens elsewhere."""

from __future__ import annotations

import time


def wait_for(what, seconds: float = 15):
    """What `what` gives as soon as that is true; it is asked again and again."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"it took more than {seconds} s"
        time.sleep(0.02)
    return found
