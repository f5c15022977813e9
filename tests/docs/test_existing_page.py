"""The rows of the page about existing applications are true, and each variable there switches a row off."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request, WebSocket
from starlette.testclient import TestClient
from tests.docs.conftest import ROOT

from bandmaster.kernel import PlanError, create_app

PAGE = (ROOT / "docs/how-to/existing.md").read_text(encoding="utf-8")
SECRET = "a-secret-token"
Make = Callable[[FastAPI], Any]
Observe = Callable[[Make], object]


def build_host(**options: Any) -> FastAPI:
    """An application as people have it before they know of bandmaster."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        yield {"resources": "mine"}

    @asynccontextmanager
    async def inner_lifespan(app: FastAPI) -> AsyncIterator[None]:
        host.state.inner_runs = True
        yield

    host = FastAPI(lifespan=lifespan, **options)
    host.mount("/sub", FastAPI(lifespan=inner_lifespan))

    @host.get("/page")
    async def page() -> str:
        return "hello"

    @host.get("/livez")
    async def livez() -> str:
        return "the host's own"

    @host.get("/state")
    async def state(request: Request) -> dict[str, bool]:
        return {"mine": request.state.resources == "mine", "drain": hasattr(request.state, "drain")}

    @host.get("/inner")
    async def inner() -> bool:
        return getattr(host.state, "inner_runs", False)

    @host.get("/items")
    async def items(number: int) -> int:
        return number

    @host.get("/wrong")
    async def wrong() -> int:
        return SECRET  # type: ignore[return-value]

    @host.get("/boom")
    async def boom() -> int:
        raise ZeroDivisionError

    @host.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    @host.websocket("/echo")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(str(len(await websocket.receive_text())))

    @host.websocket("/live")
    async def live(websocket: WebSocket, number: int) -> None:
        await websocket.accept()

    @host.websocket("/fails")
    async def fails(websocket: WebSocket, accepts: bool) -> None:
        if accepts:
            await websocket.accept()
        raise ZeroDivisionError

    @host.websocket("/missing")
    async def missing(websocket: WebSocket) -> None:
        await websocket.accept()
        raise HTTPException(404)

    return host


def get(path: str, look: Callable[[Any], object], method: str = "GET", **options: Any) -> Observe:
    """Look at the response to a request, or at the exception that the client gets."""

    def observe(make: Make) -> object:
        with TestClient(make(build_host())) as client:
            try:
                return look(client.request(method, path, **options))
            except (Exception, ExceptionGroup) as error:  # noqa: BLE001, RUF100
                return type(error).__name__

    return observe


def connect(path: str, text: str = "", *, accept: bool = False, **options: Any) -> Observe:
    """Look at the answer, or the exception, that the client of a WebSocket gets, or at the headers of the accept."""

    def observe(make: Make) -> object:
        with TestClient(make(build_host())) as client:
            try:
                with client.websocket_connect(path, **options) as session:
                    session.send_text(text)
                    answer = session.receive_text()
                    return [name for name, _ in session.extra_headers or ()] if accept else answer
            except Exception as error:  # noqa: BLE001, RUF100
                facts = ("code", "reason", "status_code")
                return type(error).__name__, *(str(getattr(error, fact, None)) for fact in facts)

    return observe


def both(*observations: Observe) -> Observe:
    return lambda make: [observe(make) for observe in observations]


def look_unentered(make: Make) -> object:
    return TestClient(make(build_host())).get("/page").status_code


def look_production(make: Make) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BANDMASTER_ENVIRONMENT", "production")
        try:
            make(build_host(debug=True))
        except PlanError as error:
            return "debug=True" in str(error)
        return "served"


def look_boom(make: Make) -> object:
    with TestClient(make(build_host()), raise_server_exceptions=False) as client:
        return client.get("/boom").headers["content-type"]


def read_status(response: Any) -> object:
    return response.status_code


def read_answer(response: Any) -> object:
    return response.status_code, response.headers["content-type"], SECRET in response.text


CHECKS: dict[str, Observe] = {
    "The object is an `Application`": lambda make: isinstance(make(build_host()), FastAPI),
    "Before the start every request": look_unentered,
    "The names `resources` and `drain`": get("/state", lambda response: response.json()),
    "`/livez`, `/readyz` and `/startupz`": get("/livez", lambda response: response.json()),
    "The lifespans of mounted applications": get("/inner", lambda response: response.json()),
    "A host with `debug=True`": look_production,
    "Errors have the body of a problem": both(
        get("/nothing", lambda response: response.text if "instance" not in response.text else "a problem"),
        get("/page", read_answer, "PUT"),
    ),
    "An exception that nothing handles": look_boom,
    "The exception of a WebSocket handler": both(connect("/fails?accepts=true"), connect("/fails?accepts=false")),
    "An `HTTPException` of a WebSocket handler": connect("/missing"),
    "The Host header": get("/page", read_status, headers={"host": "user@shop.example"}),
    "A request with two values": both(
        get("/length", read_status, "POST", content=b"a", headers=[("content-length", "1"), ("content-length", "2")]),
        get("/length", read_status, "POST", headers={"content-length": "0", "transfer-encoding": "chunked"}),
        get("/page", read_status, headers={"x-note": "a\x1bb"}),
    ),
    "Request headers of more than 64 KiB": get("/page", read_status, headers={"x-note": "a" * (64 * 1024 + 1)}),
    "Each response has": get("/page", lambda response: "x-request-id" in response.headers),
    "The accept of a WebSocket": connect("/echo", accept=True),
    "Responses have headers": get("/page", lambda response: response.headers.get("x-frame-options")),
    "A body of more than 10 MiB": get("/length", read_status, "POST", content=b"a" * (10 * 1024 * 1024 + 1)),
    "A message of more than 1 MiB": connect("/echo", "a" * (1024 * 1024 + 1)),
    "A WebSocket that a page": connect("/echo", headers={"origin": "https://evil.example"}),
    "A request that fails validation": get(f"/items?number={SECRET}", read_answer),
    "A WebSocket that fails validation": connect(f"/live?number={SECRET}"),
    "A response that its model refuses": get("/wrong", read_answer),
    "The OpenAPI document declares": get("/openapi.json", lambda response: "problem+json" in response.text),
}
PRINTED = "Every request is written"
ROWS = re.findall(r"^\| (?!what|---)(.+?) \| (?:`(.+)`|–) \|$", PAGE, re.MULTILINE)
KERNEL_ROWS = [row for row, _ in ROWS][:6]


