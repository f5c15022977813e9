"""How clients hear of errors: on hosts of every kind, before and after a response or a WebSocket has begun."""

from __future__ import annotations

from importlib.metadata import distribution
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket
from structlog.testing import capture_logs
from tests.asgi_cases import CASES, Rig

from bandmaster.contrib.web import WebSettings
from bandmaster.contrib.web.errors import (
    ProblemError,
    ProblemHandler,
    ProblemsLayer,
    install_problems,
    problem_response,
    problem_type,
)
from bandmaster.contrib.web.problems import ProblemDetails
from bandmaster.kernel import (
    Exchange,
    KernelSettings,
    MiddlewareBand,
    MiddlewareContribution,
    PermanentError,
    TransientError,
    create_app,
)
from bandmaster.kernel.stack.build import BoundLayer, build
from bandmaster.kernel.testing import ResponseCutError, WebSocketClosed, WebSocketRefused, run

pytestmark = pytest.mark.anyio

WEB = [point.load() for point in distribution("bandmaster-web").entry_points]
QUIET = WebSettings(access_log="off", cors_origins=("https://shop.example",))
SECRET = "hunter2"
ORIGIN = {"origin": "https://shop.example"}


class SoldOut(ProblemError):
    status_code = 409
    type = "https://example.com/problems/sold-out"
    title = "Sold out"


def transient(seconds: float | None) -> TransientError:
    error = TransientError(SECRET)
    error.retry_after = seconds
    return error


