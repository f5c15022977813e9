"""Migration: the shop's own tests on the bare application, and on the composed one."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from importlib.metadata import distribution
from typing import Any, NamedTuple

import anyio
import pytest
from fastapi.exceptions import ResponseValidationError
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from tests.contrib.fastapi.shop.main import HAS_FORMS, build
from tests.contrib.fastapi.shop.store import Store, customer, get_store

from bandmaster.kernel import create_app

PARTS = [point.load() for name in ("bandmaster-web", "bandmaster-fastapi") for point in distribution(name).entry_points]
PROBLEM = "application/problem+json"
STAFF = {"X-Key": "staff"}
ANN = {"Authorization": "Bearer token-ann"}
BOB = {"Authorization": "Bearer token-bob"}
BOOK = {"isbn": "9780131103627", "title": "The C Programming Language", "price": "40.00", "stock": 3}
ORDER = {"lines": [{"isbn": BOOK["isbn"], "count": 2}], "payment": {"kind": "card", "number": "4111111111111111"}}


class ServedShop(NamedTuple):
    """The served shop, bare or composed."""

    client: TestClient
    host: Any
    log: list[str]
    composed: bool

    def add_book(self, **changes: Any) -> Any:
        return self.client.post("/books", json={**BOOK, **changes}, headers=STAFF)


# The two forms differ in this call alone.
FORMS = {
    "bare": lambda host: host,
    "composed": lambda host: create_app(host, contributions=PARTS, discover=False),
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shop(form: str, anyio_backend: str) -> Iterator[ServedShop]:
    log: list[str] = []
    host = build(log)
    with TestClient(FORMS[form](host), backend=anyio_backend) as client:  # type: ignore[arg-type]
        yield ServedShop(client, host, log, form == "composed")


@pytest.mark.requirement("FA-1")
def test_lifespans_run_once_each(form: str, anyio_backend: str) -> None:
    """The app's lifespan runs once, and the mounted app's runs inside."""
    log: list[str] = []
    app = FORMS[form](build(log))
    for _ in range(2):
        with TestClient(app, backend=anyio_backend) as client:  # type: ignore[arg-type]
            assert ["shop opened", "admin opened"] == log
            assert 200 == client.get("/books").status_code
        assert ["shop opened", "admin opened", "admin closed", "shop closed"] == log
        log.clear()


def test_books_are_added_and_deleted(shop: ServedShop) -> None:
    """Statuses and headers are kept, and response models leave out their secrets."""
    added = shop.add_book()
    assert (201, "http://testserver/books/1") == (added.status_code, added.headers["location"])
    assert {**BOOK, "id": 1, "published": None} == added.json()
    assert [added.json()] == shop.client.get("/books", params={"q": "LANGUAGE"}).json()
    assert [] == shop.client.get("/books?offset=1").json()
    assert added.json() == shop.client.get("/books/1").json()
    assert 409 == shop.add_book().status_code
    gone = shop.client.delete("/books/1", headers=STAFF)
    assert (204, b"") == (gone.status_code, gone.content)
    assert 404 == shop.client.get("/books/1").status_code


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/books/0", 422),
        ("GET", "/books/x", 422),
        ("GET", "/books?limit=1000", 422),
        ("PATCH", "/books/1", 405),
        ("GET", "/nowhere", 404),
        ("POST", "/books", 401),
        ("DELETE", "/books/1", 401),
        ("GET", "/orders", 401),
        ("GET", "/static/none.css", 404),
        ("GET", "/admin/stats/1", 401),
    ],
)
def test_refusals(shop: ServedShop, method: str, path: str, status: int) -> None:
    """Refusals have the statuses of FastAPI."""
    assert status == shop.client.request(method, path).status_code


def test_headers_of_http_exceptions_are_sent(shop: ServedShop) -> None:
    """A 405 lists the allowed methods, and a 401 names the scheme."""
    assert "GET" in shop.client.patch("/books/1").headers["allow"]
    assert "Bearer" == shop.client.get("/orders").headers["www-authenticate"]


def test_security_scopes(shop: ServedShop) -> None:
    """A customer with the scope for reading may not write."""
    shop.add_book()
    assert 201 == shop.client.post("/orders", json=ORDER, headers=ANN).status_code
    assert 403 == shop.client.post("/orders", json=ORDER, headers=BOB).status_code
    assert (200, []) == ((answer := shop.client.get("/orders", headers=BOB)).status_code, answer.json())
    assert ["ann"] == [order["customer"] for order in shop.client.get("/orders", headers=ANN).json()]


def test_dependencies_end_in_reverse_order(shop: ServedShop) -> None:
    """Dependencies end in reverse, after the response and its background tasks."""
    shop.add_book()
    del shop.log[:]
    assert 201 == shop.client.post("/orders", json=ORDER, headers=ANN).status_code
    assert ["audit begins", "begin", f"confirmed {BOOK['isbn']}", "commit", "audit ends"] == shop.log


def test_dependencies_receive_exceptions(shop: ServedShop) -> None:
    """An error that the app answers rolls back as well, and starts no background task."""
    shop.add_book(stock=1)
    del shop.log[:]
    answer = shop.client.post("/orders", json=ORDER, headers=ANN)
    assert (409, {"sold_out": BOOK["isbn"], "left": 1}) == (answer.status_code, answer.json())
    assert ["audit begins", "begin", "rollback after OutOfStockError", "audit ends"] == shop.log


def test_a_dependency_of_the_function_ends_before_the_response(shop: ServedShop) -> None:
    """FastAPI's scope `function` is kept."""
    del shop.log[:]
    assert "x" == shop.client.get("/orders/early").text
    assert ["audit begins", "begin", "commit", "body", "audit ends"] == shop.log


