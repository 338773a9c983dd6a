"""A random load over several drivers that die, hang or are told to end: every state is that of plain DuckDB."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import duckdb
import pytest

from e2e.test_standby import Standby, places, wait_for_end
from harness import load
from harness.client import loaded
from harness.cluster import BINARY, ServerProcess, free_port
from harness.seed import drawn_seed
from harness.wait import wait_for


# What a writer may hear of a driver that is gone, or that is told to end while a statement runs on.
SAID = ["Interrupted!", "not known", "transaction is lost", "has lost the transaction", "nothing was done", "lost the duckherder driver", "does not answer, and another one"]


class Follower(load.Writer):
    """A random load over several drivers; after each loss it finds out what was carried out."""

    def __init__(self, number: int, seed: int, addresses: str):
        super().__init__(number, seed)
        self.addresses = addresses
        self.losses = 0

    def attach(self, con, server) -> None:
        con.execute(f"ATTACH '{self.addresses}' AS dh (TYPE duckherder)")

    def _run(self, server, stop: threading.Event) -> None:
        try:
            con = loaded()
            self.local_rows(con)
            self.attach(con, server)
            while not stop.is_set():
                self.step(con)
            con.close()
        except Exception as error:  # noqa: BLE001: told by `check`
            self.failure = f"{self.pending}: {error}"

    def step(self, con) -> None:
        self.pending = self.operation()
        try:
            if self._send(con, self.pending):
                self._expect(self.pending)
            self.acknowledged += 1
            self.pending = None
            return
        except duckdb.Error as error:
            if not any(text in str(error) for text in SAID):
                raise
        self.losses += 1
        try:
            con.execute("ROLLBACK")
        except duckdb.TransactionException:
            pass
        found, wanted = self.state(con), self.state(self.expected)
        if found != wanted:
            self.undecided += 1
            self._expect(self.pending)
            without, wanted = wanted, self.state(self.expected)
            assert found == wanted, f"after {self.pending}:\n{load.difference(found, without)}\n---\n{load.difference(found, wanted)}"
        self.pending = None


TAKEOVERS = int(os.environ.get("DUCKHERDER_TAKEOVERS", "6"))


@pytest.mark.timeout(300 + 40 * TAKEOVERS)
def test_a_load_of_everything(tmp_path):
    """Drivers are killed, told to end, stopped for longer than a standby waits, and for about as long: whoever has the
    databases in the end has all that was acknowledged, and of the rest all of a transaction or nothing.
    `DUCKHERDER_TAKEOVERS=100` for more of them, `DUCKHERDER_SEED` to draw the same again."""
    seed = drawn_seed()
    draw = random.Random(seed)
    data, after = tmp_path / "data", 4.0
    ports = [free_port(), free_port()]
    herd = [ServerProcess([BINARY, "driver", "--listen", f"127.0.0.1:{ports[0]}", "--data", data])]
    ways = []
    try:
        herd.append(Standby(["--data", data], after=after, port=ports[1]))
        writers = [Follower(number, seed, places(*herd)) for number in range(3)]
        for writer in writers:
            writer.set_up(herd[0])
        stop = threading.Event()
        for writer in writers:
            writer.start(herd[0], stop)
        for _ in range(TAKEOVERS):
            time.sleep(draw.uniform(0.3, 2))
            active, standby = herd
            way = draw.choice(["kill", "end", "long", "about"])
            ways.append(way)
            if way == "kill":
                active.kill()
            elif way == "end":
                active.process.send_signal(signal.SIGTERM)
            else:
                os.kill(active.pid, signal.SIGSTOP)
                if way == "long":
                    wait_for(standby.is_active)
                else:
                    time.sleep(after * draw.uniform(1.0, 1.4))
                os.kill(active.pid, signal.SIGCONT)
            if way == "about":
                # It may have been in time. If it was not, it ends within its heartbeat.
                time.sleep(3)
                if active.process.poll() is None and "taking over from it" not in standby.output():
                    ways[-1] = "in time"
                    continue
            wait_for(standby.is_active)
            ended = wait_for_end(active)
            expected = {"kill": -signal.SIGKILL, "end": 0}.get(way, 1)
            if ended != expected and "the driver is silent: taking over from it" in standby.output():
                # On a busy machine it may have come too late with its heartbeat, by itself.
                ways[-1], expected = "late", 1
            assert ended == expected, active.output()
            herd = [standby, Standby(["--data", data], after=after, port=active.port)]
        stop.set()
        for writer in writers:
            writer.thread.join()
        for writer in writers:
            writer.check(None)
        print(f"{ways}: {sum(w.acknowledged for w in writers)} transactions acknowledged, {sum(w.losses for w in writers)} lost on the way, {sum(w.undecided for w in writers)} of them carried out")
    finally:
        for server in herd:
            if server.process.poll() is None:
                os.kill(server.pid, signal.SIGCONT)
            print(server.output())
            server.kill()
