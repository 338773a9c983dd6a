"""What EXPLAIN ANALYZE says of tasks: rows, bytes, CPU and wall time, and how uneven they are."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from e2e.test_interrupt import wait_until_idle
from e2e.test_spill import processes
from harness.client import attached, last_statistics
from harness.cluster import Cluster
from harness.distribution import distribute
from harness.wait import timely

KINDS = {"local": (2, 0), "remote": (0, 2)}
TASK = re.compile(
    r"(?P<worker>\S+) of (?P<part>.+): (?P<rows>\d+) rows, (?P<bytes>\d+) bytes, (?P<spilled>\d+) bytes spilled"
    r"(?:, (?P<cached>\d+) inputs? cached)?, (?P<cpu>[\d.]+) ms CPU, (?P<wall>[\d.]+) ms wall"
)
SKEW = re.compile(r"rows (\S+), CPU (\S+), wall (\S+) \(the most of a task / the median of (\d+)\)")
#: Keeps a core busy.
WORK = "sum(hash(sha256(sha256(sha256(s)))) % 7)"


@pytest.fixture(scope="module", params=KINDS)
def cluster(request):
    local, remote = KINDS[request.param]
    with Cluster(local_workers=local, remote_workers=remote) as running:
        with attached(running) as con:
            con.execute(
                "CREATE TABLE dh.t AS SELECT range AS i, range % 1000 AS k, range::VARCHAR AS s FROM range(983040)"
            )
        yield running


def analyzed(con, sql: str) -> dict[str, str]:
    """What EXPLAIN ANALYZE says of the exchange in a query's plan."""
    con.execute("SET duckherder_distribution = 'always'")
    plan = json.loads(con.execute("EXPLAIN (ANALYZE, FORMAT json) " + sql).fetchall()[0][1])

    def lines(node) -> dict[str, str]:
        if isinstance(node, list):
            return {key: value for part in node for key, value in lines(part).items()}
        return {**node.get("extra_info", {}), **lines(node.get("children", []))}

    return lines(plan["operator"])


def tasks_of(lines: dict[str, str]) -> dict[str, dict]:
    found = {name: TASK.fullmatch(line) for name, line in lines.items() if name.startswith("Task")}
    assert found and all(found.values()), lines
    return {name: match.groupdict() for name, match in found.items()}


