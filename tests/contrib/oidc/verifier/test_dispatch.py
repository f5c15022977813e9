"""Tokens of several providers, each judged by its own."""

import httpx2
import pytest
from tests.contrib.oidc.verifier.issuer import AUDIENCE, Issuer, key_for, make_token, publish

from bandmaster.contrib.oidc import (
    AuthSettings,
    AuthUnavailableError,
    InvalidTokenError,
    Principal,
    ProviderRefusedError,
    build_verifier,
    open_providers,
)
from bandmaster.contrib.oidc.tokens.jwt_verifier import JwtVerifier

pytestmark = pytest.mark.anyio

A, B = "https://a.example", "https://b.example"
FIRST = {"issuer": A, "name": "a", "audiences": ["api-a"]}
SECOND = {"issuer": B, "name": "b", "audiences": ["api-b"], "algorithms": ["RS256"]}
OPAQUE = {"issuer": "https://o.example", "name": "o", "audiences": ["api"], "access_token_type": "opaque"}


class BothIssuers(httpx2.AsyncBaseTransport):
    """Two providers behind one client."""

    def __init__(self):
        self.a = Issuer(publish(key_for("ES256", "a"), "k"), issuer=A)
        self.b = Issuer(publish(key_for("RS256", "b"), "k"), issuer=B)

    async def handle_async_request(self, request):
        return await (self.a if request.url.host == "a.example" else self.b).handle_async_request(request)


class Introspection:
    """A verifier of opaque tokens that keeps the tokens that it is shown."""

    def __init__(self):
        self.seen = []

    async def verify(self, token):
        self.seen.append(token)
        return Principal(subject="carol", issuer=OPAQUE["issuer"])


@pytest.fixture
def issuers():
    return BothIssuers()


async def verify(transport, token, *, entries=(FIRST, SECOND), opaque=None):
    settings = AuthSettings(issuers=list(entries))
    async with (
        httpx2.AsyncClient(transport=transport) as client,
        open_providers(settings, client) as providers,
    ):
        return await build_verifier(settings, providers, opaque).verify(token)


def of_a(**changes):
    return make_token(**{"iss": A, "aud": "api-a", "kid": "k", "key": key_for("ES256", "a"), **changes})


def of_b(**changes):
    changes = {"iss": B, "aud": "api-b", "kid": "k", "algorithm": "RS256", "key": key_for("RS256", "b"), **changes}
    return make_token(**changes)


async def test_an_opaque_token_that_begins_as_a_jwt(issuers) -> None:
    """Two parts are no signed JWT, whatever the first one is."""
    asked, token = Introspection(), of_a().rpartition(".")[0]
    await verify(issuers, token, entries=(FIRST, OPAQUE), opaque=asked)
    assert [token] == asked.seen


async def test_the_verifier_of_one_provider_checks_the_issuer_itself(issuers) -> None:
    """Also where nobody has chosen it by the issuer of the token."""
    settings = AuthSettings(issuers=[FIRST])
    async with httpx2.AsyncClient(transport=issuers) as client, open_providers(settings, client) as providers:
        verifier = JwtVerifier(settings.providers[0], settings, providers["a"].keys)
        assert A == (await verifier.verify(of_a())).issuer
        for issuer in (B, ["x"], ...):
            with pytest.raises(InvalidTokenError, match="of another issuer"):
                await verifier.verify(of_a(iss=issuer))


async def test_a_long_opaque_token_is_shown_to_nobody(issuers) -> None:
    """The bound of `AUTH_MAX_TOKEN_BYTES` holds for opaque tokens as well."""
    asked = Introspection()
    await verify(issuers, "x" * 16_384, entries=(FIRST, OPAQUE), opaque=asked)
    with pytest.raises(InvalidTokenError, match="more than 16384 bytes"):
        await verify(issuers, "x" * 16_385, entries=(FIRST, OPAQUE), opaque=asked)
    assert 1 == len(asked.seen)


@pytest.mark.requirement("CA-03")
async def test_each_provider_has_its_own_keys_audiences_and_algorithms(issuers) -> None:
    """The tokens of both are accepted side by side."""
    assert (A, B) == ((await verify(issuers, of_a())).issuer, (await verify(issuers, of_b())).issuer)


