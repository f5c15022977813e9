"""Log events."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from bandmaster.kernel import events
from bandmaster.kernel.errors import BandmasterError
from bandmaster.kernel.events import Event
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.text import masked

_QUIET: tuple[type[Event], ...] = (
    events.ComponentStarting,
    events.ComponentStopping,
    events.ServiceStarted,
    events.KernelStarting,
    events.KernelStopping,
)
_ERRORS: tuple[type[Event], ...] = (
    events.ComponentStartFailed,
    events.ComponentStopFailed,
    events.ComponentOverdue,
    events.ComponentAbandoned,
    events.ComponentCrashed,
    events.ServiceGaveUp,
    events.OnlyAbandonedLeft,
)
_WARNINGS: tuple[type[Event], ...] = (
    events.RollingBack,
    events.ComponentStartRetrying,
    events.ComponentDegraded,
    events.ServiceRestarting,
    events.ReadinessLost,
    events.Warned,
)


_FIELD_NAMES = {"own": "took"}
"""Log fields that are named otherwise than in the event."""


class EventLog:
    """Logs the events of a kernel through structlog, each with the band and the distribution of its component.

    The error of a background service is logged with a traceback, since nothing else reports the error of a service
    that is restarted. So is the error of a degraded component, unless its first line says enough: operators cause
    `BandmasterError` and ``OSError``, programmers cause others. An error that ends a run is reported by the caller of
    the run. Tracebacks are plain text without the values of variables.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._logger: Any = None

    def __call__(self, event: Event) -> None:
        """Log one event."""
        if self._logger is None:
            # Importing structlog takes half as long as importing Starlette, and a plan that is only shown needs no log.
            import structlog

            self._logger = structlog.get_logger("bandmaster.kernel")
        log: Callable[..., Any] = getattr(self._logger, _choose_level(event))
        log(_render_name(event), **self._make_fields(event))

    def _make_fields(self, event: Event) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name, field in type(event).__dataclass_fields__.items():
            value = getattr(event, name)
            if name == "at" or value is None or value == field.default:
                continue
            if isinstance(value, BaseException):
                # The first line of a cause is enough: the same error has been logged in full with its own event.
                text = "".join(traceback.format_exception_only(value)[:1]).rstrip()
                fields["error"] = masked(text.partition("\n")[0] if name == "cause" else text)
                if _needs_traceback(event, value):
                    fields["exception"] = masked("".join(traceback.format_exception(value)).rstrip())
            else:
                fields[_FIELD_NAMES.get(name, name)] = _simplify(value)
        component = self._plan.by_name.get(getattr(event, "component", ""))
        if component is not None:
            fields["band"] = str(component.contribution.band)
            fields["brought_by"] = str(component.contribution.provenance)
        return fields


def _needs_traceback(event: Event, error: BaseException) -> bool:
    by_programmer = not isinstance(error, (BandmasterError, OSError))
    return isinstance(event, events.ServiceEvent) or (isinstance(event, events.ComponentDegraded) and by_programmer)


def _simplify(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    return masked(value) if isinstance(value, str) else value


def _choose_level(event: Event) -> str:
    if isinstance(event, _ERRORS):
        return "error"
    if isinstance(event, _WARNINGS):
        return "warning"
    return "debug" if isinstance(event, _QUIET) else "info"


def _render_name(event: Event) -> str:
    """Render ``ComponentStartFailed`` as ``component start failed``."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(event).__name__).strip()
