"""Where a suspended coroutine stands, as text."""

from __future__ import annotations

import gc
import inspect
import traceback
from contextlib import _AsyncGeneratorContextManager
from types import FrameType
from typing import Any

_MACHINERY = frozenset(("anyio", "asyncio", "contextlib", "trio"))


def where(awaitable: Any) -> str:
    """The stack of a suspended coroutine, innermost last, in the form of a traceback; empty if it isn't suspended.

    Frames of the event loop's libraries are left out: they stand at the end of every wait and tell nothing of it.
    """
    frames = []
    seen = set()
    while awaitable is not None and id(awaitable) not in seen:
        seen.add(id(awaitable))
        frame, awaitable = _step(awaitable)
        if frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] not in _MACHINERY:
            frames.append(frame)
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
    return "".join(summary.format()).rstrip()


def _step(awaitable: Any) -> tuple[FrameType | None, Any]:
    if inspect.iscoroutine(awaitable):
        return awaitable.cr_frame, awaitable.cr_await
    if inspect.isasyncgen(awaitable):
        return awaitable.ag_frame, awaitable.ag_await
    if inspect.isgenerator(awaitable):
        return awaitable.gi_frame, awaitable.gi_yieldfrom
    if isinstance(awaitable, _AsyncGeneratorContextManager):
        return None, awaitable.gen
    # The objects in between (an async generator's asend(), a coroutine's __await__()) have no attribute for what they
    # wait on, but the collector knows it.
    inner = [other for other in gc.get_referents(awaitable) if inspect.iscoroutine(other) or inspect.isasyncgen(other)]
    return None, inner[0] if inner else None
