"""The web layers on real servers: they change no exchange, and refuse malformed requests."""

import json
import os
import re
import socket
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.asgi_wire import PATIENCE, WIRE_CASES, start_without_headers
from tests.processes.conftest import running, until_answered
from tests.whole_lines import read_whole_lines

from bandmaster.kernel.testing import free_port

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PYTHON = [sys.executable, "-W", "ignore"]
VARIANTS = (
    "all access_log cors limits problems request_context request_timeout security_headers trusted_host websocket_origin"
).split()

pytestmark = pytest.mark.process


def build_command(server, ports):
    if server.startswith("uvicorn"):
        return [*PYTHON, "webbed.py", server.partition("/")[2]]
    if server == "hypercorn":
        return [
            *PYTHON,
            "-m",
            "hypercorn",
            "webbed:app",
            *(each for port in ports for each in ("-b", f"127.0.0.1:{port}")),
        ]
    return [*PYTHON, "-m", "granian", "--interface", "asgi", "webbed:app", "--port", str(ports[0])]


@contextmanager
def serve(server, names, folder):
    """Serve these variants until the block ends; yield their ports and the files of their output, by name."""
    ports = {name: free_port() for name in names}
    # granian listens on one port, so that each variant has a process of its own. All start at the same time.
    groups = [[name] for name in names] if server == "granian" else [names]
    outputs, processes = {}, {}
    with ExitStack() as stack:
        for group in groups:
            output = folder / f"{group[0]}.log"
            group_ports = [ports[name] for name in group]
            environment = {
                "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)]),
                "PORTS": " ".join(map(str, group_ports)),
                "NAMES": " ".join(group),
            }
            process = stack.enter_context(running(build_command(server, group_ports), output, cwd=HERE, **environment))
            outputs |= dict.fromkeys(group, output)
            processes |= dict.fromkeys(group, process)
        for name, port in ports.items():
            until_answered(lambda port=port: start_without_headers(port), processes[name], outputs[name])
        yield ports, outputs


@pytest.fixture(scope="module", params=["uvicorn/httptools", "hypercorn", "granian"])
def variants(request, tmp_path_factory):
    """The ports of all variants on one kind of server."""
    with serve(request.param, VARIANTS, tmp_path_factory.mktemp("web")) as (ports, _):
        yield ports


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("case", WIRE_CASES.values(), ids=list(WIRE_CASES))
@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
def test_trap(case, name, variants):
    """A client sees the same with and without the layer."""
    case(variants[name])


class Site(NamedTuple):
    """A server with all layers, which logs to a file."""

    server: str
    port: int
    hurried_port: int
    """The port of the variant with a short request timeout."""
    output: Path


@pytest.fixture(scope="module", params=["uvicorn/h11", "uvicorn/httptools", "hypercorn", "granian"])
def site(request, tmp_path_factory):
    """A server with all layers, and with all layers and a short request timeout."""
    with serve(request.param, ["all", "hurried"], tmp_path_factory.mktemp("raw")) as (ports, outputs):
        yield Site(request.param, ports["all"], ports["hurried"], outputs["all"])


