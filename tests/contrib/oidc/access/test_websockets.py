"""Bearer tokens of WebSockets: in the header, among the subprotocols, and in the first message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.contrib.oidc.access.apps import describe_caller, echo, serve

from bandmaster.contrib.oidc import AuthUnavailableError, TokenVerifier, require
from bandmaster.contrib.oidc.testing import ActingUsers
from bandmaster.kernel.testing import WebSocketClosed, WebSocketRefused

pytestmark = pytest.mark.anyio


async def tell_subprotocols(websocket: WebSocket) -> None:
    """Accept with the last subprotocol that the client offers, and send those that the app sees."""
    await websocket.accept(websocket.scope["subprotocols"][-1] if "chat" in websocket.scope["subprotocols"] else None)
    headers = [value.decode() for name, value in websocket.scope["headers"] if name == b"sec-websocket-protocol"]
    await websocket.send_json({"subprotocols": websocket.scope["subprotocols"], "headers": headers})


ROUTES = (
    WebSocketRoute("/ws", echo),
    WebSocketRoute("/mine", echo, middleware=[require()]),
    WebSocketRoute("/live", echo, middleware=[require("live")]),
    WebSocketRoute("/subprotocols", tell_subprotocols),
    Route("/", describe_caller),
)


async def test_the_header() -> None:
    """A program sends the token as for HTTP."""
    users = ActingUsers()
    async with serve(users=users, routes=ROUTES) as running:
        async with running.websocket("/mine", headers=users.act_as("ada")) as websocket:
            assert await websocket.receive_text() == "ada"
            await websocket.send_text("hello")
            assert await websocket.receive_text() == "hello"


async def test_a_subprotocol() -> None:
    """A page offers ``bearer`` and the token; ``bearer`` is selected, since browsers want one of theirs."""
    users = ActingUsers()
    async with serve(users=users, routes=ROUTES) as running:
        token = users.make_token("ada")
        async with running.websocket("/mine", subprotocols=["bearer", f"bearer.{token}"]) as websocket:
            assert (await websocket.receive_text(), websocket.subprotocol) == ("ada", "bearer")


async def test_a_subprotocol_beside_that_of_the_app() -> None:
    """The app selects its own subprotocol, and never sees the token."""
    users = ActingUsers()
    async with serve(users=users, routes=ROUTES) as running:
        token = users.make_token("ada")
        offered = ["bearer", f"bearer.{token}", "chat"]
        async with running.websocket("/subprotocols", subprotocols=offered) as websocket:
            seen = await websocket.receive_json()
    assert (websocket.subprotocol, seen) == ("chat", {"subprotocols": ["bearer", "chat"], "headers": ["bearer, chat"]})


async def test_a_bad_token_among_the_subprotocols() -> None:
    """The handshake is refused with 401, before the app is called."""
    async with serve(users=ActingUsers(), routes=ROUTES) as running:
        with pytest.raises(WebSocketRefused) as refused:
            async with running.websocket("/ws", subprotocols=["bearer", "bearer.forged"]):
                pass
    assert refused.value.status_code == 401
    assert refused.value.response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert refused.value.response.json()["error"] == "invalid_token"


@pytest.mark.requirement("AU-13")
@pytest.mark.parametrize(("scopes", "status"), [(None, 401), (["other"], 403)])
async def test_a_missing_token_and_a_missing_scope(scopes: list[str] | None, status: int) -> None:
    """A route's requirement refuses the handshake with a problem."""
    users = ActingUsers()
    async with serve(users=users, routes=ROUTES) as running:
        headers = {} if scopes is None else users.act_as("ada", scopes)
        with pytest.raises(WebSocketRefused) as refused:
            async with running.websocket("/live", headers=headers):
                pass
    assert refused.value.status_code == status
    assert refused.value.response.headers["content-type"] == "application/problem+json"


async def test_the_first_message() -> None:
    """A page that offers ``bearer`` alone sends the token as the first message, and the app gets those that follow."""
    users = ActingUsers()
    async with serve(users=users, routes=ROUTES) as running:
        async with running.websocket("/live", subprotocols=["bearer"]) as websocket:
            await websocket.send_json({"access_token": users.make_token("ada", ["live"])})
            assert (await websocket.receive_text(), websocket.subprotocol) == ("ada", "bearer")
            await websocket.send_text("hello")
            assert await websocket.receive_text() == "hello"