def test_a_crash_reaches_the_server(shop: ServedShop) -> None:
    """An unhandled exception is rolled back, and goes on to servers and test clients."""
    del shop.log[:]
    with pytest.raises(RuntimeError, match="a secret"):
        shop.client.get("/orders/crash")
    assert ["audit begins", "begin", "rollback after RuntimeError", "audit ends"] == shop.log


def test_streams(shop: ServedShop) -> None:
    """A stream has its pieces and its media type."""
    shop.add_book()
    answer = shop.client.get("/books/export/csv")
    assert ("text/csv; charset=utf-8", f"isbn,title\n{BOOK['isbn']},{BOOK['title']}\n") == (
        answer.headers["content-type"],
        answer.text,
    )


def test_a_stream_notices_the_disconnect(form: str, anyio_backend: str) -> None:
    """`Request.is_disconnected` works."""
    sent: list[bytes] = []
    log: list[str] = []

    async def listen(app: Any, state: Any) -> None:
        left = anyio.Event()
        request = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            if request:
                return request.pop()
            # Waiting is a checkpoint, also for an event that is set, and Starlette cancels is_disconnected there.
            if not left.is_set():
                await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                sent.append(message["body"])
                if len(sent) == 3:
                    left.set()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "path": "/events",
            "raw_path": b"/events",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"testserver")],
            "scheme": "http",
            "client": ("a", 1),
            "server": ("a", 80),
            "state": dict(state),
        }
        with anyio.fail_after(5):
            await app(scope, receive, send)

    app = FORMS[form](build(log, timed=False))
    with TestClient(app, backend=anyio_backend) as client:  # type: ignore[arg-type]
        assert client.portal is not None
        client.portal.call(listen, app, client.app_state)
        assert [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"] == sent[:3]
        assert "listener gone" == log[-1]


def test_a_chat(shop: ServedShop) -> None:
    """A WebSocket has subprotocols and JSON, and either side can close the connection."""
    with shop.client.websocket_connect("/chat/7?token=token-ann", subprotocols=["chat"]) as socket:
        assert "chat" == socket.accepted_subprotocol
        socket.send_json("hello")
        assert {"room": 7, "who": "ann", "text": "hello"} == socket.receive_json()
        socket.send_json("leave")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert (4000, "bye") == (closed.value.code, closed.value.reason)
    with shop.client.websocket_connect("/chat/7?token=token-ann") as socket:
        socket.close(1001)
    assert "gone 1001" == shop.log[-1]


def test_a_chat_without_a_user_is_refused(shop: ServedShop) -> None:
    """The WebSocket is refused with the code of the app."""
    with pytest.raises(WebSocketDisconnect) as closed, shop.client.websocket_connect("/chat/7?token=x"):
        pass
    assert (4401, "Who are you?") == (closed.value.code, closed.value.reason)


def test_a_denial(shop: ServedShop) -> None:
    """The app answers a WebSocket's handshake with an HTTP response."""
    with pytest.raises(WebSocketDenialResponse) as denied, shop.client.websocket_connect("/members"):
        pass
    assert (402, {"error": "members only"}) == (denied.value.status_code, denied.value.json())


def test_files(shop: ServedShop) -> None:
    """A file in a request body arrives complete."""
    content = bytes(range(256)) * 1000
    answer = shop.client.put("/files/all.bin", content=content, headers=STAFF)
    assert ({"bytes": 256_000}, 200) == (answer.json(), answer.status_code)


@pytest.mark.skipif(not HAS_FORMS, reason="python-multipart isn't installed")
def test_forms(shop: ServedShop) -> None:
    """A file in a form arrives complete."""
    answer = shop.client.post("/files", files={"upload": ("a.txt", io.BytesIO(b"hello"))})
    assert {"name": "a.txt", "bytes": 5} == answer.json()


def test_static_files(shop: ServedShop) -> None:
    """Static files have entity tags."""
    answer = shop.client.get("/static/style.css")
    assert (200, "text/css; charset=utf-8") == (answer.status_code, answer.headers["content-type"])
    again = shop.client.get("/static/style.css", headers={"if-none-match": answer.headers["etag"]})
    assert 304 == again.status_code


def test_middleware_of_the_app(shop: ServedShop) -> None:
    """The app's own middleware works around handlers and around errors."""
    assert "1" == shop.client.get("/hello").headers["x-count"]
    answer = shop.client.get("/nowhere")
    assert "2" == answer.headers["x-count"]
    assert "x-took" in answer.headers
    for number in range(20):
        shop.add_book(isbn=f"97801311036{number:02}")
    assert "gzip" == shop.client.get("/books", headers={"accept-encoding": "gzip"}).headers["content-encoding"]


def test_cookies_headers_and_redirects(shop: ServedShop) -> None:
    """Cookies, headers and redirects are kept."""
    assert '"stranger en"' == shop.client.get("/hello").text
    shop.client.post("/token", json={"user": "ann", "password": "secret"})
    answer = shop.client.get("/old", headers={"accept-language": "fr"})
    assert [308] == [step.status_code for step in answer.history]
    assert '"known fr"' == answer.text
    assert 401 == shop.client.post("/token", json={"user": "ann", "password": "guess"}).status_code


def test_a_mounted_app(shop: ServedShop) -> None:
    """A mounted app has the host's state, and answers its errors itself in its own form."""
    shop.add_book()
    assert {"day": 1, "books": 1} == shop.client.get("/admin/stats/1", headers=STAFF).json()
    wrong = shop.client.get("/admin/stats/x", headers=STAFF)
    assert (422, ["path", "day"]) == (wrong.status_code, wrong.json()["detail"][0]["loc"])
    assert "Administration" == shop.client.get("/admin/openapi.json").json()["info"]["title"]


def test_dependencies_are_overridden(shop: ServedShop) -> None:
    """Overrides work as in tests of FastAPI applications."""
    other = Store()
    shop.host.dependency_overrides[get_store] = lambda: other
    shop.host.dependency_overrides[customer] = lambda: "eve"
    other.order("eve", [])
    assert ["eve"] == [order["customer"] for order in shop.client.get("/orders").json()]
    shop.host.dependency_overrides.clear()
    assert 401 == shop.client.get("/orders").status_code


def test_documentation(shop: ServedShop) -> None:
    """The document has the title, the version, the tags and the security schemes, and no hidden routes."""
    document = shop.client.get("/openapi.json").json()
    assert {"title": "Bookshop", "version": "2.0"} == document["info"]
    assert ["/books", "/books/export/csv", "/books/{number}", "/hello", "/orders", "/token"] == sorted(
        path for path in document["paths"] if path != "/files"
    )
    place = document["paths"]["/orders"]["post"]
    assert (["orders"], [{"OAuth2PasswordBearer": ["orders:write"]}]) == (place["tags"], place["security"])
    assert "It is there." == document["paths"]["/books"]["post"]["responses"]["409"]["description"]
    assert {"OAuth2PasswordBearer", "APIKeyHeader"} == set(document["components"]["securitySchemes"])
    for page in ("/docs", "/redoc"):
        assert "text/html; charset=utf-8" == shop.client.get(page).headers["content-type"]


@pytest.mark.requirement("FA-3", "XC-E2")
@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/books/7", 404, "There is no such book."),
        ("GET", "/nowhere", 404, None),
        ("PATCH", "/books/7", 405, None),
        ("GET", "/orders", 401, None),
    ],
)
def test_errors_become_problems(shop: ServedShop, method: str, path: str, status: int, detail: str | None) -> None:
    """Where the app has no handler of its own, errors have the same text in the form of a problem."""
    answer = shop.client.request(method, path)
    if shop.composed:
        assert (status, PROBLEM) == (answer.status_code, answer.headers["content-type"])
        assert detail in (None, answer.json().get("detail"))
    else:
        assert (status, "application/json") == (answer.status_code, answer.headers["content-type"])
        assert detail in (None, answer.json().get("detail"))


