"""Log events."""

from __future__ import annotations

import logging
from typing import Any

from bandmaster.kernel import events
from bandmaster.kernel.events import Event
from bandmaster.kernel.logs import FieldLogger, get_logger
from bandmaster.kernel.planning.plan import Plan
from bandmaster.kernel.reports import describe_cause, explain

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
    events.ComponentStartRetrying,
    events.ComponentDegraded,
    events.ServiceRestarting,
    events.ReadinessLost,
    events.Warned,
)

_RAISED = (events.ComponentStartFailed, events.ComponentStopFailed, events.RollingBack)
"""Events of errors that end the run, which the caller of the run reports."""
_FIELD_NAMES = {"own": "took"}
"""Log fields that are named otherwise than in the event."""
_DETAILS = frozenset(("waited", "cause", "where", "waiting"))
"""Fields that only the search for a fault needs. The report of a missed deadline has the last two."""
_DECIMALS = 3
"""Decimals of durations in seconds, unless every detail is logged."""


class EventLog:
    """Logs the events of a kernel to the logger ``bandmaster.kernel``.

    An error that ends the run is named by the type alone, because the caller of the run reports the error. An error of
    a background service or of a degraded component is a sentence, with a traceback unless the operator or the
    environment has caused the error: nothing else reports such an error. A failed try of a start is one line. Warnings
    and errors have the band and the distribution of the component. At the level ``debug`` every event has both, with
    all errors in full and unrounded durations.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._logger = get_logger("bandmaster.kernel")
        self._crashed: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Log one event."""
        if isinstance(event, events.KernelStarting):
            self._crashed.clear()
        elif isinstance(event, events.ComponentCrashed):
            self._crashed.add(event.component)
        # A component that has crashed raises its error at the exit. That is the crash, not a second failure.
        exits = isinstance(event, events.ComponentStopFailed) and event.component in self._crashed
        level = logging.INFO if exits else _choose_level(event)
        if not self._logger.is_enabled_for(level):
            return
        detailed = self._logger.is_enabled_for(logging.DEBUG)
        fields = _make_fields(event, detailed=detailed)
        component = self._plan.by_name.get(getattr(event, "component", ""))
        if component is not None and (detailed or level > logging.INFO):
            fields["band"] = str(component.contribution.band)
            fields["brought_by"] = str(component.contribution.provenance)
        text = "component stopped after its crash" if exits else _choose_text(event)
        _log(self._logger, level, text, fields, _choose_evidence(event, detailed=detailed))


def _log(logger: FieldLogger, level: int, text: str, fields: dict[str, Any], evidence: str) -> None:
    methods = {
        logging.DEBUG: logger.debug,
        logging.INFO: logger.info,
        logging.WARNING: logger.warning,
        logging.ERROR: logger.error,
    }
    methods[level](text, exception=evidence or None, **fields)


def _make_fields(event: Event, *, detailed: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, field in type(event).__dataclass_fields__.items():
        value = getattr(event, name)
        if name == "at" or value is None or value == field.default or (name in _DETAILS and not detailed):
            continue
        if isinstance(value, BaseException):
            fields["error"] = type(value).__name__ if isinstance(event, _RAISED) and not detailed else _describe(value)
        elif isinstance(value, float):
            fields[_FIELD_NAMES.get(name, name)] = round(value, 6 if detailed else _DECIMALS)
        else:
            fields[_FIELD_NAMES.get(name, name)] = value
    if isinstance(event, events.Warned):
        del fields["message"]  # the text of the line
    return {name: value for name, value in fields.items() if (name, value) not in _EMPTY}


_EMPTY = (("errors", 0), ("left", 0), ("component", "kernel"))
"""Fields that say nothing."""


def _describe(error: BaseException) -> str:
    return describe_cause(error).partition("\n")[0]


def _choose_evidence(event: Event, *, detailed: bool) -> str:
    """The traceback, or the place, of an error that nobody else reports; with every detail, of every error."""
    error = getattr(event, "error", None)
    if error is None or ((_is_raised(event) or isinstance(event, events.ComponentStartRetrying)) and not detailed):
        return ""
    return explain(error, full=detailed)


def _is_raised(event: Event) -> bool:
    return isinstance(event, _RAISED) or (isinstance(event, events.ServiceGaveUp) and event.policy == "stop")


def _choose_level(event: Event) -> int:
    match event:
        case events.ServiceEnded(error=error):
            return logging.DEBUG if error is None else logging.ERROR
        case events.Drained(left=left) if left:
            return logging.WARNING
    if isinstance(event, _ERRORS):
        return logging.ERROR
    if isinstance(event, _WARNINGS):
        return logging.WARNING
    if getattr(event, "error", None) is not None:
        return logging.WARNING
    return logging.DEBUG if isinstance(event, _QUIET) else logging.INFO


def _choose_text(event: Event) -> str:
    """The text of an event's line: ``component start failed``, except where the name of the class would mislead."""
    match event:
        case events.Warned(message=message):
            return message
        case events.ServiceEnded(error=error):
            return "service completed" if error is None else "service failed"
        case events.ServiceGaveUp():
            return "service isn't restarted any more"
        case events.Drained(left=left) if left:
            return "drain timed out"
        case events.ReadinessLost(status="warn"):
            return "probe fails, readiness stays"
        case events.ReadinessRegained():
            return "probe passes again"
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(event).__name__).strip()
