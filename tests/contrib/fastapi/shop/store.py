"""The shop's data in memory, and its users' permissions."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Query, Request, WebSocket, WebSocketException
from fastapi.security import APIKeyHeader, OAuth2PasswordBearer, SecurityScopes
from starlette.requests import HTTPConnection

from .models import BookIn, BookRecord, Order

PASSWORDS = {"ann": "secret", "bob": "secret"}
SCOPES = {"ann": {"orders:read", "orders:write"}, "bob": {"orders:read"}}


class OutOfStockError(Exception):
    def __init__(self, isbn: str, left: int) -> None:
        super().__init__(isbn)
        self.isbn = isbn
        self.left = left


class Store:
    def __init__(self) -> None:
        self.books: dict[int, BookRecord] = {}
        self.orders: dict[int, Order] = {}
        self.files: dict[str, bytes] = {}
        self.events: list[str] = []
        self.is_open = False
        self._numbers = itertools.count(1)

    def add(self, book: BookIn) -> BookRecord:
        if any(other.isbn == book.isbn for other in self.books.values()):
            raise HTTPException(409, f"{book.isbn} is there already")
        record = BookRecord(id=next(self._numbers), **book.model_dump())
        self.books[record.id] = record
        return record

    def take(self, isbn: str, count: int) -> None:
        book = next((book for book in self.books.values() if book.isbn == isbn), None)
        if book is None or book.stock < count:
            raise OutOfStockError(isbn, book.stock if book else 0)
        book.stock -= count

    def order(self, customer: str, lines: Any) -> Order:
        order = Order(id=next(self._numbers), customer=customer, lines=lines)
        self.orders[order.id] = order
        return order


@asynccontextmanager
async def open_store(events: list[str]) -> AsyncIterator[Store]:
    store = Store()
    store.events = events
    store.is_open = True
    events.append("shop opened")
    try:
        yield store
    finally:
        store.is_open = False
        events.append("shop closed")


def get_store(connection: HTTPConnection) -> Store:
    store: Store = connection.state.store
    return store


AStore = Annotated[Store, Depends(get_store)]


class Transaction:
    """Stands for a database session."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.number = len(store.events)


async def transaction(store: AStore) -> AsyncIterator[Transaction]:
    store.events.append("begin")
    try:
        yield Transaction(store)
    except Exception as error:
        store.events.append(f"rollback after {type(error).__name__}")
        raise
    else:
        store.events.append("commit")


def audit(store: AStore, request: Request) -> Iterator[str]:
    """Runs in a worker thread, since the dependency isn't async."""
    store.events.append("audit begins")
    try:
        yield request.url.path
    finally:
        store.events.append("audit ends")


ATransaction = Annotated[Transaction, Depends(transaction)]
bearer = OAuth2PasswordBearer("/token", scopes={"orders:read": "See orders.", "orders:write": "Place orders."})
api_key = APIKeyHeader(name="X-Key")


async def customer(scopes: SecurityScopes, token: Annotated[str, Depends(bearer)]) -> str:
    name = token.removeprefix("token-")
    if name not in SCOPES:
        raise HTTPException(401, "Who are you?", {"WWW-Authenticate": "Bearer"})
    if not SCOPES[name].issuperset(scopes.scopes):
        raise HTTPException(403, "You may not.")
    return name


async def staff(key: Annotated[str, Depends(api_key)]) -> None:
    if key != "staff":
        raise HTTPException(403)


async def listener(websocket: WebSocket, token: Annotated[str, Query()]) -> str:
    if token.removeprefix("token-") not in SCOPES:
        raise WebSocketException(4401, "Who are you?")
    return token.removeprefix("token-")


class Page:
    def __init__(
        self,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        offset: Annotated[int, Query(ge=0, le=10_000)] = 0,
    ) -> None:
        self.part = slice(offset, offset + limit)