def raising(kind: str, error: Exception) -> Any:
    """A host of some kind whose every path raises that."""

    async def endpoint(request: Request) -> PlainTextResponse:
        raise error

    async def bare(scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError
        raise error

    if kind == "bare":
        return bare
    if kind == "fastapi":
        host = FastAPI()
        host.add_route("/", endpoint)
        return host
    return Starlette(routes=[Route("/", endpoint)])


def composed(host: Any, *parts: Any, debug: bool = False, without: tuple[str, ...] = ()) -> Any:
    return create_app(
        host,
        contributions=[*WEB, *parts],
        discover=False,
        disable=without,
        overrides={WebSettings: QUIET},
        settings=KernelSettings(debug=debug, retry_after=7),
    )


async def asked(app: Any, path: str = "/", **headers: str) -> Any:
    """What the client gets, whether or not the error is raised on for the server to see."""
    async with run(app, raise_app_exceptions=False) as running:
        return await running.http.get(path, headers={**ORIGIN, **headers})


HOSTS = ("starlette", "fastapi", "bare")


@pytest.mark.requirement("FA-3", "XC-E2")
@pytest.mark.parametrize("kind", HOSTS)
@pytest.mark.parametrize(
    ("error", "expected", "headers"),
    [
        (HTTPException(404), {"status": 404, "title": "Not Found"}, {}),
        (HTTPException(418, "No coffee."), {"status": 418, "title": "I'm a Teapot", "detail": "No coffee."}, {}),
        (HTTPException(401, headers={"WWW-Authenticate": "Bearer"}), {"status": 401}, {"www-authenticate": "Bearer"}),
        (SoldOut("1 seat left.", left=1), {"status": 409, "title": "Sold out", "type": SoldOut.type, "left": 1}, {}),
        (transient(None), {"status": 503}, {"retry-after": "7"}),
        (transient(1.2), {"status": 503}, {"retry-after": "2"}),
        (transient(-1), {"status": 503}, {"retry-after": "0"}),
        (PermanentError(SECRET), {"status": 500}, {}),
        (ZeroDivisionError(SECRET), {"status": 500, "title": "Internal Server Error"}, {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_every_error_is_a_problem(kind: str, error: Exception, expected: dict, headers: dict) -> None:
    """Of one shape, with the request's id, for pages of other origins to read as well."""
    response = await asked(composed(raising(kind, error)))
    problem = response.json()
    assert {"type": "about:blank", **expected}.items() <= problem.items()
    assert (expected["status"], "application/problem+json") == (response.status, response.headers["content-type"])
    assert (response.headers["x-request-id"], "/") == (problem["request_id"], problem["instance"])
    common = {"cache-control": "no-store", "access-control-allow-origin": ORIGIN["origin"]}
    assert {**common, **headers} == {name: response.headers[name] for name in {**common, **headers}}
    assert "nosniff" == response.headers["x-content-type-options"]
    assert SECRET not in response.text


@pytest.mark.requirement("FA-3")
@pytest.mark.parametrize("kind", ["starlette", "fastapi"])
async def test_the_routers_own_errors_are_problems(kind: str) -> None:
    """404 and 405, with what is allowed."""
    app = composed(raising(kind, ZeroDivisionError()))
    async with run(app) as running:
        missing = await running.http.get("/missing")
        wrong = await running.http.request("DELETE", "/")
    assert [(404, "Not Found"), (405, "Method Not Allowed")] == [
        (response.json()["status"], response.json()["title"]) for response in (missing, wrong)
    ]
    assert "GET" in wrong.headers["allow"]


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("kind", ["starlette", "fastapi"])
async def test_what_is_no_error_stays_what_it_is(kind: str, status: int) -> None:
    """An HTTPException may be a redirect, or nothing at all."""
    nothing = await asked(composed(raising(kind, HTTPException(status, headers={"x-why": "nothing"}))))
    redirect = await asked(composed(raising(kind, HTTPException(307, headers={"location": "/there"}))))
    assert (status, b"", "nothing") == (nothing.status, nothing.body, nothing.headers["x-why"])
    assert (307, "/there") == (redirect.status, redirect.headers["location"])


async def test_a_detail_of_another_kind_is_data() -> None:
    """FastAPI takes anything as a detail."""
    error = HTTPException(400, {"code": "E1"})  # type: ignore[arg-type]
    problem = (await asked(composed(raising("fastapi", error)))).json()
    assert ({"code": "E1"}, False) == (problem["data"], "detail" in problem)


async def test_head_gets_no_body_from_the_guard() -> None:
    """It gets the headers of a GET (RFC 9110, 9.3.2)."""
    app = composed(raising("bare", ZeroDivisionError()), without=("unhandled_error",))
    async with run(app) as running:
        response = await running.http.head("/")
    assert (500, b"") == (response.status, response.body)
    assert int(response.headers["content-length"]) > 100


@pytest.mark.parametrize("kind", HOSTS)
async def test_a_browser_gets_a_page(kind: str) -> None:
    """Because it asks for one."""
    response = await asked(composed(raising(kind, ZeroDivisionError(SECRET))), accept="text/html,*/*;q=0.8")
    assert (500, True) == (response.status, response.headers["content-type"].startswith("text/html"))
    assert "<h1>500 Internal Server Error</h1>" in response.text
    assert SECRET not in response.text


# -- debugging -------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("FA-3")
@pytest.mark.parametrize("kind", HOSTS)
async def test_debugging_shows_the_traceback(kind: str) -> None:
    """To browsers Starlette's page, to programs as members."""
    app = composed(raising(kind, ZeroDivisionError(SECRET)), debug=True)
    page = await asked(app, accept="text/html")
    problem = (await asked(app)).json()
    assert "Traceback" in page.text
    assert SECRET in page.text
    assert f"ZeroDivisionError: {SECRET}" == problem["exception"]
    assert any("in endpoint" in line or "in bare" in line for line in problem["traceback"])


class Whispering(Exception):
    def __str__(self) -> str:
        return SECRET

    __repr__ = __str__


words = st.text(max_size=5).map(lambda around: f"{around}{SECRET}{around}")


@st.composite
def telling(draw: Any) -> Exception:
    """An exception with the secret wherever one can be."""
    kind = draw(st.sampled_from([ValueError, KeyError, OSError, PermanentError, TransientError, Whispering]))
    error: Exception = kind(draw(words))
    error.add_note(draw(words))
    error.__cause__ = ValueError(draw(words))
    error.__context__ = KeyError(draw(words))
    if draw(st.booleans()):
        error = ExceptionGroup(draw(words), [error])
    return error


@pytest.mark.requirement("FA-3", "XC-E2")
@pytest.mark.parametrize("kind", HOSTS)
@given(error=telling(), accept=st.sampled_from(["text/html", "*/*"]))
@settings(max_examples=15, deadline=None)
def test_nothing_of_an_exception_is_told(kind: str, error: Exception, accept: str) -> None:
    """Neither its text nor its notes, its cause, its context."""

    async def main() -> None:
        response = await asked(composed(raising(kind, error)), accept=accept)
        assert response.status in (500, 503)
        seen = repr([(name, response.headers[name]) for name in response.headers]) + response.text
        assert SECRET not in seen

    anyio.run(main)


# -- what is told to the log --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HOSTS)
async def test_the_log_has_it_once_with_the_requests_id(kind: str) -> None:
    """And the traceback."""
    error = ZeroDivisionError(SECRET)
    with capture_logs() as logs:
        response = await asked(composed(raising(kind, error)))
    told = [entry for entry in logs if entry["event"] == "unhandled error"]
    assert [("error", "/", 500, response.headers["x-request-id"])] == [
        (entry["log_level"], entry["path"], entry["status"], entry["request_id"]) for entry in told
    ]
    assert told[0]["exception"].startswith("Traceback")
    assert told[0]["exception"].endswith(f"ZeroDivisionError: {SECRET}\n")


@pytest.mark.parametrize(
    ("error", "level"), [(HTTPException(404), None), (transient(1), "warning"), (HTTPException(502), "warning")]
)
async def test_what_was_expected_is_told_less_loudly(error: Exception, level: str | None) -> None:
    """A 404 isn't the service's failure; what is over soon has no traceback."""
    with capture_logs() as logs:
        await asked(composed(raising("starlette", error)))
    told = [entry["log_level"] for entry in logs if entry["event"] in ("request failed", "unhandled error")]
    assert ([] if level is None else [level]) == told


@pytest.mark.requirement("CF-17")
@pytest.mark.parametrize("kind", HOSTS)
async def test_what_a_host_could_not_handle_goes_on_to_the_server(kind: str) -> None:
    """As Starlette has it: whatever watches from outside sees the exception, and the client has its answer."""
    async with run(composed(raising(kind, ZeroDivisionError("mine")))) as running:
        with pytest.raises(ZeroDivisionError, match="mine"):
            await running.http.get("/")


# -- when it is too late ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("CF-17", "CF-33")
@pytest.mark.parametrize("kind", ["starlette", "bare"])
@pytest.mark.parametrize("error", [ZeroDivisionError("late"), HTTPException(404), transient(1)])
async def test_a_response_that_has_begun_is_cut_off(kind: str, error: Exception) -> None:
    """There is no second start, and no client takes half for the whole."""

    async def body():
        yield b"a"
        raise error

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(body())

    async def bare(scope, receive, send) -> None:
        await StreamingResponse(body())(scope, receive, send)

    host = bare if kind == "bare" else Starlette(routes=[Route("/", endpoint)])
    async with run(composed(host), raise_app_exceptions=False) as running:
        with pytest.raises(ResponseCutError) as cut:
            await running.http.get("/")
    assert (200, b"a") == (cut.value.response.status, cut.value.response.body)


# -- WebSockets -----------------------------------------------------------------------------------------------------------------


def socket_host(kind: str, error: Exception, *, accepting: bool) -> Any:
    async def endpoint(websocket: WebSocket) -> None:
        if accepting:
            await websocket.accept()
        raise error

    async def bare(scope, receive, send) -> None:
        await endpoint(WebSocket(scope, receive, send))

    return bare if kind == "bare" else Starlette(routes=[WebSocketRoute("/", endpoint)])


SOCKET_ERRORS = [
    (HTTPException(404), 404, 1008),
    (SoldOut("No."), 409, 1008),
    (transient(1), 503, 1013),
    (ZeroDivisionError(SECRET), 500, 1011),
]


@pytest.mark.requirement("FA-3", "XC-E2")
@pytest.mark.parametrize("kind", ["starlette", "bare"])
@pytest.mark.parametrize(("error", "status", "code"), SOCKET_ERRORS)
async def test_a_websocket_that_fails_before_it_is_accepted_is_refused(
    kind: str, error: Exception, status: int, code: int
) -> None:
    """With the same problem, where the server can send one."""
    async with run(composed(socket_host(kind, error, accepting=False))) as running:
        with pytest.raises(WebSocketRefused) as refused:
            async with running.websocket("/"):
                pass
    problem = refused.value.response.json()
    assert (status, status) == (refused.value.status, problem["status"])
    assert "request_id" in problem
    assert SECRET not in refused.value.response.text


@pytest.mark.requirement("FA-3", "XC-E2")
@pytest.mark.parametrize("kind", ["starlette", "bare"])
@pytest.mark.parametrize(("error", "status", "code"), [*SOCKET_ERRORS, (WebSocketException(4001, "bye"), 0, 4001)])
async def test_a_websocket_that_fails_later_is_closed(kind: str, error: Exception, status: int, code: int) -> None:
    """With a code that says why, and nothing else that does."""
    async with run(composed(socket_host(kind, error, accepting=True))) as running, running.websocket("/") as socket:
        with pytest.raises(WebSocketClosed) as closed:
            await socket.receive_text()
    assert (code, "bye" if code == 4001 else "") == (closed.value.code, closed.value.reason)


async def test_a_websocket_that_is_closed_already_is_left_alone() -> None:
    """Nothing may follow a close, not even a refusal."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.close(4000)
        raise ZeroDivisionError

    async with run(composed(Starlette(routes=[WebSocketRoute("/", endpoint)]))) as running:
        with pytest.raises(WebSocketRefused) as refused:
            async with running.websocket("/"):
                pass
    assert 403 == refused.value.status


# -- kinds of problems ----------------------------------------------------------------------------------------------------------


class StrangersError(Exception):
    left = 2


@pytest.mark.requirement("FA-3")
@pytest.mark.parametrize("kind", HOSTS)
async def test_a_contribution_makes_a_problem_of_anybodys_exception(kind: str) -> None:
    """On hosts of every kind."""
    part = problem_type(
        StrangersError,
        name="strangers",
        status=409,
        type="https://example.com/problems/x",
        title="Sold out",
        detail=str,
        members=lambda error: {"left": error.left},
        headers={"x-why": "sold"},
    )
    response = await asked(composed(raising(kind, StrangersError("2 left")), part))
    expected = {"status": 409, "title": "Sold out", "detail": "2 left", "left": 2}
    assert expected.items() <= response.json().items()
    assert "sold" == response.headers["x-why"]


async def test_a_kind_of_problem_refuses_a_websocket() -> None:
    """By the same handler."""
    part = problem_type(StrangersError, name="strangers", status=409, title="Sold out", detail="None left.")
    async with run(composed(socket_host("starlette", StrangersError(), accepting=False), part)) as running:
        with pytest.raises(WebSocketRefused) as refused:
            async with running.websocket("/"):
                pass
    assert (409, "None left.") == (refused.value.status, refused.value.response.json()["detail"])


def test_a_kind_of_problem_is_checked_when_it_is_made() -> None:
    """Not when it is first needed."""
    with pytest.raises(ValueError, match="400 to 599"):
        problem_type(StrangersError, name="strangers", status=200)
    with pytest.raises(ValueError, match="errors, title"):
        SoldOut("No.", title="x", errors=[])


def test_equal_handlers_are_one() -> None:
    """A host that several applications take in turn has each once."""
    assert ProblemHandler(409, title="x") == ProblemHandler(409, title="x")


async def test_a_handler_of_ones_own_can_answer_with_a_problem() -> None:
    """With what every problem has."""

    async def own(request: Request, error: Exception) -> Any:
        return problem_response(request, ProblemDetails(status=402, detail="Pay."), {"x-price": "1"})

    host = raising("starlette", StrangersError())
    host.add_exception_handler(StrangersError, own)
    response = await asked(composed(host))
    assert (402, "Pay.", "1") == (response.status, response.json()["detail"], response.headers["x-price"])
    assert response.json()["request_id"] == response.headers["x-request-id"]


async def test_a_mounted_app_can_have_the_same_handlers() -> None:
    """It has error handling of its own, which knows nothing of the host's."""
    inner = raising("starlette", HTTPException(404))
    host = Starlette(routes=[Mount("/in", inner)])
    assert "text/plain; charset=utf-8" == (await asked(composed(host), "/in/")).headers["content-type"]
    install_problems(inner)
    inner.middleware_stack = None
    assert "/in/" == (await asked(composed(host), "/in/")).json()["instance"]


# -- the guard --------------------------------------------------------------------------------------------------------------------


class Breaking:
    def on_request(self, exchange: Exchange) -> None:
        raise ZeroDivisionError(SECRET)


class BreakingApp:
    def __init__(self, app: Any) -> None:
        pass

    async def __call__(self, scope, receive, send) -> None:
        raise ZeroDivisionError(SECRET)


@pytest.mark.requirement("FA-3")
@pytest.mark.parametrize("layer", [Breaking, BreakingApp])
@pytest.mark.parametrize("band", [MiddlewareBand.OUTERMOST, MiddlewareBand.INNERMOST])
async def test_errors_of_layers_are_problems(layer: type, band: MiddlewareBand) -> None:
    """Wherever they stand, and readable by pages of other origins."""
    part = MiddlewareContribution(name="breaking", layer=layer, band=band)
    response = await asked(composed(Starlette(), part))
    assert (500, 500) == (response.status, response.json()["status"])
    assert ORIGIN["origin"] == response.headers["access-control-allow-origin"]
    assert SECRET not in response.text


async def test_a_client_that_has_left_is_no_error() -> None:
    """Nobody is told, and nothing is answered."""

    async def endpoint(request: Request) -> PlainTextResponse:
        await request.body()
        raise AssertionError

    app = composed(Starlette(routes=[Route("/", endpoint, methods=["POST"])]))
    with capture_logs() as logs:
        async with run(app) as running:
            sent: list[Any] = []
            scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"x")], "query_string": b""}

            async def receive() -> dict[str, str]:
                return {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                sent.append(message)

            try:
                await running.app(scope, receive, send)
            except Exception as error:
                assert "Disconnect" in type(error).__name__
    assert [] == [entry for entry in logs if entry["event"] == "unhandled error"]


ANSWERED = ("exception_before_start", "websocket_exception")
"""Cases in which an exception is to come through, where the guard answers instead; tested above."""


@pytest.mark.requirement("CF-17", "CF-33", "FA-18", "FA-19")
@pytest.mark.parametrize("name", [name for name in CASES if name not in ANSWERED])
async def test_traps(name: str) -> None:
    """Whatever ASGI allows passes unharmed."""
    await CASES[name](Rig(lambda app: build([BoundLayer(ProblemsLayer, {"settings": KernelSettings()})], app)))
