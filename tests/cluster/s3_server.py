"""An S3 server over HTTP on loopback: moto's, behind a proxy that makes it honest, counts its requests, and breaks them.

moto looks whether a condition holds and writes afterwards, without a lock. The proxy judges `If-Match` and `If-None-Match`
of writes itself, one request per key at a time.

    python -m tests.cluster.s3_server --port 9000 --bucket corpus      serves until it is stopped
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from moto.server import ThreadedMotoServer

HOST = "127.0.0.1"
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server"})
_CONDITIONS = ("if-match", "if-none-match")


@dataclass
class Faults:
    """What goes wrong, as shares of requests; drawn from one seeded generator.

    Attributes:
        busy: answered 503 SlowDown, nothing done.
        broken: answered 500, nothing done.
        cut: bodies of GETs that end in their middle.
        lost: writes that are done and never answered.
        lost_conditional: the same, of conditional writes.
        slow: requests that wait `slow_seconds` first.
        conditions: "kept", "ignored" (the store takes them and does not look), "refused" (501).
        region: the bucket is in this region, and requests signed for others are answered 301.
        denied: kinds of requests that are answered 403.
    """

    busy: float = 0.0
    broken: float = 0.0
    cut: float = 0.0
    lost: float = 0.0
    lost_conditional: float = 0.0
    slow: float = 0.0
    slow_seconds: float = 0.5
    conditions: str = "kept"
    region: str | None = None
    denied: frozenset[str] = frozenset()
    seed: int = 0


@dataclass
class S3Server:
    """A running server.

    Attributes:
        url: what AWS_ENDPOINT_URL is set to.
        requests: how many of each kind: GET, HEAD, LIST, PUT, COPY, POST (multipart and removals of many), DELETE.
        moved: bytes of bodies, "in" and "out".
        hurt: what was injected, and how often.
    """

    moto: tuple[str, int]
    faults: Faults = field(default_factory=Faults)
    requests: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    hurt: Counter[str] = field(default_factory=Counter)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    keys: dict[str, threading.Lock] = field(default_factory=dict)
    draws: random.Random = field(default_factory=random.Random)

    def break_by(self, faults: Faults) -> None:
        """From now on these faults."""
        self.faults, self.draws = faults, random.Random(faults.seed)

    def reset(self) -> None:
        """No faults, and counts from zero."""
        self.break_by(Faults())
        for counts in (self.requests, self.moved, self.hurt):
            counts.clear()

    def environment(self) -> dict[str, str]:
        """The variables that a client needs."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test-key-id",
            "AWS_SECRET_ACCESS_KEY": "test-secret-key",
            "AWS_REGION": "us-east-1",
        }

    def make_bucket(self, name: str) -> None:
        """Makes a bucket, past the faults."""
        connection = HTTPConnection(*self.moto)
        connection.request("PUT", f"/{name}", headers={"Content-Length": "0", "Authorization": _SIGNED})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"the bucket {name} could not be made: {answer.status}")


_SIGNED = "AWS4-HMAC-SHA256 Credential=test-key-id/20240101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


