"""Compose an application: a kernel of parts around a host."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import ASGIApp

from bandmaster.kernel.contributions.layer_classes import LayerClass
from bandmaster.kernel.contributions.model import Contribution
from bandmaster.kernel.events import Listener
from bandmaster.kernel.hosting.application import Application
from bandmaster.kernel.hosting.host_argument import check_host
from bandmaster.kernel.hosting.lifespans import Lifespans
from bandmaster.kernel.lifecycle.composition import check_contributions, check_overrides, choose_settings
from bandmaster.kernel.lifecycle.kernel import Kernel
from bandmaster.kernel.settings.environment import Environment
from bandmaster.kernel.settings.kernel import KernelSettings


def create_app(
    host: ASGIApp | None = None,
    *,
    settings: KernelSettings | None = None,
    env_file: str | os.PathLike[str] | None = None,
    contributions: Iterable[Contribution | LayerClass] = (),
    discover: bool = True,
    disable: Iterable[str] = (),
    overrides: Mapping[Any, Any] | None = None,
    role: str | None = "web",
    listeners: Iterable[Listener] = (),
) -> Application:
    """Compose an application of all installed and all given parts. The plan is made now, and started by the server.

    ``host`` is any ASGI app; none means a new Starlette app. Contributed routes and error handlers go into the host.
    The lifespans of the host, and of apps mounted there, run as the last components. The other arguments are those of
    `Kernel`.

    Raises:
        DiscoveryError: installed parts can't be found, trusted or loaded.
        PlanError: parts don't fit together, or settings are missing or wrong.
        ValueError: an argument is of the wrong kind.
    """
    check_host(host)
    overrides = check_overrides(overrides)
    settings = choose_settings(settings, overrides, Environment.choose(env_file))
    app = _make_host(settings) if host is None else host
    # The Starlette app that is made here has no lifespan, though apps may be mounted there by contributed routes.
    lifespans = Lifespans(app, mounted=settings.mounted_lifespans, starts_host=host is not None)
    kernel = Kernel(
        contributions=[*check_contributions(contributions), *lifespans.contributions],
        discover=discover,
        disable=disable,
        overrides=overrides,
        role=role,
        settings=settings,
        env_file=env_file,
        serves=True,
        listeners=listeners,
    )
    return Application(kernel, app, lifespans)


def _make_host(settings: KernelSettings) -> ASGIApp:
    from starlette.applications import Starlette

    return Starlette(debug=settings.debug)
