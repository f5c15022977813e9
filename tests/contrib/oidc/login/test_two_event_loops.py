"""Two processes that share sessions in Redis: two event loops in two threads, each with a login of its own."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import anyio
import httpx2
import pytest
from pydantic import SecretStr
from tests.contrib.oidc.login.openid_provider import Grant, OpenIDProvider
from tests.contrib.oidc.login.shop import Sites, make_issuer

from bandmaster.contrib.oidc import LoginSettings, Session
from bandmaster.contrib.oidc.errors import InvalidRequestError
from bandmaster.contrib.oidc.issuers.provider import open_providers
from bandmaster.contrib.oidc.login.component import make_login
from bandmaster.contrib.oidc.login.providers import DiscoveredProviders
from bandmaster.contrib.oidc.sessions.cipher import Cipher
from bandmaster.contrib.oidc.sessions.records import PURPOSE
from bandmaster.contrib.oidc.sessions.redis_store import RedisSessionStore
from bandmaster.contrib.oidc.sessions.settings import SessionSettings
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.contrib.redis import RedisSettings, open_client

KEYS = {"1": SecretStr("k" * 43)}


class Gate:
    """An event that several event loops wait for."""

    def __init__(self):
        self.is_open = threading.Event()

    async def wait(self):
        while not self.is_open.is_set():
            await anyio.sleep(0.005)


@dataclass
class Process:
    """A thread with an event loop, a Redis client and a login of its own, in place of a process."""

    provider: OpenIDProvider
    redis_url: str
    is_waiting: threading.Event = field(default_factory=threading.Event)

    def run(self, function):
        """Run an async function of a login in an event loop of this thread."""

        async def main():
            auth = AuthSettings(public_url="https://app.example", issuers=(make_issuer("default", self.provider, {}),))
            sites = Sites({self.provider.issuer: httpx2.ASGITransport(self.provider)})
            async with (
                open_client(RedisSettings(url=self.redis_url, max_connections=60), "redis") as client,
                httpx2.AsyncClient(transport=sites) as outgoing,
                open_providers(auth, outgoing) as providers,
                anyio.create_task_group() as tasks,
            ):
                login = make_login(
                    auth,
                    LoginSettings(),
                    SessionSettings(keys=KEYS),
                    RedisSessionStore(client, Cipher(KEYS, PURPOSE)),
                    DiscoveredProviders(providers),
                    outgoing,
                    tasks,
                )
                return await function(login)

        return anyio.run(main, backend="asyncio")


def make_session(provider):
    """A session with an access token that has expired."""
    grant = Grant({"scope": "openid"}, ["refresh-1"], used=True)
    provider.grants.append(grant)
    now = time.time()
    return Session(
        provider="default",
        issuer=provider.issuer,
        subject=provider.user,
        sid=provider.sid,
        created_at=now - 600,
        expires_at=now + 3600,
        access_token="old",
        access_expires_at=now - 1,
        refresh_token="refresh-1",
    )


@pytest.mark.requirement("AU-6", "CA-41")
def test_fifty_requests_in_two_processes_refresh_once(redis_url):
    """With a token endpoint that takes its time, one of two processes calls it, and 50 requests get the new token."""
    provider = OpenIDProvider()
    session = make_session(provider)
    gate = provider.token_gate = Gate()
    processes = [Process(provider, redis_url), Process(provider, redis_url)]

    async def prepare(login):
        return await login.store.put(session)

    handle = processes[0].run(prepare)

    def serve(process):
        async def load_all(login):
            tokens = []

            async def load():
                tokens.append((await login.refresher.load(handle)).access_token)

            async with anyio.create_task_group() as tasks:
                for _ in range(25):
                    tasks.start_soon(load)
                while login.refresher.is_idle:
                    await anyio.sleep(0.005)
                process.is_waiting.set()
            return tokens

        return process.run(load_all)

    with ThreadPoolExecutor(2, "scenario") as pool:
        results = [pool.submit(serve, process) for process in processes]
        for process in processes:
            assert process.is_waiting.wait(60)
        while not provider.token_requests:
            time.sleep(0.005)
        gate.is_open.set()
        tokens = [token for result in results for token in result.result(60)]
    assert len(tokens) == 50
    assert len(set(tokens)) == 1
    assert tokens[0] in provider.access_tokens
    assert [request["refresh_token"] for request in provider.token_requests] == ["refresh-1"]
    assert not provider.grants[0].revoked


@pytest.mark.requirement("CA-25")
def test_a_logout_of_the_provider_reaches_every_process(redis_url):
    """A logout token that one process takes ends sessions in the other, and is refused by the other afterwards."""
    provider = OpenIDProvider()
    session = make_session(provider)
    token = provider.make_logout_token()
    first, second = Process(provider, redis_url), Process(provider, redis_url)

    async def prepare(login):
        return await login.store.put(session)

    async def log_out(login):
        return await login.logout.end_by_provider(token)

    async def log_out_again(login):
        with pytest.raises(InvalidRequestError, match="used before"):
            await login.logout.end_by_provider(token)

    async def look(login):
        return await login.store.get(handle)

    handle = first.run(prepare)
    assert first.run(log_out) == 1
    assert second.run(look) is None
    second.run(log_out_again)
