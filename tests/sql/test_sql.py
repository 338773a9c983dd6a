"""Every `.test` file beside this one, each in a process of its own, so that a crash or a hang costs one file only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(HERE.rglob("*.test"))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(HERE)) for path in FILES])
def test_file(path: Path):
    command = [sys.executable, "-m", "harness.sqlrunner", str(path)]
    if os.environ.get("DUCKHERDER_ORACLE_ONLY"):
        command.insert(3, "--oracle-only")
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    assert "passed, 0 failed" in done.stdout
