"""Hosts with addresses of their own on one machine, whose links can be slow, lose packets, and be cut.

    with Network(["driver", "w1", "client"]) as network:
        driver = network.driver("driver", "--data", folder)
        network.worker("w1", driver)
        with network.client("client", driver) as con:
            network.cut("driver", "w1")

A cut link is one that swallows packets: nobody hears that it is cut. Processes on a host are in its network namespace
(`harness.ground`), and all see the same files. That takes root on Linux: `why_not` says what is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from functools import lru_cache
from pathlib import Path

import pytest

from harness.cluster import BINARY, ServerProcess
from harness.far_client import FarClient

GROUND = Path(__file__).with_name("ground.py")


class Network:
    """`disks`: directories, with their sizes in MiB, that get a file system of their own (see `inside`)."""

    def __init__(self, hosts: list[str], seed: int = 0, disks: dict[Path, int] | None = None):
        self.addresses = {name: f"10.77.0.{number + 1}" for number, name in enumerate(hosts)}
        self.delay_ms = 0.0
        self.loss = 0.0
        self.cuts: set[tuple[str, str]] = set()
        self.processes: list[ServerProcess | FarClient] = []
        for path in disks or {}:
            Path(path).mkdir(parents=True, exist_ok=True)
        wanted = {"hosts": hosts, "seed": seed, "disks": {str(path): size for path, size in (disks or {}).items()}}
        self.ground = subprocess.Popen(
            [sys.executable, str(GROUND), json.dumps(wanted)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        first = self.ground.stdout.readline()
        if not first:
            self.close()
            raise OSError("no network namespaces: see above for what was refused")
        self.namespaces = dict(zip(hosts, json.loads(first)))

    def enter(self, host: str) -> list[str]:
        """Before a command, for it to run on the host."""
        here = f"/proc/{self.ground.pid}"
        return ["nsenter", f"--net={here}/fd/{self.namespaces[host]}", f"--mount={here}/ns/mnt", "--"]

    def inside(self, path: Path) -> Path:
        """The path to what processes on the hosts see under `path`, if that is on one of the `disks`."""
        return Path(f"/proc/{self.ground.pid}/root{path}")

    # What runs there.

    def server(self, host: str, command: list, prefix: list[str] = []) -> ServerProcess:  # noqa: B006: only read
        """A program that listens; `prefix` goes before it (`env ...`)."""
        server = ServerProcess([*self.enter(host), *prefix, *command])
        server.name = host
        self.processes.append(server)
        return server

    def driver(self, host: str, *arguments, prefix: list[str] = []) -> ServerProcess:  # noqa: B006: only read
        return self.server(host, [BINARY, "driver", "--listen", f"{self.addresses[host]}:8815", *arguments], prefix)

    def worker(self, host: str, drivers, *arguments, prefix: list[str] = []) -> ServerProcess:  # noqa: B006: only read
        """Joins `drivers`: one, or `host:port,host:port`."""
        drivers = drivers if isinstance(drivers, str) else drivers.location
        command = [BINARY, "worker", "--listen", f"{self.addresses[host]}:8816", "--id", host, "--join", drivers]
        return self.server(host, [*command, *arguments], prefix)

    def client(self, host: str, drivers=None) -> FarClient:
        """A stock DuckDB with the extension, in a process on the host; attached to `drivers` as `dh`, if any are given."""
        client = FarClient(self.enter(host))
        self.processes.append(client)
        if drivers is not None:
            drivers = drivers if isinstance(drivers, str) else drivers.location
            client.execute(f"ATTACH '{drivers}' AS dh (TYPE duckherder)")
        return client

    # The links.

    def links(self, delay_ms: float, loss: float) -> None:
        """All of them: how long a packet takes, and which part is lost."""
        self.delay_ms, self.loss = delay_ms, loss
        self._apply()

    def cut(self, host: str, *others: str) -> None:
        """Nothing passes between the host and the others (all, if none is named) any more."""
        self.cuts |= self._between(host, others)
        self._apply()

    def heal(self, host: str, *others: str) -> None:
        self.cuts -= self._between(host, others)
        self._apply()

    def _between(self, host: str, others) -> set[tuple[str, str]]:
        others = others or [other for other in self.addresses if other != host]
        return {pair for other in others for pair in [(host, other), (other, host)]}

    def _apply(self) -> None:
        wanted = {"delay_ms": self.delay_ms, "loss": self.loss, "cut": sorted(self.cuts)}
        self.ground.stdin.write(json.dumps(wanted) + "\n")
        self.ground.stdin.flush()
        if self.ground.stdout.readline() != "ok\n":
            raise OSError("the switch between the hosts has ended")

    def processes_there(self) -> list[int]:
        """All that run on the hosts, whoever started them."""
        ours = {os.stat(f"/proc/{self.ground.pid}/fd/{number}").st_ino for number in self.namespaces.values()}
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and int(entry.name) != self.ground.pid and os.stat(entry / "ns/net").st_ino in ours:
                    found.append(int(entry.name))
            except OSError:
                # It has ended.
                pass
        return found

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
        self.ground.stdin.close()
        self.ground.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@lru_cache
def why_not() -> str | None:
    """What keeps this machine from having such networks, if anything does."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if not shutil.which("nsenter"):
        return "nsenter (util-linux) is missing"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun is missing, or not for this user"
    try:
        Network(["one", "two"]).close()
    except OSError as error:
        return f"this user may not make network namespaces ({error})"
    return None


def needed() -> None:
    """Skips the test, and says so loudly, where there are no network namespaces."""
    if reason := why_not():
        warnings.warn(f"NOT TESTED: what happens when networks fail, since {reason}", stacklevel=2)
        pytest.skip(reason)
