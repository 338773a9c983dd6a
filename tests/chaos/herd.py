"""The processes that are harmed: a driver and its standby, four workers, and whoever starts again what has ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

from chaos.schedule import ACTIVE, CLIENTS, DRIVERS, WORKERS, Fault
from harness.cluster import ServerProcess
from harness.faults import Faults
from harness.network import Network

TAKEOVER_AFTER_S = 5
WORKER_TIMEOUT_S = 5
# MiB of each host's disk for temporary files.
TEMPORARY_MIB = 400
ADDRESSES = "10.77.0.1:8815,10.77.0.2:8815"
# What a process that ends by itself may end with: drivers that another one has fenced end with 1.
ENDS = {0, 1, -signal.SIGKILL}


class Herd:
    """Everything but the clients; `folder`: for all that they write. `stored`: the databases are in a storage that
    all of them reach; otherwise, in a directory of the drivers."""

    def __init__(self, folder: Path, seed: int, stored: bool):
        self.folder = folder
        self.home = folder / ("bucket" if stored else "data")
        self.databases = ["--storage", f"file://{self.home}"] if stored else ["--data", self.home]
        hosts = [*DRIVERS, *WORKERS, *CLIENTS]
        disks = {folder / f"temporary-{host}": TEMPORARY_MIB for host in [*DRIVERS, *WORKERS]}
        self.network = Network(hosts, seed, disks)
        self.links = threading.Lock()
        self.faults = {host: Faults(folder, host) for host in [*DRIVERS, *WORKERS]}
        self.clients: dict[str, list] = {client: [] for client in CLIENTS}
        self.servers: dict[str, ServerProcess] = {}
        self.logs: list[str] = []
        self.not_before: dict[str, float] = {}
        self.counts: Counter = Counter()
        self.problems: list[str] = []
        self.ended = threading.Event()
        self.poor: list[Fault] = []
        try:
            for host in [*DRIVERS, *WORKERS]:
                self.start(host)
        except BaseException:
            self.network.close()
            raise
        self.keeper = threading.Thread(target=self._keep)
        self.keeper.start()

    def start(self, host: str) -> None:
        common = ["--temp-directory", self.folder / f"temporary-{host}", "--memory-limit", "1GiB", "--threads", "2"]
        prefix = self.faults[host].prefix()
        if host in DRIVERS:
            # Nothing can take the place of a driver that has never been.
            own = ["--standby", "--takeover-after", str(TAKEOVER_AFTER_S)] if self.home.exists() else []
            own += [*self.databases, "--worker-timeout", str(WORKER_TIMEOUT_S)]
            server = self.network.driver(host, *own, *common, prefix=prefix)
        else:
            server = self.network.worker(host, ADDRESSES, "--cache-directory", self.folder / f"temporary-{host}", *common, prefix=prefix)
        self.servers[host] = server

    def _keep(self) -> None:
        """Starts again what has ended, as whatever runs services does."""
        while not self.ended.wait(0.1):
            for host, server in list(self.servers.items()):
                ended = server.process.poll()
                if ended is None or time.monotonic() < self.not_before.get(host, 0):
                    continue
                if server in self.network.processes:
                    self.counts[f"{'driver' if host in DRIVERS else 'worker'} ended with {ended}"] += 1
                    self.note_end(host, server)
                    self.network.processes.remove(server)
                try:
                    self.start(host)
                except RuntimeError as error:
                    # With a full disk it may not come up; it is tried again.
                    self.counts[f"{host} did not come up"] += 1
                    self.logs.append(str(error))
                    self.not_before[host] = time.monotonic() + 1

    def note_end(self, host: str, server: ServerProcess) -> None:
        output = server.output()
        self.logs.append(f"--- {host}, ended with {server.process.returncode}:\n{output}")
        if server.process.returncode not in ENDS or "panicked" in output:
            self.problems.append(f"{host} ended with {server.process.returncode}:\n{output[-3000:]}")
        server.log.close()

    def active(self) -> str:
        """The driver's host; any of them while there is none."""
        for host in DRIVERS:
            server = self.servers[host]
            says = "this standby is the driver now" if "--standby" in server.process.args else "driver listens"
            if server.process.poll() is None and says in server.output():
                return host
        return DRIVERS[0]

    # Faults.

    def begin(self, fault: Fault):
        """Does it; what undoes it."""
        hosts = tuple(self.active() if host == ACTIVE else host for host in fault.hosts)
        self.counts[f"{fault.kind} {''.join(c for c in fault.hosts[0] if c.isalpha())}" + (f"-{hosts[1][0]}" if len(hosts) > 1 else "")] += 1
        host = hosts[0]
        if fault.kind in ("kill", "end", "stop") and host in CLIENTS:
            for client in self.clients[host][:1]:
                os.kill(client.pid, signal.SIGKILL)
            return lambda: None
        if fault.kind in ("kill", "end"):
            self.not_before[host] = time.monotonic() + fault.lasts_s
            self.signal(self.servers[host], signal.SIGKILL if fault.kind == "kill" else signal.SIGTERM)
            return lambda: None
        if fault.kind == "stop":
            server = self.servers[host]
            self.signal(server, signal.SIGSTOP)
            return lambda: self.signal(server, signal.SIGCONT)
        if fault.kind in ("cut", "cut off"):
            self.cut(hosts)
            return lambda: self.heal(hosts)
        if fault.kind == "poor network":
            self.weather(fault, True)
            return lambda: self.weather(fault, False)
        kind = {
            "full disk": {"disk_full": True},
            "slow disk": {"disk_delay_ms": 1 + 30 * fault.strength},
            "clock": {"clock_ahead_s": 86_400 * (1 - 2 * fault.strength) ** 3 * 400},
        }[fault.kind]
        self.faults[host].set(**kind)
        return lambda: self.faults[host].set()

    def signal(self, server: ServerProcess, number: int) -> None:
        if server.process.poll() is None:
            server.process.send_signal(number)

    def cut(self, hosts) -> None:
        with self.links:
            self.network.cut(*hosts)

    def heal(self, hosts) -> None:
        with self.links:
            self.network.heal(*hosts)

    def weather(self, fault: Fault, begins: bool) -> None:
        with self.links:
            self.poor = [*self.poor, fault] if begins else [other for other in self.poor if other is not fault]
            worst = max((other.strength for other in self.poor), default=0)
            self.network.links(delay_ms=50 * worst, loss=0.03 * worst)

    def memory(self) -> dict[str, int]:
        """MiB of each process."""
        return {host: server.memory_bytes() >> 20 for host, server in self.servers.items()}

    def handles(self) -> dict[str, int]:
        """Open files and connections of each process."""
        return {host: len(os.listdir(f"/proc/{server.pid}/fd")) for host, server in self.servers.items()}

    def stop(self) -> None:
        """All end as they are told."""
        self.ended.set()
        self.keeper.join()
        for host in [*WORKERS, *sorted(DRIVERS, key=lambda host: host == self.active())]:
            server = self.servers[host]
            if server.process.poll() is None:
                try:
                    code = server.stop(timeout_s=30)
                    if code != 0:
                        self.problems.append(f"{host}, told to end, ended with {code}:\n{server.output()[-3000:]}")
                except RuntimeError as error:
                    self.problems.append(str(error))
            self.note_end(host, server)
        if left := self.network.processes_there():
            self.problems.append(f"processes that are left: {left}")

    def close(self) -> None:
        self.ended.set()
        self.keeper.join()
        for host, server in self.servers.items():
            if not server.log.closed:
                self.logs.append(f"--- {host}, at the end:\n{server.output()}")
        self.network.close()
