"""The application that a test runs: made of parts, of a host, or anew of one that is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.types import ASGIApp

from bandmaster.kernel.contributions.bands import LifespanBand
from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.layer_classes import LayerClass
from bandmaster.kernel.contributions.model import Contribution, LifespanContribution
from bandmaster.kernel.hosting.application import Application, create_app
from bandmaster.kernel.lifecycle.composition import check_contributions
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.settings.kernel import KernelSettings

ROLE = "web"
HOST = "host"
"""The component of the host's own lifespan; those of apps mounted in it have names that begin with it."""


def compose(
    app: Application | ASGIApp | None = None,
    *,
    contributions: Iterable[Contribution | LayerClass] = (),
    discover: bool = False,
    disable: Iterable[str] = (),
    overrides: Mapping[Any, Any] | None = None,
    settings: KernelSettings | None = None,
    role: str | None = ROLE,
) -> Application:
    """What `run` runs. An application that is there is taken as it is, unless something is to be other than it is.

    Raises:
        DiscoveryError, PlanError, ValueError: as `create_app` does.
        ValueError: an application that is there is to discover anything.
    """
    given, disable = check_contributions(contributions), frozenset((disable,) if isinstance(disable, str) else disable)
    if not isinstance(app, Application):
        return create_app(
            app,
            contributions=given,
            discover=discover,
            disable=disable,
            overrides=overrides,
            settings=settings,
            role=role,
        )
    if discover:
        raise ValueError("discover: the application is composed already; make another one with create_app()")
    if not (given or disable or overrides or settings) and role in (ROLE, app.kernel.role):
        return app
    return _again(app, given, disable, overrides or {}, settings, app.kernel.role if role == ROLE else role)


def _again(
    app: Application,
    contributions: tuple[Contribution, ...],
    disable: frozenset[str],
    overrides: Mapping[Any, Any],
    settings: KernelSettings | None,
    role: str | None,
) -> Application:
    """An application of the same parts around the same host, planned anew. The one that is there stays as it is."""
    plan, settings = app.plan, settings or app.settings
    # The host's lifespans are found anew: their factories belong to one application. A host that was made for the
    # parts alone had no component, and gets none.
    without = () if HOST in plan.by_name else (f"lifespan:{HOST}", HOST)
    given = {key: value for key, value in plan.overrides.items() if key.type is not KernelSettings}
    return create_app(
        app.host,
        contributions=[*_parts(plan), *contributions],
        discover=False,
        disable=[*disable, *without],
        overrides={**given, **{Key.of(key): value for key, value in overrides.items()}},
        settings=settings,
        role=role,
    )


def _parts(plan: Plan) -> list[Contribution]:
    parts: list[Contribution] = [
        component.contribution
        for component in plan.components
        if component.name != HOST and not component.name.startswith(f"{HOST}.")
    ]
    # What an override replaces isn't in the plan any more, but others may name it.
    parts += [
        LifespanContribution(name=name, factory=_replaced, band=LifespanBand.APPLICATION, provides=(key,))
        for name, key in plan.replaced.items()
    ]
    parts += [*plan.other_roles, *plan.unserved]
    parts += [layer.contribution for layer in plan.layers]
    return [*parts, *plan.routes, *plan.error_handlers]


def _replaced() -> AbstractAsyncContextManager[None]:
    raise NotImplementedError("an override provides what this would")
