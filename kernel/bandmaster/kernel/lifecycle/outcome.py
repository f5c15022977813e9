"""Choose the exception that a run raises, from the failures that were recorded. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import anyio

from bandmaster.kernel.errors import CrashError, StartCancelled, StartError, StopError
from bandmaster.kernel.planning.plan import Component
from bandmaster.kernel.text import list_names


class Failure(NamedTuple):
    """One failure of a component."""

    component: Component
    phase: str
    """``start``, ``serving`` or ``stop``."""
    error: BaseException | None
    """None for a component that ended by itself, and for a crash until the component has been exited."""
    tries: int = 1
    """How often the component's start was tried."""


class Ending(NamedTuple):
    """The end of a run."""

    failures: tuple[Failure, ...]
    """In the order in which they happened: the first is the cause of the others."""
    interruption: BaseException | None
    """The exception that left the body, or that interrupted the stop."""
    was_ready: bool
    stop_reason: str | None


def choose_exception(ending: Ending) -> BaseException | None:
    """Return the exception to raise: the first failure with all others beside it, or the body's own, or None."""
    interruption = ending.interruption
    if not ending.failures:
        if interruption is None and not ending.was_ready:
            return StartCancelled(f"asked to stop before everything had started: {ending.stop_reason}")
        return interruption
    if isinstance(interruption, anyio.get_cancelled_exc_class()):
        # The engine has cancelled the body for the failure, or the caller was cancelled: either hides no error.
        interruption = None
    first, *rest = ending.failures
    errors = list_distinct([failure.error for failure in rest], first.error)
    if first.phase == "stop":
        return _make_stop_error(ending.failures, list_distinct([interruption, first.error, *errors]))
    errors = list_distinct([*errors, interruption], first.error)
    outcome = _make_start_error(first, errors) if first.phase == "start" else _make_crash_error(first, errors)
    fatal = [error for error in (first.error, *errors) if error is not None and not isinstance(error, Exception)]
    if not fatal:
        return outcome
    # SystemExit and KeyboardInterrupt mean the process, so they must not become an ordinary error.
    if first.error is fatal[0]:
        return fatal[0] if not errors else BaseExceptionGroup(str(outcome), [fatal[0], *errors])
    return BaseExceptionGroup(str(outcome), [outcome, *fatal])


def _make_stop_error(failures: Iterable[Failure], errors: list[BaseException]) -> BaseException:
    names = list_names(dict.fromkeys(failure.component.name for failure in failures))
    message = f"{names} failed to stop"
    ordinary = [error for error in errors if isinstance(error, Exception)]
    if len(ordinary) == len(errors):
        return StopError(message, ordinary)
    return errors[0] if len(errors) == 1 else BaseExceptionGroup(message, errors)


def _make_start_error(first: Failure, errors: list[BaseException]) -> StartError:
    assert first.error is not None
    tried = f" after {first.tries} tries" if first.tries > 1 else ""
    message = f"{describe_component(first.component)} failed to start{tried}: {render_error(first.error)}"
    if errors:
        message += f" (and {len(errors)} more while rolling back)"
    outcome = StartError(message, component=first.component.name, rollback_errors=errors, tries=first.tries)
    outcome.__cause__ = first.error
    return outcome


def _make_crash_error(first: Failure, errors: list[BaseException]) -> CrashError:
    cause = "it ended by itself" if first.error is None else render_error(first.error)
    message = f"{describe_component(first.component)} died while serving: {cause}"
    if errors:
        message += f" (and {len(errors)} more while stopping)"
    outcome = CrashError(message, component=first.component.name, stop_errors=errors)
    outcome.__cause__ = first.error
    return outcome


def join_interruptions(first: BaseException | None, second: BaseException | None) -> BaseException | None:
    """Join the exceptions that interrupted a run one after the other; a cancellation never hides an error."""
    cancelled = anyio.get_cancelled_exc_class()
    if second is None or (first is not None and isinstance(second, cancelled)):
        return first
    if first is None or isinstance(first, cancelled):
        return second
    return BaseExceptionGroup("interrupted while stopping", [first, second])


def describe_component(component: Component) -> str:
    """Return a component's name with the distribution that it comes from, for messages."""
    return f"{component.name!r} ({component.contribution.provenance})"


def list_distinct(errors: Iterable[BaseException | None], *excluded: BaseException | None) -> list[BaseException]:
    """List each error once, by identity, without None and without the excluded ones.

    Two components report the same instance when both waited for the same failed task.
    """
    found: list[BaseException] = []
    for error in errors:
        if error is not None and not any(error is other for other in (*found, *excluded)):
            found.append(error)
    return found


def render_error(error: BaseException) -> str:
    """Return the type and the text of an error."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # a broken __str__ must not hide the failure
        text = "(its message can't be rendered)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
