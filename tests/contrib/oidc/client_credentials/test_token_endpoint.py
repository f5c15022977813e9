"""Requests for tokens."""

import base64
import json

import anyio
import httpx2
import pytest
from tests.contrib.http.services import reply, serving

from bandmaster.contrib.oidc import ClientCredentialsSettings, TokenRefusedError
from bandmaster.contrib.oidc.client_credentials.token_endpoint import fetch_token
from bandmaster.contrib.oidc.errors import AuthUnavailableError
from bandmaster.kernel import PermanentError
from bandmaster.kernel.testing import free_port

pytestmark = pytest.mark.anyio

TOKEN = {"access_token": "t1", "token_type": "Bearer", "expires_in": 60}


def make_settings(url, **options):
    return ClientCredentialsSettings(**{"token_url": url, "client_id": "shop", "client_secret": "hunter2", **options})


async def test_a_token_is_asked_for_as_the_specification_says(client, provider) -> None:
    """The grant, the scopes and further parameters are in the form, the client in the header (RFC 6749, 4.4.2)."""
    options = {"scopes": "read,write", "params": {"audience": "https://billing.example", "resource": "a b"}}
    # An ID and a secret are encoded as in a form before they are put together.
    settings = make_settings(provider.url, client_id="shop:1", client_secret="hunter 2:%é", **options)
    issued = await fetch_token(client, settings)
    assert ("t1", 3600) == (issued.value, issued.lifetime)
    (seen,) = provider.requests
    assert ("POST", "/token", "application/x-www-form-urlencoded") == (
        seen.method,
        seen.target,
        seen.headers["content-type"],
    )
    assert {
        "grant_type": "client_credentials",
        "scope": "read write",
        "audience": "https://billing.example",
        "resource": "a b",
    } == provider.forms[0]
    pair = base64.b64decode(seen.headers["authorization"].removeprefix("Basic ")).decode()
    assert "shop%3A1:hunter+2%3A%25%C3%A9" == pair


async def test_the_client_may_be_in_the_form(client, provider) -> None:
    """Some providers take it only there."""
    await fetch_token(client, make_settings(provider.url, auth_method="client_secret_post"))
    (form,) = provider.forms
    assert {"grant_type": "client_credentials", "client_id": "shop", "client_secret": "hunter2"} == form
    assert "authorization" not in provider.requests[0].headers


async def test_authentication_of_the_client_is_not_sent_to_the_provider(client, provider) -> None:
    """A client that is authenticated by these tokens can fetch them as well."""
    client.auth = ("user", "secret")
    await fetch_token(client, make_settings(provider.url, auth_method="client_secret_post"))
    assert "authorization" not in provider.requests[0].headers


@pytest.mark.parametrize(
    ("lifetime", "expected"),
    [
        (60, 60),
        (0, 0),
        ("3599", 3599),
        (59.5, 59.5),
        (None, None),
        (-1, None),
        ("soon", None),
        (True, None),
        (10**400, None),
        ("²", None),
    ],
)
async def test_the_lifetime_is_a_number_of_seconds(client, provider, lifetime, expected) -> None:
    """Some providers send it as a text; anything else is as good as none."""
    provider.lifetime = lifetime
    assert expected == (await fetch_token(client, make_settings(provider.url))).lifetime


@pytest.mark.parametrize(
    ("status", "body", "reason", "code"),
    [
        (
            400,
            {"error": "invalid_scope", "error_description": "hunter2"},
            "refuses: 400 invalid_scope",
            "invalid_scope",
        ),
        (401, {"error": "invalid_client"}, "refuses: 401 invalid_client", "invalid_client"),
        (403, {"error": "hunter2\n"}, "status 403; is the address right?", ""),
        (404, b"<html>", "status 404; is the address right?", ""),
        (200, b"not json", "something else than a bearer token", ""),
        (200, b"[1]", "something else than a bearer token", ""),
        (200, b'{"access_token": "a", "access_token": "b", "token_type": "bearer"}', "something else", ""),
        (200, b'{"access_token": "a", "token_type": "bearer", "expires_in": NaN}', "something else than a bearer", ""),
        (200, {**TOKEN, "token_type": "mac"}, "something else than a bearer token", ""),
        (200, {**TOKEN, "token_type": None}, "something else than a bearer token", ""),
        (200, {**TOKEN, "access_token": ""}, "something else than a bearer token", ""),
        (200, {**TOKEN, "access_token": 7}, "something else than a bearer token", ""),
        (200, {**TOKEN, "access_token": "hunter2\r\nx: y"}, "something else than a bearer token", ""),
        (200, b"x" * 300_000, "is larger than 262144 bytes", ""),
        (200, b"[" * 100_000, "something else than a bearer token", ""),
    ],
)
async def test_a_refusal_is_permanent(client, provider, status, body, reason, code) -> None:
    """The code of the provider is named, and nothing else of the answer."""
    provider.answers = [(status, body)]
    with pytest.raises(TokenRefusedError) as raised:
        await fetch_token(client, make_settings(provider.url))
    assert reason in str(raised.value)
    assert code == raised.value.oauth_error
    assert isinstance(raised.value, PermanentError)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_an_overloaded_provider_is_away(client, provider, status) -> None:
    """Another try may help, also where the body looks like a refusal."""
    provider.answers = [(status, {"error": "invalid_client"})]
    with pytest.raises(AuthUnavailableError, match=f"answers with status {status}"):
        await fetch_token(client, make_settings(provider.url))


async def test_a_provider_that_can_not_be_reached_is_away(client) -> None:
    """The error names the address."""
    with pytest.raises(AuthUnavailableError, match=r"/token can't be reached: .*Connect"):
        await fetch_token(client, make_settings(f"http://127.0.0.1:{free_port()}/token"))


@pytest.mark.parametrize("shared", [True, False])
async def test_a_provider_that_does_not_answer_is_away(client, shared) -> None:
    """Within the time-out of the settings, also where a test has replaced the shared client."""

    async def stay_silent(seen, stream):
        await anyio.sleep_forever()

    async with serving(stay_silent) as silent, httpx2.AsyncClient() as plain:
        with pytest.raises(AuthUnavailableError, match="within 0"):
            await fetch_token(client if shared else plain, make_settings(silent.url, timeout=0.2))


async def test_redirects_are_not_followed(client, provider) -> None:
    """The secret goes to the address of the settings, and to no other."""

    async def redirect(seen, stream):
        return reply(307, headers={"location": provider.url})

    async with serving(redirect) as elsewhere:
        with pytest.raises(TokenRefusedError, match="redirects aren't followed"):
            await fetch_token(client, make_settings(elsewhere.url))
    assert [] == provider.requests


async def test_a_lost_connection_is_tried_again(provider) -> None:
    """A request for a token can be repeated: each gets a token of its own."""
    from bandmaster.contrib.http import HttpSettings, open_client

    provider.answers = [(503, b""), (200, json.dumps(TOKEN).encode())]
    async with open_client(HttpSettings(backoff_base=0.001, backoff_cap=0.001), "http") as http:
        assert "t1" == (await fetch_token(http, make_settings(provider.url))).value
    assert 2 == len(provider.requests)
