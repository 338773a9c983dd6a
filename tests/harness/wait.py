"""Waiting for what happens elsewhere, and saying so if it comes too late or too early to be seen."""

from __future__ import annotations

import time


class Untimely(AssertionError):
    """What a test wants to see came later than it may, or was over before it could be seen.

    On a busy machine that may say nothing of the product, so such a test is run again, twice at most (see pytest.ini).
    Nothing else is: a wrong answer stays a failure.
    """


def wait_for(what, seconds: float = 60):
    """What `what` gives as soon as that is true; it is asked again and again."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        timely(time.monotonic() < deadline, f"it took more than {seconds} s")
        time.sleep(0.02)
    return found


def timely(condition: bool, message: object) -> None:
    """Like `assert`, of how long something took, or how much of it was seen."""
    __tracebackhide__ = True
    if not condition:
        raise Untimely(message)


def within(seconds: float, most: float) -> None:
    """Checks how long something took."""
    __tracebackhide__ = True
    timely(seconds < most, f"it took {seconds:.2f} s, and may take {most} s")
