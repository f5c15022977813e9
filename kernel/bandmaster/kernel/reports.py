"""Report a failure: as text for people, and as the exit code of the process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum

from bandmaster.kernel.errors import (
    BandmasterError,
    BindError,
    CrashError,
    DeadlineExceeded,
    DiscoveryError,
    HostLifespanError,
    PlanError,
    ServerEndedError,
    ServerNotInstalledError,
    StartError,
    StopError,
)
from bandmaster.kernel.redaction.masking import masked
from bandmaster.kernel.tracebacks import list_steps, render_traceback

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


def report(
    error: BaseException, *, full: bool = False, list_variables: Callable[[str], Sequence[str]] | None = None
) -> str:
    """A failure for the person on call: the component, its distribution and the cause.

    A cause that an operator can mend is a sentence; an error of the network or of the file system is followed by the
    place in the component's code. Every other cause has its traceback, without the frames of the event loop and of this
    kernel. ``full`` shows every traceback with all frames. ``list_variables`` returns the environment variables by
    which a component of some name finds a server or a file: they are named where they may be wrong.
    """
    text = _render(error, full)
    if isinstance(error, StartError) and error.__cause__ is not None:
        variables = list_variables(error.component) if list_variables is not None else ()
        text += "".join(f"\n  {line}" for line in _advise(error.component, error.__cause__, variables))
    return masked(text)


def split_report(text: str) -> tuple[str, str]:
    """The first line of a `report`, and the evidence below that line."""
    sentence, _, evidence = text.partition("\n")
    return sentence, evidence.strip("\n")


def one_line(error: BaseException) -> str:
    """The cause of a failure on one line, for servers' logs."""
    text = _render_sentence(error)
    if isinstance(error, StopError):
        text = f"{error.message}: {describe_cause(error.exceptions[0])}"
    return masked(text.partition("\n")[0]) or type(error).__name__


def describe_cause(error: BaseException) -> str:
    """An error as a sentence: its text, after the type unless the text was written to stand alone."""
    leaves = list(_list_leaves(error))
    if len(leaves) > 1 or leaves[0] is not error:
        return "; ".join(map(describe_cause, leaves))
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # a broken __str__ must not hide the failure
        text = "(its message can't be rendered)"
    if not text:
        return type(error).__name__
    return text if _speaks_for_itself(error) else f"{type(error).__name__}: {text}"


def needs_traceback(error: BaseException) -> bool:
    """Whether only a traceback explains an error: neither an operator nor the environment has caused the error."""
    return any(_rate(leaf) is _Evidence.TRACEBACK for leaf in _list_leaves(error))


def explain(error: BaseException, *, full: bool = False) -> str:
    """The evidence for an error beside its sentence: a traceback, the last steps to the place, or nothing."""
    if full or needs_traceback(error):
        return masked(render_traceback(error, debug=full))
    steps = [step for leaf in _list_leaves(error) if _rate(leaf) is _Evidence.STEPS for step in list_steps(leaf)]
    return "\n".join(f"  {line}" for line in steps)


def _advise(component: str, cause: BaseException, variables: Sequence[str]) -> Iterator[str]:
    """Sentences with the variables that may mend a failed start whose error doesn't name one."""
    is_late = isinstance(cause, DeadlineExceeded)
    if variables and (is_late or _rate(cause) is _Evidence.STEPS):
        yield f"{component!r} reads {' and '.join(variables)}: {'are they' if variables[1:] else 'is it'} right?"
    if isinstance(cause, DeadlineExceeded) and cause.phase == "start":
        seconds = max(1, round(2 * cause.seconds))
        yield f"BANDMASTER_START_TIMEOUTS={component}={seconds} would give it twice the time."


def render_failure(error: BaseException, *, full: bool = False) -> str:
    """An error as a sentence, with the evidence below; not masked."""
    return _join(describe_cause(error), explain(error, full=full))


class _Evidence(IntEnum):
    NONE = 0
    STEPS = 1
    TRACEBACK = 2


def _rate(error: BaseException) -> _Evidence:
    """The evidence that an error needs beside its sentence."""
    if _speaks_for_itself(error):
        # Such an error may only pass on the failure of other code, such as the host's lifespan.
        passed_on = error.__cause__ if isinstance(error, HostLifespanError | ServerEndedError) else None
        return _Evidence.NONE if passed_on is None else max(map(_rate, _list_leaves(passed_on)))
    if isinstance(error, BandmasterError) or _is_of_environment(error):
        return _Evidence.STEPS
    return _Evidence.TRACEBACK


def _render(error: BaseException, full: bool) -> str:
    if isinstance(error, StartError):
        return _render_with_cause("The start failed", error, "While rolling back", error.rollback_errors, full)
    if isinstance(error, CrashError):
        return _render_with_cause("The run failed", error, "While stopping", error.stop_errors, full)
    if isinstance(error, StopError):
        first, *rest = error.exceptions
        head = f"The stop failed: {error.message}: {render_failure(first, full=full)}"
        return head + "".join(f"\n\nAnd then: {render_failure(other, full=full)}" for other in rest)
    if isinstance(error, BaseExceptionGroup):
        return f"{error.message}\n\n" + "\n\n".join(render_failure(each, full=full) for each in _list_leaves(error))
    return render_failure(error, full=full)


def _render_with_cause(title: str, error: BaseException, then: str, others: Iterable[BaseException], full: bool) -> str:
    cause = error.__cause__
    head = f"{title}: {_render_sentence(error)}"
    evidence = explain(cause, full=full) if cause is not None else ""
    head = _join(head, evidence)
    return "\n\n".join([head, *(f"{then}: {render_failure(other, full=full)}" for other in others)])


def _render_sentence(error: BaseException) -> str:
    """The text of an error, with the text of a cause that the error doesn't repeat."""
    cause = error.__cause__
    if isinstance(cause, DeadlineExceeded):  # which names the component as well
        return str(cause)
    return f"{error}: {describe_cause(cause)}" if isinstance(cause, BaseExceptionGroup) else str(error)


def _join(sentence: str, evidence: str) -> str:
    separator = "\n" if evidence.startswith("  ") else "\n\n"
    return f"{sentence}{separator}{evidence}" if evidence else sentence


def _speaks_for_itself(error: BaseException) -> bool:
    """Whether the text of an error says everything: one of bandmaster's own classes, or ``sys.exit`` with a text.

    A class that is a library's or the application's as well has that one's text.
    """
    if isinstance(error, SystemExit):
        return isinstance(error.code, str)
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, BandmasterError) and modules <= {"bandmaster", "builtins"}


def _is_of_environment(error: BaseException) -> bool:
    """Whether the network or the file system has caused an error, directly or below an error of a library."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and not any(cause is other for other in seen):
        if isinstance(cause, OSError):
            return True
        seen.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return False


def _list_leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, StopError):
        for inner in error.exceptions:
            yield from _list_leaves(inner)
    else:
        yield error
