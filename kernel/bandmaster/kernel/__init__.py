"""The kernel: finds installed parts, plans, starts, serves, drains and stops them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandmaster.kernel.application import Application, create_app
    from bandmaster.kernel.bands import LifespanBand, MiddlewareBand
    from bandmaster.kernel.context import BudgetExceededError, Context
    from bandmaster.kernel.contributions import (
        ErrorHandlerContribution,
        LifespanContribution,
        MiddlewareContribution,
        Named,
        Provenance,
        RouteContribution,
        lifespan,
        middleware,
    )
    from bandmaster.kernel.describing import descriptions
    from bandmaster.kernel.errors import (
        BandmasterError,
        CrashError,
        DeadlineExceeded,
        DiscoveryError,
        PermanentError,
        PlanError,
        Problem,
        StartCancelled,
        StartError,
        StopError,
        TransientError,
    )
    from bandmaster.kernel.events import Event
    from bandmaster.kernel.exchange import BodyTooLarge, Exchange, HeaderBlock, current_exchange
    from bandmaster.kernel.gate import Drain
    from bandmaster.kernel.kernel import Kernel
    from bandmaster.kernel.lifecycle import Phase
    from bandmaster.kernel.plan import Plan
    from bandmaster.kernel.process import end_process, run_process
    from bandmaster.kernel.resources import Resources, Scoped
    from bandmaster.kernel.settings import KernelSettings, named_settings
    from bandmaster.kernel.supervision import Restart
    from bandmaster.kernel.target import TargetError, load_application

# Where each public name lives. Names are imported when they are first used (PEP 562): describing a part needs neither
# the event loop nor starlette nor pydantic.
_HOMES = {
    "Application": "application",
    "BandmasterError": "errors",
    "BodyTooLarge": "exchange",
    "BudgetExceededError": "context",
    "Context": "context",
    "CrashError": "errors",
    "DeadlineExceeded": "errors",
    "DiscoveryError": "errors",
    "Drain": "gate",
    "ErrorHandlerContribution": "contributions",
    "Event": "events",
    "Exchange": "exchange",
    "HeaderBlock": "exchange",
    "Kernel": "kernel",
    "KernelSettings": "settings",
    "LifespanBand": "bands",
    "LifespanContribution": "contributions",
    "MiddlewareBand": "bands",
    "MiddlewareContribution": "contributions",
    "Named": "contributions",
    "PermanentError": "errors",
    "Phase": "lifecycle",
    "Plan": "plan",
    "PlanError": "errors",
    "Problem": "errors",
    "Provenance": "contributions",
    "Resources": "resources",
    "Restart": "supervision",
    "RouteContribution": "contributions",
    "Scoped": "resources",
    "StartCancelled": "errors",
    "StartError": "errors",
    "StopError": "errors",
    "TargetError": "target",
    "TransientError": "errors",
    "create_app": "application",
    "current_exchange": "exchange",
    "descriptions": "describing",
    "end_process": "process",
    "lifespan": "contributions",
    "load_application": "target",
    "middleware": "contributions",
    "named_settings": "settings",
    "run_process": "process",
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
    "StartCancelled",
    "StartError",
    "StopError",
    "TargetError",
    "TransientError",
    "create_app",
    "current_exchange",
    "descriptions",
    "end_process",
    "lifespan",
    "load_application",
    "middleware",
    "named_settings",
    "run_process",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
