"""Where a login is offered: by a redirect, or by an address in the answer."""

import pytest
from tests.contrib.oidc.login.shop import open_shop

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CA-24")
async def test_only_navigations_are_redirected():
    """A page in the window is redirected to the login; scripts, frames and programs get 401 with the address."""
    async with open_shop() as shop:
        browser = shop.browser()
        response = await browser.visit("/private/a b?x=1&y=2", follow=False)
        assert response.status_code == 303
        assert response.headers["location"] == "/auth/login?return_to=/private/a%2520b%3Fx%3D1%26y%3D2"
        assert "www-authenticate" not in response.headers
        frame = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe", "accept": "text/html"}
        script = {"accept": "text/html", "x-requested-with": "XMLHttpRequest"}
        for headers in (frame, script, {"sec-fetch-mode": "cors"}, {}, {"accept": "application/json"}):
            response = await shop.running.client.get("/private", headers=headers)
            assert response.status_code == 401, headers
            assert response.headers["www-authenticate"] == "Bearer"
        response = await browser.fetch("GET", "/private")
        assert response.headers["content-type"] == "application/problem+json"
        assert int(response.headers["content-length"]) == len(response.content)
        assert response.json() == {
            "type": "about:blank",
            "title": "Unauthorized",
            "status": 401,
            "detail": "This needs authentication.",
            "instance": "/private",
            "login": "https://app.example/auth/login",
        }


async def test_an_old_browser_is_redirected_by_its_accept_header():
    """Without Fetch Metadata a request for HTML counts as a navigation."""
    async with open_shop() as shop:
        response = await shop.running.client.get("/private", headers={"accept": "text/html,*/*;q=0.8"})
        assert response.status_code == 303


async def test_a_client_with_another_credential_is_not_sent_to_a_login():
    """A 401 for an Authorization header stays as it is."""
    async with open_shop() as shop:
        headers = {"authorization": "Bearer x", "accept": "text/html", "sec-fetch-mode": "navigate"}
        response = await shop.running.client.get("/private", headers=headers)
        assert response.status_code == 401
        assert "auth/login" not in response.text


async def test_a_navigation_comes_back_to_its_page():
    """The path and the query of the page that was refused are those after the login."""
    async with open_shop() as shop:
        response = await shop.browser().visit("/private/a%20b?x=1&y=2")
        assert str(response.request.url) == "https://app.example/private/a%20b?x=1&y=2"
        assert response.json()["user"] == "alice"