def send_raw(port, *pieces, wait=0.0):
    """Send bytes unchanged, and read the whole response: status, headers and body."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                if wait:
                    time.sleep(wait)
        except OSError:
            pass  # the server has answered and closed the connection
        answer = b""
        connection.settimeout(PATIENCE)
        try:
            while more := connection.recv(65536):
                answer += more
                if _is_complete(answer):
                    break
        except ConnectionError:
            pass
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    status = int(lines[0].split()[1]) if lines[0] else 0
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    return status, headers, body


def _is_complete(answer):
    head, blank, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if length:
        return len(body) >= int(length[1])
    return bool(blank) and body.endswith(b"0\r\n\r\n")


GET = b"GET /who HTTP/1.1\r\nhost: shop.example\r\n"
POST = b"POST /echo HTTP/1.1\r\nhost: shop.example\r\n"


@pytest.mark.parametrize(
    "request_head",
    [
        pytest.param(GET + b"x-note: a\x1b[31mb\r\n\r\n", id="escape"),
        pytest.param(GET + b"host: evil.example\r\n\r\n", id="two hosts"),
        pytest.param(b"GET /who HTTP/1.1\r\nhost: user@shop.example\r\n\r\n", id="userinfo"),
        pytest.param(b"GET /who HTTP/1.1\r\nhost: shop.example/path\r\n\r\n", id="path in host"),
        pytest.param(b"GET /who HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(POST + b"content-length: nine\r\n\r\nnine", id="length in words"),
        pytest.param(POST + b"content-length: 4\r\ncontent-length: 5\r\n\r\nnine", id="two lengths"),
    ],
)
def test_a_malformed_request(request_head, site):
    """The server or a layer refuses the request."""
    status, _, body = send_raw(site.port, request_head)
    assert 400 == status, body


@pytest.mark.parametrize("head", [b"GET /who HTTP/1.0\r\n\r\n", b"GET /who HTTP/1.0\r\nhost: shop.example\r\n\r\n"])
def test_a_request_of_http_1_0(head, site):
    """Load balancers send HTTP/1.0, often without a Host header, and are served by each server."""
    status, _, body = send_raw(site.port, head)
    assert 200 == status, body


def test_a_body_with_two_framings(site):
    """A request with two lengths of its body is refused (RFC 9112, 6.1): the rest could pass as a second request."""
    server, port, _, output = site
    smuggled = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: shop.example\r\n\r\n"
    request = POST + b"content-length: %d\r\ntransfer-encoding: chunked\r\n\r\n%s" % (len(smuggled), smuggled)
    status, headers, body = send_raw(port, request)
    if server == "granian":
        # granian reads the chunks, drops the length, and closes the connection, all of which RFC 9112 allows.
        assert (200, b"close") == (status, headers[b"connection"])
    else:
        assert 400 == status, body
    send_raw(port, GET + b"\r\n")
    assert "smuggled" not in output.read_text()


def test_a_long_id_is_replaced(site):
    """An id of 30 kB is replaced by a new one, in logs and in the response."""
    status, headers, _ = send_raw(site.port, GET + b"x-request-id: %s\r\n\r\n" % (b"a" * 30_000))
    assert status in (200, 400, 431)
    if status == 200:
        assert re.fullmatch(rb"[0-9a-f]{32}", headers[b"x-request-id"])


def test_very_long_headers_are_refused(site):
    """The server or a layer refuses headers of 210 kB."""
    lines = b"".join(b"x-%d: %s\r\n" % (number, b"a" * 7_000) for number in range(30))
    status, _, body = send_raw(site.port, GET + lines + b"\r\n")
    # The server may also close the connection without an answer, which is status 0 here.
    assert status in (0, 400, 431), body


def test_a_large_body_is_refused_before_it_is_sent(site):
    """A Content-Length of 64 MiB is refused before any of the body is sent."""
    # The body never comes, so that any answer comes before it.
    status, headers, body = send_raw(site.port, POST + b"content-length: 67108864\r\n\r\n")
    assert (413, b"application/problem+json") == (status, headers[b"content-type"])
    assert "request_id" in json.loads(body)


def test_a_large_body_in_chunks_is_refused(site):
    """The bytes of a body without a Content-Length are counted."""
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    status, _, _ = send_raw(site.port, POST + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 1024)
    # Servers that close the connection with unread data lose the answer, which is status 0 here.
    assert status in (413, 0)


def test_a_body_within_the_limit_arrives(site):
    """A body within the limit arrives complete, also in two pieces."""
    status, _, body = send_raw(site.port, POST + b"content-length: 5\r\n\r\n", b"ab", b"cde", wait=0.05)
    assert (200, b"abcde") == (status, body[-5:] if body[:1] != b"5" else body[3:8])


def test_a_slow_body_times_out(site):
    """The client gets 408, and the connection is closed."""
    # The body never comes, so the timeout always ends the request.
    status, headers, _ = send_raw(site.hurried_port, POST + b"content-length: 5\r\n\r\nab")
    assert (408, b"close") == (status, headers[b"connection"].lower())


@pytest.mark.parametrize(
    "path", [b"/%ff%fe", b"/a%00b", b"/%0d%0aset-cookie:%20x=1", b"/%1b%5b31m", b"/%e2%80%a8", b"/a?q=%ff"]
)
def test_a_strange_path(path, site):
    """A strange path is answered or refused, and makes one line of the log."""
    _, port, _, output = site
    mark = f"m{time.monotonic_ns()}"
    status, headers, _ = send_raw(
        port, b"GET %s/%s HTTP/1.1\r\nhost: shop.example\r\n\r\n" % (path.partition(b"?")[0], mark.encode())
    )
    assert status in (200, 400, 404)
    assert b"set-cookie" not in headers
    if status == 200:
        end = time.monotonic() + PATIENCE
        while not (lines := [line for line in read_whole_lines(output) if mark in line]):
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.02)
        assert 1 == len(lines)
        assert json.loads(lines[0])["path"].endswith(mark)


def test_an_error_is_not_shown_to_the_client(site):
    """A client gets a 500 without the text of the exception."""
    status, _, body = send_raw(site.port, b"GET /boom HTTP/1.1\r\nhost: shop.example\r\n\r\n")
    assert 500 == status
    assert b"boom" not in body.replace(b"/boom", b"")