@pytest.mark.requirement("CA-03")
@pytest.mark.parametrize(
    "token",
    [
        of_a(key=key_for("RS256", "b"), algorithm="RS256"),
        of_b(key=key_for("ES256", "a"), algorithm="ES256"),
        of_a(iss=B, aud="api-b"),
        of_b(iss=A, aud="api-a"),
        of_a(aud="api-b"),
        of_b(aud="api-a"),
        of_a(iss="https://c.example"),
        make_token(iss=B, aud="api-b", kid="k", key=key_for("ES256", "a")),
    ],
    ids=[
        "A signed by B",
        "B signed by A",
        "A's key for B",
        "B's key for A",
        "A with B's audience",
        "B with A's audience",
        "an unknown issuer",
        "B with an algorithm of A",
    ],
)
async def test_a_token_of_one_provider_needs_all_of_the_same_provider(issuers, token) -> None:
    """Issuer, key, audience and algorithm belong together."""
    with pytest.raises(InvalidTokenError):
        await verify(issuers, token)


async def test_only_the_provider_of_the_token_is_asked(issuers) -> None:
    """The outage of one provider is none of the others, and a token of an unknown issuer asks nobody."""
    issuers.b.away = True
    with pytest.raises(InvalidTokenError):
        await verify(issuers, of_a(iss="https://c.example"))
    assert ((0, 0), (0, 0)) == (issuers.a.requests, issuers.b.requests)
    assert A == (await verify(issuers, of_a())).issuer
    with pytest.raises(AuthUnavailableError):
        await verify(issuers, of_b())


async def test_a_provider_for_login_alone_has_no_bearer_tokens(issuers) -> None:
    """Tokens of that provider are refused as those of a stranger."""
    entries = (FIRST, {**SECOND, "access_token_type": "refused"})
    with pytest.raises(InvalidTokenError, match="unknown issuer"):
        await verify(issuers, of_b(), entries=entries)


@pytest.mark.parametrize("token", ["8f3c1b", "v1.abc.def", "a.b.c.d.e", "ya29.a0AfH6SM_-x"])
async def test_opaque_tokens_are_introspected(issuers, token) -> None:
    """A token that isn't a JWT goes to the provider that has such tokens, dots or no dots."""
    introspection = Introspection()
    assert "carol" == (await verify(issuers, token, entries=(FIRST, OPAQUE), opaque=introspection)).subject
    assert [token] == introspection.seen


async def test_a_jwt_of_the_provider_with_opaque_tokens_is_introspected(issuers) -> None:
    """The setting counts, not the form of the token."""
    token = make_token(iss=OPAQUE["issuer"], aud=AUDIENCE)
    introspection = Introspection()
    assert "carol" == (await verify(issuers, token, entries=(FIRST, OPAQUE), opaque=introspection)).subject


async def test_the_jwts_of_others_are_shown_to_nobody(issuers) -> None:
    """Neither a good token of another provider, nor a forged or a large one, reaches introspection."""
    introspection = Introspection()
    # With these headers no token is accepted here, but one may be elsewhere.
    odd = [
        of_a(header=header) for header in ({"crit": ["x"]}, {"cty": "JWT"}, {"kid": 5}, {"alg": None}, b' {"alg":1,')
    ]
    for token in (of_a(), of_a(key=key_for("ES256")), of_a(iss="https://c.example"), "x" * 20_000, *odd):
        try:
            await verify(issuers, token, entries=(FIRST, OPAQUE), opaque=introspection)
        except InvalidTokenError:
            pass
    assert [] == introspection.seen


async def test_without_introspection_opaque_tokens_are_refused(issuers) -> None:
    """No provider has such tokens, so none is asked; settings that want them need the component."""
    with pytest.raises(InvalidTokenError):
        await verify(issuers, "8f3c1b")
    with pytest.raises(ProviderRefusedError, match="no component provides an OpaqueTokenVerifier"):
        await verify(issuers, "8f3c1b", entries=(FIRST, OPAQUE))


@pytest.mark.requirement("CA-04", "AU-5")
async def test_a_verifier_without_an_audience_cannot_be_built(issuers) -> None:
    """Any token of the provider would be accepted, also those for other applications."""
    with pytest.raises(ValueError, match="audiences: empty for the provider 'a'"):
        await verify(issuers, of_a(), entries=({**FIRST, "audiences": []},))
