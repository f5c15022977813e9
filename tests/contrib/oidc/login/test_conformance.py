"""The OpenID Foundation's modules for relying parties by code flow, re-implemented on a provider of our own.

Each test names its module of the conformance suite: those of the plans oidcc-client-basic, -config, -formpost-basic,
-refresh-token, -3rd-party-init-login, -rp-initiated-logout and -backchannel-logout, as far as they are about the code
flow, and those of the whole list that a client of the code flow can meet.
"""

import pytest
from starlette.responses import Response
from tests.contrib.oidc.login.conformance import accept_login, drop, make_second, put, refuse_login
from tests.contrib.oidc.login.openid_provider import OpenIDProvider, make_key
from tests.contrib.oidc.login.shop import open_shop

pytestmark = pytest.mark.anyio


async def test_code_flow():
    """oidcc-client-test: authorization, token and userinfo request."""
    provider = OpenIDProvider()
    await accept_login(provider)
    assert [request["grant_type"] for request in provider.token_requests] == ["authorization_code"]


async def test_another_issuer_in_the_id_token():
    """oidcc-client-test-invalid-iss."""
    await refuse_login(OpenIDProvider(change_claims=put(iss="https://other.example")))


async def test_an_issuer_with_a_slash_more():
    """oidcc-client-test-invalid-iss, by one character."""
    await refuse_login(OpenIDProvider(change_claims=put(iss="https://op.example/")))


async def test_no_subject():
    """oidcc-client-test-missing-sub."""
    await refuse_login(OpenIDProvider(change_claims=drop("sub")))


@pytest.mark.parametrize(
    "audience", ["other", ["other"], [], {"shop": 1}, None, 7, ["shop", "other"]], ids=lambda value: repr(value)
)
async def test_another_audience(audience):
    """oidcc-client-test-invalid-aud; several audiences without azp don't say whose the token is."""
    await refuse_login(OpenIDProvider(change_claims=put(aud=audience)))


async def test_no_audience():
    """oidcc-client-test-missing-aud."""
    await refuse_login(OpenIDProvider(change_claims=drop("aud")))


async def test_a_list_with_our_client_as_the_audience():
    """OpenID Connect Core, 2: aud may be a list."""
    await accept_login(OpenIDProvider(change_claims=put(aud=["shop"])))


async def test_several_audiences_and_our_client_as_the_party():
    """OpenID Connect Core, 3.1.3.7: azp names our client."""
    await accept_login(OpenIDProvider(change_claims=put(aud=["shop", "other"], azp="shop")))


async def test_a_token_for_another_party():
    """OpenID Connect Core, 3.1.3.7, item 5: azp, if there is one, is our client."""
    await refuse_login(OpenIDProvider(change_claims=put(azp="other")))


async def test_no_time_of_issue():
    """oidcc-client-test-missing-iat."""
    await refuse_login(OpenIDProvider(change_claims=drop("iat")))


@pytest.mark.parametrize("name", ["iat", "exp", "nbf"])
@pytest.mark.parametrize("value", ["1800000000", True, [], {}])
async def test_a_time_that_is_no_number(name, value):
    """RFC 7519, 2: a NumericDate is a number."""
    await refuse_login(OpenIDProvider(change_claims=put(**{name: value})))


async def test_an_expired_id_token():
    """OpenID Connect Core, 3.1.3.7, item 9."""
    await refuse_login(OpenIDProvider(change_claims=lambda claims: {**claims, "exp": claims["iat"] - 31}))


async def test_an_id_token_without_expiry():
    """OpenID Connect Core, 2: exp is required."""
    await refuse_login(OpenIDProvider(change_claims=drop("exp")))


async def test_an_id_token_from_the_future():
    """A clock that is more than the leeway ahead is no clock of this provider."""
    await refuse_login(OpenIDProvider(change_claims=lambda claims: {**claims, "iat": claims["iat"] + 31}))


@pytest.mark.requirement("AU-11")
async def test_clocks_that_differ_within_the_leeway():
    """A provider whose clock is 29 seconds ahead, and whose token has expired by 29 seconds, is believed."""
    await accept_login(OpenIDProvider(change_claims=lambda claims: {**claims, "iat": claims["iat"] + 29}))
    await accept_login(OpenIDProvider(change_claims=lambda claims: {**claims, "exp": claims["iat"] - 29}))


async def test_one_key_without_an_id():
    """oidcc-client-test-kid-absent-single-jwks."""
    await accept_login(OpenIDProvider(change_header=drop("kid")))


async def test_several_keys_without_an_id():
    """oidcc-client-test-kid-absent-multiple-jwks: one of the keys fits."""
    provider = OpenIDProvider(change_header=drop("kid"))
    provider.keys = [make_key("RS256", "first"), make_key("RS256", "second")]
    await accept_login(provider)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_signed_id_token(algorithm):
    """oidcc-client-test-idtoken-sig-rs256, and the same for elliptic curves."""
    await accept_login(OpenIDProvider(algorithm=algorithm))


