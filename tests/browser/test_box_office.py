"""The page of the box office in a real browser."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import websockets.sync.client
from tests.browser.test_origins import CHROMIUM, FLAGS, PATIENCE
from tests.processes.conftest import free_port, running, until_answered
from tests.whole_lines import read_first_line

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="needs chromium: apt-get install chromium"),
]


class Page:
    """A page that a browser has open, controlled by the DevTools protocol."""

    def __init__(self, socket: websockets.sync.client.ClientConnection) -> None:
        self._socket = socket
        self._calls = 0

    def call(self, method: str, **params: object) -> dict:
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": params}))
        while (answer := json.loads(self._socket.recv(PATIENCE))).get("id") != self._calls:
            pass
        return answer.get("result", {})  # there is none if the page is being replaced, as it is while it loads

    def evaluate(self, script: str) -> object:
        return self.call("Runtime.evaluate", expression=script, returnByValue=True).get("result", {}).get("value")

    def until(self, script: str) -> None:
        """Wait until a script returns a true value."""
        end = time.monotonic() + PATIENCE
        while not self.evaluate(script):
            assert time.monotonic() < end, (
                f"the script never returned true: {script}\n{self.evaluate('document.body.innerText')}"
            )
            time.sleep(0.05)


@contextmanager
def open_page(url: str, folder: Path) -> Iterator[Page]:
    """The page in a browser."""
    assert CHROMIUM is not None, "chromium is missing: apt-get install chromium"
    log, port_file = folder / "browser.log", folder / "profile" / "DevToolsActivePort"
    flags = [*FLAGS, "--window-size=800,1000", "--remote-debugging-port=0", f"--user-data-dir={port_file.parent}"]
    with running([CHROMIUM, *flags, url], log) as process:
        port = until_answered(lambda: read_first_line(port_file), process, log)
        pages = f"http://127.0.0.1:{port}/json/list"
        page = until_answered(lambda: _find_page(pages), process, log)
        with websockets.sync.client.connect(page, max_size=None) as socket:
            yield Page(socket)


def _find_page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        found = [each["webSocketDebuggerUrl"] for each in json.load(answer) if each["type"] == "page"]
    if not found:
        raise OSError("no page yet")
    return found[0]


@pytest.fixture
def box_office(tmp_path: Path) -> Iterator[str]:
    """The URL of the box office in a process of its own."""
    port, log = free_port(), tmp_path / "server.log"
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "bandmaster.kernel.cli", "run", "stepwise_box_office:app", "--port", str(port)]
    settings = {"DATABASE_MIGRATE_ON_START": "true", "PYTHONPATH": str(Path(__file__).parent)}
    with running(command, log, cwd=tmp_path, **settings) as process:
        until_answered(lambda: urllib.request.urlopen(url, timeout=PATIENCE).close(), process, log)
        yield url


def test_a_person_sees_tickets_being_printed(box_office: str, tmp_path: Path) -> None:
    """The progress bar of a purchase waits, moves, and reaches its end."""
    with open_page(box_office, tmp_path) as page:
        page.until("document.querySelector('article button') !== null")
        page.evaluate("""
            window.seen = [];
            new MutationObserver(() => seen.push(document.querySelector(".print").className))
                .observe(document.getElementById("prints"), {childList: true, subtree: true, attributes: true});
            document.querySelector("article button").click();
        """)
        for state in ("printing", "printed"):
            urllib.request.urlopen(f"{box_office}/print", b"", timeout=PATIENCE).close()
            page.until(f"document.querySelector('.print.{state}') !== null")
        bar = page.evaluate("(({value, max}) => [value, max])(document.querySelector('.print progress'))")
        text = page.evaluate("document.querySelector('.print span').textContent")
        free = page.evaluate("document.querySelector('article header span').textContent")
        seen = page.evaluate("[...new Set(seen)]")
    assert ([2, 2], "Aida: 2 tickets printed", "38 of 40 free") == (bar, text, free)
    assert ["print waiting", "print printing", "print printed"] == seen
