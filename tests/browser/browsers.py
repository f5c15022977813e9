"""A browser with several windows, controlled by the DevTools protocol."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import websockets.sync.client
from tests.browser.test_box_office import Page
from tests.browser.test_origins import CHROMIUM, FLAGS, PATIENCE
from tests.processes.conftest import running, until_answered
from tests.whole_lines import read_first_line


class Browser:
    """A running browser."""

    def __init__(self, port: str, stack: ExitStack) -> None:
        self._port = port
        self._stack = stack

    def find_page(self, address: str) -> Page:
        """Control the window whose address begins with a text, as soon as there is one."""
        end = time.monotonic() + PATIENCE
        while not (found := [each for each in self._list_pages() if each["url"].startswith(address)]):
            assert time.monotonic() < end, f"no window is at {address}: {self._list_pages()}"
            time.sleep(0.05)
        socket = websockets.sync.client.connect(found[0]["webSocketDebuggerUrl"], max_size=None)
        return Page(self._stack.enter_context(socket))

    def _list_pages(self) -> list[dict]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/json/list", timeout=PATIENCE) as answer:
            return [each for each in json.load(answer) if each["type"] == "page"]


@contextmanager
def open_browser(url: str, folder: Path, *flags: str) -> Iterator[Browser]:
    """Open a browser at an address, with further command-line flags."""
    assert CHROMIUM is not None, "chromium is missing: apt-get install chromium"
    log, port_file = folder / "browser.log", folder / "profile" / "DevToolsActivePort"
    known = [*FLAGS, "--window-size=800,1000", "--remote-debugging-port=0", f"--user-data-dir={port_file.parent}"]
    with running([CHROMIUM, *known, *flags, url], log) as process, ExitStack() as stack:
        port = until_answered(lambda: read_first_line(port_file), process, log)
        yield Browser(port, stack)


def click(page: Page, selector: str) -> None:
    """Click as a person does, as soon as there is something to click. Only a person may open a window."""
    page.until(f"document.querySelector({json.dumps(selector)}) !== null")
    script = f"document.querySelector({json.dumps(selector)}).click()"
    page.call("Runtime.evaluate", expression=script, userGesture=True)
