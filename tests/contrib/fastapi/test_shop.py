"""Moving over: the shop's own tests, on the bare application and on one that is composed around it."""

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


class Served(NamedTuple):
    """The shop while it is served."""

    client: TestClient
    host: Any
    log: list[str]
    composed: bool

    def add_book(self, **changes: Any) -> Any:
        return self.client.post("/books", json={**BOOK, **changes}, headers=STAFF)


# The one difference between moved over and not.
FORMS = {
    "bare": lambda host: host,
    "composed": lambda host: create_app(host, contributions=PARTS, discover=False),
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shop(form: str, anyio_backend: str) -> Iterator[Served]:
    log: list[str] = []
    host = build(log)
    with TestClient(FORMS[form](host), backend=anyio_backend) as client:  # type: ignore[arg-type]
        yield Served(client, host, log, form == "composed")


# -- what stays as it was ----------------------------------------------------------------------------------------------


@pytest.mark.requirement("FA-1")
def test_lifespans_run_once_each(form: str, anyio_backend: str) -> None:
    """The app's, and inside it that of the app that is mounted."""
    log: list[str] = []
    app = FORMS[form](build(log))
    for _ in range(2):
        with TestClient(app, backend=anyio_backend) as client:  # type: ignore[arg-type]
            assert ["shop opened", "admin opened"] == log
            assert 200 == client.get("/books").status_code
        assert ["shop opened", "admin opened", "admin closed", "shop closed"] == log
        log.clear()


def test_books_come_and_go(shop: Served) -> None:
    """Statuses, headers, and response models that leave out what is secret."""
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
def test_refusals(shop: Served, method: str, path: str, status: int) -> None:
    """With the statuses that FastAPI gives."""
    assert status == shop.client.request(method, path).status_code


def test_a_method_that_is_not_allowed_says_which_are(shop: Served) -> None:
    """Headers of an HTTPException are sent."""
    assert "GET" in shop.client.patch("/books/1").headers["allow"]
    assert "Bearer" == shop.client.get("/orders").headers["www-authenticate"]


def test_security_scopes(shop: Served) -> None:
    """Who may read may not write."""
    shop.add_book()
    assert 201 == shop.client.post("/orders", json=ORDER, headers=ANN).status_code
    assert 403 == shop.client.post("/orders", json=ORDER, headers=BOB).status_code
    assert (200, []) == ((answer := shop.client.get("/orders", headers=BOB)).status_code, answer.json())
    assert ["ann"] == [order["customer"] for order in shop.client.get("/orders", headers=ANN).json()]


def test_an_order_of_events(shop: Served) -> None:
    """Dependencies begin in order and end in reverse, after the response and what goes on in the background."""
    shop.add_book()
    del shop.log[:]
    assert 201 == shop.client.post("/orders", json=ORDER, headers=ANN).status_code
    assert ["audit begins", "begin", f"confirmed {BOOK['isbn']}", "commit", "audit ends"] == shop.log


def test_dependencies_see_what_is_raised(shop: Served) -> None:
    """An error that the app answers itself rolls back as well; nothing is done in the background."""
    shop.add_book(stock=1)
    del shop.log[:]
    answer = shop.client.post("/orders", json=ORDER, headers=ANN)
    assert (409, {"sold_out": BOOK["isbn"], "left": 1}) == (answer.status_code, answer.json())
    assert ["audit begins", "begin", "rollback after OutOfStockError", "audit ends"] == shop.log


def test_a_dependency_of_the_function_ends_before_the_response(shop: Served) -> None:
    """FastAPI's scope of that name."""
    del shop.log[:]
    assert "x" == shop.client.get("/orders/early").text
    assert ["audit begins", "begin", "commit", "body", "audit ends"] == shop.log


def test_a_crash_reaches_the_server(shop: Served) -> None:
    """It is rolled back, and raised on, so that servers and test clients get to know."""
    del shop.log[:]
    with pytest.raises(RuntimeError, match="a secret"):
        shop.client.get("/orders/crash")
    assert ["audit begins", "begin", "rollback after RuntimeError", "audit ends"] == shop.log


def test_streams(shop: Served) -> None:
    """Piece by piece, of what type they say."""
    shop.add_book()
    answer = shop.client.get("/books/export/csv")
    assert ("text/csv; charset=utf-8", f"isbn,title\n{BOOK['isbn']},{BOOK['title']}\n") == (
        answer.headers["content-type"],
        answer.text,
    )


def test_a_stream_ends_when_nobody_listens(form: str, anyio_backend: str) -> None:
    """`Request.is_disconnected` tells it."""
    sent: list[bytes] = []
    log: list[str] = []

    async def listen(app: Any, state: Any) -> None:
        left = anyio.Event()
        request = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            if request:
                return request.pop()
            if not left.is_set():  # to wait for it would be a checkpoint, where asking whether it is so is cancelled
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


def test_a_chat(shop: Served) -> None:
    """Subprotocols, JSON, and both ways to leave."""
    with shop.client.websocket_connect("/chat/7?token=token-ann", subprotocols=["chat"]) as socket:
        assert "chat" == socket.accepted_subprotocol
        socket.send_json("hello")
        assert {"room": 7, "who": "ann", "said": "hello"} == socket.receive_json()
        socket.send_json("leave")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert (4000, "bye") == (closed.value.code, closed.value.reason)
    with shop.client.websocket_connect("/chat/7?token=token-ann") as socket:
        socket.close(1001)
    assert "gone 1001" == shop.log[-1]


def test_a_chat_for_nobody(shop: Served) -> None:
    """It is refused with the code that the app gives."""
    with pytest.raises(WebSocketDisconnect) as closed, shop.client.websocket_connect("/chat/7?token=x"):
        pass
    assert (4401, "Who are you?") == (closed.value.code, closed.value.reason)


def test_a_denial(shop: Served) -> None:
    """The app answers a WebSocket's handshake by HTTP."""
    with pytest.raises(WebSocketDenialResponse) as denied, shop.client.websocket_connect("/members"):
        pass
    assert (402, {"error": "members only"}) == (denied.value.status_code, denied.value.json())


def test_files(shop: Served) -> None:
    """What is uploaded as it is comes through whole."""
    content = bytes(range(256)) * 1000
    answer = shop.client.put("/files/all.bin", content=content, headers=STAFF)
    assert ({"bytes": 256_000}, 200) == (answer.json(), answer.status_code)


@pytest.mark.skipif(not HAS_FORMS, reason="python-multipart isn't installed")
def test_forms(shop: Served) -> None:
    """What is uploaded in a form as well."""
    answer = shop.client.post("/files", files={"upload": ("a.txt", io.BytesIO(b"hello"))})
    assert {"name": "a.txt", "bytes": 5} == answer.json()


def test_static_files(shop: Served) -> None:
    """With their entity tags."""
    answer = shop.client.get("/static/style.css")
    assert (200, "text/css; charset=utf-8") == (answer.status_code, answer.headers["content-type"])
    again = shop.client.get("/static/style.css", headers={"if-none-match": answer.headers["etag"]})
    assert 304 == again.status_code


def test_middlewares_of_its_own(shop: Served) -> None:
    """Those of the app work as they did: around handlers, and around errors."""
    assert "1" == shop.client.get("/hello").headers["x-count"]
    answer = shop.client.get("/nowhere")
    assert "2" == answer.headers["x-count"]
    assert "x-took" in answer.headers
    for number in range(20):
        shop.add_book(isbn=f"97801311036{number:02}")
    assert "gzip" == shop.client.get("/books", headers={"accept-encoding": "gzip"}).headers["content-encoding"]


def test_cookies_headers_and_redirects(shop: Served) -> None:
    """As they come and go."""
    assert '"stranger en"' == shop.client.get("/hello").text
    shop.client.post("/token", json={"user": "ann", "password": "secret"})
    answer = shop.client.get("/old", headers={"accept-language": "fr"})
    assert [308] == [step.status_code for step in answer.history]
    assert '"known fr"' == answer.text
    assert 401 == shop.client.post("/token", json={"user": "ann", "password": "guess"}).status_code


def test_a_mounted_app(shop: Served) -> None:
    """It has the host's state, and answers its errors itself, in its own form."""
    shop.add_book()
    assert {"day": 1, "books": 1} == shop.client.get("/admin/stats/1", headers=STAFF).json()
    wrong = shop.client.get("/admin/stats/x", headers=STAFF)
    assert (422, ["path", "day"]) == (wrong.status_code, wrong.json()["detail"][0]["loc"])
    assert "Administration" == shop.client.get("/admin/openapi.json").json()["info"]["title"]


def test_dependencies_are_overridden(shop: Served) -> None:
    """As tests of FastAPI applications do it."""
    other = Store()
    shop.host.dependency_overrides[get_store] = lambda: other
    shop.host.dependency_overrides[customer] = lambda: "eve"
    other.order("eve", [])
    assert ["eve"] == [order["customer"] for order in shop.client.get("/orders").json()]
    shop.host.dependency_overrides.clear()
    assert 401 == shop.client.get("/orders").status_code


def test_documentation(shop: Served) -> None:
    """Title, version, tags, security, and what is hidden."""
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


# -- what differs on purpose -------------------------------------------------------------------------------------------


@pytest.mark.requirement("FA-3", "XC-E2")
@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/books/7", 404, "There is no such book."),
        ("GET", "/nowhere", 404, None),
        ("PATCH", "/books/7", 405, None),
        ("GET", "/orders", 401, None),
    ],
)
def test_errors_become_problems(shop: Served, method: str, path: str, status: int, said: str | None) -> None:
    """Where the app has no handler of its own: the same words, in another form."""
    answer = shop.client.request(method, path)
    if shop.composed:
        assert (status, PROBLEM) == (answer.status_code, answer.headers["content-type"])
        assert said in (None, answer.json().get("detail"))
    else:
        assert (status, "application/json") == (answer.status_code, answer.headers["content-type"])
        assert said in (None, answer.json().get("detail"))


