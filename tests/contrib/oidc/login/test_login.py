"""Logging in: the authorization code flow, its cookies, and where it leads."""

import pytest
from tests.contrib.oidc.login.shop import open_shop

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("AU-6")
async def test_a_user_logs_in_and_comes_back():
    """A login ends with a session, at the page that asked for it."""
    async with open_shop() as shop:
        browser = shop.browser()
        response = await browser.visit("/auth/login?return_to=/private/orders?page=2")
        assert (response.status_code, str(response.request.url)) == (200, "https://app.example/private/orders?page=2")
        assert response.json()["user"] == "alice"
