"""The verifier of opaque tokens as a component, behind the verifier of all tokens."""

from __future__ import annotations

import os

import httpx2
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from bandmaster.contrib.oidc.component import identity_providers, token_verifier
from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidTokenError
from bandmaster.contrib.oidc.introspection.component import find_introspection_problems, introspection
from bandmaster.contrib.oidc.settings import AuthSettings
from bandmaster.contrib.oidc.verifier import TokenVerifier
from bandmaster.kernel import Kernel, Problem

pytestmark = pytest.mark.anyio
PARTS = [identity_providers, token_verifier, introspection]
ISSUER = "https://id.example"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """No variable of this package is set."""
    for name in [name for name in os.environ if name.startswith("AUTH_")]:
        monkeypatch.delenv(name)


def make_settings(**values):
    return AuthSettings(
        **{
            "issuer": ISSUER,
            "audiences": ("shop",),
            "access_token_type": "opaque",
            "client_id": "api",
            "client_secret": SecretStr("s"),
            "login": False,
            **values,
        }
    )


class ProviderApp:
    """A provider with discovery and introspection."""

    def __init__(self, *, names_endpoint=True):
        self.paths = []
        self.document = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}
        if names_endpoint:
            self.document["introspection_endpoint"] = f"{ISSUER}/introspect"
        self.app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.discover),
                Route("/introspect", self.introspect, methods=["POST"]),
                Route("/internal/introspect", self.introspect, methods=["POST"]),
            ]
        )

    async def discover(self, request):
        self.paths.append(request.url.path)
        return JSONResponse(self.document)

    async def introspect(self, request):
        self.paths.append(request.url.path)
        token = (await request.body()).decode()
        return JSONResponse({"active": "token=good&" in token, "sub": "ada", "aud": "shop"})


def make_kernel(provider, settings):
    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=provider.app))
    overrides = {AuthSettings: settings, httpx2.AsyncClient: client}
    return Kernel(contributions=PARTS, discover=False, overrides=overrides, role="web")


async def test_opaque_tokens_are_asked_about_where_discovery_says():
    """Discovery is asked once, and the start asks nothing."""
    provider = ProviderApp()
    async with make_kernel(provider, make_settings()).running() as resources:
        assert [] == provider.paths
        verifier = resources[TokenVerifier]
        assert "ada" == (await verifier.verify("good")).subject
        with pytest.raises(InvalidTokenError):
            await verifier.verify("bad")
    assert ["/.well-known/openid-configuration", "/introspect", "/introspect"] == provider.paths


@pytest.mark.requirement("CA-01")
async def test_the_endpoint_may_be_set_apart():
    """Discovery isn't asked then."""
    provider = ProviderApp()
    settings = make_settings(introspection_url=f"{ISSUER}/internal/introspect")
    async with make_kernel(provider, settings).running() as resources:
        await resources[TokenVerifier].verify("good")
    assert ["/internal/introspect"] == provider.paths


async def test_a_provider_without_the_endpoint_is_told():
    """The message names the setting."""
    async with make_kernel(ProviderApp(names_endpoint=False), make_settings()).running() as resources:
        with pytest.raises(AuthUnavailableError, match="introspection_url"):
            await resources[TokenVerifier].verify("good")


def test_it_is_there_only_for_opaque_tokens():
    """Signed tokens need no one to ask."""
    kernel = make_kernel(ProviderApp(), make_settings(access_token_type="any"))
    assert ["identity_providers", "token_verifier"] == [component.name for component in kernel.plan.components]


def test_a_provider_without_a_client_is_refused():
    """A client without a secret is warned of."""
    (found,) = find_introspection_problems(make_settings(client_id=None, client_secret=None))
    assert isinstance(found, Problem) and "AUTH_CLIENT_ID" in found.hint
    (found,) = find_introspection_problems(make_settings(client_secret=None))
    assert isinstance(found, str) and "AUTH_CLIENT_SECRET" in found
    assert [] == list(find_introspection_problems(make_settings()))