@pytest.mark.requirement("FA-3", "XC-E2")
def test_validation_errors_become_problems(shop: Served) -> None:
    """With the same places, and without what was sent."""
    answer = shop.add_book(isbn="a secret", stock=-1)
    assert 422 == answer.status_code
    if shop.composed:
        assert ["#/isbn", "#/stock"] == [error["pointer"] for error in answer.json()["errors"]]
        assert "a secret" not in answer.text
    else:
        assert [["body", "isbn"], ["body", "stock"]] == [error["loc"] for error in answer.json()["detail"]]


@pytest.mark.requirement("FA-3")
def test_a_response_that_is_not_valid(shop: Served) -> None:
    """It was raised to the server, and nobody else; now it is answered and logged."""
    if shop.composed:
        answer = shop.client.get("/orders/broken")
        assert (500, PROBLEM) == (answer.status_code, answer.headers["content-type"])
        assert "a secret" not in answer.text
    else:
        with pytest.raises(ResponseValidationError):
            shop.client.get("/orders/broken")


@pytest.mark.requirement("FA-3", "XC-E2")
def test_a_websocket_that_is_not_valid(shop: Served) -> None:
    """It was closed with all that was sent; now it is refused by a problem, where the server can."""
    refused = WebSocketDenialResponse if shop.composed else WebSocketDisconnect
    with pytest.raises(refused) as refusal, shop.client.websocket_connect("/chat/x?token=token-ann"):
        pass
    if shop.composed:
        assert 422 == refusal.value.status_code
        assert "room" == refusal.value.json()["errors"][0]["parameter"]
    else:
        assert 1008 == refusal.value.code


def test_what_is_added_to_responses(shop: Served) -> None:
    """An id, and headers that switch on what protection browsers have."""
    added = {"x-request-id", "x-content-type-options", "x-frame-options", "referrer-policy"}
    assert shop.composed is added.issubset(shop.client.get("/hello").headers)


@pytest.mark.requirement("FA-3")
def test_problems_are_declared(shop: Served) -> None:
    """In place of what FastAPI declares."""
    schemas = shop.client.get("/openapi.json").json()["components"]["schemas"]
    assert shop.composed is ("ProblemDetails" in schemas)
    assert shop.composed is not ("HTTPValidationError" in schemas)


def test_the_document_is_otherwise_the_same() -> None:
    """Nothing else in it has changed."""

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
