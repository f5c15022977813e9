"""The claims that tokens of real providers have."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contrib.oidc.verifier.issuer import (
    AUDIENCE,
    ISSUER,
    Issuer,
    key_for,
    make_claims,
    make_key,
    make_token,
    publish,
    sign,
    verifying,
)

from bandmaster.contrib.oidc import InvalidTokenError
from bandmaster.contrib.oidc.claim_values import check_times, read_name, read_time
from bandmaster.contrib.oidc.tokens.claims import read_scopes

NOW = 1_000_000.0
ENTRA = "https://login.microsoftonline.com/{tenantid}/v2.0"


async def verify(token, *keys, **changes):
    async with verifying(Issuer(*keys), **changes) as (verifier, _):
        return await verifier.verify(token)


@pytest.mark.anyio
async def test_the_principal_has_what_the_token_says() -> None:
    """Subject, issuer, scopes, client, ids and times are read, and all claims are there, read-only."""
    now = int(time.time())
    principal = await verify(make_token(jti="j1", sid="s1", azp="spa", iat=now, exp=now + 60, act={"sub": "bob"}))
    assert ("alice", ISSUER, frozenset({"read", "write"}), "token") == (
        principal.subject,
        principal.issuer,
        principal.scopes,
        principal.kind,
    )
    assert ("spa", "j1", "s1", now, now + 60) == (
        principal.client_id,
        principal.credential_id,
        principal.session_id,
        principal.issued_at,
        principal.expires_at,
    )
    assert {"sub": "bob"} == principal.claims["act"]
    with pytest.raises(TypeError):
        principal.claims["sub"] = "admin"


@pytest.mark.anyio
@pytest.mark.requirement("CA-04")
@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["account", AUDIENCE]])
async def test_the_audience_may_be_a_text_or_a_list(audience) -> None:
    """One match is enough."""
    assert "alice" == (await verify(make_token(aud=audience))).subject


@pytest.mark.anyio
@pytest.mark.requirement("CA-04")
@pytest.mark.parametrize("changes", [{"aud": "account"}, {"aud": ["account"]}, {"aud": ...}, {"aud": []}])
async def test_a_client_is_accepted_instead_of_an_audience_by_a_setting_alone(changes) -> None:
    """Keycloak's tokens name the client only in azp. The refusal tells which audience came and which was expected."""
    token = make_token(azp="spa", **changes)
    with pytest.raises(InvalidTokenError) as refused:
        await verify(token)
    assert f"was issued to 'spa'; expected was an audience of ['{AUDIENCE}']" in str(refused.value)
    assert repr(changes["aud"]).strip("[]") in str(refused.value) or changes["aud"] is ...
    assert "spa" == (await verify(token, authorized_parties=["spa"])).client_id
    assert "spa" == (await verify(token, audiences=[], authorized_parties=["other", "spa"])).client_id
    with pytest.raises(InvalidTokenError, match=r"or a client \(azp\) of \['other'\]"):
        await verify(token, authorized_parties=["other"])


@pytest.mark.anyio
@pytest.mark.parametrize("claim", ["azp", "client_id", "appid"])
async def test_the_client_has_several_names(claim) -> None:
    """OpenID Connect, RFC 9068 and Microsoft's first version name the client differently."""
    token = make_token(aud=..., **{claim: "spa"})
    assert "spa" == (await verify(token, audiences=[], authorized_parties=["spa"])).client_id


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", ...])
async def test_the_types_of_access_tokens_are_accepted(kind) -> None:
    """The type may be absent, and its case and prefix don't count (RFC 7515, section 4.1.9)."""
    header = {"alg": "ES256", "kid": "one"} | ({} if kind is ... else {"typ": kind})
    token = sign(make_claims(), header=json.dumps(header).encode())
    assert "alice" == (await verify(token)).subject


@pytest.mark.anyio
async def test_only_tokens_of_rfc_9068_are_accepted_where_the_settings_say_so() -> None:
    """The type is demanded, and each claim that the RFC requires."""
    claims = {"client_id": "spa", "jti": "j1"}
    accepted = make_token(header={"typ": "at+jwt"}, **claims)
    assert "alice" == (await verify(accepted, access_token_type="at+jwt")).subject
    with pytest.raises(InvalidTokenError, match="has the type 'jwt'"):
        await verify(make_token(**claims), access_token_type="at+jwt")
    for name in ("client_id", "jti", "iat", "aud", "sub", "exp", "iss"):
        with pytest.raises(InvalidTokenError):
            token = make_token(header={"typ": "at+jwt"}, **{**claims, name: ...})
            await verify(token, access_token_type="at+jwt", authorized_parties=["spa"])


@pytest.mark.anyio
async def test_id_tokens_are_accepted_where_the_settings_say_so() -> None:
    """Some providers' ID tokens serve as bearer tokens; a logout token still needs another type."""
    token = make_token(at_hash="x", nonce="n")
    with pytest.raises(InvalidTokenError, match="at_hash"):
        await verify(token)
    assert "alice" == (await verify(token, access_token_type="id_token")).subject


