"""A person logs in to the box office in a real browser, and makes an API key."""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.browser.browsers import click, open_browser
from tests.browser.test_origins import CHROMIUM, PATIENCE, ROOT
from tests.processes.conftest import free_port, running, until_answered

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="needs chromium: apt-get install chromium"),
]


@pytest.fixture
def box_office(tmp_path: Path) -> Iterator[str]:
    """The URL of the box office in a process of its own, with the settings of its env file."""
    port, log = free_port(), tmp_path / "server.log"
    url, provider = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    env_file = ROOT / "examples" / "boxoffice" / "development.env"
    command = [sys.executable, "-m", "bandmaster.kernel.cli", "run", "boxoffice:app", "--port", str(port)]
    settings = {"AUTH_PUBLIC_URL": url, "AUTH_DEV_PROVIDER": provider, "AUTH_ISSUER": provider}
    with running([*command, "--env-file", str(env_file)], log, cwd=tmp_path, **settings) as process:
        until_answered(lambda: urllib.request.urlopen(url, timeout=PATIENCE).close(), process, log)
        yield url


@pytest.mark.requirement("CA-28")
def test_a_person_logs_in_and_makes_a_key(box_office: str, tmp_path: Path) -> None:
    """By plain HTTP on a developer's machine: the page knows who is logged in, and a key works until its end."""
    with open_browser(box_office, tmp_path) as browser:
        page = browser.find_page(box_office)
        page.until("document.getElementById('who').textContent === 'Log in'")
        click(page, "#who")
        click(page, "button[value=alice]")
        page.until("document.getElementById('user')?.textContent === 'alice'")
        page.evaluate("document.querySelector('input[name=name]').value = 'my program'")
        click(page, "form[action='/account/keys'] button")
        page.until("document.querySelector('.new code') !== null")
        key = str(page.evaluate("document.querySelector('.new code').textContent"))
        assert re.fullmatch(r"bmk_live_\w+", key)
        assert {"opera": 0, "playhouse": 0} == read_report(box_office, key)
        click(page, "form[action$='/revoke'] button")
        page.until("document.body.innerText.includes('You have no keys.')")
        assert 401 == read_report(box_office, key)
        click(page, "header a")
        page.until("document.getElementById('who')?.textContent === 'alice'")
        cookies = page.call("Network.getCookies", urls=[box_office])["cookies"]
        click(page, "#who")
        click(page, "form[action='/auth/logout'] button")
        page.until("document.getElementById('who')?.textContent === 'Log in'")
    assert [("session", True, "Lax")] == [(each["name"], each["httpOnly"], each["sameSite"]) for each in cookies]


def read_report(url: str, key: str) -> object:
    """The report, or the status of the refusal."""
    request = urllib.request.Request(f"{url}/reports/sales", headers={"x-api-key": key})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
