"""Asking a provider about opaque tokens: the request, the cache, outages."""

from __future__ import annotations

import anyio
import httpx2
import pytest
from starlette.responses import JSONResponse, RedirectResponse
from tests.contrib.oidc.introspection.conftest import decode_basic, plain, wait_until

from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidTokenError

pytestmark = pytest.mark.anyio
AWAY = [
    plain(401),
    plain(403),
    plain(429),
    plain(502),
    plain(503),
    plain(504),
    httpx2.ConnectError("hidden detail"),
    OSError("hidden detail"),
]
ODD = [
    plain(500),
    plain(400),
    plain(204),
    plain(200, b""),
    plain(200, b"<html>"),
    plain(200, b'{"active": true, "active": false}'),
    plain(200, b'{"active": true, "exp": NaN}'),
    plain(200, b'["active"]'),
    plain(200, b"{}"),
    plain(200, b'{"active": "yes"}'),
    plain(200, b"[" * 60_000),
    plain(200, b'{"active": true, "x": "' + b"x" * 70_000 + b'"}'),
    RedirectResponse("https://evil.example/introspect"),
]


async def test_a_token_is_asked_about_by_the_client_of_the_settings(make_verifier, endpoint):
    """With HTTP Basic, where both id and secret are encoded as in a form (RFC 6749, section 2.3.1)."""
    principal = await make_verifier().verify("good")
    assert ("ada", {"read"}, "t") == (principal.subject, principal.scopes, principal.credential_id)
    ((request, form),) = endpoint.requests
    assert {"token": "good", "token_type_hint": "access_token"} == form
    assert "api%3A1:s+e%3Acret%25" == decode_basic(request.headers["authorization"])
    assert ("POST", "application/json") == (request.method, request.headers["accept"])
    assert "" == request.url.query


async def test_the_client_may_be_named_in_the_form(make_verifier, endpoint):
    """Where the settings say so."""
    await make_verifier({"token_auth_method": "client_secret_post"}).verify("good")
    ((request, form),) = endpoint.requests
    assert ("api:1", "s e:cret%") == (form["client_id"], form["client_secret"])
    assert "authorization" not in request.headers


async def test_a_client_without_a_secret_only_says_its_name(make_verifier, endpoint):
    """For endpoints that are protected by other means."""
    await make_verifier({"client_secret": None}).verify("good")
    ((request, form),) = endpoint.requests
    assert {"token": "good", "token_type_hint": "access_token", "client_id": "api:1"} == form
    assert "authorization" not in request.headers


async def test_without_a_client_nothing_is_asked(make_verifier, endpoint):
    """The message names the settings."""
    with pytest.raises(AuthUnavailableError, match="AUTH_CLIENT_ID"):
        await make_verifier({"client_id": None}).verify("good")
    assert [] == endpoint.requests


async def test_an_inactive_token_is_refused(make_verifier):
    """With the error of a bad credential."""
    with pytest.raises(InvalidTokenError, match="isn't active"):
        await make_verifier().verify("unknown")


@pytest.mark.parametrize("token", ["", " ", "a b", "a\nb", "\u00e9", "a=b", "x" * 16_385])
async def test_what_is_no_bearer_token_is_refused_without_asking(make_verifier, endpoint, token):
    """RFC 6750, section 2.1, and a bound."""
    with pytest.raises(InvalidTokenError):
        await make_verifier().verify(token)
    assert [] == endpoint.requests


async def test_answers_are_remembered(make_verifier, endpoint):
    """Active ones for a minute, inactive ones for ten seconds."""
    verifier = make_verifier()
    for _ in range(3):
        await verifier.verify("good")
        with pytest.raises(InvalidTokenError):
            await verifier.verify("bad")
    assert ["good", "bad"] == endpoint.tokens
    endpoint.advance(11)
    with pytest.raises(InvalidTokenError):
        await verifier.verify("bad")
    await verifier.verify("good")
    endpoint.advance(50)
    await verifier.verify("good")
    assert ["good", "bad", "bad", "good"] == endpoint.tokens


async def test_a_revocation_is_noticed_after_the_time_to_live(make_verifier, endpoint):
    """And a token that becomes active after a while, too."""
    verifier = make_verifier(ttl=5)
    await verifier.verify("good")
    known = endpoint.answers.pop("good")
    await verifier.verify("good")
    endpoint.advance(5)
    with pytest.raises(InvalidTokenError):
        await verifier.verify("good")
    endpoint.answers["good"] = known
    endpoint.advance(10)
    await verifier.verify("good")


