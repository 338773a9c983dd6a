"""All parts of a query read one snapshot: money moves between accounts while sums run, the total never changes."""

from __future__ import annotations

import random
import threading
import time

import duckdb

from harness.client import attached, last_statistics

ACCOUNTS = 300_000
TOTAL = ACCOUNTS * 100
SECONDS = 3


def test_the_total_never_changes(any_cluster):
    with attached(any_cluster) as con:
        con.execute(f"CREATE OR REPLACE TABLE dh.accounts AS SELECT range AS id, 100::BIGINT AS money FROM range({ACCOUNTS})")
    stop = threading.Event()
    failures: list[str] = []
    transfers = [0, 0]

    def move_money(number: int) -> None:
        dice = random.Random(number)
        with attached(any_cluster) as con:
            while not stop.is_set():
                # far apart, so that the two accounts are read by different tasks; each writer has its own rows
                low = dice.randrange(0, 100_000) // 2 * 2 + number
                high = dice.randrange(200_000, ACCOUNTS) // 2 * 2 + number
                amount = dice.randrange(1, 50)
                try:
                    con.execute("BEGIN")
                    con.execute("UPDATE dh.accounts SET money = money - ? WHERE id = ?", [amount, low])
                    con.execute("UPDATE dh.accounts SET money = money + ? WHERE id = ?", [amount, high])
                    con.execute("COMMIT")
                    transfers[number] += 1
                except duckdb.Error as error:
                    if "onflict" not in str(error):
                        failures.append(f"writer: {error}")
                        return
                    con.execute("ROLLBACK")

    writers = [threading.Thread(target=move_money, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    sums = 0
    try:
        with attached(any_cluster) as con:
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline and not failures:
                rows = con.execute("SELECT count(*), sum(money) AS total FROM dh.accounts").fetchall()
                if rows != [(ACCOUNTS, TOTAL)]:
                    failures.append(f"query {sums}: {rows}")
                grouped = con.execute("SELECT id % 10, sum(money) AS total_by FROM dh.accounts GROUP BY 1").fetchall()
                if sum(row[1] for row in grouped) != TOTAL:
                    failures.append(f"grouped query {sums}: {grouped}")
                sums += 1
            statistics = last_statistics(con, "AS total FROM")
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert not failures, failures[:3]
    assert min(transfers) > 0 and sums > 0
    assert statistics["execution_mode"] in ("NATURAL_PARTITION", "ROW_GROUP_PARTITION")
    assert statistics["num_workers_used"] == any_cluster.expected_workers


def test_rows_come_and_go_by_whole_batches(any_cluster):
    """Writers add and delete 1,000 rows at once: every count is a multiple of it."""
    with attached(any_cluster) as con:
        con.execute("CREATE OR REPLACE TABLE dh.batches AS SELECT range % 300 AS batch, range AS v FROM range(300_000)")
    stop = threading.Event()
    failures: list[str] = []

    def churn() -> None:
        batch = 300
        with attached(any_cluster) as con:
            while not stop.is_set():
                con.execute("INSERT INTO dh.batches SELECT ?, range FROM range(1000)", [batch])
                con.execute("DELETE FROM dh.batches WHERE batch = ?", [batch - 300])
                batch += 1

    writer = threading.Thread(target=churn)
    writer.start()
    try:
        with attached(any_cluster) as con:
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                (count,) = con.execute("SELECT count(v) FROM dh.batches").fetchone()
                if count not in (300_000, 301_000):
                    failures.append(f"{count} rows")
                odd = con.execute("SELECT batch, count(*) FROM dh.batches GROUP BY batch HAVING count(*) <> 1000").fetchall()
                if odd:
                    failures.append(f"parts of batches: {odd[:3]}")
    finally:
        stop.set()
        writer.join()
    assert not failures, failures[:3]


def test_the_parts_of_a_statement_read_one_snapshot(any_cluster):
    """What a statement that also reads local rows asks the driver for: the first part must not run ahead."""
    with attached(any_cluster) as con:
        con.execute("CREATE OR REPLACE TABLE dh.counters AS SELECT range AS id, 0 AS v FROM range(150_000)")
    stop = threading.Event()

    def count() -> None:
        with attached(any_cluster) as con:
            while not stop.is_set():
                con.execute("UPDATE dh.counters SET v = v + 1")

    writer = threading.Thread(target=count)
    writer.start()
    seen = set()
    try:
        with attached(any_cluster) as con:
            con.execute("CREATE TABLE here AS SELECT 1 AS one")
            least, most = time.monotonic() + SECONDS, time.monotonic() + 60
            while time.monotonic() < (least if len(seen) > 1 else most):
                first, second = con.execute(
                    "SELECT a.total, b.total FROM (SELECT sum(v) AS total FROM dh.counters) a, "
                    "(SELECT sum(v) AS total FROM dh.counters WHERE id >= 0) b, here"
                ).fetchone()
                assert first == second
                seen.add(first)
    finally:
        stop.set()
        writer.join()
    assert len(seen) > 1
