"""WebSockets with a session: who may open them, and when they are closed."""

import anyio
import pytest
from starlette.responses import JSONResponse
from tests.contrib.oidc.clock import Clock
from tests.contrib.oidc.login.openid_provider import OpenIDProvider
from tests.contrib.oidc.login.shop import APP, open_shop
from tests.contrib.oidc.login.stores import UnreliableStore

from bandmaster.contrib.oidc import SESSION_ENDED
from bandmaster.kernel.testing import WebSocketClosed, WebSocketRefused

pytestmark = pytest.mark.anyio


def open_socket(shop, browser, **headers):
    cookie = {"cookie": f"__Host-session={browser.cookies['__Host-session'].value}"}
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return shop.running.websocket("/socket", headers={**cookie, **headers})


async def test_a_websocket_has_the_principal_of_its_session():
    """The cookie of the handshake says who it is; without one it is nobody."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        async with open_socket(shop, browser, origin=APP) as socket:
            assert await socket.receive_text() == "alice"
        async with open_socket(shop, browser) as socket:
            assert await socket.receive_text() == "alice"
        async with shop.running.websocket("/socket") as socket:
            assert await socket.receive_text() == "nobody"


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec_fetch_site": "same-site"}], ids=repr
)
async def test_a_page_of_another_origin_may_not_use_a_session(headers):
    """No cross-site WebSocket hijacking, also without the layer of bandmaster-web that checks origins."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        with pytest.raises(WebSocketRefused) as refused:
            async with open_socket(shop, browser, **headers):
                pass
        assert refused.value.status_code == 403


@pytest.mark.requirement("CA-10")
async def test_a_logout_closes_websockets():
    """Those of the session that has ended, at once and with code 3000; those of others go on."""
    async with open_shop() as shop:
        browser, other = await shop.log_in(), await shop.log_in()
        async with open_socket(shop, browser) as socket, open_socket(shop, other) as kept:
            await socket.receive_text()
            await kept.receive_text()
            await browser.visit("/auth/logout", origin=APP, follow=False)
            with pytest.raises(WebSocketClosed) as closed:
                await socket.receive_text()
            assert (closed.value.code, closed.value.reason) == (SESSION_ENDED, "the session has ended")
            await kept.send_text("still here")
            assert await kept.receive_text() == "still here"
        await shop.running.wait_idle()
        assert len(shop.login.sockets) == 0


@pytest.mark.requirement("CA-10", "CA-25")
@pytest.mark.parametrize("changes", [{}, {"sid": None}, {"sub": None}], ids=["both", "only sub", "only sid"])
async def test_a_logout_of_the_provider_closes_websockets(changes):
    """By the session at the provider, or by its user."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        shop.provider.user, shop.provider.sid = "bob", "op-session-2"
        other = await shop.log_in()
        shop.provider.user, shop.provider.sid = "alice", "op-session-1"
        async with open_socket(shop, browser) as socket, open_socket(shop, other) as kept:
            await socket.receive_text()
            await kept.receive_text()
            data = {"logout_token": shop.provider.make_logout_token(**changes)}
            await shop.running.client.post("/auth/backchannel-logout", data=data)
            with pytest.raises(WebSocketClosed) as closed:
                await socket.receive_text()
            assert closed.value.code == SESSION_ENDED
            await kept.send_text("still here")
            assert await kept.receive_text() == "still here"


@pytest.mark.requirement("CA-10")
async def test_a_session_that_ends_elsewhere_closes_websockets():
    """The check finds a session that another process has ended, and leaves one alone that goes on."""
    async with open_shop() as shop:
        browser, other = await shop.log_in(), await shop.log_in()
        async with open_socket(shop, browser) as socket, open_socket(shop, other) as kept:
            await socket.receive_text()
            await kept.receive_text()
            await shop.store.delete(browser.cookies["__Host-session"].value)
            await shop.login.sockets.check()
            with pytest.raises(WebSocketClosed) as closed:
                await socket.receive_text()
            assert closed.value.code == SESSION_ENDED
            await kept.send_text("still here")
            assert await kept.receive_text() == "still here"


@pytest.mark.requirement("CA-10")
async def test_a_session_that_expires_closes_websockets():
    """The end of the session's life is found by the same check."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        async with open_socket(shop, browser) as socket:
            await socket.receive_text()
            shop.clock.advance(12 * 3600)
            await shop.login.sockets.check()
            with pytest.raises(WebSocketClosed):
                await socket.receive_text()


@pytest.mark.requirement("CA-43")
async def test_a_store_that_is_away_closes_no_websocket():
    """An open WebSocket goes on; a new one is refused with 503."""
    clock = Clock()
    store = UnreliableStore(clock)
    async with open_shop(store=store, clock=clock) as shop:
        browser = await shop.log_in()
        async with open_socket(shop, browser) as socket:
            await socket.receive_text()
            store.is_away = True
            await shop.login.sockets.check()
            await socket.send_text("still here")
            assert await socket.receive_text() == "still here"
            with pytest.raises(WebSocketRefused) as refused:
                async with open_socket(shop, browser):
                    pass
            assert refused.value.status_code == 503


async def test_a_refused_refresh_closes_websockets():
    """A session that the provider ends at a refresh has no WebSocket afterwards."""
    async with open_shop(OpenIDProvider()) as shop:
        browser = await shop.log_in()
        async with open_socket(shop, browser) as socket:
            await socket.receive_text()
            shop.provider.token_answer = lambda: JSONResponse({"error": "invalid_grant"}, 400)
            shop.clock.advance(301)
            await browser.visit("/")
            with pytest.raises(WebSocketClosed) as closed:
                await socket.receive_text()
            assert closed.value.code == SESSION_ENDED


async def test_a_login_in_place_of_a_session_closes_its_websockets():
    """A new login in the same browser ends the old session, and so its WebSockets."""
    async with open_shop() as shop:
        browser = await shop.log_in()
        async with open_socket(shop, browser) as socket:
            await socket.receive_text()
            await shop.log_in(browser=browser)
            with pytest.raises(WebSocketClosed):
                await socket.receive_text()


async def test_the_check_runs_by_itself():
    """The check is repeated after the seconds of the setting."""
    async with open_shop(settings={"websocket_check": 0.01}) as shop:
        checks = []

        async def note():
            checks.append(1)

        shop.login.sockets.check = note
        with anyio.move_on_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(shop.login.sockets.check_forever)
                while len(checks) < 2:
                    await anyio.sleep(0.001)
                tasks.cancel_scope.cancel()
        assert len(checks) >= 2
