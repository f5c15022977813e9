"""A provider that issues tokens, and a service that accepts them, both on loopback."""

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import parse_qsl

import anyio
import pytest
from tests.contrib.http.services import reply, serving
from tests.contrib.oidc.clock import Clock

from bandmaster.contrib.http import HttpSettings, open_client
from bandmaster.contrib.oidc import ClientCredentials, ClientCredentialsSettings
from bandmaster.contrib.oidc.client_credentials.token_endpoint import fetch_token


@dataclass
class Provider:
    """Issues the tokens t1, t2 and so on."""

    url: str = ""
    requests: list = field(default_factory=list)
    lifetime: object = 3600
    answers: list = field(default_factory=list)
    """Answers to give first, each a status with a body."""
    gate: anyio.Event | None = None
    """Requests wait for the event before they are answered."""

    async def answer(self, seen, stream):
        self.requests.append(seen)
        number = len(self.requests)
        if self.gate is not None:
            await self.gate.wait()
        if self.answers:
            status, body = self.answers.pop(0)
            return reply(status, json.dumps(body).encode() if isinstance(body, dict) else body)
        issued = {"access_token": f"t{number}", "token_type": "Bearer", "expires_in": self.lifetime}
        return reply(body=json.dumps(issued).encode(), headers={"content-type": "application/json"})

    @property
    def forms(self):
        return [dict(parse_qsl(seen.body.decode())) for seen in self.requests]


@dataclass
class Service:
    """Accepts every token but the refused ones."""

    url: str = ""
    tokens: list = field(default_factory=list)
    refused: set = field(default_factory=set)

    async def answer(self, seen, stream):
        token = seen.headers.get("authorization", "").removeprefix("Bearer ")
        self.tokens.append(token)
        return reply(401 if token in self.refused or "*" in self.refused else 200, seen.body)


@pytest.fixture
def clock():
    """The clock of sources of tokens."""
    return Clock(1000.0)


@pytest.fixture
async def provider():
    """A provider."""
    made = Provider()
    async with serving(made.answer) as served:
        made.url = f"{served.url}/token"
        yield made


@pytest.fixture
async def service():
    """A service."""
    made = Service()
    async with serving(made.answer) as served:
        made.url = served.url
        yield made


@pytest.fixture
async def client():
    """The shared client, with one attempt for each call."""
    async with open_client(HttpSettings(retries=0), "http") as http:
        yield http


@pytest.fixture
def source(client, clock):
    """Opens sources of tokens."""

    @asynccontextmanager
    async def opened(url, *, fetch=None, **options):
        settings = ClientCredentialsSettings(
            token_url=url, client_id="shop", client_secret="hunter2", **{"refetch_cooldown": 0, **options}
        )
        fetch = fetch or partial(fetch_token, client, settings)
        async with anyio.create_task_group() as tasks:
            made = ClientCredentials(fetch, settings, tasks, name="billing", clock=clock)
            yield made
            made.close()
            tasks.cancel_scope.cancel()

    return opened
