"""The accounts of the box office: people log in, make API keys, and read the report with them."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import distribution
from pathlib import Path
from unittest import mock

import httpx2
import pytest
from dotenv import dotenv_values
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.types import ASGIApp
from tests.test_examples import GROUPS, PARTS

from bandmaster.kernel import Application, create_app
from bandmaster.kernel.testing import Running, free_port, run

pytestmark = pytest.mark.anyio
ENV_FILE = Path(__file__).parent.parent / "examples" / "boxoffice" / "development.env"
PUBLIC_URL = "http://127.0.0.1:8000"
WITH_ACCOUNTS = (
    *PARTS,
    *(
        point.load()
        for name in ("http", "oidc")
        for point in distribution(f"bandmaster-{name}").entry_points
        if point.group in GROUPS
    ),
)
NAVIGATION = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "sec-fetch-site": "same-origin"}
KEY = re.compile(r"bmk_live_\w+")


@pytest.fixture
def anyio_backend() -> str:
    """SQLAlchemy's asynchronous engines run on asyncio only."""
    return "asyncio"


@asynccontextmanager
async def run_box_office(folder: Path, host: ASGIApp | None = None) -> AsyncIterator[Running]:
    """The box office with the settings of its env file, at addresses that are free."""
    provider = f"http://127.0.0.1:{free_port()}"
    settings = {
        **dotenv_values(ENV_FILE),
        "AUTH_DEV_PROVIDER": provider,
        "AUTH_ISSUER": provider,
        "DATABASE_URL": f"sqlite:///{folder / 'house'}",
    }
    with mock.patch.dict(os.environ, {name: value or "" for name, value in settings.items()}):
        app: Application = create_app(host or FastAPI(), contributions=WITH_ACCOUNTS, discover=False)
        async with run(app, base_url=PUBLIC_URL) as running:
            yield running


async def visit(running: Running, url: str, user: str | None = None) -> httpx2.Response:
    """Follow redirects as a browser does, from the box office to the provider and back."""
    async with httpx2.AsyncClient(trust_env=False) as outside:
        target = httpx2.URL(PUBLIC_URL).join(url)
        for _ in range(10):
            client = running.client if str(target).startswith(f"{PUBLIC_URL}/") else outside
            response = await client.get(target, headers=NAVIGATION)
            if response.status_code == 200 and "asks who you are" in response.text:
                assert user is not None, "nobody was to log in"
                response = await outside.post(response.url, data={"user": user})
            if not response.is_redirect:
                return response
            target = response.url.join(response.headers["location"])
    raise AssertionError("redirects for ever")


async def press(running: Running, path: str, **fields: str) -> httpx2.Response:
    """Press a button of the page."""
    return await running.client.post(path, data=fields, headers=NAVIGATION)


async def test_a_person_makes_a_key_and_a_program_uses_the_key(tmp_path: Path) -> None:
    """The login leads back to the account, which shows the new key once."""
    async with run_box_office(tmp_path) as running:
        page = await visit(running, "/account", "alice")
        made = await press(running, "/account/keys", name="the <nightly> report")
        (key,) = KEY.findall(made.text)
        again = await visit(running, "/account")
        running.client.cookies.clear()
        report = await running.client.get("/reports/sales", headers={"x-api-key": key})
        refused = [await running.client.get("/reports/sales", headers=headers) for headers in ({}, {"x-api-key": "x"})]
    assert ("/account", True) == (page.url.path, "You have no keys." in page.text)
    assert ("no-store", []) == (made.headers["cache-control"], KEY.findall(again.text))
    assert "the &lt;nightly&gt; report" in again.text
    assert (200, {"opera": 0, "playhouse": 0}) == (report.status_code, report.json())
    assert [401, 401] == [response.status_code for response in refused]


async def test_a_login_itself_reads_the_report(tmp_path: Path) -> None:
    """Where the scope comes from makes no difference."""
    async with run_box_office(tmp_path) as running:
        await visit(running, "/account", "alice")
        report = await running.client.get("/reports/sales")
    assert 200 == report.status_code


async def test_a_person_without_the_scope_can_give_none(tmp_path: Path) -> None:
    """bob may not grant the scope: neither he nor his key reads the report."""
    async with run_box_office(tmp_path) as running:
        await visit(running, "/account", "bob")
        (key,) = KEY.findall((await press(running, "/account/keys", name="mine")).text)
        by_login = await running.client.get("/reports/sales")
        running.client.cookies.clear()
        by_key = await running.client.get("/reports/sales", headers={"x-api-key": key})
    assert [403, 403] == [by_login.status_code, by_key.status_code]