async def test_an_unsigned_id_token():
    """oidcc-client-test-idtoken-sig-none: refused, although the specification would allow it for the code flow."""
    await refuse_login(OpenIDProvider(change_header=put(alg="none")))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_a_signature_by_another_key(algorithm):
    """oidcc-client-test-invalid-sig-rs256 and -es256."""
    await refuse_login(OpenIDProvider(algorithm=algorithm, signing_key=make_key(algorithm, "stranger")))


async def test_a_symmetric_signature():
    """oidcc-client-test-invalid-sig-hs256: a token that is signed with the client's secret."""
    from joserfc.jwk import OctKey

    secret = OctKey.import_key(b"s3cr:et /+ and some more, to make it long")
    await refuse_login(OpenIDProvider(signing_key=secret, change_header=put(alg="HS256")))


async def test_userinfo_of_another_user():
    """oidcc-client-test-userinfo-invalid-sub."""
    async with open_shop(OpenIDProvider(change_userinfo=put(sub="mallory"))) as shop:
        browser = shop.browser()
        assert (await browser.visit("/auth/login")).status_code == 403
        assert (await browser.visit("/")).json()["user"] is None


async def test_another_nonce():
    """oidcc-client-test-nonce-invalid."""
    await refuse_login(OpenIDProvider(change_claims=put(nonce="another")))


@pytest.mark.parametrize("nonce", [None, "", 7, ["x"]])
async def test_a_nonce_that_is_none(nonce):
    """OpenID Connect Core, 3.1.3.7, item 11: the nonce that was sent must come back."""
    await refuse_login(OpenIDProvider(change_claims=put(nonce=nonce)))


async def test_no_nonce():
    """OpenID Connect Core, 3.1.3.7, item 11."""
    await refuse_login(OpenIDProvider(change_claims=drop("nonce")))


async def test_claims_by_scopes():
    """oidcc-client-test-scope-userinfo-claims: the claims of profile and email come from userinfo."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        profile = (await browser.fetch("GET", "/auth/profile")).json()
        assert profile["claims"]["name"] == "Alice Example"
        assert profile["claims"]["email"] == "alice@example.org"
        assert shop.provider.authorizations[0]["scope"] == "openid profile email"


async def test_client_secret_basic():
    """oidcc-client-test-client-secret-basic: the name and the secret are form-encoded first (RFC 6749, 2.3.1)."""
    provider = OpenIDProvider(auth_methods=("client_secret_basic",))
    await accept_login(provider)
    assert "client_secret" not in provider.token_requests[0]


async def test_client_secret_post():
    """The basic plan's variant client_secret_post."""
    provider = OpenIDProvider(auth_methods=("client_secret_post",))
    await accept_login(provider)
    assert "authorization" not in provider.token_headers[0]


async def test_a_public_client():
    """The basic plan's variant none: PKCE protects a client without a secret."""
    await accept_login(OpenIDProvider(auth_methods=("none",), client_secret=None))


async def test_another_hash_of_the_access_token():
    """oidcc-client-test-invalid-athash."""
    await refuse_login(OpenIDProvider(change_claims=put(at_hash="77QmUPtjPfzWtF2AnpK9RQ")))


async def test_no_hash_of_the_access_token():
    """oidcc-client-test-missing-athash is about the implicit flow; by code flow at_hash is optional (Core, 3.1.3.6)."""
    await accept_login(OpenIDProvider(change_claims=drop("at_hash")))


async def test_userinfo_by_the_authorization_header():
    """oidcc-client-test-userinfo-bearer-header: the provider accepts the token nowhere else."""
    provider = OpenIDProvider()
    await accept_login(provider)


async def test_signed_userinfo():
    """oidcc-client-test-userinfo-signed."""
    provider = OpenIDProvider()

    def answer():
        claims = {"iss": provider.issuer, "aud": provider.client_id, "sub": "alice", "name": "Alice the signed"}
        return Response(provider.sign(claims), media_type="application/jwt")

    provider.userinfo_answer = answer
    async with open_shop(provider) as shop:
        browser = await shop.log_in()
        assert (await browser.fetch("GET", "/auth/profile")).json()["claims"]["name"] == "Alice the signed"


@pytest.mark.parametrize("changes", [{"aud": "other"}, {"iss": "https://other.example"}, {"sub": "mallory"}])
async def test_signed_userinfo_that_does_not_fit(changes):
    """OpenID Connect Core, 5.3.2: iss and aud of signed userinfo are checked."""
    provider = OpenIDProvider()
    claims = {"iss": provider.issuer, "aud": provider.client_id, "sub": "alice", **changes}
    provider.userinfo_answer = lambda: Response(provider.sign(claims), media_type="application/jwt")
    async with open_shop(provider) as shop:
        assert (await shop.browser().visit("/auth/login")).status_code == 403


