"""The place of the layers: a refusal is logged, has a request id, and can be read by pages of other origins."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from tests.contrib.oidc.access.apps import describe_caller, echo

from bandmaster.contrib.oidc import AccessSettings, AuthSettings, protect, require
from bandmaster.contrib.oidc.testing import ActingUsers
from bandmaster.contrib.web import AccessRecord, AccessSink, WebSettings
from bandmaster.kernel import create_app, value
from bandmaster.kernel.testing import Running, WebSocketRefused, run

pytestmark = pytest.mark.anyio

ORIGIN = "https://shop.example"
ROUTES = (
    Route("/", describe_caller),
    Route("/orders", describe_caller, methods=["GET", "POST"], middleware=[require("orders:read")]),
    WebSocketRoute("/ws", echo, middleware=[require()]),
)
INSTALLED = ("bandmaster-web", "bandmaster-oidc")


class Sink:
    """An access log in a list."""

    def __init__(self) -> None:
        self.records: list[AccessRecord] = []

    def write(self, record: AccessRecord) -> None:
        self.records.append(record)


def serve_installed(users: ActingUsers, sink: Sink, *parts: Any) -> Any:
    """Run an app with everything that is installed, but for parts that open something."""
    overrides = {
        **users.overrides,
        WebSettings: WebSettings(cors_origins=(ORIGIN,)),
        AccessSettings: AccessSettings(),
        AuthSettings: AuthSettings(),
    }
    installed = create_app(Starlette(), discover=True).plan.contributions
    chosen = [one for one in installed if one.provenance.distribution in INSTALLED]
    return run(
        Starlette(routes=list(ROUTES)),
        contributions=[*chosen, value(sink, name="sink", provides=AccessSink), *parts],
        overrides=overrides,
    )


async def fetch(running: Running, path: str, headers: dict[str, str], method: str = "GET") -> Any:
    return await running.client.request(method, path, headers={"origin": ORIGIN, **headers})


@pytest.mark.requirement("CF-32")
async def test_a_refusal_passes_the_outer_layers() -> None:
    """A refusal by the layer, a route or a prefix has CORS headers, an id, and a line in the log."""
    users, sink = ActingUsers(), Sink()
    async with serve_installed(users, sink, protect("/admin", "admin")) as running:
        eve = users.act_as("eve")
        refused = [
            await fetch(running, "/", {"authorization": "Bearer forged"}),
            await fetch(running, "/", {"authorization": "Bearer"}),
            await fetch(running, "/orders", {}),
            await fetch(running, "/orders", eve),
            await fetch(running, "/admin", eve),
        ]
    assert [response.status_code for response in refused] == [401, 400, 401, 403, 403]
    for response, record in zip(refused, sink.records, strict=True):
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-request-id"] == response.json()["request_id"] == record.request_id
        assert record.status == response.status_code
    assert [record.user for record in sink.records] == [None, None, None, "eve", "eve"]


async def test_preflight_requests_need_no_token() -> None:
    """A browser asks without credentials whether credentials may be sent."""
    users, sink = ActingUsers(), Sink()
    headers = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    async with serve_installed(users, sink, protect("/")) as running:
        response = await fetch(running, "/orders", headers, "OPTIONS")
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in response.headers["access-control-allow-headers"].lower()


async def test_the_log_has_the_user() -> None:
    """The access log has the subject of those who are served, of WebSockets too."""
    users, sink = ActingUsers(), Sink()
    async with serve_installed(users, sink) as running:
        ada = users.act_as("ada", ["orders:read"])
        assert (await fetch(running, "/orders", ada)).status_code == 200
        async with running.websocket("/ws", headers=ada) as websocket:
            await websocket.receive_text()
        with pytest.raises(WebSocketRefused):
            async with running.websocket("/ws"):
                pass
    assert [(record.event, record.status, record.user) for record in sink.records] == [
        ("request", 200, "ada"),
        ("websocket", 101, "ada"),
        ("websocket", 401, None),
    ]


async def test_a_websocket_with_a_token_as_subprotocol_keeps_its_route() -> None:
    """Hiding the token from the app doesn't hide from the log which route has served the WebSocket."""
    users, sink = ActingUsers(), Sink()
    async with serve_installed(users, sink) as running:
        async with running.websocket("/ws", subprotocols=["bearer", f"bearer.{users.make_token('ada')}"]) as websocket:
            await websocket.receive_text()
    assert [(record.route, record.user) for record in sink.records] == [("/ws", "ada")]


def test_the_order_of_the_plan() -> None:
    """Ids, log, problems and CORS stand outside; prefixes and the end of WebSockets inside of all that find callers."""
    plan = create_app(Starlette(), discover=True, contributions=[protect("/a")]).plan
    names = [layer.name for layer in plan.layers]
    wanted = [
        "request_context",
        "principal_context",
        "access_log",
        "problems",
        "cors",
        "trusted_host",
        "websocket_origin",
        "bearer_auth",
        "protect_a",
        "open_websockets",
    ]
    assert [name for name in names if name in wanted] == wanted
