"""Drivers and workers as separate processes on ports of their own choosing.

A process is ready when it has printed `listening on HOST:PORT`; everything it prints is kept in a file, whose end is
shown when something goes wrong.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIST = Path(os.environ.get("DUCKHERDER_DIST", ROOT / "dist"))
BINARY = DIST / "duckherder"
EXTENSION = DIST / "duckherder.duckdb_extension"

_LISTENING = re.compile(r"listening on (\S+):(\d+)")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class ServerProcess:
    """One running program that listens on a port; a context manager that stops it."""

    def __init__(self, command: list[str | os.PathLike], start_timeout_s: float = 60):
        self.log = tempfile.NamedTemporaryFile("w+b", prefix="duckherder-", suffix=".log")
        self.process = subprocess.Popen(
            [str(part) for part in command], stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        self.host, self.port = self._wait_until_listening(start_timeout_s)

    def _wait_until_listening(self, timeout_s: float) -> tuple[str, int]:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = _LISTENING.search(self.output())
            if found:
                return found.group(1), int(found.group(2))
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        self.kill()
        raise RuntimeError(f"{self.process.args} did not come up:\n{self.output()[-2000:]}")

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def location(self) -> str:
        return f"{self.host}:{self.port}"

    def output(self) -> str:
        """Everything the program has printed, without colours."""
        return _ANSI.sub("", Path(self.log.name).read_text(errors="replace"))

    def memory_bytes(self) -> int:
        """Resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"process {self.pid} has ended")

    def cpu_seconds(self) -> float:
        """Processor time used since the start."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """Ends the program as a power cut would."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self, with_signal: int = signal.SIGTERM, timeout_s: float = 60) -> int:
        """Asks the program to end; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"{self.process.args} ignored signal {with_signal}:\n{self.output()[-2000:]}") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.log.close()


class Driver(ServerProcess):
    def __init__(self, workers: int = 0, *arguments: str):
        super().__init__([BINARY, "driver", "--listen", "127.0.0.1:0", "--workers", str(workers), *arguments])


class Worker(ServerProcess):
    def __init__(self, worker_id: str, *arguments: str):
        self.worker_id = worker_id
        super().__init__([BINARY, "worker", "--listen", "127.0.0.1:0", "--id", worker_id, *arguments])


class Cluster:
    """A driver with local workers (threads of its process), remote workers (their own processes), or both. With `stored`,
    its databases are in a storage that the workers reach, too."""

    def __init__(
        self,
        local_workers: int = 0,
        remote_workers: int = 0,
        driver_arguments: tuple[str, ...] = (),
        worker_arguments: tuple[str, ...] = (),
        stored: bool = False,
    ):
        self.storage = tempfile.TemporaryDirectory(prefix="duckherder-storage-") if stored else None
        if self.storage:
            driver_arguments = (*driver_arguments, "--storage", f"file://{self.storage.name}")
        self.driver = Driver(local_workers, *driver_arguments)
        self.workers: list[Worker] = []
        self.expected_workers = local_workers + remote_workers
        try:
            for number in range(remote_workers):
                self.workers.append(Worker(f"remote-{number + 1}", *worker_arguments))
            if self.workers:
                self._register()
        except BaseException:
            self.close()
            raise

    def _register(self) -> None:
        from harness.client import attached

        with attached(self.driver) as con:
            for worker in self.workers:
                con.execute("SELECT duckherder_register_worker(?, ?)", [worker.worker_id, f"grpc://{worker.location}"])
                con.fetchall()

    @property
    def port(self) -> int:
        return self.driver.port

    def close(self) -> None:
        for process in [*self.workers, self.driver]:
            process.kill()
        if self.storage:
            self.storage.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def free_port() -> int:
    """A port nobody listens on just now, and that the system gives to nobody who asks for any (Linux: from 32,768)."""
    import random
    import socket

    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def fails_to_start(*arguments) -> str:
    """What a driver says that can't be started so."""
    done = subprocess.run([BINARY, "driver", "--listen", "127.0.0.1:0", *arguments], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1, done
    return done.stderr