@pytest.mark.requirement("FA-3", "XC-E2")
def test_validation_errors_become_problems(shop: ServedShop) -> None:
    """A problem has the same places, without the values that were sent."""
    answer = shop.add_book(isbn="a secret", stock=-1)
    assert 422 == answer.status_code
    if shop.composed:
        assert ["#/isbn", "#/stock"] == [error["pointer"] for error in answer.json()["errors"]]
        assert "a secret" not in answer.text
    else:
        assert [["body", "isbn"], ["body", "stock"]] == [error["loc"] for error in answer.json()["detail"]]


@pytest.mark.requirement("FA-3")
def test_an_invalid_response_is_answered(shop: ServedShop) -> None:
    """Bare, the exception only reaches the server; composed, the client has an answer and the log an event."""
    if shop.composed:
        answer = shop.client.get("/orders/broken")
        assert (500, PROBLEM) == (answer.status_code, answer.headers["content-type"])
        assert "a secret" not in answer.text
    else:
        with pytest.raises(ResponseValidationError):
            shop.client.get("/orders/broken")


@pytest.mark.requirement("FA-3", "XC-E2")
def test_an_invalid_websocket_is_refused(shop: ServedShop) -> None:
    """Bare, the close repeats the values that were sent; composed, a problem refuses the WebSocket."""
    refused = WebSocketDenialResponse if shop.composed else WebSocketDisconnect
    with pytest.raises(refused) as refusal, shop.client.websocket_connect("/chat/x?token=token-ann"):
        pass
    if shop.composed:
        assert 422 == refusal.value.status_code
        assert "room" == refusal.value.json()["errors"][0]["parameter"]
    else:
        assert 1008 == refusal.value.code


