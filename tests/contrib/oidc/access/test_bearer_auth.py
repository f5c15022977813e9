"""The layer for bearer tokens around HTTP requests, from the header to the handler."""

from __future__ import annotations

import logging
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.contrib.oidc.access.apps import describe_caller, serve

from bandmaster.contrib.oidc import (
    AuthUnavailableError,
    InvalidTokenError,
    Principal,
    RevocationList,
    TokenStoreError,
    TokenVerifier,
    current_principal,
    principal_context,
    require,
    set_principal,
)
from bandmaster.contrib.oidc.testing import ActingUsers
from bandmaster.contrib.oidc.token_store.component import token_store
from bandmaster.contrib.oidc.token_store.settings import TokenStoreSettings
from bandmaster.contrib.oidc.token_store.store import TokenStore
from bandmaster.kernel import MiddlewareBand, create_app, middleware, value
from bandmaster.kernel.testing import Running

pytestmark = pytest.mark.anyio

SECRET_REASON = "the signature of key 'k1' doesn't fit alg ES256"


class Verifier:
    """A verifier that fails in one way."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def verify(self, token: str) -> Principal:
        raise self.error


class Revoked:
    """A list of revoked credentials that can be away."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.is_away = False

    async def is_revoked(self, principal: Principal) -> bool:
        if self.is_away:
            raise TokenStoreError("Redis at cache:6379 can't be used", retry_after=7)
        return principal.credential_id in self.ids


@pytest.mark.requirement("CF-33")
async def test_a_good_token() -> None:
    """The principal is in the request, in the context, in the log and in the request's context."""
    users = ActingUsers()
    async with serve(users=users) as running:
        response = await running.client.get("/", headers=users.act_as("ada"))
    assert response.json() == {"request": "ada", "state": "ada", "context": "ada", "user": "ada"}


async def test_no_token() -> None:
    """A request without a token passes: whether a route needs one is for the route to say."""
    async with serve(users=ActingUsers()) as running:
        response = await running.client.get("/")
    assert response.json() == {"request": None, "state": None, "context": None, "user": None}


@pytest.mark.requirement("AU-8", "AU-13")
async def test_a_bad_token(caplog: pytest.LogCaptureFixture) -> None:
    """The client gets 401 with a constant text, and the log the reason."""
    caplog.set_level(logging.INFO)
    async with serve(overrides={TokenVerifier: Verifier(InvalidTokenError(SECRET_REASON))}) as running:
        response = await running.client.get("/", headers={"authorization": "Bearer some.secret.token"})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    problem = response.json()
    assert problem.pop("request_id")
    assert problem == {
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "detail": "The credential is invalid, has expired or was revoked.",
        "instance": "/",
        "error": "invalid_token",
    }
    assert SECRET_REASON.replace("'", "") in caplog.text.replace("'", "")
    assert "some.secret.token" not in caplog.text


@pytest.mark.requirement("AU-8")
async def test_all_bad_tokens_look_the_same() -> None:
    """Neither the headers nor the body tell a forged token from an expired one."""
    answers = set()
    for reason in (SECRET_REASON, "the token expired 3 s ago", "the audience is 'other'"):
        async with serve(overrides={TokenVerifier: Verifier(InvalidTokenError(reason))}) as running:
            response = await running.client.get("/", headers={"authorization": "Bearer a"})
            kept = {name: text for name, text in response.headers.items() if name != "x-request-id"}
            answers.add((response.status_code, str(sorted(kept.items())), str(response.json() | {"request_id": ""})))
    assert len(answers) == 1


async def test_several_places() -> None:
    """Credentials in two places are 400, with the code of RFC 6750."""
    users = ActingUsers()
    one, other = users.act_as("ada"), users.act_as("bob")
    async with serve(users=users) as running:
        headers = [*one.items(), *other.items()]
        response = await running.client.get("/", headers=headers)
    assert (response.status_code, response.headers["www-authenticate"]) == (400, 'Bearer error="invalid_request"')


