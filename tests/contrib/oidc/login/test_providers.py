"""Several providers, their answers, and those that refuse, lie or are away."""

from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.responses import JSONResponse, PlainTextResponse
from tests.contrib.oidc.login.openid_provider import OpenIDProvider
from tests.contrib.oidc.login.shop import open_shop
from tests.contrib.oidc.login.steps import answer, begin

pytestmark = pytest.mark.anyio


SECOND = {
    "issuer": "https://op.second.example",
    "client_id": "shop2",
    "redirect_uris": ("https://app.example/auth/callback/second",),
}


async def test_several_providers_side_by_side():
    """A page lets the user choose; each provider has addresses of its own, and sessions say whose they are."""
    async with open_shop(others=[OpenIDProvider(**SECOND, user="bob")]) as shop:
        browser = shop.browser()
        page = await browser.visit("/auth/login?return_to=/private")
        assert '<a href="/auth/login?return_to=/private">default</a>' in page.text
        assert '<a href="/auth/login/second?return_to=/private">second</a>' in page.text
        response = await browser.visit("/auth/login/second?return_to=/private")
        assert response.json() | {"token": ""} == {"user": "bob", "issuer": "https://op.second.example", "token": ""}
        assert (await browser.visit("/auth/login/third")).status_code == 404


async def test_an_answer_of_another_provider_is_refused():
    """No code is sent to another provider (mix-up, RFC 9700, 4.4): neither by its address nor by its issuer."""
    second = OpenIDProvider(**SECOND)
    async with open_shop(others=[second]) as shop:
        browser = shop.browser()
        honest = await begin(browser, "/auth/login/default")
        state = parse_qs(urlsplit(honest).query)["state"][0]
        for callback in (
            f"/auth/callback/second?code=stolen&state={state}",
            f"/auth/callback?code=stolen&state={state}&iss=https://op.second.example",
        ):
            assert (await browser.visit(callback)).status_code == 400
        assert shop.provider.token_requests == second.token_requests == []


@pytest.mark.parametrize("issuer", ["https://op.example/", "https://OP.example", "", "https://evil.example"])
async def test_another_issuer_in_the_answer_is_refused(issuer):
    """RFC 9207, 2.4: iss is compared character for character."""
    change = lambda sent: {**sent, "iss": issuer}  # noqa: E731
    async with open_shop(OpenIDProvider(change_authorization=change)) as shop:
        assert (await shop.browser().visit("/auth/login")).status_code == 400
        assert shop.provider.token_requests == []


async def test_an_issuer_that_was_promised_must_be_there():
    """RFC 9207, 2.4: without iss the answer of a provider that promises iss is refused; of others it is accepted."""
    without = lambda sent: {name: value for name, value in sent.items() if name != "iss"}  # noqa: E731
    async with open_shop(OpenIDProvider(change_authorization=without)) as shop:
        assert (await shop.browser().visit("/auth/login")).status_code == 400
    async with open_shop(OpenIDProvider(sends_iss=False)) as shop:
        await shop.log_in()


@pytest.mark.parametrize("error", ["access_denied", "login_required", "<script>", "x" * 100])
async def test_a_login_that_the_provider_refuses(error):
    """The user sees an error page with a known code, and nothing that the provider has made up."""
    change = lambda sent: {  # noqa: E731
        "error": error,
        "error_description": "<b>hello</b>",
        "state": sent["state"],
        "iss": sent["iss"],
    }
    async with open_shop(OpenIDProvider(change_authorization=change)) as shop:
        browser = shop.browser()
        response = await browser.visit("/auth/login")
        assert response.status_code == 403
        assert "hello" not in response.text
        assert "<script>" not in response.text
        assert (error if error.isidentifier() and len(error) < 40 else "unknown_error") in response.text
        assert browser.cookies == {}


async def test_an_answer_with_both_a_code_and_an_error():
    """Such an answer is refused (RFC 6749, section 4.1.2.1), and the login goes on with a proper one."""
    async with open_shop() as shop:
        browser = shop.browser()
        callback = await answer(browser, await begin(browser))
        response = await browser.visit(f"{callback}&error=access_denied")
        assert response.status_code == 400
        assert shop.provider.token_requests == []
        assert (await browser.visit(callback, follow=False)).status_code == 303


async def test_a_provider_that_is_away_gives_503():
    """At the beginning of a login, at the token endpoint and at userinfo; nobody is logged in, and nothing stays."""
    async with open_shop() as shop:
        browser = shop.browser()
        shop.provider.is_down = True
        response = await browser.visit("/auth/login")
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        shop.provider.is_down = False
        shop.provider.token_answer = lambda: PlainTextResponse("oops", 500)
        assert (await browser.visit("/auth/login")).status_code == 503
        shop.provider.token_answer = None
        shop.provider.userinfo_answer = lambda: PlainTextResponse("oops", 500)
        assert (await browser.visit("/auth/login")).status_code == 503
        assert browser.cookies == {}
        assert len(shop.store) == 0


@pytest.mark.parametrize(
    "answer_of_userinfo",
    [lambda: JSONResponse({"error": "invalid_token"}, 401), lambda: JSONResponse({"name": "nobody"})],
    ids=["a refusal", "no subject"],
)
async def test_userinfo_that_does_not_hold(answer_of_userinfo):
    """A userinfo endpoint that refuses its own token, or names nobody, ends the login."""
    async with open_shop(OpenIDProvider(userinfo_answer=answer_of_userinfo)) as shop:
        assert (await shop.browser().visit("/auth/login")).status_code == 403


async def test_userinfo_can_be_left_out():
    """A provider whose ID token says enough isn't asked for more."""
    async with open_shop(issuer={"userinfo": False}) as shop:
        await shop.log_in()
        assert shop.provider.userinfo_requests == 0


async def test_a_token_answer_without_an_id_token_is_no_login():
    """OpenID Connect Core, 3.1.3.3: an ID token is required."""
    change = lambda tokens: {name: value for name, value in tokens.items() if name != "id_token"}  # noqa: E731
    async with open_shop(OpenIDProvider(change_tokens=change)) as shop:
        assert (await shop.browser().visit("/auth/login")).status_code == 403