@pytest.mark.requirement("AU-10")
async def test_discovery():
    """oidcc-client-test-discovery-openid-config and -discovery-jwks-uri-keys."""
    provider = OpenIDProvider()
    await accept_login(provider)
    assert provider.discovery_requests > 0
    assert provider.key_requests > 0


@pytest.mark.requirement("AU-10")
async def test_a_discovery_document_of_another_issuer():
    """oidcc-client-test-discovery-issuer-mismatch: the provider isn't used."""
    async with open_shop(OpenIDProvider(change_discovery=put(issuer="https://other.example"))) as shop:
        browser = shop.browser()
        assert (await browser.visit("/auth/login")).status_code == 503
        assert shop.provider.authorizations == []


async def test_keys_that_rotate_between_logins():
    """oidcc-client-test-signing-key-rotation."""
    async with open_shop() as shop:
        await shop.log_in()
        shop.provider.rotate_keys()
        await shop.log_in()


async def test_keys_that_rotate_just_before_signing():
    """oidcc-client-test-signing-key-rotation-just-before-signing."""
    async with open_shop() as shop:
        await shop.log_in()

        def rotate(answer):
            shop.provider.rotate_keys()
            return answer

        shop.provider.change_authorization = rotate
        await shop.log_in()


FORM_POST = {"response_mode": "form_post"}


@pytest.mark.requirement("CA-27")
async def test_an_answer_by_a_form():
    """oidcc-client-test with response_mode=form_post: the cross-site form comes without cookies, and is sent again."""
    async with open_shop(issuer=FORM_POST) as shop:
        browser = shop.browser()
        page = await browser.visit("/auth/login?return_to=/private", follow=False)
        page = await browser.follow(page)
        address, fields = browser.read_form(page)
        page = await browser.submit(address, fields, origin=shop.provider.issuer)
        assert page.status_code == 200
        address, fields = browser.read_form(page)
        assert address.startswith("https://app.example/")
        response = await browser.submit(address, fields, origin="https://app.example")
        assert str(response.request.url) == "https://app.example/private"
        assert response.json()["user"] == "alice"


@pytest.mark.requirement("CA-27")
async def test_a_form_is_sent_again_once():
    """A form that comes without cookies a second time is refused: the browser would send it for ever."""
    async with open_shop(issuer=FORM_POST) as shop:
        browser = shop.browser()
        fields = {"state": "x", "code": "y", "reposted": "1"}
        response = await browser.submit("/auth/callback", fields, origin="https://app.example")
        assert response.status_code == 400


async def test_an_error_by_a_form():
    """oidcc-client-test-form-post-error: the user sees an error page."""
    changed = lambda answer: {"error": "login_required", "state": answer["state"], "iss": answer["iss"]}  # noqa: E731
    async with open_shop(OpenIDProvider(change_authorization=changed), issuer=FORM_POST) as shop:
        browser = shop.browser()
        page = await browser.follow(await browser.visit("/auth/login", follow=False))
        page = await browser.submit(*browser.read_form(page), origin=shop.provider.issuer)
        response = await browser.submit(*browser.read_form(page), origin="https://app.example")
        assert response.status_code == 403
        assert "login_required" in response.text


async def test_a_refresh():
    """oidcc-client-test-refresh-token: the new access token is used."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        before = (await browser.visit("/")).json()["token"]
        shop.clock.advance(301)
        after = (await browser.visit("/")).json()["token"]
        assert before != after
        assert shop.provider.access_tokens[after] == "alice"


@pytest.mark.parametrize(
    "change",
    [put(iss="https://other.example"), put(sub="mallory")],
    ids=["refresh-token-invalid-issuer", "refresh-token-invalid-sub"],
)
async def test_a_refresh_for_somebody_else(change):
    """oidcc-client-test-refresh-token-invalid-issuer and -invalid-sub: the session ends."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        shop.provider.change_claims = change
        shop.clock.advance(301)
        assert (await browser.visit("/")).json()["user"] is None


async def test_a_login_that_a_third_party_begins():
    """oidcc-client-test-3rd-party-init-login: iss, login_hint and target_link_uri (Core, 4)."""
    async with open_shop(others=[second := make_second()]) as shop:
        browser = shop.browser()
        query = f"iss={second.issuer}&login_hint=alice@example.org&target_link_uri=https://app.example/private"
        response = await browser.visit(f"/auth/login?{query}", origin="https://portal.example")
        assert str(response.request.url) == "https://app.example/private"
        assert second.authorizations[0]["login_hint"] == "alice@example.org"
        assert shop.provider.authorizations == []
