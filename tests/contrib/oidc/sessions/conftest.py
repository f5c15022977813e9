"""Session stores of each kind, on real servers."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace

import pytest
from pydantic import SecretStr
from tests.contrib.oidc.real_stores import anyio_backend as anyio_backend
from tests.contrib.oidc.real_stores import clock as clock
from tests.contrib.oidc.real_stores import start_redis as start_redis

from bandmaster.contrib.oidc.sessions.cipher import Cipher
from bandmaster.contrib.oidc.sessions.memory import MemorySessionStore
from bandmaster.contrib.oidc.sessions.records import PURPOSE
from bandmaster.contrib.oidc.sessions.redis_store import RedisSessionStore
from bandmaster.contrib.oidc.sessions.sql_store import SqlSessionStore
from bandmaster.contrib.oidc.sessions.store import Session
from bandmaster.contrib.oidc.sessions.tables import metadata
from bandmaster.contrib.persistence import DatabaseManager, DatabaseSettings
from bandmaster.contrib.redis import RedisSettings, open_client

KEY = "k" * 43


def make_session(**values):
    """A session of somebody, valid for an hour."""
    now = time.time()
    return Session(
        **{
            "provider": "main",
            "issuer": "https://id.example",
            "subject": "ada",
            "created_at": now,
            "expires_at": now + 3600,
            **values,
        }
    )


def make_cipher(purpose=PURPOSE, **keys):
    return Cipher({name: SecretStr(key) for name, key in (keys or {"first": KEY}).items()}, purpose)


@pytest.fixture
async def open_store(request, clock, tmp_path):
    """Opens a store of a kind; two stores of one kind in one test share the sessions, as processes do."""
    async with AsyncExitStack() as stack:

        async def open_store(kind, **options):
            options = {"clock": clock, **options}
            if kind == "memory":
                return MemorySessionStore(**{name: value for name, value in options.items() if name != "lease"})
            cipher = options.pop("cipher", None) or make_cipher()
            if kind == "redis":
                url = request.getfixturevalue("redis_url_of_test")
                client = await stack.enter_async_context(open_client(RedisSettings(url=url), "sessions"))
                return RedisSessionStore(client, cipher, **options)
            if kind == "sqlite":
                url = f"sqlite:///{tmp_path / 'sessions.db'}"
            else:
                url = request.getfixturevalue("postgres_of_test")
            manager = await stack.enter_async_context(open_manager(url))
            return SqlSessionStore(manager, cipher, **options)

        yield open_store


@pytest.fixture
def redis_url_of_test(redis_url):
    return redis_url


@pytest.fixture
def postgres_of_test(postgres_database):
    return postgres_database.owner_url()


@asynccontextmanager
async def open_manager(url):
    """The manager of a database that has the tables of sessions."""
    manager = DatabaseManager(DatabaseSettings(url=url, connect_timeout=10, slow_query=0))
    try:
        async with manager.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        yield manager
    finally:
        await manager.dispose()


@pytest.fixture(params=["memory", "redis", "sqlite", "postgres"])
async def store(request, open_store):
    """A store of each kind on the server."""
    # Fixtures that start servers aren't asynchronous, and are asked for before the store is.
    if request.param == "redis":
        request.getfixturevalue("redis_url_of_test")
    if request.param == "postgres":
        request.getfixturevalue("postgres_of_test")
    return await open_store(request.param)


SHARED = SimpleNamespace(kinds=["redis", "sqlite", "postgres"])
"""The kinds of stores that processes share."""