def cpu_seconds(cluster) -> float:
    """CPU time that the processes of a cluster have had."""
    ticks = 0
    for process in processes(cluster):
        with open(f"/proc/{process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def test_cpu_time_is_what_the_processes_had(cluster):
    with attached(cluster) as con:
        con.execute(f"SELECT {WORK} FROM dh.t").fetchall()
        # workers elsewhere keep what they have read
        wait_until_idle(cluster, 20)
        before = cpu_seconds(cluster)
        tasks = tasks_of(analyzed(con, f"SELECT k % 10, {WORK} FROM dh.t GROUP BY ALL"))
        had = cpu_seconds(cluster) - before
    assert len(tasks) > 1 and {task["rows"] for task in tasks.values()} == {"10"}
    counted = sum(float(task["cpu"]) for task in tasks.values()) / 1000
    # threads of all kinds worked for the tasks; the rest is the network's, and what waiting costs on a busy machine
    assert counted < had + 0.05, tasks
    timely(counted > 0.5 * had - 0.05, tasks)


def test_waiting_is_no_work(cluster):
    """Tasks of the second stage wait for those of the first."""
    with attached(cluster) as con:
        lines = analyzed(con, "SELECT row_number() OVER (PARTITION BY k ORDER BY sha256(s)) FROM dh.t WHERE i % 4 = 0")
    tasks = tasks_of(lines)
    first = {name: task for name, task in tasks.items() if name.startswith("Task 0.")}
    second = {name: task for name, task in tasks.items() if name.startswith("Task 1.")}
    assert len(first) > 1 and len(second) > 1, lines
    assert sum(int(task["rows"]) for task in first.values()) == 983040 / 4
    assert all(float(task["cpu"]) > 0 for task in tasks.values())
    # each task may use all threads of the driver, but not while it waits
    wall = sum(float(task["wall"]) for task in second.values())
    assert sum(float(task["cpu"]) for task in second.values()) < wall * os.cpu_count()
    assert SKEW.fullmatch(lines["Skew 0"]) and SKEW.fullmatch(lines["Skew 1"])


def test_an_uneven_stage(cluster):
    with attached(cluster) as con:
        even = analyzed(con, "SELECT i FROM dh.t WHERE k >= 0")
        uneven = analyzed(con, f"SELECT i FROM dh.t WHERE CASE WHEN i < 983040 / 8 THEN i % 2 = 0 ELSE i % 100000 = 3 END")
    assert SKEW.fullmatch(even["Skew"])[1] == "1.00"
    assert float(SKEW.fullmatch(uneven["Skew"])[1]) > 1.9
    assert SKEW.fullmatch(uneven["Skew"])[4] == str(len(tasks_of(uneven)))


def test_a_plan_that_is_kept_is_measured_too(cluster):
    sql = f"SELECT k % 10, {WORK} FROM dh.t GROUP BY ALL"
    with attached(cluster) as con:
        con.execute("SET duckherder_distribution = 'always'")
        for _ in range(3):
            con.execute(sql).fetchall()
            assert all(float(task["cpu"]) > 1 for task in tasks_of(analyzed(con, sql)).values())


def test_one_task_has_no_skew(cluster):
    with attached(cluster) as con:
        con.execute("CREATE OR REPLACE TABLE dh.small AS FROM range(5000)")
        lines = analyzed(con, "SELECT sum(range) FROM dh.small")
    assert len(tasks_of(lines)) == 1
    assert not any(name.startswith("Skew") for name in lines)


def test_what_was_expected_stands_beside_what_was(cluster):
    with attached(cluster) as con:
        lines = analyzed(con, "SELECT k, sum(i) FROM dh.t GROUP BY k")
        stage = re.search(r"; estimated (\d+) rows, ([\d.]+) ms; actual (\d+) rows, ([\d.]+) ms", lines["Stage 0"])
        tasks = tasks_of(lines).values()
    assert stage, lines
    assert int(stage[3]) == sum(int(task["rows"]) for task in tasks) == 1000 * len(tasks)
    # from the distinct values of k, which are an estimate themselves: 1,249 for 1,000
    assert 0.8 * int(stage[3]) < int(stage[1]) < 1.5 * int(stage[3]), lines
    assert float(stage[4]) == max(float(task["wall"]) for task in tasks)
    cost = r"local [\d.]+ ms, distributed [\d.]+ ms \(1 stage\): duckherder_distribution is 'always'"
    assert re.fullmatch(cost, lines["Cost"]), lines


#: Several readers on the driver; tasks whose rows go to other tasks; rows that are sorted.
SHOWN = [
    "SELECT i FROM dh.t WHERE k % 3 = 0",
    "SELECT k, row_number() OVER (PARTITION BY k ORDER BY i) FROM dh.t WHERE i % 16 = 0",
    "SELECT i FROM dh.t WHERE k = 5 ORDER BY s",
]


@pytest.mark.parametrize("kind", ["local-4", "remote-4"])
def test_every_task_is_shown(kind):
    """Also one that ends after its rows have been read, and whoever of the readers is done last."""
    workers = {"local-4": (4, 0), "remote-4": (0, 4)}[kind]
    with Cluster(*workers, driver_arguments=("--threads", "8")) as cluster, attached(cluster) as con:
        con.execute("CREATE TABLE dh.t AS SELECT range AS i, range % 1000 AS k, range::VARCHAR AS s FROM range(983040)")
        for repetition in range(40):
            for sql in SHOWN:
                lines = analyzed(con, f"{sql} /* shown {repetition} */")
                generated = last_statistics(con, f"/* shown {repetition} */")["num_tasks_generated"]
                assert len(tasks_of(lines)) == generated >= 4, lines


@pytest.mark.parametrize("kind", ["local-4", "remote-2"])
def test_tasks_are_shown_whose_rows_nobody_wants_any_more(kind):
    """Whether they have ended by then, or were stopped, is a matter of time."""
    workers = {"local-4": (4, 0), "remote-2": (0, 2)}[kind]
    with Cluster(*workers) as cluster, attached(cluster) as con:
        con.execute("CREATE TABLE dh.t AS SELECT range AS i FROM range(6000000)")
        assert distribute(con, "always")
        lines = analyzed(con, "SELECT i FROM dh.t WHERE i % 2 = 0 LIMIT 3")
        tasks = [line for name, line in lines.items() if name.startswith("Task")]
        stopped = re.compile(r"\S+ of .+: stopped, nobody wanted more rows")
        assert tasks and all(TASK.fullmatch(line) or stopped.fullmatch(line) for line in tasks), lines


def test_ten_million_groups_pass_through_no_single_machine():
    groups, twice = 10_000_000, 500
    sql = "SELECT k, count(*) FROM {} GROUP BY k HAVING count(*) > 1"
    with Cluster(remote_workers=4) as running, attached(running) as con:
        con.execute(
            f"CREATE TABLE dh.many AS SELECT range * 7919 % {groups} AS k FROM range({groups}) "
            f"UNION ALL SELECT range * 20000 FROM range({twice})"
        )
        before = running.driver.memory_bytes()
        Path(f"/proc/{running.driver.pid}/clear_refs").write_text("5", encoding="ascii")  # the peak is that of today
        tasks = [task for name, task in tasks_of(analyzed(con, sql.format("dh.many"))).items() if name.startswith("Task 1.")]
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{running.driver.pid}/status").read_text(encoding="ascii"))
        found = con.execute(sql.format("dh.many")).fetchall()
    assert sorted(found) == [(20000 * k, 2) for k in range(twice)]
    assert len({task["worker"] for task in tasks}) == 4 and sum(int(task["rows"]) for task in tasks) == twice
    assert max(int(task["rows"]) for task in tasks) < twice / 2, tasks
    # rows on their way to workers; the hash table of so many groups takes twice as much
    assert int(peak[1]) * 1024 - before < 25 * groups, (peak[1], before)
