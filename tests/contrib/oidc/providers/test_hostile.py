"""The hostile provider lies on command, and tells the truth otherwise."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError, UnsupportedAlgorithmError
from joserfc.jwk import KeySet
from joserfc.util import urlsafe_b64decode
from tests.contrib.oidc.providers.hostile import Forgery, HostileProvider

pytestmark = pytest.mark.anyio
CLIENT = "a-client"


async def _request_tokens(provider: HostileProvider) -> dict:
    form = {"grant_type": "authorization_code", "code": "any", "client_id": CLIENT}
    async with provider.process.open_client() as client:
        return (await client.post(f"{provider.issuer}{provider.token_path}", data=form)).json()


def _read_part(token: str, number: int) -> dict:
    return json.loads(urlsafe_b64decode(token.split(".")[number].encode()))


async def _verify(provider: HostileProvider, token: str) -> dict:
    return jwt.decode(token, KeySet.import_key_set(await provider.jwks()), algorithms=["RS256"]).claims


async def test_without_lies_its_tokens_hold(hostile_provider: HostileProvider) -> None:
    """The ID token is for the client, and verifies by a published key."""
    claims = await _verify(hostile_provider, (await _request_tokens(hostile_provider))["id_token"])
    assert (hostile_provider.issuer, CLIENT, "johndoe") == (claims["iss"], claims["aud"], claims["sub"])


async def test_it_lies_in_one_token_only(hostile_provider: HostileProvider) -> None:
    """Claims and header of the ID token are changed and removed; the access token stays unchanged."""
    hostile_provider.lie("id_token", payload={"aud": "another", "sub": None}, header={"kid": None, "typ": "odd"})
    answer = await _request_tokens(hostile_provider)
    header, claims = _read_part(answer["id_token"], 0), _read_part(answer["id_token"], 1)
    assert ("another", "odd") == (claims["aud"], header["typ"])
    assert ("sub" in claims, "kid" in header) == (False, False)
    assert "johndoe" == (await _verify(hostile_provider, answer["access_token"]))["sub"]


@pytest.mark.parametrize("about", ["id_token", "access_token"])
@pytest.mark.parametrize(
    ("forge", "algorithm"), [("signature", "RS256"), ("stranger", "RS256"), ("none", "none"), ("hmac", "HS256")]
)
async def test_it_forges_tokens(hostile_provider: HostileProvider, about: str, forge: Forgery, algorithm: str) -> None:
    """A forged token has the claims of the true one, and no signature of a published key."""
    hostile_provider.lie(about, forge=forge)  # type: ignore[arg-type]
    token = (await _request_tokens(hostile_provider))[about]
    assert (algorithm, "johndoe") == (_read_part(token, 0)["alg"], _read_part(token, 1)["sub"])
    with pytest.raises((BadSignatureError, UnsupportedAlgorithmError)):
        await _verify(hostile_provider, token)


async def test_it_sends_garbage(hostile_provider: HostileProvider) -> None:
    """Something else than a token comes as an ID token."""
    hostile_provider.lie("id_token", forge="garbage")
    assert "this.is.garbage" == (await _request_tokens(hostile_provider))["id_token"]


async def test_it_lies_about_the_user(hostile_provider: HostileProvider) -> None:
    """The test chooses the answers of userinfo and introspection."""
    hostile_provider.lie("userinfo", payload={"sub": "mallory"})
    hostile_provider.lie("introspection", payload={"active": "yes"})
    async with hostile_provider.process.open_client() as client:
        info = (await client.get(f"{hostile_provider.issuer}/userinfo")).json()
        state = (await client.post(f"{hostile_provider.issuer}/introspect")).json()
    assert ("mallory", "yes") == (info["sub"], state["active"])


async def test_it_lies_in_the_callback(hostile_provider: HostileProvider) -> None:
    """Parameters of the redirect to the application are added, changed and removed."""
    query = {"redirect_uri": "http://127.0.0.1/callback", "response_type": "code", "scope": "openid", "state": "mine"}
    url = f"{hostile_provider.issuer}/authorize?{urlencode(query)}"
    honest = (await hostile_provider.authorize(url)).parameters
    hostile_provider.lie_in_callback(iss="https://evil.example", state=None)
    lying = (await hostile_provider.authorize(url)).parameters
    assert ("mine", False) == (honest["state"], "iss" in honest)
    assert ("https://evil.example", False) == (lying["iss"], "state" in lying)


async def test_it_tells_the_truth_again(hostile_provider: HostileProvider) -> None:
    """Lies end on command."""
    hostile_provider.lie("id_token", payload={"aud": "another"})
    hostile_provider.tell_the_truth()
    assert CLIENT == _read_part((await _request_tokens(hostile_provider))["id_token"], 1)["aud"]


async def test_it_signs_what_a_test_wants(hostile_provider: HostileProvider) -> None:
    """Tokens of any content verify against the published keys."""
    hostile_provider.add_key("RS256", "second")
    token = hostile_provider.sign(
        {"aud": "https://api.example", "exp": "tomorrow", "nbf": None}, {"typ": "at+jwt"}, "second"
    )
    claims = await _verify(hostile_provider, token)
    assert ("https://api.example", "tomorrow", False) == (claims["aud"], claims["exp"], "nbf" in claims)
    assert ("at+jwt", "second") == (_read_part(token, 0)["typ"], _read_part(token, 0)["kid"])
    assert {"first", "second"} == {key["kid"] for key in (await hostile_provider.jwks())["keys"]}


async def test_each_test_begins_with_one_key(hostile_provider: HostileProvider) -> None:
    """The keys of the test before are gone."""
    assert ["first"] == [key["kid"] for key in (await hostile_provider.jwks())["keys"]]
