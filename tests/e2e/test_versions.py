"""Peers of another version: whoever meets one says so, and names both versions."""

from __future__ import annotations

import re
import subprocess

import duckdb
import pyarrow
import pyarrow.flight as flight
import pytest

from harness.client import attach, attached, loaded
from harness.cluster import BINARY, Driver, Worker

HELLO = "type.googleapis.com/duckherder.Hello"


def field(number: int, value: int | str | bytes) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def packed(name: str, message: bytes) -> bytes:
    return field(1, name) + field(2, message)


def hello(protocol: int, role: str) -> bytes:
    return packed(HELLO, field(1, protocol) + field(2, f"0.{protocol}.0") + field(3, role))


def ask(server, name: str, message: bytes) -> bytes:
    with flight.connect(f"grpc://{server.location}") as client:
        return b"".join(answer.body.to_pybytes() for answer in client.do_action(flight.Action(name, packed(name, message))))


@pytest.fixture(scope="module")
def own(driver) -> int:
    """The version that all speak."""
    found = re.search(rb"duckherder\.Hello\x12.\x08(.)", ask(driver, HELLO, b""), re.DOTALL)
    return found[1][0]


@pytest.fixture(scope="module")
def driver():
    with Driver(1) as driver:
        yield driver


@pytest.fixture(params=[-1, 1], ids=["older", "newer"])
def other(own, request) -> int:
    return own + request.param


class Peer(flight.FlightServerBase):
    """A driver or worker of another version, which knows nothing but its own messages."""

    def __init__(self, protocol: int, role: str):
        super().__init__("grpc://127.0.0.1:0")
        self.protocol, self.role, self.asked = protocol, role, []
        self.location = f"127.0.0.1:{self.port}"

    def do_action(self, context, action):
        self.asked.append(action.type)
        if action.type != HELLO:
            raise flight.FlightServerError(f"this {self.role} knows no '{action.type}'")
        return [hello(self.protocol, self.role)]


def test_a_client_meets_a_driver(own, other):
    says = f"speaks Duckherder's protocol {other} \\(Duckherder 0.{other}.0\\), this client protocol {own} \\(Duckherder .+\\): use the same version"
    with Peer(other, "driver") as peer:
        with loaded() as con, pytest.raises(duckdb.IOException, match=says):
            attach(con, peer)
        for command in [["status", peer.location], ["backup", "sales", "/tmp/never", "--driver", peer.location]]:
            done = subprocess.run([BINARY, *command], capture_output=True, text=True, timeout=60)
            assert done.returncode == 1 and re.search(says, done.stderr), done
        assert set(peer.asked) == {HELLO}


def test_a_driver_meets_a_worker(driver, own, other):
    says = f"'w'.*speaks Duckherder's protocol {other} \\(Duckherder 0.{other}.0\\), this driver protocol {own} \\(Duckherder .+\\): use the same version"
    with Peer(other, "worker") as peer, attached(driver) as con:
        with pytest.raises(duckdb.Error, match=says):
            con.execute("SELECT duckherder_register_worker('w', ?)", [f"grpc://{peer.location}"]).fetchall()
        assert con.execute("SELECT count(*) FROM duckherder_workers() WHERE worker_id = 'w'").fetchone() == (0,)
        assert set(peer.asked) == {HELLO}


def test_a_driver_is_called_by_others(driver, own, other):
    """It answers a greeting, with its own version, and takes nothing else: not from a client, not from a worker."""
    assert ask(driver, HELLO, field(1, other)) == ask(driver, HELLO, b"")
    says = f"this driver speaks Duckherder's protocol {own} \\(Duckherder .+\\), its peer protocol {other}: use the same version"
    with pytest.raises(pyarrow.ArrowException, match=says):
        ask(driver, f"type.googleapis.com/duckherder.v{other}.JoinHerd", field(1, "w"))
    with flight.connect(f"grpc://{driver.location}") as client:
        statement = packed(f"type.googleapis.com/duckherder.v{other}.PrepareStatement", field(1, "SELECT 42"))
        with pytest.raises(pyarrow.ArrowException, match=says):
            client.do_get(flight.Ticket(statement)).read_all()
        with pytest.raises(pyarrow.ArrowException, match=says):
            client.get_flight_info(flight.FlightDescriptor.for_command(statement))


def test_a_worker_is_called_by_others(own, other):
    says = f"this worker speaks Duckherder's protocol {own} \\(Duckherder .+\\), its peer protocol {other}: use the same version"
    with Worker("w") as worker:
        with pytest.raises(pyarrow.ArrowException, match=says):
            ask(worker, f"type.googleapis.com/duckherder.v{other}.AskWorker", b"")
        with flight.connect(f"grpc://{worker.location}") as client, pytest.raises(pyarrow.ArrowException, match=says):
            client.do_get(flight.Ticket(packed(f"type.googleapis.com/duckherder.v{other}.RunTask", b""))).read_all()
