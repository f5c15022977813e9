"""Decide whether a start that has failed is worth another try, and describe starts that are given up. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from bandmaster.kernel.errors import DegradedError, PermanentError
from bandmaster.kernel.lifecycle.outcome import describe_component, render_error
from bandmaster.kernel.lifecycle.restart import Restart, compute_delay
from bandmaster.kernel.planning.plan import Component
from bandmaster.kernel.text import list_names

BACKOFF = Restart(max_delay=2.0)
"""The delays between the tries of a start. They stay short: a server that has come up shall be found soon."""

_IN_VAIN = (
    PermanentError,
    AssertionError,
    AttributeError,
    ImportError,
    NameError,
    NotImplementedError,
    SyntaxError,
    TypeError,
)
"""Errors that the next try would raise as well: permanent ones, and mistakes in the code."""


class DegradedStart(NamedTuple):
    """A component that the application serves without."""

    kind: str
    """The type of the failure, for answers to health checks; the text may hold secrets."""
    reason: str
    """The type and the text of the failure."""


def choose_delay(error: Exception, attempt: int, *, left: float, backoff: Restart) -> float | None:
    """The seconds before the next try of a start; None if trying again is in vain, or ``left`` seconds are too few.

    ``attempt`` is the number of the try that has failed.
    """
    if _is_in_vain(error):
        return None
    delay = compute_delay(backoff, attempt - 1)
    return delay if delay < left else None


def _is_in_vain(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_is_in_vain, error.exceptions))
    return isinstance(error, _IN_VAIN)


def describe_degraded(error: BaseException) -> DegradedStart:
    """Describe the failure of a degraded component, without keeping the exception and the frames of its traceback."""
    return DegradedStart(type(error).__name__, render_error(error))


def make_dependency_error(component: Component, lost: Iterable[str]) -> DegradedError:
    """Make the error of a component that isn't started, because components that it relies on are degraded."""
    first, *others = lost
    names = list_names([first, *others])
    message = f"{describe_component(component)} can't do without {names}, which {'are' if others else 'is'} degraded"
    return DegradedError(message, component=first)
