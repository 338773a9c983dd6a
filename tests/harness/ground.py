"""Hosts on one machine: network namespaces, and the switch between them. Run by `harness.network`.

    python ground.py '{"hosts": ["driver", "w1"], "seed": 1, "disks": {"/path": 64}}'

Each host has a namespace with one device (TUN) of the address 10.77.0.N, and this process has the other ends of all of
them: it passes on what comes, later, not at all, or at once. `tc netem` would do the same, but is no part of many
kernels, those of light virtual machines among them. `disks` are file systems in memory, in a mount namespace of this
process, of so many MiB.

Nothing of this has a name outside the process: it ends when its input does, and all is gone with the last process in a
namespace, however that has ended.

A line of input, `{"delay_ms": 20, "loss": 0.01, "cut": [["driver", "w1"]]}`, is how the links are from then on; `ok` is
the answer.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import socket
import struct
import sys
import time

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFMTU, SIOCSIFTXQLEN = 0x8914, 0x8916, 0x891C, 0x8922, 0x8943
IFF_UP_RUNNING = 0x1 | 0x40
MTU = 9000
QUEUE_PACKETS = 5000
# Of one host, before others have their turn.
PACKETS_A_TURN = 64

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def up(device: bytes, address: str | None) -> None:
    """Switches a device of the current namespace on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        if address:
            for request, value in [(SIOCSIFADDR, address), (SIOCSIFNETMASK, "255.255.255.0")]:
                sockaddr = struct.pack("<HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
                fcntl.ioctl(control, request, struct.pack("16s16s", device, sockaddr))
            for request, number in [(SIOCSIFMTU, MTU), (SIOCSIFTXQLEN, QUEUE_PACKETS)]:
                fcntl.ioctl(control, request, struct.pack("16si12x", device, number))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", device, IFF_UP_RUNNING))


def new_host(address: str) -> tuple[int, int]:
    """A namespace: what names it, and its device's other end."""
    checked(libc.unshare(CLONE_NEWNET))
    namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    up(b"lo", None)
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", b"eth0", IFF_TUN | IFF_NO_PI))
    up(b"eth0", address)
    return namespace, tun


class Switch:
    """Between the hosts, which it knows by their places."""

    def __init__(self, tuns: list[int], seed: int):
        self.tuns = tuns
        self.draw = random.Random(seed).random
        self.delay_s = 0.0
        self.loss = 0.0
        self.cut: set[tuple[int, int]] = set()
        self.late: list[tuple[float, int, int, bytes]] = []
        self.count = 0

    def turn(self, sender: int) -> None:
        """Passes on what a host has sent."""
        for _ in range(PACKETS_A_TURN):
            try:
                packet = os.read(self.tuns[sender], 65536)
            except BlockingIOError:
                return
            # IPv4, to 10.77.0.N
            receiver = packet[19] - 1
            if packet[0] >> 4 != 4 or not 0 <= receiver < len(self.tuns) or (sender, receiver) in self.cut:
                continue
            if self.loss and self.draw() < self.loss:
                continue
            if self.delay_s or self.late:
                self.count += 1
                heapq.heappush(self.late, (time.monotonic() + self.delay_s, self.count, receiver, packet))
            else:
                self.deliver(receiver, packet)

    def deliver(self, receiver: int, packet: bytes) -> None:
        try:
            os.write(self.tuns[receiver], packet)
        except OSError:
            # As a full queue does.
            pass

    def due(self) -> float:
        """Delivers what is due; how long until something else is."""
        while self.late:
            wait = self.late[0][0] - time.monotonic()
            if wait > 0:
                return wait
            _, _, receiver, packet = heapq.heappop(self.late)
            self.deliver(receiver, packet)
        return -1


def main() -> None:
    # Prepared by whoever started this.
    wanted = json.loads(sys.argv[1])
    checked(libc.unshare(CLONE_NEWNS))
    checked(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    for path, size_mib in wanted["disks"].items():
        checked(libc.mount(b"tmpfs", path.encode(), b"tmpfs", 0, f"size={size_mib}m".encode()))
    hosts = [new_host(f"10.77.0.{number + 1}") for number in range(len(wanted["hosts"]))]
    switch = Switch([tun for _, tun in hosts], wanted["seed"])
    places = {name: place for place, name in enumerate(wanted["hosts"])}
    print(json.dumps([namespace for namespace, _ in hosts]), flush=True)

    poll = select.epoll()
    poll.register(0, select.EPOLLIN)
    senders = {tun: place for place, tun in enumerate(switch.tuns)}
    for tun in switch.tuns:
        poll.register(tun, select.EPOLLIN)
    while True:
        for ready, _ in poll.poll(switch.due()):
            if ready in senders:
                switch.turn(senders[ready])
                continue
            line = sys.stdin.buffer.readline()
            if not line:
                return
            links = json.loads(line)
            switch.delay_s, switch.loss = links["delay_ms"] / 1000, links["loss"]
            switch.cut = {(places[a], places[b]) for a, b in links["cut"]}
            print("ok", flush=True)


if __name__ == "__main__":
    main()