def test_headers_are_added_to_responses(shop: ServedShop) -> None:
    """Composed, responses have a request id and security headers."""
    added = {"x-request-id", "x-content-type-options", "x-frame-options", "referrer-policy"}
    assert shop.composed is added.issubset(shop.client.get("/hello").headers)


@pytest.mark.requirement("FA-3")
def test_problems_are_declared(shop: ServedShop) -> None:
    """Composed, the document declares problems in place of FastAPI's errors."""
    schemas = shop.client.get("/openapi.json").json()["components"]["schemas"]
    assert shop.composed is ("ProblemDetails" in schemas)
    assert shop.composed is not ("HTTPValidationError" in schemas)


def test_the_document_is_otherwise_the_same() -> None:
    """Except errors, the document is the same."""

    def without_errors(document: Any) -> Any:
        for path in document["paths"].values():
            for operation in path.values():
                for status in ("422", "default"):
                    operation["responses"].pop(status, None)
        for name in ("HTTPValidationError", "ValidationError", "ProblemDetails", "ValidationProblem"):
            document["components"]["schemas"].pop(name, None)
        return document

    documents = [form(host := build([])) and host.openapi() for form in FORMS.values()]
    bare, composed = (without_errors(json.loads(json.dumps(document))) for document in documents)
    assert bare == composed
