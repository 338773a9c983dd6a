"""Results as a table on the terminal and as JSON."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import statistics
import subprocess
from pathlib import Path

import duckdb
from contenders import PLAIN, Contender
from measure import Samples

#: metric -> (contender, "ratio" to plain or "median", at most or at least, limit)
TARGETS = {
    "Q1": ("2 local workers", "ratio", "<=", 1.15),
    "Q6": ("2 local workers", "ratio", "<=", 1.15),
    "one-row select": ("2 local workers", "median", "<=", 1.5),
    "stream lineitem": ("2 local workers", "median", ">=", 500),
    "client memory": ("2 local workers", "max", "<=", 300),
    "bulk insert": ("2 local workers", "ratio", "<=", 2),
    "one-row inserts": ("2 local workers", "median", ">=", 490),
}


def summary(samples: Samples, factor: float = 1) -> dict[str, dict[str, float]]:
    """Per contender min, median, max, and the median as a ratio to plain DuckDB's."""
    found = {}
    for name, values in samples.items():
        scaled = [value * factor for value in values]
        found[name] = {"min": min(scaled), "median": statistics.median(scaled), "max": max(scaled)}
    if PLAIN in found:
        for numbers in found.values():
            numbers["ratio"] = numbers["median"] / found[PLAIN]["median"]
    return found


def machine() -> dict:
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
    }


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def document(contenders: list[Contender], scale_factor: float, results: dict) -> dict:
    return {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "scale_factor": scale_factor,
        "threads": {contender.name: contender.threads for contender in contenders},
        "results": results,
        "targets": targets(results),
    }


def targets(results: dict) -> list[dict]:
    found = []
    for metric, (contender, value, relation, limit) in TARGETS.items():
        measured = results.get(metric, {}).get("by", {}).get(contender, {}).get(value)
        if measured is None:
            continue
        met = measured <= limit if relation == "<=" else measured >= limit
        found.append(
            {"metric": metric, "contender": contender, "value": value, "measured": measured}
            | {"target": f"{relation} {limit}", "met": met}
        )
    return found


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def show(report: dict) -> None:
    """Median (min to max), then the ratio to plain DuckDB."""
    names = list(report["threads"])
    cells = [["", *names]]
    for metric, result in report["results"].items():
        row = [f"{metric}, {result['unit']}"]
        for name in names:
            numbers = result["by"].get(name)
            if numbers is None:
                row.append("")
                continue
            text = f"{number(numbers['median'])} ({number(numbers['min'])} to {number(numbers['max'])})"
            row.append(text + (f"  {numbers['ratio']:.2f}x" if "ratio" in numbers and name != PLAIN else ""))
        cells.append(row)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    print()
    for row in cells:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
    print()
    for target in report["targets"]:
        verdict = "met   " if target["met"] else "MISSED"
        print(
            f"{verdict} {target['metric']}, {target['contender']}: {target['value']} {number(target['measured'])}"
            f" (target {target['target']})"
        )


def save(report: dict, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    stamp = report["time"][:19].replace(":", "").replace("-", "")
    file = folder / f"{stamp}-{report['commit']}-sf{report['scale_factor']:g}.json"
    file.write_text(json.dumps(report, indent=2) + "\n")
    return file
