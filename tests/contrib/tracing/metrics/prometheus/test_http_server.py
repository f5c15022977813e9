"""The server that answers scrapes in threads of its own."""

import gzip
import http.client
import socket
import threading
import time
from contextlib import ExitStack, closing, contextmanager

import pytest

from bandmaster.contrib.tracing.metrics.prometheus import http_server
from bandmaster.contrib.tracing.metrics.prometheus.http_server import ScrapeResponse, ScrapeServer

TEXT = {"Content-Type": "text/plain"}
PATIENCE = 20


@contextmanager
def serving(answer, host="127.0.0.1"):
    server = ScrapeServer()
    try:
        yield server.listen_tcp(host, 0, answer)
    finally:
        server.close()


def ask(port, path="/metrics", method="GET", headers=None, host="127.0.0.1"):
    with closing(http.client.HTTPConnection(host, port, timeout=PATIENCE)) as connection:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read(), dict(response.getheaders())


def test_an_answer() -> None:
    """The function gets the path without its query, and the headers."""
    seen = []

    def answer(path, headers):
        seen.append((path, headers["Accept"]))
        return ScrapeResponse(200, b"text\n", TEXT)

    with serving(answer) as port:
        status, body, headers = ask(port, "/metrics?x=1", headers={"Accept": "text/plain"})
    assert (200, b"text\n", "5") == (status, body, headers["Content-Length"])
    assert [("/metrics", "text/plain")] == seen


def test_a_long_answer_is_compressed() -> None:
    """A client that takes gzip gets it, unless the text is short."""
    with serving(lambda path, headers: ScrapeResponse(200, b"x" * int(path[1:]), TEXT)) as port:
        for length, accepted, compressed in ((5000, "gzip;q=1", True), (5000, "br", False), (10, "gzip", False)):
            _, body, headers = ask(port, f"/{length}", headers={"Accept-Encoding": accepted})
            assert compressed == (headers.get("Content-Encoding") == "gzip")
            assert b"x" * length == (gzip.decompress(body) if compressed else body)


def test_a_head_request_gets_no_body() -> None:
    """HEAD has the headers of GET."""
    with serving(lambda path, headers: ScrapeResponse(200, b"text\n", TEXT)) as port:
        status, body, headers = ask(port, method="HEAD")
    assert (200, b"", "5") == (status, body, headers["Content-Length"])


def test_other_methods_are_refused() -> None:
    """Only reading is served, and the answer names no version of anything."""
    with serving(lambda path, headers: ScrapeResponse(200, b"", TEXT)) as port:
        status, _, headers = ask(port, method="POST")
    assert (501, "bandmaster") == (status, headers["Server"].strip())


def test_ipv6() -> None:
    """An address of IPv6 can be served."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving(lambda path, headers: ScrapeResponse(200, b"six", TEXT), "::1") as port:
        assert b"six" == ask(port, host="::1")[1]


def test_a_slow_client_stops_nobody() -> None:
    """A client that never sends its request doesn't keep others from their answers."""
    with serving(lambda path, headers: ScrapeResponse(200, b"text", TEXT)) as port:
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(b"GET /metrics HT")
            assert b"text" == ask(port)[1]


def test_the_number_of_threads_is_bounded(monkeypatch) -> None:
    """Connections beyond the bound are closed at once, and served again when there is room."""
    release = threading.Event()

    def answer(path, headers):
        release.wait(PATIENCE)
        return ScrapeResponse(200, b"text", TEXT)

    with serving(answer) as port, ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(16)]
        for connection in held:
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        end = time.monotonic() + PATIENCE
        while sum("process_request_thread" in thread.name for thread in threading.enumerate()) < 16:
            assert time.monotonic() < end
            time.sleep(0.01)
        with socket.create_connection(("127.0.0.1", port)) as further:
            further.settimeout(PATIENCE)
            assert b"" == further.recv(1)
        release.set()
        assert all(b"200" in connection.recv(100) for connection in held)
        while True:  # the threads end a little later than their answers
            try:
                assert b"text" == ask(port)[1]
                break
            except (http.client.HTTPException, ConnectionError):
                assert time.monotonic() < end


def test_a_client_that_leaves_is_no_error(capfd, monkeypatch) -> None:
    """A connection that is reset prints nothing."""
    monkeypatch.setattr(http_server, "_TIMEOUT", 0.1)
    with serving(lambda path, headers: ScrapeResponse(200, b"x" * 10_000_000, TEXT)) as port:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        assert 10_000_000 == len(ask(port)[1])
    assert ("", "") == capfd.readouterr()


def test_nothing_is_left_after_the_end() -> None:
    """The port is free, and the thread has ended."""
    with serving(lambda path, headers: ScrapeResponse(200, b"", TEXT)) as port:
        pass
    with socket.create_server(("127.0.0.1", port)):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "bandmaster: metrics"]


def test_an_end_without_listeners() -> None:
    """A server that never listened can be closed."""
    ScrapeServer().close()
