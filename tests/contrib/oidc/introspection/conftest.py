"""An introspection endpoint that the test controls, as an ASGI application."""

from __future__ import annotations

import base64
import time
from urllib.parse import parse_qs

import anyio
import httpx2
import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tests.contrib.oidc.clock import Clock

from bandmaster.contrib.oidc.introspection.settings import IntrospectionSettings
from bandmaster.contrib.oidc.introspection.verifier import IntrospectionVerifier
from bandmaster.contrib.oidc.settings import IssuerSettings

URL = "https://id.example/introspect"


class Endpoint:
    """Answers about known tokens, and remembers the requests."""

    def __init__(self):
        self.clock = Clock(time.time())
        self.monotonic = Clock(1000.0)
        self.answers = {"good": {"active": True, "sub": "ada", "aud": "shop", "scope": "read", "jti": "t"}}
        self.requests = []
        self.response = None
        """The response to every request."""
        self.responses = {}
        """The responses to requests about single tokens."""
        self.hold = None

    async def __call__(self, scope, receive, send):
        request = Request(scope, receive)
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        self.requests.append((request, form))
        if self.hold is not None:
            await self.hold.wait()
        response = self.responses.get(form["token"], self.response)
        if isinstance(response, Exception):
            raise response
        if response is None:
            response = JSONResponse(self.answers.get(form["token"], {"active": False}))
        await response(scope, receive, send)

    @property
    def tokens(self):
        return [form["token"] for _, form in self.requests]

    def advance(self, seconds):
        self.clock.now += seconds
        self.monotonic.now += seconds


@pytest.fixture
def endpoint():
    return Endpoint()


@pytest.fixture
async def make_verifier(endpoint):
    """Makes verifiers that ask the endpoint."""
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=endpoint)) as client:

        def make_verifier(provider=None, **options):
            values = {
                "issuer": "https://id.example",
                "audiences": ("shop",),
                "client_id": "api:1",
                "client_secret": SecretStr("s e:cret%"),
                **(provider or {}),
            }

            async def address():
                return URL

            return IntrospectionVerifier(
                IssuerSettings(**values),
                client,
                address,
                IntrospectionSettings(**options),
                clock=endpoint.clock,
                monotonic=endpoint.monotonic,
            )

        yield make_verifier


def decode_basic(header):
    kind, _, encoded = header.partition(" ")
    assert "Basic" == kind
    return base64.b64decode(encoded).decode()


async def wait_until(condition):
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0)


def plain(status, body=b"", headers=None):
    return Response(body, status, headers=headers)
