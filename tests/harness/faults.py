"""Machines that have a slow disk, a full one, or a clock that jumps: each for one process of ours only.

    faults = Faults(folder)
    driver = network.driver("driver", prefix=faults.prefix())
    faults.set(disk_delay_ms=50)

`faults.c` stands between the program and the C library. A device that is slow for the kernel, too (dm-delay), or a clock
of another namespace (which Linux has for the monotonic clock only) takes what many kernels do not have.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

_FIELDS = struct.Struct("<qqq")
SOURCE = Path(__file__).with_suffix(".c")


def why_not() -> str | None:
    """What is missing for them, if anything is."""
    return None if os.uname().sysname == "Linux" and shutil.which("gcc") else "gcc on Linux is needed"


class Faults:
    """Those of one process, or of several that have the same; `folder`: for what they need."""

    def __init__(self, folder: Path, name: str = "faults"):
        self.library = folder / "faults.so"
        if not self.library.exists():
            command = ["gcc", "-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(self.library), str(SOURCE), "-ldl"]
            subprocess.run(command, check=True)
        self.path = folder / f"{name}.now"
        self.path.write_bytes(_FIELDS.pack(0, 0, 0))
        with self.path.open("r+b") as file:
            self.now = mmap.mmap(file.fileno(), _FIELDS.size)

    def prefix(self) -> list[str]:
        """Before a command, for it to have these faults."""
        return ["env", f"LD_PRELOAD={self.library}", f"DUCKHERDER_FAULTS={self.path}"]

    def set(self, disk_delay_ms: float = 0, clock_ahead_s: float = 0, disk_full: bool = False) -> None:
        """From now on; what is not named is as it should be."""
        self.now[:] = _FIELDS.pack(int(disk_delay_ms * 1000), int(clock_ahead_s * 1_000_000), int(disk_full))
