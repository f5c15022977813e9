"""The OpenID Foundation's modules for the logout of relying parties, re-implemented on a provider of our own."""

import pytest
from tests.contrib.oidc.login.conformance import put
from tests.contrib.oidc.login.openid_provider import EVENT, OpenIDProvider, make_key
from tests.contrib.oidc.login.shop import open_shop

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CA-26")
async def test_a_logout():
    """oidcc-client-test-rp-init-logout: with the ID token, the client, the registered address and a state."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        response = await browser.visit("/auth/logout", origin="https://app.example")
        assert str(response.request.url) == "https://app.example/"
        assert response.json()["user"] is None
        [sent] = shop.provider.logouts
        assert sent.keys() == {"id_token_hint", "client_id", "post_logout_redirect_uri", "state"}
        assert sent["client_id"] == "shop"


@pytest.mark.parametrize("query", ["?state=another", ""], ids=["rp-init-logout-other-state", "rp-init-logout-no-state"])
async def test_a_return_from_a_logout_with_another_state(query):
    """oidcc-client-test-rp-init-logout-other-state and -no-state: the return is handled all the same."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        await browser.visit("/auth/logout", origin="https://app.example", follow=False)
        response = await browser.visit(f"/auth/logged-out{query}", origin=shop.provider.issuer)
        assert (response.status_code, response.json()["user"]) == (200, None)


async def send_logout_token(provider, token, **options):
    """The status of the answer to a logout token, and whether the session goes on."""
    async with open_shop(provider, **options) as shop:
        browser = await shop.log_in()
        response = await shop.running.client.post("/auth/backchannel-logout", data={"logout_token": token(shop)})
        assert response.headers["cache-control"] == "no-store"
        return response.status_code, (await browser.visit("/")).json()["user"] is not None


@pytest.mark.requirement("CA-25")
async def test_a_backchannel_logout():
    """oidcc-client-test-rp-backchannel-rpinitlogout."""
    provider = OpenIDProvider()
    assert await send_logout_token(provider, lambda _: provider.make_logout_token()) == (200, False)


@pytest.mark.requirement("CA-25")
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"events": None}, id="no-event"),
        pytest.param({"events": {"http://schemas.openid.net/event/other": {}}}, id="wrong-event"),
        pytest.param({"events": {EVENT: True}}, id="an-event-that-is-no-object"),
        pytest.param({"events": [EVENT]}, id="events-that-are-a-list"),
        pytest.param({"nonce": "n"}, id="with-nonce"),
        pytest.param({"aud": "other"}, id="wrong-aud"),
        pytest.param({"aud": None}, id="no-aud"),
        pytest.param({"iss": "https://other.example"}, id="wrong-iss"),
        pytest.param({"iss": None}, id="no-iss"),
        pytest.param({"sub": None, "sid": None}, id="nobody"),
        pytest.param({"sid": 7}, id="a-sid-that-is-a-number"),
        pytest.param({"sub": ["alice"]}, id="a-sub-that-is-a-list"),
        pytest.param({"jti": None}, id="no-jti"),
        pytest.param({"jti": 7}, id="a-jti-that-is-a-number"),
        pytest.param({"iat": None}, id="no-iat"),
        pytest.param({"exp": None}, id="no-exp"),
        pytest.param({"exp": 1_700_000_000}, id="expired"),
        pytest.param({"iat": 1_900_000_000}, id="from-the-future"),
    ],
)
async def test_a_logout_token_that_does_not_hold(changes):
    """oidcc-client-test-rp-backchannel-rpinitlogout-no-event, -wrong-event, -with-nonce, -wrong-aud, -wrong-iss."""
    provider = OpenIDProvider()
    assert await send_logout_token(provider, lambda _: provider.make_logout_token(**changes)) == (400, True)


async def test_an_unsigned_logout_token():
    """oidcc-client-test-rp-backchannel-rpinitlogout-alg-none."""
    provider = OpenIDProvider()

    def make(_):
        provider.change_header = put(alg="none")
        return provider.make_logout_token()

    assert await send_logout_token(provider, make) == (400, True)


async def test_a_logout_token_with_another_algorithm():
    """oidcc-client-test-rp-backchannel-rpinitlogout-wrong-alg: one that the settings don't have."""
    provider = OpenIDProvider(algorithm="ES256")

    def make(_):
        provider.keys = [make_key("RS256", "other")]
        provider.algorithm = "RS256"
        return provider.make_logout_token()

    assert await send_logout_token(provider, make, issuer={"algorithms": ("ES256",)}) == (400, True)


async def test_an_id_token_for_a_logout_token():
    """An ID token has no event and a nonce, and ends nothing."""
    provider = OpenIDProvider()
    assert await send_logout_token(provider, lambda _: provider.sign(provider.make_claims("n", "t"))) == (400, True)
