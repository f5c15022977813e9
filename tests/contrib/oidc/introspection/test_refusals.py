"""Refusals of the introspection endpoint: of our own client, and of one token."""

from __future__ import annotations

import json

import pytest
from tests.contrib.oidc.introspection.conftest import plain

from bandmaster.contrib.oidc.errors import AuthUnavailableError, InvalidTokenError
from bandmaster.contrib.oidc.introspection.endpoint import EndpointAwayError

pytestmark = pytest.mark.anyio


def refuse(status, error=None, challenge=None):
    body = b"" if error is None else json.dumps({"error": error}).encode()
    return plain(status, body, **({} if challenge is None else {"headers": {"www-authenticate": challenge}}))


OF_A_TOKEN = [
    refuse(401),
    refuse(403),
    refuse(401, "access_denied"),
    refuse(403, challenge='Bearer error="insufficient_scope"'),
    plain(403, b"<html>"),
]


@pytest.mark.requirement("CA-06", "CA-43")
@pytest.mark.parametrize("response", OF_A_TOKEN)
async def test_a_refusal_of_one_token_pauses_no_other(make_verifier, endpoint, logs, response):
    """Whoever sends an odd token gets 503, as often as they like, and everybody else is served."""
    endpoint.responses["odd"] = response
    verifier = make_verifier()
    for number in range(5):
        with pytest.raises(AuthUnavailableError, match="to one token, and answers about others") as caught:
            await verifier.verify("odd")
        assert not isinstance(caught.value, EndpointAwayError)
        endpoint.answers[f"good-{number}"] = endpoint.answers["good"]
        assert "ada" == (await verifier.verify(f"good-{number}")).subject
    assert [] == logs


@pytest.mark.parametrize(
    "response", [refuse(401, "invalid_token"), refuse(401, challenge='Bearer realm="x", error="invalid_token"')]
)
async def test_a_token_that_the_provider_calls_invalid(make_verifier, endpoint, response):
    """The token is refused as an inactive one, and remembered so."""
    endpoint.responses["odd"] = response
    verifier = make_verifier()
    for _ in range(3):
        with pytest.raises(InvalidTokenError, match="isn't active"):
            await verifier.verify("odd")
    assert 2 == len(endpoint.requests)


async def test_the_question_that_tells_the_two_apart(make_verifier, endpoint):
    """The provider is asked, as our client, about a token that nobody has; each time another one."""
    endpoint.responses["odd"] = refuse(401)
    verifier = make_verifier()
    for _ in range(2):
        with pytest.raises(AuthUnavailableError):
            await verifier.verify("odd")
    first, second, third, fourth = endpoint.tokens
    assert ("odd", "odd") == (first, third)
    assert second != fourth
    assert (43, 43) == (len(second), len(fourth))
    assert "authorization" in endpoint.requests[1][0].headers


@pytest.mark.requirement("CA-06")
@pytest.mark.parametrize("error", ["invalid_client", "unauthorized_client"])
async def test_a_refusal_that_names_our_client(make_verifier, endpoint, logs, error):
    """RFC 6749, section 5.2: nothing else needs to be asked, and everybody waits for the next attempt."""
    endpoint.responses["good"] = refuse(401, error)
    verifier = make_verifier()
    with pytest.raises(AuthUnavailableError, match="is the client's secret right"):
        await verifier.verify("good")
    with pytest.raises(AuthUnavailableError, match="introspection endpoint of"):
        await verifier.verify("other")
    assert ["good"] == endpoint.tokens
    assert ["introspection fails, and requests with unknown tokens get 503"] == [entry["event"] for entry in logs]


@pytest.mark.parametrize("response", [refuse(401, "invalid_token"), refuse(403)])
async def test_a_client_that_is_refused_for_every_token(make_verifier, endpoint, response):
    """Nobody's token is bad then, whatever the provider calls it."""
    endpoint.response = response
    verifier = make_verifier()
    with pytest.raises(AuthUnavailableError, match="is the client's secret right"):
        await verifier.verify("good")
    with pytest.raises(AuthUnavailableError, match="introspection endpoint of"):
        await verifier.verify("other")
    assert 2 == len(endpoint.requests)


async def test_a_provider_that_goes_away_between_the_two_questions(make_verifier, endpoint):
    """The second answer is about everybody."""
    endpoint.responses["odd"], endpoint.response = refuse(403), plain(503)
    verifier = make_verifier()
    with pytest.raises(AuthUnavailableError, match="status 503"):
        await verifier.verify("odd")
    with pytest.raises(AuthUnavailableError, match="introspection endpoint of"):
        await verifier.verify("good")


async def test_a_refused_token_ends_an_outage(make_verifier, endpoint, logs):
    """A provider that answers our client isn't away: odd tokens must not use up all attempts."""
    endpoint.response = plain(503)
    verifier = make_verifier()
    with pytest.raises(AuthUnavailableError):
        await verifier.verify("a")
    endpoint.response = None
    endpoint.responses["odd"] = refuse(403)
    endpoint.advance(1)
    with pytest.raises(AuthUnavailableError, match="to one token"):
        await verifier.verify("odd")
    assert "ada" == (await verifier.verify("good")).subject
    assert "introspection works again" == logs[-1]["event"]
