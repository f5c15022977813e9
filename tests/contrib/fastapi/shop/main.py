"""A bookshop as FastAPI's documentation would build one: routes, middleware, error handlers and mounted apps."""

import importlib.util
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Cookie,
    Depends,
    FastAPI,
    File,
    Header,
    HTTPException,
    Request,
    Response,
    Security,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
)
from fastapi import (
    Path as PathParameter,
)
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from . import models
from .store import (
    PASSWORDS,
    AStore,
    ATransaction,
    OutOfStockError,
    Page,
    Transaction,
    audit,
    customer,
    listener,
    open_store,
    staff,
    transaction,
)

HAS_FORMS = importlib.util.find_spec("python_multipart") is not None
BookId = Annotated[int, PathParameter(ge=1, le=2**31)]


class CountHeader:
    """The shop's own middleware in plain ASGI."""

    def __init__(self, app: ASGIApp, header: str) -> None:
        self.app = app
        self.header = header.encode()
        self.count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self.count += 1
        count = str(self.count).encode()

        async def send_with_count(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (self.header, count)]}
            await send(message)

        await self.app(scope, receive, send_with_count)


books = APIRouter(prefix="/books", tags=["books"])


@books.get("", response_model=list[models.Book])
async def list_books(store: AStore, page: Annotated[Page, Depends()], q: str | None = None) -> list[models.BookRecord]:
    found = [book for book in store.books.values() if q is None or q.lower() in book.title.lower()]
    return found[page.part]


@books.post("", status_code=201, dependencies=[Depends(staff)], responses={409: {"description": "It is there."}})
async def add_book(book: models.BookIn, store: AStore, response: Response, request: Request) -> models.Book:
    added = store.add(book)
    response.headers["location"] = str(request.url_for("get_book", number=added.id))
    return added


@books.get("/{number}")
def get_book(number: BookId, store: AStore) -> models.Book:
    """Runs in a worker thread, since the handler isn't async."""
    if number not in store.books:
        raise HTTPException(404, "There is no such book.")
    return store.books[number]


@books.delete("/{number}", status_code=204, dependencies=[Depends(staff)])
async def delete_book(number: BookId, store: AStore) -> None:
    if store.books.pop(number, None) is None:
        raise HTTPException(404)


@books.get("/{number}/page", response_class=HTMLResponse, include_in_schema=False)
async def book_page(number: BookId, store: AStore) -> str:
    return f"<h1>{store.books[number].title}</h1>"


class CSVResponse(PlainTextResponse):
    media_type = "text/csv"


@books.get("/export/csv", response_class=CSVResponse)
async def export(store: AStore) -> StreamingResponse:
    async def rows() -> AsyncIterator[str]:
        yield "isbn,title\n"
        for book in store.books.values():
            await anyio.lowlevel.checkpoint()
            yield f"{book.isbn},{book.title}\n"

    return StreamingResponse(rows(), media_type="text/csv")


orders = APIRouter(prefix="/orders", tags=["orders"], dependencies=[Depends(audit)])
Reader = Annotated[str, Security(customer, scopes=["orders:read"])]
Writer = Annotated[str, Security(customer, scopes=["orders:write"])]


async def confirm(tx: Transaction, order: models.Order) -> None:
    tx.store.events.append(f"confirmed {order.lines[0].isbn}")


@orders.post("", status_code=201)
async def place_order(
    order: models.OrderIn, who: Writer, tx: ATransaction, later: BackgroundTasks, same: ATransaction
) -> models.Order:
    assert tx is same
    for line in order.lines:
        tx.store.take(line.isbn, line.count)
    placed = tx.store.order(who, order.lines)
    later.add_task(confirm, tx, placed)
    return placed


@orders.get("")
async def my_orders(who: Reader, store: AStore) -> list[models.Order]:
    return [order for order in store.orders.values() if order.customer == who]


@orders.get("/broken", response_model=list[models.Order], include_in_schema=False)
async def broken(store: AStore) -> list[dict[str, str]]:
    return [{"customer": "a secret"}]


@orders.get("/crash", include_in_schema=False)
async def crash(tx: ATransaction) -> None:
    raise RuntimeError("a secret")


