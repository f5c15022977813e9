"""Types of contributions and of what makes them. Checked by mypy and pyright, and never run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, Self, assert_type

from starlette.types import ASGIApp, Receive, Scope, Send

from bandmaster.kernel import (
    Context,
    KernelSettings,
    LifespanBand,
    LifespanContribution,
    MiddlewareBand,
    MiddlewareContribution,
<<<<<<< HEAD:tests/typing/contributions.py
=======
    Plan,
    PlanError,
    Problem,
    Resources,
    Scoped,
    ServerSettings,
    StartError,
>>>>>>> k-process:tests/typing/public.py
    ValueContribution,
    lifespan,
    middleware,
    named_settings,
    serve,
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


<<<<<<< HEAD:tests/typing/contributions.py
=======
# -- resources -------------------------------------------------------------------------------------------------------


def resources_by_type(resources: Resources) -> None:
    assert_type(resources[DatabaseManager], DatabaseManager)
    assert_type(resources[DatabaseManager, "replica"], DatabaseManager)
    assert_type(resources.get(DatabaseManager), DatabaseManager | None)
    assert_type(resources.get(DatabaseManager, 5), DatabaseManager | int)
    assert_type(resources.get((DatabaseManager, "replica")), DatabaseManager | None)
    assert_type(resources.get((DatabaseManager, "replica"), "else"), DatabaseManager | str)
    assert_type(DatabaseManager in resources, bool)
    assert_type(resources[Scoped[DatabaseManager]], Scoped[DatabaseManager])
    assert_type(Scoped(DatabaseManager).open(), AbstractAsyncContextManager[DatabaseManager])
    assert_type(resources[Scoped[DatabaseManager], "replica"], Scoped[DatabaseManager])
    assert_type(resources[list[int]], list[int])
    assert_type(resources[Repository], Repository)
    assert_type(resources[Repository, "cached"], Repository)
    assert_type(resources[Store, "cached"], Store)
    assert_type(resources.get(Repository), Repository | None)
    assert_type(resources.get((Store, "cached"), 5), Store | int)
    resources["database"]  # type: ignore[call-overload]
    resources[5]  # type: ignore[call-overload]


# -- running ---------------------------------------------------------------------------------------------------------


async def running(app: ASGIApp) -> None:
    kernel = Kernel(
        contributions=[no_parameters, layer, Hooks, second, region],
        discover=False,
        overrides={DatabaseManager: object()},
    )
    assert_type(kernel.plan, Plan)
    async with kernel.running() as resources:
        assert_type(resources, Resources)
    application = create_app(create_app(app), contributions=[managed], disable={"audit"}, role="web")
    assert_type(application, Application)
    assert_type(application.plan, Plan)
    assert_type(application.kernel, Kernel)
    assert_type(serve(application), int)
    serve(kernel, settings=ServerSettings(), host="::", port=0, uds="app.sock", server="granian")
    serve(lambda: application)
    serve(application, server="gunicorn")  # type: ignore[arg-type]
    assert_type([component.name for component in kernel.plan], list[str])
    assert_type(str(kernel.plan.explain("a")), str)
    Kernel(contributions=[DatabaseManager])  # type: ignore[list-item]
    Kernel(settings={})  # type: ignore[arg-type]


def errors(plan_error: PlanError, start_error: StartError) -> None:
    assert_type(plan_error.problems, tuple[Problem, ...])
    assert_type(start_error.component, str)
    assert_type(start_error.rollback_errors, tuple[BaseException, ...])


>>>>>>> k-process:tests/typing/public.py
def fields(contribution: LifespanContribution, layer: MiddlewareContribution, more: dict[str, Any]) -> None:
    assert_type(contribution.band, LifespanBand)
    assert_type(contribution.priority, int)
    assert_type(contribution.start_timeout, float | None)
    assert_type(layer.band, MiddlewareBand)
    contribution.name = "other"  # type: ignore[misc]
    LifespanContribution(name="a", factory=5, **more)  # type: ignore[arg-type]
