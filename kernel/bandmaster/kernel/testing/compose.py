"""Compose the application that a test runs, of parts, of a host, or of an existing application."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import ASGIApp

from bandmaster.kernel.contributions.keys import Key
from bandmaster.kernel.contributions.layer_classes import LayerClass
from bandmaster.kernel.contributions.model import Contribution, LifespanContribution, group_of
from bandmaster.kernel.discovery.disabling import list_addresses, parse_names
from bandmaster.kernel.hosting.application import Application
from bandmaster.kernel.hosting.create import create_app
from bandmaster.kernel.lifecycle.composition import check_contributions
from bandmaster.kernel.settings.kernel import KernelSettings

ROLE = "web"
HOST = "host"
"""The component of the host's own lifespan; the components of mounted apps have names that begin with this one."""


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
    """Compose an application. An existing one is returned unchanged, unless an argument asks for a change.

    Raises:
        DiscoveryError, PlanError, ValueError: as `create_app` does.
        ValueError: an existing application is asked to discover parts.
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
    return _compose_again(app, given, disable, overrides or {}, settings, app.kernel.role if role == ROLE else role)


def _compose_again(
    app: Application,
    contributions: tuple[Contribution, ...],
    disable: frozenset[str],
    overrides: Mapping[Any, Any],
    settings: KernelSettings | None,
    role: str | None,
) -> Application:
    """Compose another application of the same parts around the same host. The existing one isn't changed."""
    plan = app.plan
    # The host's lifespans are found again: their factories belong to one application. A host that was made for the
    # parts alone had no component, and gets none.
    own = [part for part in plan.contributions if not (isinstance(part, LifespanContribution) and _is_host(part.name))]
    without = () if HOST in plan.by_name else (f"lifespan:{HOST}", HOST)
    overridden = {key: value for key, value in plan.overrides.items() if key.type is not KernelSettings}
    # The application has left out already the parts that its settings disable, and perhaps replaced some.
    chosen = app.settings.model_copy(update={"disable": frozenset()}) if settings is None else settings
    off = parse_names(disable) | chosen.disable
    addresses = [list_addresses(group_of(part), part.name) for part in own]
    kept = [part for part, names in zip(own, addresses, strict=True) if off.isdisjoint(names)]
    # The other names may mean given parts. A given part of a name that is disabled here takes the place of the own one.
    left = off.difference(*addresses)
    return create_app(
        app.host,
        contributions=[*kept, *contributions],
        discover=False,
        disable=[*left, *without],
        overrides={**overridden, **{Key.of(key): value for key, value in overrides.items()}},
        settings=chosen.model_copy(update={"disable": chosen.disable & left}),
        role=role,
    )


def _is_host(component: str) -> bool:
    return component == HOST or component.startswith(f"{HOST}.")
