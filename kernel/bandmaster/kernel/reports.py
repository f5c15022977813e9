"""How a failure is told: a report for people, an exit code for whoever started the process."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

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

OK = 0
FAILED = 70
"""EX_SOFTWARE of sysexits.h: the start, the run or the stop failed."""
MISCONFIGURED = 78
"""EX_CONFIG: nothing was started, because settings, parts or the address are wrong."""

_MACHINERY = ("anyio", "asyncio", "concurrent", "contextlib", "trio", "outcome")


def exit_code(error: BaseException | None) -> int:
    """What a process ends with that failed like this: 70, 78 for settings, parts and addresses, 0 without an error."""
    if error is None:
        return OK
    if isinstance(error, DiscoveryError | PlanError | BindError | ServerNotInstalledError):
        return MISCONFIGURED
    return FAILED


def report(error: BaseException, *, debug: bool = False) -> str:
    """A failure for the person on call: what, in which component, from which distribution, then the cause's traceback.

    Frames of the event loop and of this kernel are left out, unless ``debug``: they are the same in every failure.
    """
    return masked(_render(error, debug))


def _render(error: BaseException, debug: bool) -> str:
    if isinstance(error, StartError):
        return _told("The start failed", error, "While rolling back", error.rollback_errors, debug)
    if isinstance(error, CrashError):
        return _told("The run failed", error, "While stopping", error.stop_errors, debug)
    if isinstance(error, StopError):
        first, *rest = error.exceptions
        head = f"The stop failed: {error.message}\n\n{trace(first, debug=debug)}"
        return head + "".join(f"\n\nAnd then:\n{trace(other, debug=debug)}" for other in rest)
    if isinstance(error, DiscoveryError | PlanError | BindError | ServerNotInstalledError | StartCancelled):
        return str(error)
    if isinstance(error, BaseExceptionGroup):
        return f"{error.message}\n\n" + "\n\n".join(trace(each, debug=debug) for each in _leaves(error))
    return trace(error, debug=debug)


def one_line(error: BaseException) -> str:
    """The cause of a failure on one line, for servers' logs."""
    return masked(str(error).partition("\n")[0]) or type(error).__name__


def _told(title: str, error: BaseException, then: str, others: Iterable[BaseException], debug: bool) -> str:
    parts = [f"{title}: {error}"]
    if error.__cause__ is not None:
        parts.append(trace(error.__cause__, debug=debug))
    parts += [f"{then}:\n{trace(other, debug=debug)}" for other in others]
    return "\n\n".join(parts)


def trace(error: BaseException, *, debug: bool = False) -> str:
    """A traceback as text: frames of the event loop and of this kernel left out, unless ``debug``."""
    # Without values of locals: they may hold secrets.
    whole = traceback.TracebackException.from_exception(error, compact=True)
    if not debug:
        for each in _all_of(whole):
            kept = [frame for frame in each.stack if not _is_machinery(frame.filename)]
            if kept:
                each.stack = traceback.StackSummary.from_list(kept)
    return "".join(whole.format()).rstrip()


def _all_of(whole: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    yield whole
    for inner in (whole.__cause__, whole.__context__, *(whole.exceptions or ())):
        if inner is not None:
            yield from _all_of(inner)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, StopError):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _is_machinery(filename: str) -> bool:
    return filename.startswith(_machinery())


def _machinery() -> tuple[str, ...]:
    places = [str(Path(__file__).parent)]
    for name in _MACHINERY:
        origin = getattr(sys.modules.get(name), "__file__", None)
        if origin is not None:
            path = Path(origin)
            places.append(str(path.parent) if path.name == "__init__.py" else str(path))
    return tuple(places)
