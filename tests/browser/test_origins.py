"""The access of pages of an allowed and of a refused origin, in a real browser."""

from __future__ import annotations

import json
import os
import queue
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tests.http_servers import serve_http
from tests.processes.conftest import free_port, running, until_answered

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PATIENCE = 60.0
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --disable-extensions --disable-dev-shm-usage
""".split()

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="needs chromium: apt-get install chromium"),
]

SCRIPT = """
<!doctype html><title>page</title><script>
const api = "%s";
const results = {};
async function ask(name, path, options) {
  try {
    const answer = await fetch(api + path, options);
    results[name] = {status: answer.status, id: answer.headers.get("x-request-id"),
                     type: answer.headers.get("content-type"), body: await answer.text()};
  } catch (error) { results[name] = "blocked"; }
}
function talk(name, messages) {
  return new Promise(resolve => {
    const socket = new WebSocket(api.replace("http", "ws") + "/echo");
    const received = [];
    socket.onopen = () => messages.forEach(each => socket.send(each));
    socket.onmessage = event => {
      received.push(event.data);
      if (received.length == messages.length) socket.close(1000);
    };
    socket.onclose = event => { results[name] = {received: received, code: event.code}; resolve(); };
  });
}
(async () => {
  await ask("get", "/items");
  await ask("put", "/items", {method: "PUT", headers: {"x-token": "t"}});
  await ask("broken", "/broken");
  await ask("missing", "/nowhere");
  await ask("forbidden method", "/items", {method: "PATCH"});
  await ask("large", "/upload", {method: "POST", body: "x".repeat(2000)});
  await talk("socket", ["one", "two"]);
  await talk("large message", ["x".repeat(5000)]);
  await fetch("/results", {method: "POST", body: JSON.stringify(results)});
})();
</script>
"""


@contextmanager
def serve_page(api: str) -> Iterator[tuple[str, queue.Queue]]:
    """The URL of a site whose page calls the service, and the queue of the results that the page sends."""
    results: queue.Queue = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write((SCRIPT % api).encode())

        def do_POST(self) -> None:
            results.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with serve_http(Handler) as port:
        yield f"http://127.0.0.1:{port}", results


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """The results that the pages of both origins report."""
    assert CHROMIUM is not None, "chromium is missing: apt-get install chromium"
    folder = tmp_path_factory.mktemp("browser")
    port = free_port()
    api = f"http://127.0.0.1:{port}"
    found = {}
    with serve_page(api) as (allowed, allowed_results), serve_page(api) as (refused, refused_results):
        server = [sys.executable, "-W", "ignore", "-m", "uvicorn", "tests.browser.api:app", "--port", str(port)]
        with running(
            server,
            folder / "server",
            PYTHONPATH=str(ROOT),
            WEB_CORS_ORIGINS=allowed,
            WEB_CORS_METHODS="GET,PUT",
            WEB_MAX_BODY_BYTES="1000",
            WEB_MAX_MESSAGE_BYTES="4000",
        ) as process:
            until_answered(lambda: socket.create_connection(("127.0.0.1", port), 1).close(), process, folder / "server")
            for name, page, results in (("allowed", allowed, allowed_results), ("refused", refused, refused_results)):
                command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / name}", page]
                with running(command, folder / f"{name}.log"):
                    try:
                        found[name] = results.get(timeout=PATIENCE)
                    except queue.Empty:
                        pytest.fail(f"the browser reported nothing:\n{(folder / f'{name}.log').read_text()}")
    found["log"] = (folder / "server").read_text()
    return found


@pytest.mark.requirement("CF-05", "FA-5")
def test_a_page_of_an_allowed_origin_may_call(reports) -> None:
    """The page gets responses with and without a preflight, and reads the request id."""
    got, put = reports["allowed"]["get"], reports["allowed"]["put"]
    assert (200, {"method": "GET", "token": None}) == (got["status"], json.loads(got["body"]))
    assert (200, {"method": "PUT", "token": "t"}) == (put["status"], json.loads(put["body"]))
    assert 32 == len(got["id"])


@pytest.mark.requirement("CF-05", "FA-5", "FA-3")
@pytest.mark.parametrize(("name", "status"), [("broken", 500), ("missing", 404), ("large", 413)])
def test_a_page_of_an_allowed_origin_can_read_errors(reports, name: str, status: int) -> None:
    """Errors have the headers of CORS; without them a browser hides errors."""
    answer = reports["allowed"][name]
    assert (status, "application/problem+json") == (answer["status"], answer["type"])
    problem = json.loads(answer["body"])
    assert (status, answer["id"]) == (problem["status"], problem["request_id"])
    assert "secret" not in answer["body"]


@pytest.mark.requirement("CF-05", "FA-5")
def test_a_method_that_is_not_allowed_is_blocked(reports) -> None:
    """The preflight refuses a method that the settings don't allow."""
    assert "blocked" == reports["allowed"]["forbidden method"]


@pytest.mark.requirement("CF-05", "FA-5")
def test_a_page_of_another_origin_sees_nothing(reports) -> None:
    """A page of another origin can read no response."""
    names = ("get", "put", "broken", "missing", "forbidden method", "large")
    assert dict.fromkeys(names, "blocked") == {name: reports["refused"][name] for name in names}


def test_a_page_of_an_allowed_origin_opens_a_websocket(reports) -> None:
    """The page exchanges messages over a WebSocket, which CORS doesn't cover."""
    assert {"received": ["one", "two"], "code": 1000} == reports["allowed"]["socket"]


def test_a_page_of_another_origin_opens_no_websocket(reports) -> None:
    """The handshake is refused, which pages see as code 1006."""
    assert {"received": [], "code": 1006} == reports["refused"]["socket"]


def test_a_message_that_is_too_large_closes_the_connection(reports) -> None:
    """A message above the limit closes the WebSocket with 1009 (RFC 6455, 7.4.1)."""
    assert {"received": [], "code": 1009} == reports["allowed"]["large message"]
