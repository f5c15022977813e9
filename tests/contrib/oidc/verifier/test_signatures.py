"""Tokens of any type that a provider has signed, for those who check the claims themselves."""

import pytest
from tests.contrib.oidc.verifier.issuer import DISCOVERY, ISSUER, Issuer, key_for, make_token, publish, verifying

from bandmaster.contrib.oidc import AuthUnavailableError, InvalidTokenError, read_token
from bandmaster.contrib.oidc.issuers.keys import import_keys
from bandmaster.contrib.oidc.tokens.parsing import parse_message
from bandmaster.contrib.oidc.tokens.signatures import check_signature

pytestmark = pytest.mark.anyio


async def test_a_token_of_any_type_is_read() -> None:
    """An ID token and a logout token have other types and claims than an access token."""
    issuer = Issuer()
    async with verifying(issuer) as (_, providers):
        token = make_token(header={"typ": "logout+jwt"}, aud="shop", exp=..., events={"x": {}})
        found = await read_token(providers["default"], token)
    assert ("logout+jwt", "ES256", "one", "shop") == (
        found.message.header.type,
        found.message.header.algorithm,
        found.message.header.kid,
        found.claims["aud"],
    )


async def test_the_signature_and_the_algorithm_are_checked() -> None:
    """A forged token, an algorithm that isn't allowed, and a malformed token raise; a new key is fetched."""
    issuer = Issuer()
    async with verifying(issuer, algorithms=["ES256"]) as (_, providers):
        provider = providers["default"]
        for token in (make_token(key=key_for("ES256", "stranger")), "x", "a.b.c"):
            with pytest.raises(InvalidTokenError):
                await read_token(provider, token)
        with pytest.raises(InvalidTokenError, match="the algorithm 'RS256', which isn't allowed"):
            await read_token(provider, make_token(algorithm="RS256"))
        issuer.keys.append(publish(key_for("ES256", "new"), "two"))
        assert "alice" == (await read_token(provider, make_token(kid="two", key=key_for("ES256", "new")))).claims["sub"]


@pytest.mark.parametrize("restricted", ["t2", "t11"])
async def test_a_key_of_another_tenant_signs_no_token_of_ours(restricted) -> None:
    """Microsoft Entra restricts keys to tenants; the beginning of a tenant's name isn't the tenant."""
    entra = "https://login.microsoftonline.com/{tenantid}/v2.0"
    of_t1 = entra.replace("{tenantid}", "t1")
    for issuer, holds in ((entra.replace("{tenantid}", restricted), False), (of_t1, True), (entra, True)):
        source = Issuer(publish(key_for("ES256"), issuer=issuer), issuer=of_t1)
        async with verifying(source, issuer=entra, tenants=["t1"]) as (_, providers):
            reading = read_token(providers["default"], make_token(iss=of_t1, tid="t1"))
            if holds:
                assert "alice" == (await reading).claims["sub"]
            else:
                with pytest.raises(InvalidTokenError, match="isn't signed by a key of its issuer"):
                    await reading


async def test_every_newer_set_of_keys_is_looked_at() -> None:
    """While a token waits for a fetch, others may have had the keys fetched once more."""

    class Cache:
        def __init__(self, *sets):
            self.sets = list(sets)

        def peek(self):
            return self.sets.pop(0)

        async def newer(self, seen):
            return self.sets.pop(0) if self.sets else None

    def load(*members):
        return import_keys({"keys": list(members)}, frozenset({"ES256"}), source="x")

    old, other, new = (
        publish(key_for("ES256")),
        publish(key_for("ES256", "new"), "two"),
        publish(key_for("ES256", "third"), "three"),
    )
    message = parse_message(make_token(kid="three", key=key_for("ES256", "third")), 10_000)
    await check_signature(message, Cache(load(old), load(old, other), load(old, other, new)))
    with pytest.raises(InvalidTokenError):
        await check_signature(message, Cache(load(old), load(old, other)))


async def test_the_addresses_come_from_settings_and_discovery() -> None:
    """One document serves for all callers."""
    issuer = Issuer()
    issuer.document |= {"token_endpoint": f"{ISSUER}/token", "userinfo_endpoint": f"{ISSUER}/userinfo"}
    async with verifying(issuer, token_url="https://internal.example/token") as (_, providers):
        for _ in range(3):
            found = await providers["default"].metadata()
        assert ("https://internal.example/token", f"{ISSUER}/userinfo") == (
            found.token_endpoint,
            found.userinfo_endpoint,
        )
        assert {DISCOVERY: 1} == issuer.counts


async def test_addresses_can_be_away() -> None:
    """An outage of discovery raises this package's error, and the document serves on where it is known."""
    issuer = Issuer()
    issuer.away = True
    async with verifying(issuer) as (_, providers):
        with pytest.raises(AuthUnavailableError):
            await providers["default"].metadata()
