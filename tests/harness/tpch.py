"""The tables of TPC-H, made by the `tpchgen` crates (their Python package has the program)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from harness.client import quote

TABLES = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"]


def make(folder: Path, scale_factor: str | float) -> Path:
    """Writes a Parquet file a table; takes seconds at scale factor 1."""
    beside = Path(sys.executable).parent / "tpchgen-cli"
    program = str(beside) if beside.exists() else shutil.which("tpchgen-cli")
    assert program is not None, "tpchgen-cli is missing: install tests/requirements.txt"
    subprocess.run([program, "parquet", "-s", str(scale_factor), f"--output-dir={folder}"], check=True, capture_output=True)
    return folder


def load(con, folder: Path, schema: str = "") -> None:
    """Makes tables of the files."""
    for table in TABLES:
        con.execute(f"CREATE TABLE {schema}{table} AS SELECT * FROM {quote(folder / f'{table}.parquet')}")
