"""WebSockets are closed when the credential that opened them ends."""

from __future__ import annotations

import gc
from contextlib import ExitStack
from typing import Any

import anyio
import pytest
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from tests.contrib.oidc.access.apps import echo, serve
from tests.contrib.oidc.clock import Clock

from bandmaster.contrib.oidc import OpenWebSockets, Principal, TokenStoreError
from bandmaster.contrib.oidc.testing import ActingUsers
from bandmaster.kernel.testing import WebSocketRefused

pytestmark = pytest.mark.anyio
ROUTES = (WebSocketRoute("/ws", echo),)


class Connection:
    """A WebSocket that notes each close."""

    def __init__(self) -> None:
        self.closed: list[tuple[int, str]] = []

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed.append((code, reason))


class Revoked:
    def __init__(self, *ids: str) -> None:
        self.ids = set(ids)
        self.is_away = False
        self.asked: list[str | None] = []

    async def is_revoked(self, principal: Principal) -> bool:
        self.asked.append(principal.credential_id)
        if self.is_away:
            raise TokenStoreError("away")
        return principal.credential_id in self.ids


@pytest.mark.requirement("CA-10")
async def test_a_websocket_whose_token_expires() -> None:
    """The close has code 3000, and comes with the expiry and the leeway, not before; the app sees a disconnect."""
    users, clock, seen = ActingUsers(), Clock(1_000.0), []

    async def listen(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                seen.append(await websocket.receive_text())
        except WebSocketDisconnect as gone:
            seen.append(gone.code)

    websockets = OpenWebSockets(leeway=30, now=clock)
    routes = [WebSocketRoute("/ws", listen)]
    async with serve(users=users, routes=routes, overrides={OpenWebSockets: websockets}) as running:
        headers = users.act_as(Principal("ada", expires_at=1_100))
        async with running.websocket("/ws", headers=headers) as websocket:
            clock.now = 1_129.9
            assert await websockets.close_expired() == 0
            await websocket.send_text("still there")
            clock.now = 1_130
            assert await websockets.close_expired() == 1
            assert await websocket.wait_closed() == 3000
        await running.wait_idle()
    assert seen == ["still there", 3000]


@pytest.mark.requirement("CA-10")
@pytest.mark.parametrize(("kind", "seconds"), [("token", 30), ("api_key", 0), ("bypass", 0)])
async def test_only_tokens_have_the_leeway(kind: Any, seconds: float) -> None:
    """A key ends at its expiry, as in requests: the clock of this machine has made both times."""
    clock, connection = Clock(1_000.0), Connection()
    websockets = OpenWebSockets(leeway=30, now=clock)
    with websockets.watching(Principal("ada", kind=kind, expires_at=1_100), connection):
        clock.now = 1_100 + seconds - 0.1
        assert await websockets.close_expired() == 0
        clock.now += 0.1
        assert await websockets.close_expired() == 1


@pytest.mark.requirement("CA-10")
async def test_the_component_closes_by_itself() -> None:
    """The running application closes the WebSocket without anybody's call."""
    users, clock = ActingUsers(), Clock(1_000.0)
    async with serve(users=users, routes=ROUTES) as running:
        websockets = running.resources[OpenWebSockets]
        websockets._now = clock
        async with running.websocket("/ws", headers=users.act_as(Principal("ada", expires_at=2_000))) as websocket:
            clock.now = 3_000
            # A WebSocket with an earlier deadline wakes the timer, which sleeps for real seconds.
            with websockets.watching(Principal("bob", expires_at=1_500), Connection()):
                assert await websocket.wait_closed() == 3000


@pytest.mark.requirement("CA-10")
async def test_a_token_that_expires_during_the_handshake() -> None:
    """A WebSocket that the app hasn't accepted by then is refused."""
    users, clock = ActingUsers(), Clock(1_000.0)
    websockets = OpenWebSockets(now=clock)

    async def accept_late(websocket: WebSocket) -> None:
        assert await websockets.close_expired() == 0
        clock.now = 2_000
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(websockets.close_expired)
        await websocket.accept()

    routes = [WebSocketRoute("/ws", accept_late)]
    async with serve(users=users, routes=routes, overrides={OpenWebSockets: websockets}) as running:
        with pytest.raises(WebSocketRefused) as refused:
            async with running.websocket("/ws", headers=users.act_as(Principal("ada", expires_at=1_500))):
                pass
    assert refused.value.code == 3000


async def test_switched_off_by_a_setting() -> None:
    """By the setting nothing closes, and neither the component nor the layer is in the plan."""
    users = ActingUsers()
    async with serve(users=users, routes=ROUTES, access={"websocket_end": False}) as running:
        assert "open_websockets" not in running.plan.by_name
        assert "open_websockets" not in [layer.name for layer in running.plan.layers]
        async with running.websocket("/ws", headers=users.act_as(Principal("ada", expires_at=1))) as websocket:
            assert await websocket.receive_text() == "ada"
            await websocket.send_text("on")
            assert await websocket.receive_text() == "on"


async def test_tokens_that_never_expire() -> None:
    """A WebSocket without an expiry, or of nobody, stays open."""
    users, clock = ActingUsers(), Clock(1_000.0)
    websockets = OpenWebSockets(now=clock)
    async with serve(users=users, routes=ROUTES, overrides={OpenWebSockets: websockets}) as running:
        async with running.websocket("/ws", headers=users.act_as("ada")), running.websocket("/ws"):
            assert len(websockets) == 1
            clock.now = 1e12
            assert await websockets.close_expired() == 0
        await running.wait_idle()
    assert len(websockets) == 0


async def test_sessions_are_left_to_the_login() -> None:
    """A session may be extended after the WebSocket was opened, so that the first expiry decides nothing."""
    users = ActingUsers()
    websockets = OpenWebSockets(now=Clock(1_000.0))
    async with serve(users=users, routes=ROUTES, overrides={OpenWebSockets: websockets}) as running:
        headers = users.act_as(Principal("ada", kind="session", expires_at=1))
        async with running.websocket("/ws", headers=headers):
            assert (len(websockets), await websockets.close_expired()) == (0, 0)


async def test_deadlines_in_any_order() -> None:
    """Each WebSocket is closed at its own time, once, and one that has ended isn't closed."""
    clock = Clock(1_000.0)
    websockets = OpenWebSockets(now=clock)
    connections = [Connection() for _ in range(4)]
    with ExitStack() as stack:
        for connection, expiry in zip(connections, (1_030, 1_010, 1_020, 1_005), strict=True):
            block = websockets.watching(Principal("ada", expires_at=expiry), connection)
            if expiry == 1_005:
                with block:
                    pass
            else:
                stack.enter_context(block)
        order = []
        for now in (1_005, 1_010, 1_020, 1_030, 1_031):
            clock.now = now
            order.append(await websockets.close_expired())
    assert order == [0, 1, 1, 1, 0]
    assert [len(connection.closed) for connection in connections] == [1, 1, 1, 0]


async def test_an_earlier_deadline_wakes_the_timer() -> None:
    """The timer doesn't sleep until a later deadline when a WebSocket with an earlier one opens."""
    clock, late, early = Clock(1_000.0), Connection(), Connection()
    websockets = OpenWebSockets(now=clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(websockets.run)
        with (
            websockets.watching(Principal("ada", expires_at=1e9), late),
            websockets.watching(Principal("bob", expires_at=999), early),
        ):
            with anyio.fail_after(5):
                while not early.closed:
                    await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()
    assert (late.closed, early.closed) == ([], [(3000, "the credential has expired")])


@pytest.mark.parametrize(
    ("wanted", "closed"),
    [
        ({"subject": "ada"}, ["a1", "a2"]),
        ({"session_id": "s2"}, ["a2"]),
        ({"credential_id": "t3"}, ["b"]),
        ({"subject": "ada", "credential_id": "t3"}, []),
        ({"subject": "eve"}, []),
    ],
)
async def test_closing_by_subject_session_or_credential(wanted: dict[str, str], closed: list[str]) -> None:
    """All that is given must match, and only the issuer's own principals are meant."""
    principals = {
        "a1": Principal("ada", issuer="i", session_id="s1", credential_id="t1"),
        "a2": Principal("ada", issuer="i", session_id="s2", credential_id="t2"),
        "b": Principal("bob", issuer="i", session_id="s3", credential_id="t3"),
        "foreign": Principal("ada", issuer="other", session_id="s2", credential_id="t3"),
    }
    websockets, connections = OpenWebSockets(), {name: Connection() for name in principals}
    with ExitStack() as stack:
        for name, principal in principals.items():
            stack.enter_context(websockets.watching(principal, connections[name]))
        assert await websockets.close(issuer="i", **wanted) == len(closed)
    assert [name for name, connection in connections.items() if connection.closed] == closed


async def test_closing_everything_of_an_issuer_by_accident() -> None:
    """A call that names only the issuer is refused."""
    with pytest.raises(ValueError, match="session_id or credential_id"):
        await OpenWebSockets().close(issuer="i")


@pytest.mark.requirement("CA-10")
async def test_a_revoked_credential() -> None:
    """A WebSocket is closed when the credential is found to be revoked, and the others stay open."""
    revoked, ada, bob = Revoked("t1"), Connection(), Connection()
    websockets = OpenWebSockets(revocations=[revoked])
    with (
        websockets.watching(Principal("ada", credential_id="t1"), ada),
        websockets.watching(Principal("bob", credential_id="t2"), bob),
    ):
        assert await websockets.close_revoked() == 1
    assert (ada.closed, bob.closed) == ([(3000, "the credential was revoked")], [])


@pytest.mark.requirement("CA-43")
async def test_a_list_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """WebSockets stay open while revocations are unknown, and the list isn't asked for each of them."""
    revoked, connections = Revoked("t1"), [Connection(), Connection()]
    revoked.is_away = True
    websockets = OpenWebSockets(revocations=[revoked])
    with ExitStack() as stack:
        for connection in connections:
            stack.enter_context(websockets.watching(Principal("ada", credential_id="t1"), connection))
        assert await websockets.close_revoked() == 0
    assert [connection.closed for connection in connections] == [[], []]
    assert len(revoked.asked) == 1
    assert "open WebSockets can't be checked for revocation" in caplog.text


@pytest.mark.requirement("CA-43")
async def test_a_list_that_is_away_hides_no_other() -> None:
    """Credentials that another list knows to be revoked are found during the outage of one."""
    away, revoked, ada, bob = Revoked(), Revoked("k1"), Connection(), Connection()
    away.is_away = True
    websockets = OpenWebSockets(revocations=[away, revoked])
    with (
        websockets.watching(Principal("ada", credential_id="t1"), ada),
        websockets.watching(Principal("bob", credential_id="k1"), bob),
    ):
        assert await websockets.close_revoked() == 1
    assert (ada.closed, bob.closed) == ([], [(3000, "the credential was revoked")])


async def test_a_client_that_takes_no_close() -> None:
    """One client that hangs doesn't delay the close of another."""

    class Hangs(Connection):
        async def close(self, code: int = 1000, reason: str = "") -> None:
            self.closed.append((code, reason))
            await anyio.sleep_forever()

    clock, hangs, other = Clock(1_000.0), Hangs(), Connection()
    websockets = OpenWebSockets(now=clock)
    with (
        websockets.watching(Principal("ada", expires_at=1), hangs),
        websockets.watching(Principal("bob", expires_at=1), other),
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(websockets.close_expired)
            with anyio.fail_after(5):
                while not (hangs.closed and other.closed):
                    await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()


async def test_messages_cost_nothing() -> None:
    """The app gets the very ``receive`` and ``send`` that the layer got: no message passes code of this layer."""
    from bandmaster.contrib.oidc.access.open_websockets import WebSocketEndLayer

    passed: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append((receive, send))

    async def nothing(*_: Any) -> Any:
        return None

    layer_type: Any = WebSocketEndLayer.layer  # type: ignore[attr-defined]
    scope = {"type": "websocket", "path": "/", "state": {"principal": Principal("ada", expires_at=1)}}
    await layer_type(app, OpenWebSockets())(scope, nothing, nothing)
    assert passed == [(nothing, nothing)]


async def test_nothing_is_left_of_websockets_that_have_ended() -> None:
    """A WebSocket that has ended is freed at once, although the deadline hasn't come."""
    import weakref

    websockets, connection = OpenWebSockets(), Connection()
    with websockets.watching(Principal("ada", expires_at=1e12), connection):
        pass
    gone = weakref.ref(connection)
    del connection
    gc.collect()
    assert gone() is None


async def test_deadlines_of_websockets_that_have_ended_do_not_pile_up() -> None:
    """A key that expires in a year opens many WebSockets until then; those that are open keep their deadlines."""
    clock, early = Clock(1_000.0), Connection()
    websockets = OpenWebSockets(now=clock)
    with websockets.watching(Principal("bob", expires_at=2_000), early):
        for _ in range(1_000):
            with websockets.watching(Principal("ada", expires_at=1e9), Connection()):
                pass
        assert len(websockets._deadlines) < 200
        clock.now = 2_000
        assert await websockets.close_expired() == 1
    assert early.closed == [(3000, "the credential has expired")]
