"""TPC-DS data and queries from DuckDB 1.5.5's `tpcds` extension, which has a Python package of its own.

DuckDB 2.0 can't load that extension: it runs in an environment of its own, in another process, which leaves a folder
with a Parquet file a table and the 99 queries.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = ["duckdb==1.5.5", "duckdb-extension-tpcds==1.5.5"]

# runs in the other environment
_EXPORT = """
import json, sys
from importlib.util import find_spec
from pathlib import Path
import duckdb
folder, scale_factor = Path(sys.argv[1]), float(sys.argv[2])
package = Path(find_spec("duckdb_extension_tpcds").submodule_search_locations[0])
con = duckdb.connect()
con.load_extension(str(next(package.rglob("tpcds.duckdb_extension"))))
con.execute(f"CALL dsdgen(sf = {scale_factor})")
tables = [name for (name,) in con.execute("SELECT table_name FROM duckdb_tables() ORDER BY ALL").fetchall()]
for table in tables:
    con.execute(f"COPY {table} TO '{folder / table}.parquet' (FORMAT parquet)")
queries = dict(con.execute("SELECT query_nr, query FROM tpcds_queries()").fetchall())
(folder / "queries.json").write_text(json.dumps({"tables": tables, "queries": queries}))
"""


def environment() -> Path:
    """Python with the extension; made beside the environment of the tests when it is missing."""
    folder = Path(sys.prefix).parent / "tpcds-venv"
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists() or done.read_text() != "\n".join(PACKAGES):
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        done.write_text("\n".join(PACKAGES))
    return python


def make(scale_factor: str) -> tuple[Path, list[str], dict[int, str]]:
    """The folder of the Parquet files, the tables and the queries; what an earlier run made is taken again."""
    folder = Path(sys.prefix).parent / f"tpcds-sf{scale_factor}"
    described = folder / "queries.json"
    if not described.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([environment(), "-c", _EXPORT, folder, scale_factor], check=True)
    found = json.loads(described.read_text())
    return folder, found["tables"], {int(number): sql for number, sql in found["queries"].items()}
