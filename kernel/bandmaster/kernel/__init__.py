"""The kernel: finds installed parts, plans, starts, serves, drains and stops them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandmaster.kernel.contributions.bands import LifespanBand, MiddlewareBand
    from bandmaster.kernel.contributions.decorators import lifespan, middleware, value
    from bandmaster.kernel.contributions.keys import Named
    from bandmaster.kernel.contributions.model import (
        ErrorHandlerContribution,
        LifespanContribution,
        MiddlewareContribution,
        Provenance,
        RouteContribution,
        ValueContribution,
    )
    from bandmaster.kernel.errors import (
        BandmasterError,
        BodyTooLarge,
        BudgetExceededError,
        CrashError,
        DeadlineExceeded,
        DiscoveryError,
        PermanentError,
        PlanError,
        Problem,
        StartCancelled,
        StartError,
        StopError,
        TargetError,
        TransientError,
    )
    from bandmaster.kernel.events import Event
    from bandmaster.kernel.hosting.application import Application, create_app
    from bandmaster.kernel.hosting.in_flight import Drain
    from bandmaster.kernel.hosting.targets import load_application
    from bandmaster.kernel.lifecycle.context import Context
    from bandmaster.kernel.lifecycle.engine import Phase
    from bandmaster.kernel.lifecycle.kernel import Kernel
    from bandmaster.kernel.lifecycle.resources import Resources, Scoped
    from bandmaster.kernel.lifecycle.restart import Restart
    from bandmaster.kernel.planning.describing import descriptions
    from bandmaster.kernel.planning.plan import Plan
    from bandmaster.kernel.process.background import run_process
    from bandmaster.kernel.process.exit import end_process
    from bandmaster.kernel.process.launcher import serve
    from bandmaster.kernel.process.servers.settings import ServerSettings
    from bandmaster.kernel.settings.kernel import KernelSettings
    from bandmaster.kernel.settings.reading import named_settings
    from bandmaster.kernel.stack.exchange import Exchange, HeaderBlock, current_exchange

# Where each public name lives. Names are imported when they are first used (PEP 562): describing a part needs neither
# the event loop nor starlette nor pydantic.
_HOMES = {
    "Application": "hosting.application",
    "BandmasterError": "errors",
    "BodyTooLarge": "errors",
    "BudgetExceededError": "errors",
    "Context": "lifecycle.context",
    "CrashError": "errors",
    "DeadlineExceeded": "errors",
    "DiscoveryError": "errors",
    "Drain": "hosting.in_flight",
    "ErrorHandlerContribution": "contributions.model",
    "Event": "events",
    "Exchange": "stack.exchange",
    "HeaderBlock": "stack.exchange",
    "Kernel": "lifecycle.kernel",
    "KernelSettings": "settings.kernel",
    "LifespanBand": "contributions.bands",
    "LifespanContribution": "contributions.model",
    "MiddlewareBand": "contributions.bands",
    "MiddlewareContribution": "contributions.model",
    "Named": "contributions.keys",
    "PermanentError": "errors",
    "Phase": "lifecycle.engine",
    "Plan": "planning.plan",
    "PlanError": "errors",
    "Problem": "errors",
    "Provenance": "contributions.model",
    "Resources": "lifecycle.resources",
    "Restart": "lifecycle.restart",
    "RouteContribution": "contributions.model",
    "Scoped": "lifecycle.resources",
    "ServerSettings": "process.servers.settings",
    "StartCancelled": "errors",
    "StartError": "errors",
    "StopError": "errors",
    "TargetError": "errors",
    "TransientError": "errors",
    "ValueContribution": "contributions.model",
    "create_app": "hosting.application",
    "current_exchange": "stack.exchange",
    "descriptions": "planning.describing",
    "end_process": "process.exit",
    "lifespan": "contributions.decorators",
    "load_application": "hosting.targets",
    "middleware": "contributions.decorators",
    "named_settings": "settings.reading",
    "run_process": "process.background",
    "serve": "process.launcher",
    "value": "contributions.decorators",
}

__all__ = [
    "Application",
    "BandmasterError",
    "BodyTooLarge",
    "BudgetExceededError",
    "Context",
    "CrashError",
    "DeadlineExceeded",
    "DiscoveryError",
    "Drain",
    "ErrorHandlerContribution",
    "Event",
    "Exchange",
    "HeaderBlock",
    "Kernel",
    "KernelSettings",
    "LifespanBand",
    "LifespanContribution",
    "MiddlewareBand",
    "MiddlewareContribution",
    "Named",
    "PermanentError",
    "Phase",
    "Plan",
    "PlanError",
    "Problem",
    "Provenance",
    "Resources",
    "Restart",
    "RouteContribution",
    "Scoped",
    "ServerSettings",
    "StartCancelled",
    "StartError",
    "StopError",
    "TargetError",
    "TransientError",
    "ValueContribution",
    "create_app",
    "current_exchange",
    "descriptions",
    "end_process",
    "lifespan",
    "load_application",
    "middleware",
    "named_settings",
    "run_process",
    "serve",
    "value",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