@pytest.mark.requirement("CA-06", "CA-09")
async def test_keys_that_cannot_be_had() -> None:
    """While nothing can be verified, a request with a token gets 503 with Retry-After, and one without is served."""
    error = AuthUnavailableError("https://id.example/jwks doesn't answer", retry_after=2.2)
    async with serve(overrides={TokenVerifier: Verifier(error)}) as running:
        refused = await running.client.get("/", headers={"authorization": "Bearer a"})
        served = await running.client.get("/")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "3")
    assert "www-authenticate" not in refused.headers
    assert "id.example" not in refused.text
    assert served.status_code == 200


async def test_a_verifier_that_is_degraded_away() -> None:
    """Configured providers without a verifier mean 503 for tokens: they are neither ignored nor called bad."""
    settings = {"issuer": "https://id.example", "audiences": ("api",)}
    async with serve(auth=settings) as running:
        refused = await running.client.get("/", headers={"authorization": "Bearer a"})
    assert refused.status_code == 503


async def test_without_providers_the_layer_is_left_out() -> None:
    """Where nothing verifies tokens, a token means nothing, and routes that require a principal refuse."""
    routes = [Route("/", describe_caller), Route("/mine", describe_caller, middleware=[require()])]
    async with serve(routes=routes) as running:
        ignored = await running.client.get("/", headers={"authorization": "Bearer a"})
        refused = await running.client.get("/mine", headers={"authorization": "Bearer a"})
    assert (ignored.json()["request"], refused.status_code) == (None, 401)


@pytest.mark.requirement("CA-43")
async def test_a_revoked_token() -> None:
    """A revoked token gets 401, although the verifier accepts the token."""
    users, revoked = ActingUsers(), Revoked()
    headers = users.act_as(Principal("ada", credential_id="t1"))
    async with serve(users=users, parts=[value(revoked, name="revoked", provides=RevocationList)]) as running:
        before = await running.client.get("/", headers=headers)
        revoked.ids.add("t1")
        after = await running.client.get("/", headers=headers)
    assert (before.status_code, after.status_code) == (200, 401)
    assert after.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.requirement("CA-43")
async def test_a_list_of_revoked_tokens_that_is_away() -> None:
    """Without the list tokens get 503 and not 401, and requests without a token are served."""
    users, revoked = ActingUsers(), Revoked()
    revoked.is_away = True
    async with serve(users=users, parts=[value(revoked, name="revoked", provides=RevocationList)]) as running:
        refused = await running.client.get("/", headers=users.act_as("ada"))
        served = await running.client.get("/")
    assert (refused.status_code, refused.headers["retry-after"], served.status_code) == (503, "7", 200)
    assert "cache:6379" not in refused.text


@pytest.mark.requirement("CA-43")
async def test_accepting_tokens_without_the_list(caplog: pytest.LogCaptureFixture) -> None:
    """By a setting tokens are accepted unchecked, which is logged once for each outage, and counted."""
    users, revoked = ActingUsers(), Revoked()
    revoked.is_away = True
    parts = [value(revoked, name="revoked", provides=RevocationList)]
    async with serve(users=users, parts=parts, access={"without_revocations": "accept"}) as running:
        headers = users.act_as("ada")
        statuses = [(await running.client.get("/", headers=headers)).status_code for _ in range(3)]
        revoked.is_away = False
        statuses.append((await running.client.get("/", headers=headers)).status_code)
    assert statuses == [200] * 4
    events = [record.event for record in caplog.records if record.name == "bandmaster.oidc"]
    assert events == [
        "revoked credentials are accepted, because the list of them is away",
        "credentials are checked for revocation again",
    ]
    assert caplog.records[-1].fields["accepted_unchecked"] == 3


@pytest.mark.requirement("CA-43")
async def test_the_token_store() -> None:
    """Tokens that the store revokes are refused, by the package's own component."""
    users, settings = ActingUsers(), TokenStoreSettings(store="memory")
    ada = Principal("ada", credential_id="t1", issued_at=1)
    headers = users.act_as(ada)
    async with serve(users=users, parts=[token_store], overrides={TokenStoreSettings: settings}) as running:
        before = await running.client.get("/", headers=headers)
        await running.resources[TokenStore].revoke("ada", "t1")
        after = await running.client.get("/", headers=headers)
    assert (before.status_code, after.status_code) == (200, 401)


