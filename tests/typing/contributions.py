"""Types of contributions and of the functions that make them. Checked by mypy and pyright, and never run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any, Protocol, Self, assert_type

from starlette.types import ASGIApp, Receive, Scope, Send

from bandmaster.kernel import (
    Context,
    KernelSettings,
    LifespanBand,
    LifespanContribution,
    MiddlewareBand,
    MiddlewareContribution,
    Named,
    ValueContribution,
    lifespan,
    middleware,
    named_settings,
    value,
)


class DatabaseManager:
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...


class Repository(ABC):
    @abstractmethod
    def find(self) -> int: ...


class Store(Protocol):
    def find(self) -> int: ...


@lifespan(band=LifespanBand.PERSISTENCE, start_timeout=10)
async def no_parameters() -> AsyncIterator[DatabaseManager]:
    yield DatabaseManager()


@lifespan(priority=150, budget={"postgres": 15})
async def settings_and_context(settings: KernelSettings, context: Context) -> AsyncGenerator[DatabaseManager, None]:
    yield DatabaseManager()


@lifespan(
    band=LifespanBand.SERVICES, requires=["a"], roles={"web"}, budget=lambda settings: {"postgres": settings.size}
)
async def keywords_and_defaults(*, database: DatabaseManager | None, size: int = 5) -> AsyncIterator[None]:
    yield


@lifespan(band=LifespanBand.SERVICES)
@asynccontextmanager
async def managed() -> AsyncIterator[DatabaseManager]:
    yield DatabaseManager()


@lifespan(band=LifespanBand.SERVICES, provides=DatabaseManager)
def returns_a_manager() -> AbstractAsyncContextManager[DatabaseManager]:
    return DatabaseManager()


def is_production(settings: KernelSettings) -> bool:
    return settings.is_production


@lifespan(band=LifespanBand.SERVICES, decorates=Repository, when=is_production)
async def decorates(
    inner: Repository, stores: Sequence[Store], by_name: Mapping[str, Store]
) -> AsyncIterator[Repository]:
    yield inner


@lifespan(band=LifespanBand.SERVICES, decorates=Annotated[DatabaseManager, Named("replica")], when=lambda: True)
async def decorates_by_name(inner: DatabaseManager) -> AsyncIterator[DatabaseManager]:
    yield inner


lifespan(band=LifespanBand.SERVICES, when=True)  # type: ignore[arg-type]
assert_type(value(DatabaseManager(), name="database", when=is_production), ValueContribution)
assert_type(decorates, LifespanContribution)
assert_type(decorates_by_name, LifespanContribution)
assert_type(no_parameters, LifespanContribution)
assert_type(settings_and_context, LifespanContribution)
assert_type(keywords_and_defaults, LifespanContribution)
assert_type(managed, LifespanContribution)
assert_type(returns_a_manager, LifespanContribution)
assert_type(lifespan(band=LifespanBand.SERVICES)(DatabaseManager), LifespanContribution)


@lifespan(band=LifespanBand.SERVICES)  # type: ignore[arg-type]
async def no_yield() -> DatabaseManager:
    return DatabaseManager()


@lifespan(band=LifespanBand.SERVICES)  # type: ignore[arg-type]
def not_async() -> Iterator[DatabaseManager]:
    yield DatabaseManager()


lifespan(band=MiddlewareBand.POLICY)  # type: ignore[arg-type]
lifespan(band=LifespanBand.SERVICES, on_crash="ignore")  # type: ignore[arg-type]
lifespan(band=LifespanBand.SERVICES, on_start_failure="ignore")  # type: ignore[arg-type]
lifespan(band=LifespanBand.SERVICES, start_timeout="5")  # type: ignore[arg-type]
lifespan(band=LifespanBand.SERVICES, budget={"postgres": "many"})  # type: ignore[dict-item]
lifespan(no_parameters)  # type: ignore[arg-type]
lifespan(band=LifespanBand.SERVICES)(5)  # type: ignore[arg-type]


class Asgi:
    def __init__(self, app: ASGIApp, database: DatabaseManager) -> None: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


@middleware(band=MiddlewareBand.CONTEXT, options={"size": 5})
class Hooks:
    def on_request(self, exchange: object) -> None: ...


# As a decorator it is understood by pyright; mypy takes any decorated class for the class itself.
layer = middleware(band=MiddlewareBand.CONTEXT, scopes={"http"})(Asgi)
assert_type(layer, MiddlewareContribution)
middleware(band=LifespanBand.SERVICES)  # type: ignore[arg-type]
middleware(band=MiddlewareBand.CONTEXT, scopes={"lifespan"})  # type: ignore[arg-type]


@middleware(band=MiddlewareBand.CONTEXT)  # type: ignore[arg-type]
def no_class() -> None: ...


second = settings_and_context.named(
    "second", settings=named_settings(KernelSettings, "second", about="the second"), description="Another."
)
assert_type(second, LifespanContribution)
settings_and_context.named("second", settings=DatabaseManager)  # type: ignore[arg-type]
region = value(DatabaseManager(), name="region", provides=[DatabaseManager, (Store, "region")], roles={"web"})
assert_type(region, ValueContribution)
value(DatabaseManager())  # type: ignore[call-arg]


def fields(contribution: LifespanContribution, layer: MiddlewareContribution, more: dict[str, Any]) -> None:
    assert_type(contribution.band, LifespanBand)
    assert_type(contribution.priority, int)
    assert_type(contribution.start_timeout, float | None)
    assert_type(layer.band, MiddlewareBand)
    contribution.name = "other"  # type: ignore[misc]
    LifespanContribution(name="a", factory=5, **more)  # type: ignore[arg-type]
