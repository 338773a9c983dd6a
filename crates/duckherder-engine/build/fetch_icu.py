#!/usr/bin/env python3
"""Fetch the sources of DuckDB's icu extension: fetch_icu.py VERSION SHA256 TARGET_DIR

DuckDB publishes them only inside its Python source distribution. pip fetches that by its pinned hash, so
mirrors, proxies and caches of the machine are used as they are set up; only `extension/icu` is unpacked.
TARGET_DIR appears complete or not at all.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile


def download(version: str, sha256: str, folder: pathlib.Path) -> pathlib.Path:
    """The source distribution of this version, or an error when it is not the pinned one."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"duckdb=={version} --hash=sha256:{sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "duckdb"]
    command += ["--require-hashes", "--requirement", str(requirements), "--dest", str(folder)]
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        raise SystemExit(f"pip could not download the source distribution of duckdb {version}")
    archive = folder / f"duckdb-{version}.tar.gz"
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{archive.name} has the SHA-256 {found} instead of {sha256}")
    return archive


def unpack(archive: pathlib.Path, version: str, target: pathlib.Path) -> int:
    """Write the files under extension/icu to `target`; says how many."""
    prefix = f"duckdb-{version}/external/duckdb/extension/icu/"
    count = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            inside = member.name.removeprefix(prefix)
            if not member.isfile() or inside == member.name or ".." in pathlib.PurePosixPath(inside).parts:
                continue
            content = tar.extractfile(member)
            if content is None:
                continue
            path = target / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())
            count += 1
    return count


def main() -> None:
    version, sha256, target = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        folder = pathlib.Path(temporary)
        staging = folder / "icu"
        if unpack(download(version, sha256, folder), version, staging) == 0:
            raise SystemExit("the source distribution holds no extension/icu")
        try:
            os.rename(staging, target)
        except OSError:  # another build was faster
            if not target.is_dir():
                raise
            shutil.rmtree(staging)


if __name__ == "__main__":
    main()