@pytest.mark.requirement("CA-43")
async def test_a_token_store_that_is_degraded_away() -> None:
    """A token store that the settings ask for, and that isn't there, means 503: revoked tokens don't come in."""
    users, settings = ActingUsers(), TokenStoreSettings(store="memory")
    async with serve(users=users, overrides={TokenStoreSettings: settings}) as running:
        refused = await running.client.get("/", headers=users.act_as("ada"))
        served = await running.client.get("/")
    assert (refused.status_code, served.status_code) == (503, 200)


async def test_an_api_key_in_the_authorization_header() -> None:
    """A key that an outer layer has accepted from this header isn't taken for a token."""

    @middleware(band=MiddlewareBand.SECURITY, name="api_key_auth")
    class Keys:
        def on_request(self, exchange: Any) -> None:
            set_principal(exchange.scope, Principal("robot", kind="api_key"))

    async with serve(users=ActingUsers(), parts=[Keys]) as running:
        response = await running.client.get("/", headers={"authorization": "Bearer bmk_live_key"})
    assert response.json()["request"] == "robot"


def connect_in_this_task(running: Running, *, raise_app_exceptions: bool = True) -> httpx2.AsyncClient:
    """A client whose requests are served in the task, and so in the context, of the test."""
    transport = httpx2.ASGITransport(running.app, raise_app_exceptions=raise_app_exceptions)
    return httpx2.AsyncClient(transport=transport, base_url="http://testserver")


async def test_the_principal_ends_with_the_request() -> None:
    """Neither the code around a request nor the next one sees a principal, also after a failure."""
    users = ActingUsers()

    async def fail(request: Any) -> None:
        raise RuntimeError("handler")

    routes = [Route("/", describe_caller), Route("/fail", fail)]
    async with serve(users=users, routes=routes, raise_app_exceptions=False) as running:
        async with connect_in_this_task(running, raise_app_exceptions=False) as client:
            assert (await client.get("/", headers=users.act_as("ada"))).json()["context"] == "ada"
            assert current_principal() is None
            assert (await client.get("/fail", headers=users.act_as("ada"))).status_code == 500
            assert current_principal() is None
            assert (await client.get("/")).json()["context"] is None


async def test_a_request_inherits_nobody() -> None:
    """A request that is served in the task of other code doesn't act as whom that code acts as."""
    async with serve(users=ActingUsers()) as running, connect_in_this_task(running) as client:
        with principal_context(Principal("outer")):
            seen = (await client.get("/")).json()
            assert current_principal() == Principal("outer")
    assert seen["context"] is None


async def test_an_application_in_another() -> None:
    """An application that is mounted in another one verifies the token as well, and may know the user otherwise."""
    users, inner_users = ActingUsers(), ActingUsers()
    headers = users.act_as("ada")
    inner_users._principals = {token: Principal("inner-ada") for token in users._principals}
    async with serve(users=inner_users) as inner:
        async with serve(users=users, routes=[Mount("/inner", inner.app), Route("/", describe_caller)]) as running:
            response = await running.client.get("/inner/", headers=headers)
    assert response.json()["request"] == "inner-ada"


async def test_a_host_of_another_kind() -> None:
    """The layer serves any ASGI app."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(scope["state"]["principal"].subject)(scope, receive, send)

    users = ActingUsers()
    async with serve(app, users=users) as running:
        assert (await running.client.get("/", headers=users.act_as("ada"))).text == "ada"


def test_installed_parts_leave_applications_alone() -> None:
    """With the package installed and nothing configured, an application plans, and no layer for tokens refuses."""
    app = create_app(Starlette(), discover=True)
    assert "bearer_auth" in [layer.name for layer in app.plan.layers]
    assert "dev_bypass" not in [layer.name for layer in app.plan.layers]