def find_check(row: str) -> Observe:
    """The check of a row, which begins with the same words."""
    (found,) = [check for words, check in CHECKS.items() if row.startswith(words)]
    return found


@pytest.fixture
def only_web(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let the parts of bandmaster-web and bandmaster-fastapi load, and those of no other distribution."""
    monkeypatch.setenv("BANDMASTER_PLUGINS", "allowlist")
    monkeypatch.setenv("BANDMASTER_ALLOW", "bandmaster-web,bandmaster-fastapi")
    return monkeypatch


def keep(host: FastAPI) -> Any:
    return host


def test_every_row_has_a_check_and_every_check_a_row() -> None:
    """No claim of the page is without a test, and no test is about a claim that is gone."""
    rows = [row for row, _ in ROWS]
    assert [1] * len(rows) == [sum(row.startswith(words) for words in (*CHECKS, PRINTED)) for row in rows]
    assert [1] * len(CHECKS) == [sum(row.startswith(words) for row in rows) for words in CHECKS]


@pytest.mark.parametrize(("row", "variables"), [each for each in ROWS if not each[0].startswith(PRINTED)])
def test_a_change_and_its_switch(row: str, variables: str, only_web: pytest.MonkeyPatch) -> None:
    """The row names the difference from the application alone, and with the variable nothing differs."""
    observe = find_check(row)
    plain = observe(keep)
    assert plain != observe(create_app)
    for variable in variables.split() if variables else ():
        only_web.setenv(*variable.split("=", 1))
    if variables:
        assert plain == observe(create_app)


@pytest.mark.parametrize("row", [row for row, _ in ROWS if row not in KERNEL_ROWS and not row.startswith(PRINTED)])
def test_the_kernel_alone_changes_nothing_else(row: str) -> None:
    """The changes of the other tables need the distribution that the table is about."""
    observe = find_check(row)
    assert observe(keep) == observe(lambda host: create_app(host, discover=False))


def test_disabling_in_code_is_the_same(only_web: pytest.MonkeyPatch) -> None:
    """The names of BANDMASTER_DISABLE can be given in code."""
    observe = find_check("The Host header")
    assert 400 == observe(create_app)
    assert 200 == observe(lambda host: create_app(host, disable={"trusted_host"}))


def test_the_access_log_and_its_switch(only_web: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every request is written to standard output, unless the log is off."""
    (variable,) = [variable for row, variable in ROWS if row.startswith(PRINTED)]
    get("/page", read_status)(create_app)
    assert '"/page"' in capsys.readouterr().out
    only_web.setenv(*variable.split("="))
    get("/page", read_status)(create_app)
    assert '"/page"' not in capsys.readouterr().out


def test_what_clients_see(only_web: pytest.MonkeyPatch) -> None:
    """The answers are those that the rows name."""
    answers = {
        "Before the start every request": 503,
        "An exception that nothing handles": "application/problem+json",
        "Request headers of more than 64 KiB": 431,
        "A body of more than 10 MiB": 413,
        "A request with two values": [400, 400, 400],
        "A response that its model refuses": (500, "application/problem+json", False),
        "A request that fails validation": (422, "application/problem+json", False),
        "A message of more than 1 MiB": ("WebSocketDisconnect", "1009", "", "None"),
        "An `HTTPException` of a WebSocket handler": ("WebSocketDisconnect", "1008", "", "None"),
    }
    assert answers == {words: CHECKS[words](create_app) for words in answers}
    accepted, refused = CHECKS["The exception of a WebSocket handler"](create_app)  # type: ignore[misc]
    assert ("WebSocketDisconnect", "1011", "500") == (*accepted[:2], refused[3])
    assert "403" == CHECKS["A WebSocket that a page"](create_app)[3]  # type: ignore[index]
    assert "422" == CHECKS["A WebSocket that fails validation"](create_app)[3]  # type: ignore[index]


def test_the_server_still_gets_the_exception_of_a_host(only_web: pytest.MonkeyPatch) -> None:
    """An exception that nothing handles reaches the server, and so a test client, with and without bandmaster-web."""
    assert "ZeroDivisionError" == get("/boom", read_status)(keep) == get("/boom", read_status)(create_app)


def test_the_table_of_other_suites() -> None:
    """The page shows the table that the suites have made, in which the kernel alone fails nothing of its own."""
    table = (ROOT / "tests/outside/table.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.split("\n\n")[0].splitlines()[2:]]
    assert ["Starlette", "FastAPI", "sse-starlette"] == [row[0].split()[0] for row in rows]
    assert ["0"] * 3 == [row[3] for row in rows]
    assert "not explained" not in table