@pytest.mark.parametrize(
    "message",
    [
        "",
        "token",
        "[]",
        "{}",
        '{"access_token": 7}',
        '{"access_token": "a b"}',
        json.dumps({"access_token": "a" * 70_000}),
        "[" * 50_000,
        b'{"access_token": "a"}',
        '{"access_token": "forged"}',
    ],
)
async def test_a_first_message_without_a_good_token(message: str | bytes) -> None:
    """The WebSocket is closed with 3000 or, where the message is malformed, with 1008; the app isn't called."""
    async with serve(users=ActingUsers(), routes=ROUTES) as running:
        async with running.websocket("/ws", subprotocols=["bearer"]) as websocket:
            await (websocket.send_text(message) if isinstance(message, str) else websocket.send_bytes(message))
            code = await websocket.wait_closed()
    assert code == (3000 if "forged" in str(message) else 1008)


async def test_a_first_message_that_lacks_a_scope() -> None:
    """The refusal of the route becomes a close with 3003: the handshake is over by then."""
    users = ActingUsers()
    async with serve(users=users, routes=ROUTES) as running:
        async with running.websocket("/live", subprotocols=["bearer"]) as websocket:
            await websocket.send_json({"access_token": users.make_token("ada", ["other"])})
            assert await websocket.wait_closed() == 3003


async def test_a_first_message_that_does_not_come() -> None:
    """The WebSocket is closed with 3000 when the time is over."""
    async with serve(users=ActingUsers(), routes=ROUTES, access={"first_message_timeout": 0.01}) as running:
        async with running.websocket("/ws", subprotocols=["bearer"]) as websocket:
            assert await websocket.wait_closed() == 3000


async def test_a_client_that_leaves_before_the_first_message() -> None:
    """The client's leaving is no error, and the app isn't called."""
    async with serve(users=ActingUsers(), routes=ROUTES) as running:
        async with running.websocket("/ws", subprotocols=["bearer"]) as websocket:
            await websocket.drop()


async def test_a_first_message_that_cannot_be_checked() -> None:
    """An accepted WebSocket is closed with 1013, try again later, while the provider is away."""

    class Away:
        async def verify(self, token: str) -> Any:
            raise AuthUnavailableError("away")

    async with serve(overrides={TokenVerifier: Away()}, routes=ROUTES) as running:
        async with running.websocket("/ws", subprotocols=["bearer"]) as websocket:
            await websocket.send_json({"access_token": "a"})
            assert await websocket.wait_closed() == 1013


async def test_a_handshake_that_cannot_be_checked() -> None:
    """A handshake gets 503 with Retry-After."""

    class Away:
        async def verify(self, token: str) -> Any:
            raise AuthUnavailableError("away", retry_after=4)

    async with serve(overrides={TokenVerifier: Away()}, routes=ROUTES) as running:
        with pytest.raises(WebSocketRefused) as refused:
            async with running.websocket("/ws", headers={"authorization": "Bearer a"}):
                pass
    assert (refused.value.status_code, refused.value.response.headers["retry-after"]) == (503, "4")


async def test_an_app_that_refuses_after_the_first_message() -> None:
    """An app's own refusal, too, becomes a close: a second answer to the handshake would be a fault."""

    async def close_at_once(websocket: WebSocket) -> None:
        await websocket.close(4000)

    users = ActingUsers()
    async with serve(users=users, routes=[WebSocketRoute("/ws", close_at_once)]) as running:
        async with running.websocket("/ws", subprotocols=["bearer"]) as websocket:
            await websocket.send_json({"access_token": users.make_token("ada")})
            with pytest.raises(WebSocketClosed) as closed:
                await websocket.receive()
    assert closed.value.code == 4000


async def test_an_app_that_answers_after_the_first_message() -> None:
    """An app's response in place of the accept becomes a close with the code for its status."""

    async def deny(websocket: WebSocket) -> None:
        await websocket.send_denial_response(PlainTextResponse("not you", 403))

    users = ActingUsers()
    async with serve(users=users, routes=[WebSocketRoute("/ws", deny)]) as running:
        async with running.websocket("/ws", subprotocols=["bearer"]) as websocket:
            await websocket.send_json({"access_token": users.make_token("ada")})
            assert await websocket.wait_closed() == 3003


async def test_anonymous_websockets() -> None:
    """A WebSocket without a token and without ``bearer`` is the app's business, as for HTTP."""
    async with serve(users=ActingUsers(), routes=ROUTES) as running:
        async with running.websocket("/ws", subprotocols=["chat"]) as websocket:
            assert (await websocket.receive_text(), websocket.subprotocol) == ("nobody", None)