@orders.get("/early", include_in_schema=False)
async def early(store: AStore, tx: Annotated[Transaction, Depends(transaction, scope="function")]) -> StreamingResponse:
    async def body() -> AsyncIterator[str]:
        store.events.append("body")
        yield "x"

    return StreamingResponse(body())


live = APIRouter(tags=["live"])


@live.websocket("/chat/{room}")
async def chat(websocket: WebSocket, room: int, who: Annotated[str, Depends(listener)], store: AStore) -> None:
    await websocket.accept(subprotocol="chat" if "chat" in websocket.scope["subprotocols"] else None)
    try:
        while True:
            text = await websocket.receive_json()
            if text == "leave":
                await websocket.close(4000, "bye")
                return
            await websocket.send_json({"room": room, "who": who, "text": text})
    except WebSocketDisconnect as gone:
        store.events.append(f"gone {gone.code}")


@live.websocket("/members")
async def members_only(websocket: WebSocket) -> None:
    await websocket.send_denial_response(JSONResponse({"error": "members only"}, 402))


@live.get("/events", include_in_schema=False)
async def events(request: Request, store: AStore) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        number = 0
        while not await request.is_disconnected():
            yield f"data: {number}\n\n"
            number += 1
            await anyio.lowlevel.checkpoint()
        store.events.append("listener gone")

    return StreamingResponse(lines(), media_type="text/event-stream")


files = APIRouter(prefix="/files", tags=["files"])


@files.put("/{name}", dependencies=[Depends(staff)], include_in_schema=False)
async def put_file(name: str, request: Request, store: AStore) -> dict[str, int]:
    content = b"".join([part async for part in request.stream()])
    store.files[name] = content
    return {"bytes": len(content)}


if HAS_FORMS:

    @files.post("")
    async def upload(upload: Annotated[UploadFile, File()], store: AStore) -> dict[str, Any]:
        store.files[upload.filename or ""] = await upload.read()
        return {"name": upload.filename, "bytes": upload.size}


accounts = APIRouter(tags=["accounts"])


@accounts.post("/token")
async def token(credentials: models.Credentials, response: Response) -> models.Token:
    if PASSWORDS.get(credentials.user) != credentials.password:
        raise HTTPException(401, "That is wrong.", {"WWW-Authenticate": "Bearer"})
    response.set_cookie("last_user", "known", httponly=True)
    return models.Token(access_token=f"token-{credentials.user}")


@accounts.get("/hello")
async def hello(
    last_user: Annotated[str | None, Cookie()] = None, accept_language: Annotated[str, Header()] = "en"
) -> str:
    return f"{last_user or 'stranger'} {accept_language}"


@accounts.get("/old", include_in_schema=False)
async def old() -> RedirectResponse:
    return RedirectResponse("/hello", 308)


async def out_of_stock(request: Request, error: OutOfStockError) -> JSONResponse:
    return JSONResponse({"sold_out": error.isbn, "left": error.left}, 409)


def build_admin(log: list[str]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        log.append("admin opened")
        yield
        log.append("admin closed")

    admin = FastAPI(title="Administration", lifespan=lifespan, dependencies=[Depends(staff)])

    @admin.get("/stats/{day}")
    async def stats(day: int, request: Request) -> dict[str, int]:
        return {"day": day, "books": len(request.state.store.books)}

    return admin


def build(log: list[str], *, timed: bool = True) -> FastAPI:
    """A shop that records its events. With ``timed`` a middleware hides disconnects from handlers."""
    admin = build_admin(log)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        # The way in which FastAPI's documentation starts mounted apps.
        async with open_store(log) as store, admin.router.lifespan_context(admin):
            yield {"store": store}

    app = FastAPI(title="Bookshop", version="2.0", lifespan=lifespan)
    app.add_middleware(GZipMiddleware, minimum_size=500)
    app.add_middleware(CountHeader, header="x-count")

    async def timing(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        began = time.perf_counter()
        response = await call_next(request)
        response.headers["x-took"] = f"{time.perf_counter() - began:.6f}"
        return response

    if timed:
        app.middleware("http")(timing)
    app.add_exception_handler(OutOfStockError, out_of_stock)  # type: ignore[arg-type]
    for router in (books, orders, live, files, accounts):
        app.include_router(router)
    app.mount("/admin", admin)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "public"))
    return app