@pytest.mark.anyio
async def test_a_nonce_is_a_mark_of_id_tokens() -> None:
    """An ID token needn't have at_hash. An access token that has the login's nonce says that it is one."""
    with pytest.raises(InvalidTokenError, match="nonce"):
        await verify(make_token(nonce="n"))
    assert (await verify(make_token(nonce="n"), access_token_type="id_token")).subject == "alice"
    for marked in ({"typ": "Bearer"}, {"token_use": "access"}):
        assert (await verify(make_token(nonce="n", **marked))).subject == "alice"


@pytest.mark.anyio
@pytest.mark.requirement("CA-11")
@pytest.mark.parametrize("setting", ["EdDSA", "Ed25519"])
@pytest.mark.parametrize("named", [None, "EdDSA", "Ed25519"])
async def test_both_names_of_ed25519_are_accepted(setting, named) -> None:
    """Both hold under each name in the settings and in the key, and neither name verifies by an Ed448 key."""
    members = {} if named is None else {"alg": named}
    keys = [publish(key_for("EdDSA"), **members), publish(make_key("Ed448"), "ed448", **members)]
    for algorithm in ("EdDSA", "Ed25519"):
        assert "alice" == (await verify(make_token(algorithm=algorithm), *keys, algorithms=[setting])).subject
        token = make_token(algorithm=algorithm, kid="ed448", key=make_key("Ed448"))
        with pytest.raises(InvalidTokenError):
            await verify(token, *keys, algorithms=[setting])


@pytest.mark.anyio
@pytest.mark.requirement("AU-1")
@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "Ed448"]
)
async def test_each_known_algorithm_is_verified_if_it_is_allowed(algorithm) -> None:
    """A token of the algorithm holds, and is refused where the settings allow others only."""
    token, key = make_token(algorithm=algorithm), publish(key_for(algorithm))
    assert "alice" == (await verify(token, key, algorithms=[algorithm])).subject
    others = [name for name in ("RS256", "ES256", "PS256", "Ed25519") if name != algorithm]
    with pytest.raises(InvalidTokenError, match="isn't allowed"):
        await verify(token, key, *(publish(key_for(name), name) for name in others), algorithms=others)


@pytest.mark.anyio
@pytest.mark.requirement("CA-02")
async def test_a_token_of_a_tenant_must_name_that_tenant_itself() -> None:
    """The issuer is the template filled with the token's own tid, and the tenant is one of the list."""
    settings = {"issuer": ENTRA, "tenants": ["t1", "t2"], "jwks_url": f"{ISSUER}/keys"}

    def token(tenant, tid=...):
        return make_token(iss=ENTRA.replace("{tenantid}", tenant), tid=tid)

    assert "alice" == (await verify(token("t1", "t1"), **settings)).subject
    assert "alice" == (await verify(token("t2", "t2"), **settings)).subject
    for wrong in (token("t1", "t2"), token("t3", "t3"), token("t1"), token("{tenantid}", "t1"), token("t1", ["t1"])):
        with pytest.raises(InvalidTokenError):
            await verify(wrong, **settings)


@pytest.mark.anyio
@pytest.mark.requirement("CA-02")
async def test_a_key_that_the_provider_restricts_to_one_tenant_signs_for_no_other() -> None:
    """Microsoft publishes the key for private accounts beside those for organisations."""
    settings = {"issuer": ENTRA, "tenants": ["t1", "t2"], "jwks_url": f"{ISSUER}/keys"}
    token = make_token(iss=ENTRA.replace("{tenantid}", "t1"), tid="t1")
    for accepted in (ENTRA, ENTRA.replace("{tenantid}", "t1"), 5):
        assert "alice" == (await verify(token, publish(key_for("ES256"), issuer=accepted), **settings)).subject
    with pytest.raises(InvalidTokenError, match="isn't signed by a key of its issuer"):
        await verify(token, publish(key_for("ES256"), issuer=ENTRA.replace("{tenantid}", "t2")), **settings)


@pytest.mark.anyio
async def test_a_key_of_another_tenant_signs_for_no_plain_issuer() -> None:
    """The key set of Entra has keys of several tenants, also where the settings name the issuer of one tenant alone."""
    ours, theirs = "5c1f1a0e-0d0b-4a2e-8d0c-0123456789ab", "9188040d-6c67-4c5b-b112-36a304b66dad"
    issuer = ENTRA.replace("{tenantid}", ours)
    settings, token = {"issuer": issuer, "jwks_url": f"{ISSUER}/keys"}, make_token(iss=issuer)
    for accepted in (ENTRA, issuer, 5):
        assert "alice" == (await verify(token, publish(key_for("ES256"), issuer=accepted), **settings)).subject
    with pytest.raises(InvalidTokenError, match="isn't signed"):
        await verify(token, publish(key_for("ES256"), issuer=ENTRA.replace("{tenantid}", theirs)), **settings)


