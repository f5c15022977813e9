"""A server for the tests that takes envelopes as Sentry does, by a DSN on loopback."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE = 20.0
"""Seconds that a test waits for an envelope on a busy machine."""


class Item:
    """One item of an envelope that has arrived."""

    def __init__(self, headers: dict[str, Any], payload: bytes, envelope: dict[str, Any]) -> None:
        self.headers = headers
        self.payload = payload
        self.envelope = envelope
        """The headers of the envelope."""

    @property
    def type(self) -> str:
        """The kind of the item: event, transaction, check_in, log, attachment and others."""
        return str(self.headers.get("type"))

    @property
    def data(self) -> Any:
        """The payload of JSON."""
        return json.loads(self.payload)


class SentryReceiver:
    """Keeps what arrives. ``mode`` is ``ok``, ``hang`` (never answers) or ``503``, and may change at any time."""

    def __init__(self) -> None:
        self.mode = "ok"
        self.bodies: list[bytes] = []
        """The whole bodies of the requests."""
        self.items: list[Item] = []
        self._arrived = threading.Condition()
        self._released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if receiver.mode == "hang":
                    receiver._released.wait(PATIENCE)
                    return
                if receiver.mode == "ok":
                    receiver.keep(body)
                self.send_response(200 if receiver.mode == "ok" else 503)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *args: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def dsn(self) -> str:
        """The address for the settings."""
        return f"http://publickey@127.0.0.1:{self._server.server_port}/42"

    @property
    def text(self) -> str:
        """All that has arrived."""
        return b"\n".join(self.bodies).decode("utf-8", "replace")

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of errors that have arrived."""
        return [item.data for item in self.items if item.type == "event"]

    def keep(self, body: bytes) -> None:
        """Read an envelope (https://develop.sentry.dev/sdk/envelopes/)."""
        head, _, rest = body.partition(b"\n")
        envelope = json.loads(head)
        items = []
        while rest.strip():
            line, _, rest = rest.partition(b"\n")
            headers = json.loads(line)
            length = headers["length"]
            items.append(Item(headers, rest[:length], envelope))
            rest = rest[length:].removeprefix(b"\n")
        with self._arrived:
            self.bodies.append(body)
            self.items += items
            self._arrived.notify_all()

    def wait_for(self, count: int, kind: str = "event") -> list[Item]:
        """Wait for a number of items of a kind."""

        def find() -> list[Item]:
            return [item for item in self.items if item.type == kind]

        with self._arrived:
            assert self._arrived.wait_for(lambda: len(find()) >= count, PATIENCE), f"{len(find())} of {count} {kind}"
        return find()

    def close(self) -> None:
        """Release requests that hang, and end."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def sentry_receiver() -> Iterator[SentryReceiver]:
    """A receiver, until the block ends."""
    receiver = SentryReceiver()
    try:
        yield receiver
    finally:
        receiver.close()
