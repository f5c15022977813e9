"""Answer scrapes in threads: beside the event loop, which may be busy, and beside the server of the application."""

from __future__ import annotations

import gzip
import selectors
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["Answer", "ScrapeResponse", "ScrapeServer", "compress"]

_TIMEOUT = 5.0
"""Seconds that a client may take to send its request, and to read the response."""
_MOST_AT_ONCE = 16
"""Connections that are served at once. Further ones are closed, so that nobody can make threads without end."""
_WORTH_COMPRESSING = 1024


@dataclass(frozen=True, slots=True)
class ScrapeResponse:
    """A response to a scrape."""

    status: int
    body: bytes
    headers: Mapping[str, str]


Answer: TypeAlias = Callable[[str, Message], ScrapeResponse]
"""A function that answers a path with request headers. Threads call the function, several at once."""


def compress(response: ScrapeResponse, accept_encoding: str) -> ScrapeResponse:
    """The response in gzip, if the client takes that and the body is long enough."""
    codings = {each.partition(";")[0].strip().lower() for each in accept_encoding.split(",")}
    if "gzip" not in codings or len(response.body) < _WORTH_COMPRESSING:
        return response
    headers = {**response.headers, "Content-Encoding": "gzip"}
    return ScrapeResponse(response.status, gzip.compress(response.body, compresslevel=1), headers)


class ScrapeServer:
    """Serves scrapes on any number of listeners, with one thread that accepts and one for each connection."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread: threading.Thread | None = None
        self._listeners: list[_Listener] = []
        self._slots = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self._closed = False

    def listen_tcp(self, host: str, port: int, answer: Answer) -> int:
        """Listen at an address; returns the port, which the system chooses for 0.

        Raises:
            OSError: the address can't be used.
        """
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = self._add(_TCPListener, family, address, answer)
        number: int = listener.socket.getsockname()[1]
        return number

    def listen_unix(self, path: Path, answer: Answer) -> None:
        """Listen on a Unix socket.

        Raises:
            OSError: the socket can't be made.
        """
        self._add(_UnixListener, socket.AF_UNIX, str(path), answer)

    def close(self) -> None:
        """Stop listening, and end the thread. Responses under way have a few seconds to end. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._wake.send(b"x")
        if self._thread is not None:
            self._thread.join()
        for listener in self._listeners:
            listener.server_close()
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def close_in_child(self) -> None:
        """Close the copies that a forked child has of the listeners, which would keep the port after this process."""
        self._closed = True
        for listener in self._listeners:
            listener.socket.close()

    def _add(self, kind: type[_Listener], family: int, address: Any, answer: Answer) -> _Listener:
        listener = kind(family, address, answer, self._slots)
        self._listeners.append(listener)
        self._selector.register(listener, selectors.EVENT_READ, listener)
        self._wake.send(b"x")  # not every selector notices a listener that is added while it waits
        if self._thread is None:
            self._thread = threading.Thread(target=self._accept_forever, name="bandmaster: metrics", daemon=True)
            self._thread.start()
        return listener

    def _accept_forever(self) -> None:
        while not self._closed:
            for key, _ in self._selector.select():
                if isinstance(key.data, _Listener):
                    key.data.handle_request()
                else:
                    self._woken.recv(64)


class _Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64
    timeout = 0  # handle_request is called when a connection is waiting

    def __init__(self, family: int, address: Any, answer: Answer, slots: threading.BoundedSemaphore) -> None:
        self.address_family = family
        self.answer = answer
        self._slots = slots
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that has left. Errors of the answer itself are answered with 500."""


class _TCPListener(_Listener):
    pass


class _UnixListener(_Listener):
    def get_request(self) -> tuple[Any, Any]:
        request, _ = super().get_request()
        return request, ("local", 0)  # the handler wants an address with a port


class _Handler(BaseHTTPRequestHandler):
    server: _Listener  # pyright: ignore[reportIncompatibleVariableOverride]  # the only server of these handlers
    timeout = _TIMEOUT
    server_version, sys_version = "bandmaster", ""

    def do_GET(self) -> None:
        self._respond(self.server.answer(self.path.partition("?")[0], self.headers))

    def do_HEAD(self) -> None:
        self.do_GET()

    def _respond(self, response: ScrapeResponse) -> None:
        response = compress(response, self.headers.get("Accept-Encoding", ""))
        self.send_response(HTTPStatus(response.status))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name in the base class
        """Log nothing, since scrapes come every few seconds."""