@pytest.mark.requirement("AU-5")
@pytest.mark.parametrize(
    ("claims", "holds"),
    [
        ({"exp": NOW + 1}, True),
        ({"exp": NOW}, True),
        ({"exp": NOW - 29.9}, True),
        ({"exp": NOW - 30}, False),
        ({"exp": NOW + 1, "nbf": NOW + 30}, True),
        ({"exp": NOW + 1, "nbf": NOW + 30.1}, False),
        ({"exp": NOW + 1, "iat": NOW + 30}, True),
        ({"exp": NOW + 1, "iat": NOW + 30.1}, False),
        ({"exp": NOW + 1, "iat": 0}, True),
        ({"exp": NOW + 1.5, "nbf": 1.5, "iat": 1.5}, True),
    ],
)
def test_the_leeway_is_exact(claims, holds):
    """A token that has expired within the leeway, or is valid within it, holds; at its end it doesn't."""
    if holds:
        assert claims["exp"] == check_times(claims, NOW, 30)
    else:
        with pytest.raises(InvalidTokenError):
            check_times(claims, NOW, 30)


def test_a_token_that_must_say_when_it_was_issued():
    """ID tokens and logout tokens have iat, and access tokens need none."""
    assert NOW + 1 == check_times({"exp": NOW + 1, "iat": NOW}, NOW, 30, needs_issue=True)
    assert NOW + 1 == check_times({"exp": NOW + 1}, NOW, 30)
    with pytest.raises(InvalidTokenError, match="it has no iat"):
        check_times({"exp": NOW + 1}, NOW, 30, needs_issue=True)


@pytest.mark.parametrize(
    ("value", "holds"),
    [("a", True), ("x" * 1024, True), ("", False), ("x" * 1025, False), ("a\nb", False), (7, False), (["a"], False)],
)
def test_names_are_short_texts(value, holds):
    """Subjects, clients and ids go into logs and keys of stores."""
    if holds:
        assert value == read_name({"sub": value}, "sub")
    else:
        with pytest.raises(InvalidTokenError, match="sub isn't a short text"):
            read_name({"sub": value}, "sub")


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        (0, True),
        (253_402_300_799, True),
        (-1, False),
        (-0.5, False),
        (253_402_300_800, False),
        (True, False),
        (None, False),
    ],
)
def test_times_are_numbers_within_the_years_of_dates(value, holds):
    """From 1970 to 9999; null is no time."""
    if holds:
        assert value == read_time({"nbf": value}, "nbf")
    else:
        with pytest.raises(InvalidTokenError, match="nbf isn't a time in seconds"):
            read_time({"nbf": value}, "nbf")


@pytest.mark.anyio
async def test_the_client_by_the_first_of_its_claims() -> None:
    """azp is the party that the token was issued to (OpenID Connect Core, section 2); others follow."""
    assert "spa" == (await verify(make_token(azp="spa", client_id="api", appid="old"))).client_id
    assert "api" == (await verify(make_token(client_id="api", appid="old"))).client_id


@given(st.integers(0, 10**11), st.integers(0, 10**11), st.integers(0, 300))
def test_no_leeway_lets_a_token_live_longer_than_it(exp, now, leeway):
    """A token holds exactly until its exp and the leeway are over."""
    try:
        check_times({"exp": exp}, now, leeway)
        holds = True
    except InvalidTokenError:
        holds = False
    assert holds == (now < exp + leeway)


@pytest.mark.parametrize(
    ("claims", "names", "expected"),
    [
        ({"scope": "a b  c"}, ("scope",), {"a", "b", "c"}),
        ({"scope": ["a", "b", 1]}, ("scope",), {"a", "b"}),
        ({"scp": "a", "scope": "b"}, ("scope", "scp"), {"a", "b"}),
        ({"scope": ""}, ("scope",), set()),
        ({"scope": {"a": 1}}, ("scope",), set()),
        ({"realm_access": {"roles": ["admin"]}}, ("realm_access.roles",), {"admin"}),
        ({"realm_access": ["admin"]}, ("realm_access.roles",), set()),
        ({"https://shop.example/roles": ["admin"]}, ("https://shop.example/roles",), {"admin"}),
        ({}, ("scope", "a.b.c"), set()),
    ],
)
def test_scopes_are_read_from_texts_lists_and_objects(claims, names, expected):
    """The names of the claims are a setting; a claim that isn't a text or a list gives no scope."""
    assert expected == read_scopes(claims, names)


@pytest.mark.anyio
@pytest.mark.requirement("AU-1")
async def test_the_size_of_a_token_is_bounded_by_a_setting() -> None:
    """A token of exactly so many bytes holds; one that is longer is refused without a look at it."""
    token = make_token(groups=["x" * 100] * 50)
    assert "alice" == (await verify(token, max_token_bytes=len(token))).subject
    with pytest.raises(InvalidTokenError, match=f"more than {len(token) - 1} bytes"):
        await verify(token, max_token_bytes=len(token) - 1)
