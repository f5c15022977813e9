"""Logins under way: several tabs, one use, one browser, ten minutes."""

import itertools
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from tests.contrib.oidc.login.shop import open_shop
from tests.contrib.oidc.login.steps import answer, begin

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CA-21")
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_logins_in_several_tabs_finish_in_any_order(order):
    """Each tab has a state of its own, and comes back to its own page."""
    async with open_shop() as shop:
        browser = shop.browser()
        addresses = [await begin(browser, f"/auth/login?return_to=/private/{tab}") for tab in range(3)]
        for tab in order:
            response = await browser.visit(await answer(browser, addresses[tab]))
            assert str(response.request.url) == f"https://app.example/private/{tab}"
            assert response.json()["user"] == "alice"
        assert browser.cookies.keys() == {"__Host-session"}


@pytest.mark.requirement("CA-21")
async def test_abandoned_logins_make_room():
    """A browser keeps five logins under way; the oldest goes first."""
    async with open_shop() as shop:
        browser = shop.browser()
        addresses = []
        for _ in range(8):
            addresses.append(await begin(browser))
            shop.clock.advance(1)
        assert len(browser.cookies) == 5
        for address in addresses[:3]:
            assert (await browser.visit(await answer(browser, address))).status_code == 400
        for address in reversed(addresses[3:]):
            assert (await browser.visit(await answer(browser, address))).status_code == 200


@pytest.mark.requirement("CA-21")
async def test_logins_that_lead_to_long_addresses_keep_the_cookies_small():
    """Proxies refuse requests with 8 KiB of cookies: the oldest logins go before that, and the newest one finishes."""
    async with open_shop() as shop:
        browser = shop.browser()
        for _ in range(5):
            address = await begin(browser, f"/auth/login?return_to=/{'x' * 1000}")
            shop.clock.advance(1)
            assert sum(len(cookie.value) for cookie in browser.cookies.values()) <= 4096
        assert len(browser.cookies) == 2
        assert (await browser.visit(await answer(browser, address), follow=False)).status_code == 303


async def test_a_login_is_finished_once():
    """A callback that is visited again asks the provider nothing, and logs nobody in."""
    async with open_shop() as shop:
        browser = shop.browser()
        callback = await answer(browser, await begin(browser))
        before = dict(browser.cookies)
        assert (await browser.visit(callback)).status_code == 200
        assert (await browser.visit(callback)).status_code == 400
        # Also with the cookie that the first visit has removed.
        browser.cookies.clear()
        browser.cookies.update(before)
        response = await browser.visit(callback)
        assert response.status_code == 400
        assert "__Host-session" not in browser.cookies
        assert len(shop.provider.token_requests) == 1


async def test_two_callbacks_at_once_use_a_login_once():
    """A double click sends the code to the provider once."""
    async with open_shop() as shop:
        browser = shop.browser()
        callback = await answer(browser, await begin(browser))
        statuses = []

        async def visit():
            statuses.append((await browser.visit(callback, follow=False)).status_code)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(visit)
            tasks.start_soon(visit)
        assert sorted(statuses) == [303, 400]
        assert len(shop.provider.token_requests) == 1


@pytest.mark.requirement("AU-6")
async def test_a_login_belongs_to_the_browser_that_began_it():
    """The callback of one browser, opened in another, logs nobody in there: no login CSRF."""
    async with open_shop() as shop:
        attacker, victim = shop.browser(), shop.browser()
        await begin(victim)
        callback = await answer(attacker, await begin(attacker))
        response = await victim.visit(callback, origin="https://evil.example")
        assert response.status_code == 400
        assert "__Host-session" not in victim.cookies
        assert shop.provider.token_requests == []


async def test_a_login_takes_ten_minutes_at_the_most():
    """After that the callback is refused, also where the browser has kept the cookie."""
    async with open_shop() as shop:
        browser = shop.browser()
        callback = await answer(browser, await begin(browser))
        shop.clock.advance(600)
        assert (await browser.visit(callback)).status_code == 400
        assert shop.provider.token_requests == []


@pytest.mark.parametrize(
    "query",
    ["", "?code=x", "?state=x", "?state=x&code=a&code=b", "?state=%FF&code=x", "?state=&code=x", "?code=x&state=s"],
)
async def test_a_malformed_answer_is_refused(query):
    """A callback without a state of this browser gives an error page, with the address of the login."""
    async with open_shop() as shop:
        response = await shop.browser().visit(f"/auth/callback{query}")
        assert response.status_code == 400
        assert "https://app.example/auth/login" in response.text


@pytest.mark.parametrize("tampered", ["x", "1.AAAA", ""])
async def test_a_changed_cookie_is_no_login(tampered):
    """The cookie of a login under way is encrypted; another text is no login."""
    async with open_shop() as shop:
        browser = shop.browser()
        callback = await answer(browser, await begin(browser))
        [cookie] = browser.cookies.values()
        for secret in parse_qs(urlsplit(callback).query)["state"]:
            assert secret not in cookie.value
        cookie.value = tampered
        assert (await browser.visit(callback)).status_code == 400


async def test_the_cookie_of_one_login_does_not_fit_another():
    """A cookie is bound to its name, which comes from the state."""
    async with open_shop() as shop:
        browser = shop.browser()
        await begin(browser)
        [first] = browser.cookies.values()
        callback = await answer(browser, await begin(browser))
        for cookie in browser.cookies.values():
            cookie.value = first.value
        assert (await browser.visit(callback)).status_code == 400
