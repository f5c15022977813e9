"""Refreshes of one session by many requests in two processes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.contrib.oidc.sessions.conftest import SHARED, make_session

pytestmark = [pytest.mark.anyio, pytest.mark.process]

PROCESS = """
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
import anyio
from pydantic import SecretStr
from bandmaster.contrib.oidc.sessions.cipher import Cipher
from bandmaster.contrib.oidc.sessions.records import PURPOSE

kind, url, session_id, calls = sys.argv[1:]
options = {"lease": 0.5, "lock_wait": 60}
cipher = Cipher({"first": SecretStr("k" * 43)}, PURPOSE)


@asynccontextmanager
async def open_store():
    if kind == "redis":
        from bandmaster.contrib.oidc.sessions.redis_store import RedisSessionStore
        from bandmaster.contrib.redis import RedisSettings, open_client

        async with open_client(RedisSettings(url=url), "sessions") as client:
            yield RedisSessionStore(client, cipher, **options)
    else:
        from bandmaster.contrib.oidc.sessions.sql_store import SqlSessionStore
        from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings

        manager = DatabaseManager(DatabaseSettings(url=url, slow_query=0))
        try:
            yield SqlSessionStore(manager, cipher, **options)
        finally:
            await manager.dispose()


async def refresh(store):
    async with store.lock(session_id):
        session = await store.get(session_id)
        if session.refresh_token != "used":
            with open(calls, "a") as file:
                file.write("refresh\\n")
            await anyio.sleep(1.5)  # a slow token endpoint: three leases
            await store.replace(session_id, replace(session, refresh_token="used", access_token="new"))


async def main():
    async with open_store() as store, anyio.create_task_group() as requests:
        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        for _ in range(25):
            requests.start_soon(refresh, store)


anyio.run(main)
"""


@pytest.mark.requirement("CA-41")
@pytest.mark.parametrize("kind", SHARED.kinds)
async def test_fifty_requests_in_two_processes_refresh_once(kind, request, tmp_path, open_store):
    """The token endpoint takes longer than the lease, and is called once; every request ends with the new token."""
    calls = tmp_path / "calls"
    url = {
        "redis": lambda: request.getfixturevalue("redis_url_of_test"),
        "sqlite": lambda: f"sqlite:///{tmp_path / 'sessions.db'}",
        "postgres": lambda: request.getfixturevalue("postgres_of_test"),
    }[kind]()
    store = await open_store(kind)
    session = make_session(refresh_token="one", access_token="old")
    await store.put(session)
    command = [sys.executable, "-W", "error", "-c", PROCESS, kind, url, session.id, str(calls)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        processes = [one, other]
        for process in processes:
            assert "ready\n" == process.stdout.readline(), process.stderr.read()
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        done = [(process.communicate(timeout=120)[1], process.returncode) for process in processes]
    assert [("", 0)] * 2 == done
    assert ["refresh"] == calls.read_text().split()
    found = await store.get(session.id)
    assert found is not None and ("used", "new") == (found.refresh_token, found.access_token)
