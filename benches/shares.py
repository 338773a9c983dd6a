"""CPU shares: processes held to a part of a core by a cgroup's quota (version 1 or 2)."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

#: Short, so that a process does not stand still for long once its share of a period is used up.
PERIOD_US = 20_000

_ROOTS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))


def _root() -> Path:
    for root in _ROOTS:
        if (root / "cpu.cfs_quota_us").exists() or "cpu" in _words(root / "cgroup.subtree_control"):
            return root
    raise SystemExit("this needs cgroups with a CPU controller under /sys/fs/cgroup, and the right to make one")


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


@contextmanager
def cpu_share(pid: int, share: float):
    """Holds a process, with all its threads, to `share` of one core (0.2: a fifth; 1.5: one and a half)."""
    quota = round(PERIOD_US * share)
    group = _root() / f"duckherder-bench-{os.getpid()}-{pid}"
    group.mkdir()
    try:
        if (group / "cpu.max").exists():
            (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        # a group with a process in it can't be removed
        for member in _words(group / "cgroup.procs"):
            (group.parent / "cgroup.procs").write_text(member)
        group.rmdir()
