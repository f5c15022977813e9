"""Logins at a provider that changes what it sends."""

from tests.contrib.oidc.login.openid_provider import OpenIDProvider
from tests.contrib.oidc.login.shop import open_shop


def drop(name):
    """A hostile change that leaves something out."""
    return lambda values: {key: value for key, value in values.items() if key != name}


def put(**changes):
    """A hostile change that puts something else in."""
    return lambda values: {**values, **changes}


async def refuse_login(provider, **options):
    """A login that the relying party must refuse. The provider's userinfo isn't asked, and nobody is logged in."""
    async with open_shop(provider, **options) as shop:
        browser = shop.browser()
        response = await browser.visit("/auth/login")
        assert response.status_code == 403, response.text
        assert provider.userinfo_requests == 0
        assert "__Host-session" not in browser.cookies
        assert (await browser.visit("/")).json()["user"] is None


async def accept_login(provider, **options):
    """A login that the relying party must accept."""
    async with open_shop(provider, **options) as shop:
        browser = await shop.log_in()
        assert provider.userinfo_requests == 1
        assert (await browser.visit("/")).json()["user"] == "alice"


def make_second():
    """A provider beside the first one."""
    return OpenIDProvider(
        issuer="https://op.second.example",
        client_id="shop2",
        redirect_uris=("https://app.example/auth/callback/second",),
    )
