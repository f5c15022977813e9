"""Report a failure: as text for people, and as the exit code of the process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bandmaster.kernel.errors import (
    BindError,
    CrashError,
    DiscoveryError,
    PlanError,
    ServerNotInstalledError,
    StartCancelled,
    StartError,
    StopError,
)
from bandmaster.kernel.text import masked
from bandmaster.kernel.tracebacks import render_traceback

OK = 0
FAILED = 70
"""EX_SOFTWARE of sysexits.h: the start, the run or the stop failed."""
MISCONFIGURED = 78
"""EX_CONFIG: nothing was started, because settings, parts or the address are wrong."""


def exit_code(error: BaseException | None) -> int:
    """The exit code for a failure: 78 for settings, parts and addresses, 70 for any other, 0 without an error."""
    if error is None:
        return OK
    if isinstance(error, DiscoveryError | PlanError | BindError | ServerNotInstalledError):
        return MISCONFIGURED
    return FAILED


def report(error: BaseException, *, debug: bool = False) -> str:
    """A failure for the person on call: the component, its distribution, the cause, and the cause's traceback.

    Frames of the event loop and of this kernel are left out, unless ``debug``: they are the same in every failure.
    """
    return masked(_render(error, debug))


def _render(error: BaseException, debug: bool) -> str:
    if isinstance(error, StartError):
        return _render_with_cause("The start failed", error, "While rolling back", error.rollback_errors, debug)
    if isinstance(error, CrashError):
        return _render_with_cause("The run failed", error, "While stopping", error.stop_errors, debug)
    if isinstance(error, StopError):
        first, *rest = error.exceptions
        head = f"The stop failed: {error.message}\n\n{render_traceback(first, debug=debug)}"
        return head + "".join(f"\n\nAnd then:\n{render_traceback(other, debug=debug)}" for other in rest)
    if isinstance(error, DiscoveryError | PlanError | BindError | ServerNotInstalledError | StartCancelled):
        return str(error)
    if isinstance(error, BaseExceptionGroup):
        return f"{error.message}\n\n" + "\n\n".join(render_traceback(each, debug=debug) for each in _flatten(error))
    return render_traceback(error, debug=debug)


def one_line(error: BaseException) -> str:
    """The cause of a failure on one line, for servers' logs."""
    return masked(str(error).partition("\n")[0]) or type(error).__name__


def _render_with_cause(
    title: str, error: BaseException, then: str, others: Iterable[BaseException], debug: bool
) -> str:
    parts = [f"{title}: {error}"]
    if error.__cause__ is not None:
        parts.append(render_traceback(error.__cause__, debug=debug))
    parts += [f"{then}:\n{render_traceback(other, debug=debug)}" for other in others]
    return "\n\n".join(parts)


def _flatten(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, StopError):
        for inner in error.exceptions:
            yield from _flatten(inner)
    else:
        yield error
