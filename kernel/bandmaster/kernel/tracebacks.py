"""Choose the frames of a traceback that help its reader, and render them."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import itertools
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from traceback import FrameSummary, StackSummary, TracebackException, walk_stack
from types import FrameType

from bandmaster.kernel.redaction.masking import masked

_KERNEL = os.path.join(str(Path(__file__).parent), "")  # noqa: PTH118 – compared with file names as they stand
_EVENT_LOOPS = ("anyio", "asyncio", "concurrent", "trio", "outcome")
_CALLERS = ("uvicorn", "hypercorn", "granian", "starlette", "fastapi", "litestar", "quart")
"""Servers and frameworks, whose frames lead from a request to the handler."""
_IMPORT_SYSTEM = (importlib.__file__, f"{_KERNEL}imports.py")
_LIBRARIES = f"{os.sep}site-packages{os.sep}"
_STANDARD_LIBRARY = os.path.join(os.path.dirname(os.__file__), "")  # noqa: PTH118, PTH120
_MOST_STEPS = 3


def render_traceback(error: BaseException, *, debug: bool = False) -> str:
    """A traceback as text: frames of the event loop and of this kernel are left out, unless ``debug``.

    So are the frames that lead from a request to the application's own code.
    """
    # Without the values of locals, which may be secrets.
    whole = TracebackException.from_exception(error, compact=True)
    if not debug:
        for each in _list_causes(whole):
            if kept := _drop_callers(_drop_machinery(each.stack)):
                each.stack = StackSummary.from_list(kept)
    return "".join(whole.format()).rstrip()


def list_steps(error: BaseException) -> list[str]:
    """The last steps to the place where an exception was raised: each is the place, then the line of code.

    Deep inside a library the last step outside of libraries stays, as the one that people can change. Secrets in the
    code are masked.
    """
    # A fault of the kernel has no other frames than the kernel's.
    frames = find_frames(error) or [frame for frame in _extract(error) if frame.filename not in _IMPORT_SYSTEM]
    own = [index for index, frame in enumerate(frames) if _LIBRARIES not in frame.filename]
    if own and own[-1] < len(frames) - _MOST_STEPS:
        frames = [frames[own[-1]], *frames[1 - _MOST_STEPS :]]
    steps = [_render_step(frame.filename, frame.lineno, f" in {frame.name}", frame.line) for frame in frames]
    if isinstance(error, SyntaxError) and error.filename:
        steps.append(_render_step(error.filename, error.lineno, "", error.text))
    return [line for step in steps[-_MOST_STEPS:] for line in step]


def find_frames(error: BaseException, *, skip: Iterable[str] = ()) -> list[FrameSummary]:
    """The frames of the application and of libraries, innermost last.

    Frames of this kernel, of the event loop and of the import system are left out, as is generated code, which has no
    file. ``skip`` names further modules and packages to leave out.
    """
    return _drop_machinery(_extract(error), skip)


def find_caller() -> str:
    """File and line of the code that has called the kernel."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith((_KERNEL, contextlib.__file__)):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "unknown file"


def find_blocking_line(frame: FrameType) -> str:
    """Render the line at which an event loop's thread stands, as in a traceback; empty if the event loop waits.

    Deep inside a library the innermost line outside of libraries is the one that people can change.
    """
    stack = [FrameSummary(each.f_code.co_filename, line, each.f_code.co_name) for each, line in walk_stack(frame)]
    loops = tuple(_locate((*_EVENT_LOOPS, "uvloop")))
    inside = list(itertools.takewhile(lambda each: not each.filename.startswith(loops), stack))
    kept = _drop_machinery(inside)
    own = [each for each in kept if not each.filename.startswith(_STANDARD_LIBRARY) and _LIBRARIES not in each.filename]
    libraries = [each for each in kept if _LIBRARIES in each.filename]
    found = next(iter(own or libraries), None)
    return "" if found is None else masked("".join(StackSummary.from_list([found]).format()).rstrip())


def _extract(error: BaseException) -> list[FrameSummary]:
    return [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]


def _list_causes(whole: TracebackException) -> Iterator[TracebackException]:
    yield whole
    for inner in (whole.__cause__, whole.__context__, *(whole.exceptions or ())):
        if inner is not None:
            yield from _list_causes(inner)


def _drop_machinery(frames: Iterable[FrameSummary], skip: Iterable[str] = ()) -> list[FrameSummary]:
    places = (_KERNEL, contextlib.__file__, importlib.__file__, "<frozen ", *_locate((*_EVENT_LOOPS, *skip)))
    return [frame for frame in frames if not frame.filename.startswith(places)]


def _drop_callers(frames: list[FrameSummary]) -> list[FrameSummary]:
    """Leave out servers and frameworks in front of the first frame of other code, if there is one."""
    places = tuple(_locate(_CALLERS))
    other = [index for index, frame in enumerate(frames) if not frame.filename.startswith(places)]
    return frames[other[0] :] if other else frames


def _locate(modules: Iterable[str]) -> Iterator[str]:
    """The file of each module that is imported, or the folder of a package."""
    for name in modules:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None:
            yield file.removesuffix("__init__.py")


def _render_step(file: str, line: int | None, place: str, code: str | None) -> list[str]:
    folder = f"{os.getcwd()}{os.sep}"  # noqa: PTH109 – compared with a file name as it stands
    step = [f"{file.removeprefix(folder)}:{line}{place}"]
    # Programs that are installed without their source have no code to show.
    return [*step, f"  {masked(code.strip())}"] if code and code.strip() else step
