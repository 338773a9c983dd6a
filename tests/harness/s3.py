"""An S3 server on a free port of this machine (moto), and a bad network in front of it.

    python -m harness.s3        the server alone, which prints `listening on HOST:PORT`
"""

from __future__ import annotations

import http.client
import itertools
import os
import socket
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness.cluster import ROOT, ServerProcess

BUCKET = "herd"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}
WRONG_KEY = b"<?xml version='1.0'?><Error><Code>InvalidAccessKeyId</Code><Message>There is no such key.</Message></Error>"
SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class S3Server(ServerProcess):
    """With an empty bucket."""

    def __init__(self):
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
        super().__init__([sys.executable, "-m", "harness.s3"], start_timeout_s=60)
        connection = http.client.HTTPConnection(self.host, self.port)
        connection.request("PUT", f"/{BUCKET}")
        assert connection.getresponse().status == 200
        connection.close()


class Network:
    """A proxy: each request takes `latency_s` longer; of so many requests, one is answered with 503 SlowDown, one is done
    and its answer cut off. Counts what passes."""

    def __init__(self, server: S3Server, latency_s: float = 0):
        self.server = server
        self.latency_s = latency_s
        self.one_slows_down_in = 0
        self.one_is_cut_in = 0
        self.is_down = False
        # 403: credentials that are wrong, or have just been replaced.
        self.is_closed = False
        # How much longer it takes to write an object whose name ends so.
        self.slow: dict[str, float] = {}
        # When an object of a folder was written last, by the folder's name; by its own, outside of one.
        self.written: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.read_bytes = 0
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        network = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def log_message(self, *_):
                pass

            def pass_on(self):
                network._pass_on(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on

        class Proxy(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass

        self._proxy = Proxy(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._proxy.server_address[1]}"
        self._thread = threading.Thread(target=self._proxy.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def environment(self) -> dict[str, str]:
        """Of a driver that uses it."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.url}

    def requests(self) -> int:
        return sum(self.counts.values())

    def close(self) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()

    def _pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        number = next(self._numbers)
        if self.latency_s:
            time.sleep(self.latency_s)
        if handler.command == "PUT":
            time.sleep(sum(seconds for name, seconds in self.slow.items() if handler.path.endswith(name)))
        with self._lock:
            self.counts[handler.command] = self.counts.get(handler.command, 0) + 1
        if self.is_down or (self.one_slows_down_in and number % self.one_slows_down_in == 0):
            self._answer(handler, 503, {"Content-Type": "application/xml"}, SLOW_DOWN)
            return
        if self.is_closed:
            self._answer(handler, 403, {"Content-Type": "application/xml"}, WRONG_KEY)
            return
        status, headers, answer = self._ask(handler, body)
        if handler.command == "PUT" and status == 200:
            folder, name = handler.path.rsplit("/", 2)[-2:]
            with self._lock:
                self.written[folder if folder in ("log", "drivers") else name] = time.monotonic()
        if handler.command == "GET" and status in (200, 206):
            with self._lock:
                self.read_bytes += len(answer)
        if self.one_is_cut_in and number % self.one_is_cut_in == 1:
            handler.close_connection = True
            if number % 2 == 0:
                # In the middle of the answer.
                self._answer(handler, status, headers, answer[: len(answer) // 2], len(answer))
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        self._answer(handler, status, headers, answer)

    def _ask(self, handler, body: bytes):
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in ("connection", "expect")}
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=60)
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.request(handler.command, handler.path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        found = {name: value for name, value in response.getheaders() if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server")}
        if handler.command == "HEAD" and response.getheader("Content-Length"):
            found["Content-Length"] = response.getheader("Content-Length")
        if response.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        return response.status, found, answer

    @staticmethod
    def _answer(handler, status: int, headers: dict, answer: bytes, length: int | None = None) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if "Content-Length" not in headers:
            handler.send_header("Content-Length", str(len(answer) if length is None else length))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(answer)


@contextmanager
def s3(latency_s: float = 0):
    """A server and the network to it."""
    with S3Server() as server:
        network = Network(server, latency_s)
        try:
            yield network
        finally:
            network.close()


def objects(network: Network, prefix: str) -> dict[str, int]:
    """The sizes of all objects below a prefix."""
    import xml.etree.ElementTree as tree

    found: dict[str, int] = {}
    token = ""
    while True:
        connection = http.client.HTTPConnection(network.server.host, network.server.port)
        connection.request("GET", f"/{BUCKET}?list-type=2&prefix={prefix}{token}")
        root = tree.fromstring(connection.getresponse().read())
        connection.close()
        space = root.tag.split("}")[0] + "}"
        for entry in root.findall(f"{space}Contents"):
            found[entry.findtext(f"{space}Key")] = int(entry.findtext(f"{space}Size"))
        following = root.findtext(f"{space}NextContinuationToken")
        if not following:
            return found
        token = f"&continuation-token={following}"


def main() -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"listening on {host}:{port}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
