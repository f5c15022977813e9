"""The web package's layers on real servers: they do no harm, and they refuse what could."""

import json
import os
import re
import socket
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.asgi_wire import PATIENCE, WIRE_CASES, start_without_headers
from tests.processes.conftest import running, until_answered

from bandmaster.kernel.testing import free_port

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PYTHON = [sys.executable, "-W", "ignore"]
VARIANTS = (
    "all access_log cors limits problems request_context request_timeout security_headers trusted_host websocket_origin"
).split()

pytestmark = pytest.mark.process


def command(server, ports):
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
def served(server, ports, folder, names=VARIANTS, **environment):
    """A server process with a port for each variant, ready to be asked."""
    output = folder / f"{server.replace('/', '-')}-{ports[0]}"
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)]),
        "PORTS": " ".join(map(str, ports)),
        "NAMES": " ".join(names),
    }
    with running(command(server, ports), output, cwd=HERE, **environment) as process:
        for port in ports:
            _wait(process, port, output)
        yield output


def _wait(process, port, output):
    try:
        until_answered(lambda: start_without_headers(port), process, output)
    except AssertionError as error:
        raise AssertionError(output.read_text()) from error


@pytest.fixture(scope="module", params=["uvicorn/httptools", "hypercorn", "granian"])
def variants(request, tmp_path_factory):
    """The ports of all variants on one kind of server."""
    folder = tmp_path_factory.mktemp("web")
    ports = [free_port() for _ in VARIANTS]
    with ExitStack() as stack:
        if request.param == "granian":  # which listens on one port only
            for name, port in zip(VARIANTS, ports, strict=True):
                stack.enter_context(served(request.param, [port], folder, [name]))
        else:
            stack.enter_context(served(request.param, ports, folder))
        yield dict(zip(VARIANTS, ports, strict=True))


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("case", WIRE_CASES.values(), ids=list(WIRE_CASES))
@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
def test_trap(case, name, variants):
    """Seen from outside, a layer might as well not be there."""
    case(variants[name])


# -- raw sockets ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["uvicorn/h11", "uvicorn/httptools", "hypercorn", "granian"])
def site(request, tmp_path_factory):
    """A server with all of the layers: its name, its port, and where its output is."""
    port = free_port()
    folder = tmp_path_factory.mktemp("raw")
    with served(request.param, [port], folder, ["all"], REQUEST_TIMEOUT="1.5") as output:
        yield request.param, port, output


def raw(port, *pieces, wait=0.0):
    """Send bytes as they are; status, headers and body of what comes back, all of it read."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                if wait:
                    time.sleep(wait)
        except OSError:
            pass  # it has answered already
        answer = b""
        connection.settimeout(PATIENCE)
        try:
            while more := connection.recv(65536):
                answer += more
                if _complete(answer):
                    break
        except ConnectionError:
            pass
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    status = int(lines[0].split()[1]) if lines[0] else 0
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    return status, headers, body


def _complete(answer):
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
def test_malformed(request_head, site):
    """By the server or by the stack, it is refused."""
    status, _, body = raw(site[1], request_head)
    assert 400 == status, body


def test_two_framings(site):
    """Where a body ends must not be a matter of opinion (RFC 9112, 6.1), else its end could be a second request."""
    server, port, output = site
    smuggled = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: shop.example\r\n\r\n"
    request = POST + b"content-length: %d\r\ntransfer-encoding: chunked\r\n\r\n%s" % (len(smuggled), smuggled)
    status, headers, body = raw(port, request)
    if server == "granian":
        # It reads by chunked, forgets the length before ASGI, and closes the connection, all of which is allowed.
        assert (200, b"close") == (status, headers[b"connection"])
    else:
        assert 400 == status, body
    raw(port, GET + b"\r\n")
    assert "smuggled" not in output.read_text()


def test_a_long_id_is_replaced(site):
    """30 kB of an id are not carried through logs and further requests."""
    status, headers, _ = raw(site[1], GET + b"x-request-id: %s\r\n\r\n" % (b"a" * 30_000))
    assert status in (200, 400, 431)
    if status == 200:
        assert re.fullmatch(rb"[0-9a-f]{32}", headers[b"x-request-id"])


def test_very_long_headers(site):
    """They are refused, by whichever side."""
    lines = b"".join(b"x-%d: %s\r\n" % (number, b"a" * 7_000) for number in range(30))
    status, _, body = raw(site[1], GET + lines + b"\r\n")
    # By the server, which may just close the connection, or by the stack.
    assert status in (0, 400, 431), body


def test_a_large_body_is_refused_before_it_is_sent(site):
    """64 MiB announced: the answer comes at once, and tells the client to leave."""
    began = time.monotonic()
    status, headers, body = raw(site[1], POST + b"content-length: 67108864\r\n\r\n")
    assert (413, b"application/problem+json") == (status, headers[b"content-type"])
    assert "request_id" in json.loads(body)
    assert time.monotonic() - began < 1


def test_a_large_body_in_chunks_is_refused(site):
    """Without an announced length it is counted."""
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    status, _, _ = raw(site[1], POST + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 1024)
    # Some servers close the connection with the rest unread, and the answer is lost with it.
    assert status in (413, 0)


def test_a_body_as_large_as_announced(site):
    """A body within the limit passes whole."""
    status, _, body = raw(site[1], POST + b"content-length: 5\r\n\r\n", b"ab", b"cde", wait=0.05)
    assert (200, b"abcde") == (status, body[-5:] if body[:1] != b"5" else body[3:8])


def test_a_slow_body_times_out(site):
    """The client hears 408, and that the connection is over."""
    status, headers, _ = raw(site[1], POST + b"content-length: 5\r\n\r\nab")
    assert (408, b"close") == (status, headers[b"connection"].lower())


@pytest.mark.parametrize(
    "path", [b"/%ff%fe", b"/a%00b", b"/%0d%0aset-cookie:%20x=1", b"/%1b%5b31m", b"/%e2%80%a8", b"/a?q=%ff"]
)
def test_strange_paths(path, site):
    """They are answered or refused, and make one whole line of the log each."""
    _, port, output = site
    mark = f"m{time.monotonic_ns()}"
    status, headers, _ = raw(
        port, b"GET %s/%s HTTP/1.1\r\nhost: shop.example\r\n\r\n" % (path.partition(b"?")[0], mark.encode())
    )
    assert status in (200, 400, 404)
    assert b"set-cookie" not in headers
    if status == 200:
        end = time.monotonic() + PATIENCE
        while not (lines := [line for line in output.read_bytes().splitlines() if mark.encode() in line]):
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.02)
        assert 1 == len(lines)
        assert json.loads(lines[0])["path"].endswith(mark)


def test_nothing_is_told_of_an_error(site):
    """A client sees that there was one, and its id."""
    status, _, body = raw(site[1], b"GET /boom HTTP/1.1\r\nhost: shop.example\r\n\r\n")
    assert 500 == status
    assert b"boom" not in body.replace(b"/boom", b"")