async def test_no_answer_is_remembered_beyond_the_expiry_of_the_token(make_verifier, endpoint):
    """A token that expires in five seconds is asked about after five."""
    endpoint.answers["good"]["exp"] = endpoint.clock.now + 5
    verifier = make_verifier()
    await verifier.verify("good")
    endpoint.advance(4)
    await verifier.verify("good")
    assert 1 == len(endpoint.requests)
    endpoint.advance(1)
    # The leeway lets it pass as long as the provider does, but nothing is remembered.
    await verifier.verify("good")
    await verifier.verify("good")
    assert 3 == len(endpoint.requests)
    endpoint.advance(30)
    with pytest.raises(InvalidTokenError, match="has expired"):
        await verifier.verify("good")


async def test_a_clock_that_is_set_forward_ends_remembered_tokens(make_verifier, endpoint):
    """Only the clock of the host shows that a token has expired."""
    endpoint.answers["good"]["exp"] = endpoint.clock.now + 50
    verifier = make_verifier()
    await verifier.verify("good")
    endpoint.clock.now += 100
    with pytest.raises(InvalidTokenError, match="has expired"):
        await verifier.verify("good")


async def test_without_a_time_to_live_every_request_asks(make_verifier, endpoint):
    """Also concurrent ones."""
    verifier = make_verifier(ttl=0, inactive_ttl=0)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(verifier.verify, "good")
    for _ in range(2):
        with pytest.raises(InvalidTokenError):
            await verifier.verify("bad")
    assert ["good"] * 3 + ["bad"] * 2 == endpoint.tokens


async def test_a_flood_of_invalid_tokens_removes_no_valid_one(make_verifier, endpoint):
    """Both kinds are bounded in number, each by itself."""
    verifier = make_verifier(max_tokens=10)
    await verifier.verify("good")
    for number in range(50):
        with pytest.raises(InvalidTokenError):
            await verifier.verify(f"bad-{number}")
    await verifier.verify("good")
    assert 51 == len(endpoint.requests)
    assert (1, 10) == (len(verifier._active.values), len(verifier._inactive.values))


async def test_the_least_recently_used_token_is_forgotten(make_verifier, endpoint):
    """A busy token stays."""
    for name in "abc":
        endpoint.answers[name] = endpoint.answers["good"]
    verifier = make_verifier(max_tokens=2)
    for name in ("a", "b", "a", "c", "a"):
        await verifier.verify(name)
    assert ["a", "b", "c"] == endpoint.tokens
    await verifier.verify("b")
    assert ["a", "b", "c", "b"] == endpoint.tokens


async def test_concurrent_requests_ask_once(make_verifier, endpoint):
    """A hundred requests with one token wait for one answer; a request with another token doesn't wait."""
    verifier = make_verifier()
    endpoint.hold = anyio.Event()
    found = []

    async def verify():
        found.append(await verifier.verify("good"))

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(verify)
        await wait_until(lambda: endpoint.requests)
        group.start_soon(expect_invalid, verifier, "bad")
        await wait_until(lambda: len(endpoint.requests) == 2)
        endpoint.hold.set()
    assert ["good", "bad"] == endpoint.tokens
    assert 100 == len(found)
    assert 0 == len(verifier._flights)


async def expect_invalid(verifier, token):
    with pytest.raises(InvalidTokenError):
        await verifier.verify(token)


async def test_a_request_that_is_cancelled_takes_nobody_with_it(make_verifier, endpoint):
    """The next one asks."""
    verifier = make_verifier()
    endpoint.hold = anyio.Event()
    first = anyio.CancelScope()
    found = []

    async def begin():
        with first:
            await verifier.verify("good")

    async def wait():
        found.append(await verifier.verify("good"))

    async with anyio.create_task_group() as group:
        group.start_soon(begin)
        await wait_until(lambda: endpoint.requests)
        group.start_soon(wait)
        first.cancel()
        await wait_until(lambda: len(endpoint.requests) == 2)
        endpoint.hold.set()
    assert ["ada"] == [principal.subject for principal in found]