async def test_a_key_is_rotated_and_revoked(tmp_path: Path) -> None:
    """The old key serves on for a day, and ends at once where the person says so."""
    async with run_box_office(tmp_path) as running:
        await visit(running, "/account", "alice")
        (old,) = KEY.findall((await press(running, "/account/keys", name="mine")).text)
        old_id = old.removeprefix("bmk_live_")[:13]
        (new,) = KEY.findall((await press(running, f"/account/keys/{old_id}/rotate")).text)
        both = [
            (await running.client.get("/reports/sales", headers={"x-api-key": key})).status_code for key in (old, new)
        ]
        again = await press(running, f"/account/keys/{old_id}/rotate")
        ended = await press(running, f"/account/keys/{old_id}/revoke")
        page = await visit(running, "/account")
        after = [
            (await running.client.get("/reports/sales", headers={"x-api-key": key})).status_code for key in (old, new)
        ]
    assert ([200, 200], [401, 200]) == (both, after)
    assert [(303, "/account")] * 2 == [(each.status_code, each.headers["location"]) for each in (again, ended)]
    assert new.removeprefix("bmk_live_")[:13] in page.text
    assert old_id not in page.text


async def test_a_person_manages_no_keys_of_others(tmp_path: Path) -> None:
    """Another person's key is answered like one that doesn't exist, and goes on working."""
    async with run_box_office(tmp_path) as running:
        await visit(running, "/account", "alice")
        (key,) = KEY.findall((await press(running, "/account/keys", name="mine")).text)
        key_id = key.removeprefix("bmk_live_")[:13]
        running.client.cookies.clear()
        page = await visit(running, "/account", "bob")
        statuses = [
            (await press(running, f"/account/keys/{each}/{action}")).status_code
            for each in (key_id, "0" * 13, "x")
            for action in ("rotate", "revoke")
        ]
        running.client.cookies.clear()
        report = await running.client.get("/reports/sales", headers={"x-api-key": key})
    assert ([404] * 6, 200, False) == (statuses, report.status_code, key_id in page.text)


async def test_a_program_manages_no_keys(tmp_path: Path) -> None:
    """A key that leaked can't make further ones."""
    async with run_box_office(tmp_path) as running:
        await visit(running, "/account", "alice")
        (key,) = KEY.findall((await press(running, "/account/keys", name="mine")).text)
        running.client.cookies.clear()
        headers = {"x-api-key": key}
        shown = await running.client.get("/account", headers=headers)
        made = await running.client.post("/account/keys", data={"name": "another"}, headers=headers)
    assert [403, 403] == [shown.status_code, made.status_code]


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_a_page_elsewhere_makes_no_keys(tmp_path: Path, origin: str) -> None:
    """The session's cookie alone doesn't do: the request must come from our own page."""
    async with run_box_office(tmp_path) as running:
        await visit(running, "/account", "alice")
        headers = {"origin": origin, "sec-fetch-site": "cross-site"}
        forged = await running.client.post("/account/keys", data={"name": "theirs"}, headers=headers)
        page = await visit(running, "/account")
    assert (403, True) == (forged.status_code, "You have no keys." in page.text)


async def test_a_logout_ends_the_session(tmp_path: Path) -> None:
    """After the logout the account asks for a login again."""
    async with run_box_office(tmp_path) as running:
        await visit(running, "/account", "alice")
        left = await press(running, "/auth/logout")
        landed = await visit(running, left.headers["location"])
        profile = await running.client.get("/auth/profile")
        with pytest.raises(AssertionError, match="nobody was to log in"):
            await visit(running, "/account")
    assert (303, "/", 401) == (left.status_code, landed.url.path, profile.status_code)


async def test_a_name_is_needed(tmp_path: Path) -> None:
    """A form with a name that is empty or too long makes no key."""
    async with run_box_office(tmp_path) as running:
        await visit(running, "/account", "alice")
        statuses = [(await press(running, "/account/keys", name=name)).status_code for name in ("", "x" * 61)]
    assert [422, 422] == statuses


async def test_accounts_serve_behind_a_starlette_host(tmp_path: Path) -> None:
    """The routes are mounted if the host isn't a FastAPI app."""
    async with run_box_office(tmp_path, Starlette()) as running:
        page = await visit(running, "/account", "alice")
        shows = await running.client.get("/houses/opera/shows")
    assert [200, 200] == [page.status_code, shows.status_code]


async def test_without_a_provider_there_are_no_accounts(tmp_path: Path) -> None:
    """The box office runs as before, and its plan says why there is no report."""
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path / 'house'}", "DATABASE_MIGRATE_ON_START": "true"}
    with mock.patch.dict(os.environ, settings):
        app = create_app(FastAPI(), contributions=WITH_ACCOUNTS, discover=False)
        async with run(app) as running:
            statuses = [(await running.client.get(path)).status_code for path in ("/", "/account", "/auth/profile")]
    assert [200, 404, 404] == statuses
