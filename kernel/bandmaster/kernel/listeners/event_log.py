"""Events as log lines."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from bandmaster.kernel import events
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
    events.ServiceRestarting,
    events.ReadinessLost,
    events.Warned,
)


class Journal:
    """Logs what happens in a kernel through structlog, with who brought the component that it happened to.

    What a service has died of comes with its traceback, which is told nowhere else where the service is started again;
    what ends a run is reported by whoever runs it. Tracebacks are plain text without the values of variables, and
    secrets in text are masked.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._logger: Any = None

    def __call__(self, event: Event) -> None:
        """Log one event."""
        if self._logger is None:
            import structlog  # costs as much as half of starlette; a plan that is only looked at needs none of it

            self._logger = structlog.get_logger("bandmaster.kernel")
        log: Callable[..., Any] = getattr(self._logger, _level(event))
        log(_words(event), **self._fields(event))

    def _fields(self, event: Event) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name in type(event).__dataclass_fields__:
            value = getattr(event, name)
            if name == "at" or value is None or value == ():
                continue
            if isinstance(value, BaseException):
                said = "".join(traceback.format_exception_only(value)[:1]).rstrip()
                # A cause has been logged in full a moment ago.
                fields["error"] = masked(said.partition("\n")[0] if name == "cause" else said)
                if isinstance(event, events.ServiceEvent):
                    fields["exception"] = masked("".join(traceback.format_exception(value)).rstrip())
            else:
                fields[_CALLED.get(name, name)] = _plain(value)
        component = self._plan.by_name.get(getattr(event, "component", ""))
        if component is not None:
            fields["band"] = str(component.contribution.band)
            fields["brought_by"] = str(component.contribution.provenance)
        return fields


_CALLED = {"own": "took"}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    return masked(value) if isinstance(value, str) else value


def _level(event: Event) -> str:
    if isinstance(event, _ERRORS):
        return "error"
    if isinstance(event, _WARNINGS):
        return "warning"
    return "debug" if isinstance(event, _QUIET) else "info"


def _words(event: Event) -> str:
    """``ComponentStartFailed`` as ``component start failed``."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(event).__name__).strip()
