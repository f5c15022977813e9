"""Types of kernels, applications and errors. Checked by mypy and pyright, and never run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_type

from starlette.types import ASGIApp

import bandmaster.kernel
from bandmaster.kernel import (
    Application,
    Kernel,
    LifespanBand,
    MiddlewareBand,
    Plan,
    PlanError,
    Problem,
    Resources,
    ServerSettings,
    StartError,
    create_app,
    lifespan,
    middleware,
    serve,
    value,
)


class Database: ...


@lifespan(band=LifespanBand.PERSISTENCE)
async def database() -> AsyncIterator[Database]:
    yield Database()


@middleware(band=MiddlewareBand.CONTEXT)
class Hooks:
    def on_request(self, exchange: object) -> None: ...


async def running(app: ASGIApp) -> None:
    kernel = Kernel(
        contributions=[database, Hooks, value(Database(), name="spare")],
        discover=False,
        overrides={Database: object()},
    )
    assert_type(kernel.plan, Plan)
    async with kernel.running() as resources:
        assert_type(resources, Resources)
    application = create_app(create_app(app), contributions=[Hooks], disable={"audit"}, role="web")
    assert_type(application, Application)
    assert_type(application.plan, Plan)
    assert_type(application.kernel, Kernel)
    assert_type([component.name for component in kernel.plan], list[str])
    assert_type(str(kernel.plan.explain("a")), str)
    assert_type(serve(application), int)
    serve(kernel, settings=ServerSettings(), host="::", port=0, uds="app.sock", server="granian")
    serve(lambda: application)
    serve(application, server="gunicorn")  # type: ignore[arg-type]
    Kernel(contributions=[Database])  # type: ignore[list-item]
    Kernel(settings={})  # type: ignore[arg-type]


def errors(plan_error: PlanError, start_error: StartError) -> None:
    assert_type(plan_error.problems, tuple[Problem, ...])
    assert_type(start_error.component, str)
    assert_type(start_error.rollback_errors, tuple[BaseException, ...])


def unknown_names() -> None:
    assert_type(bandmaster.kernel.Kernel(), Kernel)
    bandmaster.kernel.nothing  # type: ignore[attr-defined]
