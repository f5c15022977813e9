"""The events of logins and logouts that an audit trail gets."""

from collections.abc import AsyncIterator

import pytest
from tests.contrib.oidc.login.openid_provider import OpenIDProvider
from tests.contrib.oidc.login.shop import APP, open_shop

from bandmaster.contrib.oidc.auth_events import AuthListener
from bandmaster.kernel import LifespanBand, lifespan

pytestmark = pytest.mark.anyio


class Trail:
    def __init__(self):
        self.events = []

    def on_auth_event(self, event):
        who = None if event.principal is None else event.principal.subject
        self.events.append((event.action, event.succeeded, who, event.status))


def keep_trail():
    trail = Trail()

    @lifespan(band=LifespanBand.OBSERVABILITY)
    async def audit_trail() -> AsyncIterator[AuthListener]:
        yield trail

    return trail, audit_trail


async def test_logins_and_logouts_are_events():
    """A login, a logout and a logout of the provider are told, with the user where the user is known."""
    trail, part = keep_trail()
    async with open_shop(contributions=[part]) as shop:
        browser = await shop.log_in()
        await browser.visit("/auth/logout", origin=APP)
        data = {"logout_token": shop.provider.make_logout_token()}
        await shop.running.client.post("/auth/backchannel-logout", data=data)
        await shop.running.client.post("/auth/backchannel-logout", data=data)
    assert trail.events == [
        ("login", True, "alice", None),
        ("logout", True, "alice", None),
        ("logout.by_provider", True, None, None),
        ("logout.by_provider", False, None, 400),
    ]


async def test_failures_are_events():
    """A login that is refused, one that an outage stops, and a forged request are told with their status."""
    trail, part = keep_trail()
    provider = OpenIDProvider(change_claims=lambda claims: {**claims, "nonce": "x"})
    async with open_shop(provider, contributions=[part]) as shop:
        await shop.browser().visit("/auth/login")
        await shop.browser().visit("/auth/callback")
        provider.change_claims = None
        browser = await shop.log_in()
        cookie = f"__Host-session={browser.cookies['__Host-session'].value}"
        await shop.running.client.post("/change", headers={"cookie": cookie})
    assert trail.events == [
        ("login", False, None, 403),
        ("login", False, None, 400),
        ("login", True, "alice", None),
        ("request.refused", False, "alice", 403),
    ]
