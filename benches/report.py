"""Results as a table on the terminal and as JSON."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import statistics
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
from contenders import PLAIN
from measure import Samples


@dataclass(frozen=True)
class Target:
    """What a number is to be; a number is the median, minimum or maximum of a series, or its ratio to plain DuckDB's."""

    metric: str
    series: str
    number: str
    relation: str
    limit: float

    def judged(self, results: dict) -> dict | None:
        """With what was measured; None if that was not."""
        measured = results.get(self.metric, {}).get("by", {}).get(self.series, {}).get(self.number)
        if measured is None:
            return None
        met = measured <= self.limit if self.relation == "<=" else measured >= self.limit
        return asdict(self) | {"measured": measured, "met": met}



def summary(
    samples: Samples, factor: float = 1, compare: bool = True, beside: Samples | None = None
) -> dict[str, dict[str, float]]:
    """Per series min, median, max, and the median as a ratio to plain DuckDB's; to its median `beside` a series, where it
    took turns with each."""
    found = {}
    for name, values in samples.items():
        scaled = [value * factor for value in values]
        found[name] = {"min": min(scaled), "median": statistics.median(scaled), "max": max(scaled)}
    if compare and PLAIN in found:
        for name, numbers in found.items():
            plain = statistics.median((beside or {}).get(name, samples[PLAIN])) * factor
            numbers["ratio"] = numbers["median"] / plain
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


def document(suite: str, conditions: dict, results: dict, targets: list[Target]) -> dict:
    """A run: `conditions` says what was measured on what, a result has a unit and a summary by series."""
    return {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "suite": suite,
        "conditions": conditions,
        "results": results,
        "targets": [judged for target in targets if (judged := target.judged(results))],
    }


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def show(report: dict) -> None:
    """Median (min to max), then the ratio to plain DuckDB."""
    names = list(dict.fromkeys(name for result in report["results"].values() for name in result["by"]))
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
            f"{verdict} {target['metric']}, {target['series']}: {target['number']} {number(target['measured'])}"
            f" (target {target['relation']} {target['limit']})"
        )


def finish(report: dict, folder: Path) -> None:
    """Shows the report and keeps it as a file."""
    show(report)
    print(f"\nwritten to {save(report, folder)}")


def save(report: dict, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    stamp = report["time"][:19].replace(":", "").replace("-", "")
    file = folder / f"{stamp}-{report['commit']}-{report['suite']}.json"
    file.write_text(json.dumps(report, indent=2) + "\n")
    return file