@contextlib.contextmanager
def serving(port: int = 0) -> Iterator[S3Server]:
    """A server that ends with the block."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(HOST, 0, verbose=False)
    moto.start()
    server = S3Server(moto.get_host_and_port())
    proxy = _Proxy((HOST, port), server)
    server.url = f"http://{HOST}:{proxy.server_address[1]}"
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
        moto.stop()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], server: S3Server) -> None:
        super().__init__(address, _Handler)
        self.s3 = server

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news: tests kill them."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Proxy

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def handle_any(self) -> None:
        s3 = self.server.s3
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self._kind()
        with s3.lock:
            faults = s3.faults
            s3.requests[kind] += 1
            s3.moved["in"] += len(body)
            conditional = any(name in self.headers for name in _CONDITIONS) and self.command != "GET"
            draws = {name: s3.draws.random() for name in ("slow", "busy", "broken", "cut", "lost")}
            lock = s3.keys.setdefault(urlsplit(self.path).path, threading.Lock())
        if self._hits("slow", draws["slow"] < faults.slow):
            time.sleep(faults.slow_seconds)
        if self._hits("busy", draws["busy"] < faults.busy):
            return self._error(503, "SlowDown", "Please reduce your request rate.")
        if self._hits("broken", draws["broken"] < faults.broken):
            return self._error(500, "InternalError", "We encountered an internal error.")
        if kind in faults.denied:
            return self._error(403, "AccessDenied", "Access Denied")
        if faults.region is not None and f"/{faults.region}/s3/" not in self.headers.get("Authorization", ""):
            headers = {"x-amz-bucket-region": faults.region}
            return self._error(301, "PermanentRedirect", "The bucket is at another endpoint.", headers)
        if conditional and faults.conditions == "refused":
            return self._error(501, "NotImplemented", "A header you provided implies functionality not implemented.")
        with lock if self.command in ("PUT", "DELETE", "POST") else contextlib.nullcontext():
            if conditional and faults.conditions == "kept":
                refused = self._condition()
                if refused is not None:
                    return self._error(refused, "PreconditionFailed" if refused == 412 else "NoSuchKey", "Condition.")
            status, headers, data, size = self._forward(body)
        lost = faults.lost_conditional if conditional else faults.lost
        if self._hits("lost", self.command in ("PUT", "DELETE", "POST") and draws["lost"] < lost):
            self.close_connection = True
            return
        cut = kind == "GET" and len(data) > 1 and draws["cut"] < faults.cut
        self._answer(status, headers, data, cut=self._hits("cut", cut), size=size)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def _hits(self, name: str, yes: bool) -> bool:
        if yes:
            with self.server.s3.lock:
                self.server.s3.hurt[name] += 1
        return yes

    def _kind(self) -> str:
        parts = urlsplit(self.path)
        if self.command == "GET" and ("list-type" in parse_qs(parts.query) or parts.path.count("/") < 2):
            return "LIST"
        return "COPY" if self.command == "PUT" and "x-amz-copy-source" in self.headers else self.command

    def _condition(self) -> int | None:
        """Status of the refusal of a write whose condition does not hold."""
        status, headers, _, _ = self._forward(b"", "HEAD", urlsplit(self.path).path)
        there = status == 200
        etag = next((value for name, value in headers if name.lower() == "etag"), None)
        if "if-none-match" in self.headers:
            return 412 if there else None
        if not there:
            return 404
        return None if self.headers["if-match"].strip('"') == (etag or "").strip('"') else 412

    def _forward(
        self, body: bytes, command: str = "", path: str = ""
    ) -> tuple[int, list[tuple[str, str]], bytes, str | None]:
        connection = HTTPConnection(*self.server.s3.moto)
        try:
            drop = _CONDITIONS if self.command != "GET" else ()
            headers = {name: value for name, value in self.headers.items() if name.lower() not in drop}
            if command:
                headers = {"Authorization": self.headers.get("Authorization", "")}
            elif self.command in ("PUT", "POST"):
                headers["Content-Length"] = str(len(body))
            connection.request(command or self.command, path or self.path, body or None, headers)
            answer: HTTPResponse = connection.getresponse()
            data = answer.read()
            size = answer.getheader("Content-Length") if self.command == "HEAD" else None
            return answer.status, [item for item in answer.getheaders() if item[0].lower() not in _HOP], data, size
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, cut: bool = False, size: str | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if size is None else size))
        self.end_headers()
        with self.server.s3.lock:
            self.server.s3.moved["out"] += len(data)
        self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        key = unquote(urlsplit(self.path).path)
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message>'
            f"<Key>{key}</Key><AWSAccessKeyId>test-key-id</AWSAccessKeyId></Error>"
        ).encode()
        listed = [("Content-Type", "application/xml"), *(headers or {}).items()]
        self._answer(status, listed, b"" if self.command == "HEAD" else body)


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--bucket", action="append", default=[])
    asked = parser.parse_args()
    with serving(asked.port) as server:
        for bucket in asked.bucket:
            server.make_bucket(bucket)
        print("\n".join(f"export {name}={value}" for name, value in server.environment().items()), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