@pytest.mark.requirement("CA-06", "CA-43")
@pytest.mark.parametrize("response", AWAY, ids=lambda each: str(getattr(each, "status_code", type(each).__name__)))
async def test_an_outage_is_no_refusal(make_verifier, endpoint, logs, response):
    """503 rather than 401: nobody's token is bad because the provider is away, or our own client is refused."""
    endpoint.response = response
    verifier = make_verifier()
    with pytest.raises(AuthUnavailableError, match="introspection endpoint of 'default'") as caught:
        await verifier.verify("good")
    assert caught.value.retry_after >= 1
    assert "hidden" not in str(caught.value)
    assert ["introspection fails, and requests with unknown tokens get 503"] == [entry["event"] for entry in logs]
    assert "hidden" not in str(logs)


@pytest.mark.requirement("CA-06")
async def test_during_an_outage_requests_fail_at_once(make_verifier, endpoint, logs):
    """One attempt after each pause, which doubles; known tokens go on."""
    verifier = make_verifier(ttl=600)
    await verifier.verify("good")
    endpoint.response = plain(503)
    for seconds in (0, 1, 2, 4, 8, 16, 30, 30):
        endpoint.advance(seconds)
        before = len(endpoint.requests)
        for number in range(20):
            with pytest.raises(AuthUnavailableError) as caught:
                await verifier.verify(f"other-{number}")
            assert 1 <= caught.value.retry_after <= 30
        assert before + 1 == len(endpoint.requests)
        await verifier.verify("good")
    endpoint.advance(30)
    endpoint.response = None
    endpoint.answers["other"] = endpoint.answers["good"]
    await verifier.verify("other")
    await verifier.verify("good")
    assert ["introspection fails, and requests with unknown tokens get 503", "introspection works again"] == [
        entry["event"] for entry in logs
    ]


@pytest.mark.requirement("CA-06")
async def test_many_requests_at_the_end_of_a_pause_make_one_attempt(make_verifier, endpoint):
    """The others fail at once instead of waiting for the timeout."""
    verifier = make_verifier()
    endpoint.response = plain(503)
    with pytest.raises(AuthUnavailableError):
        await verifier.verify("a")
    endpoint.advance(1)
    endpoint.hold = anyio.Event()

    async def fail(token):
        with pytest.raises(AuthUnavailableError):
            await verifier.verify(token)
        failed.append(token)

    failed = []
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(fail, f"t-{number}")
        await wait_until(lambda: len(failed) == 19)
        assert 2 == len(endpoint.requests)
        endpoint.hold.set()


async def test_a_cancelled_attempt_doesnt_prolong_an_outage(make_verifier, endpoint):
    """The next attempt is due as before."""
    verifier = make_verifier(timeout=1000)
    endpoint.response = plain(503)
    with pytest.raises(AuthUnavailableError):
        await verifier.verify("a")
    endpoint.advance(1)
    endpoint.hold = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(verifier.verify, "b")
        await wait_until(lambda: len(endpoint.requests) == 2)
        group.cancel_scope.cancel()
    endpoint.hold = endpoint.response = None
    endpoint.advance(1)
    await verifier.verify("good")


@pytest.mark.parametrize("response", ODD)
async def test_an_answer_that_cant_be_used_is_no_refusal(make_verifier, endpoint, response):
    """Other requests go on: one odd token may be the reason. Redirects aren't followed."""
    endpoint.response = response
    verifier = make_verifier()
    for _ in range(2):
        with pytest.raises(AuthUnavailableError):
            await verifier.verify("odd")
    assert 2 == len(endpoint.requests)
    endpoint.response = JSONResponse(endpoint.answers["good"])
    await verifier.verify("good")


async def test_a_slow_provider_is_away(make_verifier, endpoint):
    """After the timeout of the settings, also where the client waits for longer."""
    endpoint.hold = anyio.Event()
    with pytest.raises(AuthUnavailableError, match=r"no answer within 0.05 s"):
        await make_verifier(timeout=0.05).verify("good")


@pytest.mark.requirement("AU-17")
async def test_neither_token_nor_secret_is_logged(make_verifier, endpoint, logs):
    """Nor kept: the cache has hashes."""
    verifier = make_verifier()
    endpoint.answers["opaque-secret"] = endpoint.answers["good"]
    principal = await verifier.verify("opaque-secret")
    endpoint.response = plain(401)
    with pytest.raises(AuthUnavailableError) as caught:
        await verifier.verify("another-secret")
    kept = repr([verifier._active, verifier._inactive, principal, logs, caught.value, caught.value.__cause__])
    assert "secret" not in kept.replace("client's secret", "").replace("client_secret", "")
    assert "cret%" not in kept
