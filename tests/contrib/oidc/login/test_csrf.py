"""Requests that a session cookie authenticates, sent by pages of other origins."""

import pytest
from tests.contrib.oidc.login.shop import APP, open_shop

pytestmark = pytest.mark.anyio

FOREIGN = "https://evil.example"
SIBLING = "https://blog.app.example"


async def change(shop, browser, **headers):
    """Post with the session's cookie and these headers alone."""
    cookie = f"__Host-session={browser.cookies['__Host-session'].value}"
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await shop.running.client.post("/change", headers={"cookie": cookie, **headers})
    shop.running.client.cookies.clear()
    return response.status_code


async def read_token(browser):
    return (await browser.fetch("GET", "/auth/profile")).json()["csrf_token"]


async def test_pages_of_our_own_may_change_things():
    """A browser that says so by Fetch Metadata or by Origin needs no token."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        for method in ("POST", "PUT", "DELETE"):
            assert (await browser.fetch(method, "/change")).status_code == 200
        assert await change(shop, browser, sec_fetch_site="same-origin") == 200
        assert await change(shop, browser, origin=APP) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "nonsense"},
        {"sec_fetch_site": ""},
        {"origin": FOREIGN},
        {"origin": SIBLING},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://app.example"},
        {"origin": "https://app.example:8443"},
        {"origin": "https://app.example.evil.example"},
        {"origin": FOREIGN, "sec_fetch_site": "cross-site", "host": "evil.example"},
        {},
        {"x_csrf_token": ""},
        {"x_csrf_token": "x" * 43},
    ],
    ids=repr,
)
async def test_others_may_not(headers):
    """A page of another origin, and a program without the token, get 403; nothing is changed, and nobody logged out."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        assert await change(shop, browser, **headers) == 403
        assert (await browser.visit("/")).json()["user"] == "alice"


async def test_the_token_of_the_session():
    """A program, and a page that CORS lets read the profile, send the session's token; another session's doesn't do."""
    async with open_shop() as shop:
        browser, other = await shop.log_in(), await shop.log_in()
        token = await read_token(browser)
        assert await change(shop, browser, x_csrf_token=token) == 200
        assert await change(shop, browser, x_csrf_token=token, origin=SIBLING, sec_fetch_site="same-site") == 200
        assert await change(shop, other, x_csrf_token=token) == 403


async def test_reading_needs_no_token():
    """GET, HEAD and OPTIONS change nothing."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        cookie = f"__Host-session={browser.cookies['__Host-session'].value}"
        for method in ("GET", "HEAD"):
            response = await shop.running.client.request(
                method, "/private", headers={"cookie": cookie, "origin": FOREIGN, "sec-fetch-site": "cross-site"}
            )
            assert response.status_code == 200


async def test_requests_without_a_session_are_not_looked_at():
    """Without the cookie there is nothing to forge: the route decides."""
    async with open_shop() as shop:
        response = await shop.running.client.post("/change", headers={"origin": FOREIGN})
        assert response.status_code == 401


async def test_trusted_origins():
    """Pages of an origin that the settings trust are as good as our own."""
    async with open_shop(settings={"trusted_origins": (SIBLING,)}) as shop:
        browser = await shop.log_in()
        assert await change(shop, browser, origin=SIBLING, sec_fetch_site="same-site") == 200
        assert await change(shop, browser, origin=FOREIGN, sec_fetch_site="cross-site") == 403


async def test_a_refusal_is_a_problem():
    """The refusal tells a developer what to do, and nothing about the session."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        cookie = f"__Host-session={browser.cookies['__Host-session'].value}"
        response = await shop.running.client.post("/change", headers={"cookie": cookie})
        assert response.headers["content-type"] == "application/problem+json"
        assert "X-CSRF-Token" in response.json()["detail"]
